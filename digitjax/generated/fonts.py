"""Characters of handwriting fonts as pictures: hands that people designed, out of packages that npm fetched."""

import io
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from digitjax.base.errors import DigitjaxError
from digitjax.picture.canonical import fitted

Glyph = UInt8[np.ndarray, "_ _"]
_WEIGHTS = (400, 300, 700)
_SIZE = 72


@cache
def glyphs(folder: str, characters: str) -> Mapping[str, Sequence[Glyph]]:
    """Each character in every font of a folder of `@fontsource` packages: tight strokes, bright on dark.

    A font is left out where two of the characters look the same, for it does not have them.

    Raises:
      DigitjaxError: the folder has no fonts.
    """
    from PIL import ImageFont

    found: dict[str, list[Glyph]] = {character: [] for character in characters}
    for package in sorted(Path(folder).expanduser().glob("*/files")):
        for weight in _WEIGHTS:
            file = package / f"{package.parent.name}-latin-{weight}-normal.woff"
            if not file.is_file():
                continue
            font = ImageFont.truetype(io.BytesIO(file.read_bytes()), _SIZE)
            drawn = [_drawn(font, character) for character in characters]
            if len({glyph.tobytes() for glyph in drawn}) == len(characters):
                for character, glyph in zip(characters, drawn):
                    found[character].append(glyph)
    if not any(found.values()):
        raise DigitjaxError(f"{folder} holds no fonts: 'make fonts' fetches them into experiments/fonts")
    return found


def varied(draw: np.random.Generator, glyph: Glyph) -> UInt8[np.ndarray, "28 28"]:
    """A font's character as a hand might write it: slanted, stretched, bent, thicker or thinner; in MNIST's form."""
    height, width = glyph.shape
    margin = 6 + height // 3
    strokes = np.pad(glyph, margin)
    height, width = strokes.shape
    slant, stretch = draw.normal(0, 0.16), np.exp(draw.normal(0, 0.12))
    bends = [
        cv2.resize(
            draw.normal(0, 0.035 * height, (4, 4)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC
        )
        for _ in range(2)
    ]
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    across = (
        (columns - width / 2) * np.float32(stretch) + np.float32(slant) * (rows - height / 2) + width / 2 + bends[0]
    )
    strokes = np.asarray(cv2.remap(strokes, across.astype(np.float32), rows + bends[1], cv2.INTER_LINEAR), np.uint8)
    change = int(draw.integers(-1, 5))
    if change:
        pen = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (abs(change) + 1,) * 2)
        strokes = np.asarray((cv2.dilate if change > 0 else cv2.erode)(strokes, pen), np.uint8)
    return fitted(tight(strokes) / np.float32(255))


def _drawn(font: "object", character: str) -> Glyph:
    from PIL import Image, ImageDraw

    picture = Image.new("L", (4 * _SIZE, 4 * _SIZE), 0)
    ImageDraw.Draw(picture).text((1.5 * _SIZE, _SIZE), character, 255, font)  # pyright: ignore[reportArgumentType]
    return tight(np.asarray(picture))


def tight(strokes: Glyph) -> Glyph:
    left, top, width, height = cv2.boundingRect((strokes > 40).astype(np.uint8))
    return strokes[top : top + height, left : left + width] if width else np.full((8, 2), 255, np.uint8)
