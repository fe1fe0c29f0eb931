"""Any picture of a digit as the 28 x 28 that MNIST would have made of it."""

import io
from pathlib import Path

import numpy as np
from jaxtyping import UInt8


class PictureError(ValueError):
    """A picture that cannot be read; the message says why."""


def canonical(source: Path | bytes) -> UInt8[np.ndarray, "28 28"]:
    """Ink bright on dark, scaled into 20 x 20, its centre of mass in the middle (LeCun et al., the MNIST site).

    Raises:
      PictureError: not a picture.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as opened:
            grey = np.asarray(ImageOps.exif_transpose(opened).convert("L"), np.float32)
    except Exception as error:  # Pillow raises many kinds for bad files.
        raise PictureError(f"not a readable picture: {error}") from error
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    ink = np.abs(grey - np.median(border))
    if ink.max() < 16:
        return np.zeros((28, 28), np.uint8)
    ink *= 255 / ink.max()
    rows, columns = (np.flatnonzero((ink > 64).any(axis)) for axis in (1, 0))
    digit = Image.fromarray(ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    scale = 20 / max(digit.size)
    width, height = (max(1, round(side * scale)) for side in digit.size)
    small = np.asarray(digit.resize((width, height), Image.Resampling.BOX))
    y, x = (np.average(np.indices(small.shape)[axis], weights=small + 1e-6) for axis in (0, 1))
    top, left = (int(np.clip(round(13.5 - centre), 0, 28 - side)) for centre, side in ((y, height), (x, width)))
    result = np.zeros((28, 28), np.uint8)
    result[top : top + height, left : left + width] = np.clip(small, 0, 255)
    return result
