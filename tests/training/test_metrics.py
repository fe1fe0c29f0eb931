"""Sums merge in any order, agree with scikit-learn, and know the answers that are known."""

import math

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from digitjax.training import metrics

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


@given(SEEDS)
def test_auroc_and_brier_agree_with_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    strange, clean = rng.integers(0, 9, 40) / 10 + 0.2, rng.integers(0, 9, 50) / 10
    truth = np.repeat([1, 0], [40, 50])
    expected = sklearn_metrics.roc_auc_score(truth, np.concatenate([strange, clean]))
    assert metrics.auroc(strange, clean) == pytest.approx(expected)
    shares = rng.dirichlet(np.ones(10), 50)
    labels = rng.integers(0, 10, 50)
    expected = sum(sklearn_metrics.mean_squared_error(labels == digit, shares[:, digit]) for digit in range(10))
    assert metrics.brier(shares, labels) == pytest.approx(expected)


def test_a_source_that_means_its_probabilities_is_calibrated():
    """Labels drawn from the very probabilities: the calibration error tends to 0 as the draws grow."""
    rng = np.random.default_rng(0)
    errors = []
    for size in (500, 50_000):
        logits = rng.normal(0, 2, (size, 10)).astype(np.float32)
        shares = np.asarray(jax.nn.softmax(logits), np.float64)
        labels = (shares.cumsum(1) < rng.random((size, 1)) * shares.sum(1, keepdims=True)).sum(1).astype(np.int32)
        errors.append(metrics.expected_calibration_error(totals(logits, labels, np.ones(size, np.float32))))
    assert errors[1] < 0.01 < errors[0]


@given(SEEDS)
def test_risk_by_coverage_ends_at_the_error_and_starts_at_the_surest(seed):
    rng = np.random.default_rng(seed)
    confidences, right = rng.random(30), rng.random(30) < 0.7
    risk = metrics.risk_by_coverage(confidences, right)
    assert risk[-1] == pytest.approx(1 - right.mean())
    for kept in (1, 7, 30):
        surest = confidences >= np.sort(confidences)[-kept]
        assert risk[kept - 1] == pytest.approx(1 - right[surest].mean())


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemars_test_is_that_of_a_fair_coin(only_first, only_second):
    """By summing the binomial tails, and mirrored when the two change places."""
    found, mirrored = metrics.paired(only_first, only_second, 200), metrics.paired(only_second, only_first, 200)
    n, least = only_first + only_second, min(only_first, only_second)
    tail = sum(math.comb(n, k) for k in range(least + 1)) / 2**n
    assert found.p_value == pytest.approx(min(1.0, 2 * tail))
    assert found.difference == pytest.approx((only_first - only_second) / 200)
    assert found.low < found.difference < found.high
    assert mirrored == pytest.approx((-found.difference, -found.high, -found.low, found.p_value))


def test_the_interval_of_a_difference_holds_it_in_95_of_100_draws():
    rng = np.random.default_rng(0)
    draws = rng.multinomial(1000, [0.03, 0.01, 0.96], 4000)
    found = [metrics.paired(int(a), int(b), 1000) for a, b, _ in draws]
    held = np.mean([row.low <= 0.02 <= row.high for row in found])
    assert 0.935 <= held <= 0.97
