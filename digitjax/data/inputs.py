"""Pictures and arrays of digits where they lie: what files hold them, and any range of them, in bounded memory."""

import glob
import gzip
import hashlib
import json
import os
import re
import zipfile
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import UInt8

from digitjax.base.disk import stamp
from digitjax.base.errors import DigitjaxError, UsageError, first_line
from digitjax.data import arrays, arrow
from digitjax.data.arrow import Table

SUFFIXES = {".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
SUFFIXES |= {".pgm", ".pbm", ".ppm", ".pnm"}
"""What counts as a picture in a folder; a file that is named is tried whatever it is called."""


_IMAGE = 28 * 28
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
            digest.update(json.dumps(stamp(file)).encode())
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
        return {"pictures": self.size, "member": self.member, "stamp": stamp(self.file)}


class Loaded(NamedTuple):
    """Images of a file that is read whole: MATLAB's, HDF5, tables of numbers, arrays of another size or type."""

    file: str
    size: int

    def name(self, place: int) -> dict[str, Any]:
        return {"file": self.file, "row": place}

    def identity(self) -> Mapping[str, Any]:
        return {"pictures": self.size, "stamp": stamp(self.file)}


Input = Pictures | Rows | Table | Loaded
Range = tuple[int, int]


def named(words: Sequence[str]) -> list[Path]:
    """The files that are meant: of a folder all pictures below it, of a pattern those that it matches, in their order.

    Raises:
      UsageError: no words are given.
      DigitjaxError: a folder or a pattern that has none.
    """
    if not words:
        raise UsageError("no pictures are named: name files, folders or patterns such as 'scans/*.png'")
    return [file for word in words for file in _meant(word)]


def _meant(word: str) -> Iterator[Path]:
    path = Path(word).expanduser()
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    elif glob.has_magic(word) and not path.exists():
        files = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    else:
        files = [path]
    if not files:
        raise DigitjaxError(f"no pictures in {word}: name pictures ({', '.join(sorted(SUFFIXES))}) or their folder")
    yield from files


def left_out(words: Sequence[str]) -> list[Path]:
    """The files in the folders among `words` that count as no pictures, by their suffix."""
    folders = [path for word in words if (path := Path(word).expanduser()).is_dir()]
    files = (file for folder in folders for file in sorted(folder.rglob("*")) if file.is_file())
    return [file for file in files if file.suffix.lower() not in SUFFIXES and not file.name.startswith(".")]


def may_be_picture(file: Path) -> bool:
    """Whether a file that lies among pictures is called as they are, or has no suffix at all."""
    return file.suffix.lower() in SUFFIXES or not file.suffix


def told_left_out(files: Sequence[Path]) -> str:
    """Names what was left out, in a line; '' where nothing was."""
    if not files:
        return ""
    more = f" and {len(files) - 5} more" if len(files) > 5 else ""
    names = ", ".join(map(str, files[:5]))
    return f"left out, not called as pictures are: {names}{more}; name them to have them tried"


def inputs(words: Sequence[str]) -> list[Input]:
    """What is meant: files and patterns, folders of pictures, of IDX files or of Parquet files.

    Raises:
      DigitjaxError: there is nothing, or an array or a table holds no images of 28 x 28.
    """
    found: list[Input] = []
    for word in words:
        pictures: list[str] = []
        for file in _inside(Path(word).expanduser()) or named([word]):
            many = _many(file)
            if many is None:
                pictures.append(str(file))
            found += many or ()
        if pictures:
            found.append(Pictures(pictures))
    if not sum(source.size for source in found):
        raise DigitjaxError(f"{' '.join(words)} holds no pictures: name a folder, or a file of arrays or tables")
    return found


def _inside(folder: Path) -> list[Path]:
    """The IDX or Parquet files of a folder; of an IDX file that is there packed and unpacked, one."""
    named_so = (file for file in sorted(folder.glob("*idx3*")) if is_idx(file, "images"))
    images = {file.name.removesuffix(".gz"): file for file in named_so}
    return [*images.values()] or sorted(folder.rglob("*.parquet"))


class Block(NamedTuple):
    """Pictures on their way: their names, the images of the good ones, and what is wrong with the others."""

    start: int
    stop: int
    names: list[dict[str, Any]]
    images: UInt8[np.ndarray, "n 28 28"]
    errors: dict[int, str]


class Reader:
    """Reads ranges of pictures; going forward it reads nothing twice. For one thread at a time."""

    def __init__(self, inputs: Sequence[Input]):
        self._inputs = inputs
        self._firsts = [0, *accumulate(source.size for source in inputs)]
        self._opened: dict[int, Any] = {}
        self._threads = ThreadPoolExecutor(len(os.sched_getaffinity(0)))

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for opened in self._opened.values():
            opened.close()

    def read(self, start: int, stop: int) -> Block:
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
        return Block(start, stop, names, images[:good], errors)

    def _chunks(self, number: int, start: int, stop: int) -> Iterator[UInt8[np.ndarray, "n 28 28"] | Sequence[Any]]:
        """Images in MNIST's form, or pictures of any kind."""
        source = self._inputs[number]
        if isinstance(source, Pictures):
            yield source.files[start:stop]
            return
        try:
            opened: Any = self._opened.get(number)
            if opened is None:
                opened = self._opened[number] = _opened(source)
            if isinstance(source, Table | Loaded):
                yield from opened.chunks(start, stop)
                return
            opened.seek(source.offset + start * _IMAGE)
            content = opened.read((stop - start) * _IMAGE)
            yield np.frombuffer(content, np.uint8).reshape(stop - start, 28, 28)
        except _DAMAGED as error:
            where = f"{source.file} is damaged between its pictures {start} and {stop}"
            raise DigitjaxError(f"{where} ({first_line(error)}): mend it, and run again with another --out") from error


def _opened(source: Rows | Table | Loaded) -> Any:
    if isinstance(source, Rows):
        return _stream(source.file, source.member)
    if isinstance(source, Table) and source.file.endswith(".parquet"):
        return arrow.Cursor(source)
    return _Whole(source)


class _Whole:
    """All rows of a file at once: in memory, or where Arrow maps them."""

    def __init__(self, source: Table | Loaded):
        if isinstance(source, Loaded):
            self._rows = _images_in(source.file, json.dumps(stamp(source.file)))
        else:
            self._rows = arrow.column(source, source.column)

    def close(self) -> None:
        self._rows = None

    def chunks(self, start: int, stop: int) -> Iterator[Any]:
        assert self._rows is not None
        if isinstance(self._rows, np.ndarray):
            yield self._rows[start:stop]
        else:
            for chunk in self._rows.slice(start, stop - start).chunks:
                yield arrow.unpacked(chunk)


def _many(file: Path) -> Sequence[Input] | None:
    """What an array file or a table holds; None where the file is a single picture."""
    if file.suffix in arrow.SUFFIXES:
        return [arrow.table(file) or _loaded(file)]
    if {*file.suffixes} & {".npy", ".mat", ".h5", ".hdf5", ".csv", ".tsv", ".arff"}:
        return [_loaded(file)]
    try:
        if file.suffix.lower() not in SUFFIXES | {".npz"} and not is_idx(file, "images") and arrays.is_table(file):
            return [_loaded(file)]
        if file.suffix == ".npz":
            return _in_npz(file) or [_loaded(file)]
        if is_idx(file, "images"):
            with _stream(str(file), "") as stream:
                (size, *shape), dtype = idx_shape(stream.read(16))
            if shape != [28, 28] or dtype != np.uint8:
                raise ValueError(f"its images are {shape}")
            if file.suffix != ".gz" and file.stat().st_size != 16 + size * _IMAGE:
                raise ValueError(f"its header tells of {size} images, its size of another number")
            return [Rows(str(file), "", size, 16)]
    except _DAMAGED as error:
        what = f"{file} is damaged, or holds no images of 28 x 28 bytes"
        raise DigitjaxError(f"{what} ({first_line(error)}): name another file") from error
    return None


def is_idx(file: Path, kind: Literal["images", "labels"]) -> bool:
    """Whether a file is named as MNIST's files are, in one of the ways in which unpackers leave them."""
    dimensions = {"images": "3", "labels": "[12]"}[kind]
    return re.search(rf"[-._]idx{dimensions}([-._](ubyte|int))?(\.gz)?$", file.name) is not None


def idx_shape(content: bytes) -> tuple[list[int], np.dtype]:
    """Shape and type of an IDX array, by its head (the format of the MNIST site: magic, sizes, content).

    Raises:
      ValueError: it is none of bytes or of 32-bit integers.
    """
    types = {8: np.dtype(np.uint8), 12: np.dtype(">i4")}
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in types or len(content) < 4 + 4 * content[3]:
        raise ValueError(f"it starts with {content[:4]!r}, not with the mark of IDX")
    return np.frombuffer(content[4 : 4 + 4 * content[3]], ">u4").tolist(), types[content[2]]


def _in_npz(file: Path) -> Sequence[Rows]:
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
    return [found["images.npy"]] if "images.npy" in found else list(found.values())


def _loaded(file: Path) -> Loaded:
    return Loaded(str(file), len(_images_in(str(file), json.dumps(stamp(str(file))))))


@lru_cache(1)
def _images_in(file: str, stamp: str) -> UInt8[np.ndarray, "n 28 28"]:  # noqa: ARG001
    """All images of a file that is read whole, once: to be counted, and then to be answered."""
    from digitjax.data import sources

    return sources.images_of(Path(file))


def _stream(file: str, member: str) -> Any:
    if member:
        return zipfile.ZipFile(file).open(member)
    return gzip.open(file) if file.endswith(".gz") else Path(file).open("rb")


def _form(picture: Any) -> UInt8[np.ndarray, "28 28"] | str:
    from digitjax.picture.canonical import canonical  # OpenCV comes with it, and takes a while
    from digitjax.picture.pixels import PictureError

    try:
        return canonical(picture)
    except PictureError as error:
        return str(error)
