"""Corruptions and changes by degrees: nothing at no amount, whole pixels exactly, the same again from the same seed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from digitjax.report import corruptions
from digitjax.report.corruptions import CORRUPTIONS, DEGREES, OUT_OF_DISTRIBUTION

NEUTRAL = {"shift": 0, "scale": 1.0, "rotation": 0, "stroke": 0, "noise": 0}


@pytest.fixture(scope="module")
def digits(splits):
    return splits.test.images[:12]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_changes_the_picture_and_is_the_same_again_from_its_seed(digits, name):
    first, again, other = (corruptions.corrupted(digits, name, seed) for seed in (0, 0, 1))
    assert first.dtype == np.uint8
    assert (first != digits).any((1, 2)).all()
    np.testing.assert_array_equal(first, again)
    if name not in ("scale", "brightness", "stripe", "canny_edges"):
        assert (first != other).any()


@pytest.mark.parametrize("name", DEGREES)
def test_no_change_is_no_change_and_more_of_it_is_farther(digits, name):
    neutral = corruptions.changed(digits, name, NEUTRAL[name]).astype(int)
    np.testing.assert_array_equal(neutral, digits)
    amounts = sorted(DEGREES[name].amounts, key=lambda amount: abs(amount - NEUTRAL[name]))
    assert amounts[0] == NEUTRAL[name]
    near, far = (np.abs(corruptions.changed(digits, name, amount).astype(int) - digits).mean()
                 for amount in (amounts[1], amounts[-1]))  # fmt: skip
    assert 0 < near < far


@given(st.integers(-90, 90))
def test_a_turn_is_undone_by_its_opposite(degrees):
    disc = np.hypot(*(np.mgrid[:28, :28] - 13.5)) < 8
    blurred = np.zeros((28, 28), np.uint8)
    blurred[disc] = 200
    blurred[10:14, 12:20] = 90
    there = corruptions.changed(blurred[None], "rotation", degrees)
    back = corruptions.changed(there, "rotation", -degrees)[0]
    assert np.abs(back.astype(int) - blurred)[disc].mean() < 25


def test_a_quarter_turn_and_a_whole_shift_are_exact(digits):
    turned = corruptions.changed(digits, "rotation", 90)
    np.testing.assert_allclose(turned, np.rot90(digits, -1, (1, 2)), atol=1)
    moved = corruptions._affine(digits[0], np.eye(2), np.array([3.0, -2.0]))
    np.testing.assert_array_equal(moved, np.roll(np.roll(digits[0], 3, 1), -2, 0))


@given(st.sampled_from([0.5, 1.0, 1.5]))
def test_a_thicker_stroke_covers_a_thinner_one(pixels):
    bar = np.zeros((1, 28, 28), np.uint8)
    bar[0, 6:22, 12:16] = 255
    thick, thin = (corruptions.changed(bar, "stroke", sign * pixels)[0].astype(int) for sign in (1, -1))
    assert (thick >= bar[0]).all()
    assert (thin <= bar[0]).all()
    # Its width is what was asked for: the row's sum of shares is it.
    assert thick[14].sum() / 255 == pytest.approx(4 + 2 * pixels, abs=0.01)
    assert thin[14].sum() / 255 == pytest.approx(4 - 2 * pixels, abs=0.01)


@pytest.mark.parametrize("name", OUT_OF_DISTRIBUTION)
def test_out_of_distribution_pictures_differ_from_each_other_and_come_again_from_their_seed(name):
    first, again, other = (corruptions.out_of_distribution(name, 6, seed) for seed in (0, 0, 1))
    assert (first.dtype, first.shape) == (np.uint8, (6, 28, 28))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any((1, 2)).all()
    assert len(np.unique(first.reshape(6, -1), axis=0)) == 6
