"""Several digits in one picture: found, put together where strokes are apart, cut where digits touch, read in order.

Ink is cut into pieces, none of them larger than a digit. Which neighbours make one is what is most probable over a
whole line, by the classifier and by their sizes: over-segmentation and dynamic programming (Matan et al. 1992; LeCun et
al. 1998, section V).
"""

from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Int, Int32, UInt8

from digitjax.canonical import SEARCH_SIDE, canonical, fitted
from digitjax.frames import without_frames
from digitjax.ink import Ink, ink
from digitjax.pixels import Pixels, read_sized
from digitjax.predict import Judged, Predictor
from digitjax.trust import VERDICTS

HEIGHT = 64  # pixels of a digit that is looked at closely, where the picture has as many
CLOSE_PIXELS = 2_000_000
MOST_COMPONENTS = 400
MOST_PIECES = 6  # of one digit
WIDEST, WIDEST_GAP = 1.6, 0.35  # of a digit, and of the room between its strokes, in heights of its line
FLAT = 0.35  # of a line's height
PAPER, ASIDE = 0.02, 0.1  # what a seam pays for a pixel of paper, and for a step aside; full ink costs 1

# Fitted by maximum likelihood of what generated numbers say (experiments.fit_lines): a candidate's log odds by
# `_terms`, and a piece's of being dropped by `_drop_terms`.
DIGIT = np.array([-0.44, -3.5, -3.62, -3.29, -3.17, -6.87, 2.67, -4.72, 1.81, -3.49])
DROP = np.array([0.31, -5.03, -3.72, 3.06])

Boxes = Int[np.ndarray, "_ 4"]
"""Left, top, right and bottom, in pixels."""
Labels = Int32[np.ndarray, "_ _"]
"""Numbers of components or of pieces, from 1; 0 is paper."""


class Digit(NamedTuple):
    """The best guess at a digit, whatever the verdict, which is one of `trust.VERDICTS`."""

    digit: int
    confidence: float
    box: list[int]
    """Left, top, width and height in pixels of the picture as seen."""
    verdict: str


class Reading(NamedTuple):
    """What a picture says, from top to bottom and from left to right."""

    text: str
    """Digits alone, with a line break between lines."""
    lines: list[list[Digit]]


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


class Candidate(NamedTuple):
    """Pieces `first` up to `stop` of a line as one digit; lengths in heights of the line."""

    first: int
    stop: int
    box: list[int]
    form: UInt8[np.ndarray, "28 28"]
    width: float
    height: float
    offset: float
    """Of its middle from the line's."""
    gap: float
    """Room between its pieces, from left to right."""
    cut: float
    """What the seams on both sides went through."""


def read(predictor: Predictor, source: Any) -> Reading:
    """Reads the digits of a picture, given as `canonical` takes it; ruling lines, cells, commas and specks are none.

    Raises:
      PictureError: the picture is bad; the message says what is wrong and what to send.
    """
    picture, size = read_sized(source)
    look = _look(picture)
    found, lines = _lines(look.found)
    candidates = [_candidates(found, line) for line in lines]
    if not lines:
        return Reading("", [])
    judged = predictor.judge(np.stack([one.form for line in candidates for one in line]))
    rows, start = [], 0
    for line, ones in zip(lines, candidates):
        own = Judged(*(part[start : start + len(ones)] for part in judged))
        start += len(ones)
        if best := _best(line, ones, own):
            rows.append([_digit(own, which, _place(ones[which].box, look, picture, size)) for which in best])
    rows = _believed(rows)
    if [len(row) for row in rows] == [1]:  # then the whole picture is its picture
        rows = [[_digit(predictor.judge(canonical(picture)[None]), 0, rows[0][0].box)]]
    return Reading("\n".join("".join(str(one.digit) for one in row) for row in rows), rows)


def marked(reading: Reading) -> str:
    """The text, with `?` for what is not surely a digit."""
    return "\n".join("".join(str(one.digit) if one.verdict == "digit" else "?" for one in row) for row in reading.lines)


def _believed(rows: list[list[Digit]]) -> list[list[Digit]]:
    """The lines that are mostly digits, if any is: beside them all else is a desk, a cloth, another script."""
    sure = [2 * sum(digit.verdict == "digit" for digit in row) >= len(row) for row in rows]
    return [row for row, is_sure in zip(rows, sure) if is_sure] if any(sure) else rows


def _digit(judged: Judged, which: int, box: list[int]) -> Digit:
    return Digit(int(judged.digits[which]), float(judged.confidences[which]), box, VERDICTS[judged.verdicts[which]])


def _place(box: list[int], look: Look, picture: Pixels, size: tuple[int, int]) -> list[int]:
    """A box of the look as left, top, width and height in a picture of that size (width, height) as seen."""
    limits, scales = np.array(size), np.array(size) / picture.shape[1::-1]
    start, stop = ((np.array(corner) / look.zoom + look.corner) * scales for corner in (box[:2], box[2:]))
    start, stop = np.clip(np.floor(start), 0, limits - 1), np.clip(np.ceil(stop), 1, limits)
    return [int(value) for value in (*start, *(stop - start))]


