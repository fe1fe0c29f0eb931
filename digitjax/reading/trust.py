"""How far an answer can be trusted: calibrated confidence, and a verdict: a digit, unsure, or not a digit."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int32

from digitjax.network.model import AnyArray, Images, Logits

VERDICTS = ("digit", "unsure", "not_a_digit")
REFUSAL = 0.008
"""Share of clean digits that may be refused, a little below the 1 % that is promised."""
SHARES = (3 / 4, 1 / 4)
"""Of the refused: for the energy, and for the confidence.

The distance from the classes in feature space (Lee et al. 2018) refused twice as many foreign hands, and no more
letters.
"""


class Trust(NamedTuple):
    """What validation data taught: the temperature, and the limits of a digit."""

    temperature: Float32[AnyArray, ""]
    """Logits are divided by it (Guo et al. 2017)."""
    limits: Float32[AnyArray, "3"]
    """A digit has at least this ink, at most that ink (shares of white), at most this energy."""
    least_confidence: Float32[AnyArray, ""]
    """Below it the answer is unsure."""


def energy(logits: Logits) -> Float[AnyArray, " batch"]:
    """Low for what looks like a class, high for what looks like none (Liu et al. 2020).

    Of logits less their mean: the loss leaves that free, and it drifts.
    """
    return -jax.nn.logsumexp(logits - logits.mean(-1, keepdims=True), axis=-1)


def judge(trust: Trust, images: Images, logits: Logits) -> tuple[Float[Array, "batch classes"], Int32[Array, " batch"]]:
    """Calibrated probabilities, and the verdict on each image as its place in `VERDICTS`."""
    probabilities = jax.nn.softmax(logits / trust.temperature)
    ink = _ink(images)
    least, most, energy_limit = trust.limits
    foreign = (ink < least) | (ink > most) | (energy(logits) > energy_limit)
    unsure = probabilities.max(-1) < trust.least_confidence
    return probabilities, jnp.where(foreign, 2, jnp.where(unsure, 1, 0)).astype(jnp.int32)


def learn(images: Images, logits: Logits, labels: Int32[np.ndarray, " batch"], refusal: float = REFUSAL) -> Trust:
    """Sets temperature and limits on data that were not trained on; `refusal` of them will not be `digit`."""
    from scipy import special  # where trust is learnt alone: its import costs a second

    scores = np.asarray(logits, np.float64)
    ink, strange = np.asarray(_ink(images)), np.asarray(energy(logits))
    limits = ink.min() / 2, min(1.0, ink.max() * 1.5), _cut(strange, SHARES[0] * refusal)
    chosen, inside = temperature(scores, labels), strange <= limits[2]
    confidence = special.softmax(scores / chosen, axis=1).max(1)[inside]
    least = -_cut(-confidence, 1 - (1 - refusal) / max(inside.mean(), 1 - refusal))
    return Trust(*(np.asarray(part, np.float32) for part in (chosen, limits, least)))


def temperature(logits: Float[np.ndarray, "batch classes"], labels: Int32[np.ndarray, " batch"]) -> float:
    """The temperature with the least cross-entropy, from 0.05 to 20 (Guo et al. 2017)."""
    from scipy import optimize, special

    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        return -float(special.log_softmax(logits / np.exp(log_temperature), axis=1)[rows, labels].mean())

    found = optimize.minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded")
    return float(np.exp(found.x))


def _cut(values: np.ndarray, share: float) -> float:
    """The limit that `share` of such values lie above, for few of them extrapolated by an exponential tail."""
    if share <= 0:
        return float(values.max())
    beyond = max(0.0, -np.log(share * len(values)))
    return float(np.quantile(values, 1 - share, method="higher") + beyond * values.std())


def _ink(images: Images) -> Float[Array, " batch"]:
    """The mean grey level of each image, as a share of white."""
    return jnp.asarray(images).astype(jnp.float32).mean((1, 2)) / 255
