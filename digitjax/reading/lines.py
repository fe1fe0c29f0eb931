"""Several digits in one picture: found, put together where strokes are apart, cut where digits touch, read in order.

Ink is cut into pieces, none of them larger than a digit. Which neighbours make one is what is most probable over a
whole line, by the classifier and by their sizes: over-segmentation and dynamic programming (Matan et al. 1992; LeCun et
al. 1998, section V).
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from digitjax.picture.canonical import canonical, fitted
from digitjax.picture.ink import Ink
from digitjax.picture.pixels import Pixels, read_sized
from digitjax.reading import layout
from digitjax.reading.layout import Line, Look
from digitjax.reading.predict import Judged, Predictor
from digitjax.reading.trust import VERDICTS

MOST_PIECES = 6  # of one digit
WIDEST, WIDEST_GAP = 1.6, 0.35  # of a digit, and of the room between its strokes, in heights of its line
FLAT = 0.35  # of a line's height

# Fitted by maximum likelihood of what generated numbers say (experiments.fit_lines): a candidate's log odds by
# `digit_terms`, and a piece's of being dropped by `drop_terms`.
DIGIT = np.array([-0.44, -3.5, -3.62, -3.29, -3.17, -6.87, 2.67, -4.72, 1.81, -3.49])
DROP = np.array([0.31, -5.03, -3.72, 3.06])


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
    look = layout.look(picture)
    found, lines = layout.lines(look.found)
    candidates = [candidates_of(found, line) for line in lines]
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


def candidates_of(found: Ink, line: Line) -> list[Candidate]:
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
    chances = np.log(judged.probabilities.max(1) + 1e-6) + digit_terms(candidates, judged) @ DIGIT
    # Nothing that was cut is dropped, but a flat end: of a line that digits stand on.
    alone = np.bincount(line.components)[line.components] == 1
    flat = line.boxes[:, 3] - line.boxes[:, 1] < FLAT * line.height
    dropped = np.where(alone | flat, drop_terms(line) @ DROP, -np.inf)
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


def digit_terms(candidates: list[Candidate], judged: Judged) -> Float[np.ndarray, "n terms"]:
    """What speaks against a candidate, beside the probability of its digit."""
    sizes = np.array([candidate[4:] for candidate in candidates])
    width, height, below, gap, cut = sizes.T
    inked = np.stack([candidate.form for candidate in candidates]) > 100
    strokes = (np.diff(inked.astype(np.int8), axis=2, prepend=0) == 1).sum(2)
    a_row = strokes.sum(1) / np.maximum((strokes > 0).sum(1), 1)
    excess = width - 0.75, 0.8 - height, np.abs(below) - 0.15, width / height - 0.8, a_row - 1.5
    foreign = judged.verdicts == VERDICTS.index("not_a_digit")
    return np.stack([np.ones(len(cut)), *np.maximum(excess, 0), gap, np.sqrt(cut), cut, foreign], axis=1)


def drop_terms(line: Line) -> Float[np.ndarray, "n terms"]:
    """What speaks for or against a piece's being a comma, a dash or a speck."""
    width, height, below = np.array([_sizes(line, box) for box in line.boxes]).T
    return np.stack([np.ones(len(width)), width, height, np.maximum(below - 0.1, 0)], axis=1)
