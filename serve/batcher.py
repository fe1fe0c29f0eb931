"""Dynamic micro-batches without a timer: who waits while the model is busy goes together in the next batch.

An idle loop answers a single image at once. Under load images queue up while the model runs: the queue is the batch.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np

from serve.problems import Refusal

Run = Callable[[np.ndarray], Sequence[Any]]
"""uint8 [n, 28, 28] -> n results."""


class Job:
    """The images of one request, and its results so far."""

    def __init__(self, images: Sequence[bytes], deadline: float):
        self.images, self.deadline = images, deadline
        self.started, self.largest_batch = 0, 0
        self.results: list[Any] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


Part = tuple[Job, int, int]
"""The images of a job from the first to before the last."""


class Batcher:
    """One model, one queue of at most `most` images (and the request that fills it), one batch at a time.

    Without an `executor` the model runs in the loop, in batches of powers of two: for a CPU, where that beats a second
    thread and padding. With one it runs beside the loop, on all that wait, up to `largest`.
    """

    def __init__(self, run: Run, largest: int, most: int, executor: Executor | None = None):
        self.run, self.largest, self.most, self.executor = run, largest, most, executor
        self.waiting = 0
        self._jobs: deque[Job] = deque()
        self._scheduled = False

    @property
    def full(self) -> bool:
        return self.waiting >= self.most

    async def submit(self, images: Sequence[bytes], deadline: float) -> Job:
        """The job of `images` (784 bytes each), done. Cancelling it takes what has not run out of the queue.

        Raises:
          Refusal: 503 where the queue is full, 504 where `deadline` (in the loop's time) passes first.
        """
        if self.full:
            raise overloaded()
        job = Job(images, deadline)
        self._jobs.append(job)
        self.waiting += len(images)
        self._schedule()
        await job.done
        return job

    def _schedule(self) -> None:
        if self._jobs and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._next_batch)

    def _next_batch(self) -> None:
        parts = self._take()
        size = sum(last - first for _, first, last in parts)
        if not size:
            self._deliver(parts, [])
            return
        pixels = b"".join([image for job, first, last in parts for image in job.images[first:last]])
        images = np.frombuffer(pixels, np.uint8).reshape(size, 28, 28)
        if self.executor is None:
            try:
                self._deliver(parts, self.run(images))
            except Exception as error:
                self._deliver(parts, error)
        else:
            running = asyncio.get_running_loop().run_in_executor(self.executor, self.run, images)
            running.add_done_callback(lambda ran: self._deliver(parts, ran.exception() or ran.result()))

    def _take(self) -> list[Part]:
        """Takes the next batch out of the queue, without those who have left or whose time is over."""
        whole = self.waiting if self.executor else 1 << max(0, self.waiting.bit_length() - 1)
        room, now = min(self.largest, whole), asyncio.get_running_loop().time()
        parts: list[Part] = []
        while self._jobs and room:
            job, first = self._jobs[0], self._jobs[0].started
            if not job.done.done() and job.deadline < now:
                job.done.set_exception(late())
            take = min(room, len(job.images) - first)
            job.started += take
            self.waiting -= take
            if not job.done.done():
                parts.append((job, first, job.started))
                room -= take
            if job.started == len(job.images):
                self._jobs.popleft()
        return parts

    def _deliver(self, parts: Sequence[Part], outcome: Sequence[Any] | BaseException) -> None:
        failure, results = (outcome, ()) if isinstance(outcome, BaseException) else (None, outcome)
        start = 0
        for job, first, last in parts:
            stop = start + last - first
            if not job.done.done():
                if failure:
                    job.done.set_exception(failure)
                else:
                    job.results.extend(results[start:stop])
                    job.largest_batch = max(job.largest_batch, len(results))
                    if len(job.results) == len(job.images):
                        job.done.set_result(None)
            start = stop
        self._scheduled = False
        self._schedule()


def overloaded(seconds: int = 1) -> Refusal:
    detail = f"more requests wait than this server can answer in time: send this one again in {seconds} s"
    return Refusal(503, detail, {"retry-after": str(seconds)})


def late() -> Refusal:
    return Refusal(504, "no answer within this server's deadline: send the request again, or fewer images in it")
