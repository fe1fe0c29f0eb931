"""A trained model ready for use: any number of pictures in, their answers out, at the speed of the machine."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Int32, Int64, UInt8

from digitjax.base import device
from digitjax.base.config import ModelConfig
from digitjax.network import model
from digitjax.network.model import Images, Variables
from digitjax.reading import artifact
from digitjax.reading.artifact import SHIPPED, Artifact
from digitjax.reading.trust import VERDICTS, Trust, judge

LARGEST = 32
"""Pictures in the largest compiled batch on a CPU: what it computes with stays in a core's cache."""
LARGEST_OF_AN_ACCELERATOR = 1024
DOUBT, AGREED, ALONE = 0.98, 0.7, 0.5
"""Below this confidence a second network is asked; an answer of both is a digit from that confidence up,
where the second holds it for one digit, and no more than one, with this probability."""
Second = Callable[[np.ndarray], np.ndarray]
"""From images in MNIST's form, uint8 [n, 28, 28], to the log probabilities that each is this one digit, [n, 10]."""


class Judged(NamedTuple):
    """The answers to n images."""

    digits: Int32[np.ndarray, " n"]
    confidences: Float32[np.ndarray, " n"]
    """The calibrated probability of each digit."""
    probabilities: Float32[np.ndarray, "n classes"]
    verdicts: Int32[np.ndarray, " n"]
    """Places in `trust.VERDICTS`."""


class Prediction(NamedTuple):
    """The answer to one picture: `digit` is the best guess, whatever the verdict."""

    digit: int
    confidence: float
    probabilities: tuple[float, ...]
    verdict: str
    several: bool = False
    """Whether the picture holds a number, of which this is one digit: `read` reads them all."""


