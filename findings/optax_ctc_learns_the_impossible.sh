#!/usr/bin/env bash
# optax 0.2.8, jax 0.10.2 (CPU).
# Guess: optax.ctc_loss of a label that cannot be said in so many frames (a label that follows itself needs a blank between)
#   is infinite, as in PyTorch, where zero_infinity takes such examples out; or at least its gradient is zero.
# What happens: the loss is finite, the logarithm's floor of 1e5 and a little, and its gradient is as large as that of any good
#   example: the weights are pushed towards a text that no way through the frames can say.
# Why it matters: one short strip with a long label (a bad crop in a scanned data set) lifts the mean loss of its batch by
#   thousands, which a person sees and takes for divergence, while clipping by norm hides it and the bad example goes on teaching.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --quiet --disable-pip-version-check optax==0.2.8 jax==0.10.2 jaxlib==0.10.2
cat >"$here/see.py" <<'PY'
import jax
import jax.numpy as jnp
import optax
logits = jax.random.normal(jax.random.key(0), (1, 4, 11))  # four frames


def loss(logits, labels):
    return optax.ctc_loss(logits, jnp.zeros((1, 4)), labels, jnp.zeros(labels.shape), blank_id=10)[0]


found = {}
for name, labels in {"possible": [1, 2], "a triple, which needs five frames": [3, 3, 3], "five labels": [1, 2, 3, 4, 5]}.items():
    value, gradient = jax.value_and_grad(loss)(logits, jnp.array([labels]))
    found[name] = float(value), float(jnp.abs(gradient).sum())
    print(f"{name}: loss {found[name][0]:.2f}, sum of |gradient| {found[name][1]:.2f}")
(good, good_slope), *impossible = found.values()
assert good < 20
assert all(1e5 < value < 1.001e5 and slope > 0.5 * good_slope for value, slope in impossible)
PY
"$here/venv/bin/python" "$here/see.py" 2>/dev/null
