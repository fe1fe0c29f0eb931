"""Millions of pictures: read in order from where they lie, answered part by part, in files that survive a kill.

The same parts come from this machine (`here`) or from many (`on_ray`): an engine is a function from ranges to answers.
"""

import gzip
import hashlib
import importlib.util
import json
import logging
import os
import socket
import zipfile
import zlib
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from jaxtyping import UInt8

from digitjax import files, mesh, predict
from digitjax.artifact import Artifact
from digitjax.canonical import canonical
from digitjax.checkpoint import claim, write_file, write_text
from digitjax.errors import DigitjaxError, UsageError
from digitjax.pixels import PictureError
from digitjax.predict import Predictor

PART = 2048
"""Pictures in a part: what a kill can cost, and what is in memory at a time."""
FORMATS = ("jsonl", "parquet")
_MANIFEST, _DECODED_AT_ONCE, _IMAGE = "manifest.json", 64, 28 * 28
_DAMAGED = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error)


class Pictures(NamedTuple):
    """Files of one picture each."""

    files: Sequence[str]

    @property
    def size(self) -> int:
        return len(self.files)

    def name(self, place: int) -> dict[str, Any]:
        return {"file": self.files[place]}

    def identity(self) -> Mapping[str, Any]:
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(json.dumps(_stamp(file)).encode())
        return {"pictures": self.size, "checksum": digest.hexdigest()}


class Rows(NamedTuple):
    """Images one after another in a file, 784 bytes each and in MNIST's form: IDX, or an array in an .npz."""

    file: str
    member: str
    """The array's name in the .npz; '' of an IDX file."""
    size: int
    offset: int
    """Bytes before the first image."""

    def name(self, place: int) -> dict[str, Any]:
        return {"file": self.file, "row": place}

    def identity(self) -> Mapping[str, Any]:
        return {"pictures": self.size, "member": self.member, "stamp": _stamp(self.file)}


class Table(NamedTuple):
    """A column of a Parquet file: pictures as they were in their files, or 784 bytes in MNIST's form."""

    file: str
    column: str
    size: int

    def name(self, place: int) -> dict[str, Any]:
        return {"file": self.file, "row": place}

    def identity(self) -> Mapping[str, Any]:
        return {"pictures": self.size, "column": self.column, "stamp": _stamp(self.file)}


Source = Pictures | Rows | Table
Range = tuple[int, int]


class Part(NamedTuple):
    """The answers to the pictures from `start` to `stop`, as the content of their file."""

    start: int
    stop: int
    content: bytes


Engine = Callable[[Sequence[Range]], Iterable[Part]]


def sources(words: Sequence[str]) -> list[Source]:
    """What is meant: files and patterns, folders of pictures, of IDX files or of Parquet files.

    Raises:
      DigitjaxError: there is nothing, or an array or a table holds no images of 28 x 28.
    """
    found: list[Source] = []
    for word in words:
        pictures: list[str] = []
        for file in _inside(Path(word).expanduser()) or files.named([word]):
            many = _many(file)
            if many is None:
                pictures.append(str(file))
            else:
                found.append(many)
        if pictures:
            found.append(Pictures(pictures))
    if not sum(source.size for source in found):
        raise DigitjaxError(f"{' '.join(words)} holds no pictures: name a folder, an .npz, an IDX or a Parquet file")
    return found


def _inside(folder: Path) -> list[Path]:
    """The IDX or Parquet files of a folder; of an IDX file that is there packed and unpacked, one."""
    images = {file.name.removesuffix(".gz"): file for file in sorted(folder.glob("*idx3-ubyte*"))}
    return [*images.values()] or sorted(folder.rglob("*.parquet"))


def write(out: Path, inputs: Sequence[Source], model: str, form: str, engine: Engine) -> Iterator[Part]:
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
        stored = json.loads((out / _MANIFEST).read_text())
        if changed := [name for name in manifest if stored.get(name) != manifest[name]]:
            raise UsageError(f"{out} holds answers with other {' and '.join(changed)}: name another folder with --out")
        for leftover in out.glob(".*.part-*"):
            leftover.unlink()
        total = sum(source.size for source in inputs)
        spans = [(start, min(start + PART, total)) for start in range(0, total, PART)]
        lacking = [span for span in spans if not _file(out, *span, form).exists()]
        for part in engine(lacking):
            write_file(_file(out, part.start, part.stop, form), partial(Path.write_bytes, data=part.content))
            yield part


def summary(out: Path) -> dict[str, Any]:
    """How many pictures the parts in `out` answer, and how many of them were bad."""
    parts = sorted(out.glob("part-*"))
    spans = [part.stem.split("-")[1:] for part in parts]
    pictures = sum(int(stop) - int(start) for start, stop in spans)
    return {"out": str(out), "parts": len(parts), "pictures": pictures, "bad": sum(map(_bad, parts))}


