"""What experiments on recipes share: a command line, a training as a row of figures, what rows say."""

import argparse
import sys
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from digitjax.base import device
from digitjax.base.config import Config
from digitjax.data.datasets import Splits
from digitjax.network import model
from digitjax.training import checkpoint, fit, metrics, train
from digitjax.training.fit import Trained
from experiments.ledger import RESULTS

RUNS = Path("outputs/experiments")


def arguments(question: str | None, **numbers: int) -> argparse.ArgumentParser:
    """The command line of an experiment: --data, --quick, an option for each of `numbers`. JAX is made ready, too."""
    device.prepare()
    parser = argparse.ArgumentParser(description=(question or "").partition("\n")[0])
    parser.add_argument("--data", default="mnist")
    for name, number in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=number)
    parser.add_argument("--quick", action="store_true", help="the least of it on mnist5k, and nothing is written")
    if "--quick" in sys.argv:
        parser.set_defaults(data="mnist5k", **dict.fromkeys(numbers, 1))
    return parser


def least(config: Config, quick: bool) -> Config:
    """The config; where `quick`, the least of it that runs: one epoch of a narrow network."""
    narrow = replace(config.model, widths=tuple(min(8, width) for width in config.model.widths))
    return replace(config, epochs=1, model=narrow) if quick else config


def trained(config: Config, splits: Splits, run: Path | None) -> Trained:
    """`fit.fit`, which resumes in the folder `run`; None to keep nothing."""
    with checkpoint.open_run(run, config) if run else nullcontext():
        return fit.fit(config, splits, run)


def figures(config: Config, splits: Splits, found: Trained, tested: bool) -> dict[str, Any]:
    """A training as a row. Only what is no longer chosen by is `tested`, which reads the test split."""
    best = found.history[found.best_epoch - 1]
    row: dict[str, Any] = {"validation_accuracy": best["validation_accuracy"]}
    if tested:
        row["accuracy"] = metrics.accuracy(train.evaluate(config.model, found.variables, splits.test))
    return row | {
        "parameters": model.parameter_count(found.variables),
        "epochs_trained": len(found.history),
        "device": device.describe()["devices"][0],
    }


def spread(rows: Iterable[Mapping[str, Any]], name: str, digits: int = 3, scale: float = 100) -> str:
    """Mean and standard deviation."""
    values = scale * np.array([row[name] for row in rows])
    deviation = f"± {values.std(ddof=1):.{digits}f}" if len(values) > 1 else "(one run)"
    return f"{values.mean():.{digits}f} {deviation}"


def report(name: str, text: str, quick: bool) -> None:
    """Prints an experiment's table and keeps it in results/NAME.md."""
    print(text)
    if not quick:
        (RESULTS / f"{name}.md").write_text(text + "\n")
