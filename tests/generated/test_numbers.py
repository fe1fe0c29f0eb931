"""A generated line says what its label says, whatever stands around it, and fits the network that learns it."""

from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from digitjax.data.datasets import Splits
from digitjax.generated import numbers
from digitjax.network.model import FRAME
from digitjax.picture import strips

SEEDS = st.integers(0, 2**31 - 1)


@pytest.fixture(scope="module")
def source(splits: Splits) -> numbers.Glyphs:
    return numbers.glyphs(splits.train)


@given(SEEDS)
def test_every_line_fits_its_strip_and_has_fewer_labels_than_frames(source, seed):
    """Beyond that the loss says nothing but a large number: a digit that follows itself needs a frame between."""
    grey, digits = numbers.line(np.random.default_rng(seed), source)
    assert grey.shape[0] == round(1.5 * strips.HEIGHT)
    assert grey.shape[1] <= 1.5 * numbers.WIDTH
    assert len(digits) <= numbers.MOST
    assert set(digits) <= set(range(10))
    frames = numbers.varied(np.random.default_rng(seed), grey).shape[1] // FRAME
    assert len(digits) + sum(a == b for a, b in pairwise(digits)) <= frames


def test_a_place_gives_the_same_line_whatever_is_made_beside_it(source):
    every = numbers.numbers(source, range(6), 3)
    for whole, part in zip(every, numbers.numbers(source, range(2, 4), 3)):
        np.testing.assert_array_equal(whole[2:4], part)
    assert (numbers.numbers(source, range(6), 4).pictures != every.pictures).any()


def test_a_line_is_another_at_each_visit_and_the_same_for_the_same_draw(source):
    made = numbers.numbers(source, range(3), 0)
    places = np.arange(3, dtype=np.int32)
    first, second, again = (numbers.strips(made, places, np.random.default_rng(seed)) for seed in (1, 2, 1))
    np.testing.assert_array_equal(first, again)
    assert all((a != b).any() for a, b in zip(first, second))
    assert first.shape == (3, strips.HEIGHT, numbers.WIDTH)


def test_digits_and_their_number_are_spread(source):
    made = numbers.numbers(source, range(300), 1)
    said = np.concatenate([labels[:length] for labels, length in zip(made.labels, made.lengths)])
    assert np.bincount(said, minlength=10).min() > 0.05 * len(said)
    assert set(range(7)) <= set(made.lengths.tolist())


@pytest.mark.parametrize("wide", [1, 2, 28])
def test_a_first_digit_that_the_border_cuts_is_still_seen(wide):
    strokes = np.zeros((1, 28, 28), np.uint8)
    strokes[..., :wide] = 255
    narrow = numbers.Glyphs([strokes] * 10, [], [])
    for seed in range(300):
        grey, digits = numbers.line(np.random.default_rng(seed), narrow)
        assert not digits or np.ptp(grey[:, : grey.shape[1] // 2]) > 40


@given(st.integers(120, 250), st.integers(40, 120), SEEDS)
def test_strokes_are_bright_on_dark_in_any_light(paper, contrast, seed):
    """Light that falls off to a third along the line changes nothing; nor does how strong the pen was."""
    draw = np.random.default_rng(seed)
    lit = np.linspace(paper, paper / 3, 200)[None] * np.ones((40, 1))
    line = np.zeros((40, 200), np.uint8)
    x = int(draw.integers(20, 160))
    cv2.line(line, (x, 8), (x + 12, 32), 255, 3)
    seen = strips.evened(np.round(lit * (1 - line / 255 * contrast / 130)).astype(np.uint8))
    assert np.median(seen[line > 0]) > 200
    assert np.quantile(seen[line == 0], 0.95) < 60


@pytest.mark.parametrize("level", [0, 1, 128, 255])
def test_blank_paper_of_any_tone_has_no_strokes(level):
    assert not strips.evened(np.full((40, 90), level, np.uint8)).any()
    assert strips.strip(np.full((77, 150), level, np.uint8)).shape == (strips.HEIGHT, 78)
