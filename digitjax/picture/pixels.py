"""Any picture -> pixels, the right way up: files of many formats, PIL images, arrays."""

import contextlib
import importlib
import io
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

Pixels = UInt8[np.ndarray, "_ _"] | UInt8[np.ndarray, "_ _ 3"]
"""Grey [height, width] or RGB [height, width, 3]."""

Size = tuple[int, int]
"""Width and height in pixels, as seen."""

MOST_PIXELS = 25_000_000  # in colour; grey ones, and JPEGs, which are decoded small, may have twice as many
LONGEST_SIDE = 1600  # a JPEG is decoded to at least this, in steps of a half

_FORMATS = dict(PNG="Png", JPEG="Jpeg", WEBP="WebP", BMP="Bmp", DIB="Bmp", TIFF="Tiff", GIF="Gif", PPM="Ppm")


class PictureError(ValueError):
    """What is wrong with the picture, with the value that is, and what to send instead."""


def read_picture(source: Any) -> Pixels:
    """Pixels of a path, of a file's bytes, of an open file, of a PIL image or of an array, the right way up.

    Arrays are H x W, H x W x 1, x 3 (RGB) or x 4 (RGBA), or have these before H: booleans, integers up to 255 (or 65535
    as uint16), or floats from 0 to 1, to 255 or from -1 to 1, or lists of such; or a file's bytes. A large JPEG comes
    back reduced.

    Raises:
      PictureError: the picture is bad; nothing else is raised.
    """
    return read_sized(source)[0]


def read_sized(source: Any) -> tuple[Pixels, Size]:
    """What `read_picture` gives, and the size of the picture itself, which a large JPEG's pixels no longer have."""
    source = unlisted(source)
    if hasattr(source, "__array__") and not isinstance(source, str | bytes):
        array = np.asarray(source)  # of NumPy, JAX, PyTorch and the like
        if not _is_file(array):
            return _checked(_from_array(array))
        source = array.tobytes()
    if isinstance(source, str | os.PathLike):
        try:
            source = Path(source).read_bytes()
        except OSError as error:
            name = str(os.fspath(source))
            name = name if len(name) < 200 else f"{name[:100]!r}... ({len(name)} characters)"
            raise PictureError(f"{name} cannot be read ({error.strerror}): give the path of a picture file") from error
    from PIL import Image

    if isinstance(source, Image.Image):
        return _checked(*_from_pil(source))
    if callable(read := getattr(source, "read", None)):
        try:
            source = read()
        except (OSError, ValueError) as error:  # closed, or opened as text
            raise PictureError(f"the file cannot be read ({error}): open it anew, as 'rb'") from error
    if not isinstance(source, bytes | bytearray | memoryview):
        raise PictureError(
            f"{type(source).__name__} is no picture: give a path, a file's bytes, a PIL image or an array"
        )
    return _checked(*_decode(bytes(source)))


def _is_file(array: np.ndarray) -> bool:
    """Whether an array is a line of bytes, as `np.fromfile` and `cv2.imencode` give a file; 784 are a digit."""
    in_line = array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1)
    return in_line and array.dtype == np.uint8 and array.size != 28 * 28


def unlisted(source: Any) -> Any:
    """Lists of numbers, one in another, as the array that they are; anything else as it is.

    Raises:
      PictureError: they are of several lengths.
    """
    first = source
    while isinstance(first, list | tuple) and first:
        first = first[0]
    if first is source or not isinstance(first, int | float | np.number):
        return source
    try:
        return np.asarray(source)
    except ValueError as error:
        raise PictureError("the lists of numbers are of several lengths: give as many in each") from error


def _decode(data: bytes) -> tuple[np.ndarray, Size]:
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
    for brands, name in ((b"heic heix hevc mif1 msf1", "HEIC, as iPhones take it"), (b"avif avis", "AVIF")):
        if data[4:8] == b"ftyp" and data[8:12] in brands.split():
            raise PictureError(f"this is {name}, which is not read: export it as JPEG or PNG and send that")
    try:
        image = Image.open(io.BytesIO(data), formats=tuple(_FORMATS))
        small = image.format in ("JPEG", "MPO") or image.mode in ("1", "L")
        _check_size(*image.size, limit=MOST_PIXELS * (2 if small else 1))
        if image.format == "TIFF" and (pages := _pages(image)) > 1:
            raise PictureError(f"the TIFF has {pages} pages: send each of them as a file of its own")
        return _from_pil(image)
    except PictureError:
        raise
    except Image.UnidentifiedImageError as error:
        start = bytes(data[:12])
        raise PictureError(
            f"not a picture (it starts with {start!r}): send PNG, JPEG, WebP, BMP, TIFF, GIF or PGM"
        ) from error
    # Pillow's decoders raise whatever they stumble on: OSError, ValueError, SyntaxError, struct.error, bomb errors ...
    except (Exception, Warning) as error:
        raise PictureError(
            f"the picture is damaged ({type(error).__name__}: {str(error)[:100]}): save it anew as PNG or JPEG"
        ) from error


