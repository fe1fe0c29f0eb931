"""Families: boxes of a form off a scanner, and the small grey digits of post codes."""

from functools import partial

import cv2
import numpy as np

from experiments.pictures.strokes import Coverage, Random, Subject, draw_line, glyph


def scan(rng: Random, subject: Subject, *, borders: int = 0, binary: bool = False, faint: bool = False) -> np.ndarray:
    """24 to 130 pixels, grey or black and white; `borders` sides of the box can be seen."""
    side = int(rng.choice([24, 32, 48, 64, 96, 130]))
    return scanned(rng, _cell(rng, subject, side * 4, borders), 0.25, faint, binary)


def scanned(rng: Random, page: Coverage, zoom: float, faint: bool = False, binary: bool = False) -> np.ndarray:
    """A scanner's picture of reflectances: a little turned, reduced, noisy."""
    height, width = page.shape
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), rng.normal(0, 4), 1)
    page = cv2.warpAffine(page, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)
    page = cv2.resize(page, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
    if faint:
        page = 1 - (1 - page) * rng.uniform(0.12, 0.35)
    page = page + rng.normal(0, rng.uniform(0, 0.03), page.shape)
    if binary:
        page = (page > rng.uniform(0.5, 0.75)) ^ (rng.random(page.shape) < rng.choice([0, 0.001, 0.01]))
    return _either_polarity(rng, page, 0.25)


def _cell(rng: Random, subject: Subject, side: int, borders: int) -> Coverage:
    """The reflectance of one box."""
    coverage = glyph(rng, subject, int(side * rng.uniform(0.45, 0.8)), rng.uniform(0.05, 0.16))[: side - 2, : side - 2]
    cell = np.full((side, side), rng.uniform(0.85, 1), np.float32)
    for edge in rng.choice(4, borders, replace=False):
        # The line is cut off, leans, or does not run the whole way.
        at, lean = rng.uniform(-0.01, 0.07) * side, rng.normal(0, 0.02) * side
        start, stop = rng.choice([0, 0, 0.3]) * side, side * rng.choice([1, 1, 0.7])
        line = np.array([(start, at), (stop, at + lean)])
        across = line[:, ::-1] if edge % 2 else line
        a, b = across if edge < 2 else side - across
        draw_line(cell, a, b, rng.uniform(0.05, 0.6), side * rng.uniform(0.01, 0.04))
    top, left = (int(free * rng.uniform(0.3, 0.7)) for free in np.subtract(cell.shape, coverage.shape))
    part = cell[top : top + coverage.shape[0], left : left + coverage.shape[1]]
    part[:] = np.minimum(part, 1 - coverage * rng.uniform(0.55, 1))
    return cell


def tight(rng: Random, subject: Subject) -> np.ndarray:
    """A small crop whose every side touches the ink: 12 to 24 pixels high."""
    side = int(rng.choice([16, 16, 16, 12, 20, 24]))
    coverage = glyph(rng, subject, 64, rng.uniform(0.07, 0.18))
    wide = side
    if rng.random() >= 0.3:
        aspect = coverage.shape[1] / coverage.shape[0]
        wide = int(np.clip(side * aspect * rng.uniform(0.8, 1.3), 3, side))
    soft = cv2.GaussianBlur(coverage, (0, 0), rng.uniform(0.5, 2))
    small = cv2.resize(soft, (wide, side), interpolation=cv2.INTER_AREA)
    margin, room = int(rng.integers(0, 2)), side - wide
    cell = np.pad(small, ((margin, margin), (margin + room // 2, margin + room - room // 2)))
    cell = np.clip(cell / max(cell.max(), 0.1) + rng.normal(0, 0.02, cell.shape), 0, 1)
    return _either_polarity(rng, cell * rng.uniform(120, 255) / 255, 0.5)


def _either_polarity(rng: Random, picture: np.ndarray, inverted: float) -> np.ndarray:
    levels = (np.clip(picture, 0, 1) * 255).astype(np.uint8)
    return 255 - levels if rng.random() < inverted else levels


def bordered(rng: Random, subject: Subject) -> np.ndarray:
    return scan(rng, subject, borders=int(rng.integers(1, 5)), binary=bool(rng.integers(2)))


FAMILIES = {
    "scan_grey": scan,
    "scan_binary": partial(scan, binary=True),
    "scan_faint": partial(scan, faint=True),
    "scan_borders": bordered,
}
SMALL = {"tight": tight}
