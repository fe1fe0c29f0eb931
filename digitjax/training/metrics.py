"""What an evaluation adds up: sums under weights, which merge in any order and do not depend on the batch size."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Float32, Int32

from digitjax.network.model import AnyArray, Logits

BINS = 15
"""Equal bins of confidence for the calibration error (Guo et al. 2017)."""


class Totals(NamedTuple):
    """Sums over examples, each times its weight."""

    weight: Float32[AnyArray, ""]
    loss: Float32[AnyArray, ""]
    confusion: Float32[AnyArray, "classes classes"]
    """Row: the label; column: the prediction."""
    confidence: Float32[AnyArray, f"{BINS}"]
    """By bin of confidence: its sum, ..."""
    correct: Float32[AnyArray, f"{BINS}"]
    """... how many were right, ..."""
    examples: Float32[AnyArray, f"{BINS}"]
    """... and how many there were."""

    def merge(self, other: "Totals") -> "Totals":
        return Totals(*(mine + theirs for mine, theirs in zip(self, other)))


def cross_entropy(logits: Logits, labels: Int32[Array, " batch"], smoothing: float = 0.0) -> Float[Array, " batch"]:
    """In nats, of labels of which `smoothing` is spread over all classes; the label -1, no class, is all spread."""
    plain = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.maximum(labels, 0))
    spread = jax.nn.logsumexp(logits, axis=-1) - logits.mean(-1)
    share = jnp.where(labels < 0, 1.0, smoothing)
    return (1 - share) * plain + share * spread


def totals(
    logits: Logits, labels: Int32[Array, " batch"], weights: Float32[Array, " batch"], smoothing: float = 0.0
) -> Totals:
    """The sums of one batch."""
    classes = logits.shape[-1]
    losses = cross_entropy(logits, labels, smoothing)
    predicted = logits.argmax(-1)
    confidence = jax.nn.softmax(logits).max(-1)
    cell = labels * classes + predicted
    confusion = jnp.zeros(classes * classes).at[cell].add(weights).reshape(classes, classes)
    bins = jnp.clip((confidence * BINS).astype(jnp.int32), 0, BINS - 1)

    def by_bin(values: Float32[Array, " batch"]) -> Float32[Array, f"{BINS}"]:
        return jnp.zeros(BINS).at[bins].add(values * weights)

    right = (predicted == labels).astype(jnp.float32)
    # A padded row may hold anything, NaN too, and must still weigh nothing.
    loss = jnp.where(weights > 0, losses * weights, 0).sum()
    return Totals(weights.sum(), loss, confusion, by_bin(confidence), by_bin(right), by_bin(jnp.ones_like(right)))


def accuracy(sums: Totals) -> float:
    return float(np.trace(sums.confusion)) / float(sums.weight)


def mean_loss(sums: Totals) -> float:
    return float(sums.loss) / float(sums.weight)


def expected_calibration_error(sums: Totals) -> float:
    """Mean distance of confidence from accuracy over the bins (Guo et al. 2017), from 0 to 1."""
    return float(np.abs(np.asarray(sums.confidence) - np.asarray(sums.correct)).sum()) / float(sums.weight)


def wilson(right: float | int, examples: float | int, z: float = 1.959964) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927): sound for few examples and for shares near 1. (0, 1) for none.

    >>> low, high = wilson(9_965, 10_000)
    >>> print(f"{low:.4f} to {high:.4f}")
    0.9951 to 0.9975
    """
    if not examples:
        return 0.0, 1.0
    share, spread = right / examples, z * z / examples
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * np.sqrt(share * (1 - share) / examples + spread / (4 * examples))
    # At 0 and at 1 a bound is the share itself, but for rounding.
    return min(share, max(0.0, float(centre - half))), max(share, min(1.0, float(centre + half)))


def brier(probabilities: AnyArray, labels: AnyArray) -> float:
    """Mean squared distance of the probabilities from the truth (Brier 1950), from 0 to 2."""
    rows = np.asarray(probabilities, np.float64)
    return float(((rows - np.eye(rows.shape[1])[np.asarray(labels)]) ** 2).sum(1).mean())


def auroc(strange: AnyArray, clean: AnyArray) -> float:
    """The chance that a score is higher for something strange than for something clean; an equal one counts half.

    >>> auroc(np.array([3.0, 2.0]), np.array([1.0, 2.0]))
    0.875
    """
    from scipy import stats  # half a second, and training does not need it

    return float(stats.mannwhitneyu(strange, clean).statistic) / (len(strange) * len(clean))


def risk_by_coverage(confidences: AnyArray, right: AnyArray) -> Float[np.ndarray, " n"]:
    """The share misread among the k surest, for k = 1 to n (El-Yaniv and Wiener 2010)."""
    wrong = ~np.asarray(right, bool)[np.argsort(-np.asarray(confidences), kind="stable")]
    return np.cumsum(wrong) / np.arange(1, len(wrong) + 1)


class Paired(NamedTuple):
    """Two readers of the same digits."""

    difference: float
    """The first's accuracy less the second's, ..."""
    low: float
    high: float
    """... and its 95 % interval (Agresti and Min 2005)."""
    p_value: float
    """Of an exact McNemar test (1947): the chance of at least this imbalance, were they equally good."""


def paired(only_first: int, only_second: int, examples: int, z: float = 1.959964) -> Paired:
    """Compares two readers by how many digits each alone read rightly, of `examples` that both were shown."""
    from scipy import stats

    contested = only_first + only_second
    p_value = float(stats.binomtest(only_first, contested).pvalue) if contested else 1.0
    a, b, n = only_first + 0.5, only_second + 0.5, examples + 2
    half = z * np.sqrt(a + b - (a - b) ** 2 / n) / n
    difference = (only_first - only_second) / examples
    return Paired(difference, float((a - b) / n - half), float((a - b) / n + half), p_value)


def per_class(confusion: AnyArray) -> list[Mapping[str, float | int]]:
    """Accuracy (recall) with its Wilson interval, precision, F1 and support of each class; 0 where undefined."""
    confusion = np.asarray(confusion, np.float64)
    rows = []
    for label, right in enumerate(np.diag(confusion)):
        support, predicted = confusion[label].sum(), confusion[:, label].sum()
        recall = right / support if support else 0.0
        precision = right / predicted if predicted else 0.0
        f1 = 2 * right / (support + predicted) if support + predicted else 0.0
        low, high = wilson(right, support)
        figures = dict(accuracy=recall, low=low, high=high, precision=precision, recall=recall, f1=f1, support=support)
        rows.append({"digit": label} | {name: float(value) for name, value in figures.items()})
    return rows
