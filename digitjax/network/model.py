"""The network as pure functions of (config, variables), cut wherever an explanation wants to cut it.

The only file that knows Flax: Linen, because a Linen module is a function of a plain dict of arrays.
"""

from functools import partial
from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Float32, Int, UInt8

from digitjax.base.config import ModelConfig
from digitjax.network import ops

AnyArray = Array | np.ndarray
Images = UInt8[AnyArray, "batch 28 28"] | Float32[AnyArray, "batch 28 28"]
"""Grey levels from 0 to 255, strokes bright on dark; float32 where augmentation has been at work."""
Strips = UInt8[AnyArray, "batch 40 _"]
"""Lines of writing (see `picture.strips`), as wide as a multiple of `FRAME`."""
Logits = Float[AnyArray, "batch classes"]
Embedding = Float[AnyArray, "batch width"]
"""A digit's place in feature space."""
Features = Float[Array, "batch _ _ _"]
"""[batch, height, width, channels]."""
Variables = dict[str, Any]
"""{"params": ..., "batch_stats": ...}: nested dicts of arrays; no batch_stats without batch normalisation."""


@partial(jax.jit, static_argnames="config")
def init(config: ModelConfig, key: Array) -> Variables:
    """Fresh variables: the same key gives the same."""
    images = jnp.zeros((1, 28, 28), jnp.uint8)
    variables = Network(config).init(key, images, train=False)
    return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}


def logits(config: ModelConfig, variables: Variables, images: Images) -> Logits:
    """Inference: each row depends on its own image alone."""
    return cast(Logits, Network(config).apply(variables, images, train=False))


def logits_and_embedding(config: ModelConfig, variables: Variables, images: Images) -> tuple[Logits, Embedding]:
    """The logits, and the vector that the last layer makes them of; where that is a whole picture, the logits again."""
    return cast(Any, Network(config).apply(variables, images, method=Network.with_embedding))


def training_logits(
    config: ModelConfig, variables: Variables, images: Images, dropout_key: Array, axis_name: str | None = None
) -> tuple[Logits, Variables]:
    """Logits under dropout and batch statistics, and the new running `batch_stats`.

    Under `axis_name` the images are this device's share of a batch, which gets what it would get in the whole.
    """
    rngs, network = {"dropout": dropout_key}, Network(config, axis_name)
    out, changed = network.apply(variables, images, train=True, rngs=rngs, mutable=["batch_stats"])
    return cast(Logits, out), cast(Variables, changed.get("batch_stats", {}))


def features(config: ModelConfig, variables: Variables, images: Images, layer: int = -1) -> Features:
    """What convolution `layer` (counted from 0, or from the end) hands on: the first half of the cut network."""
    stop = range(sum(config.depth))[layer] + 1
    return cast(Features, Network(config).apply(variables, images, stop, method=Network.features))


def logits_from_features(config: ModelConfig, variables: Variables, cut: Features, layer: int = -1) -> Logits:
    """The second half: `logits_from_features(features(images))` is `logits(images)`, for any layer."""
    start = range(sum(config.depth))[layer] + 1
    return cast(Logits, Network(config).apply(variables, cut, start, method=Network.logits_from))


def placement(config: ModelConfig, layer: int = -1) -> tuple[int, float]:
    """Where the cells of `features` lie in the picture: their distance and the centre of the first, in pixels."""
    last = range(sum(config.depth))[layer]
    stride, centre = 1, 0.0
    for number, pool in enumerate(pools(config)[: last + 1]):
        centre += stride if config.padding == "VALID" else 0
        if pool and (config.batch_norm or number < last):
            centre, stride = centre + stride / 2, 2 * stride
    return stride, centre


def pools(config: ModelConfig) -> list[bool]:
    """Whether a pool follows, by convolution, from the first."""
    return [
        position == depth - 1 and config.pools_after(stage)
        for stage, depth in enumerate(config.depth)
        for position in range(depth)
    ]


def parameter_count(variables: Variables) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


_RISING = {"relu", "elu", "tanh"}
"""Activations that keep the order of numbers."""


class Layer(NamedTuple):
    """A row of `summary`: multiplications and additions count one each, for a forward pass of one image."""

    name: str
    shape: tuple[int, ...]
    parameters: int
    flops: int


