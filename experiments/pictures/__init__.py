"""Test pictures by seed: what phones, scanners and mice make of digits, and what is no digit at all.

A family makes a picture of a generator and a subject: a 28 x 28 digit, whose strokes are borrowed, or a label, which is
written anew along a pen path. A picture is anything that `pixels.read_picture` takes: an array, or bytes where a file
format has its say. Nothing here is trained on, and nothing is shared with `augment.py`: this is the yardstick.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Literal

import numpy as np

from digitjax.data import datasets
from digitjax.data.datasets import Dataset
from experiments.pictures import corruptions, drawings, hands, nondigits, photos, scans, strings
from experiments.pictures.strokes import Random, Subject

Picture = np.ndarray | bytes
Label = int | str
"""A digit, `NOT_A_DIGIT`, or the digits of a string with a line break between its lines."""
NOT_A_DIGIT = -1
Split = Literal["validation", "test"]

_DIGITS: dict[str, Mapping[str, Callable[..., Picture]]] = {
    "photos": photos.FAMILIES,
    "drawings": drawings.FAMILIES,
    "scans": scans.FAMILIES,
    "usps": scans.SMALL,
    "hands": hands.FAMILIES,
    "corruptions": corruptions.FAMILIES,
    "strings": strings.FAMILIES,
}
_GROUPS = _DIGITS | nondigits.GROUPS
GROUPS: dict[str, tuple[str, ...]] = {group: tuple(found) for group, found in _GROUPS.items()}
"""The families of each group, by name; the groups without digits are `NONDIGITS`."""
NONDIGITS = tuple(nondigits.GROUPS)


def families() -> dict[str, Callable[..., Picture]]:
    """Every family by name, as a function of a generator and of a subject, of lines of subjects (the group `strings`),
    or of nothing else (what is no digit, and `hands`, each of which is of one digit).
    """
    return {name: make for group in _GROUPS.values() for name, make in group.items()}


def sample(
    family: str, n: int, seed: int = 0, pen_paths: float = 0.3, split: Split = "validation"
) -> list[tuple[Picture, Label]]:
    """`n` pictures with their labels; picture i depends on (family, seed, i) alone.

    Args:
      pen_paths: the share of digits that are written anew; the others borrow their strokes from `split` of MNIST.
    """
    make, digits = families()[family], _digits(split)

    def draw(rng: Random) -> tuple[Subject, int]:
        which = int(rng.integers(len(digits.labels)))
        label = int(digits.labels[which])
        return label if rng.random() < pen_paths else digits.images[which], label

    def picture(rng: Random) -> tuple[Picture, Label]:
        if family.startswith("not_"):
            return make(rng), NOT_A_DIGIT
        if isinstance(make, hands.Hand):
            return make(rng), make.digit
        if not isinstance(make, strings.Text):
            subject, label = draw(rng)
            return make(rng, subject), label
        lines = [[draw(rng) for _ in range(count)] for count in make.layout(rng)]
        text = "\n".join("".join(str(label) for _, label in line) for line in lines)
        if make.hands:
            return make(rng, [[hands.way(rng, label) for _, label in line] for line in lines]), text
        return make(rng, [[subject for subject, _ in line] for line in lines]), text

    return [picture(np.random.default_rng([seed, i, *family.encode()])) for i in range(n)]


@cache
def _digits(split: str) -> Dataset:
    return getattr(datasets.load("mnist"), split)
