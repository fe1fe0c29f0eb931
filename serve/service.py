"""What the routes stand on: the model that answers now, its queue, threads for slow work, and whether we are ready."""

import asyncio
import contextlib
import ctypes
import gc
import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import perf_counter
from typing import Any, Literal, TypeVar

import cv2
import jax
import msgspec
import numpy as np
from litestar.types import Scope

import digitjax
from digitjax.base import device
from digitjax.base.config import ModelConfig
from digitjax.network import explain, model
from digitjax.network.model import Features, Variables
from digitjax.reading import strips
from digitjax.reading.predict import DOUBT, Judged, Predictor, together
from digitjax.reading.trust import VERDICTS
from serve import logs, metrics
from serve.batcher import Batcher, late, overloaded
from serve.images import Form
from serve.problems import Refusal
from serve.settings import Settings

T = TypeVar("T")
GUESS = 0.02  # seconds of slow work that was never measured
LARGEST_BATCH = 16  # on a CPU, where a larger one gains nothing and makes the others wait
LARGEST_BATCH_OF_AN_ACCELERATOR = 256


class Answer(msgspec.Struct, omit_defaults=True):
    """What the model says of one image."""

    digit: int
    confidence: float
    probabilities: list[float]
    verdict: Literal["digit", "unsure", "not_a_digit"]
    model: str
    input: list[list[int]] | None = None
    several: bool = False
    """Whether the picture holds a number, of which this is one digit: /read reads them all."""


class Service:
    """One model and one queue. Made before the loop runs, used inside it.

    Args:
      tell_others: called when another model is in place, so that other workers take it too.
    """

    def __init__(self, settings: Settings, tell_others: Callable[[], object] = lambda: None):
        cv2.setNumThreads(1)  # the loop must not wait for threads that share its core
        self.settings, self.tell_others, self.draining = settings, tell_others, False
        self.predictor = load(settings.model)
        cpu = device.is_cpu()
        largest = LARGEST_BATCH if cpu else LARGEST_BATCH_OF_AN_ACCELERATOR
        thread = None if cpu else ThreadPoolExecutor(1, "device")
        self.batcher = Batcher(self._answers, largest, settings.max_waiting, thread)
        cores = len(os.sched_getaffinity(0))
        # What takes longest never has all cores: a drawing waits for other drawings alone.
        self.quick, self.dear = Pool("quick", cores, 0.9), Pool("dear", max(1, cores - 1), 0.5, nice=5)
        self._reloading = asyncio.Lock()
        metrics.MODEL.labels(self.predictor.name, self.predictor.checksum).set(1)

    def _answers(self, images: np.ndarray) -> Sequence[Answer]:
        answers = answers_of(self.predictor.judge_alone(images), self.predictor.checksum)
        if self.settings.metrics:
            metrics.note_batch(answers, self.batcher.waiting)
        return answers

    async def judge(self, scope: Scope, forms: Sequence[Form]) -> list[Answer]:
        """The answers to a request's images; about a picture in doubt a second network is asked, beside the loop.

        Raises:
          Refusal: 503 or 504.
        """
        job = await self.batcher.submit([form.content for form in forms], scope["state"]["deadline"])
        scope["state"]["batch"] = job.largest_batch
        answers: list[Answer] = job.results
        doubted = [n for n, form in enumerate(forms) if form.is_picture and answers[n].confidence < DOUBT]
        if doubted and self.predictor.second:
            images = np.stack([np.frombuffer(forms[n].content, np.uint8).reshape(28, 28) for n in doubted])
            first = [answers[n] for n in doubted]
            again = await self.in_thread(scope, self.quick, _together, self.predictor, images, first)
            for n, answer in zip(doubted, again):
                answers[n] = answer
        return answers

    async def in_thread(self, scope: Scope, pool: "Pool", work: Callable[..., T], *args: Any) -> T:
        """A request's slow work, beside the loop; never begun once the request is cancelled or late.

        Raises:
          Refusal: 503 or 504.
        """
        return await pool.run(scope["state"]["deadline"], work, *args)

    def check_ready(self) -> None:
        """Raises:
        Refusal: 503, this server is shutting down.
        """
        if self.draining:
            raise stopping()

    async def reload(self) -> None:
        """Loads the model anew aside, then swaps.

        Raises:
          DigitjaxError: the new one is broken; the old one stays.
        """
        async with self._reloading:
            old, new = self.predictor, await asyncio.to_thread(load, self.settings.model)
            if new.checksum != old.checksum:
                self.predictor = new
                metrics.MODEL.labels(old.name, old.checksum).set(0)
                metrics.MODEL.labels(new.name, new.checksum).set(1)
                logs.event("reloaded", model=new.checksum, before=old.checksum)
                self.tell_others()


