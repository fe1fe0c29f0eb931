"""The queue in front of the model: nobody waits for nothing, all get their own rows, who has left costs nothing."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.batcher import Batcher
from serve.problems import Refusal

LATER = 1e9


class Model:
    """Answers with the first pixel of each image, and remembers its batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def __call__(self, images: np.ndarray) -> Sequence[int]:
        assert images.shape[1:] == (28, 28)
        self.batches.append(images[:, 0, 0].tolist())
        return self.batches[-1]


def pictures(*marks: int) -> list[bytes]:
    return [bytes([mark]) + bytes(783) for mark in marks]


def in_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 60))


@given(st.lists(st.integers(1, 40), min_size=1, max_size=20), st.sampled_from([None, 1]))
def test_everyone_gets_their_own_rows_in_order(sizes, threads):
    async def test() -> None:
        model = Model()
        with ThreadPoolExecutor(1) as executor:
            batcher = Batcher(model, 16, 10_000, executor if threads else None)
            marks, start = [], 0
            for size in sizes:
                marks.append([place % 256 for place in range(start, start + size)])
                start += size
            jobs = await asyncio.gather(*(batcher.submit(pictures(*own), LATER) for own in marks))
        assert [job.results for job in jobs] == marks
        assert [mark for batch in model.batches for mark in batch] == [mark for own in marks for mark in own]
        assert batcher.waiting == 0
        assert all(len(batch) <= 16 for batch in model.batches)
        if not threads:
            assert {len(batch) for batch in model.batches} <= {1, 2, 4, 8, 16}

    in_loop(test)


def test_an_image_alone_waits_for_no_timer():
    async def test() -> None:
        model = Model()
        batcher = Batcher(model, 16, 100)
        timed_out = asyncio.get_running_loop().call_later(0, model.batches.append, [99])
        await batcher.submit(pictures(7), LATER)
        assert model.batches[0] == [7]
        timed_out.cancel()

    in_loop(test)


def test_those_who_wait_while_the_model_runs_go_together():
    async def test() -> None:
        model, begin = Model(), threading.Event()
        with ThreadPoolExecutor(1) as executor:
            batcher = Batcher(model, 16, 100, executor)
            executor.submit(begin.wait)
            asked = [asyncio.create_task(batcher.submit(pictures(mark), LATER)) for mark in range(9)]
            await asyncio.sleep(0.01)
            asked += [asyncio.create_task(batcher.submit(pictures(mark), LATER)) for mark in range(9, 12)]
            await asyncio.sleep(0.01)
            begin.set()
            await asyncio.gather(*asked)
        assert model.batches == [list(range(9)), [9, 10, 11]]

    in_loop(test)


@given(st.lists(st.tuples(st.integers(1, 20), st.booleans()), min_size=1, max_size=12))
def test_a_request_that_was_cancelled_never_reaches_the_device(requests):
    async def test() -> None:
        model = Model()
        batcher = Batcher(model, 16, 10_000)
        asked = [
            asyncio.create_task(batcher.submit(pictures(*[place] * size), LATER))
            for place, (size, _) in enumerate(requests)
        ]
        # As where a connection is lost between a request and its batch.
        asyncio.get_running_loop().call_soon(
            lambda: [task.cancel() for task, (_, leaves) in zip(asked, requests) if leaves]
        )
        await asyncio.gather(*asked, return_exceptions=True)
        stayed = [place for place, (size, leaves) in enumerate(requests) for _ in range(size) if not leaves]
        assert [mark for batch in model.batches for mark in batch] == stayed
        assert batcher.waiting == 0

    in_loop(test)


def test_a_request_whose_time_is_over_is_refused_and_never_run():
    async def test() -> None:
        model = Model()
        batcher = Batcher(model, 16, 100)
        past = asyncio.get_running_loop().time() - 1
        late, early = await asyncio.gather(
            batcher.submit(pictures(1, 2), past), batcher.submit(pictures(3), LATER), return_exceptions=True
        )
        assert isinstance(late, Refusal)
        assert late.status == 504
        assert not isinstance(early, BaseException)
        assert early.results == [3]
        assert model.batches == [[3]]

    in_loop(test)


def test_a_full_queue_refuses_until_there_is_room():
    async def test() -> None:
        model = Model()
        batcher = Batcher(model, 4, 8)
        asked = [asyncio.create_task(batcher.submit(pictures(1, 2, 3, 4), LATER)) for _ in range(2)]
        await asyncio.sleep(0)
        assert batcher.full
        with pytest.raises(Refusal, match="more requests wait") as refusal:
            await batcher.submit(pictures(5), LATER)
        assert refusal.value.status == 503
        assert refusal.value.headers["retry-after"] == "1"
        await asyncio.gather(*asked)
        assert (await batcher.submit(pictures(5), LATER)).results == [5]

    in_loop(test)


@pytest.mark.parametrize("threads", [None, 1])
def test_a_batch_that_fails_fails_its_own_requests_alone(threads):
    async def test() -> None:
        model = Model()

        def run(images: np.ndarray) -> Sequence[int]:
            if 13 in images[:, 0, 0]:
                raise ArithmeticError("thirteen")
            return model(images)

        with ThreadPoolExecutor(1) as executor:
            batcher = Batcher(run, 1, 100, executor if threads else None)
            answers = await asyncio.gather(
                *(batcher.submit(pictures(mark), LATER) for mark in (1, 13, 2)), return_exceptions=True
            )
        assert isinstance(answers[1], ArithmeticError)
        assert model.batches == [[1], [2]]

    in_loop(test)
