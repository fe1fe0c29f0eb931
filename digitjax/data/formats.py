"""Labelled digits as arrays: what their shapes, levels, labels and parts mean, in MNIST's form in the end."""

import hashlib
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8

from digitjax.base.errors import DigitjaxError


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
    channels; labels are [n], [n, 1], [n, 10] with a one at each place, from 1 to 10, where ten is zero, or words. Grey
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


def unlabelled(name: str, images: np.ndarray, labels: np.ndarray | None = None) -> UInt8[np.ndarray, "n 28 28"]:
    """Images as `checked` takes them, whose labels, if there are any, say no more than how many they are."""
    number = len(images) if labels is None else len(_labels(name, labels))
    return formed(_levels(name, _squares(name, images, number)))


_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def named_digit(name: str) -> int | None:
    """The digit that a folder or a label names: 7, 07, digit_7, seven; Sample008 (Chars74K counts from one)."""
    if name.lower() in _WORDS:
        return _WORDS.index(name.lower())
    found = re.fullmatch(r"(sample)?(?:digit|class|label)?[ _-]?0*([0-9]{1,2})(?:\.0*)?", name.strip().lower())
    number = int(found[2]) - bool(found[1]) if found else -1
    return number if 0 <= number <= 9 else None


def _labels(name: str, labels: np.ndarray) -> np.ndarray:
    if labels.dtype.kind in "OSU":
        words = [word.decode("latin-1") if isinstance(word, bytes) else str(word) for word in labels.ravel().tolist()]
        numbers = [named_digit(word) for word in words]
        if None in numbers:
            raise DigitjaxError(f"{name}: the label {words[numbers.index(None)]!r} names no digit: give 0 to 9")
        labels = np.array(numbers, np.int64).reshape(labels.shape)
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


_SCALED = 64
"""Fractions up to here are no grey levels to 255 that were resized, but normalised by who knows what."""


def _levels(name: str, images: np.ndarray) -> np.ndarray:
    """Grey levels of other types: numbers to 255, or floats to 1, from 0 or from -1."""
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind not in "buif" or not images.size or not np.isfinite(images).all():
        raise DigitjaxError(f"{name}: images are {images.dtype}: give uint8, 0 for the ground to 255 for the stroke")
    low, high = float(images.min()), float(images.max())
    if images.dtype.kind == "f" and -1 <= low < 0 < high <= 1:
        return np.round((images + 1) * 127.5).astype(np.uint8)
    if low < 0 or high > 255 or (1 < high < _SCALED and (images % 1).any()):
        told = f"images are {images.dtype} from {low:g} to {high:g}"
        raise DigitjaxError(f"{name}: {told}: give whole numbers from 0 to 255, or floats from 0 to 1")
    scale = 255.0 if images.dtype.kind == "f" and high <= 1 else 1
    return np.round(images * scale).astype(np.uint8) if images.dtype.kind == "f" else images.astype(np.uint8)


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


def divided(by_part: Mapping[str, Dataset], note: str = "") -> Source:
    """Parts as their authors divided them: what is no test part is learnt from; without one, `val` is it."""
    by_part = dict(by_part)
    test = by_part.pop("test", None) or (by_part.pop("val", None) if len(by_part) > 1 else None)
    if not by_part and test is not None:
        return Source.of(test, None, note)
    several = len(by_part) > 1
    learnt = Dataset(*map(np.concatenate, zip(*by_part.values()))) if several else next(iter(by_part.values()))
    return Source.of(learnt, test, note)
