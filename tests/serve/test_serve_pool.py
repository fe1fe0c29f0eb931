"""Slow work has a door: what would end too late is refused at once, and no kind of work takes another's threads."""

import asyncio
import threading
import time

import pytest

from serve.problems import Refusal
from serve.service import Pool

pytestmark = pytest.mark.torture


def ask(pool: Pool, work, count: int, deadline: float) -> list[int]:
    """The statuses of so many requests at once, and in what time each was told."""

    async def one() -> int:
        try:
            await pool.run(asyncio.get_running_loop().time() + deadline, work)
        except Refusal as refusal:
            return refusal.status if refusal.status != 503 or int(refusal.headers["retry-after"]) else 500
        return 200

    async def every() -> list[int]:
        return await asyncio.gather(*(one() for _ in range(count)))

    return asyncio.run(every())


@pytest.mark.parametrize("count", [40, 400])
def test_under_any_load_what_is_begun_is_answered_in_time_and_the_rest_is_told_at_once(count):
    """Work of 10 ms, a deadline of half a second: 25 fit into the share of it that may be spent in a queue."""
    pool, done = Pool("test", 1, 0.5), []

    def work() -> None:
        time.sleep(0.01)
        done.append(1)

    assert ask(pool, work, 3, 5) == [200] * 3  # it is measured
    statuses = ask(pool, work, count, 0.5)
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) >= 15
    assert len(done) == statuses.count(200) + 3, "nothing was done for nobody"


def test_a_burst_of_work_that_was_never_measured_is_not_taken_whole():
    statuses = ask(Pool("test", 1, 0.5), lambda: time.sleep(0.01), 400, 0.5)
    assert statuses.count(503) >= 300
    assert 504 not in statuses


def test_a_pool_that_is_idle_takes_whatever_comes():
    pool = Pool("test", 1, 0.5)
    assert ask(pool, lambda: time.sleep(0.05), 1, 0.01) == [504]
    assert ask(pool, lambda: None, 1, 0.5) == [200]


def test_dear_work_takes_no_thread_of_quick_work():
    dear, quick, release = Pool("dear", 1, 0.5, nice=5), Pool("quick", 1, 0.9), threading.Event()

    async def both() -> None:
        end = asyncio.get_running_loop().time() + 20
        slow = [asyncio.create_task(dear.run(end, release.wait)) for _ in range(5)]
        assert await quick.run(end, lambda: "drawn") == "drawn"
        release.set()
        assert await asyncio.gather(*slow) == [True] * 5

    asyncio.run(both())
