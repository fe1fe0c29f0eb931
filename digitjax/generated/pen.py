"""A pen: paths of points, and what it leaves that follows them: slanted, turned, with the tremor of a hand."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8

Draw = np.random.Generator
Stroke = Float[np.ndarray, "_ 2"]
Points = Sequence[Any] | np.ndarray
"""Of (x, y)."""
Number = float | int
_FINE = 16
"""Steps of a curve between two of its points."""


def written(
    rng: Draw, strokes: Sequence[Stroke], height: int = 80, pen: Number | None = None, slant: Number | None = None
) -> UInt8[np.ndarray, "_ _"]:
    """What a pen leaves that follows `strokes`: slanted, turned, with the tremor and the pressure of one hand.

    Args:
      pen: its width in pixels, and `slant`: columns to the left a row down; drawn if not given.
    """
    drawn_slant, turn = rng.normal(0.1, 0.22), np.radians(rng.normal(0, 4))
    drawn_pen, pressure = height * rng.uniform(0.035, 0.17), rng.uniform(0, 0.35)
    pen, slant = drawn_pen if pen is None else pen, drawn_slant if slant is None else slant
    # A hurried hand keeps less to the form.
    tremor, offset = abs(rng.normal(0, 0.006 if rng.random() < 0.6 else 0.018)), rng.normal(0, 0.012, (len(strokes), 2))
    lean = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ np.array([[1, -slant], [0, 1]])
    moved = [(np.asarray(stroke) - (0.5, 0.5) + apart) @ lean.T * height for stroke, apart in zip(strokes, offset)]
    moved = [_shaken(rng, stroke, tremor * height) for stroke in moved]
    corner = np.min([stroke.min(0) for stroke in moved], axis=0) - pen
    width, tall = (np.ceil(np.max([stroke.max(0) for stroke in moved], axis=0) - corner + pen)).astype(int)
    canvas = np.zeros((int(tall) + 1, int(width) + 1), np.uint8)
    for stroke in moved:
        # A pen presses harder in the middle of a stroke than where it lands and leaves.
        along = np.sin(np.linspace(0.15, np.pi - 0.15, len(stroke)))
        widths = np.maximum(pen * (1 - pressure * (1 - along)), 1)
        points = np.round((stroke - corner) * 16).astype(np.int32)
        for start, stop, thickness in zip(points, points[1:], widths):
            cv2.line(canvas, start.tolist(), stop.tolist(), 255, max(1, round(float(thickness))), cv2.LINE_AA, 4)
    left, top, across, down = cv2.boundingRect((canvas > 90).astype(np.uint8))
    return canvas[top : top + down, left : left + across]


def curve(points: Points) -> Stroke:
    """A smooth path through its points (Catmull and Rom 1974); straight between two."""
    knots = np.asarray(points, np.float64)
    if len(knots) < 3:
        return knots
    knots = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    t = np.linspace(0, 1, _FINE, endpoint=False)[:, None]
    parts = [
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        for a, b, c, d in zip(knots, knots[1:], knots[2:], knots[3:])
    ]
    return np.concatenate([*parts, knots[-2:-1]])


def arc(x: Number, y: Number, across: Number, down: Number, start: Number, sweep: Number) -> Stroke:
    """A part of an ellipse about (x, y): degrees, from the right clockwise, since y points down."""
    angles = np.radians(start + np.linspace(0, sweep, max(6, int(abs(sweep) / 12))))
    return np.stack([x + across * np.cos(angles), y + down * np.sin(angles)], 1)


def joined(*parts: Points) -> Stroke:
    """Paths one after another, without lifting the pen."""
    return np.concatenate([np.asarray(part, np.float64) for part in parts])


def _shaken(rng: Draw, stroke: Stroke, amount: float) -> Stroke:
    """A tremor: a smooth wander about the path, which is drawn finer first where it is long and straight."""
    lengths = np.linalg.norm(np.diff(stroke, axis=0), axis=1)
    total = np.concatenate([[0], np.cumsum(lengths)])
    places = np.unique(np.concatenate([total, np.linspace(0, total[-1], 24)]))
    fine = np.stack([np.interp(places, total, stroke[:, axis]) for axis in (0, 1)], 1)
    wander = curve(rng.normal(0, amount, (6, 2)) * 2)
    along = np.linspace(0, len(wander) - 1, len(fine))
    return fine + np.stack([np.interp(along, np.arange(len(wander)), wander[:, axis]) for axis in (0, 1)], 1)
