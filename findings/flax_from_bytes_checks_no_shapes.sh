#!/usr/bin/env bash
# flax 0.12.8, jax 0.10.2, numpy 2.4.6.
# Guess: `flax.serialization.from_bytes(target, data)` takes a target so that what does not fit it is refused: it raises
#   where a kernel has another shape or type, as it does where a layer has another name.
# What happens: names are compared and nothing else. Arrays of other shapes and types come back in the target's place. A
#   module refuses another shape when it asks for its parameter; another type it takes; and what is used as a tree of arrays
#   (averages, optimizer states) is broadcast where it can be.
# Why it matters: a checkpoint of another width or precision is taken as it is, and goes wrong far from the line that ought to
#   have refused it, or nowhere: an average of weights then is of something else.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --quiet --disable-pip-version-check flax==0.12.8 jax==0.10.2 numpy==2.4.6
cat >"$here/see.py" <<'PY'
import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.serialization import from_bytes, to_bytes


class Network(nn.Module):
    classes: int
    shared: bool = False

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(self.classes, use_bias=False)(x)
        return x + self.param("bias", nn.initializers.ones, (1,) if self.shared else (self.classes,))


x = jnp.ones((2, 784))
wanted = Network(10).init(jax.random.key(0), x)
for name, other in (
    ("another number of classes", Network(3).init(jax.random.key(1), x)),
    ("one bias for all classes", Network(10, shared=True).init(jax.random.key(1), x)),
    ("half precision", jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), wanted)),
):
    found = from_bytes(wanted, to_bytes(other))
    shapes = {jax.tree_util.keystr(path): (leaf.shape, str(leaf.dtype)) for path, leaf in jax.tree_util.tree_leaves_with_path(found)}
    print(f"{name}: restored as {shapes}")
    assert jax.tree.map(lambda a: (a.shape, a.dtype), found) == jax.tree.map(lambda a: (a.shape, a.dtype), other)
answers = Network(10).apply
shared = from_bytes(wanted, to_bytes(Network(10, shared=True).init(jax.random.key(1), x)))
try:
    answers(shared, x)
    raise SystemExit("the module took another shape, too")
except Exception as error:
    print(f"the module refuses it, later: {type(error).__name__}")
average = jax.tree.map(lambda old, new: 0.9 * old + 0.1 * new, shared, wanted)
print(f"a moving average goes on from it without a word: its bias has shape {average['params']['bias'].shape}")
assert average["params"]["bias"].shape == (10,)
half = from_bytes(wanted, to_bytes(jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), wanted)))
gap = float(jnp.abs(answers(half, x) - answers(wanted, x)).max())
print(f"the network of the half precise file answers without a word, off by {gap:.4f}")
assert gap > 1e-3
try:
    from_bytes(wanted, to_bytes({"params": {"Dense_1": wanted["params"]["Dense_0"], "bias": wanted["params"]["bias"]}}))
    raise SystemExit("another name was taken, too")
except ValueError as error:
    print("another name is refused:", str(error).splitlines()[0][:100])
PY
"$here/venv/bin/python" "$here/see.py"
