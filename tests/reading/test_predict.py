"""A predictor gives the model's own logits for any number of pictures, from any thread."""

from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from digitjax.base import device
from digitjax.base.config import ModelConfig
from digitjax.network import model
from digitjax.reading import predict
from digitjax.reading.predict import LARGEST, Predictor, _parts

CONFIG = ModelConfig("small", (4, 6), (1, 1), "VALID", False, "flatten", hidden=8)
VARIABLES = model.init(CONFIG, jax.random.key(0))
IMAGES = np.random.default_rng(0).integers(0, 256, (2 * LARGEST + 7, 28, 28)).astype(np.uint8)
LOGITS = np.asarray(model.logits(CONFIG, VARIABLES, IMAGES))


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
