"""Generated lines of handwritten digits, as cheques, forms and notebooks hold them, for the line reader to learn from.

A line is what one writer leaves: digits of MNIST, of generated hands (`hands`) or of handwriting fonts, apart, touching
or linked, zeros in one curl, with commas, dots, dashes and signs, on paper, guilloche or ruling, in cells, cut at the
border. Everything but the digits is to be read as nothing.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float32, Int32, UInt8

from digitjax.data.formats import Dataset
from digitjax.generated import fonts, hands, outliers
from digitjax.generated.pen import Number, arc, written
from digitjax.picture.strips import HEIGHT, evened

WIDTH = 208
"""Of a training strip, in pixels."""
MOST = 12
"""Digits of a line."""
LETTERS = "AEHKMNWXakmnwx"
"""That stand beside numbers: those that no hand writes like a digit, joined to one or not."""
LEADING = np.log10(1 + 1 / np.arange(1, 10))
"""How often numbers of the world begin with 1 to 9 (Newcomb 1881, Benford 1938)."""
_FINE = 1.5
"""Lines are kept somewhat larger than strips, for what `varied` does to them."""
_TALL, _WIDE = round(HEIGHT * _FINE), round(WIDTH * _FINE)

Draw = np.random.Generator
Glyph = UInt8[np.ndarray, "_ _"]
Canvas = Float32[np.ndarray, "_ _"]
Grey = UInt8[np.ndarray, "_ _"]


class Glyphs(NamedTuple):
    """Where digits and signs come from: tight strokes, bright on dark."""

    mnist: Sequence[UInt8[np.ndarray, "_ 28 28"]]
    """By digit."""
    fonts: Sequence[Sequence[Glyph]]
    """By font, then by digit."""
    letters: Sequence[Glyph]


class Numbers(NamedTuple):
    """Lines of digits: pictures of dark writing, what they say, and how far they reach."""

    pictures: UInt8[np.ndarray, "n 60 312"]
    labels: Int32[np.ndarray, "n 12"]
    lengths: Int32[np.ndarray, " n"]
    widths: Int32[np.ndarray, " n"]


class _Pen(NamedTuple):
    """What stays the same along a line."""

    size: float
    """Height of a usual digit."""
    thick: float
    slant: float
    base: float
    """Row of the digits' middle."""
    tilt: float
    style: str
    font: int


def glyphs(dataset: Dataset, folder: str = "") -> Glyphs:
    """The digits of a data set, and those of a folder of handwriting fonts (see `fonts.glyphs`) if one is given."""
    mnist = [dataset.images[dataset.labels == digit] for digit in range(10)]
    if not folder:
        return Glyphs(mnist, [], [])
    known = fonts.glyphs(folder, "0123456789")
    letters = [glyph for same in fonts.glyphs(folder, LETTERS).values() for glyph in same]
    return Glyphs(mnist, list(zip(*(known[str(digit)] for digit in range(10)))), letters)


def numbers(source: Glyphs, places: range, seed: int) -> Numbers:
    """Lines, each of which depends on (seed, its place) alone."""
    count = len(places)
    pictures = np.zeros((count, _TALL, _WIDE), np.uint8)
    labels, lengths, widths = (np.zeros(shape, np.int32) for shape in ((count, MOST), count, count))
    for row, place in enumerate(places):
        grey, digits = line(np.random.default_rng((seed, place)), source)
        pictures[row, :, : grey.shape[1]], widths[row] = grey, grey.shape[1]
        labels[row, : len(digits)], lengths[row] = digits, len(digits)
    return Numbers(pictures, labels, lengths, widths)


def line(draw: Draw, source: Glyphs) -> tuple[Grey, list[int]]:
    """A picture of a line and its digits, from left to right."""
    style = ("any", "font", "hands", "mnist")[hands.pick(draw, 0.35, 0.18, 0.35, 0.12)]
    size = draw.uniform(0.38, 0.95) * _TALL * 0.92
    pen = _Pen(
        size,
        size * draw.uniform(0.045, 0.15),
        draw.normal(0.12, 0.2),
        _TALL * draw.uniform(0.44, 0.56),
        draw.normal(0, 0.03),
        style if source.fonts or style != "font" else "hands",
        int(draw.integers(max(1, len(source.fonts)))),
    )
    ink = np.zeros((_TALL, _WIDE), np.float32)
    digits, end, edges = _write(draw, source, pen, ink)
    end = _ends(draw, source, pen, ink, end)
    _rules(draw, pen, ink, edges)
    width = int(np.clip(end + draw.uniform(-0.05, 0.4) * _TALL, 1.1 * _TALL, _WIDE))
    return _on_paper(draw, ink[:, :width]), digits


