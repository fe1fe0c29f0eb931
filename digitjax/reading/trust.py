"""How far an answer can be trusted: calibrated confidence, and a verdict: a digit, unsure, or not a digit."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int32

from digitjax.network.model import AnyArray, Embedding, Images, Logits

VERDICTS = ("digit", "unsure", "not_a_digit")
REFUSAL = 0.008
"""Share of clean digits that may be refused, a little below the 1 % that is promised."""
SHARES = (3 / 4, 1 / 8, 1 / 8)
"""Of the refused: for the energy, which tells generated non-digits apart best by far; the distance; the confidence."""
SHARES_OF_LEARNT = (3 / 4, 0.0, 1 / 4)
"""The same where the network has learnt non-digits: it tells by its energy what others show by their distance alone
(noise), and the distance would refuse the digits of foreign hands."""


class Trust(NamedTuple):
    """What validation data taught: the temperature, the digits' place in feature space, and the limits of a digit."""

    temperature: Float32[AnyArray, ""]
    """Logits are divided by it (Guo et al. 2017)."""
    whitening: Float32[AnyArray, "width width"]
    """Takes embeddings to where digits of one class spread evenly: distance is then Mahalanobis' (Lee et al. 2018)."""
    centres: Float32[AnyArray, "classes width"]
    """The mean embedding of each class, whitened."""
    limits: Float32[AnyArray, "4"]
    """A digit has at least this ink, at most that ink (shares of white), at most this energy, at most this distance."""
    least_confidence: Float32[AnyArray, ""]
    """Below it the answer is unsure."""


def energy(logits: Logits) -> Float[AnyArray, " batch"]:
    """Low for what looks like a class, high for what looks like none (Liu et al. 2020).

    Of logits less their mean: the loss leaves that free, and it drifts.
    """
    return -jax.nn.logsumexp(logits - logits.mean(-1, keepdims=True), axis=-1)


def distance(trust: Trust, embedding: Embedding) -> Float[AnyArray, " batch"]:
    """From the nearest class, in standard deviations."""
    apart = (embedding @ trust.whitening)[:, None] - trust.centres[None]
    return jnp.sqrt((apart**2).sum(-1).min(-1))


def judge(
    trust: Trust, images: Images, logits: Logits, embedding: Embedding
) -> tuple[Float[Array, "batch classes"], Int32[Array, " batch"]]:
    """Calibrated probabilities, and the verdict on each image as its place in `VERDICTS`."""
    probabilities = jax.nn.softmax(logits / trust.temperature)
    ink = _ink(images)
    least, most, energy_limit, distance_limit = trust.limits
    foreign = (ink < least) | (ink > most) | (energy(logits) > energy_limit)
    foreign |= distance(trust, embedding) > distance_limit
    unsure = probabilities.max(-1) < trust.least_confidence
    return probabilities, jnp.where(foreign, 2, jnp.where(unsure, 1, 0)).astype(jnp.int32)


def learn(
    images: Images,
    logits: Logits,
    embedding: Embedding,
    labels: Int32[np.ndarray, " batch"],
    refusal: float = REFUSAL,
    shares: Sequence[float] = SHARES,
) -> Trust:
    """Sets temperature and limits on data that were not trained on; `refusal` of them will not be `digit`."""
    from scipy import special  # where trust is learnt alone: its import costs a second

    scores, rows = np.asarray(logits, np.float64), np.asarray(embedding, np.float64)
    means = np.zeros((scores.shape[1], rows.shape[1])) + rows.mean(0)
    for digit in np.unique(labels):
        means[digit] = rows[labels == digit].mean(0)
    spread = rows - means[labels]
    # A little of the mean variance on the diagonal: few examples leave directions that they never take.
    covariance = spread.T @ spread / len(rows)
    covariance += np.eye(len(covariance)) * (1e-3 * np.trace(covariance) / len(covariance) + 1e-9)
    whitening = np.linalg.cholesky(np.linalg.inv(covariance))
    chosen = temperature(scores, labels)
    open_to_all = (chosen, whitening, means @ whitening, [0, 1, np.inf, np.inf], 0)
    trust = Trust(*(np.asarray(part, np.float32) for part in open_to_all))
    ink, strange = np.asarray(_ink(images)), np.asarray(energy(logits))
    far = _distance_of_unseen(rows @ whitening, means @ whitening, labels)
    limits = (
        ink.min() / 2,
        min(1.0, ink.max() * 1.5),
        _cut(strange, shares[0] * refusal),
        _cut(far, shares[1] * refusal) if shares[1] else np.inf,
    )
    inside = (strange <= limits[2]) & (far <= limits[3])
    confidence = special.softmax(scores / chosen, axis=1).max(1)[inside]
    least = -_cut(-confidence, 1 - (1 - refusal) / max(inside.mean(), 1 - refusal))
    return trust._replace(limits=np.array(limits, np.float32), least_confidence=np.array(least, np.float32))


def temperature(logits: Float[np.ndarray, "batch classes"], labels: Int32[np.ndarray, " batch"]) -> float:
    """The temperature with the least cross-entropy, from 0.05 to 20 (Guo et al. 2017)."""
    from scipy import optimize, special

    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        return -float(special.log_softmax(logits / np.exp(log_temperature), axis=1)[rows, labels].mean())

    found = optimize.minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded")
    return float(np.exp(found.x))


def _distance_of_unseen(
    rows: Float[np.ndarray, "batch width"],
    centres: Float[np.ndarray, "classes width"],
    labels: Int32[np.ndarray, " batch"],
) -> Float[np.ndarray, " batch"]:
    """How far each whitened row would be if centres and whitening had been learnt from all others.

    A row draws its centre and its covariance to itself, the more the fewer they are: without that all new digits would
    be far. Removing one is an update of rank one (Sherman and Morrison 1950).
    """
    count = np.bincount(labels, minlength=len(centres))[labels]
    growth = count / np.maximum(count - 1, 1)
    own = rows - centres[labels]
    share = growth / len(rows)
    pull = share / np.maximum(1 - share * (own**2).sum(1), 1e-9)
    apart = rows[:, None] - centres
    apart[np.arange(len(rows)), labels] *= growth[:, None]
    squares = (apart**2).sum(2) + pull[:, None] * np.einsum("bcw,bw->bc", apart, own) ** 2
    return np.sqrt(squares.min(1))


def _cut(values: np.ndarray, share: float) -> float:
    """The limit that `share` of such values lie above, for few of them extrapolated by an exponential tail."""
    if share <= 0:
        return float(values.max())
    beyond = max(0.0, -np.log(share * len(values)))
    return float(np.quantile(values, 1 - share, method="higher") + beyond * values.std())


def _ink(images: Images) -> Float[Array, " batch"]:
    """The mean grey level of each image, as a share of white."""
    return jnp.asarray(images).astype(jnp.float32).mean((1, 2)) / 255