class Predictor:
    """Compiled once for each of a few batch sizes, and thread-safe; every answer depends on its own image alone.

    On a CPU many pictures go in batches of 32, a thread a core, and the rest in powers of two, so that none is padded;
    for that, and for the latency of one picture, `device.prepare(training=False)` must have come before JAX started. On
    accelerators a batch is padded to a power of two, and a large one divided among them.

    Args:
      trust: what `judge` and `predict` need; without it there are only logits.
      name: what was loaded, and `checksum`: of which file.
      program: an exported program, which answers in place of our model code.
      second: is asked where this network is in doubt: the line network, beside the model that ships.
    """

    def __init__(
        self,
        config: ModelConfig,
        variables: Variables,
        trust: Trust | None = None,
        name: str = "",
        checksum: str = "",
        program: jax.export.Exported | None = None,
        second: Second | None = None,
    ):
        self.config, self.variables, self.trust, self.name, self.checksum = config, variables, trust, name, checksum
        self.second = second
        # As constants of the program the weights are laid out and transformed once, by the compiler.
        constants = jax.device_put(variables)

        def logits(images: jax.Array) -> Any:
            return program.call(images)["logits"] if program else model.logits(config, constants, images)

        def judged(images: jax.Array) -> jax.Array:
            assert trust is not None, "this model was loaded without its trust"
            given = program.call(images) if program else answers(config, constants, trust, images)
            return jnp.concatenate([given["probabilities"], given["verdicts"][:, None]], axis=1)

        self._logits, self._judged = jax.jit(logits), jax.jit(judged)
        self._threads = ThreadPoolExecutor(len(os.sched_getaffinity(0)))
        self._devices = device.data_parallel(local=True)

    def predict(self, pictures: Any) -> Any:
        """A `Prediction` of one picture (a path, bytes, a file, a PIL image, an array), or a list of them for many.

        Many is a list, a tuple, or an array (or lists of numbers) of N x 28 x 28, N x 784, or of four axes (colours
        last or before height).

        Raises:
          PictureError: a picture is bad.

        >>> load().predict(np.zeros((28, 28), np.uint8)).verdict
        'not_a_digit'
        """
        from digitjax.picture.canonical import searched
        from digitjax.picture.pixels import unlisted

        pictures = unlisted(pictures)
        shape = np.shape(pictures) if hasattr(pictures, "__array__") else ()
        many = isinstance(pictures, list | tuple) or len(shape) == 4 or shape[1:] in ((28, 28), (784,))
        if many and shape:
            pictures = np.asarray(pictures)  # at once, not picture by picture from a device
        sources = list(pictures) if many else [pictures]
        answers = self.answers([searched(source) for source in sources])
        return answers if many else answers[0]

    def answers(self, found: Sequence[Any]) -> list[Prediction]:
        """The answer to each `canonical.Searched` picture; of several digits in one, none is more than unsure."""
        if not found:
            return []
        from digitjax.reading import strips

        answers = predictions(self.judge(np.stack([one.form for one in found])))
        return [
            answer._replace(verdict=VERDICTS[max(1, VERDICTS.index(answer.verdict))], several=True)
            if strips.holds_several(one.beside)
            else answer
            for answer, one in zip(answers, found)
        ]

    def judge(self, images: UInt8[np.ndarray, "n 28 28"]) -> Judged:
        """The answers to images in MNIST's form, bright strokes on dark."""
        judged = self.judge_alone(images)
        doubted = np.flatnonzero(judged.confidences < DOUBT)
        return together(judged, doubted, self.second(images[doubted])) if self.second and len(doubted) else judged

    def judge_alone(self, images: UInt8[np.ndarray, "n 28 28"]) -> Judged:
        """As `judge`, by this network without a second one: what an exported model answers."""
        rows = self._in_parts(self._judged, images, self.config.classes + 1)
        probabilities = rows[:, :-1]
        digits = probabilities.argmax(1).astype(np.int32)
        return Judged(digits, probabilities.max(1), probabilities, rows[:, -1].astype(np.int32))

    def logits(self, images: UInt8[np.ndarray, "n 28 28"]) -> Float32[np.ndarray, "n classes"]:
        """The logits of each image in MNIST's form."""
        return self._in_parts(self._logits, images, self.config.classes)

    def warm(self, sizes: Sequence[int] = (1, 2, 4, 8, 16, LARGEST)) -> None:
        """Compiles what this network answers for these numbers of images, programs side by side."""
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
            list(threads.map(lambda size: self.judge_alone(np.zeros((size, 28, 28), np.uint8)), sizes))

    def _in_parts(self, compute: Callable[[np.ndarray], jax.Array], images: np.ndarray, width: int) -> np.ndarray:
        count = len(images)
        if not count:
            return np.zeros((0, width), np.float32)
        if (
            not device.is_cpu() and count > LARGEST_OF_AN_ACCELERATOR
        ):  # a program used once would take longer to compile
            starts = range(0, count, LARGEST_OF_AN_ACCELERATOR)
            rest = (images[start : start + LARGEST_OF_AN_ACCELERATOR] for start in starts)
            return np.concatenate([self._in_parts(compute, part, width) for part in rest])
        if not device.is_cpu():
            devices = self._devices if self._devices and count >= LARGEST * self._devices.size else None
            share = devices.size if devices else 1
            padded = np.zeros((-(-(1 << (count - 1).bit_length()) // share) * share, 28, 28), np.uint8)
            padded[:count] = images
            return np.asarray(compute(device.divide(padded, devices, axis=0)))[:count]
        parts = list(_parts(count))
        if len(parts) == 1:
            return np.asarray(compute(images))
        return np.concatenate(list(self._threads.map(lambda part: np.asarray(compute(images[part])), parts)))


def answers(config: ModelConfig, variables: Variables, trust: Trust, images: Images) -> dict[str, Any]:
    """The logits, calibrated probabilities [batch, classes] and verdicts [batch] of images: what is exported."""
    logits, embedding = model.logits_and_embedding(config, variables, images)
    probabilities, verdicts = judge(trust, images, logits, embedding)
    return {"logits": logits, "probabilities": probabilities, "verdicts": verdicts}


def together(
    judged: Judged, doubted: Int32[np.ndarray, " m"] | Int64[np.ndarray, " m"], second: Float32[np.ndarray, "m 10"]
) -> Judged:
    """The answers with what two networks make of those in doubt: the geometric mean of their probabilities.

    Networks that learnt from other digits err elsewhere. What the first holds for no digit stays none.
    """
    shares = second - np.logaddexp.reduce(second, axis=1, keepdims=True)
    mixed = np.exp(0.5 * (np.log(judged.probabilities[doubted] + 1e-9) + shares))
    mixed = (mixed / mixed.sum(1, keepdims=True)).astype(np.float32)
    digits, confidences, probabilities, verdicts = (part.copy() for part in judged)
    digits[doubted], confidences[doubted], probabilities[doubted] = mixed.argmax(1), mixed.max(1), mixed
    sure = (mixed.max(1) >= AGREED) & (np.exp(second).sum(1) >= ALONE)
    verdicts[doubted] = np.where(verdicts[doubted] == 2, 2, np.where(sure, 0, 1))
    return Judged(digits, confidences, probabilities, verdicts)


def predictions(judged: Judged) -> list[Prediction]:
    return [
        Prediction(int(digit), float(confidence), tuple(row.tolist()), VERDICTS[verdict])
        for digit, confidence, row, verdict in zip(*judged)
    ]


def load(which: str = SHIPPED) -> Predictor:
    """The model that ships, a finished run's folder, or a model file, ready for use.

    Raises:
      DigitjaxError: there is none, or it is damaged.
    """
    return of(artifact.read(which))


def of(found: Artifact) -> Predictor:
    """The model of a file that was read, ready for use; the one that ships asks the line network where in doubt."""
    return Predictor(*found[:3], found.name, found.checksum, found.program, _second if found.name == SHIPPED else None)


def _second(images: UInt8[np.ndarray, "n 28 28"]) -> Float32[np.ndarray, "n 10"]:
    from digitjax.reading import strips  # OpenCV comes with it, which a machine that only trains may lack

    return strips.load().alone(images)


def _parts(count: int) -> Iterator[slice]:
    """Cuts `count` into slices of 32 and then of smaller powers of two."""
    start = 0
    while start < count:
        size = min(LARGEST, 1 << ((count - start).bit_length() - 1))
        yield slice(start, start + size)
        start += size
