"""Any picture of a digit -> the 28x28 that MNIST would have made of it."""

import math
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8

from digitjax.picture.frames import unframed
from digitjax.picture.ink import Ink, bright_on_dark, grey_of, ink, quantile, ring, unpasted
from digitjax.picture.pixels import Pixels, read_picture

SEARCH_SIDE = 800  # the ink is looked for at this size, and then looked at again where it is
CLOSE_SIDE = 200
SMALL_SIDE = 32  # what is no larger may be shown enlarged
CROWD = 6  # pieces of like size: they are a pattern, or a number, but no digit


class Searched(NamedTuple):
    """What was found in a picture."""

    form: UInt8[np.ndarray, "28 28"]
    beside: Ink | None
    """The ink of the digit and of what stands beside it, where there may be more than one; else None."""


def canonical(source: Any) -> UInt8[np.ndarray, "28 28"]:
    """The digit in a picture as MNIST would show it (LeCun et al., the MNIST site); a picture without one gives zeros.

    Raises:
      PictureError: the picture is bad; the message says what is wrong and what to send.

    >>> page = np.full((90, 120), 255, np.uint8)
    >>> page[20:70, 58:62] = 0  # a one, dark on white
    >>> form = canonical(page)
    >>> form.shape, int(form.any(1).sum())
    ((28, 28), 20)
    """
    return searched(source).form


def searched(source: Any) -> Searched:
    """What `canonical` gives, and what stands beside it.

    Raises:
      PictureError: as for `canonical`.
    """
    known = (
        isinstance(source, np.ndarray) and source.shape == (28, 28) and source.dtype == np.uint8 and source.max() > 16
    )
    picture = source if known else _unenlarged(read_picture(source))
    if picture.shape[:2] == (28, 28):
        picture = grey_of(picture)  # MNIST's form may come as a file in colour
        if (centred := _already(picture)) is not None:
            return Searched(centred, None)
        if _in_form(picture) or _in_weather(picture):
            return Searched(picture, None)
        picture = _without_bands(picture)
    picture = unpasted(picture)
    if max(picture.shape[:2]) <= SMALL_SIDE and picture.shape != (28, 28):  # these may be drawn over
        picture = _with_margin(picture)
    if min(picture.shape[:2]) < 12:
        picture = _thrice(picture)
    zoom = SEARCH_SIDE / max(picture.shape)
    found = ink(cv2.resize(picture, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA) if zoom < 1 else picture)
    digit = _main_digit(unframed(found))
    if digit is None:
        return Searched(np.zeros((28, 28), np.uint8), None)
    (left, top, width, height), strokes, beside = digit
    if picture.shape == (28, 28) and _in_place(left, top, width, height):
        kept = np.zeros((28, 28), np.uint8)
        kept[top : top + height, left : left + width] = np.round(strokes * 255)
        return Searched(kept, None)
    longest = max(width, height)
    if zoom < 1 and longest < CLOSE_SIDE / 2:
        # Look again, closer: the crop has the digit's own light, and more pixels of it.
        rows = slice(int(max(0, top - longest) / zoom), int((top + height + longest) / zoom))
        columns = slice(int(max(0, left - longest) / zoom), int((left + width + longest) / zoom))
        crop = picture[rows, columns]
        closer = 3 * CLOSE_SIDE / max(crop.shape)
        again = ink(cv2.resize(crop, None, fx=closer, fy=closer, interpolation=cv2.INTER_AREA) if closer < 1 else crop)
        strokes = (_main_digit(unframed(again)) or digit)[1]
    return Searched(fitted(strokes), beside)