def _pages(image: Any) -> int:
    """The pages of a TIFF, without the smaller copies of a page that some programs keep beside it."""
    count = 0
    for page in range(min(image.n_frames, 1000)):
        image.seek(page)
        count += not image.tag_v2.get(254, 0) & 1
    image.seek(0)
    return count


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


def _checked(pixels: np.ndarray, size: Size | None = None) -> tuple[np.ndarray, Size]:
    _check_size(pixels.shape[1], pixels.shape[0], 2 * MOST_PIXELS)
    return np.ascontiguousarray(pixels), size or (pixels.shape[1], pixels.shape[0])


def _from_pil(image: Any) -> tuple[np.ndarray, Size]:
    """Pixels, H x W or H x W x 3, after EXIF orientation, with transparency laid on what shows it; the size as seen."""
    from PIL import ImageOps

    size = image.size
    scale = max(image.size) // LONGEST_SIDE
    if scale > 1:
        image.draft(None, (image.width // scale, image.height // scale))
    image.load()
    # A broken EXIF block must not cost the picture.
    with contextlib.suppress(Exception):
        reduced, image = image.size, ImageOps.exif_transpose(image)
        size = size if image.size == reduced else size[::-1]
    mode = image.mode
    if mode.startswith("I;16") or mode in ("I", "F"):
        array = np.asarray(image)
        pixels = _from_array(array if array.dtype == np.uint16 else np.maximum(array, 0))
    elif mode in ("L", "RGB"):
        pixels = np.asarray(image)
    elif mode == "1":
        pixels = np.asarray(image).astype(np.uint8) * 255
    elif "transparency" in image.info or mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        pixels = _without_alpha(np.asarray(image if mode == "RGBA" else image.convert("RGBA")))
    else:
        pixels = np.asarray(image.convert("RGB"))
    return pixels, size


def _from_array(array: np.ndarray) -> np.ndarray:
    """uint8 pixels of an array, H x W or H x W x 3."""
    if array.shape == (28 * 28,):  # a row of a table
        array = array.reshape(28, 28)
    if array.ndim == 3 and array.shape[2] not in (1, 3, 4) and array.shape[0] in (1, 3, 4):
        array = np.moveaxis(array, 0, 2)  # PyTorch's order
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)) or not array.size:
        raise PictureError(
            f"an array of shape {array.shape} is no picture: "
            "send height x width, or height x width x 3 or 4 with colours last"
        )
    _check_size(array.shape[1], array.shape[0], 2 * MOST_PIXELS)  # before anything is made of it
    if array.dtype.name == "bfloat16":  # which NumPy takes for no number
        array = array.astype(np.float32)
    kind = array.dtype.kind
    if kind not in "buif":
        raise PictureError(f"an array of {array.dtype} is no picture: send uint8")
    if kind == "f" and not np.isfinite(array).all():
        raise PictureError("the array has NaN or infinite values: send finite numbers from 0 to 1 or from 0 to 255")
    if array.dtype != np.uint8 or array.max() <= 16:
        low, high = float(array.min()), float(array.max())
        if kind == "f" and -1 <= low < 0 < high <= 1:  # normalised, as networks like it
            array, low, high = (array + 1) / 2, 0.0, 1.0
        if low < 0 or high > 65535 or (kind == "f" and high > 255):
            raise PictureError(
                f"the array's values run from {low:g} to {high:g}: send floats from 0 or -1 to 1, 0 to 255, or uint16"
            )
        # The bits that are in use: a mask has 1, scikit-learn's digits have 4 (up to 16), cameras store 12 into 16.
        top = next(
            top for top in (1, 16, 255, 4095, 65535) if high <= top and not (top == 255 and array.dtype == np.uint16)
        )
        array = np.round(array.astype(np.float32) * (255 / top)).astype(np.uint8)
    return _without_alpha(array) if array.ndim == 3 and array.shape[2] == 4 else array


def _without_alpha(rgba: np.ndarray) -> np.ndarray:
    """Lay the visible on a ground that shows it: strokes of one tone on their opposite, a page on its own paper."""
    colour, alpha = rgba[..., :3], cv2.extractChannel(rgba, 3)
    if alpha.min() == 255:
        return np.ascontiguousarray(colour)
    grey = cv2.cvtColor(rgba, cv2.COLOR_RGB2GRAY)
    tones = np.sort(grey[alpha > 127])
    if not tones.size:
        return np.zeros(alpha.shape, np.uint8)
    darkest, middle, brightest = (int(tones[int(share * (tones.size - 1))]) for share in (0.05, 0.5, 0.95))
    if brightest - darkest >= 80:
        above, weight = colour.astype(np.uint16), alpha[..., None].astype(np.uint16)
        return ((above * weight + middle * (255 - weight) + 127) // 255).astype(np.uint8)
    if middle > 127:
        return cv2.multiply(grey, alpha, scale=1 / 255)
    return cv2.bitwise_not(cv2.multiply(cv2.bitwise_not(grey), alpha, scale=1 / 255))