# --- Finding ink, and its lines


def _look(picture: Pixels) -> Look:
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


def _lines(found: Ink) -> tuple[Ink, list[Line]]:
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
        ways = _Ways(np.where(own, found[area], np.float32(0)).T)
        column = int(right - left) // 2
        wanted = (rows[between] + rows[between + 1]) / 2
        far = np.abs(np.arange(bottom - top) - wanted[:, None]) / height
        seams = ways.through(column, (ways.cost[column] + far + 1e6 * (far > 0.3)).argmin(1))
        parts = np.where(own, 1 + _parts(seams, own.T.shape).T, 0)
        for part in range(1, len(seams) + 2):
            x, y, wide, tall = cv2.boundingRect((parts == part).astype(np.uint8))
            box = np.array([left + x, top + y, left + x + wide, top + y + tall])
            if part == 1:
                boxes[which] = box
            elif wide:
                boxes = np.concatenate([boxes, box[None]])
                labels[area][parts == part] = len(boxes)
    return labels, boxes


# --- Cutting components into pieces


class _Ways:
    """The cheapest ways from top to bottom through ink, by every pixel of it."""

    def __init__(self, strokes: Ink):
        down, self.up = self._from_top(strokes)
        up, steps = self._from_top(strokes[::-1])
        self.down = steps[::-1]
        self.cost = down + up[::-1] - strokes - PAPER * (len(strokes) + 1)

    @staticmethod
    def _from_top(strokes: Ink) -> tuple[np.ndarray, np.ndarray]:
        """What the way to each pixel costs, and where it was a row before, to the left (-1) or right (1)."""
        cost, steps = strokes + np.float32(PAPER), np.zeros(strokes.shape, np.int8)
        for row in range(1, len(cost)):
            before = np.pad(cost[row - 1], 1, constant_values=np.inf)
            ways = np.stack([before[:-2] + ASIDE, before[1:-1], before[2:] + ASIDE])
            steps[row] = ways.argmin(0) - 1
            cost[row] += ways.min(0)
        return cost, steps

    def through(self, row: int, columns: np.ndarray) -> Int[np.ndarray, "seams height"]:
        """Seams through those columns of a row: the last column on their left, row by row."""
        seams = np.empty((len(columns), len(self.cost)), int)
        seams[:, row] = columns
        for y in range(row, 0, -1):
            seams[:, y - 1] = seams[:, y] + self.up[y, seams[:, y]]
        for y in range(row, len(self.cost) - 1):
            seams[:, y + 1] = seams[:, y] + self.down[y, seams[:, y]]
        return seams


def _parts(seams: np.ndarray, shape: tuple[int, ...]) -> Int[np.ndarray, "height width"]:
    """How many seams, given from left to right, lie on the left of each pixel."""
    parts = np.zeros(shape, int)
    for seam in np.maximum.accumulate(seams):
        parts += np.arange(shape[1]) > seam[:, None]
    return parts


