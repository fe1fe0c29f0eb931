"""A page's ink in its lines, each a row of pieces none of which is larger than a digit."""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Int, Int32

from digitjax.picture.canonical import SEARCH_SIDE
from digitjax.picture.frames import without_frames
from digitjax.picture.ink import Ink, ink
from digitjax.picture.pixels import Pixels
from digitjax.reading.seams import Ways, parts_between, seams_in

HEIGHT = 64  # pixels of a digit that is looked at closely, where the picture has as many
CLOSE_PIXELS = 2_000_000
MOST_COMPONENTS = 400

Boxes = Int[np.ndarray, "_ 4"]
"""Left, top, right and bottom, in pixels."""
Labels = Int32[np.ndarray, "_ _"]
"""Numbers of components or of pieces, from 1; 0 is paper."""


class Look(NamedTuple):
    """The ink of a part of a picture."""

    found: Ink
    zoom: float
    corner: tuple[int, int]
    """Left and top of the part, in the picture's pixels."""


class Line(NamedTuple):
    """The pieces of a line from left to right, numbered in `labels` from `first` on."""

    height: float
    """Of its usual digit."""
    centre: tuple[float, float]
    """Of the line through the digits' middles: slope, and row in column 0."""
    labels: Labels
    first: int
    boxes: Boxes
    components: list[int]
    cuts: list[float]
    """What the seam on a piece's left went through, in widths of a stroke; 0 where no seam is."""


def look(picture: Pixels) -> Look:
    """All ink, at a scale that suits it: found in the small, then seen closer where it is, in its own light."""
    zoom = min(1.0, SEARCH_SIDE / max(picture.shape))
    found = ink(_scaled(picture, zoom), several=True)
    _, boxes = _components(found)
    if not len(boxes):
        return Look(found, zoom, (0, 0))
    height = _usual_height(boxes, found.shape)
    inside = boxes[_belongs(boxes, height, found.shape)]
    # Beside a row of cells there must be paper: else its lines look like ruling, which goes from side to side.
    room = max(height, 8), max(height, 8, 0.3 * float(np.ptp(inside[:, ::2])))
    top, left = (max(0, int((inside[:, side].min() - room[1 - side]) / zoom)) for side in (1, 0))
    bottom, right = (int((inside[:, side + 2].max() + room[1 - side]) / zoom) + 1 for side in (1, 0))
    part = picture[top:bottom, left:right]
    closer = min(3.0, zoom * HEIGHT / height, (CLOSE_PIXELS / (part.shape[0] * part.shape[1])) ** 0.5)
    return Look(_evened(ink(_scaled(part, closer), several=True), height * closer / zoom), closer, (left, top))


def _scaled(picture: Pixels, zoom: float) -> Pixels:
    kind = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
    return picture if zoom == 1 else cv2.resize(picture, None, fx=zoom, fy=zoom, interpolation=kind)


