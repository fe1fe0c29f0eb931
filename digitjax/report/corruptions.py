"""What a digit may meet after training: corruptions, changes by degrees, and pictures that are out of distribution.

Fifteen corruptions after MNIST-C (Mu and Gilmer 2019, arXiv:1906.02337), drawn anew. None is shared with the training's
augmentation, which is code of its own.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8

Digit = UInt8[np.ndarray, "28 28"]
Digits = UInt8[np.ndarray, "n 28 28"]
Rng = np.random.Generator
Amount = float | int


def corrupted(digits: Digits, name: str, seed: int = 0) -> Digits:
    """Every digit under one of `CORRUPTIONS`."""
    rng = np.random.default_rng(seed)
    return np.stack([_bytes(CORRUPTIONS[name](digit, rng)) for digit in digits])


def changed(digits: Digits, name: str, amount: Amount, seed: int = 0) -> Digits:
    """Every digit changed by an amount of one of `DEGREES`."""
    rng = np.random.default_rng(seed)
    return np.stack([_bytes(DEGREES[name].change(digit, amount, rng)) for digit in digits])


def out_of_distribution(name: str, count: int, seed: int = 0) -> Digits:
    """Pictures of one of `OUT_OF_DISTRIBUTION`."""
    rng = np.random.default_rng(seed)
    return np.stack([_bytes(OUT_OF_DISTRIBUTION[name](rng)) for _ in range(count)])


def _bytes(picture: np.ndarray) -> Digit:
    return np.clip(picture, 0, 255).astype(np.uint8)


# --- by degrees


def _affine(digit: Digit, matrix: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """About the middle of the picture; `matrix` acts on (x, y)."""
    offset = 13.5 * (1 - matrix.sum(1)) + shift
    return cv2.warpAffine(digit, np.column_stack([matrix, offset]), (28, 28), flags=cv2.INTER_LINEAR)


def shifted(digit: Digit, pixels: Amount, rng: Rng) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi)
    return _affine(digit, np.eye(2), pixels * np.array([np.cos(angle), np.sin(angle)]))


def scaled(digit: Digit, factor: Amount, _rng: Rng) -> np.ndarray:
    return _affine(digit, factor * np.eye(2), np.zeros(2))


def rotated(digit: Digit, degrees: Amount, _rng: Rng) -> np.ndarray:
    turn = np.deg2rad(degrees)
    return _affine(digit, np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]), np.zeros(2))


def thickened(digit: Digit, pixels: Amount, _rng: Rng) -> np.ndarray:
    """Strokes wider by this on either side, or thinner where it is negative."""
    fine = cv2.resize(digit, (112, 112), interpolation=cv2.INTER_NEAREST)
    side = 2 * round(4 * abs(pixels)) + 1
    pen = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    return cv2.resize((cv2.dilate if pixels > 0 else cv2.erode)(fine, pen), (28, 28), interpolation=cv2.INTER_AREA)


def noisy(digit: Digit, std: Amount, rng: Rng) -> np.ndarray:
    return digit + 255 * std * rng.standard_normal((28, 28))


class Degree(NamedTuple):
    """A change by degrees: its unit, the amounts to try, and the change itself."""

    unit: str
    amounts: tuple[Amount, ...]
    change: Callable[[Digit, Amount, Rng], np.ndarray]


DEGREES: Mapping[str, Degree] = {
    "shift": Degree("pixels, in any direction", (0, 1, 2, 3, 4, 5, 6), shifted),
    "scale": Degree("times the size", (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3), scaled),
    "rotation": Degree("degrees", (-60, -45, -30, -15, 0, 15, 30, 45, 60), rotated),
    "stroke": Degree("pixels wider on either side", (-1.0, -0.75, -0.5, -0.25, 0, 0.5, 1.0, 1.5, 2.0), thickened),
    "noise": Degree("standard deviation, as a share of white", (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8), noisy),
}


# --- corruptions


def shot_noise(digit: Digit, rng: Rng) -> np.ndarray:
    return rng.poisson(digit / 255 * 15) / 15 * 255


def impulse_noise(digit: Digit, rng: Rng) -> np.ndarray:
    dice = rng.random((28, 28))
    return np.where(dice < 0.1, 0, np.where(dice > 0.9, 255, digit))


def glass_blur(digit: Digit, rng: Rng) -> np.ndarray:
    rows, columns = np.mgrid[:28, :28] + rng.integers(-2, 3, (2, 28, 28))
    return cv2.GaussianBlur(digit[rows.clip(0, 27), columns.clip(0, 27)], (0, 0), 0.7)


def motion_blur(digit: Digit, rng: Rng) -> np.ndarray:
    line = np.zeros((7, 7), np.float32)
    along = 3 * np.array([np.cos(turn := rng.uniform(0, np.pi)), np.sin(turn)])
    start, end = (tuple(int(value) for value in np.rint(3 + sign * along)) for sign in (-1, 1))
    cv2.line(line, start, end, 1)
    return cv2.filter2D(digit, -1, line / line.sum())


def shear(digit: Digit, rng: Rng) -> np.ndarray:
    return _affine(digit, np.array([[1, rng.choice([-1, 1]) * 0.6], [0, 1]]), np.zeros(2))


def scale(digit: Digit, rng: Rng) -> np.ndarray:
    return scaled(digit, 0.6, rng)


def rotate(digit: Digit, rng: Rng) -> np.ndarray:
    return rotated(digit, rng.choice([-30.0, 30.0]), rng)


def translate(digit: Digit, rng: Rng) -> np.ndarray:
    return _affine(digit, np.eye(2), rng.choice([-3, 3], 2).astype(float))


def brightness(digit: Digit, _rng: Rng) -> np.ndarray:
    return digit.astype(int) + 120


def stripe(digit: Digit, _rng: Rng) -> np.ndarray:
    """The outer quarters are inverted."""
    inside = np.abs(np.arange(28) - 13.5) < 7
    return np.where(inside, digit, 255 - digit)


def fog(digit: Digit, rng: Rng) -> np.ndarray:
    octaves = [cv2.resize(rng.random((n, n)), (28, 28), interpolation=cv2.INTER_CUBIC) / n for n in (2, 4, 8)]
    cloud = np.sum(octaves, axis=0)
    return 0.5 * digit + 150 * cloud / cloud.max()


def spatter(digit: Digit, rng: Rng) -> np.ndarray:
    drops = cv2.GaussianBlur(rng.standard_normal((28, 28)), (0, 0), 1)
    return np.where(drops > np.quantile(drops, 0.92), 200, digit)


def dotted_line(digit: Digit, rng: Rng) -> np.ndarray:
    start, end = rng.uniform(0, 27, 2), rng.uniform(0, 27, 2)
    places = np.linspace(start, end, 12).round().astype(int)
    picture = digit.copy()
    picture[places[:, 0], places[:, 1]] = 255
    return picture


def zigzag(digit: Digit, rng: Rng) -> np.ndarray:
    x = np.arange(0, 29, 4)
    y = rng.integers(8, 20) + 4 * (-1) ** np.arange(len(x)) + rng.integers(-1, 2, len(x))
    return cv2.polylines(digit.copy(), [np.column_stack([x, y]).astype(np.int32)], False, 255, 1, cv2.LINE_AA)


def canny_edges(digit: Digit, _rng: Rng) -> np.ndarray:
    return cv2.Canny(digit, 100, 200)


CORRUPTIONS: Mapping[str, Callable[[Digit, Rng], np.ndarray]] = {
    corruption.__name__: corruption
    for corruption in (
        shot_noise,
        impulse_noise,
        glass_blur,
        motion_blur,
        shear,
        scale,
        rotate,
        translate,
        brightness,
        stripe,
        fog,
        spatter,
        dotted_line,
        zigzag,
        canny_edges,
    )
}


# --- what is no digit


def gaussian_noise(rng: Rng) -> np.ndarray:
    return 127 + 60 * rng.standard_normal((28, 28))


def uniform_noise(rng: Rng) -> np.ndarray:
    return rng.uniform(0, 255, (28, 28))


def textures(rng: Rng) -> np.ndarray:
    """A smooth random field, bars, rings or a chequerboard."""
    rows, columns = np.mgrid[:28, :28] - rng.uniform(8, 20, (2, 1, 1))
    period = rng.uniform(3, 9)
    kinds = (
        lambda: 6 * cv2.GaussianBlur(rng.standard_normal((28, 28)), (0, 0), period / 3),
        lambda: np.sin(2 * np.pi * (rows * np.cos(period) + columns * np.sin(period)) / period),
        lambda: np.sin(2 * np.pi * np.hypot(rows, columns) / period),
        lambda: np.sign(np.sin(np.pi * rows / period) * np.sin(np.pi * columns / period)),
    )
    return 127 * (1 + kinds[rng.integers(len(kinds))]())


def letters(rng: Rng) -> np.ndarray:
    """A letter that nobody takes for a digit, in the typeface that Pillow carries, bent, in MNIST's form."""
    from PIL import Image, ImageDraw, ImageFont

    from digitjax.picture.canonical import canonical

    paper = Image.new("L", (96, 96), 0)
    letter = rng.choice(list("ACEFHKMNPRUVWXYadefhkmnprtwxy"))
    font = ImageFont.load_default(int(rng.integers(36, 60)))
    ImageDraw.Draw(paper).text((48, 48), letter, 255, font, "mm", stroke_width=int(rng.integers(0, 4)))
    matrix = np.eye(2) + rng.normal(0, 0.12, (2, 2))
    bent = cv2.warpAffine(np.asarray(paper), np.column_stack([matrix, 48 * (1 - matrix.sum(1))]), (96, 96))
    return canonical(bent)


OUT_OF_DISTRIBUTION: Mapping[str, Callable[[Rng], np.ndarray]] = {
    kind.__name__: kind for kind in (gaussian_noise, uniform_noise, textures, letters)
}
