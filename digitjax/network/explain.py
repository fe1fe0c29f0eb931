"""Where a network looks: seven methods, each one jitted function of (config, variables, images, classes, layer).

Each returns what speaks for the class by pixel, in units of its own; `explain` brings that to 0..1. The class is scored
by its logit, since a softmax's gradient vanishes where the network is sure.
"""

from collections.abc import Callable, Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int, UInt8

from digitjax.base.config import ModelConfig, named
from digitjax.base.errors import UsageError
from digitjax.network import model
from digitjax.network.model import AnyArray, Features, Images, Logits, Variables

Classes = Int[AnyArray, " batch"] | None
"""The class that each image is to be explained for; None for the predicted ones."""
Evidence = Float[Array, "batch 28 28"]

SAMPLES = 32
"""Points of an integrated path; noisy copies of an image."""
NOISE = 0.15 * 255
"""Deviation of the noise on these copies, in grey levels (10 to 20 % of the range in Smilkov et al.)."""
PATCH, STEP = 6, 2
"""Side of the square that hides a part of the image, and the distance of its places, in pixels."""

_jitted = partial(jax.jit, static_argnums=(0, 4))


def explain(
    config: ModelConfig,
    variables: Variables,
    images: UInt8[np.ndarray, "n 28 28"],
    classes: Int[np.ndarray, " n"] | None = None,
    method: str = "gradcam",
    layer: int = -1,
) -> Float32[np.ndarray, "n 28 28"]:
    """What speaks for each image's class (the predicted one if None) by pixel, from 0 to 1, its largest value.

    A map that is 0 everywhere means that the method found nothing that speaks for the class: say so to whoever sees it.
    `layer` is the convolution at which the network is cut, counted from 0 or from the end; methods that work on pixels
    (integrated_gradients, smoothgrad, saliency, occlusion) ignore it.

    Raises:
      UsageError: no such method, layer or class.
    """
    function = named("method", method, METHODS)
    layers = sum(config.depth)
    if not -layers <= layer < layers:
        raise UsageError(f"layer is {layer}: this network's convolutions are 0 to {layers - 1}, or -{layers} to -1")
    if classes is not None and not ((classes >= 0) & (classes < config.classes)).all():
        raise UsageError(f"classes are {sorted(set(classes.tolist()))}: each must be from 0 to {config.classes - 1}")
    largest = 32 if function in _CHEAP else 4
    parts = [np.zeros((0, 28, 28), np.float32)]
    for start in range(0, len(images), largest):
        part = slice(start, start + largest)
        count = len(images[part])
        # Padding to a power of two keeps the number of compiled shapes small.
        padding = (0, (1 << (count - 1).bit_length()) - count)
        named_classes = None if classes is None else np.pad(classes[part], padding).astype(np.int32)
        padded = np.pad(images[part], (padding, (0, 0), (0, 0)))
        parts.append(np.asarray(_scaled(function(config, variables, padded, named_classes, layer)))[:count])
    return np.concatenate(parts)


@_jitted
def gradcam(config: ModelConfig, variables: Variables, images: Images, classes: Classes, layer: int) -> Evidence:
    """Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391): channels by the mean gradient of each."""
    features, gradients = features_and_gradients(config, variables, images, classes, layer)
    return _weighted(config, features, gradients.mean((1, 2), keepdims=True), layer)


@_jitted
def gradcam_plus_plus(
    config: ModelConfig, variables: Variables, images: Images, classes: Classes, layer: int
) -> Evidence:
    """Grad-CAM++ (Chattopadhay et al. 2018, arXiv:1710.11063), of the exponential of the logit, as there.

    That exponential multiplies a whole map, and is left out.
    """
    features, gradients = features_and_gradients(config, variables, images, classes, layer)
    below = 2 + features.sum((1, 2), keepdims=True) * gradients
    share = 1 / jnp.where(below == 0, 1, below)
    return _weighted(config, features, (share * jax.nn.relu(gradients)).sum((1, 2), keepdims=True), layer)


@_jitted
def hirescam(config: ModelConfig, variables: Variables, images: Images, classes: Classes, layer: int) -> Evidence:
    """HiResCAM (Draelos and Carin 2020, arXiv:2011.08891): each place by its own gradient."""
    features, gradients = features_and_gradients(config, variables, images, classes, layer)
    return _weighted(config, features, gradients, layer)


@_jitted
def saliency(config: ModelConfig, variables: Variables, images: Images, classes: Classes, _layer: int) -> Evidence:
    """How far the logit moves with each pixel, either way (Simonyan et al. 2013, arXiv:1312.6034)."""
    return jnp.abs(_pixel_gradients(config, variables, images, classes))


@_jitted
def smoothgrad(config: ModelConfig, variables: Variables, images: Images, classes: Classes, _layer: int) -> Evidence:
    """Saliency of the mean gradient over noisy copies (Smilkov et al. 2017, arXiv:1706.03825); the noise is fixed."""
    noise = NOISE * jax.random.normal(jax.random.key(0), (SAMPLES, 28, 28))
    copies = jnp.asarray(images)[:, None].astype(jnp.float32) + noise[None]
    return jnp.abs(_mean_gradients(config, variables, images, classes, copies))