def summary(config: ModelConfig) -> list[Layer]:
    """Every layer with its output shape, parameters and FLOPs per image (of convolutions and dense layers)."""
    variables = jax.eval_shape(lambda key: init(config, key), jax.random.key(0))
    rows, size, channels = [], 28, 1
    trim = 2 if config.padding == "VALID" else 0
    layer = 0
    for stage, (width, depth) in enumerate(zip(config.widths, config.depth)):
        for position in range(depth):
            size -= trim
            flops = 2 * 9 * channels * width * size * size
            rows.append(Layer(f"convolution_{layer}", (size, size, width), 0, flops))
            channels = width
            if position == depth - 1 and config.pools_after(stage):
                size //= 2
                rows.append(Layer("max_pool", (size, size, width), 0, 0))
            if config.batch_norm:
                rows.append(Layer(f"norm_{layer}", (size, size, width), 0, 0))
            layer += 1
    length = channels * (size * size if config.head == "flatten" else 1)
    rows.append(Layer("flatten" if config.head == "flatten" else f"global_{config.head}", (length,), 0, 0))
    if config.hidden:
        rows.append(Layer("hidden", (config.hidden,), 0, 2 * length * config.hidden))
        length = config.hidden
    rows.append(Layer("output", (config.classes,), 0, 2 * length * config.classes))
    params = variables["params"]
    return [row._replace(parameters=parameter_count({"params": params.get(row.name, {})})) for row in rows]


def normalise(images: Images | Strips) -> Float[Array, "batch _ _ 1"]:
    return jnp.asarray(images)[..., None].astype(jnp.float32) * np.float32(1 / 255)


class Network(nn.Module):
    """Stages of convolutions, then a head; the first line takes raw grey levels, so that all callers agree."""

    config: ModelConfig
    axis_name: str | None = None

    def setup(self) -> None:
        config = self.config
        widths = [width for width, depth in zip(config.widths, config.depth) for _ in range(depth)]
        self.pools = pools(config)
        self.convolutions = [
            Convolution(width, config.padding, not config.batch_norm, name=f"convolution_{layer}")
            for layer, width in enumerate(widths)
        ]
        if config.batch_norm:
            norm = partial(BatchNorm, momentum=0.9, axis_name=self.axis_name)
            self.norms = [norm(name=f"norm_{layer}") for layer in range(len(widths))]
        if config.hidden:
            self.hidden = nn.Dense(config.hidden, name="hidden")
        self.output = nn.Dense(config.classes, name="output")
        self.drop = Dropout(config.dropout, self.axis_name)

    def __call__(self, images: Images, train: bool) -> Logits:
        return self.logits_from(normalise(images), 0, train)

    def with_embedding(self, images: Images) -> tuple[Logits, Embedding]:
        embedding = self._embed(normalise(images), 0, train=False)
        logits = self.output(embedding)
        width = self.config.head == "flatten" and not self.config.hidden
        return logits, logits if width else embedding

    def features(self, images: Images, stop: int) -> Features:
        x = normalise(images)
        for layer in range(stop):
            last = layer == stop - 1
            x = self._layer(x, layer, self.pools[layer] and (self.config.batch_norm or not last), train=False)
        return x

    def logits_from(self, cut: Features, start: int, train: bool = False) -> Logits:
        return self.output(self.drop(self._embed(cut, start, train), deterministic=not train))

    def _embed(self, cut: Features, start: int, train: bool) -> Embedding:
        x = cut
        if start and self.pools[start - 1] and not self.config.batch_norm:
            x = ops.max_pool(x)
        for layer in range(start, len(self.pools)):
            x = self._layer(x, layer, self.pools[layer], train)
        if self.config.head == "flatten":
            x = x.reshape(x.shape[0], -1)
        else:
            x = ops.global_max(x) if self.config.head == "max" else x.mean((1, 2))
        return self._activate(self.hidden(x)) if self.config.hidden else x

    def _layer(self, x: Features, layer: int, pool: bool, train: bool) -> Features:
        """Convolution, pool, activation. The pool comes before what keeps the order of numbers: less to do.

        Batch normalisation follows the pool by definition of these networks, so that a cut lies behind it; without
        it a cut lies before the pool, at the convolution's own resolution.
        """
        if self.config.batch_norm:
            return self._activate(self.norms[layer](self.convolutions[layer](x, pool), not train))
        if self.config.activation in _RISING:
            return self._activate(self.convolutions[layer](x, pool))
        x = self._activate(self.convolutions[layer](x, pool=False))
        return ops.max_pool(x) if pool else x

    def _activate(self, x: Array) -> Array:
        return getattr(nn, self.config.activation)(x)


class Convolution(nn.Module):
    """A 3 x 3 convolution through `ops`, pooled or not, and its bias."""

    width: int
    padding: str
    use_bias: bool

    @nn.compact
    def __call__(self, x: Features, pool: bool) -> Features:
        kernel = self.param("kernel", nn.initializers.he_normal(), (3, 3, x.shape[-1], self.width))
        x = (ops.conv_pool if pool else ops.conv)(x.astype(kernel.dtype), kernel, self.padding)
        if not self.use_bias:
            return x
        return x + self.param("bias", nn.initializers.zeros, (self.width,))[None, None, None]


FRAME = 4
"""Columns of a strip for each place in which the line network sees a digit or none."""
LINE_STAGES = ((16, 2), (32, 2), (64, 0), (96, 1), (128, 0))
"""Of the line network's convolutions: channels; behind each nothing is halved, its height (1), or its width too (2)."""
LINE_CHANNELS = 256
"""Of the layers behind them, which see a column and its neighbours."""
BLANK = 10
"""The class of a place without a digit."""
LineLogits = Float[AnyArray, "batch _ 11"]
"""For each place along a line: the ten digits, and none."""


