"""A resumed run equals an uninterrupted one; the best is the lowest validation loss; a broken run says where."""

import dataclasses
import shutil
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from digitjax.base import device, disk
from digitjax.base.config import Config, ModelConfig, TrainingConfig
from digitjax.base.errors import DigitjaxError, UsageError
from digitjax.data.datasets import epoch_batches
from digitjax.reading import artifact
from digitjax.training import checkpoint, fit, train
from digitjax.training.checkpoint import open_run
from digitjax.training.fit import Stopping

CONFIG = Config(
    "test",
    data="test",
    epochs=4,
    batch_size=32,
    model=ModelConfig("small", (4, 6), (1, 1), "SAME", True, "max", dropout=0.2),
    training=TrainingConfig(learning_rate=0.02),
)


class Killed(BaseException):
    pass


def same(left, right) -> None:
    jax.tree.map(np.testing.assert_array_equal, left, right)


def without_times(history):
    return [{name: value for name, value in row.items() if "second" not in name} for row in history]


@pytest.fixture(scope="module")
def uninterrupted(few):
    return fit.fit(CONFIG, few)


@pytest.mark.parametrize("killed_at", [(1, 3), (2, 0), (3, 7)])
def test_a_resumed_run_equals_an_uninterrupted_one(few, tmp_path, uninterrupted, killed_at):
    """Killed in mid-epoch, at a given epoch and step, as often as one likes."""
    epoch, step = killed_at
    started = 0

    def die(batches):
        nonlocal started
        started += 1
        for number, batch in enumerate(batches):
            if started == epoch + 1 and number == step:
                raise Killed
            yield batch

    with open_run(tmp_path, CONFIG) as progress, pytest.raises(Killed):
        assert progress == "new"
        fit.fit(CONFIG, few, tmp_path, track=die)
    with open_run(tmp_path, CONFIG) as progress:
        assert progress == "unfinished"
        resumed = fit.fit(CONFIG, few, tmp_path)
    same(resumed.variables, uninterrupted.variables)
    assert without_times(resumed.history) == without_times(uninterrupted.history)
    same(checkpoint.restore_best(tmp_path), uninterrupted.variables)


def test_what_is_kept_is_the_lowest_validation_loss(few, tmp_path):
    """With a learning rate at which the loss goes up and down."""
    config = dataclasses.replace(CONFIG, epochs=6, training=TrainingConfig("sgd", 0.9, "constant", warmup=0.0, ema=0.0))
    with open_run(tmp_path, config):
        trained = fit.fit(config, few, tmp_path)
    losses = [row["validation_loss"] for row in trained.history]
    assert len({round(loss, 6) for loss in losses}) > 1
    assert trained.best_epoch == int(np.argmin(losses)) + 1
    for variables in (trained.variables, checkpoint.restore_best(tmp_path)):
        sums = train.evaluate(config.model, variables, few.validation, smoothing=config.training.label_smoothing)
        assert sums.loss / sums.weight == pytest.approx(min(losses), rel=1e-6)


@given(st.lists(st.floats(0, 9), min_size=1, max_size=20), st.integers(0, 5))
def test_stopping_counts_the_epochs_since_the_lowest_loss(losses, patience):
    stopping = Stopping(patience)
    for loss in losses:
        stopping = stopping.observe(loss)
    assert stopping.best == min(losses)
    assert stopping.epochs_since_best == len(losses) - 1 - int(np.argmin(losses))
    assert stopping.should_stop == (0 < patience <= stopping.epochs_since_best)


def test_training_stops_early_and_stays_stopped_when_resumed(few, tmp_path):
    config = dataclasses.replace(
        CONFIG, epochs=50, patience=2, training=TrainingConfig("sgd", 1e-9, "constant", warmup=0.0, ema=0.0)
    )
    worse = few._replace(validation=few.validation._replace(labels=(few.validation.labels + 1) % 10))
    with open_run(tmp_path, config):
        trained = fit.fit(config, worse, tmp_path)
        assert len(trained.history) < 50
        assert len(trained.history) == trained.best_epoch + 2
        again = fit.fit(config, worse, tmp_path)
    assert again.history == trained.history
    same(again.variables, trained.variables)


