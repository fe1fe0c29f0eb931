"""The step: one loss by two roads, one result by two loops, one compilation a shape, keys from (seed, step)."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from digitjax.base.config import AugmentConfig, Config, ModelConfig, TrainingConfig
from digitjax.data import datasets
from digitjax.network import model
from digitjax.training import train

SMALL = ModelConfig("small", (4, 6), (1, 1), "SAME", True, "max", dropout=0.2)
CONFIG = Config("test", epochs=1, batch_size=16, model=SMALL, augment=AugmentConfig(rotation=9.0, shift=1.0), seed=3)
SEEDS = st.integers(0, 2**31)


def with_training(**changes) -> Config:
    return dataclasses.replace(CONFIG, training=dataclasses.replace(CONFIG.training, **changes))


@given(SEEDS, st.floats(0, 0.9))
def test_integer_and_one_hot_labels_have_the_same_loss(seed, smoothing):
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(0, 5, (9, 10)).astype(np.float32), rng.integers(0, 10, 9).astype(np.int32)
    integers, rows = (
        train.loss(
            TrainingConfig(label_smoothing=smoothing, one_hot=one_hot), jax.numpy.array(logits), jax.numpy.array(labels)
        )
        for one_hot in (False, True)
    )
    np.testing.assert_allclose(integers, rows, rtol=1e-5)


def test_the_loss_of_a_uniform_guess_is_log_10_however_smooth_the_labels():
    for smoothing in (0.0, 0.1, 0.5):
        config = TrainingConfig(label_smoothing=smoothing)
        loss = train.loss(config, jax.numpy.zeros((4, 10)), jax.numpy.arange(4))
        assert float(loss) == pytest.approx(np.log(10))


TOTAL = 60
"""Steps of a training, part of the program: any number of them is run with one compilation."""


def run(config: Config, few, steps: int = 20) -> train.TrainState:
    dataset = jax.device_put(few.train)
    batches = np.resize(datasets.epoch_batches(config.seed, 0, 256, config.batch_size), (steps, config.batch_size))
    state = train.create_state(config, TOTAL)
    for indices in batches:
        state, _ = train.train_step(config.compiled_part(), TOTAL, state, dataset, indices)
    return state


def test_both_loops_give_the_same_weights_after_20_steps(few):
    batches = np.resize(datasets.epoch_batches(3, 0, 256, 16), (20, 16))
    whole, results = train.train_steps(
        CONFIG.compiled_part(), TOTAL, train.create_state(CONFIG, TOTAL), jax.device_put(few.train), batches
    )
    single = run(CONFIG, few)
    assert results.loss.shape == (20,)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), whole, single)
    assert int(whole.step) == 20


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ema": 0.0},
        {"optimizer": "sgd", "learning_rate": 0.1},
        {"optimizer": "muon", "learning_rate": 0.05},
        {"one_hot": True},
    ],
)
def test_training_learns(few, changes):
    config = with_training(**changes)
    before = train.evaluate(SMALL, train.evaluated_variables(train.create_state(config, TOTAL)), few.train)
    after = train.evaluate(SMALL, train.evaluated_variables(run(config, few, TOTAL)), few.train)
    assert after.loss < 0.8 * before.loss


@pytest.mark.parametrize("changes", [{}, {"optimizer": "muon", "learning_rate": 0.05}])
def test_bfloat16_follows_float32_for_20_steps_and_keeps_all_but_products_in_float32(few, changes):
    exact, rounded = (run(with_training(precision=name, **changes), few, 20) for name in ("float32", "bfloat16"))
    assert {leaf.dtype for leaf in jax.tree.leaves((rounded.params, rounded.batch_stats, rounded.average))} == {
        jnp.dtype("float32")
    }
    start = train.create_state(with_training(**changes), TOTAL)
    far, apart = (
        sum(((np.asarray(a) - b) ** 2).sum() for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(exact.params)))
        for one in (start.params, rounded.params)
    )
    assert 0 < apart < 0.05 * far
    losses = [train.evaluate(SMALL, train.evaluated_variables(one), few.train).loss for one in (exact, rounded)]
    assert losses[1] == pytest.approx(losses[0], rel=0.03)


def test_precision_is_chosen_by_the_device_unless_it_is_said(monkeypatch):
    large = dataclasses.replace(CONFIG, batch_size=512)
    assert train.precision(large) == "float32"
    assert train.precision(dataclasses.replace(large, training=TrainingConfig(precision="bfloat16"))) == "bfloat16"
    monkeypatch.setattr(train.device, "is_cpu", lambda: False)
    assert train.precision(large) == "bfloat16"
    assert train.precision(dataclasses.replace(large, batch_size=64)) == "float32"


def test_the_seed_fixes_everything_and_another_seed_changes_everything(few):
    one, again, other = (run(dataclasses.replace(CONFIG, seed=seed), few, 3) for seed in (3, 3, 4))
    jax.tree.map(np.testing.assert_array_equal, one, again)
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), one.params, other.params)
    assert changed["output"]["kernel"]


def test_one_shape_compiles_once(few):
    before = train.train_step._cache_size()
    config = dataclasses.replace(CONFIG, batch_size=8)
    for seed in range(3):
        run(dataclasses.replace(config, seed=seed, recipe=f"r{seed}", patience=seed), few, 4)
    assert train.train_step._cache_size() == before + 1
    before = train.eval_step._cache_size()
    variables = train.evaluated_variables(train.create_state(CONFIG, TOTAL))
    for size in (1, 9, 77, 100):
        train.evaluate(SMALL, variables, few.test.take(np.arange(size)), batch_size=24)
    # The data set is an argument of the step: another one is another shape, the batches of one are not.
    assert train.eval_step._cache_size() <= before + 4


@pytest.mark.parametrize("size", [1, 7, 33, 100, 256])
def test_evaluation_does_not_depend_on_the_batch_size(few, size):
    variables = train.evaluated_variables(run(CONFIG, few, 5))
    whole = train.evaluate(SMALL, variables, few.test)
    parts = train.evaluate(SMALL, variables, few.test, batch_size=size)
    np.testing.assert_array_equal(whole.confusion, parts.confusion)
    np.testing.assert_allclose(whole.loss, parts.loss, rtol=1e-5)
    rows = np.asarray(model.logits(SMALL, variables, few.test.images))
    assert np.trace(parts.confusion) == (rows.argmax(1) == few.test.labels).sum()


def test_no_augmentation_reaches_an_evaluation(few):
    variables = train.evaluated_variables(train.create_state(CONFIG, TOTAL))
    first, again = (train.evaluate(SMALL, variables, few.test) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, first, again)


@given(st.integers(2, 500), st.floats(0, 0.9), st.sampled_from(["constant", "cosine", "one_cycle"]))
def test_a_schedule_peaks_at_the_learning_rate_and_ends_low(steps, warmup, name):
    config = TrainingConfig(schedule=name, warmup=warmup, learning_rate=0.01)
    rates = np.array([train.schedule(config, steps)(step) for step in range(steps + 1)])
    assert rates.max() <= 0.01 * (1 + 1e-6)
    assert rates.min() >= 0
    if name == "constant":
        assert rates.min() == pytest.approx(0.01)
    else:
        peak = round(warmup * steps)
        assert rates[min(peak, steps)] == pytest.approx(0.01, rel=1e-3)
        assert rates[-1] <= 0.0031 * 0.01 or peak == steps
        assert (np.diff(rates[:peak]) >= 0).all()
        assert (np.diff(rates[peak:]) <= 1e-9).all()


def test_weight_decay_pulls_kernels_and_leaves_biases(few):
    state = train.create_state(CONFIG, TOTAL)
    config = TrainingConfig("sgd", 1.0, "constant", weight_decay=0.1)
    optimizer = train.optimizer(config, 1)
    zero = jax.tree.map(np.zeros_like, state.params)
    updates, _ = optimizer.update(zero, optimizer.init(state.params), state.params)
    moved: Any = optax.apply_updates(state.params, updates)
    # Nesterov momentum doubles a first gradient but for its decay: 1 + 0.9.
    np.testing.assert_allclose(moved["output"]["kernel"], 0.81 * state.params["output"]["kernel"], rtol=1e-5)
    np.testing.assert_array_equal(moved["norm_0"]["scale"], state.params["norm_0"]["scale"])


def test_the_average_is_the_one_that_its_formula_gives(few):
    state = train.create_state(with_training(ema=0.9), TOTAL)
    expected = np.asarray(state.average["params"]["output"]["kernel"], np.float64)
    for step in range(4):
        indices = np.arange(16, dtype=np.int32) + step
        state, _ = train.train_step(
            with_training(ema=0.9).compiled_part(), TOTAL, state, jax.device_put(few.train), indices
        )
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * np.asarray(state.params["output"]["kernel"])
    np.testing.assert_allclose(state.average["params"]["output"]["kernel"], expected, rtol=1e-5)