def _unenlarged(picture: Pixels) -> Pixels:
    """A small picture again of which each pixel was made a square of equal ones, for a screen or a plot."""
    height, width = picture.shape[:2]
    least = -(-max(height, width) // SMALL_SIDE)
    factor = math.gcd(height, width)
    if least == 1 or factor < least:
        return picture
    for lines in (picture[:, ::least], picture[::least].swapaxes(0, 1)):  # squares of this size are all met
        changes = np.flatnonzero((lines[1:] != lines[:-1]).reshape(len(lines) - 1, -1).any(1)) + 1
        factor = math.gcd(factor, *changes.tolist())
    if factor < least or min(height, width) < 8 * factor:
        return picture
    small = picture[::factor, ::factor]
    return small if np.array_equal(small.repeat(factor, 0).repeat(factor, 1), picture) else picture


def _with_margin(picture: Pixels) -> Pixels:
    """A small picture with paper around it, where its one piece of ink reaches its border and its paper is even.

    One of below 20 pixels comes enlarged, too.
    """
    grey = grey_of(picture)
    paper = int(grey.min() if bright_on_dark(grey) else grey.max())
    apart = cv2.absdiff(grey, np.full_like(grey, paper))
    border = ring(apart)
    ground = border[border < apart.max() / 2]
    if border.max() < 60 or len(ground) < 0.2 * len(border) or np.median(ground) > 24:
        return picture
    _, _, pieces, _ = cv2.connectedComponentsWithStats((apart > apart.max() / 2).view(np.uint8), connectivity=8)
    if pieces[1:, cv2.CC_STAT_AREA].max() < 0.9 * pieces[1:, cv2.CC_STAT_AREA].sum():  # a form's, or a neighbour's
        return picture
    margin = max(2, min(grey.shape) // 6)
    wider = cv2.copyMakeBorder(grey, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=paper)
    return _thrice(wider) if min(grey.shape) < 20 else wider


def _thrice(picture: Pixels) -> Pixels:
    return cv2.resize(picture, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)


def _in_form(picture: UInt8[np.ndarray, "28 28"]) -> bool:
    """Whether MNIST could have made this but for something drawn over it, worn off or blurred: it is left as it is.

    Four fifths of its ink lie as those of a digit of 20 pixels do, about the middle, on a dark border.
    """
    if np.median(ring(picture)) > 32:
        return False
    ink_there = np.where(picture > 48, picture, 0).astype(np.float64)
    total = ink_there.sum()
    if total < 255 * 12 or picture.max() < 128:
        return False
    extents, centre = [], []
    for axis in (0, 1):
        along = np.cumsum(ink_there.sum(axis)) / total
        extents.append(int(np.searchsorted(along, 0.9)) - int(np.searchsorted(along, 0.1)) + 1)
        centre.append(float((ink_there.sum(axis) @ np.arange(28)) / total))
    return 13 <= max(extents) <= 18 and max(abs(place - 13.5) for place in centre) < 2


def _in_weather(picture: UInt8[np.ndarray, "28 28"]) -> bool:
    """Whether MNIST's bright on dark lies under fog or specks all over: the network knows them, a search takes them for
    ink."""
    low, high = np.percentile(ring(cv2.blur(picture, (3, 3))), [25, 75])
    return bool(high - low > 16) and bright_on_dark(picture)


def _in_place(left: int, top: int, width: int, height: int) -> bool:
    """Whether ink in 28x28 is an MNIST digit with something added or worn off, which a new scale would only harm."""
    centred = abs(left + width / 2 - 14) < 3 and abs(top + height / 2 - 14) < 3
    return (18 <= max(width, height) <= 22 and centred) or width > 26 or height > 26


def _without_bands(grey: UInt8[np.ndarray, "28 28"]) -> UInt8[np.ndarray, "28 28"]:
    """Polarity band by band: where whole rows or columns are inverted, their two ends show it."""
    for picture in (grey, grey.T):
        first, last = picture[0].astype(np.int16), picture[-1].astype(np.int16)
        if np.ptp(first) > 100 and np.abs(first - last).max() < 16:
            strokes = np.abs(picture - first).astype(np.uint8)
            if ring(strokes).max() < 32 and 20 < np.count_nonzero(strokes > 100) < 300:
                return np.ascontiguousarray(strokes if picture is grey else strokes.T)
    return grey


def _already(picture: np.ndarray) -> np.ndarray | None:
    """The picture itself if MNIST could have made it, moved by whole pixels where only its place is wrong."""
    left, top, width, height = cv2.boundingRect(picture)
    if not 19 <= max(width, height) <= 20 or cv2.minMaxLoc(picture)[1] < 250:
        return None
    return _centred(picture[top : top + height, left : left + width])


def _centred(strokes: np.ndarray) -> UInt8[np.ndarray, "28 28"]:
    """Put at most 20 x 20 pixels into 28 x 28, the centre of mass in the middle."""
    moments = cv2.moments(strokes)
    height, width = strokes.shape
    top = min(max(int(np.floor(14.5 - moments["m01"] / moments["m00"])), 0), 28 - height)
    left = min(max(int(np.floor(14.5 - moments["m10"] / moments["m00"])), 0), 28 - width)
    digit = np.zeros((28, 28), np.uint8)
    digit[top : top + height, left : left + width] = strokes
    return digit


def _main_digit(found: Ink) -> tuple[tuple[int, int, int, int], Ink, Ink | None] | None:
    """The main piece of ink with what belongs to it: its box (left, top, width, height), the strokes in it, and
    `Searched.beside`.

    None where there is no ink, or a crowd of pieces none of which is the main one.
    """
    mask = (found > 0.3).astype(np.uint8)
    left, top, width, height = cv2.boundingRect(mask)
    if not width:
        return None
    _, labels, stats, centres = cv2.connectedComponentsWithStats(
        mask[top : top + height, left : left + width], connectivity=8
    )
    stats[:, :2] += (left, top)
    centres += (left, top)
    found_part = found[top : top + height, left : left + width]
    tall, across = found.shape
    area = stats[:, cv2.CC_STAT_AREA]
    score = area * (1 - np.abs(centres / (across, tall) - 0.5).max(1))
    score[0] = 0
    main = int(score.argmax())
    start, stop = stats[:, :2], stats[:, :2] + stats[:, 2:4]
    touches = (start == 0).any(1) | (stop == (across, tall)).any(1)
    belongs = (area > 0.04 * area[main]) & (~touches | touches[main])
    belongs[0] = False
    box, near = np.concatenate([start[main], stop[main]]), belongs
    for _ in range(2):
        reach = 0.25 * (box[2:] - box[:2]).max()
        near = belongs & (start < box[2:] + reach).all(1) & (stop > box[:2] - reach).all(1)
        box = np.concatenate([start[near].min(0), stop[near].max(0)])
    x0, y0, x1, y1 = (int(v) for v in box)
    if np.count_nonzero(stats[1:, 2:4].max(1) > 0.5 * max(x1 - x0, y1 - y0)) >= CROWD:
        return None
    area_of_digit = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
    # Faint edges stay with their strokes, other pieces go.
    foreign = ~near
    foreign[0] = False
    strokes = np.where(foreign[labels[area_of_digit]], np.float32(0), found_part[area_of_digit])
    return (x0, y0, x1 - x0, y1 - y0), strokes, _beside(found, stats[belongs], (x0, y0, x1, y1))


def _beside(found: Ink, stats: np.ndarray, box: tuple[int, int, int, int]) -> Ink | None:
    """The ink of pieces as high as the digit in that box (left, top, right, bottom), side by side, or of a wide one."""
    left, top, right, bottom = box
    common = np.minimum(stats[:, 1] + stats[:, 3], bottom) - np.maximum(stats[:, 1], top)
    alike = stats[
        (stats[:, 3] > 0.6 * (bottom - top)) & (stats[:, 3] < 1.7 * (bottom - top)) & (common > 0.5 * stats[:, 3])
    ]
    alike = alike[alike[:, 0].argsort()]
    apart = alike[1:, 0] > alike[:-1, 0] + 0.8 * alike[:-1, 2]
    if not apart.any() and right - left < 1.1 * (bottom - top):
        return None
    x0, y0 = (min(int(value), least) for value, least in zip(alike[:, :2].min(0, initial=9999), (left, top)))
    x1, y1 = (
        max(int(value), most) for value, most in zip((alike[:, :2] + alike[:, 2:4]).max(0, initial=0), (right, bottom))
    )
    return found[y0:y1, x0:x1]


def fitted(strokes: Ink) -> UInt8[np.ndarray, "28 28"]:
    """Scale the strokes to 20 pixels, as thick and as bright as MNIST's."""
    longest = max(strokes.shape)
    if longest > 40:
        inside = (strokes > 0.5).astype(np.uint8)
        # Over a stroke the mean distance to its edge is a quarter of its width.
        width = 4 * cv2.mean(cv2.distanceTransform(inside, cv2.DIST_L2, 3), inside)[0] - 1.5
        missing = round(2.2 * longest / 20 - width)
        if missing >= 1:
            strokes = np.pad(strokes, (missing + 1) // 2)
            strokes = cv2.dilate(strokes, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (missing + 1, missing + 1)))
            longest = max(strokes.shape)
    zoom = 20 / longest
    size = max(1, round(strokes.shape[1] * zoom)), max(1, round(strokes.shape[0] * zoom))
    small = cv2.resize(strokes, size, interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC)
    core = small[small > 0.5 * small.max()]
    small = np.clip(small * (255 / quantile(core, 0.75)), 0, 255)
    return _centred(np.round(small).astype(np.uint8))
