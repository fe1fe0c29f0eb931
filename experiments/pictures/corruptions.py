"""Families: the 15 corruptions of MNIST-C (Mu and Gilmer, 2019), written anew from their description.

Each takes a digit as MNIST shows it, [28, 28] from 0 to 1, bright on dark; strengths are drawn from around the paper's
severity and beyond; what leaves the range is clipped afterwards.
"""

import itertools
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
from jaxtyping import Float32

from experiments.pictures.papers import clouds
from experiments.pictures.strokes import Random, Subject, as_in_mnist, draw_line, glyph

Digit = Float32[np.ndarray, "28 28"]
CENTRE = np.array([13.5, 13.5])


def corrupted(rng: Random, subject: Subject, corruption: Callable[[Random, Digit], np.ndarray]) -> np.ndarray:
    if isinstance(subject, np.ndarray):
        digit = subject.astype(np.float32) / 255
    else:
        digit = as_in_mnist(glyph(rng, subject, 100, rng.uniform(0.09, 0.16)))
    return np.round(np.clip(corruption(rng, digit), 0, 1) * 255).astype(np.uint8)


def shot_noise(rng: Random, digit: Digit) -> np.ndarray:
    photons = rng.uniform(4, 14)
    return rng.poisson(digit * photons + rng.choice([0, 0.3])) / photons


def impulse_noise(rng: Random, digit: Digit) -> np.ndarray:
    hit = rng.random(digit.shape) < rng.uniform(0.1, 0.3)
    return np.where(hit, rng.integers(0, 2, digit.shape), digit)


def glass_blur(rng: Random, digit: Digit) -> np.ndarray:
    reach = rng.uniform(0.8, 1.7)
    y, x = (np.indices(digit.shape) + rng.uniform(-reach, reach, (2, 28, 28))).astype(np.float32)
    return cv2.GaussianBlur(cv2.remap(digit, x, y, cv2.INTER_LINEAR), (0, 0), rng.uniform(0.5, 1))


def motion_blur(rng: Random, digit: Digit) -> np.ndarray:
    """The digit and its fading trail."""
    angle, reach = rng.uniform(-np.pi / 4, np.pi / 4), rng.uniform(2.5, 4)
    steps = np.arange(0, 11)
    weights = np.exp(-((steps / reach) ** 2) / 2)
    trail = [_warped(digit, np.eye(2), (step * np.cos(angle), step * np.sin(angle))) for step in steps]
    return np.average(trail, axis=0, weights=weights)


def shear(rng: Random, digit: Digit) -> np.ndarray:
    return _warped(digit, np.array([[1, _either_way(rng, 0.3, 0.8)], [0, 1]]))


def scale(rng: Random, digit: Digit) -> np.ndarray:
    return _warped(digit, np.eye(2) / rng.uniform(0.4, 0.75))


def rotate(rng: Random, digit: Digit) -> np.ndarray:
    angle = np.radians(_either_way(rng, 15, 35))
    return _warped(digit, np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]))


def brightness(rng: Random, digit: Digit) -> np.ndarray:
    return digit + rng.uniform(0.25, 0.7)


def translate(rng: Random, digit: Digit) -> np.ndarray:
    return _warped(digit, np.eye(2), (_either_way(rng, 2, 5), _either_way(rng, 2, 5)))


def stripe(rng: Random, digit: Digit) -> np.ndarray:
    """Bands along two sides, or one, are inverted."""
    upright = rng.random() < 0.5
    left, right = rng.integers(4, 9), rng.integers(19, 24)
    bands = np.zeros(28, bool)
    if rng.random() < 0.6:
        bands[:left] = bands[right:] = True
    else:
        bands[left : left + 5] = True
    return np.where(bands if upright else bands[:, None], 1 - digit, digit)


def fog(rng: Random, digit: Digit) -> np.ndarray:
    """Mist of many sizes, the larger the denser, takes most of the contrast."""
    mist = np.sum([clouds(rng, digit.shape, cells) / cells for cells in (1.5, 3, 6, 12)], axis=0)
    mist = (mist - mist.min()) / np.ptp(mist)
    dense = rng.uniform(1, 3)
    return (digit + dense * mist) / (1 + dense)


def spatter(rng: Random, digit: Digit) -> np.ndarray:
    """Bright drops, or grey mud that hides what is under it."""
    drops = cv2.GaussianBlur(rng.normal(0, 1, (28, 28)).astype(np.float32), (0, 0), rng.uniform(0.9, 1.5))
    wet = np.clip((drops / drops.std() - rng.uniform(1.2, 1.9)) * 2, 0, 1)
    return np.maximum(digit, wet * rng.uniform(0.4, 0.9)) if rng.random() < 0.5 else digit + wet * (0.25 - digit)


def dotted_line(rng: Random, digit: Digit) -> np.ndarray:
    return _with_line(rng, digit, rng.uniform(3, 25, 2), dotted=True)


def zigzag(rng: Random, digit: Digit) -> np.ndarray:
    corners = rng.integers(4, 9)
    swing = _either_way(rng, 2, 5) * (-1) ** np.arange(corners)
    heights = rng.uniform(6, 22) + swing + np.linspace(0, rng.normal(0, 4), corners)
    return _with_line(rng, digit, np.clip(heights, 0, 27))


def canny_edges(rng: Random, digit: Digit) -> np.ndarray:
    soft = cv2.GaussianBlur(digit * 255, (0, 0), rng.uniform(0.6, 1.1)).astype(np.uint8)
    return cv2.Canny(soft, 60, 150, L2gradient=True) / 255


def _warped(digit: Digit, matrix: np.ndarray, shift: tuple[float, float] = (0, 0)) -> np.ndarray:
    """Each pixel is taken from matrix @ (x, y) - shift, about the middle of the picture."""
    whole = np.column_stack([matrix, CENTRE - matrix @ CENTRE - shift])
    return cv2.warpAffine(digit, whole, (28, 28), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


def _either_way(rng: Random, low: float, high: float) -> float:
    return float(rng.choice([-1, 1]) * rng.uniform(low, high))


def _with_line(rng: Random, digit: Digit, heights: np.ndarray, dotted: bool = False) -> np.ndarray:
    """A bright line over the digit through evenly spaced corners, from left to right or from top to bottom."""
    corners = np.column_stack([np.linspace(0, 27, len(heights)), heights])
    lines = np.zeros((28, 28), np.uint8)
    for start, stop in itertools.pairwise(corners):
        draw_line(lines, start, stop, 255)
    if dotted:
        lines[:, ::3] = 0
    return np.maximum(digit, (lines if rng.random() < 0.5 else lines.T) / 255)


CORRUPTIONS = (
    shot_noise,
    impulse_noise,
    glass_blur,
    motion_blur,
    shear,
    scale,
    rotate,
    brightness,
    translate,
    stripe,
    fog,
    spatter,
    dotted_line,
    zigzag,
    canny_edges,
)
FAMILIES = {f"c_{c.__name__}": partial(corrupted, corruption=c) for c in CORRUPTIONS}
