"""How far does accuracy depend on which digits were held out?

    python -m experiments.crossval [--folds 5] [--recipe quick] [--data mnist]      (about 2 minutes on two cores)

Stratified k-fold cross-validation over the training and validation digits; the test split is not read. Each network is
trained on k - 1 folds, less a twelfth by which its best epoch is chosen, and scored on the fold that it never saw.
Writes results/crossval.jsonl, a row a fold, and prints the mean with its 95 % interval.

Answer: by less than 0.2 points between folds; results/crossval.md has the table.
"""

import argparse
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from digitjax.base import device
from experiments.ledger import RESULTS, measured


def folds(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """The fold of each example, from 0: every class is spread over them evenly."""
    from digitjax.data.datasets import stratified

    return (stratified(labels, seed) * count).astype(np.int64)


def without(dataset: Any, fold: np.ndarray, out: int, seed: int) -> Any:
    """Splits that hold fold `out` back for scoring, and a twelfth of the others for choosing."""
    from digitjax.data.datasets import Splits, stratified

    held, others = np.flatnonzero(fold == out), np.flatnonzero(fold != out)
    choosing = stratified(dataset.labels[others], seed) >= 11 / 12
    parts = (dataset.take(rows) for rows in (others[~choosing], others[choosing], held))
    return Splits(f"fold {out}", *parts, checksum="", official=False)


def interval(values: np.ndarray) -> tuple[float, float]:
    """95 % by Student's t; folds share training digits, so that it is somewhat too narrow."""
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return values.mean() - half, values.mean() + half


def table(rows: list[dict]) -> str:
    lines = ["| fold | digits | accuracy, % | loss |", "|---|---|---|---|"]
    lines += [f"| {r['fold']} | {r['examples']:,} | {100 * r['accuracy']:.3f} | {r['loss']:.4f} |" for r in rows]
    accuracy = 100 * np.array([row["accuracy"] for row in rows])
    low, high = interval(accuracy)
    summary = f"{rows[0]['recipe']} on {rows[0]['data']}: {accuracy.mean():.3f} % ({low:.3f} to {high:.3f})"
    return "\n".join([*lines, "", f"{summary}, mean of {len(rows)} folds with its 95 % interval."])


def main() -> None:
    parser = argparse.ArgumentParser(description="Stratified k-fold cross-validation.")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--recipe", default="quick")
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--quick", action="store_true", help="two folds of mnist5k, and nothing is written")
    args = parser.parse_args()
    if args.quick:
        args.folds, args.data = 2, "mnist5k"
    device.prepare()
    from digitjax.base.config import RECIPES
    from digitjax.data import datasets
    from digitjax.training import fit, metrics, train
    from experiments.trials import least

    splits = datasets.load(args.data)
    whole = splits._replace(test=splits.validation.take(np.arange(0))).everything()
    config = least(replace(RECIPES[args.recipe], data=args.data), args.quick)
    fold = folds(whole.labels, args.folds, config.seed)

    def measure(fold_: int) -> Mapping[str, Any]:
        started = time.perf_counter()
        parts = without(whole, fold, fold_, config.seed)
        trained = fit.fit(config, parts)
        sums = train.evaluate(config.model, trained.variables, parts.test)
        seconds = round(time.perf_counter() - started, 1)
        figures = {"accuracy": metrics.accuracy(sums), "loss": metrics.mean_loss(sums)}
        return {"examples": len(parts.test.labels), **figures, "seconds": seconds}

    keys = [
        {"recipe": args.recipe, "data": args.data, "folds": args.folds, "fold": number} for number in range(args.folds)
    ]
    file: Path | None = None if args.quick else RESULTS / "crossval.jsonl"
    rows = measured(file, keys, lambda fold, **_: measure(fold))
    print(table(rows))
    if file:
        file.with_suffix(".md").write_text(table(rows) + "\n")


if __name__ == "__main__":
    main()
