"""The line network ready for use: strips of any width in, the digits along them out."""

import functools
import itertools
import json
import math
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import jax
import numpy as np
from jaxtyping import Float32, Int32, UInt8

from digitjax.base.errors import DigitjaxError
from digitjax.network import model
from digitjax.network.model import BLANK, FRAME, Strips, Variables
from digitjax.picture.ink import Ink
from digitjax.picture.strips import HEIGHT, Strip, strip
from digitjax.reading.artifact import leaf_name, named_leaves

FILE = Path(__file__).parent.parent / "weights" / "lines.npz"
WIDTHS = (HEIGHT, 64, 128, 208, 416, 832, 1664, 3328)
"""Of compiled programs: a strip gets the next one, paper behind it."""
BATCH, SURE = 4, 0.9
LEAST, INK = -4.0, 0.5
"""The log probability that a view gives any answer at least, and what views of the ink alone weigh (see `elected`)."""
LOOKS: Sequence[tuple[float, int]] = ((1.2, 0), (1.0, 4), (0.85, 0))
"""In which ways a strip is looked at again: how much wider, with how much paper around it."""
LogShares = Float32[np.ndarray, "_ 11"]
"""Of every place along a strip: the log probability of each digit, and of none."""


class Spotted(NamedTuple):
    """The digits of a strip, from left to right."""

    digits: Int32[np.ndarray, " n"]
    confidences: Float32[np.ndarray, " n"]
    places: Float32[np.ndarray, "n 3"]
    """Where each was seen: columns of the strip: first, likeliest, last."""
    confidence: float
    """The calibrated probability that these are the digits, all of them and no others."""


