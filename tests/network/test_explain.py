"""Explanations agree with what is known exactly: class activation maps, linear networks, sums, moves and mirrors."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from digitjax.base.config import ModelConfig
from digitjax.base.errors import UsageError
from digitjax.network import explain, model

SEEDS = st.integers(0, 2**31 - 2)
MEAN = ModelConfig("mean", (4, 6), (1, 2), "SAME", True, "mean")
MAX = dataclasses.replace(MEAN, network="max", head="max")
VALID = dataclasses.replace(MEAN, network="valid", padding="VALID")
PLAIN = ModelConfig("plain", (4, 6), (1, 1), "VALID", False, "flatten", hidden=8)
SMOOTH = dataclasses.replace(PLAIN, network="smooth", activation="elu")  # no two cells of a pool are equal
LINEAR = ModelConfig("linear", (4,), (1,), "SAME", False, "mean")
CURVED = dataclasses.replace(LINEAR, network="curved", activation="gelu")
features_of = jax.jit(model.features, static_argnums=(0, 3))
logits_of = jax.jit(model.logits, static_argnums=0)
enlarged = jax.jit(lambda maps: jax.image.resize(maps, (3, 28, 28), "linear"))
CAMS = ("gradcam", "gradcam_plus_plus", "hirescam")


@partial(jax.jit, static_argnums=0)
def variables_of(config: ModelConfig, seed: int = 1):
    """Weights and statistics as after a training: none is 0 or 1."""
    variables = model.init(config, jax.random.key(seed))
    leaves, tree = jax.tree.flatten(variables)
    keys = jax.random.split(jax.random.key(seed + 1), len(leaves))
    return tree.unflatten([leaf + 0.1 * jnp.abs(jax.random.normal(k, leaf.shape)) for k, leaf in zip(keys, leaves)])


def pictures(seed: int, batch: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (batch, 28, 28)).astype(np.uint8)


def named_classes(seed: int, batch: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 10, batch).astype(np.int32)


def raw(method, config, variables, images, classes, layer=-1):
    return np.asarray(explain.METHODS[method](config, variables, images, classes, layer))


@pytest.mark.parametrize("config", [MEAN, MAX], ids=lambda config: config.network)
@given(SEEDS)
def test_gradcam_is_the_class_activation_map_behind_global_pooling(config, seed):
    """CAM (Zhou et al. 2016) reads it off the weights of a mean pool; a maximum pool's mean gradient is the same."""
    variables, images, classes = variables_of(config), pictures(seed), named_classes(seed)
    cut = np.asarray(features_of(config, variables, images))
    weights = np.asarray(variables["params"]["output"]["kernel"])[:, classes].T / (14 * 14)
    cam = np.maximum(0, np.einsum("nijc,nc->nij", cut, weights))
    expected = enlarged(cam)
    np.testing.assert_allclose(raw("gradcam", config, variables, images, classes), expected, atol=1e-5)


@given(SEEDS)
def test_hirescam_is_gradcam_where_every_place_has_the_same_gradient(seed):
    variables, images, classes = variables_of(MEAN), pictures(seed), named_classes(seed)
    maps = [raw(method, MEAN, variables, images, classes) for method in ("gradcam", "hirescam")]
    np.testing.assert_allclose(*maps, atol=1e-5)


@given(SEEDS)
def test_gradcam_plus_plus_has_its_known_weights_behind_global_pooling(seed):
    """There the gradient is one number a channel, g, and each of 196 cells has the share g² / (2 g² + g³ sum(A))."""
    variables, images, classes = variables_of(MEAN), pictures(seed), named_classes(seed)
    cut = np.asarray(features_of(MEAN, variables, images), np.float64)
    g = np.asarray(variables["params"]["output"]["kernel"], np.float64)[:, classes].T / 196
    weights = 196 * g**2 / (2 * g**2 + g**3 * cut.sum((1, 2))) * np.maximum(0, g)
    cam = np.maximum(0, np.einsum("nijc,nc->nij", cut, weights)).astype(np.float32)
    expected = enlarged(cam)
    found = raw("gradcam_plus_plus", MEAN, variables, images, classes)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("method", [name for name in explain.METHODS if name != "gradcam_plus_plus"])
