"""Confidence is calibrated and keeps the best guess; the limits refuse as many digits as they promise."""

from collections.abc import Sequence

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from digitjax.base.config import ModelConfig
from digitjax.network import model
from digitjax.reading import trust
from digitjax.reading.predict import Predictor

SEEDS = st.integers(0, 2**31)
CONFIG = ModelConfig("small", (4, 6), (1, 1), "VALID", True, "max")
VARIABLES = model.init(CONFIG, jax.random.key(0))


def sharpened(seed: int, sharpness: float, count: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from the softmax of logits, and those logits times `sharpness`: calibrated at that temperature."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(0, 2, (count, 10))
    chances = special.softmax(logits, axis=1).cumsum(1)
    labels = (draw.random((count, 1)) < chances).argmax(1).astype(np.int32)
    return sharpness * logits, labels


@given(SEEDS, st.floats(0.3, 4))
def test_the_temperature_undoes_a_sharpening(seed, sharpness):
    logits, labels = sharpened(seed, sharpness)
    assert trust.temperature(logits, labels) == pytest.approx(sharpness, rel=0.1)


@given(SEEDS, st.floats(0.1, 9))
def test_confidence_keeps_the_best_guess(seed, temperature):
    logits = np.random.default_rng(seed).normal(0, 3, (50, 10)).astype(np.float32)
    taught = learnt(seed)._replace(temperature=np.float32(temperature))
    probabilities, _ = trust.judge(taught, np.zeros((50, 28, 28), np.uint8), logits, embeddings(seed, 50))
    np.testing.assert_array_equal(np.argmax(probabilities, 1), logits.argmax(1))
    np.testing.assert_allclose(np.sum(probabilities, 1), 1, rtol=1e-5)


def embeddings(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed + 1).normal(0, 1, (count, 6)).astype(np.float32) @ np.diag(
        np.arange(1, 7, dtype=np.float32)
    )


def images(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(10, 90, (count, 28, 28)).astype(np.uint8)


def learnt(
    seed: int, count: int = 4000, refusal: float = trust.REFUSAL, shares: Sequence[float] = trust.SHARES
) -> trust.Trust:
    logits, labels = sharpened(seed, 1.0, count)
    near = embeddings(seed, count)
    return trust.learn(images(seed, count), logits.astype(np.float32), near, labels, refusal, shares)


@pytest.mark.parametrize("shares", [trust.SHARES, trust.SHARES_OF_LEARNT])
@pytest.mark.parametrize("refusal", [0.0, 0.008, 0.1])
def test_the_limits_refuse_their_share_of_fresh_digits(refusal, shares):
    count = 20_000
    taught = learnt(0, count, refusal, shares)
    assert np.isinf(taught.limits[3]) == (shares is trust.SHARES_OF_LEARNT)
    logits, _ = sharpened(1, 1.0, count)
    _, verdicts = trust.judge(taught, images(1, count), logits.astype(np.float32), embeddings(1, count))
    assert np.mean(np.asarray(verdicts) > 0) == pytest.approx(refusal, abs=0.1 * refusal + 0.002)


def taught_by(rows: np.ndarray, labels: np.ndarray) -> trust.Trust:
    logits = 5 * np.eye(10, dtype=np.float32)[labels]
    return trust.learn(images(0, len(rows)), logits, rows, labels)


@pytest.mark.parametrize("count", [40, 100, 400])
def test_few_digits_set_limits_that_fresh_ones_keep(count):
    """In a space so wide that each digit would be near a centre and a covariance of its own making."""
    draw, (_, labels) = np.random.default_rng(0), sharpened(0, 1.0, count + 1000)
    rows = (draw.normal(0, 3, (10, 64))[labels] + draw.normal(0, 1, (count + 1000, 64))).astype(np.float32)
    taught = taught_by(rows[:count], labels[:count])
    logits = 5 * np.eye(10, dtype=np.float32)[labels[count:]]
    _, verdicts = trust.judge(taught, images(1, 1000), logits, rows[count:])
    assert np.mean(np.asarray(verdicts) > 0) < 0.03


def test_the_limit_of_distance_is_that_of_digits_which_the_others_have_not_seen():
    draw, (_, labels) = np.random.default_rng(1), sharpened(1, 1.0, 160)
    rows = (draw.normal(0, 2, (10, 24))[labels] + draw.normal(0, 1, (160, 24))).astype(np.float32)
    others = [np.arange(160) != row for row in range(160)]
    far = [float(trust.distance(taught_by(rows[rest], labels[rest]), rows[~rest])[0]) for rest in others]
    share = 160 * trust.REFUSAL * trust.SHARES[1]
    expected = max(far) + np.std(far) * np.log(1 / share)
    assert taught_by(rows, labels).limits[3] == pytest.approx(expected, rel=0.03)


@given(SEEDS, st.floats(-50, 50))
def test_energy_is_low_where_a_class_stands_out_and_does_not_see_a_common_shift(seed, shift):
    logits = np.random.default_rng(seed).normal(0, 1, (20, 10)).astype(np.float32)
    outstanding = logits + 10 * np.eye(10, dtype=np.float32)[np.arange(20) % 10]
    assert (np.asarray(trust.energy(outstanding)) < np.asarray(trust.energy(logits))).all()
    np.testing.assert_allclose(trust.energy(logits + np.float32(shift)), trust.energy(logits), atol=1e-4)


def test_distance_is_mahalanobis_own():
    taught = learnt(3)
    points = embeddings(9, 200)
    _, labels = sharpened(3, 1.0)
    rows = embeddings(3, 4000).astype(np.float64)
    centres = np.stack([rows[labels == digit].mean(0) for digit in range(10)])
    precision = np.linalg.inv(np.cov((rows - centres[labels]).T, bias=True))
    apart = points[:, None] - centres
    expected = np.sqrt(np.einsum("ncd,de,nce->nc", apart, precision, apart).min(1))
    np.testing.assert_allclose(trust.distance(taught, points), expected, rtol=0.05)


@pytest.mark.parametrize("level", [0, 255])
def test_a_blank_and_a_filled_picture_are_not_digits_whatever_the_network_says(level):
    taught = learnt(0)
    flat = np.full((1, 28, 28), level, np.uint8)
    sure = np.eye(10, dtype=np.float32)[:1] * 30
    _, verdict = trust.judge(taught, flat, sure, np.asarray(taught.centres[:1]) * 0 + embeddings(0, 1) * 0)
    assert trust.VERDICTS[int(verdict[0])] == "not_a_digit"


def test_an_answer_does_not_depend_on_the_other_pictures(few):
    logits, embedding = model.logits_and_embedding(CONFIG, VARIABLES, few.validation.images)
    taught = trust.learn(few.validation.images, logits, embedding, few.validation.labels)
    predictor = Predictor(CONFIG, VARIABLES, taught)
    together = predictor.judge(few.test.images[:37])
    alone = [predictor.judge(few.test.images[row : row + 1]) for row in range(37)]
    np.testing.assert_array_equal(together.digits, np.concatenate([one.digits for one in alone]))
    np.testing.assert_array_equal(together.verdicts, np.concatenate([one.verdicts for one in alone]))
    np.testing.assert_allclose(together.probabilities, np.concatenate([one.probabilities for one in alone]), atol=1e-5)
