"""Millions of pictures: answered part by part, in files that survive a kill.

The same parts come from this machine (`here`) or from many (`on_ray`): an engine is a function from ranges to answers.
"""

import contextlib
import hashlib
import json
import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from digitjax.base import device
from digitjax.base.disk import claim, write_file, write_text
from digitjax.base.errors import DigitjaxError, UsageError, first_line, require
from digitjax.data.inputs import Block, Input, Range, Reader
from digitjax.reading import predict
from digitjax.reading.artifact import Artifact
from digitjax.reading.predict import Predictor

PART = 2048
"""Pictures in a part: what a kill can cost, and what is in memory at a time."""
FORMATS = ("jsonl", "parquet")
_MANIFEST = "manifest.json"
_JOURNAL = "manifest.parts"
"""A line a part: its file, its rows, its checksum."""


class Part(NamedTuple):
    """The answers to the pictures from `start` to `stop`, as the content of their file."""

    start: int
    stop: int
    content: bytes


Engine = Callable[[Sequence[Range]], Iterable[Part]]


def write(out: Path, inputs: Sequence[Input], model: str, form: str, engine: Engine) -> Iterator[Part]:
    """Writes the parts that `out` lacks, each whole or not at all, and yields each once it is there.

    Args:
      model: the checksum of the model file; with the inputs it says whether earlier parts still hold.
      form: jsonl or parquet.

    Raises:
      UsageError: the folder holds something else.
      DigitjaxError: another process writes there, or it cannot be written, or an input is damaged.
    """
    manifest = {"model": model, "format": form, "part": PART, "inputs": [source.identity() for source in inputs]}
    if out.is_dir() and not (out / _MANIFEST).exists() and any(not file.name.startswith(".") for file in out.iterdir()):
        raise UsageError(f"{out} holds files of another kind: name another folder with --out")
    with claim(out, "--out"):
        if not (out / _MANIFEST).exists():
            write_text(out / _MANIFEST, json.dumps(manifest, indent=1) + "\n")
        try:
            stored = json.loads((out / _MANIFEST).read_text())
            assert isinstance(stored, dict)
        except (ValueError, AssertionError) as error:
            raise DigitjaxError(
                f"{out / _MANIFEST} is damaged: remove {out}, or name another folder with --out"
            ) from error
        if changed := [name for name in manifest if stored.get(name) != manifest[name]]:
            raise UsageError(f"{out} holds answers with other {' and '.join(changed)}: name another folder with --out")
        for leftover in out.glob(".*.part-*"):
            leftover.unlink()
        total = sum(source.size for source in inputs)
        spans = [(start, min(start + PART, total)) for start in range(0, total, PART)]
        known = _journal(out)
        lacking = [span for span in spans if not _is_whole(_file(out, *span, form), known)]
        for part in engine(lacking):
            file = _file(out, part.start, part.stop, form)
            with (out / _JOURNAL).open("a") as journal:
                entry = {"file": file.name, "rows": part.stop - part.start, "sha256": _checksum(part.content)}
                journal.write(json.dumps(entry) + "\n")
            write_file(file, partial(Path.write_bytes, data=part.content))
            yield part


def _journal(out: Path) -> dict[str, str]:
    """The checksum of each part that was written; a line that a kill cut off says nothing."""
    known: dict[str, str] = {}
    with contextlib.suppress(FileNotFoundError):
        for line in (out / _JOURNAL).read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):
                entry = json.loads(line)
                known[entry["file"]] = entry["sha256"]
    return known


def _is_whole(file: Path, known: Mapping[str, str]) -> bool:
    """Whether a part is there as it was written: a disk may have lost or changed it."""
    return file.name in known and file.exists() and _checksum(file.read_bytes()) == known[file.name]


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def summary(out: Path) -> dict[str, Any]:
    """How many pictures the parts in `out` answer, and how many of them were bad."""
    parts = sorted(out.glob("part-*"))
    spans = [part.stem.split("-")[1:] for part in parts]
    pictures = sum(int(stop) - int(start) for start, stop in spans)
    return {"out": str(out), "parts": len(parts), "pictures": pictures, "bad": sum(map(_bad, parts))}