def _write(draw: Draw, source: Glyphs, pen: _Pen, ink: Canvas) -> tuple[list[int], float, list[float]]:
    """Writes digits; what they are, where they end, and the places between them."""
    wanted = int(draw.integers(1, 10)) if draw.random() < 0.97 else 0
    gap = draw.uniform(-0.12, 0.3) if draw.random() < 0.6 else draw.uniform(0.1, 0.7)
    columns = 0.4 if draw.random() < 0.25 else 0.0  # numbers side by side, digits in cells
    zeros, linked, signs = draw.random() < 0.4, draw.choice([0.03, 0.12, 0.4]), draw.choice([0, 0.13, 0.3])
    counted = draw.random() < 0.4  # an amount or a number of things, not a code or a date
    x, digits, last = draw.uniform(-0.1, 0.25) * _TALL, [], None
    edges = [x - 0.12 * pen.size]
    while len(digits) < wanted:
        if zeros and digits and draw.random() < 0.3:
            count = int(min(wanted - len(digits), draw.integers(2, 6)))
            curl = _curl(draw, pen, count)
            if x + curl.shape[1] >= ink.shape[1] - 4:
                break
            top = pen.base + _climb(pen, x) + pen.size * draw.uniform(0.1, 0.5) - len(curl)
            _lay(ink, curl, x, top)
            digits += [0] * count
            x += curl.shape[1] + (max(gap, 0) + draw.normal(0, 0.07)) * pen.size * 0.5
            last = None
            edges.append(x - 0.1 * pen.size)
            continue
        again = digits and draw.random() < 0.08
        digit = digits[-1] if again else 0 if zeros and digits and draw.random() < 0.5 else int(draw.integers(10))
        if counted and not digits:
            digit = 1 + int(draw.choice(9, p=LEADING))
        glyph = _digit(draw, source, pen, digit)
        x = max(x, -0.3 * glyph.shape[1])
        if x + glyph.shape[1] > ink.shape[1] - 4:
            break
        small = draw.uniform(0.45, 0.95) if zeros and digit == 0 and draw.random() < 0.6 else 1.0
        if small < 1:
            glyph = _resized(glyph, max(4, round(glyph.shape[1] * small)), max(4, round(glyph.shape[0] * small)))
        top = pen.base + _climb(pen, x) - glyph.shape[0] / 2 + draw.normal(0, 0.05) * pen.size
        top += (1 - small) * 0.5 * pen.size * draw.uniform(-0.3, 1)
        left, top = _lay(ink, glyph, x, top)
        first, after = _ends_of(draw, glyph, left, top)
        if last and first and draw.random() < linked * (2 if zeros and digit == 0 else 1):
            cv2.line(ink, last, first, 1.0, max(1, round(pen.thick * 0.7)), cv2.LINE_AA)
        last = after
        digits.append(digit)
        x += glyph.shape[1] + (gap + draw.normal(0, 0.07)) * pen.size * 0.6
        edges.append(x - 0.3 * gap * pen.size)
        if draw.random() < columns:
            x += draw.uniform(0.4, 2.2) * pen.size
            last = None
        elif draw.random() < signs:
            x += _comma(draw, pen, ink, x)
    return digits, x, edges


