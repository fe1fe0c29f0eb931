#!/usr/bin/env bash
# onnxruntime 1.32.0, onnx 1.23.2, numpy 2.4.6.
# Guess: a network without batch normalisation answers a picture the same whatever lies beside it in the batch; dynamic
#   quantisation loses a little accuracy and leaves that as it is.
# What happens: `quantize_dynamic` finds one scale for a whole tensor of activations, each time it runs. A bright picture in
#   the batch leaves a faint one some four of the 256 levels: its logits are off by a sixth of their size, and one class of
#   five changes. Alone they are off by a hundredth.
# Why it matters: a service that gathers requests into batches answers one client by what others sent, and no test with
#   batches of one sees it. Scores of a test set depend on its order and batch size.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cat >"$here/see.py" <<'PY'
import logging, sys
import numpy as np, onnx, onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import quantize_dynamic

logging.disable(logging.WARNING)  # its advice on shape inference
folder, rng = sys.argv[1], np.random.default_rng(0)
hidden = rng.normal(0, 0.05, (784, 64)).astype(np.float32)
output = rng.normal(0, 0.2, (64, 10)).astype(np.float32)
nodes = [
    helper.make_node("MatMul", ["x", "hidden"], ["h"]),
    helper.make_node("Relu", ["h"], ["r"]),
    helper.make_node("MatMul", ["r", "output"], ["y"]),
]
graph = helper.make_graph(
    nodes, "mlp",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 784])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 10])],
    [numpy_helper.from_array(hidden, "hidden"), numpy_helper.from_array(output, "output")],
)
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), f"{folder}/float.onnx")
quantize_dynamic(f"{folder}/float.onnx", f"{folder}/small.onnx")
exact, small = (
    onnxruntime.InferenceSession(f"{folder}/{name}.onnx", providers=["CPUExecutionProvider"]) for name in ("float", "small")
)
faint = rng.random((200, 784)).astype(np.float32) * 4
bright = rng.random((1, 784)).astype(np.float32) * 255
want = exact.run(None, {"x": faint})[0]
alone = np.concatenate([small.run(None, {"x": one[None]})[0] for one in faint])
beside = np.concatenate([small.run(None, {"x": np.concatenate([one[None], bright])})[0][:1] for one in faint])
together = np.concatenate([exact.run(None, {"x": np.concatenate([one[None], bright])})[0][:1] for one in faint])
size = np.abs(want).mean()
for name, got in (("alone", alone), ("beside a bright picture", beside), ("float32 beside a bright picture", together)):
    off, moved = np.abs(got - want).mean() / size, (got.argmax(1) != want.argmax(1)).sum()
    print(f"{name}: logits off by {100 * off:.1f} % of their size, {moved} of {len(faint)} classes changed")
assert np.allclose(together, want, atol=1e-4)
assert np.abs(alone - want).mean() < 0.05 * size < 0.1 * size < np.abs(beside - want).mean()
assert (beside.argmax(1) != want.argmax(1)).sum() > 2 * (alone.argmax(1) != want.argmax(1)).sum()
PY
"$here/venv/bin/python" "$here/see.py" "$here"
