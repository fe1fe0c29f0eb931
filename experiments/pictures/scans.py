"""Families: boxes of a form off a scanner, and the small grey digits of post codes."""

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np

from experiments.pictures.papers import clouds
from experiments.pictures.strokes import Coverage, Random, Subject, cropped, draw_line, glyph, pick

Spoil = Callable[[Random, Coverage], Coverage]
"""Something that happened to a box, given as reflectances."""


def scan(
    rng: Random,
    subject: Subject,
    *,
    borders: int = 0,
    binary: bool = False,
    faint: bool = False,
    spoil: Spoil | None = None,
) -> np.ndarray:
    """24 to 130 pixels, grey or black and white; `borders` sides of the box can be seen."""
    cell = _cell(rng, subject, 4 * int(rng.choice([24, 32, 48, 64, 96, 130])), borders)
    return scanned(rng, spoil(rng, cell) if spoil else cell, 0.25, faint, binary)


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


def stamped(rng: Random, cell: Coverage) -> Coverage:
    """A rubber stamp's rings and words, paler than ink, over the box or a part of it."""
    side, stamp = len(cell), np.zeros(cell.shape, np.uint8)
    tone, thick = int(rng.integers(50, 115)), max(1, round(side * rng.uniform(0.015, 0.04)))
    centre = (rng.uniform(-0.2, 1.2, 2) * side).astype(int).tolist()
    radius = side * rng.uniform(0.4, 0.9)
    for ring in (radius, 0.8 * radius):
        cv2.circle(stamp, centre, int(ring), tone, thick, cv2.LINE_AA)
    word, size = pick(rng, ("PAID", "RECEIVED", "COPY", "VOID", "FILED")), side / rng.uniform(40, 90)
    at = (int(side * rng.uniform(-0.3, 0.4)), int(side * rng.uniform(0.2, 1)))
    cv2.putText(stamp, word, at, cv2.FONT_HERSHEY_DUPLEX, size, tone, thick, cv2.LINE_AA)
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), rng.uniform(-40, 40), 1)
    worn = np.clip(clouds(rng, stamp.shape, 20) + 1, 0, 1) / 255
    return np.minimum(cell, 1 - cv2.warpAffine(stamp, turn, stamp.shape) * worn)


def gapped(rng: Random, cell: Coverage) -> Coverage:
    """Ink that did not take: patches, and a line that the scanner lost."""
    lost = np.clip(6 * (clouds(rng, cell.shape, rng.uniform(10, 18)) - rng.uniform(1, 1.4)), 0, 1)
    if rng.random() < 0.6:
        row = int(len(cell) * rng.uniform(0.25, 0.75))
        lost[row : row + max(4, len(cell) // 40)] = 1
    lost = lost if rng.random() < 0.5 else np.ascontiguousarray(lost.T)
    return cell + lost * (cell.max() - cell)


def crowded(rng: Random, cell: Coverage) -> Coverage:
    """The neighbours' digits reach into the box from its sides."""
    side, cell = len(cell), cell.copy()
    for edge in rng.choice(4, rng.integers(1, 3), replace=False):
        neighbour = glyph(rng, int(rng.integers(10)), int(side * rng.uniform(0.5, 0.8)), rng.uniform(0.06, 0.14))
        seen = neighbour[:, -max(2, int(side * rng.uniform(0.04, 0.12))) :][: side - 1]
        turned = np.rot90(cell, edge)  # a view
        top = int(rng.uniform(0, 1) * (side - len(seen)))
        area = turned[top : top + len(seen), : seen.shape[1]]
        np.minimum(area, 1 - seen * rng.uniform(0.5, 1), out=area)
    return cell


def usps(rng: Random, subject: Subject) -> np.ndarray:
    """16 x 16, grey, filled to the frame by thick strokes: the form of the post-code digits of LeCun et al. (1989)."""
    coverage = glyph(rng, subject, 96, rng.uniform(0.1, 0.24))
    height, width = coverage.shape
    lean = rng.normal(0, 0.15)
    matrix = np.array([[1, lean, max(0, -lean * height)], [0, 1, 0]])
    coverage = cropped(cv2.warpAffine(coverage, matrix, (int(width + abs(lean) * height), height)))
    if rng.random() < 0.2:  # cut out too narrowly
        coverage = coverage[int(height * rng.uniform(0, 0.06)) : height - int(height * rng.uniform(0, 0.06))]
    aspect = coverage.shape[1] / coverage.shape[0] * rng.uniform(0.9, 1.35)
    fit = max(2, round(16 * min(1, aspect))), max(2, round(16 * min(1, 1 / aspect)))
    coverage = cv2.GaussianBlur(coverage, (0, 0), rng.uniform(2, 7))
    small = cv2.resize(coverage, fit, interpolation=cv2.INTER_AREA)
    cell = np.zeros((16, 16), np.float32)
    top, left = ((16 - side) // 2 for side in small.shape)
    cell[top : top + fit[1], left : left + fit[0]] = small
    cell = np.clip(cell * rng.uniform(1, 1.5) / max(cell.max(), 0.1), 0, 1) ** rng.uniform(0.7, 1.4)
    return _either_polarity(rng, cell, 0.15)


def tight(rng: Random, subject: Subject) -> np.ndarray:
    """A small crop whose every side touches the ink: 12 to 24 pixels high."""
    side = int(rng.choice([16, 16, 16, 12, 20, 24]))
    coverage = glyph(rng, subject, 64, rng.uniform(0.07, 0.18))
    width = side
    if rng.random() >= 0.3:
        aspect = coverage.shape[1] / coverage.shape[0]
        width = int(np.clip(side * aspect * rng.uniform(0.8, 1.3), 3, side))
    soft = cv2.GaussianBlur(coverage, (0, 0), rng.uniform(0.5, 2))
    small = cv2.resize(soft, (width, side), interpolation=cv2.INTER_AREA)
    margin, room = int(rng.integers(0, 2)), side - width
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
    "form_framed": partial(scan, borders=4),
    "form_stamped": partial(scan, borders=2, spoil=stamped),
    "form_gapped": partial(scan, spoil=gapped),
    "form_gapped_binary": partial(scan, spoil=gapped, binary=True),
    "form_crowded": partial(scan, borders=1, spoil=crowded),
    "form_crowded_binary": partial(scan, borders=1, spoil=crowded, binary=True),
}
SMALL = {"usps": usps, "tight": tight}
