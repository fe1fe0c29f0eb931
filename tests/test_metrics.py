"""Sums merge in any order, agree with scikit-learn, and know the answers that are known."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from digitjax import metrics

SEEDS = st.integers(0, 2**31)
totals = jax.jit(metrics.totals)


def answers(seed: int, rows: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(0, 2, (rows, 10)).astype(np.float32), rng.integers(0, 10, rows).astype(np.int32)


@given(SEEDS)
def test_figures_agree_with_scikit_learn(seed):
    logits, labels = answers(seed)
    sums = totals(logits, labels, np.ones(60, np.float32))
    guesses = logits.argmax(1)
    probabilities = np.asarray(jax.nn.softmax(logits), np.float64)
    probabilities /= probabilities.sum(1, keepdims=True)
    classes = list(range(10))
    assert metrics.accuracy(sums) == pytest.approx(sklearn_metrics.accuracy_score(labels, guesses))
    assert metrics.mean_loss(sums) == pytest.approx(
        sklearn_metrics.log_loss(labels, probabilities, labels=classes), rel=1e-5
    )
    np.testing.assert_array_equal(sums.confusion, sklearn_metrics.confusion_matrix(labels, guesses, labels=classes))
    expected = sklearn_metrics.precision_recall_fscore_support(labels, guesses, labels=classes, zero_division=0)
    for row, *values in zip(metrics.per_class(np.asarray(sums.confusion)), *expected):
        assert [row[name] for name in ("precision", "recall", "f1", "support")] == pytest.approx(values)
        assert row["accuracy"] == row["recall"]


@given(SEEDS, st.integers(1, 59))
def test_sums_of_parts_are_the_sum_of_the_whole(seed, cut):
    logits, labels = answers(seed)
    whole = totals(logits, labels, np.ones(60, np.float32))
    first = (np.arange(60) < cut).astype(np.float32)
    parts = totals(logits, labels, first).merge(totals(logits, labels, 1 - first))
    for left, right in zip(whole, parts):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-5)


@given(SEEDS)
def test_a_row_of_weight_0_counts_for_nothing_whatever_it_holds(seed):
    logits, labels = answers(seed)
    weights = np.random.default_rng(seed).integers(0, 2, 60).astype(np.float32)
    spoilt = np.where(weights[:, None] > 0, logits, np.float32(np.nan))
    for clean, dirty in zip(totals(logits, labels, weights), totals(spoilt, labels, weights)):
        if clean.shape != (metrics.BINS,):
            np.testing.assert_array_equal(clean, dirty)


def test_the_loss_of_a_uniform_guess_is_log_10():
    sums = totals(np.zeros((60, 10), np.float32), answers(0)[1], np.ones(60, np.float32))
    assert metrics.mean_loss(sums) == pytest.approx(np.log(10))


@pytest.mark.parametrize(("share_right", "expected"), [(0.8, 0.0), (0.5, 0.3), (1.0, 0.2)])
def test_the_calibration_error_of_a_known_source_is_known(share_right, expected):
    """A source that says 80 % and is right in a given share of cases is off by the difference."""
    size = 6000
    logits = np.zeros((size, 10), np.float32)
    logits[:, 3] = np.log(0.8 / (0.2 / 9))
    labels = np.where(np.arange(size) < share_right * size, 3, 4).astype(np.int32)
    sums = totals(logits, labels, np.ones(size, np.float32))
    assert metrics.expected_calibration_error(sums) == pytest.approx(expected, abs=1e-4)


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_wilsons_interval_holds_the_share_and_solves_its_equation(examples, share):
    right = round(share * examples)
    low, high = metrics.wilson(right, examples)
    assert 0 <= low <= right / examples <= high <= 1
    # By definition the bounds are the shares p from which the observed one is z standard errors away.
    for bound in {low, high} - {right / examples}:
        assert abs(right / examples - bound) == pytest.approx(
            1.959964 * np.sqrt(bound * (1 - bound) / examples), rel=1e-6, abs=1e-9
        )


def test_wilson_of_nothing_knows_nothing():
    assert metrics.wilson(0, 0) == (0.0, 1.0)
