"""How every side is timed; NumPy alone, since the peers live in an environment of their own."""

import time
from collections.abc import Callable

import numpy as np


def clock(f: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    started = time.perf_counter()
    f()
    return time.perf_counter() - started


def predictions(run: Callable[[np.ndarray], np.ndarray], images: np.ndarray) -> dict[str, object]:
    """Latency of one picture and throughput of 256, from uint8 in NumPy to logits in NumPy."""
    one, many = images[:1], images[:256]
    for batch in (one, many) * 20:
        run(batch)
    return {
        "latency_us": 1e6 * float(np.median([clock(lambda: run(one)) for _ in range(2000)])),
        "images_per_second": 256 / float(np.median([clock(lambda: run(many)) for _ in range(100)])),
        "logits": run(images[:8]).tolist(),
    }
