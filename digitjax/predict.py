"""A trained model ready for use: any number of pictures in, their logits out, at the speed of the machine."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import jax
import numpy as np
from jaxtyping import Float32, UInt8

from digitjax import mesh, model
from digitjax.config import ModelConfig
from digitjax.model import Variables

LARGEST = 32
"""Pictures in the largest compiled batch on a CPU: what it computes with stays in a core's cache."""


class Predictor:
    """Compiled once for each of a few batch sizes, and thread-safe.

    On a CPU many pictures go in batches of 32, a thread a core, and the rest in powers of two, so that none is padded;
    for that, and for the latency of one picture, `mesh.prepare(training=False)` must have come before JAX started. On
    an accelerator a batch is padded to a power of two.
    """

    def __init__(self, config: ModelConfig, variables: Variables):
        self.config = config
        # As constants of the program the weights are laid out and transformed once, by the compiler.
        self._logits = jax.jit(partial(model.logits, config, jax.device_put(variables)))
        self._threads = ThreadPoolExecutor(len(os.sched_getaffinity(0)))

    def logits(self, images: UInt8[np.ndarray, "n 28 28"]) -> Float32[np.ndarray, "n classes"]:
        """The logits of each image, whatever the others are; bright strokes on dark."""
        count = len(images)
        if not count:
            return np.zeros((0, self.config.classes), np.float32)
        if not mesh.is_cpu():
            padded = np.zeros((1 << (count - 1).bit_length(), 28, 28), np.uint8)
            padded[:count] = images
            return self._run(padded)[:count]
        parts = list(_parts(count))
        if len(parts) == 1:
            return self._run(images)
        return np.concatenate(list(self._threads.map(lambda part: self._run(images[part]), parts)))

    def _run(self, images: np.ndarray) -> np.ndarray:
        return np.asarray(self._logits(images))


def _parts(count: int) -> Iterator[slice]:
    """Cuts `count` into slices of 32 and then of smaller powers of two."""
    start = 0
    while start < count:
        size = min(LARGEST, 1 << ((count - start).bit_length() - 1))
        yield slice(start, start + size)
        start += size
