"""Muon is Optax's, rounded otherwise: a reference that was written apart from ours."""

import jax
import jax.numpy as jnp
import numpy as np
import optax.contrib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from digitjax.training import muon

orthogonal = jax.jit(muon.orthogonal)


@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_twenty_updates_are_those_of_optax(decay):
    random = np.random.default_rng(0)
    shapes = {"a": (3, 3, 1, 16), "b": (3, 3, 16, 32), "c": (3, 3, 8, 64), "bias": (16,), "dense": (64, 10)}
    rate, others = optax.linear_schedule(0.1, 0.01, 20), optax.constant_schedule(0.01)
    matrix = optax.contrib.MuonDimensionNumbers((0, 1, 2), (3,))
    theirs = optax.contrib.muon(
        rate,
        ns_steps=muon.STEPS,
        beta=muon.BETA,
        weight_decay=decay,
        adam_learning_rate=others,
        muon_weight_dimension_numbers=lambda tree: jax.tree.map(lambda leaf: matrix if leaf.ndim == 4 else None, tree),
    )
    ours = muon.muon(rate, others, decay)

    def drawn() -> dict[str, np.ndarray]:
        return {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}

    mine = other = drawn()
    update_ours, update_theirs, apply = map(jax.jit, (ours.update, theirs.update, optax.apply_updates))
    state, state_of_theirs = ours.init(mine), theirs.init(other)
    for _ in range(20):
        gradient = drawn()
        update, state = update_ours(gradient, state, mine)
        expected, state_of_theirs = update_theirs(gradient, state_of_theirs, other)
        for name in shapes:
            scale = np.abs(expected[name]).max()
            np.testing.assert_allclose(update[name], expected[name], atol=2e-5 * scale)
        mine, other = apply(mine, update), apply(other, expected)


@settings(max_examples=20)
@given(st.integers(0, 2**31), st.sampled_from([(9, 16), (16, 9), (27, 27), (1, 5)]), st.floats(1e-3, 1e3))
def test_singular_values_come_near_one_whatever_their_scale_and_whoever_else_is_there(seed, shape, scale):
    random = np.random.default_rng(seed)
    matrix, other = (jnp.asarray(random.normal(size=size), jnp.float32) for size in (shape, (40, 20)))
    [alone] = orthogonal([matrix])
    [scaled, _] = orthogonal([scale * matrix, other])
    np.testing.assert_allclose(alone, scaled, atol=1e-4)
    assert np.linalg.svd(alone, compute_uv=False).max() < 1.3
    assert float((alone * matrix).sum()) > 0
