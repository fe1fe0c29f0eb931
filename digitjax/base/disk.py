"""Files that are written whole or not at all, and folders that one process at a time writes into."""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from digitjax.base.errors import DigitjaxError


@contextlib.contextmanager
def claim(folder: Path, option: str) -> Iterator[None]:
    """Makes a folder, where it is not there, and keeps other processes out; `option` is what names another.

    Raises:
      DigitjaxError: another process is there, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise DigitjaxError(
            f"{folder} cannot be written ({error.strerror}): name another folder with {option}"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DigitjaxError(f"another process works in {folder}: wait for it, or name {option}") from error
        yield


def flush(path: Path) -> None:
    """Waits until a file's content, or a folder's names, would outlast a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(file: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    write_file(file, lambda temporary: temporary.write_text(text))


def write_file(file: Path, write: Callable[[Path], object]) -> None:
    """Lets `write` fill a file of a temporary name, then gives it its own; on the disk itself before that is true.

    Raises:
      DigitjaxError: the disk is full, or the folder cannot be written.
    """
    temporary = file.with_name(f".{os.getpid()}.{file.name}")
    try:
        write(temporary)
        flush(temporary)
        temporary.replace(file)
        flush(file.parent)
    except OSError as error:
        cause = error.strerror or error
        raise DigitjaxError(f"{file} cannot be written ({cause}): free space or name another folder") from error
    finally:
        temporary.unlink(missing_ok=True)


def stamp(file: str) -> list[Any]:
    """What tells whether a file is still the same: its name, its size, when it was written."""
    try:
        known = Path(file).stat()
    except OSError:
        return [file]
    return [file, known.st_size, known.st_mtime_ns]
