"""Generated pictures of what is no digit, to be learnt as like no class (outlier exposure, Hendrycks et al. 2019)."""

from collections.abc import Callable

import cv2
import numpy as np
from jaxtyping import UInt8

from digitjax.data.sources import Dataset
from digitjax.picture.canonical import fitted

NO_CLASS = -1
LETTERS = "AEFHKMNPRUVWXYadefhkmnprtuvwxy@#%&?$+=*"
"""Those that nobody takes for a digit."""
Draw = np.random.Generator
Canvas = UInt8[np.ndarray, "height width"]


def joined(dataset: Dataset, share: float, seed: int) -> Dataset:
    """The data set and behind it `share` times as many non-digits, which carry the label -1."""
    count = round(share * len(dataset.labels))
    if not count:
        return dataset
    draw = np.random.default_rng((seed, 7))
    pictures = np.stack([_KINDS[number % len(_KINDS)](draw, dataset) for number in range(count)])
    labels = np.full(count, NO_CLASS, np.int32)
    return Dataset(np.concatenate([dataset.images, pictures]), np.concatenate([dataset.labels, labels]))


def _letter(draw: Draw, _: Dataset) -> np.ndarray:
    """One of OpenCV's pen-plotter letters (Hershey 1967), or two of them."""
    canvas = np.zeros((112, 160), np.uint8)
    text = "".join(draw.choice(list(LETTERS), draw.choice([1, 2], p=[0.9, 0.1])))
    font = int(draw.choice([0, 1, 2, 3, 4, 5, 6, 7])) | int(draw.choice([0, cv2.FONT_ITALIC]))
    cv2.putText(canvas, text, (30, 80), font, 2.2, 255, int(draw.integers(3, 11)), cv2.LINE_AA)
    return _fit(_bent(canvas, draw))


def _scribble(draw: Draw, _: Dataset) -> np.ndarray:
    """A pen that wanders: two to six strokes, straight or curved."""
    canvas = np.zeros((112, 112), np.uint8)
    for _stroke in range(draw.integers(2, 7)):
        corners = draw.uniform(10, 102, (draw.integers(2, 6), 2))
        if draw.random() < 0.6 and len(corners) > 2:
            steps = np.linspace(0, len(corners) - 1, 40)
            corners = np.stack([np.interp(steps, range(len(corners)), axis) for axis in corners.T], 1)
            corners = cv2.GaussianBlur(corners, (1, 15), 4, borderType=cv2.BORDER_REPLICATE)
        cv2.polylines(canvas, [corners.astype(np.int32)], False, 255, int(draw.integers(3, 12)), cv2.LINE_AA)
    return _fit(canvas)


def _glyph(draw: Draw, _: Dataset) -> np.ndarray:
    """A sign of no alphabet: three to five strokes, straight or curved, each of which starts on another."""
    canvas = np.zeros((112, 112), np.uint8)
    places = np.stack(np.meshgrid([32, 56, 80], [24, 45, 67, 88]), -1).reshape(-1, 2) + draw.normal(0, 4, (12, 2))
    thickness, start, along = int(draw.integers(3, 11)), int(draw.integers(12)), np.linspace(0, 1, 16)[:, None]
    for _stroke in range(draw.integers(3, 6)):
        stop = int(draw.choice([place for place in range(12) if place != start]))
        bend = draw.normal(0, 18, 2) * (draw.random() < 0.5)
        curve = places[start] + along * (places[stop] - places[start]) + 4 * along * (1 - along) * bend
        cv2.polylines(canvas, [curve.astype(np.int32)], False, 255, thickness, cv2.LINE_AA)
        start = int(draw.choice([start, stop]))
    return _fit(_bent(canvas, draw))


def _turned(draw: Draw, digits: Dataset) -> np.ndarray:
    """A digit on its side, of those that are none there; a collage where the data set has none of them."""
    asymmetric = np.flatnonzero(np.isin(digits.labels, (2, 3, 4, 5, 7)))
    if not len(asymmetric):
        return _collage(draw, digits)
    return np.rot90(digits.images[draw.choice(asymmetric)], draw.choice([1, 3]))


def _collage(draw: Draw, digits: Dataset) -> np.ndarray:
    """Two digits over each other, or one cut in four and put together wrongly."""
    first, second = digits.images[draw.integers(len(digits.images), size=2)]
    if draw.random() < 0.5:
        return np.maximum(first, np.roll(np.rot90(second), draw.integers(-4, 5, 2), (0, 1)))
    quarters = [first[:14, :14], first[:14, 14:], first[14:, :14], first[14:, 14:]]
    a, b, c, d = (quarters[place] for place in draw.permutation(4))
    return np.block([[a[::-1], b], [c, d[:, ::-1]]])


