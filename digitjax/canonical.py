"""Any picture of a digit -> the 28x28 that MNIST would have made of it.

Three steps, each usable alone: `read_picture` (whatever was sent -> pixels), `ink` (pixels -> strokes, bright on dark,
free of paper, light and ruling) and `canonical` (the strokes of one digit -> 28x28, in MNIST's own manner). No step
thresholds for good: grey levels survive from the first to the last.
"""

import contextlib
import importlib
import io
import itertools
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

Pixels = UInt8[np.ndarray, "_ _"] | UInt8[np.ndarray, "_ _ 3"]
Ink = Float32[np.ndarray, "_ _"]
"""[height, width], from 0 for paper to 1 for full ink."""

MOST_PIXELS = 25_000_000  # of a picture that must be decoded whole; a JPEG, decoded small, may have twice as many
LONGEST_SIDE = 1600  # a JPEG is decoded to at least this, in steps of a half
SEARCH_SIDE = 800  # the ink is looked for at this size, and then looked at again where it is
CLOSE_SIDE = 200
LEAST_CONTRAST = 0.035  # of the range from black to white: what is fainter is taken for paper


_FORMATS = dict(PNG="Png", JPEG="Jpeg", WEBP="WebP", BMP="Bmp", DIB="Bmp", TIFF="Tiff", GIF="Gif")


class PictureError(ValueError):
    """What is wrong with the picture, with the value that is, and what to send instead."""


# ---- Reading -----------------------------------------------------------------------------------------------------


def read_picture(source: Any) -> Pixels:
    """Pixels of a path, of a file's bytes, of a PIL image or of an array, the right way up.

    Arrays are H x W, H x W x 1, x 3 (RGB) or x 4 (RGBA): booleans, integers up to 255 (or 65535 as uint16), or floats
    from 0 to 1 or to 255. A large JPEG comes back reduced.

    Raises:
      PictureError: the picture is bad; nothing else is raised.
    """
    if isinstance(source, np.ndarray):
        return _checked(_from_array(source))
    if isinstance(source, str | os.PathLike):
        try:
            source = Path(source).read_bytes()
        except OSError as error:
            raise PictureError(
                f"{os.fspath(source)} cannot be read ({error.strerror}): give the path of a picture file"
            ) from error
    from PIL import Image

    if isinstance(source, Image.Image):
        return _checked(_from_pil(source))
    if not isinstance(source, bytes | bytearray | memoryview):
        raise PictureError(
            f"{type(source).__name__} is no picture: give a path, a file's bytes, a PIL image or an array"
        )
    return _checked(_decode(bytes(source)))


def _decode(data: bytes) -> np.ndarray:
    from PIL import Image

    for name in {*_FORMATS} - {*Image.OPEN}:  # Pillow knows a format only once its plugin is imported
        importlib.import_module(f"PIL.{_FORMATS[name]}ImagePlugin")
    if not data:
        raise PictureError("the picture has 0 bytes: send a PNG or JPEG file")
    head = data[:256].lstrip().lower()
    for magic, name in (
        (b"%pdf", "PDF"),
        (b"<svg", "SVG"),
        (b"<?xml", "XML or SVG"),
        (b"<!doctype", "web page"),
        (b"<html", "web page"),
    ):
        if head.startswith(magic):
            raise PictureError(f"this is a {name} file, not pixels: export it as PNG and send that")
    try:
        image = Image.open(io.BytesIO(data), formats=tuple(_FORMATS))
        _check_size(*image.size, limit=MOST_PIXELS * (2 if image.format in ("JPEG", "MPO") else 1))
        return _from_pil(image)
    except PictureError:
        raise
    except Image.UnidentifiedImageError as error:
        start = bytes(data[:12])
        raise PictureError(
            f"not a picture (it starts with {start!r}): send PNG, JPEG, WebP, BMP, TIFF or GIF"
        ) from error
    # Pillow's decoders raise whatever they stumble on: OSError, ValueError, SyntaxError, struct.error, bomb errors ...
    except (Exception, Warning) as error:
        raise PictureError(
            f"the picture is damaged ({type(error).__name__}: {str(error)[:100]}): save it anew as PNG or JPEG"
        ) from error


