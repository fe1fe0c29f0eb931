"""The fast operations are the textbook's, forward and backward, in any size and padding."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from digitjax.base import device
from digitjax.network import model, ops

SIZES = [(28, 28), (7, 9), (6, 5), (4, 4)]


def textbook(x, kernel, padding):
    return ops.max_pool_textbook(ops.conv(x, kernel, padding))


def arrays(size, channels, dtype):
    first, second = jax.random.split(jax.random.key(sum(size)))
    # Few different values, so that windows have equals, whose gradient goes to the first.
    x = jax.random.randint(first, (3, *size, channels), -2, 3).astype(dtype)
    return x, jax.random.normal(second, (3, 3, channels, 6), dtype)


def value_and_gradients(f, *arguments):
    def total(*arguments):
        y = f(*arguments)
        return (y * jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)).sum(), y

    (_, y), gradients = jax.jit(jax.value_and_grad(total, range(len(arguments)), has_aux=True))(*arguments)
    return (y, *gradients)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_convolution_and_pool_are_the_textbooks_in_float64(size, channels, padding):
    with jax.enable_x64(True):
        x, kernel = arrays(size, channels, jnp.float64)
        fast = value_and_gradients(lambda x, k: ops.conv_pool(x, k, padding), x, kernel)
        slow = value_and_gradients(lambda x, k: textbook(x, k, padding), x, kernel)
        for ours, theirs in zip(fast, slow, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-10)
        predicted = jax.jit(ops.conv_pool, static_argnums=2)(x, kernel, padding)
        np.testing.assert_allclose(predicted, slow[0], atol=1e-10)


@pytest.mark.parametrize("size", SIZES)
def test_the_pools_gradient_goes_to_the_first_of_equals(size):
    x, _ = arrays(size, 3, jnp.float32)
    for ours, theirs in zip(value_and_gradients(ops.max_pool, x), value_and_gradients(ops.max_pool_textbook, x)):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("size", [1, 32, 64, 500])
def test_the_gradient_of_the_largest_of_all_is_numpys(size):
    """Behind a normalisation, which XLA computes anew for the gradient and rounds differently: some were lost so."""
    draw = np.random.default_rng(0)
    x, weights = draw.normal(size=(size, 7, 7, 128)), draw.normal(size=(size, 128))
    scale, bias = draw.normal(1, 0.1, (1, 1, 1, 128)), draw.normal(0, 0.1, (1, 1, 1, 128))

    def loss(scale, bias, x, weights):
        mean, square = x.mean((0, 1, 2), keepdims=True), (x * x).mean((0, 1, 2), keepdims=True)
        spread = lax.rsqrt(square - mean * mean + 1e-5)
        return (weights * ops.global_max(jax.nn.relu((x - mean) * (spread * scale) + bias))).sum()

    arguments = [array.astype(np.float32) for array in (scale, bias, x, weights)]
    found = jax.jit(jax.grad(loss, (0, 1)))(*arguments)
    normal = ((x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5)).reshape(size, 49, 128)
    largest = normal.max(1)
    passed = weights * (largest * scale[0, 0] + bias[0, 0] > 0)
    for ours, exact in zip(found, ((passed * largest).sum(0), passed.sum(0)), strict=True):
        np.testing.assert_allclose(ours.ravel(), exact, atol=1e-3)


@pytest.mark.parametrize("channels", [1, 3])
def test_float32_is_as_near_to_float64_as_the_textbook_is(channels):
    with jax.enable_x64(True):
        x, kernel = arrays((28, 28), channels, jnp.float64)
        x = x + 0.37  # of no short binary form
        exact = value_and_gradients(lambda x, k: textbook(x, k, "SAME"), x, kernel)
    x, kernel = x.astype(jnp.float32), kernel.astype(jnp.float32)
    predicted = jax.jit(ops.conv_pool, static_argnums=2)(x, kernel, "SAME")
    np.testing.assert_allclose(predicted, exact[0], atol=4e-6 * np.abs(exact[0]).max())
    for f in (ops.conv_pool, textbook):
        for near, there in zip(value_and_gradients(lambda x, k, f=f: f(x, k, "SAME"), x, kernel), exact, strict=True):
            np.testing.assert_allclose(near, there, atol=2e-6 * np.abs(there).max())


def test_the_operations_work_under_vmap_and_scan():
    x, kernel = arrays((8, 8), 1, jnp.float32)
    gradient = jax.jit(jax.grad(lambda x, k: (ops.conv_pool(x, k, "SAME") ** 2).sum()))
    alone = gradient(x, kernel)
    mapped = jax.jit(jax.vmap(gradient))(jnp.stack([x, x]), jnp.stack([kernel, kernel]))
    scanned = jax.jit(lambda x: lax.scan(lambda _, x: (None, gradient(x, kernel)), None, x)[1])(jnp.stack([x, x]))
    for several in (mapped, scanned):
        np.testing.assert_allclose(several[1], alone, rtol=1e-5, atol=1e-4)


def test_accelerators_get_the_textbook(monkeypatch):
    monkeypatch.setattr(device, "is_cpu", lambda: False)
    x, kernel = arrays((8, 8), 1, jnp.float32)
    program = str(jax.make_jaxpr(lambda x: ops.conv_pool(x, kernel, "SAME"))(x))
    assert "reduce_window_max" in program
    assert "custom_vjp" not in program


@pytest.mark.parametrize("shape", [(8, 5, 6, 3), (33, 7, 4), (64, 20, 33, 2)])
@pytest.mark.parametrize("far", [0.0, 3.0])
def test_batch_normalisation_and_its_gradient_are_flaxs(shape, far):
    draw = np.random.default_rng(0)
    x = jnp.asarray(draw.normal(far, 2, shape), jnp.float32)
    weights = jnp.asarray(draw.normal(size=shape), jnp.float32)
    params = {name: jnp.asarray(draw.normal(size=shape[-1:]), jnp.float32) for name in ("scale", "bias")}
    stats = {"mean": jnp.full(shape[-1:], 0.5), "var": jnp.full(shape[-1:], 2.0)}
    flaxs, ours = nn.BatchNorm(momentum=0.9), model.BatchNorm(0.9)

    def learnt(module, params, x):
        given = {"params": params, "batch_stats": stats}
        y, changed = module.apply(given, x, use_running_average=False, mutable=["batch_stats"])
        return (y * weights).sum(), (y, changed["batch_stats"])

    for mine, theirs in zip(
        *(
            jax.tree.leaves(jax.jit(jax.grad(partial(learnt, module), (0, 1), has_aux=True))(params, x))
            for module in (ours, flaxs)
        )
    ):
        np.testing.assert_allclose(mine, theirs, rtol=2e-4, atol=2e-4 * np.abs(theirs).max())
    given = {"params": params, "batch_stats": stats}
    for mine, theirs in zip(*(module.apply(given, x, use_running_average=True).ravel() for module in (ours, flaxs))):
        assert mine == theirs


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("window", [(3, 3), (1, 5), (5, 1)])
def test_a_convolution_as_a_product_is_the_convolution(window, padding):
    x, _ = arrays((8, 9), 3, jnp.float32)
    kernel = jax.random.normal(jax.random.key(1), (*window, 3, 4))
    plain = value_and_gradients(lambda x, k: ops.conv(x, k, padding), x, kernel)
    with ops.convolutions_as_products():
        product = value_and_gradients(lambda x, k: ops.conv(x, k, padding), x, kernel)
    for ours, theirs in zip(product, plain, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