def _digit(draw: Draw, source: Glyphs, pen: _Pen, digit: int) -> Glyph:
    style = ("font", "hands", "mnist")[int(draw.integers(3))] if pen.style == "any" else pen.style
    high = pen.size * draw.uniform(0.75, 1.12)
    if style == "hands" or (style == "font" and not source.fonts):
        slant = pen.slant + draw.normal(0, 0.05)
        glyph = written(draw, hands.paths(draw, digit), max(8, round(high)), pen=pen.thick, slant=slant)
        if draw.random() < 0.5:
            glyph = _warped(draw, glyph, 0.5)
        stretch = draw.uniform(0.8, 1.2)
        wide, tall = max(2, round(glyph.shape[1] * stretch)), glyph.shape[0]
    else:
        if style == "font":
            font = int(draw.integers(len(source.fonts))) if pen.style == "any" else pen.font
            glyph = _warped(draw, source.fonts[font][digit], 1.0, pen.slant - 0.12)
        else:
            glyph = source.mnist[digit][int(draw.integers(len(source.mnist[digit])))]
            glyph = fonts.tight(glyph)
        zoom = high / max(glyph.shape[0], 0.55 * glyph.shape[1])
        wide = max(2, round(glyph.shape[1] * zoom * draw.uniform(0.8, 1.2)))
        tall = max(4, round(glyph.shape[0] * zoom))
        if digit == 1 and style == "mnist":
            wide = max(3, min(wide, int(0.6 * tall)))
    room = (_TALL - 2) / max(tall, _TALL - 2)
    return _resized(glyph, max(2, int(wide * room)), max(4, int(tall * room)))


def _resized(glyph: Glyph, wide: int, tall: int) -> Glyph:
    kind = cv2.INTER_AREA if tall < glyph.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(glyph, (wide, tall), interpolation=kind), np.uint8)


def _warped(draw: Draw, glyph: Glyph, strength: float, slant: float = 0.0) -> Glyph:
    """Slanted and softly bent, thicker now and then."""
    margin = 8 + glyph.shape[0] // 4
    glyph = np.pad(glyph, margin)
    height, width = glyph.shape
    slant += draw.normal(0, 0.12) * strength
    bends = draw.normal(0, 0.035 * strength * height, (2, 4, 4)).astype(np.float32)
    right, down = (cv2.resize(bend, (width, height), interpolation=cv2.INTER_CUBIC) for bend in bends)
    rows = np.arange(height, dtype=np.float32)[:, None]
    columns = np.arange(width, dtype=np.float32) + np.float32(slant) * (rows - height / 2)
    glyph = cv2.remap(glyph, columns.astype(np.float32) + right, rows + down, cv2.INTER_LINEAR)
    thicker = int(height * draw.uniform(-0.02, 0.05))
    if thicker > 0:
        glyph = cv2.dilate(glyph, np.ones((thicker + 1,) * 2, np.uint8))
    return fonts.tight(np.asarray(glyph, np.uint8))


def _curl(draw: Draw, pen: _Pen, count: int) -> Glyph:
    """Zeros in one go: a garland of loops, or rings that touch."""
    high = pen.size * draw.uniform(0.35, 0.95)
    wide = high * draw.uniform(0.6, 1.4)
    pitch, turn = wide * draw.uniform(0.78, 1.3), float(draw.choice([-1, 1]))
    if draw.random() < 0.5:
        angle = 2 * np.pi * np.linspace(0, count, 26 * count)
        drift = pitch * angle / (2 * np.pi)
        path = np.stack([drift - turn * 0.55 * wide * np.sin(angle), high * (1 - np.cos(angle)) / 2], 1)
        if draw.random() < 0.6:  # the tail of a garland
            tail = high * np.array([draw.uniform(0.2, 0.9), draw.uniform(-0.15, 0.15)])
            path = np.concatenate([path, path[-1:] + tail])
        strokes = [path]
    else:
        strokes = [
            arc(pitch * place, high * draw.uniform(0.45, 0.55), wide / 2, high * draw.uniform(0.42, 0.52),
                      draw.uniform(-130, -50), turn * draw.uniform(345, 385))
            for place in range(count)
        ]  # fmt: skip
        if draw.random() < 0.5:
            strokes = [np.concatenate(strokes)]
    strokes = [stroke / pen.size for stroke in strokes]
    return written(draw, strokes, round(pen.size), pen=pen.thick, slant=pen.slant)


def _climb(pen: _Pen, x: float) -> float:
    return pen.tilt * (x - _WIDE / 2)


