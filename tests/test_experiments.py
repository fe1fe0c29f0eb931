"""What experiments share: folds partition, rankings find what is planted, an interrupted ledger goes on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from digitjax.data import Dataset
from experiments import crossval, label_errors, ledger


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
