"""Generated pictures of what is no digit, to be learnt as like no class (outlier exposure, Hendrycks et al. 2019)."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from jaxtyping import UInt8

from digitjax.data.formats import Dataset
from digitjax.generated import fonts
from digitjax.generated.pen import Stroke, arc, curve, written
from digitjax.picture.canonical import fitted

NO_CLASS = -1
LETTERS = "AEFHKMNRUVWXYadfkmnprtuvwxy@#%&?$+=*"
"""Those that nobody takes for a digit."""
FONT_LETTERS = "AEFHKMNRTVWXYadfkmnrtuvwxy"
"""Of handwriting fonts, likewise."""
SIGNS: Sequence[str] = tuple(
    sign.strip()
    for sign in """
    09 40 89|26 66 ; 80 00 09 89|04 64 ; 80 00 09|04 64 ; ~82 40 04 06 49 87|85 87|45 85 ; 00 09|80 89|04 84
    00 09|80 04 89 ; 09 00 45 80 89 ; 09 00 89 80 ; 09 00|~00 62 05|05 89 ; 00 80|40 49 ; ~00 06 49 86 80|80 89
    00 49 80 ; 00 29 43 69 80 ; 00 89|80 09 ; ~80 40 04 06 49 89 ; 00 09 89 ; ~84 54 16 28 58 84|83 89
    80 89|~85 54 16 28 58 85 ; 16 76|~76 44 16 49 78 ; ~81 60 42 49|24 74 ; 00 09|~05 43 75 79 ; 00 09|72 05 79
    04 09|~05 24 45 49|~45 64 85 89 ; 04 09|~06 34 75 79 ; 04 09|~06 34 64 ; ~40 47 59 78|14 74
    ~04 08 49 74|74 79 ; 04 49 84 ; 04 29 45 69 84 ; 04 89|84 09 ; 04 47|~84 47 19 09 ; ~75 43 15 19 49 78
    ~80 37 16 04 26 59 89 ; 80 00 09 ; 40 09 89 40 ; 09 40 89 ; 00 89|44 09 ; 00 80|14 74|09 89 ; 09 00 80 89
    04 84|24 29|~64 67 89 ; 80 00 45 09 89 ; 40 49|o44 ; ~00 03 46 83 80|40 49 ; 09 29|~29 03 40 83 69|69 89
    00 44 80|09 44 89|40 49 ; 00 09 89 80|40 49 ; 00 09 79|70 79|79 99 ; 00 08 78 70|78 89 ; 00 09 80 89
    00 09 80 89|~20 41 60 ; 00 09|04 34|o64 ; 89 80|~80 12 85|35 09 ; 00 09|~04 46 09|80 89
    40 49|~41 04 47|~41 84 47 ; 80 53 09|00 89|53 49 ; 00 09 89 80|40 45 ; 00 70|70 79|20 29|29 09
    ~00 60 83 89|00 09 49 ; 00 90|60 69|~60 23 45 27 60 ; 00 90|70 79|~14 44 37 17 14|44 74
    00 90|30 39|~33 73 76 36 ; 00 90|~42 12 46 17 69 ; 00 80 84|04 09 89 ; 40 49|40 84|04 84 ; 40 49|40 83 46
    00 09|00 84 09 ; 10 19|70 79|12 75|72 15 ; 40 49|04 40 84 ; o44|40 49|04 84 ; o44|11 77|71 17
    40 04 49 84 40 ; 00 80 89 09 00|00 89 ; 00 80 89 09 00|40 49|04 84 ; 04 84|40 49|11 77|71 17
    20 29|60 69|03 93|06 96 ; ~80 30 05 39 89|44 04 ; 40 49|09 89|20 60 ; 00 08|~08 19 29|80 88|~88 79 69
    02 82|05 85|08 88 ; 04 84|40 49 ; ~05 23 45 67 85 ; 04 84 61|84 67 ; 49 40 13|40 73 ; 40 49 16|49 76
    40 49|~49 05 12 40|~49 85 72 40 ; 01 81|40 09|44 89 ; 02 92|42 09|44 99|20 24 ; 00 90 99 09 00|04 94|40 49
    30 27|60 69|02 92 ; 10 14|~02 52 36 09|~32 65 69 29 ; 40 46|~03 43 83|~46 19 06 46 89 ; 05 95|40 59|70 73
    80 20 24 84|50 09|54 59 ; 00 30|20 49 80|45 05 ; 09 05 40 85 89|05 85 ; ~03 30 63 36|33 89
    00 05 45|45 40|05 09|45 49
    """.replace("\n", " ; ").split(";")
    if sign.strip()
)
"""Letters and signs of many alphabets as strokes on a grid of ten by ten, from a person's knowledge of them.