def _seams(strokes: Ink, height: float) -> list[tuple[float, np.ndarray]]:
    """Where strokes may be cut into digits, from left to right: what each seam goes through, in widths of a stroke."""
    rows, columns = strokes.shape
    if columns < 0.45 * height:
        return []
    inside = np.pad((strokes > 0.5).astype(np.uint8), 1)
    stroke = max(1.0, 4 * cv2.mean(cv2.distanceTransform(inside, cv2.DIST_L2, 3), inside)[0] - 1)
    ways, edge = _Ways(strokes), 0.1 * height
    tried: list[tuple[float, np.ndarray]] = []
    for row in (rows // 4, rows // 2, 3 * rows // 4):
        cost = ways.cost[row]
        lowest = cv2.erode(cost[None], np.ones((1, 2 * round(0.08 * height) + 1), np.uint8))[0]
        flat = np.flatnonzero(cost <= lowest + 1e-4)
        runs = np.split(flat, np.flatnonzero(np.diff(flat) > 1) + 1)
        places = np.array([(run[0] + run[-1]) // 2 for run in runs if len(run)], int)
        places = places[(cost[places] < 3.5 * stroke) & (places > edge) & (places < columns - edge)]
        tried += zip(np.maximum(cost[places], 0) / stroke, ways.through(row, places))
    # The ink up to each column, row by row: between two seams there must be some.
    ink_before = np.pad(np.cumsum(strokes > 0.3, axis=1), ((0, 0), (1, 0)))
    chosen = [(0.0, np.full(rows, -1)), (0.0, np.full(rows, columns - 1))]
    amounts = [ink_before[:, 0], ink_before[:, -1]]
    for cost, seam in sorted(tried, key=lambda one: one[0]):
        amount = ink_before[np.arange(rows), seam + 1]
        if min(np.abs(amount - other).sum() for other in amounts) > stroke**2:
            chosen.append((float(cost), seam))
            amounts.append(amount)
    return sorted(chosen[2:], key=lambda one: float(one[1].mean()))


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
        seams = _seams(np.where(own, found[area], np.float32(0)), height)
        parts = _parts(np.array([seam for _, seam in seams]).reshape(-1, bottom - top), own.shape)
        for part, cut in enumerate([0.0, *(cost for cost, _ in seams)]):
            inside = own & (parts == part)
            x, y, wide, tall = cv2.boundingRect(inside.astype(np.uint8))
            if wide:
                pieces.append(([left + x, top + y, left + x + wide, top + y + tall], which, cut, area, inside))
    pieces.sort(key=lambda piece: piece[0][0] + piece[0][2])
    for number, (*_, area, inside) in enumerate(pieces):
        numbered[area][inside] = first + number
    own_boxes, components, cuts = ([piece[field] for piece in pieces] for field in range(3))
    cuts = [cut if i and components[i] == components[i - 1] else 0.0 for i, cut in enumerate(cuts)]
    return Line(height, centre, numbered, first, np.array(own_boxes), components, cuts)


# --- Which pieces make a digit


def _candidates(found: Ink, line: Line) -> list[Candidate]:
    """Neighbouring pieces that may be one digit, and what the network would see of it."""
    candidates = []
    for first in range(len(line.boxes)):
        box, gap = line.boxes[first], 0.0
        for last in range(first, min(first + MOST_PIECES, len(line.boxes))):
            if last > first:
                step = max(0.0, (line.boxes[last][0] - box[2]) / line.height)
                gap += step
                box = np.array([*np.minimum(box, line.boxes[last])[:2], *np.maximum(box, line.boxes[last])[2:]])
                if step > WIDEST_GAP or box[2] - box[0] > WIDEST * line.height:
                    break
            left, top, right, bottom = (int(side) for side in box)
            area = np.s_[top:bottom, left:right]
            number = line.labels[area]
            foreign = (number > 0) & ((number < line.first + first) | (number > line.first + last))
            form = fitted(np.where(foreign, np.float32(0), found[area]))
            sizes = *_sizes(line, box), gap, line.cuts[first] + sum(line.cuts[last + 1 : last + 2])
            candidates.append(Candidate(first, last + 1, [left, top, right, bottom], form, *sizes))
    return candidates


def _sizes(line: Line, box: np.ndarray) -> tuple[float, float, float]:
    """Width, height, and how far the middle is below the line's; in heights of the line."""
    left, top, right, bottom = box
    below = (top + bottom) / 2 - np.polyval(line.centre, (left + right) / 2)
    return (right - left) / line.height, (bottom - top) / line.height, below / line.height


def _best(line: Line, candidates: list[Candidate], judged: Judged) -> list[int]:
    """The candidates, from left to right, into which the line most probably falls."""
    chances = np.log(judged.probabilities.max(1) + 1e-6) + _terms(candidates, judged) @ DIGIT
    # Nothing that was cut is dropped, but a flat end: of a line that digits stand on.
    alone = np.bincount(line.components)[line.components] == 1
    flat = line.boxes[:, 3] - line.boxes[:, 1] < FLAT * line.height
    dropped = np.where(alone | flat, _drop_terms(line) @ DROP, -np.inf)
    best, came = np.full(len(line.boxes) + 1, -np.inf), np.full(len(line.boxes) + 1, -1)
    best[0] = 0
    ending: list[list[int]] = [[] for _ in best]
    for which, candidate in enumerate(candidates):
        ending[candidate.stop].append(which)
    for stop in range(1, len(best)):
        best[stop] = best[stop - 1] + dropped[stop - 1]
        for which in ending[stop]:
            if (chance := best[candidates[which].first] + chances[which]) > best[stop]:
                best[stop], came[stop] = chance, which
    chosen, stop = [], len(best) - 1
    while stop:
        if came[stop] >= 0:
            chosen.append(int(came[stop]))
        stop = candidates[came[stop]].first if came[stop] >= 0 else stop - 1
    return chosen[::-1]


def _terms(candidates: list[Candidate], judged: Judged) -> Float[np.ndarray, "n terms"]:
    """What speaks against a candidate, beside the probability of its digit."""
    sizes = np.array([candidate[4:] for candidate in candidates])
    width, height, below, gap, cut = sizes.T
    inked = np.stack([candidate.form for candidate in candidates]) > 100
    strokes = (np.diff(inked.astype(np.int8), axis=2, prepend=0) == 1).sum(2)
    a_row = strokes.sum(1) / np.maximum((strokes > 0).sum(1), 1)
    excess = width - 0.75, 0.8 - height, np.abs(below) - 0.15, width / height - 0.8, a_row - 1.5
    foreign = judged.verdicts == VERDICTS.index("not_a_digit")
    return np.stack([np.ones(len(cut)), *np.maximum(excess, 0), gap, np.sqrt(cut), cut, foreign], axis=1)


def _drop_terms(line: Line) -> Float[np.ndarray, "n terms"]:
    """What speaks for or against a piece's being a comma, a dash or a speck."""
    width, height, below = np.array([_sizes(line, box) for box in line.boxes]).T
    return np.stack([np.ones(len(width)), width, height, np.maximum(below - 0.1, 0)], axis=1)