def answers_of(judged: Judged, model: str) -> list[Answer]:
    return [
        Answer(digit, confidence, probabilities, VERDICTS[verdict], model)
        for digit, confidence, probabilities, verdict in zip(*(part.tolist() for part in judged))
    ]


def _together(predictor: Predictor, images: np.ndarray, first: Sequence[Answer]) -> list[Answer]:
    """The answers to images in doubt, of which the first network has said this."""
    assert predictor.second
    said = Judged(
        np.array([one.digit for one in first], np.int32),
        np.array([one.confidence for one in first], np.float32),
        np.array([one.probabilities for one in first], np.float32),
        np.array([VERDICTS.index(one.verdict) for one in first], np.int32),
    )
    return answers_of(together(said, np.arange(len(first)), predictor.second(images)), predictor.checksum)


class Pool:
    """Threads for one kind of work, and a door: what would not be done by its deadline is refused at once.

    Args:
      share: of its deadline that a piece of work may be at, once it is done, by what was measured so far.
      nice: how far its threads stand back behind others on the same cores.
    """

    def __init__(self, name: str, threads: int, share: float, nice: int = 0):
        self.threads, self.share = threads, share
        begin = partial(os.setpriority, os.PRIO_PROCESS, 0, nice) if nice else None
        self._executor = ThreadPoolExecutor(threads, name, begin)
        self._cost: dict[Callable[..., Any], float] = {}
        """Seconds that each kind of work takes, as measured."""
        self._begun: Counter[Callable[..., Any]] = Counter()
        """Pieces of each kind that wait or run."""
        self._gauge = metrics.SLOW.labels(name)

    async def run(self, deadline: float, work: Callable[..., T], *args: Any) -> T:
        """Raises:
        Refusal: 503, there is too much before it; 504, it took longer than it should have.
        """
        loop = asyncio.get_running_loop()
        self.check(deadline - loop.time(), self._cost.get(work, GUESS))
        self._begun[work] += 1
        self._gauge.inc()
        try:
            async with asyncio.timeout_at(deadline):
                return await loop.run_in_executor(self._executor, self._timed, work, *args)
        except TimeoutError as error:
            raise late() from error
        finally:
            self._begun[work] -= 1
            if not self._begun[work]:
                del self._begun[work]
            self._gauge.dec()

    def check(self, seconds: float, cost: float | None = None) -> None:
        """Whether work of this cost, or of the mean cost of what waits, could be done in so many seconds.

        Raises:
          Refusal: 503, there is too much before it.
        """
        ahead = sum(count * self._cost.get(kind, GUESS) for kind, count in self._begun.items())
        cost = ahead / max(1, self._begun.total()) if cost is None else cost
        wait, room = ahead / self.threads + cost, self.share * seconds
        if ahead and wait > room:
            raise overloaded(max(1, round(wait - room)))

    def _timed(self, work: Callable[..., T], *args: Any) -> T:
        started = perf_counter()
        try:
            return work(*args)
        finally:
            took, before = perf_counter() - started, self._cost.get(work)
            self._cost[work] = took if before is None else before + 0.1 * (took - before)


def stopping() -> Refusal:
    return Refusal(503, "this server is shutting down: ask another", {"retry-after": "1", "connection": "close"})


def release_memory() -> None:
    """glibc keeps what was freed: some 40 MB of the compiler's, and of large bodies as much as they were."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def load(which: str) -> Predictor:
    """A model that has compiled and run whatever it will be asked for.

    Raises:
      DigitjaxError: it cannot be had.
    """
    predictor, blank = digitjax.load(which), np.zeros((1, 28, 28), np.uint8)
    predictor.warm()
    strips.load().warm()
    if not device.is_cpu():
        predictor.warm((64, 128, LARGEST_BATCH_OF_AN_ACCELERATOR))
    feature_maps(predictor, blank[0], 0)
    explain.explain(predictor.config, predictor.variables, blank, np.zeros(1, int))
    gc.collect()
    gc.freeze()  # what lives as long as the model need not be looked at again
    gc.set_threshold(50_000, 20, 50)  # a request leaves no cycles: looking for them often finds none
    release_memory()
    return predictor


def feature_maps(predictor: Predictor, image: np.ndarray, layer: int) -> np.ndarray:
    """What convolution `layer` makes of an image [28, 28]: [channel, row, column], each channel from 0 to 1."""
    maps = np.asarray(_features(predictor.config, predictor.variables, image[None])[layer])[0].astype(float)
    low, high = maps.min((0, 1)), maps.max((0, 1))
    return ((maps - low) / np.maximum(high - low, 1e-6)).transpose(2, 0, 1)


@partial(jax.jit, static_argnums=0)
def _features(config: ModelConfig, variables: Variables, images: np.ndarray) -> list[Features]:
    return [model.features(config, variables, images, layer) for layer in range(sum(config.depth))]