"00 09" goes from the top left to the bottom left, "~" makes a stroke smooth, "o" is a ring about a place. Signs that
some hand writes like a digit (O, I, l, Z, S, B, b, g, q, P, the Cyrillic Ch) are left out.
"""
Draw = np.random.Generator
Canvas = UInt8[np.ndarray, "height width"]


def joined(dataset: Dataset, share: float, seed: int, folder: str = "") -> Dataset:
    """The data set and behind it `share` times as many non-digits, which carry the label -1.

    Args:
      folder: of handwriting fonts (see `fonts.glyphs`), whose letters then take the place of plotted ones.
    """
    count = round(share * len(dataset.labels))
    if not count:
        return dataset
    draw = np.random.default_rng((seed, 7))
    letters = [glyph for same in fonts.glyphs(folder, FONT_LETTERS).values() for glyph in same] if folder else []
    pictures = np.empty((count, 28, 28), np.uint8)
    for number in range(count):
        make = _KINDS[number % len(_KINDS)]
        if letters and make is _letter:
            pictures[number] = fonts.varied(draw, letters[draw.integers(len(letters))])
        else:
            pictures[number] = make(draw, dataset)
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


def _sign(draw: Draw, _: Dataset) -> np.ndarray:
    """A letter or sign of some alphabet, by a pen of any width, bent and stretched."""
    return _penned(draw, strokes(SIGNS[int(draw.integers(len(SIGNS)))]))


def _invented(draw: Draw, _: Dataset) -> np.ndarray:
    return _penned(draw, _new_strokes(draw))


def strokes(sign: str) -> list[Stroke]:
    """The paths of one of `SIGNS`, in a box of height 1 (x to the right, y down)."""
    found = []
    for part in sign.split("|"):
        if part.startswith("o"):
            x, y = _place(part[1:])
            found.append(arc(x, y, 0.3, 0.3, -90, 360))
            continue
        points = [_place(word) for word in part.strip("~").split()]
        found.append(curve(points) if part.startswith("~") else np.array(points))
    return found


def _new_strokes(draw: np.random.Generator) -> list[Stroke]:
    """A sign of no alphabet: stems, bars, slants, arcs, hooks and rings, three to five, each of which meets another."""
    found: list[Stroke] = []
    knots = [np.array([draw.uniform(0.1, 0.5), draw.uniform(0, 0.4)])]
    for kind in draw.integers(0, 6, draw.integers(3, 6)):
        start, reach = knots[draw.integers(len(knots))], draw.uniform(0.35, 0.9)
        turn = (np.pi / 2, 0, np.pi / 4, 0, 0, 0)[kind] + draw.normal(0, 0.15) + np.pi * (draw.random() < 0.3)
        end = start + reach * np.array([np.cos(turn), np.sin(turn)])
        if kind < 3:
            found.append(np.stack([start, end]))
        elif kind == 3:
            side = draw.choice([-1, 1]) * draw.uniform(0.2, 0.5)
            found.append(curve([start, (start + end) / 2 + (0, side), end]))
        elif kind == 4:
            hook = end + draw.uniform(0.15, 0.35) * np.array([-np.sin(turn), draw.choice([-1, 1]) * np.cos(turn)])
            found.append(curve([start, end, hook]))
        else:
            found.append(
                arc(float(start[0]) + 0.18, float(start[1]), 0.18, draw.uniform(0.12, 0.2), 180, draw.uniform(200, 360))
            )
        knots += [found[-1][-1], found[-1][len(found[-1]) // 2]]
    return found


def _place(word: str) -> tuple[float, float]:
    return int(word[0]) / 9, int(word[1]) / 9


def _penned(draw: Draw, strokes: Sequence[Stroke]) -> np.ndarray:
    stretch = np.array([draw.uniform(0.55, 1.1), 1])
    knots = [
        np.asarray(stroke) * stretch + draw.normal(0, 0.02, np.shape(stroke)) * (len(stroke) < 8) for stroke in strokes
    ]
    return fitted(written(draw, knots) / np.float32(255))


def _sliver(draw: Draw, digits: Dataset) -> np.ndarray:
    """A narrow part of a texture, a thing or a digit, as a cut at the wrong place leaves it."""
    kind, across, start = int(draw.integers(3)), int(draw.integers(4, 11)), int(draw.integers(4, 15))
    whole = (_texture, _collage, _thing)[kind](draw, digits)
    # Upright, a smooth sliver would be a one.
    part = whole[:, start : start + across] if kind < 2 and draw.random() < 0.7 else whole[start : start + across]
    return _fit(cv2.resize(np.ascontiguousarray(part), None, fx=4, fy=4, interpolation=cv2.INTER_LINEAR))


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
    _sign,
    _letter,
    _invented,
    _scribble,
    _sign,
    _collage,
    _texture,
    _letter,
    _invented,
    _figure,
    _turned,
    _sign,
    _thing,
    _sliver,
    _letter,
    _mark,
)


def _bent(canvas: Canvas, draw: Draw) -> Canvas:
    """Turned, sheared and bent as no two hands write."""
    height, width = canvas.shape
    turn = np.eye(2) + draw.normal(0, 0.18, (2, 2))
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    bends = (cv2.resize(draw.normal(0, 5, (4, 4)), (width, height), interpolation=cv2.INTER_CUBIC) for _ in range(2))
    centred = np.stack([columns - width / 2, rows - height / 2])
    x, y = np.einsum("ab,bij->aij", turn, centred) + np.array([width / 2, height / 2])[:, None, None]
    right, down = bends
    columns, rows = (x + right).astype(np.float32), (y + down).astype(np.float32)
    return np.asarray(cv2.remap(canvas, columns, rows, cv2.INTER_LINEAR), np.uint8)


def _fit(canvas: Canvas) -> np.ndarray:
    """As a picture of it would reach the network."""
    left, top, width, height = cv2.boundingRect((canvas > 90).astype(np.uint8))
    if not width:
        return np.zeros((28, 28), np.uint8)
    return fitted(canvas[top : top + height, left : left + width] / np.float32(255))
