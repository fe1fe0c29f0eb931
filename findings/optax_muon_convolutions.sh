#!/usr/bin/env bash
# optax 0.2.8, jax 0.10.2 (CPU).
# Guess: optax.contrib.muon orthogonalises the update of every kernel with two axes or more; a convolution's kernel
#   [height, width, in, out] is reshaped to a matrix, as the optimizer's authors do (Jordan et al. 2024).
# What happens: parameters of any other number of axes than two go to Adam without a word. In a convolutional network Muon
#   then trains the last dense layer alone, with the learning rate that was tuned for Muon feeding Adam elsewhere.
# Why it matters: "Muon is no better than Adam on my CNN" may be a comparison of Adam with Adam.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --quiet --disable-pip-version-check optax==0.2.8 jax==0.10.2 jaxlib==0.10.2
cat >"$here/see.py" <<'PY'
import jax, jax.numpy as jnp, numpy as np, optax
key = jax.random.key(0)
params = {"convolution": jnp.zeros((3, 3, 8, 16)), "dense": jnp.zeros((72, 16))}
gradient = jax.random.normal(key, (72, 16)) * jnp.linspace(1, 10, 16)  # far from orthogonal
gradients = {"convolution": gradient.reshape(3, 3, 8, 16), "dense": gradient}
optimizer = optax.contrib.muon(1.0)
updates, _ = optimizer.update(gradients, optimizer.init(params), params)

def spread(update):
    values = np.linalg.svd(np.asarray(update).reshape(72, 16), compute_uv=False)
    return float(values.max() / values.min())

ratios = {name: spread(update) for name, update in updates.items()}
sizes = np.abs(np.asarray(updates["convolution"]))
print({name: round(ratio, 2) for name, ratio in ratios.items()}, "largest to smallest singular value of each update")
print(f"the convolution's first update goes from {sizes.min():.3f} to {sizes.max():.3f}: the signs of the gradient, as Adam's")
assert ratios["dense"] < 2, "the matrix is orthogonalised"
assert sizes.max() - sizes.min() < 1e-2 * sizes.max(), "the same numbers as a convolution are Adam's"
PY
"$here/venv/bin/python" "$here/see.py"