def here(predictor: Predictor, inputs: Sequence[Source], form: str, spans: Sequence[Range]) -> Iterator[Part]:
    """Answers part by part on this machine's devices; while one is computed the next is read."""
    with ThreadPoolExecutor(1) as ahead, _Reader(inputs) as reader:
        reading: deque[Future[_Block]] = deque()
        for span in (*spans, None):
            if span:
                reading.append(ahead.submit(reader.read, *span))
            if reading and (span is None or len(reading) > 1):
                yield _answered(predictor, reading.popleft().result(), form)


def on_ray(
    found: Artifact, inputs: Sequence[Source], form: str, address: str, spans: Sequence[Range]
) -> Iterator[Part]:
    """Answers part by part on a Ray cluster, whose machines see the inputs under the same names.

    Args:
      address: of the cluster's head; '' for a cluster of this machine alone.

    Raises:
      UsageError: Ray is not installed.
      DigitjaxError: no cluster answers at the address, or the work broke off.
    """
    if not spans:
        return
    _require("ray")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    from ray.exceptions import RayError

    try:
        if address:  # Ray itself would try for a minute and more
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(address=address or None, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:
        raise DigitjaxError(f"no Ray cluster answers at {address or 'this machine'} ({_line(error)})") from error
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

        mesh.prepare(training=False)
        self._predictor = predict.of(ray.get(found))
        self._reader, self._form = _Reader(ray.get(inputs)), form

    def __call__(self, batch: Mapping[str, np.ndarray]) -> dict[str, Any]:
        parts = [
            _answered(self._predictor, self._reader.read(int(start), int(stop)), self._form)
            for start, stop in zip(batch["start"], batch["stop"])
        ]
        return {name: [getattr(part, name) for part in parts] for name in Part._fields}


class _Block(NamedTuple):
    """Pictures on their way: their names, the images of the good ones, and what is wrong with the others."""

    start: int
    stop: int
    names: list[dict[str, Any]]
    images: UInt8[np.ndarray, "n 28 28"]
    errors: dict[int, str]


class _Reader:
    """Reads ranges of pictures; going forward it reads nothing twice. For one thread at a time."""

    def __init__(self, inputs: Sequence[Source]):
        self._inputs = inputs
        self._firsts = [0, *accumulate(source.size for source in inputs)]
        self._opened: dict[int, Any] = {}
        self._threads = ThreadPoolExecutor(len(os.sched_getaffinity(0)))

    def __enter__(self) -> "_Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for opened in self._opened.values():
            opened.close()

    def read(self, start: int, stop: int) -> _Block:
        """The pictures from `start` to `stop`, counted through all sources; a bad one becomes its error."""
        images, good = np.zeros((stop - start, 28, 28), np.uint8), 0
        names: list[dict[str, Any]] = []
        errors: dict[int, str] = {}
        number = bisect_right(self._firsts, start) - 1
        while len(names) < stop - start:
            first = start + len(names) - self._firsts[number]
            last = min(stop, self._firsts[number + 1]) - self._firsts[number]
            for chunk in self._chunks(number, first, last):
                for form in chunk if isinstance(chunk, np.ndarray) else self._threads.map(_form, chunk):
                    if isinstance(form, str):
                        errors[len(names)] = form
                    else:
                        images[good] = form
                        good += 1
                    names.append(self._inputs[number].name(start + len(names) - self._firsts[number]))
            number += 1
        return _Block(start, stop, names, images[:good], errors)

    def _chunks(self, number: int, start: int, stop: int) -> Iterator[UInt8[np.ndarray, "n 28 28"] | Sequence[Any]]:
        """Images in MNIST's form, or pictures of any kind."""
        source = self._inputs[number]
        if isinstance(source, Pictures):
            yield source.files[start:stop]
            return
        try:
            opened: Any = self._opened.get(number)
            if opened is None:
                opened = _Cursor(source) if isinstance(source, Table) else _stream(source.file, source.member)
                self._opened[number] = opened
            if isinstance(source, Table):
                yield from opened.chunks(start, stop)
                return
            opened.seek(source.offset + start * _IMAGE)
            content = opened.read((stop - start) * _IMAGE)
            yield np.frombuffer(content, np.uint8).reshape(stop - start, 28, 28)
        except _DAMAGED as error:
            where = f"{source.file} is damaged between its pictures {start} and {stop}"
            raise DigitjaxError(f"{where} ({_line(error)}): mend it, and run again with another --out") from error


class _Cursor:
    """A place in a column of a Parquet file, whose rows are read a few at a time."""

    def __init__(self, table: Table):
        import pyarrow.parquet

        self._table = table
        self._file = pyarrow.parquet.ParquetFile(table.file, buffer_size=1 << 20)
        groups = [self._file.metadata.row_group(group).num_rows for group in range(self._file.num_row_groups)]
        self._firsts = [0, *accumulate(groups)]
        self._first, self._rows = 0, None
        self._batches: Iterator[Any] = iter(())

    def close(self) -> None:
        self._file.close()

    def chunks(self, start: int, stop: int) -> Iterator[Any]:
        while start < stop:
            if self._rows is None or start < self._first:
                group = bisect_right(self._firsts, start) - 1
                self._batches = self._file.iter_batches(
                    _DECODED_AT_ONCE, range(group, len(self._firsts) - 1), [self._table.column]
                )
                self._first, self._rows = self._firsts[group], next(self._batches).column(0)
            while start >= self._first + len(self._rows):
                self._first, self._rows = self._first + len(self._rows), next(self._batches).column(0)
            part = self._rows.slice(start - self._first, stop - start)
            yield _unpacked(part)
            start += len(part)


def _unpacked(column: Any) -> Any:
    """Rows of Arrow as images, where they are numbers, or as the bytes of files."""
    import pyarrow as pa

    if pa.types.is_struct(column.type):  # as Hugging Face stores pictures
        column = column.field("bytes")
    if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
        return column.flatten().to_numpy().reshape(len(column), 28, 28)
    return column.to_pylist()


def _many(file: Path) -> Rows | Table | None:
    """What an array file or a table holds; None where the file is a single picture."""
    if file.suffix == ".parquet":
        return _table(file)
    try:
        if file.suffix == ".npz":
            return _in_npz(file)
        if "idx3-ubyte" in file.name:
            with _stream(str(file), "") as stream:
                head = stream.read(16)
            size, *shape = np.frombuffer(head[4:], ">i4").tolist()
            if head[:4] != b"\0\0\x08\x03" or shape != [28, 28]:
                raise ValueError(f"it starts with {head!r}")
            if file.suffix != ".gz" and file.stat().st_size != 16 + size * _IMAGE:
                raise ValueError(f"its header tells of {size} images, its size of another number")
            return Rows(str(file), "", size, 16)
    except _DAMAGED as error:
        what = f"{file} is damaged, or holds no images of 28 x 28 bytes"
        raise DigitjaxError(f"{what} ({_line(error)}): name another file") from error
    return None


def _in_npz(file: Path) -> Rows:
    found = {}
    with zipfile.ZipFile(file) as archive:
        # Before any answer: reading in ranges would notice damage at the end, if ever.
        if damaged := archive.testzip():
            raise ValueError(f"{damaged} does not have its checksum")
        for member in archive.namelist():
            with archive.open(member) as stream:
                version = np.lib.format.read_magic(stream)
                numpy_1 = version == (1, 0)
                header = np.lib.format.read_array_header_1_0 if numpy_1 else np.lib.format.read_array_header_2_0
                shape, by_columns, dtype = header(stream)
                if dtype == np.uint8 and not by_columns and len(shape) > 1 and np.prod(shape[1:]) == _IMAGE:
                    found[member] = Rows(str(file), member, shape[0], stream.tell())
    if len(found) != 1 and "images.npy" not in found:
        raise ValueError(f"of its arrays {len(found)} are images, and none is called images")
    return found.get("images.npy") or next(iter(found.values()))


def _table(file: Path) -> Table:
    _require("pyarrow")
    import pyarrow as pa
    import pyarrow.parquet

    try:
        opened = pyarrow.parquet.ParquetFile(file)
        for field in opened.schema_arrow:
            kind = field.type
            packed = pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
            numbers = (pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind)) and kind.value_type == pa.uint8()
            if packed or numbers or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
                return Table(str(file), field.name, opened.metadata.num_rows)
    except (pa.ArrowException, OSError) as error:
        raise DigitjaxError(f"{file} is no Parquet file, or damaged ({_line(error)}): name another file") from error
    names = ", ".join(opened.schema_arrow.names)
    raise DigitjaxError(f"{file} has no column of pictures, or of 784 bytes each, among {names}: name another file")


def _stream(file: str, member: str) -> Any:
    if member:
        return zipfile.ZipFile(file).open(member)
    return gzip.open(file) if file.endswith(".gz") else Path(file).open("rb")


def _form(picture: Any) -> UInt8[np.ndarray, "28 28"] | str:
    try:
        return canonical(picture)
    except PictureError as error:
        return str(error)


def _answered(predictor: Predictor, block: _Block, form: str) -> Part:
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


def _stamp(file: str) -> list[Any]:
    try:
        known = Path(file).stat()
    except OSError:
        return [file]
    return [file, known.st_size, known.st_mtime_ns]


def _require(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise UsageError(f"{package} is not installed: pip install 'digitjax[ray]'")


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
