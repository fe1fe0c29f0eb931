"""Several digits in one picture: each line of ink is read at once by the line network, and its digits are found in it.

A picture that is one line, like the amount of a cheque, is read as it is as well, paper and all; of two readings the
likelier one counts.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Int, UInt8

from digitjax.picture.canonical import canonical, fitted
from digitjax.picture.ink import Ink, bright_on_dark, grey_of
from digitjax.picture.pixels import Pixels, read_sized
from digitjax.picture.strips import HEIGHT, Strip, evened, strip
from digitjax.reading import layout, strips
from digitjax.reading.layout import Labels, Line
from digitjax.reading.predict import Judged, Predictor
from digitjax.reading.strips import Spotted
from digitjax.reading.trust import VERDICTS

SHARE = 0.58  # of a strip's height that a usual digit has
LONG, WIDE = 2.0, 1.2  # a picture so much wider than high is one line, or may be one,
FILLED = 0.3  # and so is one whose digits are so much of its height
SURE, LIKELY = 0.9, 0.3
MOST_COLUMNS = 90_000  # of strips, some three thousand digits: beyond that a page is said to be truncated
TURNED_FROM, MOST_TURNED = 4, 400  # digits that a page must show which is said to lie; pieces of one that is tried


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
    """Digits, with a space where there is room for one, and a line break between lines."""
    lines: list[list[Digit]]
    confidence: float = 0.0
    """The probability that the text is right, whole."""
    truncated: bool = False
    """Whether there was more than is read of one picture."""
    turned: int = 0
    """Degrees by which the page lies turned clockwise: 0, 90, 180 or 270. Boxes are those of the picture as it came."""


class Cut(NamedTuple):
    """A line's ink, and the strip that the network sees of it."""

    strip: Strip
    found: Ink
    labels: Labels
    """Of the line's own components; all else is 0."""
    left: float
    """Column of the ink at the strip's own first."""
    zoom: float
    """Pixels of the strip for one of the ink."""
    scale: tuple[float, float, float, float]
    """From the ink's pixels to the picture's: x and y of its corner, and pixels of the picture for one of the ink."""


def read(predictor: Predictor, source: Any) -> Reading:
    """Reads the digits of a picture, given as `canonical` takes it; ruling lines, cells, commas and specks are none.

    Raises:
      PictureError: the picture is bad; the message says what is wrong and what to send.
    """
    picture, size = read_sized(source)
    upright, by_ink, pieces = _read(predictor, picture, size)
    best = upright
    if not _is_line(picture, by_ink) and TURNED_FROM <= pieces <= MOST_TURNED and _may_lie(upright, pieces):
        for quarters in (1, 3, 2):
            size_so = size if quarters == 2 else (size[1], size[0])
            found, _, _ = _read(predictor, np.ascontiguousarray(np.rot90(picture, quarters)), size_so)
            # A page that lies has to be read much better so: some digits are digits upside down, too.
            if _surely(found) >= max(TURNED_FROM, 1.25 * _surely(upright), _surely(best)):
                best = _seen_upright(found, quarters, size)
    return best


def _surely(reading: Reading) -> float:
    """How many digits are sure, weighed by how sure all are."""
    digits = [one for line in reading.lines for one in line]
    return sum(one.verdict == "digit" for one in digits) * reading.confidence ** (1 / max(1, len(digits)))


def _may_lie(reading: Reading, pieces: int) -> bool:
    """Whether so little of what should be digits is read so surely that the page may lie on its side."""
    digits = sum(map(len, reading.lines))
    return reading.confidence ** (1 / max(1, digits)) < 0.93 or _surely(reading) < 0.6 * max(digits, 0.7 * pieces)


def _seen_upright(reading: Reading, quarters: int, size: tuple[int, int]) -> Reading:
    """What was read of a picture turned by so many quarters, with boxes in the one before it was turned."""
    width, height = size

    def back(box: list[int]) -> list[int]:
        x, y, wide, high = box
        if quarters == 2:
            return [width - x - wide, height - y - high, wide, high]
        return [width - y - high, x, high, wide] if quarters == 1 else [y, height - x - wide, high, wide]

    rows = [[one._replace(box=back(one.box)) for one in line] for line in reading.lines]
    return reading._replace(lines=rows, turned=90 * quarters)


