"""Which learning rate should a recipe have? A range test (Smith 2017): one short training while the rate rises.

    python -m experiments.lr_find [--recipe default] [--data mnist] [--steps 400]      (half a minute on two cores)

Draws the loss by rate into outputs/lr_find.png and suggests the rate at which the loss falls fastest. A schedule's peak
may be somewhat higher; where the suggestion is far from a recipe's own, train both and compare on validation data.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

from digitjax.base import device
from digitjax.base.config import RECIPES, Config, named
from digitjax.data import datasets
from digitjax.report import plots
from digitjax.training import train

SMOOTHED = 0.95
"""The share of the mean so far in a loss that is shown."""


def tested(config: Config, splits: datasets.Splits, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Learning rates, and the smoothed training loss at each, until it is four times its least."""
    training = replace(config.training, schedule="rising", learning_rate=10.0, ema=0.0)
    config = replace(config, training=training, epochs=1)
    dataset, part = jax.device_put(splits.train), config.compiled_part()
    order = datasets.epoch_batches(config.seed, 0, len(splits.train.labels), config.batch_size)
    batches = np.resize(order, (steps, config.batch_size))
    rates = np.array([float(np.asarray(train.schedule(training, steps)(step))) for step in range(steps)])
    state, losses = train.create_state(config, steps), []
    for batch in batches:
        state, result = train.train_step(part, steps, state, dataset, batch)
        losses.append(float(result.loss))
        if not np.isfinite(losses[-1]) or losses[-1] > 4 * min(losses) + 1:
            break
    mean, shown = 0.0, []
    for step, loss in enumerate(np.nan_to_num(losses, nan=max(losses[0], 10.0)), 1):
        mean = SMOOTHED * mean + (1 - SMOOTHED) * loss
        shown.append(mean / (1 - SMOOTHED**step))
    return rates[: len(shown)], np.array(shown)


def suggested(rates: np.ndarray, losses: np.ndarray) -> float:
    """The rate at which the loss falls fastest, by its logarithm, before it is least."""
    least = max(2, int(losses.argmin()))
    slope = np.gradient(losses[: least + 1], np.log(rates[: least + 1]))
    return float(rates[int(slope.argmin())])


def main() -> None:
    parser = argparse.ArgumentParser(description="A learning-rate range test.")
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--data", default="auto")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--out", type=Path, default=Path("outputs/lr_find.png"))
    args = parser.parse_args()
    device.prepare(training=True)
    config = named("recipe", args.recipe, RECIPES)
    rates, losses = tested(config, datasets.load(args.data), args.steps)
    best = suggested(rates, losses)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    plots.save(plots.rates(rates, losses, best), args.out)
    own = f"the recipe {args.recipe} has {config.training.learning_rate:g}"
    print(f"suggested learning rate {best:.2g} ({own}); the loss by rate is in {args.out}")


if __name__ == "__main__":
    main()
