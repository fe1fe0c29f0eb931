"""Whether a data set lies on its side or is mirrored, as EMNIST's own files are: the model that ships can tell."""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import UInt8

from digitjax.data import datasets
from digitjax.data.datasets import Splits, stratified
from digitjax.data.formats import Dataset
from digitjax.reading import predict

Images = UInt8[np.ndarray, "n 28 28"]
SAMPLE = 512
LEAST, AHEAD = 0.7, 0.3  # of its digits are read, and so many more than as it came

TURNS: Mapping[str, Callable[[Images], Images]] = {
    "transposed": lambda images: images.transpose(0, 2, 1),
    "a quarter turn to the left": lambda images: np.rot90(images, -1, (1, 2)),
    "a quarter turn to the right": lambda images: np.rot90(images, 1, (1, 2)),
    "upside down": lambda images: images[:, ::-1, ::-1],
    "mirrored left to right": lambda images: images[:, :, ::-1],
    "mirrored top to bottom": lambda images: images[:, ::-1],
    "transposed and upside down": lambda images: images.transpose(0, 2, 1)[:, ::-1, ::-1],
}
"""How a set may lie, and what puts it right."""


def load(source: str, validation_share: float = 0.0) -> Splits:
    """As `datasets.load`, with digits that stand upright; what was turned is said in the note."""
    splits = datasets.load(source, validation_share)
    return splits if splits.name in datasets.NAMES else righted(splits)


def scored(source: str, learnt: str = "") -> tuple[Dataset, str, str]:
    """As `datasets.scored`, likewise."""
    digits, note, name = datasets.scored(source, learnt)
    how = "" if source in datasets.NAMES else lies(digits)
    return (turned(digits, how), told(note, how), name) if how else (digits, note, name)


def lies(digits: Dataset) -> str:
    """How a set of digits lies: '' where it stands upright, or cannot be told."""
    order = np.argsort(stratified(digits.labels, 0))[:SAMPLE]  # alike many of each class
    images, labels = digits.images[order], digits.labels[order]
    predictor = predict.load()

    def share(turned: Images) -> float:
        return float(np.mean(predictor.judge(np.ascontiguousarray(turned)).digits == labels))

    upright = share(images)
    if upright >= LEAST:
        return ""
    shares = {how: share(turn(images)) for how, turn in TURNS.items()}
    best = max(shares, key=shares.__getitem__)
    return best if shares[best] >= max(LEAST, upright + AHEAD) else ""


def righted(splits: Splits) -> Splits:
    """The splits with their digits upright, and a note where they were not."""
    how = lies(splits.everything())
    if not how:
        return splits
    parts = {part: turned(getattr(splits, part), how) for part in ("train", "validation", "test")}
    return splits._replace(**parts, note=told(splits.note, how))


def turned(digits: Dataset, how: str) -> Dataset:
    return digits._replace(images=np.ascontiguousarray(TURNS[how](digits.images)))


def told(note: str, how: str) -> str:
    return "; ".join([*filter(None, [note]), f"its digits are {how}: they were put upright"])
