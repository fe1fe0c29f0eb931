"""Whatever lies around a digit (a ground, a margin, a box, a sheet on another) its canonical form is its own."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from digitjax.picture.canonical import canonical
from digitjax.picture.ink import unpasted

SEEDS = st.integers(0, 2**32 - 1)
NEAR = 18.0
"""Mean difference of grey levels that two forms of one digit may have: by resampling and a pixel's shift of an edge."""


@pytest.fixture(scope="module")
def images(few) -> np.ndarray:
    return few.validation.images


def drawn(image: np.ndarray, side: int) -> np.ndarray:
    """Dark strokes on white, larger."""
    return 255 - np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC))


def cut(picture: np.ndarray, margin: float) -> np.ndarray:
    left, top, width, height = cv2.boundingRect((picture < 155).astype(np.uint8))
    extra = round(margin * max(width, height))
    wide = np.pad(picture, extra, constant_values=255)
    return wide[top : top + height + 2 * extra, left : left + width + 2 * extra]


def apart(first: np.ndarray, second: np.ndarray) -> float:
    """The mean difference, where one may have been put a pixel aside: rounding decides where a centre of mass lies."""
    moved = (np.roll(second, (down, right), (0, 1)) for down in (-1, 0, 1) for right in (-1, 0, 1))
    return min(float(np.abs(first.astype(int) - other.astype(int)).mean()) for other in moved)


@given(SEEDS)
def test_pasted_on_a_larger_plain_ground_a_picture_is_read_as_itself(images, seed):
    rng = np.random.default_rng(seed)
    side = int(rng.integers(60, 140))
    picture = drawn(images[rng.integers(len(images))], side)
    sheet = np.full((int(side * rng.uniform(1, 2.5)), int(side * rng.uniform(1, 2.5))), 255, np.uint8)
    top, left = (int(rng.integers(0, room - side + 1)) for room in sheet.shape)
    sheet[top : top + side, left : left + side] = picture
    assert apart(canonical(sheet), canonical(picture)) < NEAR


@given(SEEDS, st.sampled_from([0, 40, 220, 255]), st.integers(1, 3))
def test_a_sheet_of_grey_paper_on_a_plain_ground_is_not_the_ink_at_any_depth(images, seed, ground, depth):
    rng = np.random.default_rng(seed)
    picture = drawn(images[rng.integers(len(images))], 90).astype(np.float32)
    sheet = np.clip(picture * 0.7 + rng.normal(0, 2, picture.shape), 0, 255).astype(np.uint8)
    for level in range(depth):
        around = np.full(np.add(sheet.shape, 2 * rng.integers(6, 40, 2)), abs(ground - 255 * (level % 2)), np.uint8)
        top, left = (np.subtract(around.shape, sheet.shape) // 2).tolist()
        around[top : top + sheet.shape[0], left : left + sheet.shape[1]] = sheet
        sheet = around
    assert apart(canonical(sheet), canonical(picture.astype(np.uint8))) < NEAR


@given(SEEDS, st.floats(0, 0.5), st.booleans(), st.integers(56, 140))
def test_a_crop_of_any_margin_and_polarity_is_read_as_the_whole(images, seed, margin, inverted, side):
    rng = np.random.default_rng(seed)
    picture = drawn(images[rng.integers(len(images))], side)
    crop = cut(picture, margin)
    if min(crop.shape) < 0.35 * max(crop.shape):
        return  # a one, cut out to its own box, is a bar of either polarity
    assert apart(canonical(255 - crop if inverted else crop), canonical(picture)) < NEAR


@pytest.mark.parametrize(("bold", "least"), [(0, 0.95), (2, 0.9), (3, 0.8)])
@pytest.mark.parametrize("inverted", [False, True])
def test_a_digit_cut_out_to_its_own_box_is_told_from_its_ground_however_bold(images, bold, least, inverted):
    """The form of the crop, which has ink along its border, is that of the same strokes with paper around them."""
    alike = []
    for image in images[:60]:
        picture = cv2.erode(drawn(image, 130), np.ones((2 * bold + 1,) * 2, np.uint8))
        crop = cut(picture, 0)
        if min(crop.shape) >= 0.35 * max(crop.shape):
            alike.append(apart(canonical(255 - crop if inverted else crop), canonical(cut(picture, 0.3))) < NEAR)
    assert np.mean(alike) >= least


@given(SEEDS, st.integers(1, 5), st.integers(0, 120))
def test_a_box_printed_around_a_digit_adds_nothing_and_an_empty_one_is_empty(images, seed, thickness, tone):
    rng = np.random.default_rng(seed)
    picture = drawn(images[rng.integers(len(images))], 90)
    page = np.pad(picture, 24, constant_values=255)
    at = int(rng.integers(5, 14))
    corners = (at, at), (page.shape[1] - 1 - at, page.shape[0] - 1 - at)
    for ground, expected in ((page, canonical(picture)), (np.full_like(page, 255), np.zeros((28, 28), np.uint8))):
        framed = cv2.rectangle(ground.copy(), *corners, tone, thickness)
        assert apart(canonical(framed), expected) < NEAR


@given(SEEDS)
def test_mnists_form_with_dots_over_it_is_itself(images, seed):
    rng = np.random.default_rng(seed)
    image = images[rng.integers(len(images))].copy()
    image[rng.integers(2, 26, 6), rng.integers(2, 26, 6)] = 255
    # At most the dots themselves are missing (six of 255 in 784 pixels), however little ink the digit has.
    assert apart(canonical(image), image) < 2


@given(SEEDS)
def test_an_array_means_the_same_in_every_range_and_type(images, seed):
    import jax.numpy as jnp

    mask = images[np.random.default_rng(seed).integers(len(images))] > 100
    expected = canonical(mask.astype(np.uint8) * 255)
    bright = mask.astype(np.int64) * 255
    ones = mask, mask.astype(np.uint8), mask.astype(np.int64), mask.astype(np.float32), mask.astype(np.uint8).ravel()
    for array in (*ones, bright, bright.astype(np.float64), jnp.asarray(mask, jnp.uint8)):
        np.testing.assert_array_equal(canonical(array), expected)


def test_a_picture_without_a_ground_of_its_own_is_left_whole(images):
    for image in images[:20]:
        picture = drawn(image, 80)
        assert unpasted(picture) is picture
