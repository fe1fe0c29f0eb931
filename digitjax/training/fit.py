"""The loop over epochs: train, validate, keep the best, stop early; interrupted, it resumes as if it were not."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from digitjax.base import device, hosts
from digitjax.base.config import Config
from digitjax.base.errors import DigitjaxError, UsageError
from digitjax.data.datasets import Dataset, Splits, epoch_batches
from digitjax.network.model import AnyArray, Variables
from digitjax.training import checkpoint, metrics, train
from digitjax.training.checkpoint import History
from digitjax.training.train import StepResult, TrainState

OnEpoch = Callable[[Mapping[str, float | int]], None]
Track = Callable[[Iterable[np.ndarray]], Iterable[np.ndarray]]


class Trained(NamedTuple):
    """What a training gives: the weights of the epoch with the lowest validation loss, and how it went."""

    variables: Variables
    history: History
    best_epoch: int


class Stopping(NamedTuple):
    """Early stopping as a value: what was the lowest loss, and how long ago."""

    patience: int
    best: float = float("inf")
    epochs_since_best: int = 0

    def observe(self, validation_loss: float) -> "Stopping":
        if validation_loss < self.best:
            return self._replace(best=validation_loss, epochs_since_best=0)
        return self._replace(epochs_since_best=self.epochs_since_best + 1)

    @property
    def improved(self) -> bool:
        return self.epochs_since_best == 0

    @property
    def should_stop(self) -> bool:
        return 0 < self.patience <= self.epochs_since_best


def examples(config: Config, splits: Splits) -> int:
    """How many pictures an epoch has: the training part, and behind it what is generated."""
    size = len(splits.train.labels)
    return size + round(config.training.hands * size) + round(config.training.outliers * size)


def _learnt(config: Config, splits: Splits) -> Dataset:
    """What an epoch visits; see `examples`."""
    own, training = splits.train, config.training
    if not (training.hands or training.outliers):
        return own
    from digitjax.generated import hands, outliers  # OpenCV comes with them, and takes a while

    others = outliers.joined(own, training.outliers, config.seed, config.fonts)
    more = hands.joined_to(own, training.hands, config.seed, config.fonts).take(slice(len(own.labels), None))
    return Dataset(np.concatenate([others.images, more.images]), np.concatenate([others.labels, more.labels]))


def fit(
    config: Config,
    splits: Splits,
    run: Path | None = None,
    on_epoch: OnEpoch = lambda _: None,
    track: Track = iter,
    initial: Variables | None = None,
) -> Trained:
    """Trains to the end, from where the run folder stands, on all devices: those of all processes, if several joined.

    Args:
      run: the folder for checkpoints, opened by `checkpoint.open_run`; None to keep nothing on disk, as in every
        process but the first.
      on_epoch: is called after each epoch with its figures (the row of `metrics.jsonl`).
      track: wraps the batches of an epoch on their way to the device, for a progress bar.
      initial: weights to start from, in place of fresh ones.

    Raises:
      DigitjaxError: the loss is no longer a number, or a checkpoint cannot be read or written.
      UsageError: the devices cannot share a batch evenly.
    """
    started = time.perf_counter()
    devices = sharing(config.batch_size)
    learnt = _learnt(config, splits)
    steps_per_epoch = len(epoch_batches(config.seed, 0, len(learnt.labels), config.batch_size))
    total_steps = steps_per_epoch * config.epochs
    dataset, compiled = device.replicate(learnt, devices), config.compiled_part()
    like = jax.eval_shape(lambda: train.create_state(config, total_steps))
    last = checkpoint.restore_last(run, like) if run else None
    if last:
        state, history = last.state, list(last.history)
    elif devices or device.compiles_epochs():
        state, history = train.create_state(config, total_steps, initial), []
    else:
        state, history = train.start(config, total_steps, dataset, initial), []
    if devices:
        # Hosts of different kinds may round differently: all go on from the state of the first.
        state = device.replicate(multihost_utils.broadcast_one_to_all(state), devices)
        history = hosts.agree(history)
    stopping = reduce(Stopping.observe, (row["validation_loss"] for row in history), Stopping(config.patience))
    best = checkpoint.restore_best(run) if run and history else train.evaluated_variables(state)

    while len(history) < config.epochs and not stopping.should_stop:
        epoch = len(history)
        batches = epoch_batches(config.seed, epoch, len(learnt.labels), config.batch_size)
        state, results = run_epoch(compiled, total_steps, state, dataset, batches, track, devices)
        seconds = time.perf_counter() - started
        weights = train.evaluated_variables(state)
        # The training's own loss: by that of plain labels, a network that learns smoothed ones is best when young.
        validation = train.evaluate(
            config.model, weights, splits.validation, smoothing=config.training.label_smoothing, devices=devices
        )
        row = {
            "epoch": epoch + 1,
            "step": int(state.step),
            "training_loss": float(results.loss.mean()),
            "training_accuracy": float(results.accuracy.mean()),
            "validation_loss": metrics.mean_loss(validation),
            "validation_accuracy": metrics.accuracy(validation),
            "learning_rate": float(np.asarray(train.schedule(config.training, total_steps)(state.step - 1))),
            "seconds": round(seconds, 3),
            "images_per_second": round(batches.size / seconds, 1),
        }
        _require_finite(config, [row["validation_loss"]], state)
        history.append(row)
        stopping = stopping.observe(row["validation_loss"])
        if stopping.improved:
            # A copy: the next step takes the state's memory for its own result.
            best = jax.tree.map(np.array, weights)
        if run:
            if stopping.improved:
                checkpoint.save_best(run, weights, epoch + 1)
            checkpoint.save_last(run, state, history)
        on_epoch(row)
        started = time.perf_counter()

    losses = [row["validation_loss"] for row in history]
    return Trained(jax.device_put(best), history, int(np.argmin(losses)) + 1)


def run_epoch(
    config: Config,
    total_steps: int,
    state: TrainState,
    dataset: Dataset,
    batches: np.ndarray,
    track: Track = iter,
    devices: Any = None,
) -> tuple[TrainState, StepResult]:
    """All `batches` in their order, as one program or as one a step, whichever suits the device: the same result.

    The `devices` of a mesh share each batch; `state` and `dataset` lie whole on each of them.

    Raises:
      DigitjaxError: the loss of a step is not finite.
    """
    units, advance = ([batches], train.train_steps) if device.compiles_epochs() else (batches, train.train_step)
    rows: list[StepResult] = []
    for unit in track(units):
        state, result = advance(config, total_steps, state, dataset, device.divide(unit, devices), devices)
        rows.append(result)
        # A step behind, so that the device need not wait for this look.
        _require_finite(config, [row.loss for row in rows[-2:-1]], state, behind=1)
    results = StepResult(*(np.hstack(part) for part in zip(*rows)))
    _require_finite(config, results.loss, state)
    return state, results


def sharing(batch_size: int) -> Any:
    """The mesh of all devices, each of which takes the same share of a batch; None for one device alone.

    Raises:
      UsageError: they cannot share it evenly.
    """
    devices = device.data_parallel()
    if devices and (rest := batch_size % devices.size):
        fits = batch_size - rest + devices.size
        raise UsageError(f"batch_size is {batch_size}, which {devices.size} devices cannot share: give {fits}")
    return devices


def _require_finite(config: Config, losses: Sequence[Any] | AnyArray, state: TrainState, behind: int = 0) -> None:
    """Refuses to go on after a loss that is no number; `losses` end `behind` steps before `state`."""
    bad = np.flatnonzero(~np.isfinite(np.asarray(losses, np.float32)))
    if len(bad):
        step = int(state.step) - behind - len(losses) + int(bad[0]) + 1
        rate = f"lower --learning-rate (it is {config.training.learning_rate:g})"
        raise DigitjaxError(f"the loss at step {step} is {float(losses[bad[0]])}: {rate}; earlier checkpoints are kept")