def test_a_map_does_not_change_when_the_class_weights_are_scaled(method):
    variables, images, classes = variables_of(MEAN), pictures(0), named_classes(0)
    scaled = jax.tree.map(lambda leaf: leaf, variables)
    scaled["params"]["output"] = jax.tree.map(lambda leaf: 5 * leaf, variables["params"]["output"])
    maps = [explain.explain(MEAN, weights, images, classes, method) for weights in (variables, scaled)]
    np.testing.assert_allclose(*maps, atol=1e-3)


@pytest.mark.parametrize("config", [MAX, SMOOTH], ids=lambda config: config.network)
@pytest.mark.parametrize("layer", [0, -1])
def test_gradients_at_the_cut_agree_with_finite_differences(config, layer):
    """Along random directions, in float64 where central differences are exact enough."""
    with jax.enable_x64(True):
        variables = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), variables_of(config))
        images, classes = pictures(0), named_classes(0)
        both = jax.jit(explain.features_and_gradients, static_argnums=(0, 4))
        cut, gradients = map(np.asarray, both(config, variables, images, classes, layer))

        @jax.jit
        def score(cut):
            logits = model.logits_from_features(config, variables, cut, layer)
            return logits[np.arange(len(classes)), classes].sum()

        for seed in range(3):
            direction = np.random.default_rng(seed).normal(size=cut.shape)
            difference = float(score(cut + 1e-6 * direction) - score(cut - 1e-6 * direction)) / 2e-6
            assert float((gradients * direction).sum()) == pytest.approx(difference, rel=1e-5)


def linear():
    """A network whose ReLUs never close, and the slopes of its logits by class and pixel, from its weights."""
    variables = variables_of(LINEAR)
    variables["params"]["convolution_0"]["bias"] += 10.0
    kernel = np.asarray(variables["params"]["convolution_0"]["kernel"], np.float64)[:, :, 0]
    output = np.asarray(variables["params"]["output"]["kernel"], np.float64) / 784
    taps = np.zeros((28, 28, 4))
    for i, j in np.ndindex(3, 3):
        # A pixel reaches the place that is (1 - i, 1 - j) further, where that lies in the picture.
        rows, columns = np.arange(28) + 1 - i, np.arange(28) + 1 - j
        inside = ((rows >= 0) & (rows < 28))[:, None] & ((columns >= 0) & (columns < 28))[None]
        taps += inside[..., None] * kernel[i, j]
    return variables, np.einsum("ijc,ck->kij", taps, output) / 255


@given(SEEDS)
@settings(max_examples=5)
def test_methods_on_pixels_are_exact_on_a_linear_network(seed):
    variables, slopes = linear()
    images, classes = pictures(seed), named_classes(seed)
    slope = slopes[classes]

    def agrees(method, expected):
        found = raw(method, LINEAR, variables, images, classes)
        np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())

    agrees("saliency", np.abs(slope))
    agrees("smoothgrad", np.abs(slope))
    agrees("integrated_gradients", slope * images)
    sums = np.pad(slope * images, ((0, 0), (2, 2), (2, 2)))
    falls = np.array(
        [[sums[:, 2 * i : 2 * i + 6, 2 * j : 2 * j + 6].sum((1, 2)) for j in range(14)] for i in range(14)]
    )
    agrees("occlusion", enlarged(falls.transpose(2, 0, 1)))


@pytest.mark.parametrize(("config", "close"), [(MAX, 0.02), (PLAIN, 0.02), (CURVED, 1e-3)])
@given(SEEDS)
@settings(max_examples=10)
def test_integrated_gradients_add_up_to_the_difference_of_logits(config, close, seed):
    """But for the points of the path, which count where the network has kinks."""
    variables, images, classes = variables_of(config), pictures(seed), named_classes(seed)
    rows = np.arange(3)
    found = raw("integrated_gradients", config, variables, images, classes).sum((1, 2))
    whole = logits_of(config, variables, images)[rows, classes]
    black = logits_of(config, variables, np.zeros_like(images))[rows, classes]
    np.testing.assert_allclose(found, whole - black, atol=close * float(jnp.abs(whole - black).max()))


