"""Test pictures by seed: what phones, scanners and mice make of digits, and what is no digit at all.

A family makes a picture of a generator and a subject: a 28 x 28 digit, whose strokes are borrowed, or a label, which is
written anew along a pen path. A picture is anything that `pixels.read_picture` takes: an array, or bytes where a file
format has its say. Nothing here is trained on, and nothing is shared with `augment.py`: this is the yardstick.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Literal

import numpy as np

from digitjax import data
from digitjax.data import Dataset
from experiments.pictures import corruptions, drawings, nondigits, photos, scans

Picture = np.ndarray | bytes
NOT_A_DIGIT = -1

_DIGITS: dict[str, Mapping[str, Callable[..., Picture]]] = {
    "photos": photos.FAMILIES,
    "drawings": drawings.FAMILIES,
    "scans": scans.FAMILIES,
    "usps": scans.SMALL,
    "corruptions": corruptions.FAMILIES,
}
_GROUPS = _DIGITS | nondigits.GROUPS
GROUPS: dict[str, tuple[str, ...]] = {group: tuple(found) for group, found in _GROUPS.items()}
"""The families of each group, by name; the groups without digits are `NONDIGITS`."""
NONDIGITS = tuple(nondigits.GROUPS)


def families() -> dict[str, Callable[..., Picture]]:
    """Every family by name. One of digits takes (generator, subject), one without digits (generator)."""
    return {name: make for group in _GROUPS.values() for name, make in group.items()}


def sample(
    family: str, n: int, seed: int = 0, pen_paths: float = 0.3, split: Literal["validation", "test"] = "validation"
) -> list[tuple[Picture, int]]:
    """`n` pictures with their labels (-1: not a digit); picture i depends on (family, seed, i) alone.

    Args:
      pen_paths: the share of digits that are written anew; the others borrow their strokes from `split` of MNIST.
    """
    make, digits = families()[family], _digits(split)
    drawn = []
    for i in range(n):
        rng = np.random.default_rng([seed, i, *family.encode()])
        which = int(rng.integers(len(digits.labels)))
        label = int(digits.labels[which])
        subject = label if rng.random() < pen_paths else digits.images[which]
        if family.startswith("not_"):
            drawn.append((make(rng), NOT_A_DIGIT))
        else:
            drawn.append((make(rng, subject), label))
    return drawn


@cache
def _digits(split: str) -> Dataset:
    return getattr(data.load("mnist"), split)