def _read(predictor: Predictor, picture: Pixels, size: tuple[int, int]) -> tuple[Reading, Sequence[Cut], int]:
    """What a picture says as it stands, its lines of ink, and how many pieces these have."""
    reader, by_ink, truncated, pieces = strips.load(), [], False, 0
    views, of_line = [], None
    if whole := _as_line(picture, []):
        views, of_line = reader.views(whole.strip)
    if whole and of_line and of_line.confidence >= SURE and _accounts_for(of_line, whole):
        cuts, spotted = [whole], [of_line]  # then nobody needs to look for its ink
    else:
        by_ink, truncated, pieces = lines_of(picture)
        if not whole and (whole := _as_line(picture, by_ink)):
            views, of_line = reader.views(whole.strip)
        if whole and len(by_ink) == 1 and _is_line(picture, by_ink):
            of_line, of_ink = reader.agreed(views, by_ink[0].strip)
            # Its boxes are those of the ink, if the ink says the same.
            cuts, spotted = (by_ink, [of_ink]) if min(of_ink.confidences, default=0) > 0.5 else ([whole], [of_line])
        else:
            cuts, spotted = by_ink, reader.read([cut.strip for cut in by_ink])
            if whole and of_line and _likelier(of_line, spotted):
                cuts, spotted = [whole], [of_line]
    if not cuts:
        return Reading("", [], truncated=truncated), by_ink, pieces
    rows = _judged(predictor, cuts, spotted, size, picture)
    believed = _believed(rows, spotted)
    kept = [rows[place] for place in believed]
    confidence = float(np.prod([spotted[place].confidence for place in believed]))
    if [len(row) for row in kept] == [1]:  # then the whole picture is its picture
        judged = predictor.judge(canonical(picture)[None])
        verdict = VERDICTS[judged.verdicts[0]]
        kept = [[Digit(int(judged.digits[0]), float(judged.confidences[0]), kept[0][0].box, verdict)]]
        confidence = kept[0][0].confidence
    return Reading(_text(kept), kept, confidence if kept else 0.0, truncated), by_ink, pieces


def marked(reading: Reading) -> str:
    """The text, with `?` for what is not surely a digit."""
    return _text(reading.lines, "?")


def _text(lines: Sequence[Sequence[Digit]], unsure: str = "") -> str:
    """What lines say; two digits with more room between them than they are high are of two numbers, unless all have."""
    said = []
    for line in lines:
        room = float(np.median([one.box[3] for one in line]))
        ends = [-np.inf, *(one.box[0] + one.box[2] for one in line)]
        signs = [str(one.digit) if one.verdict == "digit" or not unsure else unsure for one in line]
        room = np.inf if _evenly(line) else room
        apart = [one.box[0] - end > room for one, end in zip(line, ends)]
        said.append("".join(" " * (place > 0 and gap) + sign for place, (sign, gap) in enumerate(zip(signs, apart))))
    return "\n".join(said)


def _evenly(line: Sequence[Digit]) -> bool:
    """Whether four digits or more stand at one distance, as those of one number in the cells of a form do."""
    steps = np.diff([one.box[0] + one.box[2] / 2 for one in line])
    usual = float(np.median(steps)) if len(steps) else 0.0
    return len(steps) > 2 and bool(np.abs(steps - usual).max() < 0.3 * usual)


def lines_of(picture: Pixels) -> tuple[list[Cut], bool, int]:
    """The lines of ink on a page, from top to bottom; whether there are more pieces than are looked at; how many."""
    look = layout.look(picture)
    found, labels, lines = layout.lines(look.found)
    scale = float(look.corner[0]), float(look.corner[1]), 1 / look.zoom, 1 / look.zoom
    pieces = sum(len(line.members) for line in lines)
    cuts = [_cut(found, labels, line, scale) for line in lines]
    columns = np.cumsum([cut.strip.shape[1] for cut in cuts])
    read = int(np.searchsorted(columns, MOST_COLUMNS, side="right"))
    return cuts[:read], pieces >= layout.MOST_COMPONENTS or read < len(cuts), pieces