def here(predictor: Predictor, inputs: Sequence[Input], form: str, spans: Sequence[Range]) -> Iterator[Part]:
    """Answers part by part on this machine's devices; while one is computed the next is read."""
    with ThreadPoolExecutor(1) as ahead, Reader(inputs) as reader:
        reading: deque[Future[Block]] = deque()
        for span in (*spans, None):
            if span:
                reading.append(ahead.submit(reader.read, *span))
            if reading and (span is None or len(reading) > 1):
                yield _answered(predictor, reading.popleft().result(), form)


def on_ray(found: Artifact, inputs: Sequence[Input], form: str, address: str, spans: Sequence[Range]) -> Iterator[Part]:
    """Answers part by part on a Ray cluster, whose machines see the inputs under the same names.

    Args:
      address: of the cluster's head; '' for a cluster of this machine alone.

    Raises:
      UsageError: Ray is not installed.
      DigitjaxError: no cluster answers at the address, or the work broke off.
    """
    if not spans:
        return
    require("ray")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    from ray.exceptions import RayError

    try:
        if address:  # Ray itself would try for a minute and more
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:
        missed = f"no Ray cluster answers at {address or 'this machine'} ({first_line(error)})"
        raise DigitjaxError(f"{missed}: start one; where it asks for a token, set RAY_AUTH_MODE=token here") from error
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars, context.print_on_execution_start = False, False
        resources = ray.cluster_resources()
        kind = "GPU" if resources.get("GPU") else "CPU"
        items = ray.data.from_items(
            [{"start": start, "stop": stop} for start, stop in spans], override_num_blocks=len(spans)
        )
        rows = items.map_batches(
            _Worker,
            batch_size=1,
            concurrency=(1, max(1, int(resources[kind]))),
            fn_constructor_args=(ray.put(found), ray.put(list(inputs)), form),
            num_cpus=1 if kind == "CPU" else 0,
            num_gpus=1 if kind == "GPU" else 0,
        )
        for row in rows.iter_rows():
            yield Part(int(row["start"]), int(row["stop"]), row["content"])
    except RayError as error:
        cause = str(error).strip().splitlines()[-1]
        raise DigitjaxError(f"the work on Ray broke off ({cause}): run again to go on") from error
    finally:
        ray.shutdown()


class _Worker:
    """An actor of Ray Data: it holds the model, and answers one part a call."""

    def __init__(self, found: Any, inputs: Any, form: str):
        import ray

        device.prepare(training=False)
        self._predictor = predict.of(ray.get(found))
        self._reader, self._form = Reader(ray.get(inputs)), form

    def __call__(self, batch: Mapping[str, np.ndarray]) -> dict[str, Any]:
        parts = [
            _answered(self._predictor, self._reader.read(int(start), int(stop)), self._form)
            for start, stop in zip(batch["start"], batch["stop"])
        ]
        return {name: [getattr(part, name) for part in parts] for name in Part._fields}


def _answered(predictor: Predictor, block: Block, form: str) -> Part:
    answers = iter(predict.predictions(predictor.judge(block.images)))
    documents = [
        name | ({"error": block.errors[place]} if place in block.errors else next(answers)._asdict())
        for place, name in enumerate(block.names)
    ]
    return Part(block.start, block.stop, _ENCODERS[form](documents))


def _as_jsonl(documents: Sequence[Mapping[str, Any]]) -> bytes:
    return msgspec.json.Encoder().encode_lines(documents)


def _as_parquet(documents: Sequence[Mapping[str, Any]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet

    columns = {"file": pa.string(), "row": pa.int64(), "digit": pa.int8(), "confidence": pa.float32()}
    columns |= {"probabilities": pa.list_(pa.float32()), "verdict": pa.string(), "error": pa.string()}
    sink = pa.BufferOutputStream()
    pyarrow.parquet.write_table(pa.Table.from_pylist(list(documents), pa.schema(columns)), sink)
    return sink.getvalue().to_pybytes()


_ENCODERS = {"jsonl": _as_jsonl, "parquet": _as_parquet}


def _bad(part: Path) -> int:
    if part.suffix == ".jsonl":
        return part.read_bytes().count(b'"error":')
    import pyarrow.parquet

    errors = pyarrow.parquet.read_table(part, columns=["error"])["error"]
    return len(errors) - errors.null_count


def _file(out: Path, start: int, stop: int, form: str) -> Path:
    return out / f"part-{start:012d}-{stop:012d}.{form}"
