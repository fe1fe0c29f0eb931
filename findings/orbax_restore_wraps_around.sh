#!/usr/bin/env bash
# orbax-checkpoint 0.12.8, jax 0.10.2 (CPU).
# Guess: a restore whose target (the tree of arrays that says what is wanted) has other dtypes than the checkpoint raises, or
#   casts only where every value fits; a target of another shape raises.
# What happens: it casts without a word, and wraps around: 2**40 + 3 comes back as 3 in int32, 70000 as inf in float16. A
#   target of seven numbers gets the four that were saved, with the shape of the checkpoint.
# Why it matters: a step counter or a data position that was saved in int64 and is restored by a program that forgot
#   jax_enable_x64 goes on from the wrong place, and half-precision serving code gets infinite weights; nothing is logged.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --quiet --disable-pip-version-check orbax-checkpoint==0.12.8 jax==0.10.2 jaxlib==0.10.2
cat >"$here/see.py" <<'PY'
import sys
import numpy as np
import orbax.checkpoint as ocp
folder = sys.argv[1]
saved = {"weights": np.array([1.0, 0.5, 2.0, 70000.0]), "position": np.array([2**40 + 3])}
with ocp.StandardCheckpointer() as keeper:
    keeper.save(folder, saved)
    keeper.wait_until_finished()
    narrow = keeper.restore(folder, {"weights": np.zeros(4, np.float16), "position": np.zeros(1, np.int32)})
    longer = keeper.restore(folder, {"weights": np.zeros(7), "position": np.zeros(1, np.int64)})
print("saved   ", saved["weights"], saved["position"])
print("restored", narrow["weights"], narrow["position"], "into", narrow["weights"].dtype, "and", narrow["position"].dtype)
print("a target of 7 numbers was given", longer["weights"].shape)
assert np.isinf(narrow["weights"][3])
assert narrow["position"][0] == 3
assert longer["weights"].shape == (4,)
PY
"$here/venv/bin/python" "$here/see.py" "$here/run" 2>/dev/null
