"""Arrays by name, out of any file that holds some: .npz, .npy, MATLAB's, HDF5, tables of numbers; never by pickle."""

import gzip
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from digitjax.base.errors import DigitjaxError
from digitjax.data import arrow
from digitjax.data.arrow import COUNTS, LABELS

TAKEN = (
    "a folder a class, a folder of pictures with a labels.csv (file,label), IDX files, .npz, .mat, .h5 (images and "
    "labels, x_train and y_train, train/data and train/target ...), .npy (images.npy beside labels.npy), .parquet, "
    ".feather or .arrow, .csv, .tsv or .arff (a row a picture: its grey levels and its label)"
)
"""The forms of digits that are read, for messages."""
SUFFIXES = (*arrow.SUFFIXES, ".npz", ".mat", ".h5", ".hdf5", ".csv", ".tsv", ".arff")
"""Of files that may hold images and labels."""
MOST_BYTES = 8 << 30
"""Of one array, unpacked: a header may claim anything."""
IMAGES = ("images", "image", "x", "data", "pixels", "features", "fea")
PARTS = {"train": "train", "training": "train", "test": "test", "testing": "test"} | dict.fromkeys(
    ("val", "valid", "validation", "dev"), "val"
)
_GZIP = b"\x1f\x8b"
_STRANGE = (
    (rb"PK\x03\x04", "is a zip archive: unpack it, and name the folder or file that was in it"),
    (rb"\x80[\x02-\x05]|\(dp|\(lp", "is a pickle, which would run what it says: save its arrays by np.savez"),
    (rb"SQLite format 3", "is a database: save its rows as .csv"),
    (rb"\s*[\[{]", "is JSON: save it as .csv, a row a picture, or its arrays by np.savez"),
    (
        rb"[^\0]{1,100}\0{1,99}(?s:.{157})ustar",
        "is a tar archive: unpack it, and name the folder or file that was in it",
    ),
)
"""What a file that is none of ours is, by its first bytes, and what to do with it."""
_SQUARES = [side * side for side in range(8, 129)]


def read(file: Path) -> Mapping[str, np.ndarray]:
    """Every array of numbers or words in a file; of a table of numbers `images` and, where it has them, `labels`.

    Raises:
      DigitjaxError: the file is in no form that is taken, or damaged.
    """
    kind = kind_of(file)
    readers = {".npz": _npz, ".npy": _npy, ".mat": _mat, ".h5": _hdf5, ".hdf5": _hdf5}
    readers |= dict.fromkeys(arrow.SUFFIXES, arrow.numbers)
    try:
        if kind not in readers and (what := _strange(file)):
            raise DigitjaxError(f"{file} {what}")
        found = readers.get(kind, _table)(file)
    # The readers of other formats raise whatever a damaged file leads them to.
    except (Exception, MemoryError) as error:
        if isinstance(error, DigitjaxError):
            raise
        what = f"is no readable {kind} file of numbers" if kind in readers else "has lines that are no row of numbers"
        raise DigitjaxError(f"{file} {what}: give {TAKEN}") from error
    return {name: array for name, array in found.items() if array.dtype.kind in "buifSU"}


def kind_of(file: Path) -> str:
    """Its suffix, without that of a packer."""
    return file.suffix.lower() if file.suffix.lower() != ".gz" else Path(file.stem).suffix.lower()


def _strange(file: Path) -> str:
    start = _start(file)
    return next((told for mark, told in _STRANGE if re.match(mark, start)), "")


