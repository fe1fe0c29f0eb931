"""Logits follow their own image; the network can be cut at any layer; the same key gives the same weights."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from digitjax.base.config import NETWORKS, ModelConfig
from digitjax.network import model

SEEDS = st.integers(0, 2**31)
SMALL = ModelConfig("small", (4, 6), (1, 2), "SAME", True, "max")
PLAIN = ModelConfig("plain", (4, 6), (1, 1), "VALID", False, "flatten", hidden=8, dropout=0.5)
logits = jax.jit(model.logits, static_argnums=0)


def images(seed: int, batch: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (batch, 28, 28)).astype(np.uint8)


@pytest.fixture(scope="module", params=[SMALL, PLAIN], ids=lambda config: config.network)
def network(request):
    variables = model.init(request.param, jax.random.key(1))
    # Statistics other than 0 and 1, so that a mix-up of them would show.
    variables["batch_stats"] = jax.tree.map(lambda leaf: leaf + 0.1, variables["batch_stats"])
    return request.param, variables


@pytest.mark.parametrize(
    ("name", "parameters"), [("reference", 121_930), ("reference_same", 220_234), ("reference_225k", 225_034)]
)
def test_the_reference_networks_have_their_known_size(name, parameters):
    assert model.parameter_count(model.init(NETWORKS[name], jax.random.key(0))) == parameters


@pytest.mark.parametrize("name", NETWORKS)
def test_the_summary_adds_up_to_the_network(name):
    config = NETWORKS[name]
    assert name == config.network
    variables = jax.eval_shape(lambda key: model.init(config, key), jax.random.key(0))
    layers = model.summary(config)
    assert sum(layer.parameters for layer in layers) == model.parameter_count(variables)
    assert model.parameter_count(variables) <= 300_000
    convolutions = [layer for layer in layers if layer.name.startswith("convolution")]
    for number in range(len(convolutions)):
        cut = jax.eval_shape(lambda v, x, number=number: model.features(config, v, x, number), variables, images(0, 1))
        pooled = config.batch_norm and layers[layers.index(convolutions[number]) + 1].name == "max_pool"
        height, width, channels = convolutions[number].shape
        assert cut.shape == (1, height // (1 + pooled), width // (1 + pooled), channels)


def test_the_flops_of_the_summary_are_those_that_xla_counts():
    """XLA counts additions, comparisons and padding a little differently: within 5 %."""
    config = NETWORKS["reference"]
    variables = model.init(config, jax.random.key(0))
    cost = jax.jit(model.logits, static_argnums=0).lower(config, variables, images(0, 1)).compile().cost_analysis()
    assert sum(layer.flops for layer in model.summary(config)) == pytest.approx(cost["flops"], rel=0.05)


@given(SEEDS)
def test_logits_follow_their_image_through_any_permutation(network, seed):
    config, variables = network
    batch = images(seed)
    order = np.random.default_rng(seed).permutation(len(batch))
    np.testing.assert_allclose(
        logits(config, variables, batch[order]), logits(config, variables, batch)[order], atol=1e-4
    )


@given(SEEDS)
def test_inference_ignores_the_rest_of_the_batch(network, seed):
    config, variables = network
    batch, others = images(seed), images(seed + 1)
    mixed = np.concatenate([batch[:1], others[1:]])
    np.testing.assert_allclose(logits(config, variables, batch)[0], logits(config, variables, mixed)[0], atol=1e-4)


@given(SEEDS)
def test_grey_levels_mean_the_same_as_bytes_and_as_floats(network, seed):
    config, variables = network
    batch = images(seed)
    np.testing.assert_array_equal(logits(config, variables, batch), logits(config, variables, batch.astype(np.float32)))


@given(SEEDS)
def test_the_same_key_gives_the_same_variables(network, seed):
    config, _ = network
    first, again = (model.init(config, jax.random.key(seed)) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    other = model.init(config, jax.random.key(seed + 1))
    assert (first["params"]["output"]["kernel"] != other["params"]["output"]["kernel"]).any()


@pytest.mark.parametrize("layer", [0, 1, -1])
def test_the_two_halves_of_a_cut_network_are_the_network(network, layer):
    config, variables = network
    cut = model.features(config, variables, images(0), layer)
    whole = model.logits_from_features(config, variables, cut, layer)
    np.testing.assert_allclose(whole, logits(config, variables, images(0)), atol=1e-4)


@pytest.mark.parametrize("layer", [0, 1, -1])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_a_cell_of_the_cut_lies_at_the_middle_of_the_pixels_that_reach_it(network, padding, layer):
    config = dataclasses.replace(network[0], padding=padding)
    variables = jax.tree.map(jnp.abs, model.init(config, jax.random.key(0)))
    one_pixel = np.eye(784, dtype=np.float32).reshape(784, 28, 28) * 255
    reached = np.asarray(model.features(config, variables, one_pixel, layer))[..., 0] > 0
    stride, centre = model.placement(config, layer)
    cell = reached.shape[1] // 2  # away from the border
    rows, columns = np.nonzero(reached[:, cell, cell - 1].reshape(28, 28))
    assert (rows.min() + rows.max()) / 2 == centre + stride * cell
    assert (columns.min() + columns.max()) / 2 == centre + stride * (cell - 1)


def test_training_uses_the_batch_and_moves_its_statistics():
    variables = model.init(SMALL, jax.random.key(0))
    out, stats = model.training_logits(SMALL, variables, images(0), jax.random.key(0))
    assert np.abs(np.asarray(out - model.logits(SMALL, variables, images(0)))).max() > 1e-3
    moved = jax.tree.map(lambda old, new: bool((old != new).any()), variables["batch_stats"], stats)
    assert all(jax.tree.leaves(moved))


def test_dropout_depends_on_its_key_alone_and_only_in_training():
    variables = model.init(PLAIN, jax.random.key(0))
    a, again, b = (model.training_logits(PLAIN, variables, images(0), jax.random.key(seed))[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(a, again)
    assert (a != b).any()


@pytest.mark.parametrize("config", [SMALL, PLAIN], ids=lambda config: config.network)
def test_gradients_agree_with_finite_differences(config):
    """Along random directions, in float64 where central differences are exact enough."""
    with jax.enable_x64(True):
        variables = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), model.init(config, jax.random.key(0)))
        batch = images(0, 3)

        @jax.jit
        def total(params):
            out, _ = model.training_logits(config, variables | {"params": params}, batch, jax.random.key(0))
            return (out * jnp.arange(30.0).reshape(3, 10)).sum()

        # NumPy's arithmetic, since each of JAX's own operations would be compiled.
        params, gradient = (
            jax.tree.map(np.asarray, tree)
            for tree in (variables["params"], jax.jit(jax.grad(total))(variables["params"]))
        )
        for seed in range(3):
            draw = np.random.default_rng(seed)
            direction = jax.tree.map(lambda leaf, draw=draw: draw.normal(size=leaf.shape), params)
            ahead, behind = (
                total(jax.tree.map(lambda p, d, sign=sign: p + sign * 1e-6 * d, params, direction)) for sign in (1, -1)
            )
            along = sum(jax.tree.leaves(jax.tree.map(lambda g, d: (g * d).sum(), gradient, direction)))
            assert float(along) == pytest.approx(float(ahead - behind) / 2e-6, rel=1e-4)