class LineReader:
    """Compiled for a few widths, and for one strip or four at a time: a program takes memory, whatever its size.

    Args:
      variables: of the line network.
      temperature: of what several looks make likely together.
    """

    def __init__(self, variables: Variables, temperature: float):
        self.temperature = temperature

        # The weights are arguments: as constants each of the programs would hold them, twice as much memory in all.
        self._network = partial(_log_shares, jax.device_put(variables))

    def read(self, strips: Sequence[Strip]) -> list[Spotted]:
        """The digits of each strip; what is not sure at once is looked at in other ways too, if it is not much."""
        plain = self.log_shares(strips)
        found = [self.voted([one]) for one in plain]
        # A long strip that is not sure is a texture more often than a number.
        unsure = [
            which for which, one in enumerate(found) if one.confidence < SURE and strips[which].shape[1] <= WIDTHS[4]
        ]
        if 0 < len(unsure) <= BATCH:
            for which, more in zip(unsure, self._other_views([strips[which] for which in unsure])):
                found[which] = self.voted([plain[which], *more])
        return found

    def warm(self) -> None:
        """Compiles what lines of up to some forty digits need, programs side by side."""
        programs = [[np.zeros((HEIGHT, width), np.uint8)] * count for width in WIDTHS[:6] for count in (1, BATCH)]
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
            list(threads.map(self.log_shares, programs))

    def views(self, line: Strip) -> tuple[list[LogShares], Spotted]:
        """What is seen of a line, in several ways if it is not sure at once; and what that says."""
        views = self.log_shares([line])
        if (found := self.voted(views)).confidence < SURE:
            views += self._other_views([line])[0]
            found = self.voted(views)
        return views, found

    def voted(self, views: Sequence[LogShares]) -> Spotted:
        return voted(views, self.temperature if len(views) > 1 else 1.0)

    def agreed(self, views: Sequence[LogShares], ink: Strip) -> tuple[Spotted, Spotted]:
        """What is likeliest by a line's views and by its ink together: its places in the first view, and in the ink."""
        of_ink, _ = self.views(ink)
        said = elected(views, of_ink)
        return _spotted(views[0], *said, self.temperature), _spotted(of_ink[0], *said, self.temperature)

    def alone(self, images: UInt8[np.ndarray, "n 28 28"]) -> Float32[np.ndarray, "n 10"]:
        """Of each image in MNIST's form the log probability that it says this digit, and no other beside it."""
        larger = [cv2.resize(image, (33, 33), interpolation=cv2.INTER_LINEAR) for image in images]
        strips = [np.pad(one, ((3, 4), (3, 4))) for one in larger]
        # The forward variables of one label: before it, at it, behind it (see `log_probability`).
        shares = np.stack(self.log_shares(strips), axis=1).astype(np.float64)
        blank = shares[..., BLANK:]
        before, at, behind = blank[0], shares[0, :, :BLANK], np.full_like(shares[0, :, :BLANK], -np.inf)
        for share, none in zip(shares[1:, :, :BLANK], blank[1:]):
            behind = np.logaddexp(behind, at) + none
            at = np.logaddexp(at, before) + share
            before = before + none
        return np.logaddexp(at, behind).astype(np.float32)

    def _other_views(self, strips: Sequence[Strip]) -> list[list[LogShares]]:
        seen = self.log_shares([_resized(one, *look) for one in strips for look in LOOKS])
        return [seen[start : start + len(LOOKS)] for start in range(0, len(seen), len(LOOKS))]

    def log_shares(self, strips: Sequence[Strip]) -> list[LogShares]:
        """What the network says of each place of each strip; one that is wider than the widest program is squeezed."""
        strips = [_resized(one, WIDTHS[-1] / one.shape[1], 0) if one.shape[1] > WIDTHS[-1] else one for one in strips]
        answers: dict[int, LogShares] = {}
        widths = [next(width for width in WIDTHS if width >= one.shape[1]) for one in strips]
        for width in sorted(set(widths)):
            same = [which for which, own in enumerate(widths) if own == width]
            # Three are as one more, two as two times one.
            sizes = [BATCH] * (len(same) // BATCH) + ([BATCH] if len(same) % BATCH == 3 else [1] * (len(same) % BATCH))
            for start, size in zip(itertools.accumulate(sizes, initial=0), sizes):
                part = same[start : start + size]
                padded = np.zeros((size, HEIGHT, width), np.uint8)
                for row, which in enumerate(part):
                    padded[row, :, : strips[which].shape[1]] = strips[which]
                for which, row in zip(part, np.asarray(self._network(padded))):
                    answers[which] = row[: -(-strips[which].shape[1] // FRAME)]
        return [answers[which] for which in range(len(strips))]


def _resized(line: Strip, across: float, margin: int) -> Strip:
    """A strip made narrower, or with paper around it."""
    padded = np.pad(line, margin)
    size = max(8, int(padded.shape[1] * across * HEIGHT / len(padded))), HEIGHT
    return np.asarray(cv2.resize(padded, size, interpolation=cv2.INTER_AREA), np.uint8)


@jax.jit
def _log_shares(variables: Variables, strips: Strips) -> jax.Array:
    return jax.nn.log_softmax(model.line_logits(variables, strips))


@functools.cache
def load() -> LineReader:
    """The line reader that ships.

    Raises:
      DigitjaxError: its file is missing or damaged.
    """
    return LineReader(*read(FILE))


def holds_several(beside: Ink | None) -> bool:
    """Whether what `canonical.searched` found beside a digit makes it a number."""
    if beside is None:
        return False
    padded = np.pad(beside, round(0.2 * len(beside)))
    [found] = load().read([strip(255 - np.round(255 * np.clip(padded, 0, 1)).astype(np.uint8))])
    return len(found.digits) > 1 and found.confidence > 0.5


def write(file: Path, variables: Variables, temperature: float, card: Mapping[str, object]) -> None:
    """Writes an .npz without pickles. Of each number the first eight bits count: less than half the file, and the same
    digits."""
    from digitjax.base.disk import write_file

    about = np.frombuffer(json.dumps({"temperature": temperature, **card}).encode(), np.uint8)
    arrays: dict[str, Any] = {name: _rounded(leaf) for name, leaf in named_leaves(variables).items()}

    def save(temporary: Path) -> None:
        with temporary.open("wb") as stream:
            np.savez_compressed(stream, about=about, **arrays)

    write_file(file, save)


def _rounded(leaf: np.ndarray) -> np.ndarray:
    """In half precision, its last three bits 0."""
    bits = leaf.astype(np.float16).view(np.uint16)
    return ((bits + np.uint16(4)) & np.uint16(0xFFF8)).view(np.float16)


def read(file: Path) -> tuple[Variables, float]:
    """The line network's variables and its temperature.

    Raises:
      DigitjaxError: the file is missing, damaged, or something else.
    """
    try:
        with np.load(file, allow_pickle=False) as stored:
            told = json.loads(stored["about"].tobytes())
            halves = {name: stored[name] for name in stored.files if name != "about"}
            return _variables(halves), float(told["temperature"])
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DigitjaxError(f"{file} is no line reader, or damaged ({error}): install digitjax anew") from error


def _variables(halves: Mapping[str, np.ndarray]) -> Variables:
    """ValueError where they are of another network."""
    like = jax.eval_shape(model.init_lines, jax.random.key(0))
    paths, structure = jax.tree.flatten_with_path(like)
    leaves = [halves[leaf_name(path)] for path, _ in paths]
    if [(leaf.shape, leaf.dtype) for leaf in leaves] != [(leaf.shape, np.float16) for _, leaf in paths]:
        raise ValueError("its arrays are of another network")
    return jax.tree.unflatten(structure, [leaf.astype(np.float32) for leaf in leaves])


def voted(views: Sequence[LogShares], temperature: float) -> Spotted:
    """What all views of a line say together, with its places in the first."""
    return _spotted(views[0], *elected(views), temperature)


def _spotted(view: LogShares, digits: Int32[np.ndarray, " n"], chance: float, temperature: float) -> Spotted:
    return Spotted(digits, *aligned(view, digits), chance ** (1 / temperature))


def elected(views: Sequence[LogShares], of_ink: Sequence[LogShares] = ()) -> tuple[Int32[np.ndarray, " n"], float]:
    """Of what some view's likeliest way says, what all views together say; and its mean probability.

    They multiply, as experts of their own do, but one that would have none of it can do no more than so much harm
    (`LEAST`); views of the ink alone, which may lack a stroke, count half (`INK`).
    """
    kinds = [kind for kind in (views, of_ink) if kind]
    proposed = {tuple(model.line_digits(view.argmax(1))) for kind in kinds for view in kind}
    said = {
        digits: [np.array([log_probability(view, np.array(digits, np.int32)) for view in kind]) for kind in kinds]
        for digits in sorted(proposed)
    }

    def together(digits: tuple[int, ...]) -> float:
        return sum(weight * np.maximum(logs, LEAST).mean() for weight, logs in zip((1.0, INK), said[digits]))

    best = max(said, key=together)
    return np.array(best, np.int32), float(np.mean([np.exp(logs).mean() for logs in said[best]]))


def aligned(
    log_shares: LogShares, digits: Int32[np.ndarray, " n"]
) -> tuple[Float32[np.ndarray, " n"], Float32[np.ndarray, "n 3"]]:
    """How sure each of these digits is, and its columns (see `Spotted`), on the likeliest way that says them."""
    likeliest = log_shares.argmax(1)
    if model.line_digits(likeliest) == digits.tolist():
        starts = np.flatnonzero(np.diff(likeliest, prepend=BLANK))
        runs = [(start, stop) for start, stop in pairwise([*starts, len(likeliest)]) if likeliest[start] != BLANK]
        return _along(log_shares, digits, [np.arange(*run) for run in runs])
    states, jumps = _states(digits)
    best, came = np.full(len(states), -np.inf), np.zeros((len(log_shares), len(states)), np.int8)
    best[:2] = log_shares[0, states[:2]]
    for frame in range(1, len(log_shares)):
        ways = np.stack(
            [best, np.append(-np.inf, best[:-1]), np.where(jumps, np.append([-np.inf] * 2, best)[: len(best)], -np.inf)]
        )
        came[frame] = ways.argmax(0)
        best = ways.max(0) + log_shares[frame, states]
    state = len(states) - 1 - int(len(states) > 1 and best[-2] > best[-1])
    path = np.empty(len(log_shares), int)
    for frame in range(len(log_shares) - 1, -1, -1):
        path[frame] = state
        state -= came[frame, state]
    return _along(log_shares, digits, [np.flatnonzero(path == 2 * which + 1) for which in range(len(digits))])


def _along(
    log_shares: LogShares, digits: Int32[np.ndarray, " n"], runs: Sequence[np.ndarray]
) -> tuple[Float32[np.ndarray, " n"], Float32[np.ndarray, "n 3"]]:
    """As `aligned`, where each digit was seen in these places."""
    sure, places = np.zeros(len(digits), np.float32), np.zeros((len(digits), 3), np.float32)
    for which, (digit, frames) in enumerate(zip(digits, runs)):
        if len(frames):  # else the strip has too few places, and nothing said this
            peak = frames[log_shares[frames, digit].argmax()]
            sure[which] = np.exp(log_shares[peak, digit])
            places[which] = FRAME * frames[0], FRAME * (peak + 0.5), FRAME * (frames[-1] + 1)
    return sure, places


def _states(digits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The digits with blanks around each, and which of these may follow the one before the last."""
    states = np.full(2 * len(digits) + 1, BLANK)
    states[1::2] = digits
    jumps = np.zeros(len(states), bool)
    jumps[3::2] = digits[1:] != digits[:-1]
    return states, jumps


def log_probability(log_shares: LogShares, digits: Int32[np.ndarray, " n"]) -> float:
    """Of these digits and no others, over all ways that say them (Graves et al. 2006, forward variables)."""
    states, jumps = _states(digits)
    shares, total = np.exp(log_shares[:, states].astype(np.float64)), 0.0
    chance = np.zeros(len(states) + 2)  # behind two states that nothing is in
    chance[2:4] = shares[0, :2]
    for row in shares[1:]:
        after = (chance[2:] + chance[1:-1] + jumps * chance[:-2]) * row
        # Scaled at each place, or it would vanish.
        scale = float(after.sum())
        if not scale:
            return -np.inf
        total += math.log(scale)
        chance[2:] = after / scale
    end = float(chance[2:][-2:].sum())
    return total + math.log(end) if end else -np.inf
