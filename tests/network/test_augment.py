"""A warp by nothing changes nothing, a warp and its inverse come back, and one key gives one result."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from digitjax.base.config import AugmentConfig
from digitjax.network import augment

IDENTITY = np.tile(np.eye(2, 3, dtype=np.float32), (4, 1, 1))
EVERYTHING = AugmentConfig(
    rotation=15.0,
    shift=2.0,
    zoom=0.1,
    shear=0.1,
    elastic=1.0,
    stroke=0.8,
    outline=0.3,
    background=0.3,
    contrast=0.4,
    noise=0.2,
    blur=0.5,
    erase=0.5,
)
SEEDS = st.integers(0, 2**31)
warp = jax.jit(augment.warp)
changed = jax.jit(augment.augment, static_argnums=0)


def digits(seed: int) -> np.ndarray:
    """Four smooth blobs of strokes, away from the border."""
    rng = np.random.default_rng(seed)
    dots = rng.random((4, 28, 28)) * (rng.random((4, 28, 28)) < 0.06)
    dots[:, :7], dots[:, -7:], dots[:, :, :7], dots[:, :, -7:] = 0, 0, 0, 0
    smooth = np.stack([ndimage.gaussian_filter(image, 1.5) for image in dots])
    return (255 * smooth / max(smooth.max(), 1e-9)).astype(np.uint8)


@given(SEEDS)
def test_the_identity_warp_is_the_identity(seed):
    images = np.random.default_rng(seed).integers(0, 256, (4, 28, 28)).astype(np.uint8)
    np.testing.assert_array_equal(warp(images, IDENTITY), images)


@given(SEEDS)
def test_no_augmentation_leaves_every_pixel(seed):
    images = np.random.default_rng(seed).integers(0, 256, (4, 28, 28)).astype(np.uint8)
    np.testing.assert_array_equal(changed(AugmentConfig(), images, jax.random.key(seed)), images)


@given(SEEDS, st.integers(-9, 9), st.integers(-9, 9))
def test_a_whole_shift_moves_pixels_and_brings_in_ground(seed, down, right):
    images = np.random.default_rng(seed).integers(0, 256, (4, 28, 28)).astype(np.uint8)
    matrices = IDENTITY.copy()
    matrices[:, :, 2] = (-down, -right)
    expected = np.stack([ndimage.shift(image, (down, right), order=0) for image in images])
    np.testing.assert_array_equal(warp(images, matrices), expected)


@given(SEEDS)
def test_a_warp_agrees_with_scipys_bilinear_resampling(seed):
    images = np.random.default_rng(seed).integers(0, 256, (4, 28, 28)).astype(np.uint8)
    config = AugmentConfig(rotation=40.0, shift=4.0, zoom=0.4, shear=0.4)
    matrices = np.asarray(augment.random_matrices(config, 4, jax.random.key(seed)))
    result = np.asarray(warp(images, matrices))
    for image, matrix, found in zip(images.astype(np.float64), matrices.astype(np.float64), result):
        offset = matrix[:, 2] + 13.5 - matrix[:, :2] @ (13.5, 13.5)
        expected = ndimage.affine_transform(
            np.pad(image, 40), matrix[:, :2], offset=offset + 40, order=1, output_shape=(28, 28)
        )
        np.testing.assert_allclose(found, expected, atol=0.05)


@given(SEEDS)
def test_a_warp_and_its_inverse_come_back(seed):
    images = digits(seed)
    config = AugmentConfig(rotation=20.0, shift=2.0, zoom=0.1, shear=0.1)
    matrices = np.asarray(augment.random_matrices(config, 4, jax.random.key(seed)))
    linear = np.linalg.inv(matrices[:, :, :2])
    inverse = np.concatenate([linear, -linear @ matrices[:, :, 2:]], axis=2).astype(np.float32)
    there = np.rint(np.asarray(warp(images, matrices))).astype(np.uint8)
    back = np.asarray(warp(there, inverse))
    # Two bilinear resamplings soften these strokes by at most this much, of 255 grey levels.
    assert np.abs(back - images).mean() < 4
    assert np.abs(back - images).max() < 70


@given(SEEDS)
def test_one_key_gives_one_result_and_another_key_another(seed):
    images = digits(seed)
    key, other = jax.random.split(jax.random.key(seed))
    np.testing.assert_array_equal(changed(EVERYTHING, images, key), changed(EVERYTHING, images, key))
    assert (np.asarray(changed(EVERYTHING, images, key)) != changed(EVERYTHING, images, other)).any()


@given(SEEDS)
def test_grey_levels_stay_grey_levels(seed):
    result = np.asarray(changed(EVERYTHING, digits(seed), jax.random.key(seed)))
    assert result.dtype == np.float32
    assert result.min() >= 0
    assert result.max() <= 255


@given(SEEDS)
def test_draws_stay_within_the_configs_bounds(seed):
    config = AugmentConfig(rotation=10.0, shift=3.0)
    matrices = augment.random_matrices(config, 64, jax.random.key(seed))
    angles = np.degrees(np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0]))
    assert np.abs(angles).max() <= 10 + 1e-3
    assert np.abs(matrices[:, :, 2]).max() <= 3
    determinants = jnp.linalg.det(matrices[:, :, :2])
    np.testing.assert_allclose(determinants, 1, rtol=1e-5)


@pytest.mark.parametrize(
    "name",
    [
        "rotation",
        "shift",
        "zoom",
        "shear",
        "elastic",
        "stroke",
        "outline",
        "background",
        "contrast",
        "noise",
        "blur",
        "erase",
    ],
)
def test_every_kind_of_change_changes_something(name):
    images = digits(3)
    strength = {"rotation": 20.0, "shift": 2.0}.get(name, 0.9)
    assert (np.asarray(changed(AugmentConfig(**{name: strength}), images, jax.random.key(0))) != images).any()


@given(SEEDS)
def test_the_hard_changes_fall_on_their_share_and_spare_the_others_whole(seed):
    images = np.tile(digits(seed), (64, 1, 1))
    config = AugmentConfig(hard=0.25, elastic=2.0, stroke=1.0, background=0.5, noise=0.3)
    spared = (np.asarray(changed(config, images, jax.random.key(seed))) == images).all((1, 2))
    assert spared.mean() == pytest.approx(0.75, abs=0.15)


@given(SEEDS)
def test_a_stroke_thickens_to_its_neighbours_and_thins_to_them(seed):
    images = np.tile(digits(seed), (8, 1, 1)).astype(np.float32)
    result = np.asarray(changed(AugmentConfig(stroke=1.0), images.astype(np.uint8), jax.random.key(seed)))
    cross = ndimage.generate_binary_structure(2, 1)[None]
    least, most = (change(images, footprint=cross) for change in (ndimage.grey_erosion, ndimage.grey_dilation))
    assert (result >= np.minimum(least, images) - 1e-3).all()
    assert (result <= most + 1e-3).all()
    lighter = [(new >= old - 1e-3).all() or (new <= old + 1e-3).all() for new, old in zip(result, images)]
    assert all(lighter)


def test_a_bend_is_smooth_and_as_strong_as_it_says():
    bend = np.asarray(augment.random_bend(2.0, 500, jax.random.key(0)))
    assert bend.std() == pytest.approx(2.0, rel=0.05)
    assert np.abs(np.diff(bend, axis=-1)).max() < 2.0 * 1.5
