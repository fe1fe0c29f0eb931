"""One line of JSON an event on stdout, written by a thread of its own: a reader that stops stops nothing else."""

import contextlib
import logging
import os
import queue
import select
import threading
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode
_lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
_MOST_WAITING = 100_000  # lines, where the reader is slow; more are lost


class Request(msgspec.Struct):
    """The line of a request; of a known shape, since a server writes thousands a second."""

    time: float
    event: str
    id: str
    method: str
    route: str
    status: int
    ms: float
    batch: int
    """The most images that the model judged together with one of this request's."""


def event(name: str, **fields: Any) -> None:
    line({"time": round(time.time(), 3), "event": name, **fields})


def line(content: Mapping[str, Any] | Request) -> None:
    if _lines.qsize() < _MOST_WAITING:
        _lines.put(_encode(content) + b"\n")


class _Events(logging.Handler):
    """What libraries log, as our lines."""

    def emit(self, record: logging.LogRecord) -> None:
        trace = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else ""
        event(record.levelname.lower(), logger=record.name, message=record.getMessage(), trace=trace)


def _write() -> None:
    lines: list[bytes | None] = [b""]
    while lines[-1] is not None:
        lines = [_lines.get()]
        time.sleep(0.05)  # what a busy moment logs goes out together: the loop is not interrupted for each line
        lines += [_lines.get() for _ in range(_lines.qsize())]
        for piece in pieces(line for line in lines if line):
            with contextlib.suppress(OSError):
                os.write(1, piece)


def pieces(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Whole lines, together no longer than what a pipe takes at once, so that those of several workers do not mix."""
    piece = b""
    for line in lines:
        if piece and len(piece) + len(line) > select.PIPE_BUF:
            yield piece
            piece = b""
        piece += line
    if piece:
        yield piece


_writer = threading.Thread(target=_write, name="logs", daemon=True)


def start() -> None:
    logging.basicConfig(handlers=[_Events()], level=logging.WARNING, force=True)
    _writer.start()


def stop() -> None:
    """Writes what is left, unless nobody reads."""
    _lines.put(None)
    _writer.join(1)
