"""Errors that a person can act on: each message says what was wrong, with the value, and what to do next."""

import difflib
import importlib.util
from collections.abc import Iterable


class DigitjaxError(Exception):
    """Something in the world is not as it should be: a file, a network, a disk. The command line exits with 1."""


class UsageError(DigitjaxError, ValueError):
    """A request that can never work: a name, a type, a range. The command line exits with 2."""


def nearest(name: str, names: Iterable[str]) -> str:
    """The ending of an error about an unknown `name`: what was perhaps meant, or all there is."""
    known = sorted(names)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else f"there are: {', '.join(known)}"


def first_line(error: Exception) -> str:
    """What an error of another library says, short enough for a line of ours."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def require(package: str) -> None:
    """Raises:
    UsageError: a package that comes with an extra is not installed.
    """
    if importlib.util.find_spec(package) is None:
        raise UsageError(f"{package} is not installed: pip install 'digitjax[ray]'")
