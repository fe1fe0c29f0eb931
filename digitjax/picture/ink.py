"""Pixels -> strokes, bright on dark, free of paper, light and ruling; no threshold is for good, grey levels survive."""

import itertools

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from digitjax.picture.pixels import Pixels

Ink = Float32[np.ndarray, "_ _"]
"""[height, width], from 0 for paper to 1 for full ink."""

LEAST_CONTRAST = 0.035  # of the range from black to white: what is fainter is taken for paper


def ink(picture: Pixels, several: bool = False) -> Ink:
    """Strokes from 0 (paper) to 1 (full ink), whatever the paper, the light, the pen and the polarity; blank is 0.

    With `several` digits to be found no piece of ink is the main one: all that look like ink speak for themselves.
    """
    grey = grey_of(picture)
    if not several and (strokes := _cut_out(grey)) is not None:
        return strokes
    border = np.uint8(np.median(ring(grey)))
    even, nearly = (cv2.countNonZero(cv2.inRange(grey, int(border) - by, int(border) + by)) for by in (1, 16))
    if even > 0.5 * grey.size and nearly < 1.1 * even:  # drawn, or scanned to pure white
        bright = cv2.mean(grey)[0] > border
        strokes = np.maximum(grey, border) - border if bright else border - np.minimum(grey, border)
        left, top, width, height = cv2.boundingRect(strokes)
        # Free of the border, the ink can be had from its own part of the picture.
        free = left > 0 and top > 0 and left + width < grey.shape[1] and top + height < grey.shape[0]
        area = np.s_[top - 1 : top + height + 1, left - 1 : left + width + 1] if free else np.s_[:, :]
        part = strokes[area].astype(np.float32) * (1 / max(255 - int(border) if bright else int(border), 1))
        found = np.zeros(grey.shape, np.float32)
        found[area] = _cleaned(_without_ruling(part, LEAST_CONTRAST, several), LEAST_CONTRAST, several)[0]
        return found
    return _photographed(cv2.bitwise_not(grey) if bright_on_dark(grey, several) else grey, several)


def unpasted(picture: Pixels) -> Pixels:
    """A picture that lies on a plain ground, as scanners and document apps leave it, without that ground.

    What differs from an even border is the picture where it fills the border of its own box, as strokes do not; a
    picture within that is found as well.
    """
    while min(picture.shape[:2]) >= 16:
        grey = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        border = ring(grey)
        ground = int(np.median(border))
        if np.mean(np.abs(border.astype(np.int16) - ground) < 8) < 0.7:
            return picture
        other = cv2.absdiff(grey, np.full_like(grey, ground)) > 10
        left, top, width, height = cv2.boundingRect(other.view(np.uint8))
        if width * height == grey.size or min(width, height) < 12:
            return picture
        edge = min(max(1, min(width, height) // 24), 4)  # its own edge is blurred, and no part of the paper
        inner = np.s_[top + edge : top + height - edge, left + edge : left + width - edge]
        # Paper: all along its border it is of another tone than the ground, as no digit is along its box.
        if ring(other[inner]).mean() < 0.95:
            return picture
        picture = picture[inner]
    return picture


def ring(grey: np.ndarray) -> np.ndarray:
    """The pixels of the border."""
    return np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])


def quantile(values: np.ndarray, share: float) -> float:
    """The value that `share` of the values are at most; several times as fast as NumPy's, which interpolates."""
    place = int(share * (len(values) - 1))
    return float(np.partition(values, place)[place])


