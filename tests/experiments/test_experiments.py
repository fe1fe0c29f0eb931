"""Experiments: what they share holds, members trained together equal those trained alone, and each runs."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from digitjax.base.config import RECIPES, Config, ModelConfig, TrainingConfig
from digitjax.data.datasets import Dataset
from digitjax.network import model
from digitjax.training import fit, train
from experiments import (
    ablation,
    best,
    classic,
    crossval,
    ensemble,
    label_errors,
    ledger,
    lr_find,
    sizes,
    small,
    transfer,
    trials,
    tune,
)

ROOT = Path(__file__).parent.parent.parent
TINY = ModelConfig("tiny", (4, 6), (1, 1))


@given(st.integers(2, 7), st.integers(0, 2**31), st.integers(70, 200))
def test_k_folds_partition_and_hold_as_many_of_each_class(count, seed, size):
    labels = np.random.default_rng(seed).integers(0, 5, size).astype(np.int32)
    fold = crossval.folds(labels, count, seed)
    assert set(fold) <= set(range(count))
    by_class = np.array([[np.sum((fold == out) & (labels == label)) for out in range(count)] for label in range(5)])
    assert (np.ptp(by_class, axis=1) <= 1).all()


@given(st.integers(0, 2**31))
def test_every_example_is_scored_in_one_fold_and_never_trained_on_there(seed):
    labels = np.random.default_rng(seed).integers(0, 10, 300).astype(np.int32)
    numbered = np.zeros((300, 28, 28), np.uint8)
    numbered[:, 0, 0], numbered[:, 0, 1] = np.arange(300) // 256, np.arange(300) % 256
    dataset = Dataset(numbered, labels)
    fold = crossval.folds(labels, 3, seed)
    scored: list[int] = []
    for out in range(3):
        splits = crossval.without(dataset, fold, out, seed)
        parts = [
            (256 * part.images[:, 0, 0].astype(int) + part.images[:, 0, 1]).tolist()
            for part in (splits.train, splits.validation, splits.test)
        ]
        assert sorted(number for part in parts for number in part) == list(range(300))
        assert all(parts)
        scored += parts[2]
    assert sorted(scored) == list(range(300))


def test_the_interval_is_that_of_students_t():
    """Of 1, 2, 3, 4, 5: the mean 3, the deviation 1.5811, and t = 2.7764 for four degrees of freedom."""
    low, high = crossval.interval(np.arange(1.0, 6.0))
    assert (low, high) == pytest.approx((3 - 2.7764 * 0.70711, 3 + 2.7764 * 0.70711), abs=1e-4)


def test_a_ranking_puts_first_what_every_measure_suspects():
    rng = np.random.default_rng(0)
    planted = [3, 500, 999]
    measures = {name: rng.random(1000) for name in label_errors.MEASURES}
    for values in measures.values():
        values[planted] += 1
    order = label_errors.ranking(measures)
    assert set(order[:3].tolist()) == set(planted)
    assert sorted(order) == list(range(1000))
    assert label_errors.recall(order, [3, 500, 999, int(order[-1])]) == 3


def test_measures_of_an_example_agree_with_numpy_and_with_each_other():
    """The error is the gradient in the output's bias, so that of all weights together is no smaller."""
    rng, variables = np.random.default_rng(1), model.init(TINY, jax.random.key(0))
    images, labels = rng.integers(0, 256, (7, 28, 28), np.uint8), rng.integers(0, 10, 7).astype(np.int32)
    loss, gradient, error, disagreement = label_errors.judged(TINY, variables, images, labels).T
    logits = np.asarray(model.logits(TINY, variables, images), np.float64)
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(loss, -np.log(shares[np.arange(7), labels]), rtol=1e-5)
    np.testing.assert_allclose(error, np.linalg.norm(shares - np.eye(10)[labels], axis=1), rtol=1e-5)
    assert (gradient > error).all()
    assert disagreement.tolist() == (shares.argmax(1) != labels).tolist()


def test_the_parts_of_an_installation_are_all_of_it_and_share_nothing():
    found = dict(sizes.parts())
    ours = [names for part, names in found.items() if not part.startswith("extra")]
    assert set().union(*ours) == sizes.closure([("digitjax", "")]) - {"digitjax"}
    assert sum(map(len, found.values())) == len(set().union(*found.values()))
    with_extras = sizes.closure([("digitjax", ""), *(("digitjax", extra) for extra in sizes.EXTRAS)])
    assert set().union(*found.values()) == with_extras - {"digitjax"}
    assert sizes.megabytes(["jaxlib"]) > 100