def _evened(found: Ink, height: float) -> Ink:
    """As strong as the strongest ink nearby: what a pencil wrote is ink, also beside a pen."""
    side = max(1, int(height / 4)) * 2 + 1  # two heights, in a quarter of the scale
    quarter = cv2.resize(found, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    strongest = cv2.blur(cv2.dilate(quarter, np.ones((side, side), np.uint8)), (side, side))
    strongest = cv2.resize(strongest, found.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.where(strongest > 0.2, np.minimum(found / np.maximum(strongest, 0.25), 1), found)


def _components(found: Ink, gap: int = 0) -> tuple[Labels, Boxes]:
    """The largest components, and what is less than a gap away from them."""
    inked = (found > 0.3).astype(np.uint8)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (gap | 1, gap | 1))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(
        cv2.morphologyEx(inked, cv2.MORPH_CLOSE, disc), connectivity=8
    )
    largest = 1 + np.argsort(-stats[1:, cv2.CC_STAT_AREA], kind="stable")[:MOST_COMPONENTS]
    numbers = np.zeros(len(stats), np.int32)
    numbers[largest] = 1 + np.arange(len(largest))
    corner, size = stats[largest, :2], stats[largest, 2:4]
    return numbers[np.asarray(labels, np.int32)] * inked, np.concatenate([corner, corner + size], axis=1)


def _at_border(boxes: Boxes, shape: tuple[int, ...]) -> np.ndarray:
    return np.logical_or((boxes[:, :2] < 3).any(1), (boxes[:, 2:] > np.array(shape[::-1]) - 3).any(1))


def _belongs(boxes: Boxes, height: float, shape: tuple[int, ...]) -> np.ndarray:
    """What the picture's border does not cut, and what it does cut but is like that, beside it."""
    free, high = ~_at_border(boxes, shape), boxes[:, 3] - boxes[:, 1]
    common = np.minimum(boxes[:, None, 3], boxes[None, free, 3]) - np.maximum(boxes[:, None, 1], boxes[None, free, 1])
    beside = (common > 0.4 * high[:, None]).any(1) & (high > 0.4 * height) & (high < 3 * height)
    return free | beside if free.any() else ~free


def _usual_height(boxes: Boxes, shape: tuple[int, ...]) -> float:
    """Of digits: not of what holds others, as cells do, and not of what the border cuts."""
    high = boxes[:, 3] - boxes[:, 1]
    inside = (boxes[:, None, :2] < boxes[None, :, :2]).all(2) & (boxes[:, None, 2:] > boxes[None, :, 2:]).all(2)
    usual, cut = ~(inside & (high > 0.3 * high[:, None])).any(1), _at_border(boxes, shape)
    # A tight crop cuts the digits, and what it leaves whole are specks.
    if (usual & ~cut).any() and not (cut.sum() > 1 and _median(high[usual & ~cut]) < 0.4 * _median(high[cut])):
        usual &= ~cut
    return _median(high[usual] if usual.any() else high)


def _median(heights: np.ndarray) -> float:
    """A median to which commas and specks matter less."""
    heights = np.sort(heights)
    weights = np.cumsum(np.sqrt(heights))
    return float(heights[np.searchsorted(weights, weights[-1] / 2)])


def lines(found: Ink) -> tuple[Ink, list[Line]]:
    """The ink without frames, and its lines from top to bottom."""
    labels, boxes = _components(found)
    for _ in range(2):
        if not len(boxes):
            return found, []
        height = _usual_height(boxes, found.shape)
        found = without_frames(found, boxes, height)
        # The strokes of a pencil, and of a pen that skips, are whole only together.
        labels, boxes = _components(found, int(0.1 * height))
    if not len(boxes):
        return found, []
    height = _usual_height(boxes, found.shape)
    large = boxes[:, 3] - boxes[:, 1] > 0.4 * height
    slope = _slope(boxes[large])
    labels, boxes = _untangled(found, labels, boxes, height, slope)
    high, middle = boxes[:, 3] - boxes[:, 1], boxes[:, ::2].mean(1)
    groups = _groups(boxes - slope * np.stack([0 * middle, middle] * 2, axis=1), height)
    # What enters the picture at its border is no line, unless all do.
    cut, full = _at_border(boxes, found.shape), [group[high[group] > 0.6 * _median(high[group])] for group in groups]
    whole = [not cut[members].all() for members in full]
    numbered, lines, first = np.zeros_like(labels), [], 1
    for group, members, inside in zip(groups, full, whole):
        if first > 2 * MOST_COMPONENTS or (any(whole) and not inside):
            continue
        rows, lean = boxes[members, 1::2].mean(1), slope
        if len(members) > 3:
            lean = float(np.clip(np.polyfit(middle[members], rows, 1)[0], slope - 0.1, slope + 0.1))
        centre = lean, float(np.mean(rows - lean * middle[members]))
        line = _line(found, labels, boxes, group, _median(high[group]), centre, numbered, first)
        first += len(line.cuts)
        lines.append(line)
    return found, lines


def _slope(boxes: Boxes) -> float:
    """Rows that lines gain a column: what makes the profile of the page sharpest."""
    middle, best = boxes[:, ::2].mean(1), (-1.0, 0.0)
    for slope in np.linspace(-0.2, 0.2, 41):
        top, bottom = ((side - slope * middle).astype(int) for side in (boxes[:, 1], boxes[:, 3]))
        profile = np.zeros(bottom.max() - top.min() + 2)
        np.add.at(profile, top - top.min(), 1)
        np.add.at(profile, bottom - top.min() + 1, -1)
        best = max(best, (float((np.cumsum(profile) ** 2).sum()) * (1 - 0.3 * abs(slope)), float(slope)))
    return best[1]


def _groups(boxes: np.ndarray, height: float) -> list[np.ndarray]:
    """Boxes by line, from top to bottom, where lines run level.

    Whole digits make the lines; what is smaller joins the line that it lies in, or makes one of its own.
    """
    top, bottom, middle = boxes[:, 1], boxes[:, 3], boxes[:, ::2].mean(1)
    high, line, count = bottom - top, np.full(len(boxes), -1), 0
    for least, most, overlap in ((0.7, np.inf, 0.4), (0.4, 0.7, -0.5), (0, 0.4, -1)):
        fitting = np.flatnonzero((high > least * height) & (high <= most * height))
        for which in fitting[np.argsort(middle[fitting], kind="stable")]:
            placed = np.flatnonzero(line >= 0)
            common = np.minimum(bottom[which], bottom[placed]) - np.maximum(top[which], top[placed])
            common /= np.minimum(high[which], high[placed])
            near = np.exp(-np.abs(middle[which] - middle[placed]) / (4 * height))
            votes = np.bincount(line[placed], np.where(common > overlap, (1 + common) * near, 0), minlength=count)
            if votes.any():
                line[which] = votes.argmax()
            elif least:
                line[which] = count
                count += 1
    groups = [np.flatnonzero(line == number) for number in range(count)]
    return sorted(groups, key=lambda group: float(np.median((top + bottom)[group])))


def _untangled(found: Ink, labels: Labels, boxes: Boxes, height: float, slope: float) -> tuple[Labels, Boxes]:
    """Cuts apart what hangs together from line to line."""
    high, middle = boxes[:, 3] - boxes[:, 1], boxes[:, ::2].mean(1)
    level = boxes[:, 1::2].mean(1) - slope * middle
    digits = (high > 0.5 * height) & (high < 1.5 * height)
    for which in np.flatnonzero(high > 1.5 * height):
        left, top, right, bottom = boxes[which]
        near = digits & (middle > left - 6 * height) & (middle < right + 6 * height)
        rows = np.sort(level[near]) + slope * middle[which] - top
        rows = rows[(rows > 0.2 * height) & (rows < bottom - top - 0.2 * height)]
        between = np.flatnonzero(np.diff(rows) > 0.6 * height)
        if not len(between):
            continue
        area = np.s_[top:bottom, left:right]
        own = labels[area] == which + 1
        ways = Ways(np.where(own, found[area], np.float32(0)).T)
        column = int(right - left) // 2
        wanted = (rows[between] + rows[between + 1]) / 2
        far = np.abs(np.arange(bottom - top) - wanted[:, None]) / height
        seams = ways.through(column, (ways.cost[column] + far + 1e6 * (far > 0.3)).argmin(1))
        parts = np.where(own, 1 + parts_between(seams, own.T.shape).T, 0)
        for part in range(1, len(seams) + 2):
            x, y, width, tall = cv2.boundingRect((parts == part).astype(np.uint8))
            box = np.array([left + x, top + y, left + x + width, top + y + tall])
            if part == 1:
                boxes[which] = box
            elif width:
                boxes = np.concatenate([boxes, box[None]])
                labels[area][parts == part] = len(boxes)
    return labels, boxes


def _line(
    found: Ink,
    labels: Labels,
    boxes: Boxes,
    members: np.ndarray,
    height: float,
    centre: tuple[float, float],
    numbered: Labels,
    first: int,
) -> Line:
    """Cuts the members into pieces, and writes their numbers into `numbered`."""
    pieces = []
    for which in members:
        left, top, right, bottom = boxes[which]
        area = np.s_[top:bottom, left:right]
        own = labels[area] == which + 1
        seams = seams_in(np.where(own, found[area], np.float32(0)), height)
        parts = parts_between(np.array([seam for _, seam in seams]).reshape(-1, bottom - top), own.shape)
        for part, cut in enumerate([0.0, *(cost for cost, _ in seams)]):
            inside = own & (parts == part)
            x, y, width, tall = cv2.boundingRect(inside.astype(np.uint8))
            if width:
                pieces.append(([left + x, top + y, left + x + width, top + y + tall], which, cut, area, inside))
    pieces.sort(key=lambda piece: piece[0][0] + piece[0][2])
    for number, (*_, area, inside) in enumerate(pieces):
        numbered[area][inside] = first + number
    own_boxes, components, cuts = ([piece[field] for piece in pieces] for field in range(3))
    cuts = [cut if i and components[i] == components[i - 1] else 0.0 for i, cut in enumerate(cuts)]
    return Line(height, centre, numbered, first, np.array(own_boxes), components, cuts)