def _lay(ink: Canvas, glyph: Glyph, left: Number, top: Number) -> tuple[int, int]:
    """Puts strokes onto the canvas, cut where it ends on the left; where they lie."""
    x, y = round(left), int(np.clip(top, 0, max(0, ink.shape[0] - glyph.shape[0] - 1)))
    cut = max(0, -x)
    part = ink[y : y + glyph.shape[0], max(x, 0) : x + glyph.shape[1]]
    np.maximum(part, glyph[: part.shape[0], cut : cut + part.shape[1]] * np.float32(1 / 255), out=part)
    return x, y


def _ends_of(draw: Draw, glyph: Glyph, left: int, top: int) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    """Where a pen may have come to these strokes, and where it may have gone on."""
    rows, columns = np.nonzero(glyph > 100)
    if not len(rows):
        return None, None
    high = draw.random() < 0.5
    first = columns.argmin() if draw.random() < 0.5 else rows.argmin()
    last = rows.argmin() if high else columns.argmax()
    return tuple((left + int(columns[at]), top + int(rows[at])) for at in (first, last))  # pyright: ignore


def _comma(draw: Draw, pen: _Pen, ink: Canvas, x: float) -> float:
    """A comma, a dot or a dash at x; how far it pushes what follows."""
    kind, foot = draw.random(), int(min(_TALL - 3, pen.base + pen.size * draw.uniform(0.3, 0.5)))
    thick = max(1, round(pen.thick * draw.uniform(0.7, 1.6)))
    at = int(x + draw.uniform(-0.05, 0.1) * pen.size)
    if kind < 0.35:
        tip = int(at - draw.uniform(0, 4)), int(foot + draw.uniform(1, 0.3 * pen.size))
        cv2.line(ink, (at, foot), tip, 1.0, thick)
    elif kind < 0.65:
        cv2.circle(ink, (at, foot), max(1, thick // 2), 1.0, -1, cv2.LINE_AA)
    elif kind < 0.85:
        end = int(x + pen.size * draw.uniform(0.2, 0.45))
        cv2.line(ink, (at, int(pen.base)), (end, int(pen.base + draw.normal(0, 2))), 1.0, thick, cv2.LINE_AA)
        return end - x + pen.size * draw.uniform(0.1, 0.3)
    return pen.size * draw.uniform(0.1, 0.4)


def _ends(draw: Draw, source: Glyphs, pen: _Pen, ink: Canvas, end: float) -> float:
    """What stands before and behind a number: strokes, signs, letters, a neighbour that the border cuts."""
    if draw.random() < 0.35:
        for _ in range(int(draw.integers(1, 4))):
            row, far = int(pen.base + draw.normal(0, 0.12) * _TALL), draw.uniform(0.15, 1.6) * _TALL
            start, stop = (int(end + 3), row), (int(min(ink.shape[1] - 1, end + far)), int(row + draw.normal(0, 3)))
            cv2.line(ink, start, stop, 1.0, max(1, round(pen.thick * draw.uniform(0.6, 1.1))), cv2.LINE_AA)
        end += draw.uniform(0.2, 1) * _TALL
    if draw.random() < 0.15:
        sign = _sign(draw, source, pen)
        if end + sign.shape[1] < ink.shape[1] - 2:
            _lay(ink, sign, end + 0.1 * pen.size, pen.base - len(sign) / 2)
            end += 0.1 * pen.size + sign.shape[1]
    if draw.random() < 0.15:  # remains of lines above and below
        for _ in range(int(draw.integers(1, 5))):
            glyph = _digit(draw, source, pen, int(draw.integers(10)))
            shown = max(1, int(len(glyph) * draw.uniform(0.05, 0.25)))
            above = draw.random() < 0.5
            part = glyph[-shown:] if above else glyph[:shown]
            _lay(ink, part, draw.uniform(0, max(1, end - part.shape[1])), 0 if above else _TALL - shown - 1)
    return end


def _sign(draw: Draw, source: Glyphs, pen: _Pen) -> Glyph:
    """A letter or another sign that is no digit."""
    high = pen.size * draw.uniform(0.6, 1.1)
    if source.letters and draw.random() < 0.3:
        glyph = _warped(draw, source.letters[int(draw.integers(len(source.letters)))], 1.0)
        return _resized(glyph, max(2, round(glyph.shape[1] * high / len(glyph))), max(4, round(high)))
    if draw.random() < 0.75:
        text = str(draw.choice(["$", "#", "=", "-", "*", "x", "kg", "EUR", "R$", "Kc", "%", "&"]))
        canvas = np.zeros((60, 130), np.uint8)
        cv2.putText(canvas, text, (5, 42), int(draw.integers(0, 5)), 1.2, 255, int(draw.integers(2, 5)), cv2.LINE_AA)
        glyph = fonts.tight(canvas)
        return _resized(glyph, max(2, round(glyph.shape[1] * high / 36)), max(4, round(len(glyph) * high / 36)))
    strokes = outliers.strokes(outliers.SIGNS[int(draw.integers(len(outliers.SIGNS)))])
    return written(draw, strokes, round(high), pen=pen.thick, slant=pen.slant)


def _rules(draw: Draw, pen: _Pen, ink: Canvas, edges: Sequence[float]) -> None:
    """Underlines, ruling, frames, cells, combs."""
    width, kind, tone = ink.shape[1], draw.random(), float(draw.uniform(0.3, 1))
    thick = int(draw.integers(1, 4))
    foot = int(np.clip(pen.base + pen.size * draw.uniform(0.4, 0.65), 2, _TALL - 2))
    if kind < 0.25:  # an underline, or one of the lines of ruled paper
        start, stop = int(draw.uniform(-0.1, 0.3) * width), int(draw.uniform(0.5, 1.1) * width)
        cv2.line(ink, (start, foot), (stop, int(foot + draw.normal(0, 2))), tone, thick, cv2.LINE_AA)
    elif kind < 0.32:
        pitch, first = draw.uniform(0.25, 0.9) * _TALL, draw.uniform(0, 0.4) * _TALL
        for row in np.arange(first, _TALL, pitch):
            cv2.line(ink, (0, int(row)), (width, int(row + draw.normal(0, 1))), tone, 1, cv2.LINE_AA)
    elif kind < 0.4 and len(edges) > 1:  # cells about the digits, or a comb
        head = int(np.clip(pen.base - pen.size * draw.uniform(0.45, 0.65), 0, _TALL - 2))
        head = head if draw.random() < 0.6 else int(foot - draw.uniform(0.1, 0.4) * pen.size)
        for edge in edges:
            cv2.line(ink, (int(edge), head), (int(edge), foot), tone, thick)
        ends = int(edges[0]), int(edges[-1])
        cv2.line(ink, (ends[0], foot), (ends[1], foot), tone, thick)
        if draw.random() < 0.6:
            cv2.line(ink, (ends[0], head), (ends[1], head), tone, thick)
    elif kind < 0.46:
        left, right = sorted(draw.uniform(0, 0.03, 2) * width)
        cv2.rectangle(ink, (int(left), int(draw.uniform(0, 4))), (int(edges[-1] + right + 4), _TALL - 2), tone, thick)


def _on_paper(draw: Draw, ink: Canvas) -> Grey:
    """Ink on paper, guilloche, stains or pure white, in any light, a little out of focus."""
    height, width = ink.shape
    change = draw.random()
    if change < 0.15:
        ink = cv2.dilate(ink, np.ones((2, 2), np.uint8))
    elif change < 0.3:
        ink = cv2.erode(ink, np.ones((2, 2), np.uint8))
    if draw.random() < 0.25:  # as other programs leave it: pure, or in two tones
        strength = draw.uniform(0.6, 1)
        clean = np.where(ink > 0.5, strength, 0) if draw.random() < 0.3 else strength * ink
        return np.round(255 * (1 - clean)).astype(np.uint8)
    rows, columns = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)[None]
    slope = columns / width if draw.random() < 0.5 else rows / height
    paper = np.float32(draw.uniform(0.5, 1)) * (1 - np.float32(draw.uniform(0, 0.25)) * slope) + 0 * rows
    if draw.random() < 0.55:
        for _ in range(int(draw.integers(1, 5))):
            paper = paper - _guilloche(draw, rows, columns)
    if draw.random() < 0.3:
        clouds = draw.random((5, 24)).astype(np.float32)
        clouds = cv2.resize(clouds, (width, height), interpolation=cv2.INTER_CUBIC)
        paper = paper - np.float32(draw.uniform(0.02, 0.2)) * clouds
    grey = np.maximum(paper, 0.02) * (1 - ink * np.float32(draw.uniform(0.4, 1)))
    if draw.random() < 0.6:
        grey = grey + draw.standard_normal((height, width), np.float32) * np.float32(draw.uniform(0, 0.04))
    grey = cv2.GaussianBlur(grey, (0, 0), draw.uniform(0.4, 1.4))
    return np.round(255 * np.clip(grey, 0, 1)).astype(np.uint8)


def _guilloche(draw: Draw, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Waved lines, side by side, as cheques are printed with."""
    turn, pitch, swing = draw.uniform(-0.8, 0.8), draw.uniform(4, 14), draw.uniform(1.5, 9)
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    across, along = rows * cos + columns * sin, columns * cos - rows * sin
    angle = np.float32(draw.uniform(0.03, 0.3)) * along + np.float32(draw.uniform(0, 6))
    wave = (across + np.float32(swing) * np.sin(angle)) * np.float32(1 / pitch)
    return np.float32(draw.uniform(0.02, 0.16)) * (np.abs(wave - np.floor(wave) - 0.5) < draw.uniform(0.05, 0.2))


def varied(draw: Draw, grey: Grey) -> UInt8[np.ndarray, "40 208"]:
    """A line's picture as another hand, pen, camera and cut would have left it, as a strip; paper where it ends."""
    wide = grey.shape[1] / _FINE
    stretch, tall = np.exp(draw.normal(0, 0.13)), draw.uniform(0.72, 1.12) * HEIGHT
    width = int(np.clip(wide * stretch, 24, WIDTH))
    slant, turn, bend = draw.normal(0, 0.2), draw.normal(0, 0.02), draw.normal(0, 0.02 * HEIGHT, (2, 3, 7))
    rows, columns = np.arange(HEIGHT, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)[None]
    right, down = (cv2.resize(part.astype(np.float32), (width, HEIGHT), interpolation=cv2.INTER_CUBIC) for part in bend)
    middle = HEIGHT / 2 * draw.uniform(0.9, 1.1)
    x = (columns + np.float32(slant) * (rows - middle) + right) * np.float32(grey.shape[1] / width)
    y = (rows - middle + np.float32(turn) * (columns - width / 2) + down) * np.float32(_TALL / tall) + _TALL / 2
    x, y = x.astype(np.float32), y.astype(np.float32)
    seen = cv2.remap(_other_pen(draw, grey), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    if draw.random() < 0.3:
        seen = cv2.GaussianBlur(seen, (0, 0), draw.uniform(0.3, 1.0))
    if draw.random() < 0.2:
        noise = draw.normal(0, draw.uniform(2, 14), (HEIGHT, width)).astype(np.float32)
        seen = cv2.add(seen.astype(np.float32), noise)
        seen = np.clip(seen, 0, 255).astype(np.uint8)
    strip = np.zeros((HEIGHT, WIDTH), np.uint8)
    strip[:, :width] = evened(np.asarray(seen, np.uint8))
    return strip


def _other_pen(draw: Draw, grey: Grey) -> Grey:
    """Strokes made wider or finer by up to a pixel on either side."""
    amount = draw.uniform(-1, 1) if draw.random() < 0.6 else 0
    if abs(amount) < 0.1:
        return grey
    change: Callable[..., np.ndarray] = cv2.erode if amount > 0 else cv2.dilate  # of dark strokes
    other = change(grey, cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)))
    return np.asarray(cv2.addWeighted(grey, 1 - abs(amount), other, abs(amount), 0), np.uint8)


def strips(source: Numbers, places: Int32[np.ndarray, " n"], draw: Draw) -> UInt8[np.ndarray, "n 40 208"]:
    """Those lines as strips, each varied anew."""
    return np.stack([varied(draw, source.pictures[place, :, : source.widths[place]]) for place in places])