def _texture(draw: Draw, _: Dataset) -> np.ndarray:
    """Noise of any grain, or stripes and checks of any pitch, soft or hard, dense or sparse."""
    if draw.random() < 0.6:
        field = draw.normal(size=(28, 28))
        if grain := draw.choice([0, 0.5, 1, 2, 4]):
            field = cv2.GaussianBlur(field, (0, 0), grain, sigmaY=grain * draw.choice([1, 1, 3]))
    else:
        rows, columns = np.mgrid[:28, :28]
        pitch, turn, phase = draw.uniform(0.3, 2), draw.uniform(0, np.pi), draw.uniform(0, 6)
        field = np.sin(pitch * (np.cos(turn) * rows + np.sin(turn) * columns) + phase)
        if draw.random() < 0.4:
            field *= np.sin(pitch * (np.cos(turn) * columns - np.sin(turn) * rows))
    low, high = np.quantile(field, [draw.uniform(0, 0.7), draw.uniform(0.75, 1)])
    field = np.clip((field - low) / (high - low + 1e-6), 0, 1) * draw.uniform(80, 255)
    return np.where(field > field.max() / 2, field, 0 if draw.random() < 0.2 else field).astype(np.uint8)


def _thing(draw: Draw, _: Dataset) -> np.ndarray:
    """A filled shape, with or without inner shading: clothes, tools, icons, blots."""
    canvas = np.zeros((112, 112), np.uint8)
    for _stroke in range(draw.integers(1, 4)):
        centre, size = draw.uniform(36, 76, 2), draw.uniform(14, 48, 2)
        if draw.random() < 0.3:
            shape = [int(value) for value in (*centre, *size)]
            cv2.ellipse(canvas, shape[:2], shape[2:], draw.uniform(0, 180), 0, 360, int(draw.integers(90, 256)), -1)
        else:
            angles = np.sort(draw.uniform(0, 2 * np.pi, draw.integers(3, 9)))
            corners = centre + size * np.stack([np.cos(angles), np.sin(angles)], 1) * draw.uniform(0.6, 1.2)
            cv2.fillPoly(canvas, [corners.astype(np.int32)], int(draw.integers(90, 256)), cv2.LINE_AA)
    shade = cv2.resize(draw.uniform(draw.uniform(0.3, 1), 1, (6, 6)), (112, 112))
    return _fit((canvas * shade).astype(np.uint8))


def _figure(draw: Draw, _: Dataset) -> np.ndarray:
    """A drawn outline with corners: triangles, boxes, stars, arrows without a shaft, blurred or not."""
    canvas = np.zeros((112, 112), np.uint8)
    count = int(draw.integers(3, 7))
    angles = np.sort(draw.normal(np.arange(count), 0.12)) * 2 * np.pi / count + draw.uniform(0, 6)
    reach = 36 * draw.uniform(0.55, 1, 2) * np.where(np.arange(count) % 2, draw.choice([1, 1, 0.5]), 1)[:, None]
    corners = 56 + reach * np.stack([np.cos(angles), np.sin(angles)], 1)
    closed = draw.random() < 0.85
    cv2.polylines(canvas, [corners.astype(np.int32)], closed, 255, int(draw.integers(3, 11)), cv2.LINE_AA)
    return _fit(cv2.blur(canvas, (15, 15)) if draw.random() < 0.2 else canvas)


def _mark(draw: Draw, _: Dataset) -> np.ndarray:
    """Next to nothing: dots, dashes, commas, a frame's corner, empty ground with noise."""
    canvas = np.zeros((28, 28), np.uint8)
    for _stroke in range(draw.integers(0, 4)):
        place, turn, length = draw.uniform(5, 23, 2), draw.uniform(-0.9, 0.9), draw.choice([0, 1, 3, 9])
        end = place + length * np.array([np.cos(turn), np.sin(turn)])
        points = np.stack([place, end]).astype(np.int32)
        cv2.polylines(canvas, [points], False, int(draw.integers(120, 256)), int(draw.integers(1, 4)), cv2.LINE_AA)
    if draw.random() < 0.3:
        cv2.rectangle(canvas, (int(draw.integers(-9, 6)), int(draw.integers(-9, 6))), (24, 25), 255, 2)
    return cv2.add(canvas, draw.uniform(0, draw.choice([1, 90]), (28, 28)).astype(np.uint8))


_KINDS: tuple[Callable[[Draw, Dataset], np.ndarray], ...] = (
    _letter,
    _glyph,
    _scribble,
    _letter,
    _collage,
    _texture,
    _letter,
    _glyph,
    _figure,
    _turned,
    _thing,
    _mark,
)


def _bent(canvas: Canvas, draw: Draw) -> Canvas:
    """Turned, sheared and bent as no two hands write."""
    high, wide = canvas.shape
    turn = np.eye(2) + draw.normal(0, 0.18, (2, 2))
    rows, columns = np.mgrid[:high, :wide].astype(np.float32)
    bends = (cv2.resize(draw.normal(0, 5, (4, 4)), (wide, high), interpolation=cv2.INTER_CUBIC) for _ in range(2))
    centred = np.stack([columns - wide / 2, rows - high / 2])
    x, y = np.einsum("ab,bij->aij", turn, centred) + np.array([wide / 2, high / 2])[:, None, None]
    right, down = bends
    columns, rows = (x + right).astype(np.float32), (y + down).astype(np.float32)
    return np.asarray(cv2.remap(canvas, columns, rows, cv2.INTER_LINEAR), np.uint8)


def _fit(canvas: Canvas) -> np.ndarray:
    """As a picture of it would reach the network."""
    left, top, wide, high = cv2.boundingRect((canvas > 90).astype(np.uint8))
    if not wide:
        return np.zeros((28, 28), np.uint8)
    return fitted(canvas[top : top + high, left : left + wide] / np.float32(255))