@pytest.mark.parametrize("whole_epochs", [False, True])
def test_a_loss_that_is_no_number_stops_the_run_and_names_the_step(few, tmp_path, monkeypatch, whole_epochs):
    monkeypatch.setattr(device, "compiles_epochs", lambda: whole_epochs)
    # Each step multiplies the kernels by 1 - 3 and more, until they are no numbers any more.
    explosive = TrainingConfig("sgd", 3.0, "constant", warmup=0.0, weight_decay=1.0, ema=0.0)
    config = dataclasses.replace(CONFIG, epochs=20, training=explosive)
    state, dataset = train.create_state(config, 160), jax.device_put(few.train)
    losses = np.zeros(0)
    # By the same compiled unit: near the end of float32 another order of sums ends a step earlier or later.
    while np.isfinite(losses).all():
        batches = epoch_batches(config.seed, len(losses) // 8, 256, 32)
        units, run = ([batches], train.train_steps) if whole_epochs else (batches, train.train_step)
        for unit in units:
            state, result = run(config.compiled_part(), 160, state, dataset, unit)
            losses = np.append(losses, result.loss)
    steps = int(np.isfinite(losses).argmin()) + 1
    assert steps > 8
    with open_run(tmp_path, config):
        with pytest.raises(DigitjaxError, match=rf"the loss at step {steps} is (nan|inf)"):
            fit.fit(config, few, tmp_path)
        last = checkpoint.restore_last(tmp_path, train.create_state(config, 160))
    assert len(last.history) == (steps - 1) // 8
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(checkpoint.restore_best(tmp_path)))


def test_an_epoch_as_one_program_trains_as_well(few, tmp_path, monkeypatch, uninterrupted):
    monkeypatch.setattr(device, "compiles_epochs", lambda: True)
    trained = fit.fit(CONFIG, few)
    for left, right in zip(trained.history, uninterrupted.history):
        assert left["validation_loss"] == pytest.approx(right["validation_loss"], abs=0.02)


# --- the folder ---


def test_another_config_does_not_enter_a_runs_folder(few, tmp_path):
    other = dataclasses.replace(CONFIG, epochs=9)
    with open_run(tmp_path, CONFIG):
        pass
    with pytest.raises(UsageError, match=r"epochs 4 there, 9 here.*--run-dir"), open_run(tmp_path, other):
        pass
    with open_run(tmp_path, other, fresh=True) as progress:
        assert progress == "new"


def test_a_folder_of_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="--run-dir"), open_run(tmp_path, CONFIG):
        pass
    with open_run(tmp_path, CONFIG, fresh=True):
        pass
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_two_trainings_do_not_share_a_folder(tmp_path):
    with open_run(tmp_path, CONFIG), pytest.raises(DigitjaxError, match="another process"), open_run(tmp_path, CONFIG):
        pass


def test_fresh_starts_over(few, tmp_path, uninterrupted):
    config = dataclasses.replace(CONFIG, epochs=1)
    with open_run(tmp_path, config):
        fit.fit(config, few, tmp_path)
    with open_run(tmp_path, CONFIG, fresh=True):
        trained = fit.fit(CONFIG, few, tmp_path)
    same(trained.variables, uninterrupted.variables)


@pytest.mark.parametrize("kind", ["last", "best"])
def test_an_unreadable_checkpoint_is_said_plainly(few, tmp_path, kind):
    with open_run(tmp_path, CONFIG):
        fit.fit(dataclasses.replace(CONFIG, epochs=1), few, tmp_path)
    for file in (tmp_path / "checkpoints" / kind).rglob("*"):
        if file.is_file():
            file.write_bytes(b"rubbish")
    with open_run(tmp_path, CONFIG), pytest.raises(DigitjaxError, match=r"cannot be read.*--fresh"):
        fit.fit(CONFIG, few, tmp_path)


@pytest.mark.torture
@pytest.mark.parametrize("kind", ["last", "best"])
def test_a_number_that_was_changed_on_disk_is_found_whichever_it_is(few, tmp_path, kind, monkeypatch):
    """As a flipped bit would: Orbax's files carry no checksum, and what it reads is read back changed."""
    config = dataclasses.replace(CONFIG, epochs=1)
    with open_run(tmp_path, CONFIG):
        fit.fit(config, few, tmp_path)
    like = train.create_state(CONFIG, 32)
    assert checkpoint.restore_last(tmp_path, like)
    restored = checkpoint._fitting
    leaves = jax.tree.leaves(like if kind == "last" else train.evaluated_variables(like))
    for place in range(len(leaves)):

        def flipped(found: Any, wanted: Any, place: int = place) -> Any:
            parts, structure = jax.tree.flatten(restored(found, wanted))
            if len(parts) == len(leaves):
                old = np.asarray(parts[place])
                content = bytearray(old.tobytes())
                content[-1] ^= 1
                parts[place] = np.frombuffer(bytes(content), old.dtype).reshape(old.shape)
            return jax.tree.unflatten(structure, parts)

        monkeypatch.setattr(checkpoint, "_fitting", flipped)
        with pytest.raises(DigitjaxError, match=f"the {kind} checkpoint .* is damaged .*--f"):
            checkpoint.restore_last(tmp_path, like) if kind == "last" else checkpoint.restore_best(tmp_path)