def parts(found: Mapping[str, np.ndarray]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Images and labels among arrays, by part: '' (undivided), train, val, test.

    An array a digit (train0 to train9) is images with their labels; of two arrays that nobody named, as `np.savez`
    leaves them, the larger is the images.
    """
    images, labels = by_part(found, IMAGES), by_part(found, LABELS)
    if pairs := {part: (images[part], labels[part]) for part in images if part in labels}:
        return pairs
    digits: dict[str, dict[int, np.ndarray]] = {}
    for name, array in found.items():
        if (named := re.fullmatch(r"(.*?)[-_ /]?([0-9])", name)) and array.ndim > 1:
            digits.setdefault(named[1], {})[int(named[2])] = array
    for name, arrays in digits.items():
        if len(arrays) == 10 and len({array.shape[1:] for array in arrays.values()}) == 1:
            counts = [len(arrays[digit]) for digit in range(10)]
            joined = np.concatenate([arrays[digit] for digit in range(10)])
            pairs[part_named(name) or ""] = joined, np.repeat(np.arange(10), counts)
    if not pairs and len(found) == 2 and all(name.startswith("arr_") for name in found):
        small, large = sorted(found.values(), key=lambda array: array.size)
        pairs[""] = large, small
    return pairs


def _tokens(name: str) -> list[str]:
    """The words that a name is made of: trainX is of train and x."""
    return [token.lower() for token in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name.replace("t10k", "test"))]


def part_named(name: str) -> str | None:
    """The part of a data set that a name is about: x_train, trainX, train/data, trainingSet, t10k ..."""
    return next((PARTS[token] for token in _tokens(name) if token in PARTS), None)


def by_part(found: Mapping[str, np.ndarray], words: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The array of each part that one of these words names: x_train, trainX, train/data, images ..."""
    chosen: dict[str, np.ndarray] = {}
    for word in reversed(words):  # the first words count most
        for name, array in found.items():
            if word in _tokens(name):
                chosen[part_named(name) or ""] = array
    return chosen


def is_table(file: Path) -> bool:
    """Whether a file holds rows of numbers, whatever it is called."""
    return re.fullmatch(rb"([-+\d.eE\"']+[\s,;]+){50,}[-+\d.eE\"']*", _start(file)) is not None


def _start(file: Path) -> bytes:
    with file.open("rb") as stream:
        start = stream.read(4096)
    return zlib.decompressobj(wbits=31).decompress(start, 4096) if start[:2] == _GZIP else start


def _bounded(name: str, shape: tuple[int, ...], size: int) -> None:
    if np.prod(shape, dtype=float) * size > MOST_BYTES:
        raise ValueError(f"{name} would have {shape} elements")


def _npz(file: Path) -> Mapping[str, np.ndarray]:
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            _bounded(member.filename, (member.file_size,), 1)
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as found:
        return {name: found[name] for name in found.files}


def _npy(file: Path) -> Mapping[str, np.ndarray]:
    with file.open("rb") as stream:
        return {file.stem: np.load(stream, allow_pickle=False)}


def _mat(file: Path) -> Mapping[str, np.ndarray]:
    """MATLAB's up to version 7.2 by SciPy; 7.3 is HDF5, with its axes the other way round."""
    import scipy.io

    with file.open("rb") as stream:
        stream.seek(512)
        newer = stream.read(4) == b"\x89HDF"
    if newer:
        return {name: array.T for name, array in _hdf5(file).items()}
    for name, shape, _ in scipy.io.whosmat(file):
        _bounded(name, shape, 1)
    return dict(_flat("", scipy.io.loadmat(file, simplify_cells=True)))


def _flat(name: str, found: Any) -> list[tuple[str, np.ndarray]]:
    """The arrays of a nest of structs, named by their ways."""
    if isinstance(found, Mapping):
        return [pair for key, value in found.items() if key[:2] != "__" for pair in _flat(f"{name}/{key}", value)]
    return [(name.lstrip("/"), np.asarray(found))] if isinstance(found, np.ndarray) else []


def _hdf5(file: Path) -> Mapping[str, np.ndarray]:
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise DigitjaxError(f"{file} is HDF5, for which h5py is missing: pip install 'digitjax[export]'") from error

    found: dict[str, np.ndarray] = {}

    def keep(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "buif":
            _bounded(name, item.shape, item.dtype.itemsize)
            found[name] = item[()]

    with h5py.File(file) as opened:
        opened.visititems(keep)
    return found


def _table(file: Path) -> Mapping[str, np.ndarray]:
    """Rows of numbers, packed or not: CSV as Kaggle has it, ARFF as OpenML has it, or with spaces between them."""
    with file.open("rb") as stream:
        packed = stream.read(2) == _GZIP
    with gzip.open(file) if packed else file.open("rb") as stream:
        content = stream.read(MOST_BYTES + 1)
    _bounded(file.name, (len(content),), 1)
    text = content.decode().replace('"', "").replace("'", "")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith(("%", "@", "#"))]
    delimiter = next((sign for sign in (",", ";", "\t") if lines and sign in lines[0]), None)
    head = [word.strip().lower() for word in lines[0].split(delimiter)] if lines else []
    try:
        [float(word) for word in head]
        head = []
    except ValueError:
        lines = lines[1:]
    if not lines:  # NumPy would warn, on the user's terminal
        raise DigitjaxError(f"{file} has no rows of numbers: give {TAKEN}")
    rows = np.loadtxt(lines, delimiter=delimiter, dtype=np.float32, ndmin=2)
    if head and head[0] in COUNTS and len(head) == rows.shape[1]:
        head, rows = head[1:], rows[:, 1:]
    return _columns(file, rows, [place for place, name in enumerate(head) if name in LABELS])


def _columns(file: Path, rows: np.ndarray, named: list[int]) -> Mapping[str, np.ndarray]:
    """Grey levels and labels of rows: the label before or behind them, ten of them behind, or none."""
    number = rows.shape[1]
    if number - 1 in _SQUARES:
        # The border of a picture is all ground, at either end: what varies there from 0 to 10 are labels.
        spans = [np.ptp(ends) if _may_label(ends) else -1 for ends in (rows[:, 0], rows[:, -1])]
        place = named[0] if named else (0 if spans[0] >= spans[1] else number - 1)
        return {"images": np.delete(rows, place, 1), "labels": rows[:, place]}
    if number - 10 in _SQUARES and (rows[:, -10:].sum(1) == 1).all():
        return {"images": rows[:, :-10], "labels": rows[:, -10:]}
    if number in _SQUARES:
        return {"images": rows}
    raise DigitjaxError(f"{file} has rows of {number} numbers: give a picture's 784 grey levels and its label")


def _may_label(values: np.ndarray) -> bool:
    return bool(values.min() >= 0 and values.max() <= 10 and not (values % 1).any())