def test_an_interrupted_ledger_goes_on_where_it_stopped(tmp_path):
    file, measured = tmp_path / "rows.jsonl", []

    def measure(number: int) -> dict[str, float]:
        if number == 2 and len(measured) == 2:
            raise KeyboardInterrupt
        measured.append(number)
        return {"square": float(number**2)}

    keys = [{"number": number} for number in range(4)]
    with pytest.raises(KeyboardInterrupt):
        ledger.measured(file, keys, measure)
    measured.append(-1)
    rows = ledger.measured(file, keys, measure)
    assert rows == [{"number": number, "square": float(number**2)} for number in range(4)]
    assert measured == [0, 1, -1, 2, 3]
    assert ledger.measured(file, keys, measure) == rows
    assert len(file.read_text().splitlines()) == 4


def test_a_spread_is_the_mean_and_the_deviation_of_a_sample():
    assert trials.spread([{"share": 0.98}, {"share": 1.0}], "share") == "99.000 ± 1.414"
    assert trials.spread([{"share": 0.98}], "share") == "98.000 (one run)"


def parameters(config: ModelConfig) -> int:
    return model.parameter_count(jax.eval_shape(lambda: model.init(config, jax.random.key(0))))


def test_networks_have_as_many_parameters_as_their_experiment_says():
    assert parameters(classic.SETUPS["225K parameters"].model) == 225_034
    assert all(parameters(design) < small.MOST == 10_000 for design in small.DESIGNS.values())
    assert parameters(best.AFFORDABLE.model) < parameters(best.LARGE.model) < best.MOST == 5_000_000


def test_every_ablation_changes_what_it_names_and_nothing_else():
    recipe = RECIPES["default"]
    found = {name: ablation.changed(recipe, change) for name, change in ablation.CHANGES.items()}
    assert len(set(found.values())) == len(found)
    assert found[ablation.RECIPE] == recipe
    for name, change in ablation.CHANGES.items():
        for part in {"model", "augment", "training"} - set(change):
            assert getattr(found[name], part) == getattr(recipe, part)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.recipe)
def test_a_search_can_propose_the_recipe_itself(recipe):
    values = tune.own_values(recipe)
    if 1e-3 <= values["learning_rate"] <= 5e-2 and values["weight_decay"] >= 1e-3:
        assert tune.proposed(optuna.trial.FixedTrial(dict(values)), recipe) == recipe


@pytest.mark.parametrize("storage", ["{}/study.journal", "sqlite:///{}/study.db"])
def test_a_search_goes_on_where_it_stopped(tmp_path, monkeypatch, few, storage):
    def learn(config, splits, on_epoch):
        row = {"epoch": 1, "validation_accuracy": 1 - config.training.learning_rate}
        on_epoch(row)
        return fit.Trained({}, [row], 1)

    monkeypatch.setattr(fit, "fit", learn)
    recipe, where = RECIPES["default"], storage.format(tmp_path)
    first = [trial.params for trial in tune.search(recipe, few, 3, where).trials]
    for enough in (5, 5):
        trials_ = tune.search(recipe, few, enough, where).trials
        assert len(trials_) == 5
        assert [trial.params for trial in trials_[:3]] == first
    assert first[0] == dict(tune.own_values(recipe))


@pytest.mark.parametrize("batch_norm", [True, False])
def test_a_member_trained_together_with_others_equals_its_solo_run(few, batch_norm):
    """To 1e-4 in the logits, which are of the order of 1: sums are rounded in another order."""
    config = Config(
        epochs=2,
        model=replace(TINY, batch_norm=batch_norm, dropout=0.2),
        augment=RECIPES["default"].augment,
        training=TrainingConfig("sgd", 0.1, ema=0.9),
    )
    seeds, read = (3, 0, 7), jax.jit(model.logits, static_argnums=0)
    for seed, variables in zip(seeds, ensemble.together(config, seeds, few)):
        alone = fit.fit(replace(config, seed=seed), few).variables
        mine, solo = (np.asarray(read(config.model, each, few.test.images)) for each in (variables, alone))
        np.testing.assert_allclose(mine, solo, atol=1e-4)


