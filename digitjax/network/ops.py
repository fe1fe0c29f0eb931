"""3x3 convolution, max-pooling and batch normalisation, written so that XLA compiles them well: the textbook's, sooner.

On a CPU the gradient of a max-pool must not compare again, and a convolution of one channel, whose products are too
few for XLA's matrix code, must not store its full result. Where no gradient is asked for, minimal filtering has fewer
products: F(2x2, 3x3) of Winograd (1980) and of Lavin and Gray (arXiv:1509.09308) makes a 2x2 block of the result,
which is also a pooling window, from a 4x4 tile by 16 products in place of 36. Accelerators have good kernels of their
own, and get the textbook.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial, reduce
from operator import add
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata
from jaxtyping import Array, Float

from digitjax.base import device

Batch = Float[Array, "batch _ _ _"]
"""[batch, height, width, channels]."""
Kernel = Float[Array, "3 3 _ _"]
"""[3, 3, channels in, channels out]."""
Channels = Float[Array, " channels"]
Grid = Sequence[Sequence[Array]]
"""A small square of arrays: an entry for each place in a tile, holding all tiles."""


_AS_PRODUCTS = ContextVar("as_products", default=False)


@contextmanager
def convolutions_as_products() -> Iterator[None]:
    """What is traced in here computes a convolution as one product of matrices, of shifted pictures side by side.

    Under `jax.vmap` over kernels that is a batched product; a convolution would become a grouped one, which GPUs
    compute slowly.
    """
    token = _AS_PRODUCTS.set(True)
    try:
        yield
    finally:
        _AS_PRODUCTS.reset(token)


def conv(x: Batch, kernel: Float[Array, "_ _ _ _"], padding: str) -> Batch:
    if _AS_PRODUCTS.get():
        high, wide = kernel.shape[:2]
        margins = [(size // 2,) * 2 if padding == "SAME" else (0, 0) for size in (high, wide)]
        x = jnp.pad(x, ((0, 0), *margins, (0, 0)))
        rows, columns = x.shape[1] - high + 1, x.shape[2] - wide + 1
        shifted = [x[:, i : i + rows, j : j + columns] for i in range(high) for j in range(wide)]
        return jnp.concatenate(shifted, axis=-1) @ kernel.reshape(-1, kernel.shape[-1])
    return lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def max_pool_textbook(x: Batch) -> Batch:
    """The largest of each 2x2 window; an odd last row or column is left out."""
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def max_pool(x: Batch) -> Batch:
    """`max_pool_textbook`."""
    return _max_pool(x) if _for_this_cpu(x) else max_pool_textbook(x)


def conv_pool(x: Batch, kernel: Kernel, padding: str) -> Batch:
    """`max_pool(conv(x, kernel, padding))`."""
    if _AS_PRODUCTS.get() or not _for_this_cpu(x) or len(x) == 1:  # one picture is too little to divide
        return max_pool(conv(x, kernel, padding))
    return (_thin_conv_pool if x.shape[-1] == 1 else _wide_conv_pool)(x, kernel, padding)


@jax.custom_vjp
def global_max(x: Batch) -> Float[Array, "batch channels"]:
    """The largest of each channel. Its gradient goes to one place.

    JAX's own compares again, to numbers that XLA may have computed twice and rounded differently: then it goes nowhere.
    """
    return x.max((1, 2))


def _global_max_forward(x: Batch) -> tuple[Array, Any]:
    return x.max((1, 2)), (x.reshape(len(x), -1, x.shape[-1]).argmax(1), jnp.zeros((*x.shape[1:3], 0)))


def _global_max_backward(saved: Any, dy: Array) -> tuple[Batch]:
    which, like = saved
    height, width, _ = like.shape
    here = jnp.arange(height * width)[None, :, None] == which[:, None]
    return (jnp.where(here, dy[:, None], 0).reshape(len(dy), height, width, -1),)


global_max.defvjp(_global_max_forward, _global_max_backward)


EPSILON = 1e-5


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def batch_norm(
    x: Float[Array, "*pixels channels"], scale: Channels, bias: Channels, axis_name: str | None = None
) -> tuple[Float[Array, "*pixels channels"], Channels, Channels]:
    """Each channel with the mean and the variance of the batch taken out, and those (Ioffe and Szegedy 2015).

    Under `axis_name` the batch is that of all devices. The mean and the variance have no gradient of their own.
    """
    return _norm_forward(x, scale, bias, axis_name)[0]


def _norm_forward(x: Array, scale: Channels, bias: Channels, axis_name: str | None) -> tuple[Any, Any]:
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    total, squares, count = _pixel_sums(axis_name, wide, wide * wide)
    mean = total / count
    variance = jnp.maximum(squares / count - mean * mean, 0)
    factor = lax.rsqrt(variance + EPSILON)
    y = wide * _last(factor * scale, x) + _last(bias - mean * factor * scale, x)
    return (y, mean, variance), (x, scale, mean, factor, count)


def _norm_backward(axis_name: str | None, saved: Any, gradients: Any) -> tuple[Array, Channels, Channels]:
    (x, scale, mean, factor, count), dy = saved, gradients[0]
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    dbias, along, _ = _pixel_sums(None, dy, dy * wide)
    dscale = factor * (along - mean * dbias)
    # What the batch's own mean and variance take back is shared by all devices.
    both = lax.psum((dbias, dscale), axis_name) if axis_name else (dbias, dscale)
    slope, level = factor * both[1] / count, both[0] / count
    a = factor * scale
    dx = _last(a, x) * dy - _last(a * slope, x) * wide + _last(a * (slope * mean - level), x)
    return dx.astype(x.dtype), dscale, dbias


batch_norm.defvjp(_norm_forward, _norm_backward)


def _pixel_sums(axis_name: str | None, *arrays: Array) -> tuple[Array, ...]:
    """The sum of each array over all but its last axis, and the number of summands.

    On a CPU XLA makes two loops of a long sum, for its accuracy, and neither is fast: products with ones are, one of
    each picture and one of all pictures, which is more accurate still.
    """

    def summed(array: Array) -> Channels:
        pictures = array.reshape(len(array), -1, array.shape[-1])
        if not device.is_cpu():
            return pictures.sum((0, 1))
        of_each = (jnp.ones((1, pictures.shape[1]), array.dtype) @ pictures)[:, 0]
        return (jnp.ones((1, len(array)), array.dtype) @ of_each)[0]

    sums = [summed(array) for array in arrays]
    count = jnp.asarray(arrays[0].size // arrays[0].shape[-1], arrays[0].dtype)
    return tuple(lax.psum((*sums, count), axis_name)) if axis_name else (*sums, count)


def _last(channels: Channels, like: Array) -> Array:
    return channels.reshape((1,) * (like.ndim - 1) + (-1,))


def _for_this_cpu(x: Batch) -> bool:
    """Whether the program is for a CPU, and not one of any batch size, which is exported for any device."""
    return device.is_cpu() and isinstance(x.shape[0], int)


@jax.custom_vjp
def _max_pool(x: Batch) -> Batch:
    batch, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).max((2, 4))


def _max_pool_forward(x: Batch) -> tuple[Batch, Any]:
    cells = [[x[:, a::2, b::2][:, : x.shape[1] // 2, : x.shape[2] // 2] for b in (0, 1)] for a in (0, 1)]
    y, which = _apart(_largest, cells)
    return y, (which, jnp.zeros((*x.shape[1:3], 0)))


def _max_pool_backward(saved: Any, dy: Batch) -> tuple[Batch]:
    which, like = saved
    return (_interleave(_to_largest(dy, which), like.shape[0], like.shape[1]),)


_max_pool.defvjp(_max_pool_forward, _max_pool_backward)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _thin_conv_pool(x: Batch, kernel: Kernel, padding: str) -> Batch:
    return _thin_forward(x, kernel, padding)[0]


def _thin_forward(x: Batch, kernel: Kernel, padding: str) -> tuple[Batch, Any]:
    """Each entry of the 2x2 windows as a plain sum of nine shifted pictures; only the largest is stored."""

    def windows(x: Batch, kernel: Kernel) -> Grid:
        tiles, taps = _tiles(x, padding), [(i, j) for i in range(3) for j in range(3)]

        def window(a: int, b: int) -> Array:
            return reduce(add, (tiles[a + i][b + j] * kernel[i : i + 1, j : j + 1] for i, j in taps))

        return [[window(a, b) for b in (0, 1)] for a in (0, 1)]

    y, which = _apart(lambda x, kernel: _largest(windows(x, kernel)), x, kernel)
    return y, (which, x, kernel)


def _thin_backward(padding: str, saved: Any, dy: Batch) -> tuple[Batch, Kernel]:
    which, x, kernel = saved
    cells = _apart(lambda dy, which: _each(lambda d: d.reshape(-1, d.shape[-1]), _to_largest(dy, which)), dy, which)
    tiles = _apart(lambda x: jnp.stack([tile.ravel() for line in _tiles(x, padding) for tile in line]), x)
    products = _each(lambda d: (tiles @ d).reshape(4, 4, -1), cells)
    dkernel = reduce(add, (products[a][b][a : a + 3, b : b + 3] for a in (0, 1) for b in (0, 1)))[:, :, None]
    trim = 2 if padding == "VALID" else 0  # no training step needs dx, so that XLA leaves it out there
    full = _interleave(_to_largest(dy, which), x.shape[1] - trim, x.shape[2] - trim)
    return jax.vjp(lambda x: conv(x, kernel, padding), x)[1](full)[0], dkernel


_thin_conv_pool.defvjp(_thin_forward, _thin_backward)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _wide_conv_pool(x: Batch, kernel: Kernel, padding: str) -> Batch:
    tiles = _apart(lambda x: _sandwich(_TILE, _tiles(x, padding)), x)
    kernels = _sandwich(_KERNEL, [[kernel[i, j] for j in range(3)] for i in range(3)])
    products = [[t @ k for t, k in zip(*lines)] for lines in zip(tiles, kernels)]
    return _apart(lambda products: _largest(_sandwich(_BLOCK, products))[0], products)


def _wide_forward(x: Batch, kernel: Kernel, padding: str) -> tuple[Batch, Any]:
    return jax.vjp(lambda x, kernel: _max_pool(conv(x, kernel, padding)), x, kernel)


_wide_conv_pool.defvjp(_wide_forward, lambda _, gradient, dy: gradient(dy))

# block = _BLOCK ((_KERNEL kernel _KERNELᵀ) * (_TILE tile _TILEᵀ)) _BLOCKᵀ
_TILE = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))
_KERNEL = ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))
_BLOCK = ((1, 1, 1, 0), (0, 1, -1, -1))


def _sandwich(matrix: Sequence[Sequence[int | float]], grid: Grid) -> Grid:
    """matrix @ grid @ matrixᵀ, whose entries are arrays."""

    def rows(grid: Grid) -> Grid:
        return [[_weighted(weights, column) for column in zip(*grid)] for weights in matrix]

    return list(zip(*rows(list(zip(*rows(grid))))))


def _weighted(weights: Sequence[int | float], arrays: Sequence[Array]) -> Array:
    """The sum of arrays by weights, most of which are 0, 1 or -1 and cost at most a sum."""
    return reduce(add, (a if w == 1 else -a if w == -1 else w * a for w, a in zip(weights, arrays) if w))


def _tiles(x: Batch, padding: str) -> Grid:
    """The 4x4 tiles, two apart, that the 2x2 windows of a 3x3 convolution see."""
    before, trim = (1, 0) if padding == "SAME" else (0, 2)
    rows, columns = ((n - trim) // 2 for n in x.shape[1:3])
    margins = [(before, 2 * count + 2 - before - n, 0) for count, n in zip((rows, columns), x.shape[1:3])]
    x = lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *margins, (0, 0, 0)))
    return [[x[:, i : i + 2 * rows : 2, j : j + 2 * columns : 2] for j in range(4)] for i in range(4)]


def _largest(cells: Grid) -> tuple[Batch, Array]:
    """The largest of four, and which it was: of equals the first, as in the textbook's gradient."""
    (a, b), (c, d) = cells
    upper, lower = jnp.maximum(a, b), jnp.maximum(c, d)
    which = jnp.where(lower > upper, 2 + (d > c).astype(jnp.uint8), (b > a).astype(jnp.uint8))
    return jnp.maximum(upper, lower), which


