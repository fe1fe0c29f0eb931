"""The networks as pure functions of (config, variables, images), what is done to their images, and why they say so.

- `ops`: convolution, pooling and batch normalisation, written so that XLA compiles them well
- `model`: the network, cut anywhere (the only file that knows Flax)
- `augment`: random changes to a batch, on the device, from one key
- `explain`: Grad-CAM and its family, through jax.grad
"""

from digitjax.base import device

device.leave_out_ynnpack()

__all__ = ["augment", "explain", "model", "ops"]  # pyright: ignore[reportUnsupportedDunderAll]
