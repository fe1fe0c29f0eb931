"""Strokes: what is written as coverage, from 0 (paper) to 1 (full ink), cropped to the ink."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float32

from experiments.pictures.paths import DIGITS, Stroke, strokes

Random = np.random.Generator
Subject = np.ndarray | int | str
"""A digit of 28 x 28 whose strokes are borrowed, a label that is written anew along a pen path, or such a path."""
Coverage = Float32[np.ndarray, "_ _"]


def pick(rng: Random, choices: Sequence[Any]) -> Any:
    return choices[int(rng.integers(len(choices)))]


MNIST_PEN = 0.12  # a pen's width in MNIST, as a share of its digit's height


def glyph(rng: Random, subject: Subject, height: int, pen: float | None = None) -> Coverage:
    """A digit about `height` pixels high, by a pen whose width is the share `pen` of that; None leaves it open."""
    height = max(int(height), 4)
    if not isinstance(subject, np.ndarray):
        return write(rng, written(rng, subject), height, pen)
    digit = np.pad(cropped(subject.astype(np.float32) / 255), 1)
    shape = max(2, round(digit.shape[1] * height / digit.shape[0])), height
    if height < 24:
        return cropped(cv2.resize(digit, shape, interpolation=cv2.INTER_AREA))
    smooth = cv2.GaussianBlur(cv2.resize(digit, shape, interpolation=cv2.INTER_CUBIC), (0, 0), height / 50)
    coverage = np.clip((smooth - 0.4) / 0.2 + 0.5, 0, 1)
    return cropped(coverage if pen is None else _repenned(coverage, pen))


def written(rng: Random, subject: int | str) -> list[Stroke]:
    return strokes(subject if isinstance(subject, str) else pick(rng, DIGITS[subject]))


def write(rng: Random, path: Sequence[Stroke], height: int, pen: float | None = None) -> Coverage:
    """Strokes by an unsteady hand, its pressure and its slant, `height` pixels high."""
    large = max(height, 40)
    pen = large * (pen or rng.uniform(0.05, 0.16))
    slant, aspect = rng.normal(0.08, 0.15), rng.uniform(0.55, 0.95)
    bend = rng.normal(0, 0.035, (4, 2))
    margin = int(large * 0.45)
    canvas = np.zeros((large + 2 * margin, large + 2 * margin), np.uint8)
    for stroke in path:
        moved = dict(zip(stroke, np.array(stroke) + rng.normal(0, 0.022, (len(stroke), 2))))
        curve = smooth([tuple(moved[point]) for point in stroke])
        curve = curve + np.sin(curve @ rng.normal(0, 4, (2, 4)) + rng.uniform(0, 6, 4)) @ bend
        curve[:, 0] = (curve[:, 0] - 0.5) * aspect + 0.5 - slant * (curve[:, 1] - 0.5)
        pressure = 1 + 0.25 * np.cumsum(rng.normal(0, 0.12, len(curve))).clip(-1.5, 1.5)
        if rng.random() < 0.3:  # the pen lifts while it still moves
            last = min(6, len(curve))
            pressure[-last:] *= np.linspace(1, 0.4, last)
        points = curve * large + margin
        for start, stop, width in zip(points, points[1:], pen * pressure):
            draw_line(canvas, start, stop, 255, width)
    coverage = cropped(canvas.astype(np.float32) / 255)
    if height == large:
        return coverage
    shape = max(1, round(coverage.shape[1] * height / coverage.shape[0])), height
    return cv2.resize(coverage, shape, interpolation=cv2.INTER_AREA)


def smooth(points: Stroke, step: float = 0.04) -> np.ndarray:
    """A Catmull-Rom curve through the points, [points, 2]; it stops and starts again at doubled points."""
    turns = [i for i in range(1, len(points)) if points[i] == points[i - 1]]
    curve = []
    for first, last in zip([0, *turns], [*turns, len(points)]):
        run = points[first:last]
        knots = np.array([run[0], *run, run[-1]])
        for a, b, c, d in zip(knots, knots[1:], knots[2:], knots[3:]):
            t = np.linspace(0, 1, max(2, int(np.hypot(*(c - b)) / step)), endpoint=False)[:, None]
            curve.append(b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * b - a - 3 * c + d))))
        curve.append(knots[-1:])
    return np.concatenate(curve)


def draw_line(canvas: np.ndarray, start: Sequence, stop: Sequence, colour: Any, width: float = 1) -> None:
    """An antialiased line between points that need not be whole pixels."""
    a, b = np.round(np.array([start, stop]) * 16).astype(int).tolist()
    cv2.line(canvas, a, b, colour, max(1, round(width)), cv2.LINE_AA, 4)


def cropped(coverage: np.ndarray) -> np.ndarray:
    left, top, width, height = cv2.boundingRect((coverage > 0.1).astype(np.uint8))
    return coverage[top : top + height, left : left + width] if width else np.ones((2, 2), np.float32)


def as_in_mnist(coverage: Coverage) -> Float32[np.ndarray, "28 28"]:
    """Scaled to 20 pixels, the centre of mass in the middle of 28 x 28."""
    zoom = 20 / max(coverage.shape)
    moments = cv2.moments(coverage)
    middle = np.array([moments["m10"], moments["m01"]]) / moments["m00"]
    matrix = np.column_stack([np.eye(2) * zoom, 14 - zoom * (middle + 0.5)])
    soft = cv2.GaussianBlur(coverage, (0, 0), 0.4 / zoom)  # the resampling takes single pixels
    return cv2.warpAffine(soft, matrix, (28, 28))


def _repenned(coverage: Coverage, pen: float) -> Coverage:
    """The same path by a pen of another width."""
    change = round(len(coverage) * (pen - MNIST_PEN))
    side = abs(change) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    if change >= 0:
        return cv2.dilate(np.pad(coverage, change), kernel)
    traced = _traced(coverage, pen)
    return traced if pen < MNIST_PEN / 2 else np.maximum(cv2.erode(coverage, kernel), traced)


def _traced(coverage: Coverage, pen: float) -> Coverage:
    """The middle of the strokes, drawn as a line; erosion alone would break a thin pen's strokes."""
    zoom = min(1.0, 120 / len(coverage))
    small = cv2.resize(coverage, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
    middle = np.pad(_thinned((small > 0.5).astype(np.uint8)), 1)
    rows, columns = np.nonzero(middle)
    # The mean of near places along the line takes the pixels' steps out of it.
    share = cv2.blur(middle.astype(np.float32), (7, 7)) + 1e-6
    at = [cv2.blur(np.multiply(middle, axis, dtype=np.float32), (7, 7)) / share for axis in np.indices(middle.shape)]
    canvas = np.zeros(coverage.shape, np.uint8)
    for row, column in zip(rows, columns):
        for below, right in ((0, 1), (1, -1), (1, 0), (1, 1)):
            if middle[row + below, column + right]:
                places = (row, column), (row + below, column + right)
                a, b = [((at[1][place] - 0.5) / zoom, (at[0][place] - 0.5) / zoom) for place in places]
                draw_line(canvas, a, b, 255, pen * len(coverage))
    return canvas.astype(np.float32) / 255


def _thinned(mask: np.ndarray) -> np.ndarray:
    """The skeleton of a mask, by hit and miss with Golay's L (Serra, Image Analysis and Mathematical Morphology)."""
    side, corner = np.array([[-1, -1, -1], [0, 1, 0], [1, 1, 1]]), np.array([[0, -1, -1], [1, 1, -1], [0, 1, 0]])
    kernels = [np.ascontiguousarray(np.rot90(kernel, turn)) for turn in range(4) for kernel in (side, corner)]
    thinner = mask
    while True:
        for kernel in kernels:
            thinner = thinner - cv2.morphologyEx(thinner, cv2.MORPH_HITMISS, kernel)
        if (thinner == mask).all():
            break
        mask = thinner
    for _ in range(len(mask) // 20):  # without the forks into the corners of its ends
        mask = mask * (cv2.blur(mask.astype(np.float32), (3, 3)) > 2.5 / 9)
    return mask
