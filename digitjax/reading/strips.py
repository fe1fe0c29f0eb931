"""The line network ready for use: strips of any width in, the digits along them out."""

import functools
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float32, Int32

from digitjax.base.errors import DigitjaxError
from digitjax.network import model
from digitjax.network.model import BLANK, FRAME, Variables
from digitjax.picture.strips import HEIGHT, Strip

FILE = Path(__file__).parent.parent / "weights" / "lines.npz"
WIDTHS = (64, 128, 208, 416, 832, 1664, 3328)
"""Of compiled programs: a strip gets the next one, paper behind it."""
BATCH = 8


class Spotted(NamedTuple):
    """The digits of a strip, from left to right."""

    digits: Int32[np.ndarray, " n"]
    confidences: Float32[np.ndarray, " n"]
    places: Float32[np.ndarray, "n 3"]
    """Where each was seen: columns of the strip: first, likeliest, last."""
    confidence: float
    """The calibrated probability that these are the digits, all of them and no others."""


class LineReader:
    """Compiled for a few widths, one strip or eight at a time."""

    def __init__(self, variables: Variables, temperature: float):
        self.temperature = temperature
        constants = jax.device_put(variables)
        self._compute = jax.jit(lambda strips: jax.nn.log_softmax(model.line_logits(constants, strips)))

    def read(self, strips: Sequence[Strip]) -> list[Spotted]:
        """The digits of each strip; a strip that is wider than the widest program is squeezed."""
        answers: dict[int, Spotted] = {}
        widths = [next((width for width in WIDTHS if width >= strip.shape[1]), WIDTHS[-1]) for strip in strips]
        for width in sorted(set(widths)):
            same = [which for which, own in enumerate(widths) if own == width]
            for start in range(0, len(same), BATCH):
                part = same[start : start + BATCH]
                padded = np.zeros((1 if len(part) == 1 else BATCH, HEIGHT, width), np.uint8)
                for row, which in enumerate(part):
                    padded[row, :, : strips[which].shape[1]] = strips[which][:, :width]
                for which, row in zip(part, np.asarray(self._compute(padded))):
                    answers[which] = spotted(row[: -(-strips[which].shape[1] // FRAME)], self.temperature)
        return [answers[which] for which in range(len(strips))]


@functools.cache
def load() -> LineReader:
    """The line reader that ships.

    Raises:
      DigitjaxError: its file is missing or damaged.
    """
    return LineReader(*read(FILE))


def write(file: Path, variables: Variables, temperature: float, card: dict[str, object]) -> None:
    """Writes an .npz without pickles."""
    from digitjax.base.disk import write_file

    leaves = jax.tree.leaves_with_path(variables)
    arrays: dict[str, Any] = {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf) for path, leaf in leaves
    }
    about = np.frombuffer(json.dumps({"temperature": temperature, "card": card}).encode(), np.uint8)

    def save(temporary: Path) -> None:
        with temporary.open("wb") as stream:
            np.savez(stream, about=about, **arrays)

    write_file(file, save)


def read(file: Path) -> tuple[Variables, float]:
    """The line network's variables and its temperature.

    Raises:
      DigitjaxError: the file is missing, damaged, or something else.
    """
    like = jax.eval_shape(model.init_lines, jax.random.key(0))
    paths, structure = jax.tree.flatten_with_path(like)
    try:
        with np.load(file, allow_pickle=False) as stored:
            temperature = float(json.loads(stored["about"].tobytes())["temperature"])
            leaves = [stored[jax.tree_util.keystr(path, simple=True, separator="/")] for path, _ in paths]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DigitjaxError(f"{file} is no line reader, or damaged ({error}): install digitjax anew") from error
    if [(leaf.shape, leaf.dtype) for leaf in leaves] != [(leaf.shape, leaf.dtype) for _, leaf in paths]:
        raise DigitjaxError(f"{file} is of another network: install digitjax anew")
    return jax.tree.unflatten(structure, leaves), temperature


def spotted(log_shares: Float32[np.ndarray, "places 11"], temperature: float = 1.0) -> Spotted:
    """The digits on the likeliest way through the places of a strip."""
    best = log_shares.argmax(1)
    starts = np.flatnonzero(np.diff(best, prepend=-1))
    runs = [
        (start, stop, int(best[start])) for start, stop in zip(starts, [*starts[1:], len(best)]) if best[start] != BLANK
    ]
    digits = np.array([digit for *_, digit in runs], np.int32)
    peaks = [start + int(log_shares[start:stop, digit].argmax()) for start, stop, digit in runs]
    places = [(FRAME * start, FRAME * (peak + 0.5), FRAME * stop) for (start, stop, _), peak in zip(runs, peaks)]
    sure = np.array([np.exp(log_shares[peak, digit]) for peak, digit in zip(peaks, digits)], np.float32)
    chance = np.exp(log_probability(log_shares, digits) / temperature)
    return Spotted(digits, sure, np.array(places, np.float32).reshape(-1, 3), float(chance))


def log_probability(log_shares: Float32[np.ndarray, "places 11"], digits: Int32[np.ndarray, " n"]) -> float:
    """Of these digits and no others, over all ways that say them (Graves et al. 2006, forward variables)."""
    states = np.full(2 * len(digits) + 1, BLANK)
    states[1::2] = digits
    jumps = np.zeros(len(states), bool)
    jumps[3::2] = digits[1:] != digits[:-1]
    chance = np.full(len(states), -np.inf)
    chance[:2] = log_shares[0, states[:2]]
    for row in log_shares[1:].astype(np.float64):
        before = np.logaddexp(chance, np.concatenate([[-np.inf], chance[:-1]]))
        skipped = np.where(jumps, np.concatenate([[-np.inf, -np.inf], chance[:-2]])[: len(states)], -np.inf)
        chance = np.logaddexp(before, skipped) + row[states]
    return float(np.logaddexp(*chance[-2:])) if len(digits) else float(chance[0])
