"""What the service counts about itself, for Prometheus; several workers count in files that they share."""

import os
from collections.abc import Sequence
from functools import cache
from typing import Any

import jax.monitoring
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

_TIMES = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_requests = Counter("digitjax_requests", "Requests by route and status.", ("route", "status"))
_seconds = Histogram("digitjax_request_seconds", "From a request's headers to its answer.", ("route",), buckets=_TIMES)
_batches = Histogram("digitjax_batch_images", "Images that the model judged together.", buckets=_SIZES)
_waiting = Gauge("digitjax_waiting_images", "Images that wait for the model.", multiprocess_mode="livesum")
HELD = Gauge("digitjax_held_bytes", "Bytes of requests that are held.", multiprocess_mode="livesum")
SLOW = Gauge("digitjax_slow_work", "Pieces of slow work that wait or run.", ("pool",), multiprocess_mode="livesum")
_predictions = Counter("digitjax_predictions", "Answers by digit and verdict.", ("digit", "verdict"))
_compilations = Counter("digitjax_compilations", "Programs that were compiled or taken from the cache.")
MODEL = Gauge("digitjax_model", "1 for the model that answers.", ("name", "checksum"), multiprocess_mode="livemax")

# Children by label, since the library's own look-up costs as much as counting.
_request_of = cache(lambda route, status: (_requests.labels(route, str(status)), _seconds.labels(route)))
_prediction_of = cache(lambda digit, verdict: _predictions.labels(str(digit), verdict))


def note_request(route: str, status: int, seconds: float) -> None:
    counter, histogram = _request_of(route, status)
    counter.inc()
    histogram.observe(seconds)


def note_batch(answers: Sequence[Any], waiting: int) -> None:
    _batches.observe(len(answers))
    _waiting.set(waiting)
    for answer in answers:
        _prediction_of(answer.digit, answer.verdict).inc()


def _note_compilation(event: str, duration_secs: float, **_: str | int) -> None:  # noqa: ARG001
    if event == "/jax/core/compile/backend_compile_duration":
        _compilations.inc()


jax.monitoring.register_event_duration_secs_listener(_note_compilation)


def exposition() -> bytes:
    """All workers' figures, in Prometheus's text format."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest()
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    return generate_latest(registry)
