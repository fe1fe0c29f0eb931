"""Pictures that were read wrongly, kept with their true digit in a folder that `digitjax train --data` takes."""

import hashlib
from pathlib import Path

import cv2

from digitjax.base.disk import write_file
from digitjax.base.errors import DigitjaxError
from digitjax.picture.pixels import read_picture
from serve.problems import Refusal

LONGEST_SIDE = 512


def save(folder: Path, label: str, picture: bytes, most_files: int, most_bytes: int) -> bool:
    """Keeps a picture as `folder`/`label`/<checksum>.png; whether it was new.

    Raises:
      PictureError: the picture is bad.
      Refusal: 507, the folder holds as much as it may, or cannot be written.
    """
    pixels = read_picture(picture)
    if (zoom := LONGEST_SIDE / max(pixels.shape)) < 1:
        pixels = cv2.resize(pixels, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
    content = cv2.imencode(".png", pixels if pixels.ndim == 2 else pixels[..., ::-1])[1].tobytes()
    file = folder / label / f"{hashlib.sha256(content).hexdigest()[:16]}.png"
    try:
        sizes = [kept.stat().st_size for kept in folder.glob("*/*.png")]
        if file.exists():
            return False
        if len(sizes) >= most_files or sum(sizes) + len(content) > most_bytes:
            raise Refusal(507, f"{len(sizes)} corrections fill the folder: train on them, and empty it")
        file.parent.mkdir(parents=True, exist_ok=True)
        write_file(file, lambda temporary: temporary.write_bytes(content))
    except DigitjaxError as error:
        raise Refusal(507, "the correction cannot be kept, the disk is full: tell who runs this server") from error
    except OSError as error:
        raise Refusal(507, f"the correction cannot be kept ({error.strerror}): tell who runs this server") from error
    return True