def test_disagreement_is_none_among_equals_and_ln_2_between_two_sure_opposites():
    same = np.full((3, 5, 10), 0.1)
    np.testing.assert_allclose(ensemble.disagreement(same), 0, atol=1e-12)
    opposite = np.eye(10)[[[0], [1]]]
    np.testing.assert_allclose(ensemble.disagreement(opposite), np.log(2))


def test_a_student_that_already_answers_like_its_teachers_learns_nothing_more(few):
    config = Config(
        model=replace(TINY, batch_norm=False), training=TrainingConfig("sgd", 0.1, weight_decay=0.0, ema=0.5)
    )
    mine, other = (train.create_state(replace(config, seed=seed), 10) for seed in (0, 1))
    teachers = {name: {"params": state.params, "batch_stats": {}} for name, state in (("self", mine), ("other", other))}
    moved = {}
    for name, teacher in teachers.items():
        student = train.create_state(config, 10)
        after = ensemble.distilling_step(config.compiled_part(), 10, student, [teacher], few.train.images[:64])
        apart = jax.tree.map(lambda a, b: float(abs(a - b).max()), after.params, mine.params)
        moved[name] = max(jax.tree.leaves(apart))
    assert moved["self"] < 1e-6 < 1e-3 < moved["other"]


@given(st.integers(0, 2**31), st.sampled_from(transfer.EACH))
def test_labels_are_drawn_as_many_of_each_class_and_fill_an_epoch(seed, each):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(10), 60)).astype(np.int32)
    numbered = np.zeros((600, 28, 28), np.uint8)
    numbered[:, 0, 0], numbered[:, 0, 1] = np.arange(600) // 256, np.arange(600) % 256
    found = transfer.drawn(Dataset(numbered, labels), each, seed)
    places = 256 * found.images[:, 0, 0].astype(int) + found.images[:, 0, 1]
    assert (labels[places] == found.labels).all()
    assert np.bincount(found.labels, minlength=10).tolist() == [max(transfer.EACH)] * 10
    assert np.bincount(labels[np.unique(places)], minlength=10).tolist() == [each] * 10


EXPERIMENTS = ("classic", "ablation", "tune", "crossval", "ensemble", "small", "best", "label_errors", "transfer")


@pytest.fixture
def run(compiled_sooner) -> Callable[..., "subprocess.Popen[str]"]:
    def started(name: str, *options: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", f"experiments.{name}", "--quick", *options]
        environment = os.environ | {"PYTHONPATH": str(ROOT)} | compiled_sooner
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    return started


def results() -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in ledger.RESULTS.iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_runs_quickly_prints_a_table_and_writes_nothing(name, run):
    before = results()
    out, err = run(name).communicate(timeout=300)
    assert "|---|" in out.replace(" ", ""), err
    assert results() == before


@pytest.mark.slow
def test_two_processes_work_on_one_study_until_it_has_enough_trials(tmp_path, run):
    journal = tmp_path / "study.journal"
    workers = [run("tune", "--storage", str(journal), "--trials", "4") for _ in range(2)]
    for worker in workers:
        _, err = worker.communicate(timeout=300)
        assert worker.returncode == 0, err
    (study,) = optuna.get_all_study_names(tune.opened(str(journal)))
    found = optuna.load_study(study_name=study, storage=tune.opened(str(journal))).trials
    done = [trial for trial in found if trial.state in tune.FINISHED]
    # Whoever is at work when the last trial ends finishes its own.
    assert 4 <= len(done) <= 5
    assert len({trial.user_attrs["worker"] for trial in done}) == 2
    assert [trial.number for trial in found] == list(range(len(found)))
    assert found[0].params == dict(tune.own_values(RECIPES["default"]))


def test_a_range_test_suggests_the_steepest_fall_of_the_loss_and_stops_before_it_is_no_number(few):
    rates = np.geomspace(1e-4, 10, 200)
    losses = 2.3 - 2 / (1 + (0.02 / rates) ** 3) + 5 * (rates > 1)
    assert lr_find.suggested(rates, losses) == pytest.approx(0.02, rel=0.2)
    config = replace(RECIPES["default"], batch_size=16, model=ModelConfig("small", (4, 6), (1, 1)))
    tried, found = lr_find.tested(config, few, 120)
    assert len(tried) == len(found) <= 120
    assert np.isfinite(found).all()
    assert (np.diff(tried) > 0).all()
    assert found.min() < 0.6 * found[0]
