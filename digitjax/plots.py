"""Pictures of a run, one function each: arrays and rows in, a figure out. The only file that knows matplotlib."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from digitjax.checkpoint import History, write_file
from digitjax.predict import Prediction

_TRAINING, _VALIDATION = "#8a8f98", "#1f6feb"
_WRONG = "#c62828"


def save(figure: Figure, file: Path) -> None:
    """Writes a figure as PNG, whole or not at all."""
    write_file(file, lambda temporary: figure.savefig(temporary, format="png", dpi=120))


def curve(history: History, quantity: str, unit: str = "") -> Figure:
    """Training and validation `quantity` (loss or accuracy) by epoch, the best validation marked."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    epochs = [int(row["epoch"]) for row in history]
    validation = [row[f"validation_{quantity}"] for row in history]
    training = [row[f"training_{quantity}"] for row in history]
    axes.plot(epochs, training, "o-", color=_TRAINING, label="training (augmented, dropout)")
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
    axes.set(xlabel="epoch", ylabel=f"{quantity} {unit}".strip(), title=f"{quantity.capitalize()} by epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


def digits(
    images: np.ndarray, titles: Sequence[str], heading: str, columns: int = 8, wrong: Sequence[bool] = ()
) -> Figure:
    """A sheet of 28 x 28 images, each under its title; those marked `wrong` in red."""
    rows = max(1, math.ceil(len(images) / columns))
    figure = Figure(figsize=(columns * 1.25, rows * 1.55 + 0.6), layout="constrained")
    figure.suptitle(heading)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.axis("off")
    for row, (axes, image, title) in enumerate(zip(grid, images, titles)):
        axes.imshow(image, cmap="gray", vmin=0, vmax=255)
        axes.set_title(title, fontsize=8, color=_WRONG if row < len(wrong) and wrong[row] else "black")
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
