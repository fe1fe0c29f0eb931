"""Pictures of a run, one function each: arrays and rows in, a figure out. The only file that knows matplotlib."""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from digitjax.base.disk import write_file
from digitjax.reading.lines import Digit
from digitjax.reading.predict import Prediction
from digitjax.training.checkpoint import History
from digitjax.training.metrics import BINS, Totals, expected_calibration_error, wilson

_TRAINING, _VALIDATION = "#8a8f98", "#1f6feb"
_WRONG = "#c62828"
_CELL, _PICTURE, _HEADING = (1.25, 1.55), 1.1, 0.45
"""Inches of a sheet of digits: width and height of a place in it, the longer side of its picture, the heading."""


def save(figure: Figure, file: Path) -> None:
    """Writes a figure as PNG, whole or not at all."""
    write_file(file, lambda temporary: temporary.write_bytes(png(figure)))


def png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=120)
    return stream.getvalue()


def curve(history: History, quantity: str, unit: str = "") -> Figure:
    """Training and validation `quantity` (loss or accuracy) by epoch, the best validation marked."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    epochs = [int(row["epoch"]) for row in history]
    validation = [row[f"validation_{quantity}"] for row in history]
    training = [row[f"training_{quantity}"] for row in history]
    axes.plot(epochs, training, "o-", color=_TRAINING, label="training (while it learns, as changed)")
    axes.plot(epochs, validation, "o-", color=_VALIDATION, label="validation")
    best = int(np.argmin([row["validation_loss"] for row in history]))
    axes.plot(epochs[best], validation[best], "o", ms=12, mfc="none", color=_VALIDATION, label="kept: lowest loss")
    axes.annotate(
        f"{validation[best]:.4f}",
        (epochs[best], validation[best]),
        textcoords="offset points",
        xytext=(0, -18),
        ha="center",
    )
    axes.margins(y=0.18)
    axes.set_xlim(0.5, len(epochs) + 0.5)
    axes.set(xlabel="epoch", ylabel=f"{quantity} {unit}".strip(), title=f"{quantity.capitalize()} by epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


def rates(rates: Float[np.ndarray, " steps"], losses: Float[np.ndarray, " steps"], suggested: float) -> Figure:
    """The loss by learning rate of a range test, and the rate that it suggests."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.semilogx(rates, losses, color=_TRAINING)
    axes.axvline(suggested, color=_VALIDATION, ls="--", label=f"suggested: {suggested:.2g}")
    axes.set(xlabel="learning rate", ylabel="smoothed loss (nats)", title="Learning rate range test")
    axes.set_ylim(losses.min() - 0.1, min(losses.max(), 1.3 * losses[0]) + 0.1)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


def digits(
    images: Sequence[np.ndarray] | np.ndarray,
    titles: Sequence[str],
    heading: str,
    columns: int = 8,
    wrong: Sequence[bool] = (),
    maps: Sequence[np.ndarray | None] = (),
) -> Figure:
    """A sheet of pictures, each under its title, in red where `wrong`; a heat map of 0..1 lies over its picture.

    All lie in one pair of axes, whose unit is an inch: a pair each takes matplotlib seconds.
    """
    rows = max(1, math.ceil(len(images) / columns))
    width, height, top = columns * _CELL[0], rows * _CELL[1] + _HEADING, _HEADING + _CELL[1] - _CELL[0]
    figure = Figure(figsize=(width, height))
    figure.suptitle(heading, y=1 - 0.2 / height, va="center")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    for place, (image, title) in enumerate(zip(images, titles)):
        y, x = np.multiply(divmod(place, columns), _CELL[::-1]) + (top, _CELL[0] / 2)
        tall, wide = np.multiply(image.shape[:2], _PICTURE / max(image.shape[:2]))
        extent = (x - wide / 2, x + wide / 2, y + tall, y)
        axes.imshow(image, cmap="gray", vmin=0, vmax=255, extent=extent)
        if place < len(maps) and (heat := maps[place]) is not None:
            axes.imshow(heat, cmap="inferno", vmin=0, vmax=1, alpha=0.25 + 0.55 * heat, extent=extent)
        color = _WRONG if place < len(wrong) and wrong[place] else "black"
        axes.text(x, y - 0.05, title, fontsize=8, color=color, ha="center", va="bottom")
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="auto")
    return figure


