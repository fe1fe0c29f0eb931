"""Generated hands: every way to write a digit stays that digit and inside its picture, and is fixed by its seed."""

import inspect

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from digitjax.data.datasets import Dataset
from digitjax.generated import hands, outliers, pen

SEEDS = st.integers(0, 2**32 - 1)
DIGIT = st.integers(0, 9)


@given(SEEDS, DIGIT, st.integers(24, 120))
def test_no_ink_is_lost_at_the_border_whatever_pen_slant_and_size(seed, digit, height):
    strokes = hands.draw(np.random.default_rng(seed), digit, height)
    assert strokes.max() > 150
    # Cut out tightly: ink on each of the four sides, and a height near the one that was asked for.
    assert all(side.max() > 90 for side in (strokes[0], strokes[-1], strokes[:, 0], strokes[:, -1]))
    assert 0.6 * height < max(strokes.shape) < 2.2 * height


@given(SEEDS, DIGIT)
def test_a_thicker_pen_writes_over_what_a_thinner_one_wrote(seed, digit):
    """The path decides the shape: of the same path and hand, the pen decides the width alone."""
    paths = hands.paths(np.random.default_rng(seed), digit)
    thin, thick = (pen.written(np.random.default_rng(seed), paths, 80, width, 0) for width in (5, 11))
    assert np.count_nonzero(thick) > np.count_nonzero(thin)
    # The thin one, laid into the middle of the thick one, lies within it but for a pixel of rounding.
    down, across = ((a - b) // 2 for a, b in zip(thick.shape, thin.shape))
    inside = cv2.dilate(thick, np.ones((5, 5), np.uint8))[down : down + thin.shape[0], across : across + thin.shape[1]]
    assert (inside[thin > 200] > 0).mean() > 0.99


@given(SEEDS)
def test_a_place_gives_the_same_digit_whatever_stands_beside_it(seed):
    labels = np.arange(10, dtype=np.int32)
    every = hands.digits(labels, seed)
    np.testing.assert_array_equal(every.images[:4], hands.digits(labels[:4], seed).images)
    assert len(np.unique(every.images, axis=0)) == 10
    assert (hands.digits(labels, seed ^ 1).images != every.images).any()


@given(SEEDS, DIGIT)
def test_a_generated_digit_has_the_form_of_mnist(seed, digit):
    (image,) = hands.digits(np.array([digit], np.int32), seed).images
    rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
    assert 19 <= max(np.ptp(rows), np.ptp(columns)) + 1 <= 20
    moments = cv2.moments(image)
    centre = np.array([moments["m10"], moments["m01"]]) / moments["m00"]
    assert np.abs(centre - 13.5).max() < 4.5  # a long foot or flag is kept, at the cost of the centre


def test_the_network_that_ships_knows_what_most_of_them_are():
    """An independent reader: it never saw these paths, and reads nine of ten as what they were meant to be."""
    import digitjax

    labels = np.tile(np.arange(10, dtype=np.int32), 40)
    right = digitjax.load().judge(hands.digits(labels, 5).images).digits == labels
    assert right.mean() > 0.9
    assert min(right[labels == digit].mean() for digit in range(10)) > 0.6


def test_generated_digits_follow_the_data_set_ten_classes_in_turn(few):
    joined = hands.joined_to(few.train, 0.5, seed=3)
    size = len(few.train.labels)
    np.testing.assert_array_equal(joined.images[:size], few.train.images)
    np.testing.assert_array_equal(joined.labels[size:], np.arange(size // 2) % 10)
    assert hands.joined_to(few.train, 0.0, seed=3) is few.train


@pytest.mark.parametrize("digit", range(10))
def test_each_digit_is_written_in_many_ways(digit):
    """By their strokes: how many, and how they turn; one skeleton alone would give a single one."""
    ways = set()
    for seed in range(60):
        paths = hands.paths(np.random.default_rng(seed), digit)
        ways.add((len(paths), *(len(path) for path in paths)))
    assert len(ways) >= 2


def test_generated_hands_and_generated_non_digits_share_no_shape():
    """No sign of an alphabet is a digit's own path, and neither knows the other's skeletons."""
    empty = Dataset(np.zeros((0, 28, 28), np.uint8), np.zeros(0, np.int32))
    assert len(hands.joined_to(empty, 1.0, 0).labels) == 0
    source = inspect.getsource(outliers)
    assert "hands.draw" not in source
    assert "hands.digits" not in source
    digits = {image.tobytes() for image in hands.digits(np.tile(np.arange(10, dtype=np.int32), 30), 0).images}
    draw = np.random.default_rng(0)
    signs = {outliers._sign(draw, empty).tobytes() for _ in range(300)}
    assert not digits & signs
