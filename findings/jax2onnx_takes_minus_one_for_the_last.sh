#!/usr/bin/env bash
# jax2onnx 0.17.1, onnxruntime 1.32.0, jax 0.10.2, flax 0.12.8, numpy 2.4.6.
# Guess: a function that converts without a word gives in ONNX what it gives in JAX, at the edges too, which JAX documents:
#   one_hot of a label outside is all zeros, a dynamic slice that runs over the end is moved back inside, lax.round takes
#   halves away from zero, a maximum of NaN is NaN.
# What happens: one_hot of -1 marks the last class; the slice comes out shorter, by as much as it runs over;
#   halves go to the even number; the maximum of a NaN may be another number.
# Why it matters: -1 is what unlabelled examples and padding of sequences are marked with, and a window at the edge of a line
#   is what readers of lines cut out. The converter's own check on random inputs meets none of these.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --quiet --disable-pip-version-check jax2onnx==0.17.1 onnxruntime==1.32.0 jax==0.10.2 flax==0.12.8 numpy==2.4.6
cat >"$here/see.py" <<'PY'
import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
from jax import lax
from jax2onnx import to_onnx


def both(name, function, x):
    model = to_onnx(function, inputs=[jax.ShapeDtypeStruct(x.shape, x.dtype)])
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    [told], [found] = session.get_outputs(), session.run(None, {session.get_inputs()[0].name: x})
    wanted = np.asarray(function(x))
    print(f"{name}: JAX {wanted.tolist()}, ONNX {found.tolist()} (its output shape says {told.shape})")
    return wanted, found


wanted, found = both("one_hot(-1) of 4", lambda x: jax.nn.one_hot(x, 4), np.array([-1, 1], np.int32))
assert not wanted[0].any() and found[0].tolist() == [0, 0, 0, 1] and (wanted[1] == found[1]).all()
wanted, found = both("dynamic_slice(0..4, from 3, 3 of them)", lambda x: lax.dynamic_slice(x, (3,), (3,)), np.arange(5, dtype=np.int32))
assert wanted.tolist() == [2, 3, 4] and found.shape != wanted.shape
wanted, found = both("lax.round", lax.round, np.array([-2.5, 0.5, 1.5], np.float32))
assert wanted.tolist() == [-3, 1, 2] and found.tolist() == [-2, 0, 2]
wanted, found = both("max", jnp.max, np.array([1, 0.5, -1, 1.5, np.nan], np.float32))
assert np.isnan(wanted) and not np.isnan(found)
PY
"$here/venv/bin/python" "$here/see.py" 2> >(grep -v Warning >&2 || true)
