"""Random changes to a batch of training images, on the device, from one key. Labels never move."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, UInt8

from digitjax.base.config import AugmentConfig

Matrices = Float32[Array | np.ndarray, "batch 2 3"]
"""Where each pixel of the result comes from: source (row, column) = matrix @ (row, column, 1), about the centre."""
Bend = Float32[Array | np.ndarray, "2 batch 28 28"]
"""How much further off each pixel's source lies, in pixels: down, then right."""
_CENTRE = 13.5


def augment(
    config: AugmentConfig, images: UInt8[Array | np.ndarray, "batch 28 28"], key: Array
) -> Float32[Array, "batch 28 28"]:
    """Changes every image by its own draw, in a camera's order: pen, then paper, then the light and noise upon it."""
    keys = dict(zip(("warp", "hard", "elastic", *_CHANGES), jax.random.split(key, 3 + len(_CHANGES))))
    hard = jax.random.uniform(keys["hard"], (len(images), 1, 1)) < config.hard
    moved = jnp.asarray(images, jnp.float32)
    if _moves(config):
        bend = random_bend(config.elastic, len(images), keys["elastic"]) * hard[None] if config.elastic else None
        moved = warp(images, random_matrices(config, len(images), keys["warp"]), bend)
    changed = moved
    for name, change in _CHANGES.items():
        if getattr(config, name):
            changed = change(getattr(config, name), changed, keys[name])
    return moved if changed is moved else jnp.where(hard, changed, moved)


def random_matrices(config: AugmentConfig, batch: int, key: Array) -> Matrices:
    """Draws rotation, zoom, shear and shift for each image, evenly within the config's bounds."""
    turn, zoom_y, zoom_x, shear, shift_y, shift_x = jax.random.uniform(key, (6, batch), minval=-1, maxval=1)
    angle = turn * (config.rotation * jnp.pi / 180)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    zoom_y, zoom_x, shear = 1 + config.zoom * zoom_y, 1 + config.zoom * zoom_x, config.shear * shear
    rows = jnp.stack([cos * zoom_y, cos * shear - sin * zoom_x, config.shift * shift_y])
    columns = jnp.stack([sin * zoom_y, sin * shear + cos * zoom_x, config.shift * shift_x])
    return jnp.stack([rows, columns]).transpose(2, 0, 1)


def random_bend(strength: float, batch: int, key: Array) -> Bend:
    """A smooth field: normal draws at 5 x 5 places, spread by bells of that spacing."""
    places = jnp.linspace(0, 27, 5)
    bells = jnp.exp(-(((jnp.arange(28)[:, None] - places[None]) / 6.75) ** 2))
    bells /= jnp.sqrt((bells**2).sum(1, keepdims=True))
    return strength * jnp.einsum("pi,abij,qj->abpq", bells, jax.random.normal(key, (2, batch, 5, 5)), bells)


def warp(
    images: UInt8[Array | np.ndarray, "batch 28 28"], matrices: Matrices, bend: Bend | None = None
) -> Float32[Array, "batch 28 28"]:
    """Resamples each image through its matrix and bend, bilinearly; outside of the image there is ground (0)."""
    batch, matrices = len(images), jnp.asarray(matrices)
    grid = jnp.arange(28, dtype=jnp.float32) - _CENTRE
    rows, columns = jnp.repeat(grid, 28)[None], jnp.tile(grid, 28)[None]

    def source(axis: int) -> tuple[Array, Array]:
        line = matrices[:, axis]
        at = line[:, :1] * rows + line[:, 1:2] * columns + line[:, 2:] + _CENTRE
        at = at if bend is None else at + bend[axis].reshape(batch, -1)
        whole = jnp.floor(at)
        # Everything further out than a pixel reads the same ground, found in the padding.
        return jnp.clip(whole.astype(jnp.int32) + 2, 0, 30), at - whole

    (row, down), (column, right) = source(0), source(1)
    # The four neighbours of a place, packed into one number: a gather is dear on a CPU, so one serves for four.
    padded = jnp.pad(images, ((0, 0), (2, 2), (2, 2))).astype(jnp.uint32)
    corner, beside = padded[:, :31, :31], padded[:, :31, 1:]
    below, across = padded[:, 1:, :31], padded[:, 1:, 1:]
    packed = corner | beside << 8 | below << 16 | across << 24
    found = jnp.take_along_axis(packed.reshape(batch, -1), row * 31 + column, axis=1)
    corner, beside, below, across = (((found >> bits) & 255).astype(jnp.float32) for bits in (0, 8, 16, 24))
    upper = corner + (beside - corner) * right
    lower = below + (across - below) * right
    return (upper + (lower - upper) * down).reshape(images.shape)