def _check_size(width: int, height: int, limit: int = MOST_PIXELS) -> None:
    if width * height > limit:
        raise PictureError(
            f"the picture has {width} x {height} pixels, the limit is {limit // 10**6} million: scale it down, "
            "1000 pixels a side are plenty"
        )
    if min(width, height) < 3 or max(width, height) < 6 or max(width, height) > 50 * min(width, height):
        raise PictureError(
            f"the picture is {width} x {height} pixels, too small or too narrow for a digit: "
            "send at least 8 x 8, better 28 x 28 or more"
        )


def _checked(pixels: np.ndarray) -> np.ndarray:
    _check_size(pixels.shape[1], pixels.shape[0], 2 * MOST_PIXELS)
    return np.ascontiguousarray(pixels)


def _from_pil(image: Any) -> np.ndarray:
    """Pixels, H x W or H x W x 3, after EXIF orientation, with transparency laid on what shows it."""
    from PIL import ImageOps

    scale = max(image.size) // LONGEST_SIDE
    if scale > 1:
        image.draft(None, (image.width // scale, image.height // scale))
    image.load()
    # A broken EXIF block must not cost the picture.
    with contextlib.suppress(Exception):
        image = ImageOps.exif_transpose(image)
    mode = image.mode
    if mode.startswith("I;16") or mode in ("I", "F"):
        array = np.asarray(image)
        pixels = _from_array(array if array.dtype == np.uint16 else np.maximum(array, 0))
    elif mode in ("L", "RGB"):
        pixels = np.asarray(image)
    elif mode == "1":
        pixels = np.asarray(image).astype(np.uint8) * 255
    elif "transparency" in image.info or mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        pixels = _without_alpha(np.asarray(image.convert("RGBA")))
    else:
        pixels = np.asarray(image.convert("RGB"))
    return pixels


def _from_array(array: np.ndarray) -> np.ndarray:
    """uint8 pixels of an array, H x W or H x W x 3."""
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)) or not array.size:
        raise PictureError(
            f"an array of shape {array.shape} is no picture: "
            "send height x width, or height x width x 3 or 4 with colours last"
        )
    kind = array.dtype.kind
    if kind not in "buif":
        raise PictureError(f"an array of {array.dtype} is no picture: send uint8")
    if kind == "f" and not np.isfinite(array).all():
        raise PictureError("the array has NaN or infinite values: send finite numbers from 0 to 1 or from 0 to 255")
    if array.dtype != np.uint8:
        low, high = float(array.min()), float(array.max())
        if low < 0 or high > 65535 or (kind == "f" and high > 255):
            raise PictureError(
                f"the array's values run from {low:g} to {high:g}: send 0 to 1 as floats, 0 to 255, or uint16"
            )
        # The bits that are in use: scikit-learn's digits have 4 (up to 16), cameras store 12 into 16.
        top = next(
            top for top in (1, 16, 255, 4095, 65535) if high <= top and not (top == 255 and array.dtype == np.uint16)
        )
        array = np.round(array.astype(np.float32) * (255 / top)).astype(np.uint8)
    elif array.max() <= 1:  # a mask
        array = array * np.uint8(255)
    return _without_alpha(array) if array.ndim == 3 and array.shape[2] == 4 else array


