"""A page's ink in its lines."""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Int, Int32

from digitjax.picture.canonical import SEARCH_SIDE
from digitjax.picture.frames import without_frames
from digitjax.picture.ink import Ink, ink
from digitjax.picture.pixels import Pixels

HEIGHT = 64  # pixels of a digit that is looked at closely, where the picture has as many
CLOSE_PIXELS = 2_000_000
MOST_COMPONENTS = 2500  # beyond that a page is said to be truncated

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
    """A row of ink."""

    height: float
    """Of its usual digit."""
    centre: tuple[float, float]
    """Of the line through the digits' middles: slope, and row in column 0."""
    members: Int[np.ndarray, " _"]
    """Its components' numbers in the page's labels."""
    boxes: Boxes


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
    left, top, right, bottom = (np.ascontiguousarray(side, np.int32) for side in boxes.T)  # much faster so
    inside = (left[:, None] < left) & (top[:, None] < top) & (right[:, None] > right) & (bottom[:, None] > bottom)
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


def lines(found: Ink) -> tuple[Ink, Labels, list[Line]]:
    """The ink without frames, its components, and its lines from top to bottom."""
    labels, boxes = _components(found)
    for _ in range(2):
        if not len(boxes):
            return found, labels, []
        height = _usual_height(boxes, found.shape)
        found = without_frames(found, boxes, height)
        # The strokes of a pencil, and of a pen that skips, are whole only together.
        labels, boxes = _components(found, int(0.1 * height))
        if (bars := _bars(boxes, height) | _slivers(boxes, found)).any():
            found = np.where(np.append(False, bars)[labels], np.float32(0), found)
            labels, boxes = _components(found, int(0.1 * height))
    if not len(boxes):
        return found, labels, []
    height = _usual_height(boxes, found.shape)
    large = boxes[:, 3] - boxes[:, 1] > 0.4 * height
    slope = _slope(boxes[large])
    high, middle = boxes[:, 3] - boxes[:, 1], boxes[:, ::2].mean(1)
    groups = _groups(boxes - slope * np.stack([0 * middle, middle] * 2, axis=1), height)
    # What enters the picture at its border is no line, unless all do.
    cut, full = _at_border(boxes, found.shape), [group[high[group] > 0.6 * _median(high[group])] for group in groups]
    whole = [not cut[members].all() for members in full]
    found_lines = []
    for group, members, inside in zip(groups, full, whole):
        if any(whole) and not inside:
            continue
        rows, lean = boxes[members, 1::2].mean(1), slope
        if len(members) > 3:
            lean = float(np.clip(np.polyfit(middle[members], rows, 1)[0], slope - 0.1, slope + 0.1))
        centre = lean, float(np.mean(rows - lean * middle[members]))
        found_lines.append(Line(_median(high[group]), centre, group + 1, boxes[group]))
    return found, labels, found_lines


def _bars(boxes: Boxes, height: float) -> np.ndarray:
    """Uprights of a comb, or of a table that is open below: several as high as each other, higher than digits."""
    wide, high = (boxes[:, side + 2] - boxes[:, side] for side in (0, 1))
    bars = (high > 1.4 * height) & (wide < 0.2 * high)
    alike = np.abs(boxes[:, None, 1::2] - boxes[None, bars, 1::2]).max(2, initial=0) < 0.2 * height
    return bars & (alike.sum(1) > 1)


def _slivers(boxes: Boxes, found: Ink) -> np.ndarray:
    """What is left of a line where a thick one was taken out: far finer than any pen stroke here, and upright."""
    inked = (found > 0.3).astype(np.uint8)
    stroke = 4 * cv2.mean(cv2.distanceTransform(inked, cv2.DIST_L2, 3), inked)[0]
    wide, high = (boxes[:, side + 2] - boxes[:, side] for side in (0, 1))
    return (wide < 0.35 * stroke) & (high > 10 * wide)


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
