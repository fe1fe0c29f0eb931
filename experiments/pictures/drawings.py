"""Families: drawings with a mouse or a stylus on a canvas, without light and noise."""

from functools import partial

import cv2
import numpy as np

from experiments.pictures.strokes import Coverage, Random, Subject, cropped, glyph, pick, smooth, written

SIDES = (28, 56, 100, 140, 200, 280, 280, 400, 512, 800)
POLARITIES = ("dark", "light", "clear")
INKS = ((200, 30, 30), (20, 20, 160), (0, 110, 40), (120, 120, 120))


def mouse(rng: Random, subject: Subject, polarity: str) -> np.ndarray | bytes:
    """On a canvas of 28 to 800 pixels; `clear` is a transparent one."""
    side = pick(rng, SIDES)
    coverage = _by_mouse(rng, subject, side)[:side, :side]
    return on_canvas(rng, _placed(rng, coverage, side), polarity)


def stylus(rng: Random, subject: Subject, polarity: str, framed: bool = False) -> np.ndarray | bytes:
    """Thin strokes, 1 to 4 pixels, on 200 to 500, often small and anywhere; `framed` shows the canvas's own edge."""
    side = int(rng.integers(200, 501))
    height = int(side * rng.uniform(0.1, 0.8))
    coverage = glyph(rng, subject, max(height, 24), rng.uniform(1, 4) / height)[: side - 12, : side - 12]
    if rng.random() < 0.3:  # without antialiasing
        coverage = (coverage > 0.4).astype(np.float32)
    canvas = np.pad(_placed(rng, coverage, side - 12), 6)
    if framed:
        thick = int(rng.integers(1, 4))
        cv2.rectangle(canvas, (0, 0, side, side), rng.uniform(0.2, 1), thick)
    return on_canvas(rng, canvas, polarity)


def _placed(rng: Random, coverage: Coverage, side: int) -> Coverage:
    """Anywhere on an empty square."""
    canvas = np.zeros((side, side), np.float32)
    top, left = (int(free * rng.uniform(0, 1)) for free in np.subtract(canvas.shape, coverage.shape))
    canvas[top : top + coverage.shape[0], left : left + coverage.shape[1]] = coverage
    return canvas


def on_canvas(rng: Random, canvas: Coverage, polarity: str) -> np.ndarray | bytes:
    """White on black (`dark`), dark on bright (`light`), or a PNG with black or white strokes on transparent."""
    level = np.round(canvas * 255).astype(np.uint8)
    if polarity == "dark":
        return level
    if polarity == "clear":
        stroke = np.full((*level.shape, 3), rng.choice([0, 0, 255]), np.uint8)
        return cv2.imencode(".png", np.dstack([stroke, level]))[1].tobytes()
    colours = ((255, 255, 255), (0, 0, 0)) if rng.random() < 0.6 else ((240, 240, 230), pick(rng, INKS))
    ground, stroke = np.array(colours, np.float32)
    drawn = (ground + canvas[..., None] * (stroke - ground)).round().astype(np.uint8)
    if rng.random() < 0.7:
        return drawn
    return cv2.imencode(".jpg", drawn[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 90))])[1].tobytes()


def _by_mouse(rng: Random, subject: Subject, side: int) -> Coverage:
    """Shaky straight pieces of one width."""
    height = int(side * rng.uniform(0.3, 0.9))
    thick = max(1, side * rng.choice([0.008, 0.015, 0.03, 0.05, 0.08, 0.1]))
    if isinstance(subject, np.ndarray):
        return glyph(rng, subject, height, min(thick / height, 0.2))
    curves = [smooth(stroke, rng.uniform(0.04, 0.2)) for stroke in written(rng, subject)]
    thick = round(thick)
    room = thick + 2
    canvas = np.zeros((height + 2 * room + height // 3,) * 2, np.uint8)
    aspect = rng.uniform(0.5, 1)
    for curve in curves:
        points = (curve + rng.normal(0, 0.015, curve.shape)) * (aspect * height, height) + room
        kind = cv2.LINE_AA if rng.random() < 0.7 else cv2.LINE_8
        cv2.polylines(canvas, [np.round(points).astype(int)], False, 255, thick, kind)
    return cropped(canvas.astype(np.float32) / 255)


def framed(rng: Random, subject: Subject) -> np.ndarray | bytes:
    return stylus(rng, subject, pick(rng, POLARITIES), framed=True)


FAMILIES = {
    **{f"mouse_{polarity}": partial(mouse, polarity=polarity) for polarity in POLARITIES},
    **{f"stylus_{polarity}": partial(stylus, polarity=polarity) for polarity in POLARITIES},
    "stylus_framed": framed,
}