def _without_alpha(rgba: np.ndarray) -> np.ndarray:
    """Lay the visible on a ground that shows it: strokes of one tone on their opposite, a page on its own paper."""
    colour, alpha = rgba[..., :3], rgba[..., 3]
    if alpha.min() == 255:
        return np.ascontiguousarray(colour)
    grey = cv2.cvtColor(rgba, cv2.COLOR_RGB2GRAY)
    tones = grey[alpha > 127]
    if not tones.size:
        return np.zeros(alpha.shape, np.uint8)
    darkest, middle, brightest = np.percentile(tones[:: max(1, tones.size // 5000)], (5, 50, 95))
    if brightest - darkest < 80:
        below = 0 if middle > 127 else 255
        above: np.ndarray = grey.astype(np.uint16)
        weight = alpha.astype(np.uint16)
    else:
        below, above, weight = int(middle), colour.astype(np.uint16), alpha[..., None].astype(np.uint16)
    return ((above * weight + below * (255 - weight) + 127) // 255).astype(np.uint8)


# ---- Ink ---------------------------------------------------------------------------------------------------------


def ink(picture: Pixels) -> Ink:
    """Strokes from 0 (paper) to 1 (full ink), whatever the paper, the light, the pen and the polarity; blank is 0."""
    grey = _grey(picture)
    border = np.uint8(np.median(_ring(grey)))
    even, nearly = (cv2.countNonZero(cv2.inRange(grey, int(border) - by, int(border) + by)) for by in (1, 16))
    if even > 0.5 * grey.size and nearly < 1.1 * even:  # drawn, or scanned to pure white
        bright = cv2.mean(grey)[0] > border
        strokes = np.maximum(grey, border) - border if bright else border - np.minimum(grey, border)
        left, top, wide, high = cv2.boundingRect(strokes)
        # Free of the border, the ink can be had from its own part of the picture.
        free = left > 0 and top > 0 and left + wide < grey.shape[1] and top + high < grey.shape[0]
        area = np.s_[top - 1 : top + high + 1, left - 1 : left + wide + 1] if free else np.s_[:, :]
        part = strokes[area].astype(np.float32) * (1 / max(255 - int(border) if bright else int(border), 1))
        found = np.zeros(grey.shape, np.float32)
        found[area] = _cleaned(_without_ruling(part, LEAST_CONTRAST), LEAST_CONTRAST)[0]
        return found
    return _photographed(cv2.bitwise_not(grey) if _bright_on_dark(grey) else grey)


def _ring(grey: np.ndarray) -> np.ndarray:
    return np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])


def _grey(picture: np.ndarray) -> UInt8[np.ndarray, "_ _"]:
    """The mixture of the colours in which the ink stands out most."""
    if picture.ndim == 2:
        return picture
    red, green, blue = cv2.split(picture)
    if cv2.norm(red, green, cv2.NORM_INF) == 0 and cv2.norm(green, blue, cv2.NORM_INF) == 0:
        return green
    small = (
        cv2.resize(picture, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
        if (zoom := 200 / max(picture.shape)) < 1
        else picture
    )
    detail = small.astype(np.float32) - cv2.blur(small, (2 * (max(small.shape) // 12) + 1,) * 2)
    detail = detail.reshape(-1, 3)
    weights = np.abs(np.linalg.eigh(detail.T @ detail)[1][:, -1])
    weights = (weights / max(float(weights.sum()), 1e-6)).astype(np.float32)
    return cv2.transform(picture, weights[None])


def _bright_on_dark(grey: np.ndarray) -> bool:
    """Polarity: the border is paper, also where light is uneven, and ink is the little that stands out."""
    small = (
        cv2.resize(grey, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
        if (zoom := 160 / max(grey.shape)) < 1
        else grey
    )
    small = small.astype(np.float32)
    fine, near, far = (small - cv2.blur(small, (max(9, min(small.shape) // share) | 1,) * 2) for share in (8, 3, 2))
    skews = [float((detail**3).mean()) / (float((detail**2).mean()) + 1e-6) ** 1.5 for detail in (fine, near)]
    low, high = float(far.min()), float(far.max())
    corners = far[:: far.shape[0] - 1, :: far.shape[1] - 1]
    border = (float(np.median(_ring(far))) + float(np.median(corners)) - low - high) / (high - low + 1e-6)
    return sum(min(max(skew, -2), 2) for skew in skews) - 2 * max(1, 48 / min(small.shape)) * border > 0


def _photographed(grey: np.ndarray) -> Ink:
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
            cleared = _without_ruling(strokes, floor)
            if cleared is not strokes:
                smooth = np.clip(smooth + paper * (strokes - cleared), 0, 255).astype(np.uint8)
                strokes = cleared
        tries.append((strokes, *_cleaned(strokes, floor)))
    best = max(value for *_, value in tries)
    if not best:
        return tries[0][1]
    for (_, found, peak, value), (wider, _, next_peak, _) in itertools.pairwise(tries):
        if value > 0.5 * best:
            core = (found > 0.75).astype(np.uint8)
            count, labels = cv2.connectedComponents((wider > 0.75 * peak).astype(np.uint8))
            whole = np.bincount(labels[core > 0], minlength=count) > 0
            whole[0] = False
            added = whole[labels.astype(np.int32)] & (cv2.dilate(core, np.ones((3, 3), np.uint8)) == 0)
            # Whole, or what comes next is no longer this ink but something fainter behind it.
            if np.count_nonzero(added) < 0.05 * cv2.countNonZero(core) or next_peak < 0.75 * peak:
                return found
    return tries[-1][1]


def _above_noise(strokes: Ink) -> tuple[Ink, float]:
    """Strokes less what paper alone shows, and the level above which they are hardly noise."""
    # At least a quarter of any picture is paper, so its low percentiles tell the paper's mean and spread.
    low, middle = np.percentile(strokes.ravel()[:: max(1, strokes.size // 20000)], (5, 20)).tolist()
    spread = (middle - low) / 0.8
    return np.maximum(strokes - (middle + 0.84 * spread), 0), max(
        min(4 * float(spread), 0.3 * float(strokes.max())), LEAST_CONTRAST
    )


def _without_ruling(strokes: Ink, floor: float) -> Ink:
    """Take printed lines out: thin, nearly straight, from one side of the frame to another."""
    if min(strokes.shape) < 64 or np.count_nonzero(_ring(strokes) > floor) < 2:
        return strokes
    return np.ascontiguousarray(_without_rows(_without_rows(strokes, floor).T, floor).T)


def _without_rows(strokes: Ink, floor: float) -> Ink:
    height, width = strokes.shape
    thin = max(3, height // 50) | 1
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
        return strokes
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
        if inside.mean() > 0.3:
            bend = np.polyval(np.polyfit(x[inside], path[inside], 2), x[inside]) - path[inside]
            if np.abs(bend).mean() < 0.7 + height / 400:
                lines.append(np.interp((np.arange(width) + 0.5) * steps / width - 0.5, x, path - outside))
    if not lines:
        return strokes
    cleared = strokes.copy()
    band = np.zeros(strokes.shape, bool)
    column = np.broadcast_to(np.arange(width), (2 * thin + 1, width))
    for line in lines:
        rows = np.round(line).astype(int) + np.arange(-thin, thin + 1)[:, None]
        there = (rows >= 0) & (rows < height)
        values = np.where(there, strokes[np.clip(rows, 0, height - 1), column], 0)
        # The line itself is what is typical along it; strokes that cross it are darker.
        blocks = values[:, : width // 6 * 6].reshape(len(values), 6, -1)
        typical = cv2.resize(np.median(blocks, axis=2), (width, len(values)), interpolation=cv2.INTER_LINEAR)
        part = there & (typical > 0.3 * floor)
        at = rows[part], column[part]
        cleared[at] = np.maximum(values - 1.3 * typical, 0)[part]
        band[at] = True
    if float((cleared**2).sum()) < 0.1 * float((strokes**2).sum()) and len(lines) < 2:
        return strokes
    # Where a stroke crossed a line, it goes on from above to below.
    bridged = cv2.morphologyEx(cleared, cv2.MORPH_CLOSE, np.ones((2 * thin + 3, 3), np.uint8))
    return np.where(band, np.maximum(cleared, np.minimum(bridged, strokes)), cleared)


def _cleaned(strokes: Ink, floor: float) -> tuple[Ink, float, float]:
    """Full ink is 1; specks, noise and what hangs at the border are 0. Also how strong full ink was, and how much it
    looks like the ink that matters: long and strong."""
    mask = (strokes > floor).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if count == 1:
        return np.zeros_like(strokes), 0.0, 0.0
    left, top, wide, high, area = stats.T
    inked = np.flatnonzero(mask)
    mean = np.bincount(labels.ravel()[inked], strokes.ravel()[inked], count) / area
    # What lies along the border (a desk, a box's edge) is hardly the digit; what ends there may be.
    longest = np.maximum(wide, high)
    sides = (labels[0], labels[-1], labels[:, 0], labels[:, -1])
    contact = np.stack([np.bincount(side, minlength=count) for side in sides])
    along = contact.max(0) > 0.8 * longest
    across = (contact > 0).sum(0) > 1
    value = longest * np.minimum(mean, 0.6) ** 3 * np.where(along, 0.03, np.where(across, 0.1, 1))
    value[0] = 0
    main = int(value.argmax())
    box = np.s_[top[main] : top[main] + high[main], left[main] : left[main] + wide[main]]
    peak = float(np.percentile(strokes[box][labels[box] == main], 80))
    if peak < (3 if min(strokes.shape) > 150 else 1.5) * LEAST_CONTRAST:
        return np.zeros_like(strokes), 0.0, 0.0
    keep = (area >= 0.01 * area[main]) & (mean > 0.3 * mean[main])
    if not (along | across)[main]:
        keep &= ~(along | across)
    keep[0] = False
    found = np.zeros(strokes.shape, np.float32)
    kept = inked[keep[labels.ravel()[inked]]]
    found.ravel()[kept] = np.minimum(strokes.ravel()[kept] / peak, 1)
    return found, peak, float(value[main])


# ---- One digit ---------------------------------------------------------------------------------------------------


def canonical(source: Any) -> UInt8[np.ndarray, "28 28"]:
    """The digit in a picture as MNIST would show it (LeCun et al., the MNIST site); a blank picture gives zeros.

    Raises:
      PictureError: the picture is bad; the message says what is wrong and what to send.
    """
    picture = (
        source
        if isinstance(source, np.ndarray) and source.shape == (28, 28) and source.dtype == np.uint8
        else read_picture(source)
    )
    if picture.shape == (28, 28):
        if (centred := _already(picture)) is not None:
            return centred
        picture = _without_bands(picture)
    if min(picture.shape[:2]) < 12:
        picture = cv2.resize(picture, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    zoom = SEARCH_SIDE / max(picture.shape)
    found = ink(cv2.resize(picture, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA) if zoom < 1 else picture)
    digit = _main_digit(found)
    if digit is None:
        return np.zeros((28, 28), np.uint8)
    (left, top, wide, high), strokes = digit
    if picture.shape[:2] == (28, 28) and _in_place(left, top, wide, high):
        kept = np.zeros((28, 28), np.uint8)
        kept[top : top + high, left : left + wide] = np.round(strokes * 255)
        return kept
    longest = max(wide, high)
    if zoom < 1 and longest < CLOSE_SIDE / 2:
        # Look again, closer: the crop has the digit's own light, and more pixels of it.
        rows = slice(int(max(0, top - longest) / zoom), int((top + high + longest) / zoom))
        columns = slice(int(max(0, left - longest) / zoom), int((left + wide + longest) / zoom))
        crop = picture[rows, columns]
        closer = 3 * CLOSE_SIDE / max(crop.shape)
        again = ink(cv2.resize(crop, None, fx=closer, fy=closer, interpolation=cv2.INTER_AREA) if closer < 1 else crop)
        strokes = (_main_digit(again) or digit)[1]
    return _fitted(strokes)


def _in_place(left: int, top: int, wide: int, high: int) -> bool:
    """Whether ink in 28x28 is an MNIST digit with something added or worn off, which a new scale would only harm."""
    centred = abs(left + wide / 2 - 14) < 3 and abs(top + high / 2 - 14) < 3
    return (18 <= max(wide, high) <= 22 and centred) or wide > 26 or high > 26


def _without_bands(grey: UInt8[np.ndarray, "28 28"]) -> UInt8[np.ndarray, "28 28"]:
    """Polarity band by band: where whole rows or columns are inverted, their two ends show it."""
    for picture in (grey, grey.T):
        first, last = picture[0].astype(np.int16), picture[-1].astype(np.int16)
        if np.ptp(first) > 100 and np.abs(first - last).max() < 16:
            strokes = np.abs(picture - first).astype(np.uint8)
            if _ring(strokes).max() < 32 and 20 < np.count_nonzero(strokes > 100) < 300:
                return np.ascontiguousarray(strokes if picture is grey else strokes.T)
    return grey


def _already(picture: np.ndarray) -> np.ndarray | None:
    """The picture itself if MNIST could have made it, moved by whole pixels where only its place is wrong."""
    left, top, wide, high = cv2.boundingRect(picture)
    if not 19 <= max(wide, high) <= 20 or cv2.minMaxLoc(picture)[1] < 250:
        return None
    return _centred(picture[top : top + high, left : left + wide])


def _centred(strokes: np.ndarray) -> UInt8[np.ndarray, "28 28"]:
    """Put at most 20 x 20 pixels into 28 x 28, the centre of mass in the middle."""
    moments = cv2.moments(strokes)
    high, wide = strokes.shape
    top = min(max(int(np.floor(14.5 - moments["m01"] / moments["m00"])), 0), 28 - high)
    left = min(max(int(np.floor(14.5 - moments["m10"] / moments["m00"])), 0), 28 - wide)
    digit = np.zeros((28, 28), np.uint8)
    digit[top : top + high, left : left + wide] = strokes
    return digit


def _main_digit(found: Ink) -> tuple[tuple[int, int, int, int], Ink] | None:
    """The main piece of ink with what belongs to it: its box (left, top, width, height) and the strokes in it."""
    mask = (found > 0.3).astype(np.uint8)
    left, top, wide, high = cv2.boundingRect(mask)
    if not wide:
        return None
    _, labels, stats, centres = cv2.connectedComponentsWithStats(
        mask[top : top + high, left : left + wide], connectivity=8
    )
    stats[:, :2] += (left, top)
    centres += (left, top)
    found_part = found[top : top + high, left : left + wide]
    height, width = found.shape
    area = stats[:, cv2.CC_STAT_AREA]
    score = area * (1 - np.abs(centres / (width, height) - 0.5).max(1))
    score[0] = 0
    main = int(score.argmax())
    start, stop = stats[:, :2], stats[:, :2] + stats[:, 2:4]
    touches = (start == 0).any(1) | (stop == (width, height)).any(1)
    belongs = (area > 0.04 * area[main]) & (~touches | touches[main])
    belongs[0] = False
    box, near = np.concatenate([start[main], stop[main]]), belongs
    for _ in range(2):
        reach = 0.25 * (box[2:] - box[:2]).max()
        near = belongs & (start < box[2:] + reach).all(1) & (stop > box[:2] - reach).all(1)
        box = np.concatenate([start[near].min(0), stop[near].max(0)])
    x0, y0, x1, y1 = (int(v) for v in box)
    area_of_digit = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
    # Faint edges stay with their strokes, other pieces go.
    foreign = ~near
    foreign[0] = False
    return (x0, y0, x1 - x0, y1 - y0), np.where(
        foreign[labels[area_of_digit]], np.float32(0), found_part[area_of_digit]
    )


def _fitted(strokes: Ink) -> UInt8[np.ndarray, "28 28"]:
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
    small = np.clip(small * (255 / np.percentile(core, 75)), 0, 255)
    return _centred(np.round(small).astype(np.uint8))
