#!/usr/bin/env bash
# jax 0.10.2, numpy 2.4.6 (CPU).
# Guess: jax.device_put(array) of a NumPy array gives a jax.Array of its own, which nothing changes any more; whoever wants
#   to be sure asks for may_alias=False, which is documented to copy.
# What happens: on a CPU the jax.Array is the NumPy array's own memory where that begins at a multiple of 64 bytes, and a
#   copy anywhere else; may_alias=False changes nothing. jnp.asarray, which sounds lazier, always copies.
# Why it matters: a loader that fills one buffer again and again and puts it on the device is right or wrong by where malloc
#   happened to place the buffer: tests on small arrays pass, and training goes on with the next batch's digits under the
#   last batch's labels. (Who wants no copy has the same lottery: large NumPy arrays begin 16 bytes behind such a multiple.)
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cat >"$here/see.py" <<'PY'
import jax, jax.numpy as jnp, numpy as np

def placed(behind):
    """A thousand ones, so many bytes behind a multiple of 64."""
    memory = np.empty(4_192, np.uint8)
    start = -memory.ctypes.data % 64 + behind
    array = memory[start : start + 4_000].view(np.float32)
    array[:] = 1
    return array

ways = {
    "device_put": jax.device_put,
    "device_put, may_alias=False": lambda array: jax.device_put(array, may_alias=False),
    "jnp.asarray": jnp.asarray,
}
changed = {}
for name, put in ways.items():
    for behind in (0, 16):
        host = placed(behind)
        on_device = jax.block_until_ready(put(host))
        host[:] = 2
        changed[name, behind] = bool((np.asarray(on_device) == 2).all())
        print(f"{name}, {behind} bytes behind a multiple of 64: the jax.Array", "changed" if changed[name, behind] else "stayed")
assert {key for key, value in changed.items() if value} == {("device_put", 0), ("device_put, may_alias=False", 0)}
PY
JAX_PLATFORMS=cpu "$here/venv/bin/python" "$here/see.py"
