#!/usr/bin/env bash
# onnxruntime 1.32.0, onnx 1.23.2, numpy 2.4.6; jax 0.10.2 to compare with.
# Guess: a NaN in a window makes its maximum NaN, as in JAX (and PyTorch): a network whose weights or inputs went wrong says so.
# What happens: MaxPool and GlobalMaxPool of ONNX Runtime keep a NaN or lose it by where in the window it lies; ONNX's own
#   reference evaluator keeps it in GlobalMaxPool and loses it in MaxPool, at other places than ONNX Runtime.
# Why it matters: a check of the outputs for NaN, the usual guard of a service, passes or not by the place of the damage, and
#   the runtime answers with full confidence from what was left. A comparison with the reference evaluator does not help.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6 jax==0.10.2
cat >"$here/see.py" <<'PY'
import jax.numpy as jnp
import numpy as np
import onnxruntime
from jax import lax
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

kept = {}
for operation, attributes in (("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}), ("GlobalMaxPool", {})):
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node(operation, ["x"], ["y"], **attributes)], "pool",
        [value("x", TensorProto.FLOAT, [1, 1, 2, 2])], [value("y", TensorProto.FLOAT, [1, 1, 1, 1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    reference = ReferenceEvaluator(model)
    for place in range(4):
        window = np.array([1, 2, 3, 4], np.float32)
        window[place] = np.nan
        window = window.reshape(1, 1, 2, 2)
        ours = np.asarray(lax.reduce_window(jnp.asarray(window), -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID"))
        answers = [float(side.run(None, {"x": window})[0].ravel()[0]) for side in (session, reference)] + [float(ours.ravel()[0])]
        kept[operation, place] = [bool(np.isnan(answer)) for answer in answers]
        print(f"{operation}, NaN at place {place} of 1 2 3 4: ONNX Runtime {answers[0]}, reference {answers[1]}, JAX {answers[2]}")
assert all(row[2] for row in kept.values())
for operation in ("MaxPool", "GlobalMaxPool"):
    assert 0 < sum(kept[operation, place][0] for place in range(4)) < 4
assert any(row[0] != row[1] for row in kept.values())
PY
"$here/venv/bin/python" "$here/see.py"
