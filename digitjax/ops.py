"""The network's costly operations, written so that XLA compiles them well; `textbook` versions say what they mean."""

from jax import lax
from jaxtyping import Array, Float


def conv(
    x: Float[Array, "batch h w cin"], kernel: Float[Array, "3 3 cin cout"], padding: str
) -> Float[Array, "batch h2 w2 cout"]:
    return lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def max_pool(x: Float[Array, "batch h w c"]) -> Float[Array, "batch h//2 w//2 c"]:
    """The largest of each 2 x 2; an odd last row or column is left out.

    As a maximum over reshaped axes: the gradient of `lax.reduce_window` is twenty times slower on a CPU.
    """
    batch, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).max((2, 4))