def _to_largest(dy: Batch, which: Array) -> Grid:
    return [[jnp.where(which == 2 * a + b, dy, 0) for b in (0, 1)] for a in (0, 1)]


def _interleave(cells: Grid, height: int, width: int) -> Batch:
    """The picture whose 2x2 windows the cells are; zeros where it is larger."""
    batch, rows, columns, channels = cells[0][0].shape
    x = jnp.stack([jnp.stack(line, axis=3) for line in cells], axis=2).reshape(batch, 2 * rows, 2 * columns, channels)
    return jnp.pad(x, ((0, 0), (0, height - 2 * rows), (0, width - 2 * columns), (0, 0)))


def _each(f: Callable[[Array], Array], grid: Grid) -> Grid:
    return [[f(cell) for cell in line] for line in grid]


def _apart(f: Callable[..., Any], *arguments: Any) -> Any:
    """f(*arguments), computed once: XLA may not fuse it into its users, each of which would compute it again.

    `optimization_barrier` does not do this on a CPU, where it is removed before fusion.
    """

    def body(*arguments: Any) -> Any:
        with set_xla_metadata(inlineable="true"):  # else the jitted functions of jax.numpy inherit what follows
            return f(*arguments)

    with set_xla_metadata(inlineable="false"):
        return jax.jit(body)(*arguments)