def grey_of(picture: np.ndarray) -> UInt8[np.ndarray, "_ _"]:
    """The mixture of the colours in which the ink stands out most."""
    if picture.ndim == 2:
        return picture
    red, green, blue = cv2.split(picture)
    if cv2.norm(red, green, cv2.NORM_INF) == 0 and cv2.norm(green, blue, cv2.NORM_INF) == 0:
        return green
    fewer = -(-max(picture.shape) // 200)  # whole pixels become one: OpenCV has a fast path for that
    size = max(1, picture.shape[1] // fewer), max(1, picture.shape[0] // fewer)
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA) if fewer > 1 else picture
    detail = cv2.subtract(small, cv2.blur(small, (2 * (max(small.shape) // 12) + 1,) * 2), dtype=cv2.CV_32F)
    detail = detail.reshape(-1, 3)
    weights = np.abs(np.linalg.eigh(detail.T @ detail)[1][:, -1])
    weights = (weights / max(float(weights.sum()), 1e-6)).astype(np.float32)
    return cv2.transform(picture, weights[None])


def bright_on_dark(grey: np.ndarray, several: bool = False) -> bool:
    """Polarity: the border is paper, also where light is uneven, and ink is the little that stands out.

    A single digit may be cut out tightly, with ink along the border; `several` hardly are.
    """
    small = (
        cv2.resize(grey, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
        if (zoom := 160 / max(grey.shape)) < 1
        else grey
    )
    if not several and (votes := _two_tone_votes(small)) is not None:
        return bool(votes > 0)
    small = small.astype(np.float32)
    if max(small.shape) <= 24:  # cut out tightly: the ink reaches the border, though seldom a corner
        reach = 1 + min(small.shape) // 16
        corners = small[:reach], small[-reach:]
        paper = [rows[:, side].mean() for rows in corners for side in (slice(reach), slice(-reach, None))]
        votes = np.sign((small.min() + small.max()) / 2 - paper).sum()
        if votes:
            return bool(votes > 0)
    fine, near, far = (small - cv2.blur(small, (max(9, min(small.shape) // share) | 1,) * 2) for share in (8, 3, 2))
    # Products, for NumPy's power of floats takes a hundred times as long.
    skews = [float((d * d * d).mean()) / (float((d * d).mean()) + 1e-6) ** 1.5 for d in (fine, near)]
    low, high = float(far.min()), float(far.max())
    corners = far[:: far.shape[0] - 1, :: far.shape[1] - 1]
    border = (float(np.median(ring(far))) + float(np.median(corners)) - low - high) / (high - low + 1e-6)
    return sum(min(max(skew, -2), 2) for skew in skews) - 2 * max(1, 48 / min(small.shape)) * border > 0


def _two_tone_votes(grey: UInt8[np.ndarray, "_ _"]) -> float | None:
    """Of a picture of two tones, also where the ink reaches its border, as detectors cut: whether the ink is bright.

    Above 0 where the bright tone is thinner, rarer and less often in a corner; None of any other picture.
    """
    _, mask = cv2.threshold(grey, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    share = float(mask.mean())
    if not 0.02 < share < 0.98:
        return None
    bright, dark = grey[mask > 0], grey[mask == 0]
    within = bright.var() * share + dark.var() * (1 - share)
    if within > 0.25 * float(grey.var()) or float(bright.mean()) - float(dark.mean()) < 60:
        return None
    at_border = float(ring(mask).mean())
    if not 0.04 < at_border < 0.96:  # the border is of one tone: the other is ink, unless it is most of the picture
        rare = share if at_border < 0.5 else 1 - share
        return 0.5 - at_border if rare < 0.5 else None
    reach = 1 + min(mask.shape) // 16
    corners = [mask[rows, columns].mean() for rows in (slice(reach), slice(-reach, None))
               for columns in (slice(reach), slice(-reach, None))]  # fmt: skip
    # Beyond the border both tones go on, so that neither is thin there for being cut.
    padded = cv2.copyMakeBorder(mask, 8, 8, 8, 8, cv2.BORDER_REPLICATE)
    within_both = [cv2.distanceTransform(part, cv2.DIST_L2, 3) for part in (padded, 1 - padded)]
    depths = [float(far.max()) for far in within_both]
    # About half a stroke's width: what is wider is no stroke, but light and shadow.
    breadth = min(2 * float(far[far > 0].mean()) for far in within_both) / max(grey.shape)
    if breadth > 0.17:
        return None
    strokes = mask if depths[0] < depths[1] else 1 - mask
    stats = cv2.connectedComponentsWithStats(strokes, connectivity=8)[2][1:]
    main = stats[stats[:, cv2.CC_STAT_AREA].argmax()]
    if max(grey.shape) > 100 and (main[2:4] < 0.8 * np.array(grey.shape[::-1])).any():  # glare, a shadow, a corner
        return None
    thin = float(np.log2(max(depths[1], 1) / max(depths[0], 1)))
    votes = 2 * thin + float(sum(1 - 2 * corner for corner in corners)) / 2 + 2 * (0.5 - share)
    # Bold strokes that fill their box, and meet: else it is a shadow again.
    fills = (main[2:4] >= 0.97 * np.array(grey.shape[::-1])).all()
    doubt = 2.0 if min(depths) > 0.15 * max(grey.shape) else 0.0
    if breadth > 0.12:
        doubt = 3.0 if fills else np.inf
    return None if abs(votes) < doubt else votes


def _cut_out(grey: UInt8[np.ndarray, "_ _"]) -> Ink | None:
    """The ink of a digit that was cut out to its own box, whose strokes are no ruling for reaching the border.

    None unless the picture is of two tones, and one piece that touches three sides is nearly all of its ink.
    """
    if min(grey.shape) < 12 or np.ptp(ring(grey)) < 60 or (votes := _two_tone_votes(grey)) is None:
        return None
    level, _ = cv2.threshold(grey, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    mask = (grey > level) if votes > 0 else (grey <= level)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    main = int(stats[1:, cv2.CC_STAT_AREA].argmax()) + 1
    if stats[main, cv2.CC_STAT_AREA] < 0.9 * mask.sum() or (_contact(labels, len(stats))[:, main] > 0).sum() < 3:
        return None
    if mask.mean(0).max() > 0.95 and mask.mean(1).max() > 0.95:  # two lines that cross: a cell's
        return None
    ground, full = float(np.median(grey[~mask])), float(np.median(grey[mask]))
    return np.clip((grey.astype(np.float32) - ground) / (full - ground), 0, 1)


def _photographed(grey: np.ndarray, several: bool) -> Ink:
    """Dark ink on uneven paper. What is wider than a stroke (shadows, desks, vignettes) is paper too; how wide strokes
    are is found by trying: the smallest width at which the ink is whole, so that the next greater adds nothing."""
    shorter = min(grey.shape)
    grain = float(np.median(cv2.absdiff(grey, cv2.blur(grey, (3, 3)))))
    faint = grain > 0.04 * float(np.ptp(np.percentile(grey[:: 1 + shorter // 100, :: 1 + shorter // 100], (1, 99))))
    spread = shorter / 600 if shorter > 480 else 0.8 if shorter > 60 or faint else 0
    smooth = cv2.GaussianBlur(grey, (0, 0), spread) if spread else grey
    tries: list[tuple[Ink, Ink, float, float]] = []
    for side in sorted(
        {
            max(5, int(share * shorter)) | 1
            for share in ((0.035, 0.085, 0.2, 0.34, 0.6) if shorter > 100 else (0.2, 0.34, 0.6))
        }
    ):
        paper = np.maximum(cv2.morphologyEx(smooth, cv2.MORPH_CLOSE, np.ones((side, side), np.uint8)), 1)
        strokes, floor = _above_noise(1 - smooth / paper.astype(np.float32))
        if not tries:  # ruled lines are thinner than any stroke: take them out of the picture once
            cleared = _without_ruling(strokes, floor, several)
            if cleared is not strokes:
                smooth = np.clip(smooth + paper * (strokes - cleared), 0, 255).astype(np.uint8)
                strokes = cleared
        tries.append((strokes, *_cleaned(strokes, floor, several)))
    best = max(value for *_, value in tries)
    if not best:
        return tries[0][1]
    for (_, found, peak, value), (wider, _, next_peak, _) in itertools.pairwise(tries):
        if value > 0.5 * best:
            core = (found > 0.75).astype(np.uint8)
            count, labels = cv2.connectedComponents((wider > 0.75 * peak).astype(np.uint8))
            whole = np.bincount(labels[core > 0], minlength=count) > 0
            whole[0] = False
            if several:  # a shadow that takes in some of many digits is no reason to go on
                whole &= (_contact(labels, count) > 0).sum(0) < 2
            added = whole[labels.astype(np.int32)] & (cv2.dilate(core, np.ones((3, 3), np.uint8)) == 0)
            # Whole, or what comes next is no longer this ink but something fainter behind it.
            if np.count_nonzero(added) < 0.05 * cv2.countNonZero(core) or next_peak < 0.75 * peak:
                return found
    return tries[-1][1]


def _contact(labels: np.ndarray, count: int) -> np.ndarray:
    """How many pixels of the top, bottom, left and right border each of the components has."""
    sides = (labels[0], labels[-1], labels[:, 0], labels[:, -1])
    return np.stack([np.bincount(side, minlength=count) for side in sides])


def _above_noise(strokes: Ink) -> tuple[Ink, float]:
    """Strokes less what paper alone shows, and the level above which they are hardly noise."""
    # At least a quarter of any picture is paper, so its low percentiles tell the paper's mean and spread.
    low, middle = np.percentile(strokes.ravel()[:: max(1, strokes.size // 20000)], (5, 20)).tolist()
    spread = (middle - low) / 0.8
    return np.maximum(strokes - (middle + 0.84 * spread), 0), max(
        min(4 * float(spread), 0.3 * float(strokes.max())), LEAST_CONTRAST
    )


def _without_ruling(strokes: Ink, floor: float, several: bool) -> Ink:
    """Take printed lines out: thin, nearly straight, from one side of the frame to another."""
    if min(strokes.shape) < 64 or np.count_nonzero(ring(strokes) > floor) < 2:
        return strokes
    strokes = _without_rows(strokes, floor, several)
    return np.ascontiguousarray(_without_rows(strokes.T, floor, several).T)


def _is_strip(strokes: Ink) -> bool:
    return strokes.shape[1] > 1.9 * strokes.shape[0]


def _rows_of_ruling(strokes: Ink, floor: float, several: bool) -> list[np.ndarray]:
    """The rows, column by column, of each printed line from side to side: paths that gain most, bent by little."""
    height, width = strokes.shape
    thin = _line_width(height)
    ridge = strokes - cv2.morphologyEx(strokes, cv2.MORPH_OPEN, np.ones((thin + 2, 1), np.uint8))
    steps = min(width, max(24, width // 5))
    seen = cv2.resize(ridge, (steps, height), interpolation=cv2.INTER_AREA)
    # A path gains where it sees a line and loses where it does not; outside the frame it is free to go.
    outside = height // 4
    gain = np.zeros((steps, height + 2 * outside), np.float32)
    gain[:, outside : outside + height] = np.minimum(seen.T / floor, 1) - 0.7
    best, came = gain[0].copy(), np.zeros(gain.shape, np.int8)
    most = 2  # rows a step: lines lean up to 20 degrees
    for step in range(1, steps):
        padded = np.pad(best, most, constant_values=-1e9)
        choices = np.stack([padded[i : i + len(best)] for i in range(2 * most + 1)])
        came[step] = choices.argmax(0)
        best = choices.max(0) + gain[step]
    ends = np.flatnonzero(best > 0.12 * steps)
    if not len(ends):
        return []
    ends = ends[np.argsort(-best[ends], kind="stable")]
    paths = np.empty((steps, len(ends)), int)
    paths[-1] = ends
    for step in range(steps - 1, 0, -1):
        paths[step - 1] = paths[step] + came[step, paths[step]] - most
    lines: list[np.ndarray] = []
    x = np.arange(steps)
    while paths.shape[1]:
        path = paths[:, 0]
        # Of paths that run together the best one is the line.
        paths = paths[:, (np.abs(paths - path[:, None]) <= thin).mean(0) < 0.1]
        inside = (path >= outside) & (path < outside + height)
        if several and not _reaches_both_ends(gain[x[inside], path[inside]] > -0.2):  # the line of a row of cells
            continue
        if inside.mean() > 0.3:
            bend = np.polyval(np.polyfit(x[inside], path[inside], 2), x[inside]) - path[inside]
            if np.abs(bend).mean() < 0.7 + height / 400:
                lines.append(np.interp((np.arange(width) + 0.5) * steps / width - 0.5, x, path - outside))
    return lines


def _without_rows(strokes: Ink, floor: float, several: bool) -> Ink:
    """Without the lines of `_rows_of_ruling`; strokes that cross a line go on through it."""
    height, width = strokes.shape
    thin, lines = _line_width(height), _rows_of_ruling(strokes, floor, several)
    if not lines:
        return strokes
    cleared, strongest = strokes.copy(), float(strokes.max())
    band = np.zeros(strokes.shape, bool)
    column = np.broadcast_to(np.arange(width), (2 * thin + 1, width))
    for line in lines:
        rows = np.round(line).astype(int) + np.arange(-thin, thin + 1)[:, None]
        there = (rows >= 0) & (rows < height)
        values = np.where(there, strokes[np.clip(rows, 0, height - 1), column], 0)
        # The line itself is what is typical along it; strokes that cross it are darker.
        blocks = values[:, : width // 6 * 6].reshape(len(values), 6, -1)
        typical = np.median(blocks, axis=2)
        if several and height > 1.9 * width and typical[thin].mean() > 0.5 * strongest:  # in a strip: a one
            continue
        # A stroke that runs along the line for a while is darker than the line is anywhere else.
        typical = np.minimum(typical, 1.5 * np.median(typical, axis=1, keepdims=True))
        typical = cv2.resize(typical, (width, len(values)), interpolation=cv2.INTER_LINEAR)
        part = there & (typical > 0.3 * floor)
        at = rows[part], column[part]
        cleared[at] = np.maximum(values - 1.3 * typical, 0)[part]
        band[at] = True
    if float((cleared**2).sum()) < 0.1 * float((strokes**2).sum()) and len(lines) < 2:
        return strokes
    # Where a stroke crossed a line, it goes on from above to below.
    bridged = cv2.morphologyEx(cleared, cv2.MORPH_CLOSE, np.ones((2 * thin + 3, 3), np.uint8))
    return np.where(band, np.maximum(cleared, np.minimum(bridged, strokes)), cleared)


def _line_width(height: int) -> int:
    """The most rows that a printed line takes, an odd number."""
    return max(3, height // 50) | 1


def _reaches_both_ends(seen: np.ndarray) -> bool:
    end = max(2, len(seen) // 20)
    return bool(len(seen) and min(seen[:end].mean(), seen[-end:].mean()) > 0.5)


def _cleaned(strokes: Ink, floor: float, several: bool) -> tuple[Ink, float, float]:
    """Full ink is 1; specks, noise and what hangs at the border are 0. Also how strong full ink was, and how much it
    looks like the ink that matters: long and strong."""
    mask = strokes > floor
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    if count == 1:
        return np.zeros_like(strokes), 0.0, 0.0
    left, top, width, height, area = stats.T
    inked = np.flatnonzero(mask)
    mean = np.bincount(labels.ravel()[inked], strokes.ravel()[inked], count) / area
    # What lies along the border (a desk, a box's edge) is hardly the digit; what ends there may be.
    longest = np.maximum(width, height)
    contact = _contact(labels, count)
    along = contact.max(0) > 0.8 * longest
    sides = slice(2, 4) if several and _is_strip(strokes) else slice(0, 4)  # there digits reach from top to bottom
    across = (contact[sides] > 0).sum(0) > 1
    value = longest * np.minimum(mean, 0.6) ** 3 * np.where(along, 0.03, np.where(across, 0.03 if several else 0.1, 1))
    value[0] = 0
    main = int(value.argmax())
    box = np.s_[top[main] : top[main] + height[main], left[main] : left[main] + width[main]]
    peak = quantile(strokes[box][labels[box] == main], 0.8)
    if peak < (3 if min(strokes.shape) > 150 else 1.5) * LEAST_CONTRAST:
        return np.zeros_like(strokes), 0.0, 0.0
    if several:  # what is of its size is of its kind
        across &= longest > 1.6 * longest[main]
    # Beside the grid of a table its digits are specks: what is small is so by the largest piece that is no frame.
    frames = several & (width * height > 0.2 * strokes.size) & (area < 0.25 * width * height)
    frames[0] = True
    largest = area[main] if frames.all() else min(area[main], area[~frames].max())
    keep = (area >= 0.01 * largest) & (mean > 0.3 * mean[main])
    if not (along | across)[main]:
        keep &= ~(along | across)
    keep[0] = False
    found = np.zeros(strokes.shape, np.float32)
    kept = inked[keep[labels.ravel()[inked]]]
    found.ravel()[kept] = np.minimum(strokes.ravel()[kept] / peak, 1)
    if several and floor < 0.35 * peak and (hanging := (along | across) & ~keep).any():
        # A digit may hang at the border by a line that is fainter.
        strong = np.where(hanging[labels] & (strokes > 0.35 * peak), strokes, np.float32(0))
        found = np.maximum(found, _cleaned(strong, 0.35 * peak, False)[0])
    return found, peak, float(value[keep].sum() if several else value[main])