@_jitted
def integrated_gradients(
    config: ModelConfig, variables: Variables, images: Images, classes: Classes, _layer: int
) -> Evidence:
    """Integrated Gradients from black (Sundararajan et al. 2017, arXiv:1703.01365), signed.

    They add up to the logit less that of a black image, but for the 32 points of the path.
    """
    path = ((np.arange(SAMPLES, dtype=np.float32) + 0.5) / SAMPLES)[None, :, None, None]
    black_to_image = jnp.asarray(images)[:, None].astype(jnp.float32) * path
    return _mean_gradients(config, variables, images, classes, black_to_image) * images


@_jitted
def occlusion(config: ModelConfig, variables: Variables, images: Images, classes: Classes, _layer: int) -> Evidence:
    """How far the logit falls under a black square (Zeiler and Fergus 2013, arXiv:1311.2901), signed."""
    cells = 28 // STEP
    distance = np.abs(np.arange(28)[None] - _centres(cells, STEP, (STEP - 1) / 2)[:, None])
    lines = distance < PATCH / 2
    hidden = (lines[:, None, :, None] & lines[None, :, None, :]).reshape(1, -1, 28, 28)
    occluded = jnp.where(hidden, 0, jnp.asarray(images)[:, None]).reshape(-1, 28, 28)
    whole = model.logits(config, variables, images)
    chosen = _chosen(whole, classes)
    parts = model.logits(config, variables, occluded).reshape(len(images), -1, config.classes)
    falls = _of_class(whole, chosen)[:, None] - jnp.take_along_axis(parts, chosen[:, None, None], axis=2)[..., 0]
    return _spread(falls.reshape(-1, cells, cells), STEP, (STEP - 1) / 2)


METHODS: Mapping[str, Callable[[ModelConfig, Variables, Images, Classes, int], Evidence]] = {
    "gradcam": gradcam,
    "gradcam_plus_plus": gradcam_plus_plus,
    "hirescam": hirescam,
    "integrated_gradients": integrated_gradients,
    "smoothgrad": smoothgrad,
    "saliency": saliency,
    "occlusion": occlusion,
}
_CHEAP = (gradcam, gradcam_plus_plus, hirescam, saliency)
"""Methods that pass an image once; the others do dozens of times, and take few images at a time."""


def features_and_gradients(
    config: ModelConfig, variables: Variables, images: Images, classes: Classes, layer: int
) -> tuple[Features, Features]:
    """What the network hands on at its cut, and the gradient of each image's class logit there."""
    features = model.features(config, variables, images, layer)

    def score(cut: Features) -> Float[Array, ""]:
        logits = model.logits_from_features(config, variables, cut, layer)
        return _of_class(logits, _chosen(logits, classes)).sum()

    return features, jax.grad(score)(features)


def _pixel_gradients(
    config: ModelConfig, variables: Variables, images: Images, classes: Classes
) -> Float[Array, "batch 28 28"]:
    def score(images: Images) -> Float[Array, ""]:
        logits = model.logits(config, variables, images)
        return _of_class(logits, _chosen(logits, classes)).sum()

    return jax.grad(score)(jnp.asarray(images).astype(jnp.float32))


def _mean_gradients(
    config: ModelConfig,
    variables: Variables,
    images: Images,
    classes: Classes,
    copies: Float[Array, "batch samples 28 28"],
) -> Float[Array, "batch 28 28"]:
    """Over copies of each image, for the class of the image itself.

    All go in one batch: a convolution inside a compiled loop is slow on a CPU.
    """
    chosen = _chosen(model.logits(config, variables, images), classes)
    gradients = _pixel_gradients(config, variables, copies.reshape(-1, 28, 28), jnp.repeat(chosen, copies.shape[1]))
    return gradients.reshape(copies.shape).mean(1)


def _chosen(logits: Logits, classes: Classes) -> Int[Array, " batch"]:
    return logits.argmax(-1) if classes is None else jnp.asarray(classes)


def _of_class(logits: Logits, classes: Int[Array, " batch"]) -> Float[Array, " batch"]:
    return jnp.take_along_axis(logits, classes[:, None], axis=1)[:, 0]


def _weighted(config: ModelConfig, features: Features, weights: Features, layer: int) -> Evidence:
    return _spread(jax.nn.relu((weights * features).sum(-1)), *model.placement(config, layer))


def _spread(maps: Float[Array, "batch side side"], stride: int, centre: float) -> Evidence:
    """Linearly between the cells' true places in the picture, so that a digit and its map move together."""
    places = _centres(maps.shape[1], stride, centre)
    pixels = np.clip(np.arange(28), places[0], places[-1])
    weights = np.maximum(0, 1 - np.abs(pixels[:, None] - places[None]) / stride).astype(np.float32)
    return jnp.einsum("ri,nij,cj->nrc", weights, maps, weights)


def _centres(cells: int, stride: int, centre: float) -> np.ndarray:
    return centre + stride * np.arange(cells)


@jax.jit
def _scaled(evidence: Evidence) -> Evidence:
    positive = jax.nn.relu(evidence)
    peak = positive.max((1, 2), keepdims=True)
    return positive / jnp.where(peak > 0, peak, 1)