@pytest.mark.parametrize("method", explain.METHODS)
def test_maps_of_a_batch_are_those_of_its_members(method):
    variables, images, classes = variables_of(PLAIN), pictures(0, 35), named_classes(0, 35)
    whole = explain.explain(PLAIN, variables, images, classes, method)
    for row in (0, 3, 34):
        alone = explain.explain(PLAIN, variables, images[row : row + 1], classes[row : row + 1], method)
        np.testing.assert_allclose(whole[row], alone[0], atol=1e-3)
    assert explain.explain(PLAIN, variables, images[:0], classes[:0], method).shape == (0, 28, 28)


@pytest.mark.parametrize("method", explain.METHODS)
def test_without_a_class_the_predicted_one_is_explained(method):
    variables, images = variables_of(PLAIN), pictures(1)
    predicted = np.asarray(logits_of(PLAIN, variables, images)).argmax(1).astype(np.int32)
    maps = [explain.explain(PLAIN, variables, images, classes, method) for classes in (None, predicted)]
    np.testing.assert_array_equal(*maps)
    other = explain.explain(PLAIN, variables, images, (predicted + 1) % 10, method)
    assert np.abs(other - maps[0]).max() > 1e-3


@pytest.mark.parametrize("config", [MEAN, MAX, VALID], ids=lambda config: config.network)
@given(st.integers(9, 14), st.integers(9, 14), SEEDS)
def test_a_digit_moved_by_the_stride_moves_its_map(config, row, column, seed):
    variables = variables_of(config)
    stride, _ = model.placement(config)
    digit = np.random.default_rng(seed).integers(100, 256, (5, 5))
    here, there = np.zeros((2, 28, 28), np.uint8)
    here[row : row + 5, column : column + 5] = digit
    there[row + stride : row + stride + 5, column + stride : column + stride + 5] = digit
    before, after = raw("gradcam", config, variables, np.stack([here, there]), np.array([3, 3], np.int32))
    inside = slice(7, 21 - stride)
    moved = slice(7 + stride, 21)
    np.testing.assert_allclose(before[inside, inside], after[moved, moved], atol=1e-4 * before.max())


@pytest.mark.parametrize("method", CAMS)
@pytest.mark.parametrize("config", [MEAN, MAX, VALID], ids=lambda config: config.network)
@pytest.mark.parametrize("layer", [0, -1])
def test_a_mirrored_digit_has_a_mirrored_map_under_mirrored_kernels(config, layer, method):
    variables, images, classes = variables_of(config), pictures(2), named_classes(2)
    mirrored = jax.tree.map(lambda leaf: leaf[:, ::-1] if leaf.ndim == 4 else leaf, variables)
    left = raw(method, config, variables, images, classes, layer)
    right = raw(method, config, mirrored, images[:, :, ::-1], classes, layer)
    np.testing.assert_allclose(left, right[:, :, ::-1], atol=1e-4 * left.max())


@pytest.mark.parametrize("method", explain.METHODS)
@given(SEEDS)
@settings(max_examples=5)
def test_a_map_is_from_0_to_1_its_largest_value(method, seed):
    maps = explain.explain(PLAIN, variables_of(PLAIN), pictures(seed), None, method)
    assert maps.dtype == np.float32
    assert maps.min() >= 0
    np.testing.assert_allclose(maps.max((1, 2)), 1, rtol=1e-6)


@pytest.mark.parametrize("method", CAMS)
def test_a_map_without_evidence_is_0_everywhere(method):
    variables = variables_of(MEAN)
    variables["params"]["output"]["kernel"] = -jnp.abs(variables["params"]["output"]["kernel"])
    assert not explain.explain(MEAN, variables, pictures(0), named_classes(0), method).any()


def test_a_black_image_has_no_integrated_gradient():
    black = np.zeros((2, 28, 28), np.uint8)
    assert not explain.explain(PLAIN, variables_of(PLAIN), black, None, "integrated_gradients").any()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (dict(method="gradcm"), "did you mean gradcam"),
        (dict(layer=3), "layer is 3: this network's convolutions are 0 to 2"),
        (dict(layer=-4), "layer is -4"),
        (dict(classes=np.array([1, 10, 0], np.int32)), "each must be from 0 to 9"),
    ],
)
def test_what_cannot_be_explained_is_said(wrong, says):
    with pytest.raises(UsageError, match=says):
        explain.explain(MEAN, variables_of(MEAN), pictures(0), **wrong)
