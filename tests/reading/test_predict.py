"""A predictor gives the model's own logits for any number of pictures, from any thread."""

import contextlib
import functools
from concurrent.futures import ThreadPoolExecutor

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from digitjax.base import device
from digitjax.base.config import ModelConfig
from digitjax.generated import hands
from digitjax.network import model
from digitjax.picture.canonical import fitted
from digitjax.picture.pixels import PictureError
from digitjax.reading import predict, strips
from digitjax.reading.predict import DOUBT, LARGEST, Judged, Predictor, _parts, together

CONFIG = ModelConfig("small", (4, 6), (1, 1), "VALID", False, "flatten", hidden=8)
VARIABLES = model.init(CONFIG, jax.random.key(0))
IMAGES = np.random.default_rng(0).integers(0, 256, (2 * LARGEST + 7, 28, 28)).astype(np.uint8)
LOGITS = np.asarray(model.logits(CONFIG, VARIABLES, IMAGES))
loaded = functools.cache(predict.load)


@given(st.integers(0, 500))
def test_the_parts_of_a_batch_are_all_of_it_in_order_in_few_sizes(count):
    parts = list(_parts(count))
    assert [place for part in parts for place in range(part.start, part.stop)] == list(range(count))
    assert {part.stop - part.start for part in parts} <= {1, 2, 4, 8, 16, 32}


@pytest.mark.parametrize("cpu", [True, False])
def test_the_logits_are_the_models_own_however_many(monkeypatch, cpu):
    monkeypatch.setattr(device, "is_cpu", lambda: cpu)
    monkeypatch.setattr(predict, "LARGEST_OF_AN_ACCELERATOR", 64)
    predictor = Predictor(CONFIG, VARIABLES)
    for count in (0, 1, 5, LARGEST, len(IMAGES)):
        rows = predictor.logits(IMAGES[:count])
        assert rows.shape == (count, 10)
        np.testing.assert_allclose(rows, LOGITS[:count], atol=1e-4)


def test_threads_may_share_a_predictor():
    predictor = Predictor(CONFIG, VARIABLES)
    with ThreadPoolExecutor(8) as threads:
        for rows in threads.map(predictor.logits, [IMAGES] * 24):
            np.testing.assert_allclose(rows, LOGITS, atol=1e-4)


def test_a_second_network_is_asked_where_the_first_doubts_and_there_alone():
    """Digits of hands that none learnt from; the reference is the line network's own sum over all ways."""
    digits = hands.digits((np.arange(600) % 10).astype(np.int32), 4321)
    predictor = loaded()
    alone, both = predictor.judge_alone(digits.images), predictor.judge(digits.images)
    doubted = alone.confidences < DOUBT
    assert 20 < doubted.sum() < 200
    for before, after in zip(alone, both):
        np.testing.assert_array_equal(before[~doubted], after[~doubted])
    for place in np.flatnonzero(doubted)[:40]:
        larger = np.pad(cv2.resize(digits.images[place], (33, 33), interpolation=cv2.INTER_LINEAR), ((3, 4), (3, 4)))
        (seen,) = strips.load().log_shares([larger])
        own = np.array([strips.log_probability(seen, np.array([digit], np.int32)) for digit in range(10)])
        product = alone.probabilities[place].astype(float) * np.exp(own - np.logaddexp.reduce(own))
        expected = np.sqrt(product + 1e-12) / np.sqrt(product + 1e-12).sum()
        np.testing.assert_allclose(both.probabilities[place], expected, atol=2e-3)
    wrong = [(judged.digits != digits.labels).sum() for judged in (alone, both)]
    assert wrong[1] <= 0.6 * wrong[0]


@given(st.integers(0, 2**32 - 1))
def test_what_two_networks_say_together_is_a_distribution_and_never_makes_a_digit_of_none(seed):
    draw = np.random.default_rng(seed)
    rows = draw.dirichlet(np.full(10, 0.2), 30).astype(np.float32)
    alone = Judged(rows.argmax(1).astype(np.int32), rows.max(1), rows, draw.integers(0, 3, 30).astype(np.int32))
    second = np.log(draw.dirichlet(np.full(11, 0.2), 30)[:, :10] + 1e-12).astype(np.float32)
    doubted = np.flatnonzero(alone.confidences < DOUBT)
    both = together(alone, doubted, second[doubted])
    np.testing.assert_allclose(both.probabilities.sum(1), 1, atol=1e-5)
    np.testing.assert_array_equal(both.confidences, both.probabilities.max(1))
    np.testing.assert_array_equal(both.digits, both.probabilities.argmax(1))
    np.testing.assert_array_equal(both.verdicts == 2, alone.verdicts == 2)
    agree = doubted[rows[doubted].argmax(1) == second[doubted].argmax(1)]
    np.testing.assert_array_equal(both.digits[agree], alone.digits[agree])


@given(
    st.integers(1, 3),
    st.integers(0, 2**32 - 1),
    st.sampled_from(["colours last", "colours first", "rows", "lists", "plain"]),
    st.sampled_from([np.uint8, np.float32, jnp.bfloat16]),
)
def test_a_batch_in_any_layout_and_type_is_answered_as_its_pictures_one_by_one(count, seed, layout, dtype):
    rng, shipped = np.random.default_rng(seed), loaded()
    images = np.stack([fitted(hands.draw(rng, int(digit)) / np.float32(255)) for digit in rng.integers(0, 10, count)])
    images = np.where(images > 127, 255, 0).astype(np.uint8)  # which every type holds
    typed = jnp.asarray(images / 255, dtype) if dtype is not np.uint8 else images
    laid = {"colours last": typed[..., None], "colours first": typed[:, None], "rows": typed.reshape(count, 784)}
    laid["lists"] = typed.tolist()
    found = shipped.predict(laid.get(layout, typed))
    for got, want in zip(found, [shipped.predict(image) for image in images], strict=True):
        assert (got.digit, got.verdict, got.several) == (want.digit, want.verdict, want.several)
        np.testing.assert_allclose(got.probabilities, want.probabilities, atol=1e-4)


def test_a_picture_is_read_from_an_open_file_and_in_pytorchs_order(tmp_path):
    picture = np.full((40, 30, 3), 255, np.uint8)
    cv2.line(picture, (15, 6), (13, 34), (0, 0, 200), 3)
    cv2.imwrite(str(tmp_path / "one.png"), picture[..., ::-1])
    shipped = loaded()
    want = shipped.predict(picture)
    with (tmp_path / "one.png").open("rb") as file:
        assert shipped.predict(file) == want == shipped.predict(np.moveaxis(picture, 2, 0))
    for bad in (file, (tmp_path / "one.png").open(encoding="utf-8")):
        with pytest.raises(PictureError, match="open it anew"), contextlib.closing(bad):
            shipped.predict(bad)