@jax.jit
def init_lines(key: Array) -> Variables:
    """Fresh variables of the line network."""
    return cast(Variables, dict(LineNetwork().init(key, jnp.zeros((1, 40, 64), jnp.uint8), train=False)))


def line_logits(variables: Variables, strips: Strips) -> LineLogits:
    """Inference: a place depends on some 80 columns about it; to be read by connectionist temporal classification."""
    return cast(LineLogits, LineNetwork().apply(variables, strips, train=False))


def training_line_logits(variables: Variables, strips: Strips, dropout_key: Array) -> tuple[LineLogits, Variables]:
    """Logits under dropout and batch statistics, and the new running `batch_stats`."""
    rngs = {"dropout": dropout_key}
    out, changed = LineNetwork().apply(variables, strips, train=True, rngs=rngs, mutable=["batch_stats"])
    return cast(LineLogits, out), cast(Variables, changed["batch_stats"])


def line_digits(places: Int[np.ndarray, " _"]) -> list[int]:
    """The digits of a way through a line: what follows itself is one, blanks are none.

    >>> line_digits(np.array([10, 3, 3, 10, 3, 1]))
    [3, 3, 1]
    """
    return [int(digit) for digit in places[np.flatnonzero(np.diff(places, prepend=BLANK))] if digit != BLANK]


class LineNetwork(nn.Module):
    """Five 3 x 3 convolutions over a line, all of a column at once, then two that see its neighbours; any width."""

    @nn.compact
    def __call__(self, strips: Strips, train: bool) -> LineLogits:
        norm = partial(BatchNorm, momentum=0.95)
        x = normalise(strips)
        for width, pool in LINE_STAGES:
            x = Convolution(width, "SAME", use_bias=False)(x, pool=pool == 2)
            if pool == 1:  # lower, but no narrower
                batch, height, along, channels = x.shape
                x = x.reshape(batch, height // 2, 2, along, channels).max(2)
            x = nn.relu(norm()(x, not train))
        batch, height, along, channels = x.shape
        x = x.transpose(0, 2, 1, 3).reshape(batch, along, height * channels)
        x = nn.relu(norm()(Near(LINE_CHANNELS, 1, name="Dense_0")(x), not train))
        for layer in (1, 2):
            x = x + nn.relu(norm()(Near(LINE_CHANNELS, 5, name=f"Dense_{layer}")(x), not train))
        return nn.Dense(11, name="Dense_3")(nn.Dropout(0.1, deterministic=not train)(x))


class Near(nn.Module):
    """A dense layer of each place along a line and those next to it, `columns` in all."""

    width: int
    columns: int

    @nn.compact
    def __call__(self, x: Float[Array, "batch _ channels"]) -> Float[Array, "batch _ width"]:
        channels = x.shape[-1]
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (self.columns * channels, self.width))
        if self.columns == 1:
            return x @ kernel
        # A convolution moves less than a product of what lies side by side.
        return ops.conv(x[:, None], kernel.reshape(1, self.columns, channels, self.width), "SAME")[:, 0]


class BatchNorm(nn.Module):
    """Flax's, of the last axis, with the same names, but its statistics and their gradient by `ops.batch_norm`."""

    momentum: float
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "*pixels channels"], use_running_average: bool) -> Array:
        shape = x.shape[-1:]
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
        variance = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
        scale, bias = self.param("scale", nn.initializers.ones, shape), self.param("bias", nn.initializers.zeros, shape)
        if use_running_average:
            scale, bias, centre, spread = (
                each.reshape((1,) * (x.ndim - 1) + shape) for each in (scale, bias, mean.value, variance.value)
            )
            return (x - centre) * (lax.rsqrt(spread + ops.EPSILON) * scale) + bias
        axis_name = None if self.is_initializing() else self.axis_name
        y, *found = cast(tuple[Array, Array, Array], ops.batch_norm(x, scale, bias, axis_name))
        if not self.is_initializing():
            for kept, new in zip((mean, variance), found):
                kept.value = self.momentum * kept.value + (1 - self.momentum) * new
        return y


class Dropout(nn.Module):
    """Flax's, which draws for the whole batch where it sees a share of it."""

    rate: float
    axis_name: str | None

    def __call__(self, x: Embedding, deterministic: bool) -> Embedding:
        if self.rate == 0 or deterministic:
            return x
        shares, mine = (lax.axis_size(self.axis_name), lax.axis_index(self.axis_name)) if self.axis_name else (1, 0)
        drawn = jax.random.bernoulli(self.make_rng("dropout"), 1 - self.rate, (shares, *x.shape))
        return jnp.where(drawn[mine], x / (1 - self.rate), 0)
