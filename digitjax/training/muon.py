"""Muon for convolutions (Jordan et al. 2024), written so that it compiles to a fifth of the operations of Optax's.

Newton and Schulz's iteration multiplies a momentum X by polynomials of X X^T. All of them commute, so it is enough to
iterate on that small square: X is touched twice, and the squares of all layers go together, padded to one size.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float32, Int32

COEFFICIENTS = 3.4445, -4.775, 2.0315
STEPS, BETA, EPSILON = 3, 0.9, 1e-8

Matrices = list[Float32[Array, "_ _"]]


class MuonState(NamedTuple):
    steps: Int32[Array, ""]
    mu: Any
    """The momentum of each kernel."""


def muon(learning_rate: optax.Schedule, others: optax.Schedule, weight_decay: float) -> optax.GradientTransformation:
    """Muon with Nesterov momentum and decoupled weight decay for kernels of four axes; Adam at the rate `others` else.

    The same update as `optax.contrib.muon(ns_steps=3, beta=0.9, ...)` of matrices from window to channel, rounded
    otherwise.
    """
    convolutions = optax.chain(
        scale_by_muon(), optax.add_decayed_weights(weight_decay), optax.scale_by_learning_rate(learning_rate)
    )
    adam = optax.flatten(optax.adamw(others, weight_decay=0.0, nesterov=True))  # one vector: one operation
    return optax.partition(
        {"muon": convolutions, "adam": adam},
        lambda params: jax.tree.map(lambda leaf: "muon" if leaf.ndim == 4 else "adam", params),
    )


def scale_by_muon() -> optax.GradientTransformation:
    def init(params: Any) -> MuonState:
        return MuonState(jnp.int32(0), jax.tree.map(jnp.zeros_like, params))

    def update(updates: Any, state: MuonState, params: Any = None) -> tuple[Any, MuonState]:
        del params
        count = state.steps + 1
        mu = jax.tree.map(lambda old, new: BETA * old + (1 - BETA) * new, state.mu, updates)
        ahead, now = BETA / (1 - BETA ** (count + 1.0)), (1 - BETA) / (1 - BETA ** count.astype(jnp.float32))
        leaves, structure = jax.tree.flatten(jax.tree.map(lambda old, new: ahead * old + now * new, mu, updates))
        found = orthogonal([leaf.reshape(-1, leaf.shape[-1]) for leaf in leaves])
        scaled = [
            one.reshape(leaf.shape) * max(1.0, one.shape[1] / one.shape[0]) ** 0.5 for one, leaf in zip(found, leaves)
        ]
        return jax.tree.unflatten(structure, scaled), MuonState(count, mu)

    return optax.GradientTransformation(init, update)  # pyright: ignore[reportArgumentType]


def orthogonal(matrices: Matrices) -> Matrices:
    """Each matrix with singular values near 1 in place of its own (of any size below its norm)."""
    wide = [one if one.shape[0] <= one.shape[1] else one.T for one in matrices]
    wide = [one / (jnp.sqrt((one**2).sum()) + EPSILON) for one in wide]
    side = max(len(one) for one in wide)
    squares = jnp.stack([jnp.pad(one @ one.T, (0, side - len(one))) for one in wide])
    a, b, c = COEFFICIENTS
    product = identity = jnp.eye(side)[None]
    for step in range(STEPS):
        factor = a * identity + b * squares + c * squares @ squares
        product = factor @ product if step else factor
        if step < STEPS - 1:
            squares = factor @ squares @ factor
    made = [own[: len(one), : len(one)] @ one for own, one in zip(product, wide)]
    return [one if one.shape == like.shape else one.T for one, like in zip(made, matrices)]