def _moves(config: AugmentConfig) -> bool:
    return bool(config.rotation or config.shift or config.zoom or config.shear or config.elastic)


def _neighbours(images: Array, choose: Callable[[Array, Array], Array]) -> Array:
    """The most or the least of each pixel and the four beside it."""
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1)))
    across = choose(padded[:, 1:-1, :-2], padded[:, 1:-1, 2:])
    return choose(images, choose(across, choose(padded[:, :-2, 1:-1], padded[:, 2:, 1:-1])))


def _stroke(strength: float, images: Array, key: Array) -> Array:
    amount = strength * jax.random.uniform(key, (len(images), 1, 1), minval=-1)
    thick, thin = _neighbours(images, jnp.maximum), _neighbours(images, jnp.minimum)
    return images + jnp.abs(amount) * (jnp.where(amount > 0, thick, thin) - images)


def _outline(chance: float, images: Array, key: Array) -> Array:
    edges = jnp.minimum(2 * (_neighbours(images, jnp.maximum) - images), 255)
    return jnp.where(jax.random.uniform(key, (len(images), 1, 1)) < chance, edges, images)


def _contrast(strength: float, images: Array, key: Array) -> Array:
    return images * (1 - strength * jax.random.uniform(key, (len(images), 1, 1)))


def _background(strength: float, images: Array, key: Array) -> Array:
    """A sloping or cloudy light: ink stays what it is, ground rises towards it."""
    level_key, cloud_key = jax.random.split(key)
    level, slope_y, slope_x, cloudy = jax.random.uniform(level_key, (4, len(images), 1, 1))
    clouds = 0.5 * cloudy * random_bend(1.0, len(images), cloud_key)[0]
    ramp = (jnp.arange(28) - _CENTRE) / 28
    slope = (slope_y - 0.5) * ramp[None, :, None] + (slope_x - 0.5) * ramp[None, None, :]
    light = strength * (level + slope + clouds)
    return images + (255 - images) * jnp.clip(light, 0, 1)


def _blur(strength: float, images: Array, key: Array) -> Array:
    share = strength * jax.random.uniform(key, (len(images), 1, 1))
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1)))
    rows = padded[:, :28] + padded[:, 1:29] + padded[:, 2:]
    mean = (rows[:, :, :28] + rows[:, :, 1:29] + rows[:, :, 2:]) / 9
    return images + share * (mean - images)


def _noise(strength: float, images: Array, key: Array) -> Array:
    level_key, noise_key = jax.random.split(key)
    level, kind = jax.random.uniform(level_key, (2, len(images), 1, 1))
    normal = jax.random.normal(noise_key, images.shape)
    specks = jnp.where(jnp.abs(normal) > 2.5 - 1.5 * strength * level, jnp.where(normal > 0, 255.0, 0.0), images)
    return jnp.where(kind < 0.5, specks, jnp.clip(images + 255 * strength * level * normal, 0, 255))


def _erase(chance: float, images: Array, key: Array) -> Array:
    """With the given chance each, three lines through the picture, straight or zigzag: all wiped out, or all drawn."""
    hit, angle, offset, width, grey, swing, pitch, phase = jax.random.uniform(key, (8, len(images), 3, 1, 1))
    cos, sin = jnp.cos(jnp.pi * angle), jnp.sin(jnp.pi * angle)
    rows, columns = (jnp.mgrid[:28, :28] - _CENTRE)[:, None, None]
    across, along = cos * rows + sin * columns, sin * rows - cos * columns
    waves = along / (6 + 12 * pitch) + phase
    zigzag = 14 * jnp.maximum(swing - 0.5, 0) * (jnp.abs(4 * (waves - jnp.floor(waves)) - 2) - 1)
    on_line = (jnp.abs(across + zigzag - 20 * (offset - 0.5)) < 0.5 + width) & (hit < chance)
    return jnp.where(on_line.any(1), jnp.where(grey[:, 0] < 0.5, 0.0, 255.0), images)


_CHANGES = {
    "outline": _outline,
    "stroke": _stroke,
    "erase": _erase,
    "contrast": _contrast,
    "background": _background,
    "blur": _blur,
    "noise": _noise,
}
