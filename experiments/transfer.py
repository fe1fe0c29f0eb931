"""How many labels does a network need that has learnt other digits before?

    python -m experiments.transfer [--seeds 5] [--data mnist] [--target digits8x8]    (about 5 minutes on two cores)

Trains the recipe `quick` on --data, then goes on with 1, 5, 10 or 50 pictures a class of --target, and does the same
from fresh weights. The target is scikit-learn's 1,797 digits of 8 x 8 pixels (Alpaydin and Kaynak 1998: other writers,
other scanner) in MNIST's form, or any name that `digitjax train --data` takes. Its second half is the test; the labels
are drawn from the first. Writes results/transfer.jsonl, .md and .png.

Answer: what was learnt before is worth more than ten labels a class. With no label at all it reads more of the new
digits than fresh weights that learn from ten; one label a class adds nothing sure; with fifty, fresh weights have
nearly caught up. See results/transfer.md.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from digitjax.base.config import RECIPES, Config, TrainingConfig
from digitjax.data import datasets
from digitjax.data.datasets import Dataset, Splits, stratified
from digitjax.picture.canonical import canonical
from digitjax.report import plots
from digitjax.training import fit, metrics, train
from experiments.ledger import RESULTS, measured
from experiments.tables import table
from experiments.trials import RUNS, arguments, least, report, spread, trained

EACH = (1, 5, 10, 50)
"""Labelled pictures a class."""
EPOCHS, BATCH = 20, 50
RATES = {"pretrained": 1e-3, "fresh": 8e-3}
"""Learning rates: what has been learnt is changed gently."""


def digits8x8() -> Dataset:
    from sklearn.datasets import load_digits

    rows, labels = (np.asarray(part) for part in load_digits(return_X_y=True))
    pictures = (rows * 15).astype(np.uint8).reshape(-1, 8, 8)
    return Dataset(np.stack([canonical(picture) for picture in pictures]), labels.astype(np.int32))


def halves(target: str) -> tuple[Dataset, Dataset]:
    """The pool that labels are drawn from, and the test."""
    if target != "digits8x8":
        splits = datasets.load(target)
        return splits.train, splits.test
    whole = digits8x8()
    middle = len(whole.labels) // 2
    return whole.take(np.arange(middle)), whole.take(np.arange(middle, len(whole.labels)))


def drawn(pool: Dataset, each: int, seed: int) -> Dataset:
    """As many of each class, at random, repeated until an epoch is as long for few as for many."""
    order = np.argsort(stratified(pool.labels, seed), kind="stable")
    rows = np.concatenate([order[pool.labels[order] == label][:each] for label in range(10)])
    return pool.take(np.resize(rows, 10 * max(EACH)))


def configured(start: str, seed: int) -> Config:
    training = TrainingConfig(learning_rate=RATES[start], ema=0.98)
    return replace(RECIPES["default"], seed=seed, epochs=EPOCHS, batch_size=BATCH, training=training)


def picture(rows: list[dict[str, Any]], target: str) -> Figure:
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for kind in RATES:
        sizes = sorted({row["each"] for row in rows if row["start"] == kind and row["each"]})
        values = [[100 * row["accuracy"] for row in rows if (row["start"], row["each"]) == (kind, n)] for n in sizes]
        deviations = [np.std(value, ddof=min(1, len(value) - 1)) for value in values]
        axes.errorbar(sizes, np.mean(values, axis=1), deviations, fmt="o-", capsize=3, label=kind)
    without = np.mean([100 * row["accuracy"] for row in rows if not row["each"]])
    axes.axhline(float(without), color="gray", ls="--", label="pretrained, no label")
    axes.set(xscale="log", xlabel="labelled pictures a class", ylabel="test accuracy, %", title=f"Learning {target}")
    axes.set_xticks(EACH, [str(each) for each in EACH])
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


def main() -> None:
    parser = arguments(__doc__, seeds=5)
    parser.add_argument("--target", default="digits8x8")
    args = parser.parse_args()
    file: Path | None = None if args.quick else RESULTS / "transfer.jsonl"
    pool, test = halves(args.target)
    first = least(replace(RECIPES["quick"], data=args.data), args.quick)
    run = None if args.quick else RUNS / "transfer" / args.data
    before = trained(first, datasets.load(args.data), run).variables

    def measure(start: str, each: int, seed: int, **_: object) -> Mapping[str, Any]:
        variables = before
        if each:
            few = drawn(pool, each, seed)
            # Nothing is held back for choosing an epoch: so few labels are all for learning.
            splits = Splits(args.target, few, few, test, checksum="", official=False)
            config = least(configured(start, seed), args.quick)
            variables = fit.fit(config, splits, initial=before if start == "pretrained" else None).variables
        return {"accuracy": metrics.accuracy(train.evaluate(first.model, variables, test))}

    sizes = EACH[:1] if args.quick else EACH
    common = {"data": args.data, "target": args.target}
    keys = [common | {"start": "pretrained", "each": 0, "seed": 0}]
    keys += [
        common | {"start": start, "each": each, "seed": seed}
        for each in sizes
        for start in RATES
        for seed in range(args.seeds)
    ]
    rows = measured(file, keys, measure)

    def cell(start: str, each: int) -> str:
        return spread([row for row in rows if (row["start"], row["each"]) == (start, each)], "accuracy", 2)

    lines = [(0, cell("pretrained", 0), "")]
    lines += [(each, cell("pretrained", each), cell("fresh", each)) for each in sizes]
    head = f"labelled pictures a class | pretrained on {args.data}: test accuracy, % | fresh: test accuracy, %"
    about = f"{args.target}, {len(test.labels):,} test pictures, {args.seeds} draws of labels."
    report("transfer", f"{table(head, lines)}\n\n{about}", args.quick)
    if file:
        plots.save(picture(rows, args.target), file.with_suffix(".png"))


if __name__ == "__main__":
    main()