def _cut(found: Ink, labels: Labels, line: Line, scale: tuple[float, float, float, float]) -> Cut:
    left, top = (int(value) for value in line.boxes[:, :2].min(0))
    right, bottom = (int(value) for value in line.boxes[:, 2:].max(0))
    area = np.s_[top:bottom, left:right]
    own = np.zeros(max(int(labels.max()), int(line.members.max())) + 1, bool)
    own[line.members] = True
    inside = np.where(own[labels[area]], labels[area], 0)
    ink = np.where(inside > 0, found[area], np.float32(0))
    slope, middle = line.centre
    zoom, margin = HEIGHT * SHARE / line.height, 0.4 * line.height
    small = cv2.resize(ink, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR)
    # Columns stay where they are; rows move, so that a line that climbs runs level.
    start = slope * (left - margin) + middle - top
    level = np.array([[1, 0, -margin * zoom], [slope, 1, start * zoom - HEIGHT / 2]])
    size = max(8, round((right - left + 2 * margin) * zoom)), HEIGHT
    seen = cv2.warpAffine(small, level, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    x, y, across, down = scale
    corner = x + left * across, y + top * down
    return Cut(evened(255 - np.round(255 * seen).astype(np.uint8)), ink, inside, -margin, zoom, (*corner, across, down))


def _as_line(picture: Pixels, by_ink: Sequence[Cut]) -> Cut | None:
    """A picture that may be one line, as it is: it is long, or one line of ink fills it. None for any other."""
    height, width = picture.shape[:2]
    if width < WIDE * height and not _is_line(picture, by_ink):
        return None
    grey = grey_of(picture)
    if bright_on_dark(grey, several=True):
        grey = cv2.bitwise_not(grey)
    zoom = min(1.6 * HEIGHT / height, 1.0)
    close = cv2.resize(grey, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA) if zoom < 1 else grey
    found = evened(close).astype(np.float32) * np.float32(1 / 255)
    labels = cv2.connectedComponents((found > 0.4).astype(np.uint8), connectivity=8)[1].astype(np.int32)
    scale = 0.0, 0.0, width / close.shape[1], height / close.shape[0]
    return Cut(strip(close), found, labels, 0.0, HEIGHT / close.shape[0], scale)


def _is_line(picture: Pixels, by_ink: Sequence[Cut]) -> bool:
    height, width = picture.shape[:2]
    filled = len(by_ink) == 1 and by_ink[0].scale[3] * SHARE * HEIGHT / by_ink[0].zoom > FILLED * height
    return filled or width >= LONG * height


def _accounts_for(of_line: Spotted, whole: Cut) -> bool:
    """Whether all tall ink of a line's picture is that of its digits, and none stands above another."""
    if not len(of_line.digits):
        return False
    mask, tall = (whole.labels > 0).astype(np.uint8), HEIGHT / whole.zoom
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    owners = _owners(of_line.places / whole.zoom + whole.left, stats, tall)
    large = np.flatnonzero(stats[:, cv2.CC_STAT_HEIGHT] > 0.3 * tall)[1:]
    own, top, bottom = owners[:, large], stats[large, 1], stats[large, 1] + stats[large, 3]
    above = np.where(own, bottom, np.inf).min(1, initial=np.inf) < np.where(own, top, -np.inf).max(1, initial=-np.inf)
    return bool(own.any(0).all() and not above.any())


def _likelier(whole: Spotted, by_line: Sequence[Spotted]) -> bool:
    """Whether a picture as one line says more surely what it says than any number among its lines of ink does."""
    numbers = [one.confidence for one in by_line if len(one.digits) > 1]
    alone = float(np.prod([one.confidence for one in by_line])) if any(len(one.digits) for one in by_line) else 0.0
    return len(whole.digits) > 1 and whole.confidence > max(numbers, default=alone)


def _judged(
    predictor: Predictor, cuts: Sequence[Cut], spotted: Sequence[Spotted], size: tuple[int, int], picture: Pixels
) -> list[list[Digit]]:
    """The digits of each line with box and verdict."""
    found = [_own_ink(cut, one) for cut, one in zip(cuts, spotted)]
    forms = [_form(cut, box, mask) for cut, parts in zip(cuts, found) for box, mask in parts]
    if not forms:
        return [[] for _ in cuts]
    judged, which, rows = predictor.judge_alone(np.stack(forms)), 0, []
    for cut, one, parts in zip(cuts, spotted, found):
        row = []
        for place, (box, _) in enumerate(parts):
            digit, confidence = int(one.digits[place]), float(one.confidences[place])
            verdict = _verdict(digit, confidence, judged, which)
            row.append(Digit(digit, confidence, _place(box, cut.scale, size, picture), verdict))
            which += 1
        rows.append(row)
    return rows


def _verdict(digit: int, confidence: float, judged: Judged, which: int) -> str:
    """What the line network and the classifier, which sees the digit's own ink alone, say together."""
    alone = VERDICTS[judged.verdicts[which]]
    if alone == "not_a_digit":
        return "not_a_digit" if confidence < SURE else "unsure"
    agree = int(judged.digits[which]) == digit
    return "digit" if confidence >= (0.5 if agree and alone == "digit" else 0.97) else "unsure"


def _own_ink(cut: Cut, spotted: Spotted) -> list[tuple[list[int], Bool[np.ndarray, "_ _"]]]:
    """For each digit of a strip its box (left, top, right, bottom) in the ink, and which pixels there are its own.

    A component goes to the digit that was seen in its columns; one that holds several is cut between them where there
    is least ink.
    """
    places, tall = spotted.places / cut.zoom + cut.left, HEIGHT / cut.zoom
    mask = (cut.labels > 0).astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    owners, parts = _owners(places, stats, tall), np.zeros(labels.shape, np.int32)
    single = owners & (owners.sum(0) == 1)
    first = np.where(single, stats[:, 0], places[:, :1]).min(1)
    last = np.where(single, stats[:, 0] + stats[:, 2], places[:, 2:]).max(1)
    for number in range(1, len(stats)):
        left, top, width, height = stats[number, :4]
        area = np.s_[top : top + height, left : left + width]
        mine = labels[area] == number
        inside = np.flatnonzero(owners[:, number])
        if len(inside):
            ink = np.where(mine, cut.found[area], 0).sum(0)
            parts[area][mine] = np.broadcast_to(1 + _shared(ink, inside, places[:, 1] - left), mine.shape)[mine]
        elif len(places):
            # A stroke apart is of the digit that was seen there; high up, like the bar of a five, of the ink beneath.
            high_up = top + height < 0.5 * len(mask)
            start, stop = (first, last) if high_up else (places[:, 0], places[:, 2])
            over = np.minimum(stop, left + width) - np.maximum(start, left)
            if over.max() > 0.3 * width and height > 0.08 * tall:
                parts[area][mine] = int(over.argmax()) + 1
    found = []
    for digit in range(len(places)):
        left, top, width, height = cv2.boundingRect((parts == digit + 1).astype(np.uint8))
        if not width:  # nothing of its own: where it was seen
            left, width = int(max(0, places[digit, 0])), max(1, int(np.ptp(places[digit, ::2])))
            _, top, _, height = cv2.boundingRect(mask)
            height = height or labels.shape[0]
        area = np.s_[top : top + height, left : left + width]
        found.append(([left, top, left + width, top + height], parts[area] == digit + 1))
    return found


def _owners(places: np.ndarray, stats: np.ndarray, tall: float) -> Bool[np.ndarray, "digits components"]:
    """Which digits were seen in the columns of each component; one with a piece of its own has none that hangs over."""
    starts, stops = stats[:, 0], stats[:, 0] + stats[:, 2]
    owners = (places[:, 1:2] >= starts) & (places[:, 1:2] < stops)
    owners[:, 0] = False
    alone = owners.sum(0) == 1
    has_own = (owners & alone & (stats[:, 3] > 0.2 * tall)).any(1)
    return np.where(has_own[:, None], owners & alone, owners)


def _shared(ink: np.ndarray, inside: np.ndarray, columns: np.ndarray) -> Int[np.ndarray, " width"]:
    """Whose each column of a component is that holds several digits, seen in these columns: cut at the least ink."""
    owners = np.full(len(ink), inside[0])
    for before, after in pairwise(inside):
        first, last = (int(np.clip(columns[digit], 0, len(ink) - 1)) for digit in (before, after))
        between = np.arange(first, last + 1)
        cost = ink[between] + 0.25 * np.abs(between - (first + last) / 2)
        owners[between[int(cost.argmin())] :] = after
    return owners


def _form(cut: Cut, box: list[int], mask: Bool[np.ndarray, "_ _"]) -> UInt8[np.ndarray, "28 28"]:
    left, top, right, bottom = box
    if not mask.any():
        return np.zeros((28, 28), np.uint8)
    return fitted(np.where(mask, cut.found[top:bottom, left:right], np.float32(0)))


def _believed(rows: Sequence[Sequence[Digit]], spotted: Sequence[Spotted]) -> list[int]:
    """The lines that count: where one says its digits surely, those that do so too, and are of like height.

    Beside them all else is a desk, a cloth, another script.
    """
    there = [place for place, row in enumerate(rows) if row]
    sure = {place: sum(digit.verdict == "digit" for digit in rows[place]) for place in there}
    read = [place for place in there if 2 * sure[place] >= len(rows[place]) and spotted[place].confidence > LIKELY]
    if not read:
        return there
    best = max(read, key=lambda place: sure[place] * spotted[place].confidence)
    height = {place: float(np.median([digit.box[3] for digit in rows[place]])) for place in there}
    alike = [place for place in there if 0.4 * height[best] < height[place] < 2.5 * height[best]]
    return [place for place in alike if place in read or 2 * sure[place] >= len(rows[place]) > 2]


def _place(
    box: list[int], scale: tuple[float, float, float, float], size: tuple[int, int], picture: Pixels
) -> list[int]:
    """A box of the ink as left, top, width and height in a picture of that size (width, height) as seen."""
    corner, by, limits = np.array(scale[:2]), np.array(scale[2:]), np.array(size)
    start, stop = ((np.array(side) * by + corner) * limits / picture.shape[1::-1] for side in (box[:2], box[2:]))
    start, stop = np.clip(np.floor(start), 0, limits - 1), np.clip(np.ceil(stop), 1, limits)
    return [int(value) for value in (*start, *(stop - start))]
