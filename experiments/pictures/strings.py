"""Families: several digits in a picture, on one line or more, apart or touching, with commas, dashes and boxes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from experiments.pictures.drawings import POLARITIES, on_canvas
from experiments.pictures.papers import Page, ballpoint, pencil
from experiments.pictures.photos import ALL_PAPERS, ALL_PENS, DAY, LIGHTS, SQUARED, Box, Photo, Span, desk, marks
from experiments.pictures.scans import scanned
from experiments.pictures.strokes import Coverage, Random, Subject, cropped, draw_line, glyph, pick

Show = Callable[[Random, Callable[[int, float | None], Coverage]], np.ndarray | bytes]
"""Makes a picture of what is written for a height in pixels and a pen's width."""


@dataclass(frozen=True)
class Text:
    """Lines of digits, shown by a phone, a scanner or a canvas."""

    show: Show
    lines: tuple[int, int] = (1, 1)
    digits: tuple[int, int] = (2, 7)
    """Fewest and most digits of a line."""
    gap: Span = (0.12, 0.5)
    """Free room between neighbours, as a share of their height; below 0 they overlap."""
    signs: tuple[str, ...] = ()
    """What may stand between two digits: comma, point, dash, blank."""
    slope: float = 0.03
    """Largest climb of a line, as a share of its width."""
    boxes: bool = False
    """Each digit in a printed box."""
    hands: bool = False
    """Whether each digit is written in a way of `hands`."""

    def layout(self, rng: Random) -> list[int]:
        """How many digits each line has."""
        return [int(rng.integers(*self.digits, endpoint=True)) for _ in range(rng.integers(*self.lines, endpoint=True))]

    def __call__(self, rng: Random, lines: Sequence[Sequence[Subject]]) -> np.ndarray | bytes:
        return self.show(rng, lambda height, pen: self._written(rng, lines, height, pen or rng.uniform(0.06, 0.13)))

    def _written(self, rng: Random, lines: Sequence[Sequence[Subject]], height: int, pen: float) -> Coverage:
        """The lines, one below the other."""
        climb = rng.uniform(-self.slope, self.slope)
        write = _in_boxes if self.boxes else self._line
        rows = [write(rng, line, height, pen, climb) for line in lines]
        pitch, indents = int(height * rng.uniform(1.3, 1.9)), rng.integers(0, height // 2, len(rows))
        page = np.zeros((pitch * len(rows) + 3 * height, max(row.shape[1] for row in rows) + height), np.float32)
        for i, (indent, row) in enumerate(zip(indents, rows)):
            lay(page, row, i * pitch, indent)
        return cropped(page)

    def _line(self, rng: Random, subjects: Sequence[Subject], height: int, pen: float, climb: float) -> Coverage:
        line = np.zeros((int(height * 2.2), int(height * 2.2 * (len(subjects) + 1))), np.float32)
        base = int(height * 1.6)
        for i, subject in enumerate(subjects):
            gap = height * rng.uniform(*self.gap)
            if i and self.signs and rng.random() < 0.35:
                sign = pick(rng, self.signs)
                _sign(rng, line, sign, base - climb * _end(line), height, pen)
                gap += 0.4 * height * (sign == " ")
            digit = glyph(rng, subject, int(height * rng.uniform(0.85, 1.15)), pen)
            left = _end(line) + 2
            top = max(0, int(base - climb * left + height * rng.normal(0, 0.05) - len(digit)))
            lay(line, digit, top, max(0, left + round(gap - _room(line, digit, top, left))) if i else left)
        return line[:, : _end(line) + 2]


def _in_boxes(rng: Random, subjects: Sequence[Subject], height: int, pen: float, _climb: float) -> Coverage:
    """Each digit in a printed box, about in its middle."""
    wide, high = (int(height * rng.uniform(1.15, 1.5)) for _ in range(2))
    line = np.zeros((high + 4, wide * len(subjects) + 4), np.float32)
    tone, thick = rng.uniform(0.3, 0.8), max(1, height // 40)
    for i, subject in enumerate(subjects):
        cv2.rectangle(line, (i * wide + 2, 2, wide, high), tone, thick)
        digit = glyph(rng, subject, int(height * rng.uniform(0.8, 1)), pen)
        free = np.subtract((high, wide), digit.shape) * rng.normal(0.5, 0.15, 2)
        lay(line, digit, max(0, int(free[0])), max(0, i * wide + int(free[1])))
    return line


def lay(page: Coverage, ink: Coverage, top: int, left: int) -> None:
    """Adds ink to a page; what sticks out below or on the right is lost."""
    area = page[top : top + ink.shape[0], left : left + ink.shape[1]]
    np.maximum(area, ink[: area.shape[0], : area.shape[1]], out=area)


def _end(line: Coverage) -> int:
    """The column right of the last ink."""
    return int(np.flatnonzero(np.append(True, line.max(0) > 0.1))[-1])


def _room(line: Coverage, digit: Coverage, top: int, left: int) -> float:
    """The least distance along a row between the line's ink and a digit whose left side is at `left`."""
    written = line[top : top + len(digit)] > 0.1
    new = digit[: len(written)] > 0.1
    both = written.any(1) & new.any(1)
    if not both.any():
        return 2.0
    ends = written.shape[1] - written[:, ::-1].argmax(1)
    return float((left + new.argmax(1) - ends)[both].min())


def _sign(rng: Random, line: Coverage, sign: str, base: float, height: int, pen: float) -> None:
    x, thick = _end(line) + height * rng.uniform(0.12, 0.3), height * pen
    if sign == ",":
        draw_line(line, (x, base - 0.05 * height), (x - 0.08 * height, base + 0.18 * height), 1.0, thick)
    elif sign == ".":
        draw_line(line, (x, base), (x + 1, base), 1.0, thick * 1.2)
    elif sign == "-":
        y = base - height * rng.uniform(0.4, 0.55)
        draw_line(line, (x, y), (x + height * rng.uniform(0.2, 0.4), y + height * rng.normal(0, 0.03)), 1.0, thick)


def on_line(rng: Random, page: Page, box: Box) -> Page:
    """A printed line to write on, somewhere around the feet of the digits."""
    page, (top, left, height, width) = page.copy(), box
    y = top + height * rng.uniform(0.7, 0.9)
    ends = left - width * rng.uniform(0.02, 0.5), left + width * rng.uniform(1.02, 1.5)
    tone = rng.uniform(0.2, 0.7, 3).tolist()
    draw_line(page, (ends[0], y), (ends[1], y + width * rng.normal(0, 0.01)), tone, max(1, height * 0.015))
    return page


def canvas(rng: Random, write: Callable[[int, float | None], Coverage]) -> np.ndarray | bytes:
    """A drawing on a canvas just large enough."""
    coverage = write(int(rng.integers(28, 160)), rng.uniform(0.02, 0.15))
    margins = [tuple(int(max(coverage.shape) * rng.uniform(0.02, 0.3)) for _ in range(2)) for _ in range(2)]
    return on_canvas(rng, np.pad(coverage, margins), pick(rng, POLARITIES))


def scan(rng: Random, write: Callable[[int, float | None], Coverage]) -> np.ndarray:
    coverage = write(int(rng.integers(80, 160)), None)
    paper = rng.uniform(0.85, 1)
    page = paper - np.pad(coverage, int(0.1 * sum(coverage.shape))) * (paper - rng.uniform(0, 0.4))
    return scanned(rng, page, rng.uniform(0.25, 0.5), binary=rng.random() < 0.5)


_PHOTO = Photo(((600, 800), (480, 640), (720, 1280)), (0.1, 0.25), lights=DAY, degrees=5)
_LINES = replace(_PHOTO, share=(0.06, 0.13))
FAMILIES = {
    "string_apart": Text(_PHOTO.take),
    "string_paper": Text(replace(_PHOTO, papers=ALL_PAPERS, pens=ALL_PENS, lights=LIGHTS).take),
    "string_touching": Text(_PHOTO.take, gap=(-0.08, 0.06), digits=(2, 5)),
    "string_on_line": Text(replace(_PHOTO, clutter=on_line).take),
    "string_ruled": Text(replace(_PHOTO, pitch=(0.8, 1.6)).take),
    "string_squared": Text(replace(_PHOTO, pitch=SQUARED, squared=True).take),
    "string_amount": Text(replace(_PHOTO, clutter=on_line).take, digits=(3, 7), signs=(",", ".", " ")),
    "string_phone": Text(_LINES.take, digits=(7, 11), signs=("-", " ")),
    "string_boxes": Text(_PHOTO.take, digits=(4, 6), boxes=True),
    "string_lines": Text(_LINES.take, lines=(2, 4), digits=(2, 6), signs=(" ",)),
    "string_climbing": Text(_PHOTO.take, slope=0.2),
    "string_desk": Text(replace(_PHOTO, clutter=desk, papers=ALL_PAPERS, finish=ballpoint).take),
    "string_pencil": Text(replace(_PHOTO, clutter=marks, finish=pencil, strength=(0.4, 0.7)).take),
    "string_scan": Text(scan, digits=(2, 9)),
    "string_drawn": Text(canvas, lines=(1, 2), digits=(1, 6)),
    "string_hands": Text(replace(_PHOTO, clutter=on_line).take, digits=(3, 7), signs=(",", "."), hands=True),
}