@pytest.mark.slow
@pytest.mark.torture
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # tasks that Orbax leaves after an error
def test_a_bit_that_flipped_anywhere_in_a_checkpoint_is_found_or_changes_nothing(few, tmp_path):
    """585 damaged files, one bit each, in turns over all that a checkpoint is made of."""
    with open_run(tmp_path, CONFIG):
        fit.fit(dataclasses.replace(CONFIG, epochs=1), few, tmp_path)
    like, draw = train.create_state(CONFIG, 32), np.random.default_rng(0)
    last, best = checkpoint.restore_last(tmp_path, like), checkpoint.restore_best(tmp_path)
    assert last
    files = [file for file in sorted((tmp_path / "checkpoints").rglob("*")) if file.is_file() and file.stat().st_size]
    found = 0
    for number in range(585):
        file = files[number % len(files)]
        whole = file.read_bytes()
        place = int(draw.integers(len(whole)))
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << int(draw.integers(8))]) + whole[place + 1 :])
        for restore, expected in ((lambda: checkpoint.restore_last(tmp_path, like), last),
                                  (lambda: checkpoint.restore_best(tmp_path), best)):  # fmt: skip
            try:
                given = restore()
            except DigitjaxError:
                found += 1
            else:
                same(given, expected)
        file.write_bytes(whole)
    assert found > 100


@pytest.mark.torture
def test_the_best_weights_of_a_run_whose_last_state_is_damaged_are_offered_and_taken(few, tmp_path, monkeypatch):
    with open_run(tmp_path, CONFIG):
        fit.fit(dataclasses.replace(CONFIG, epochs=1), few, tmp_path)
    best = checkpoint.restore_best(tmp_path)
    config, variables = artifact.weights(str(tmp_path))
    assert config == CONFIG.model
    same(variables, best)
    whole = checkpoint._damaged
    monkeypatch.setattr(
        checkpoint,
        "_damaged",
        lambda known, tree, *more: "step" if hasattr(tree, "step") else whole(known, tree, *more),
    )
    with pytest.raises(DigitjaxError, match=f"best weights are whole: .*--from {tmp_path}"):
        checkpoint.restore_last(tmp_path, train.create_state(CONFIG, 32))


@pytest.mark.parametrize("kind", ["last", "best"])
def test_a_checkpoint_of_another_model_is_refused_and_left_as_it_is(few, tmp_path, kind):
    for name, widths in {"mine": (4, 6), "other": (5, 6)}.items():
        config = dataclasses.replace(CONFIG, epochs=1, model=dataclasses.replace(CONFIG.model, widths=widths))
        with open_run(tmp_path / name, config):
            fit.fit(config, few, tmp_path / name)
    shutil.rmtree(tmp_path / "mine/checkpoints" / kind)
    shutil.copytree(tmp_path / "other/checkpoints" / kind, tmp_path / "mine/checkpoints" / kind)
    before = {file: file.read_bytes() for file in (tmp_path / "mine").rglob("*") if file.is_file()}
    with pytest.raises(DigitjaxError, match=r"of another model: .* has the shape .*--fresh"):
        fit.fit(CONFIG, few, tmp_path / "mine")
    assert {file: file.read_bytes() for file in (tmp_path / "mine").rglob("*") if file.is_file()} == before


def test_a_missing_checkpoint_says_how_to_make_one(tmp_path):
    with pytest.raises(DigitjaxError, match="digitjax train"):
        checkpoint.restore_best(tmp_path)
    with open_run(tmp_path, CONFIG), pytest.raises(DigitjaxError, match="finish an epoch"):
        checkpoint.restore_best(tmp_path)


def test_a_folder_that_is_emptied_in_training_is_told(few, tmp_path):
    def empty(_: Any) -> None:
        shutil.rmtree(tmp_path / "run")

    with pytest.raises(DigitjaxError, match="is gone or was emptied"), open_run(tmp_path / "run", CONFIG):
        fit.fit(CONFIG, few, tmp_path / "run", empty)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    file = tmp_path / "figures.json"
    disk.write_text(file, "old")

    def full(temporary):
        temporary.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(DigitjaxError, match="No space left"):
        disk.write_file(file, full)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]