def channels(stack: np.ndarray, heading: str) -> Figure:
    """A tile a channel of a [height, width, channels] array; signed ones in blue and red, white at 0."""
    tall, wide, count = stack.shape
    columns = min(16, count)
    rows = math.ceil(count / columns)
    gap = max(1, round(max(tall, wide) / 12))
    tiles = np.full((rows, tall + gap, columns, wide + gap), np.nan)
    for channel in range(count):
        tiles[channel // columns, :tall, channel % columns, :wide] = stack[..., channel]
    figure = Figure(figsize=(0.7 * columns + 1, 0.7 * rows + 0.6), layout="constrained")
    figure.suptitle(heading, fontsize=10)
    most = max(float(np.abs(stack).max()), 1e-12)
    least, colours = (-most, "RdBu_r") if stack.min() < 0 else (0, "gray")
    axes = figure.subplots()
    axes.axis("off")
    sheet = tiles.reshape(rows * (tall + gap), columns * (wide + gap))
    figure.colorbar(axes.imshow(sheet, cmap=colours, vmin=least, vmax=most, interpolation="nearest"), shrink=0.8)
    return figure


def predictions(found: Sequence[tuple[str, np.ndarray, Prediction, np.ndarray]]) -> Figure:
    """A row a picture, from its name, its pixels, its answer and the 28 x 28 that the network saw."""
    figure = Figure(figsize=(7, 1.6 * max(1, len(found))), layout="constrained")
    grid = figure.subplots(max(1, len(found)), 3, squeeze=False, width_ratios=(1.3, 1, 2.2))
    for axes in grid.ravel():
        axes.axis("off")
    for (original, seen, bars), (name, picture, prediction, form) in zip(grid, found):
        original.imshow(picture, cmap="gray")
        original.set_title(name[-28:], fontsize=8)
        seen.imshow(form, cmap="gray", vmin=0, vmax=255)
        seen.set_title("what the network saw", fontsize=8)
        sure = prediction.verdict == "digit"
        bars.axis("on")
        bars.bar(range(10), prediction.probabilities, color=_VALIDATION if sure else _TRAINING)
        bars.set(xticks=range(10), ylim=(0, 1), yticks=(0, 1))
        bars.tick_params(labelsize=7)
        title = f"{prediction.digit}  ({100 * prediction.confidence:.1f} %), {prediction.verdict.replace('_', ' ')}"
        bars.set_title(title, fontsize=9, color="black" if sure else _WRONG)
    return figure


def reliability(before: Totals, after: Totals) -> Figure:
    """Share right by confidence, and how many digits have it, before and after temperature scaling."""
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    upper, lower = figure.subplots(2, 2, sharex=True, height_ratios=(3, 1))
    for top, bottom, (title, sums) in zip(upper, lower, {"before": before, "after": after}.items()):
        used = np.flatnonzero(sums.examples)
        examples = np.asarray(sums.examples, np.float64)[used]
        confidence, right = (np.asarray(part)[used] / examples for part in (sums.confidence, sums.correct))
        bounds = np.array([wilson(*pair) for pair in zip(right * examples, examples)]).T
        top.plot([0, 1], [0, 1], "--", color=_TRAINING, lw=1)
        top.errorbar(confidence, right, np.abs(bounds - right), fmt="o", color=_VALIDATION, capsize=2)
        error = expected_calibration_error(sums)
        top.set(ylabel="share right", ylim=(0, 1.02), title=f"{title} temperature scaling: ECE {100 * error:.2f} %")
        top.grid(alpha=0.3)
        bottom.bar((np.arange(BINS) + 0.5) / BINS, sums.examples, 0.9 / BINS, color=_TRAINING)
        bottom.set(xlabel="confidence", ylabel="digits", yscale="log", xlim=(0, 1))
    return figure


def risk(by_coverage: np.ndarray) -> Figure:
    """The share misread among the surest, by how many of all they are."""
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    coverage = 100 * np.arange(1, len(by_coverage) + 1) / len(by_coverage)
    axes.plot(coverage, 100 * by_coverage, color=_VALIDATION)
    axes.set(xlabel="digits answered, the surest first, %", ylabel="misread among them, %", ylim=(0, None))
    axes.margins(x=0)
    axes.grid(alpha=0.3)
    return figure


def landscape(places: Float[np.ndarray, "n 2"], labels: np.ndarray, guesses: np.ndarray, how: str) -> Figure:
    """Digits as points in the plane, coloured by class; the misread ones as crosses, with what they were read as."""
    figure = Figure(figsize=(8, 6.4), layout="constrained")
    axes, wrong = figure.subplots(), labels != guesses
    for digit in range(10):
        colour, mine = f"C{digit}", labels == digit
        axes.scatter(*places[mine & ~wrong].T, s=6, color=colour, alpha=0.6, label=str(digit), linewidths=0)
        axes.scatter(*places[mine & wrong].T, s=60, color=colour, marker="x")
    for (x, y), guess in zip(places[wrong], guesses[wrong]):
        axes.annotate(str(guess), (x, y), xytext=(5, 5), textcoords="offset points", fontsize=8, color=_WRONG)
    axes.legend(title="digit", markerscale=3, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.set(xticks=[], yticks=[], title=f"{len(labels):,} test digits by {how}; x: misread, and as what")
    return figure


def lines(curves: Mapping[str, tuple[str, Sequence[float | int], Sequence[float]]]) -> Figure:
    """Accuracy by amount, a plot a change, each with its unit."""
    figure = Figure(figsize=(11, 5.6), layout="constrained")
    grid = figure.subplots(2, 3, sharey=True).ravel()
    for axes in grid[len(curves) :]:
        axes.axis("off")
    for axes, (name, (unit, amounts, accuracies)) in zip(grid, curves.items()):
        axes.plot(amounts, accuracies, "o-", color=_VALIDATION)
        axes.set(title=name, xlabel=unit, ylabel="accuracy", ylim=(0, 1.02))
        axes.grid(alpha=0.3)
    return figure


def readings(found: Sequence[tuple[str, np.ndarray, Sequence[Sequence[Digit]]]]) -> Figure:
    """A picture below the other, from its name, pixels and lines of digits: each in its box; unsure ones in red."""
    figure = Figure(figsize=(7, 4.2 * max(1, len(found))), layout="constrained")
    grid = figure.subplots(max(1, len(found)), 1, squeeze=False).ravel()
    for axes in grid:
        axes.axis("off")
    for axes, (name, picture, lines) in zip(grid, found):
        axes.imshow(picture, cmap="gray")
        axes.set_title(name[-60:], fontsize=8)
        for digit in (digit for line in lines for digit in line):
            color = _VALIDATION if digit.verdict == "digit" else _WRONG
            left, top, width, height = digit.box
            axes.add_patch(Rectangle((left, top), width, height, fill=False, color=color))
            axes.text(left, top, str(digit.digit), color=color, fontsize=9, va="bottom")
    return figure


def confusion(counts: Sequence[Sequence[int]], heading: str) -> Figure:
    """Counts of label (row) against prediction (column); the shade is that of the mistakes, so that they show."""
    matrix = np.asarray(counts)
    figure = Figure(figsize=(7, 6.4), layout="constrained")
    axes = figure.subplots()
    mistakes = matrix * (1 - np.eye(len(matrix)))
    shade = axes.imshow(mistakes, cmap="Reds", vmin=0, vmax=max(1, mistakes.max()))
    for row, column in np.ndindex(*matrix.shape):
        if matrix[row, column]:
            dark = mistakes[row, column] > 0.6 * mistakes.max() > 0
            weight = "bold" if row == column else "normal"
            axes.text(column, row, str(matrix[row, column]), ha="center", va="center", weight=weight,
                      color="white" if dark else "black", fontsize=9)  # fmt: skip
    ticks = range(len(matrix))
    axes.set(xlabel="read as", ylabel="is", title=heading, xticks=ticks, yticks=ticks)
    figure.colorbar(shade, label="mistakes", shrink=0.8)
    return figure
