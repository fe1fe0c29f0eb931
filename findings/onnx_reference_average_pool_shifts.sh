#!/usr/bin/env bash
# onnx 1.23.2, onnxruntime 1.31.1, numpy 2.4.6.
# Guess: `onnx.reference` is what ONNX means. With ceil_mode=1 an AveragePool lets its last window hang over the end and divides
#   by what is inside; the other windows are what they are without it.
# What happens: where the hanging window lacks two cells or more, the reference evaluator pads half of that in front, so that
#   every window is shifted: of 7 x 7 with windows of 3 the first mean is of 2 x 2 cells. Lacking one it is right, and so is its
#   MaxPool; ONNX Runtime is right in all. 28 x 28 with windows of 3 is such a case.
# Why it matters: exporters and new runtimes are tested against this evaluator. A right one fails its test there, and one that
#   was fitted to it computes other features than the network that was trained.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --quiet --disable-pip-version-check onnx==1.23.2 onnxruntime==1.31.1 numpy==2.4.6
cat >"$here/see.py" <<'PY'
import numpy as np
import onnxruntime
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator


def pooled(kind, size, window):
    cells = np.arange(size * size, dtype=np.float32).reshape(1, 1, size, size)
    node = helper.make_node(kind, ["x"], ["y"], kernel_shape=[window] * 2, strides=[window] * 2, ceil_mode=1)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy")
    model = helper.make_model(
        helper.make_graph([node], "pool", [x], [y]), opset_imports=[helper.make_opsetid("", 21)], ir_version=10
    )
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    of = {"AveragePool": np.mean, "MaxPool": np.max}[kind]
    starts = range(0, size, window)
    by_hand = np.array([[of(cells[0, 0, i : i + window, j : j + window]) for j in starts] for i in starts])
    reference, runtime = ReferenceEvaluator(model).run(None, {"x": cells})[0], session.run(None, {"x": cells})[0]
    return by_hand, reference[0, 0], runtime[0, 0]


for size, window in ((6, 3), (8, 3), (7, 3), (10, 3), (28, 3), (9, 4), (10, 4), (11, 4)):
    lacking = -size % window
    by_hand, reference, runtime = pooled("AveragePool", size, window)
    right = bool(np.allclose(reference, by_hand))
    print(f"{size} x {size}, windows of {window}, the last lacks {lacking}: first mean by hand {by_hand[0, 0]:g}, "
          f"ONNX Runtime {runtime[0, 0]:g}, reference {reference[0, 0]:g}")
    assert np.allclose(runtime, by_hand)
    assert right == (lacking < 2), (size, window, right)
    largest, reference, runtime = pooled("MaxPool", size, window)
    assert np.array_equal(runtime, largest)
    assert np.array_equal(reference, largest)
PY
"$here/venv/bin/python" "$here/see.py"
