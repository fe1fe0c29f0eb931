#!/usr/bin/env bash
# onnxruntime 1.31.1, onnx 1.23.2, numpy 2.4.6.
# Guess: `Unique` keeps every number apart. Of NaN it may hold each for a value of its own, as the standard for comparing floats
#   has it, or all for one, as NumPy does; the other numbers are not concerned.
# What happens: a NaN counts as whatever it meets first: [1, NaN, 2] has the values 1 (twice) and 2, and where the NaN comes first
#   all else is NaN: [NaN, 1, 2, 3] has one value, four times, and `inverse_indices` give NaN for each. No error, float and double.
# Why it matters: label maps, look-ups of categories and deduplication that were exported with it lose real values for one missing
#   number, and which ones depends on where it stands; in Python, before the export, the same code was right.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --quiet --disable-pip-version-check onnxruntime==1.31.1 onnx==1.23.2 numpy==2.4.6
cat >"$here/see.py" <<'PY'
import numpy as np
import onnx
import onnxruntime
from onnx import helper
from onnx.reference import ReferenceEvaluator

NAMES = ("values", "first", "inverse", "counts")


def found(numbers, dtype, with_sorting):
    numbers = np.array(numbers, dtype)
    node = helper.make_node("Unique", ["x"], NAMES, sorted=int(with_sorting))
    given = helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(numbers.dtype), [len(numbers)])
    graph = helper.make_graph([node], "unique", [given], [onnx.ValueInfoProto(name=name) for name in NAMES])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    theirs = dict(zip(NAMES, session.run(None, {"x": numbers})))
    return theirs, dict(zip(NAMES, ReferenceEvaluator(model).run(None, {"x": numbers})))


nan = np.nan
for numbers in ([1, 2, 3], [1, nan, 2], [nan, 1, 2, 3]):
    for dtype in (np.float32, np.float64):
        for with_sorting in (False, True):
            theirs, reference = found(numbers, dtype, with_sorting)
            back = theirs["values"][theirs["inverse"]]
            same = np.array_equal(back, np.array(numbers, dtype), equal_nan=True)
            told = dtype is np.float32 and not with_sorting
            told and print(f"{numbers}: values {theirs['values'].tolist()}, each {theirs['counts'].tolist()} times; "
                           f"put back: {back.tolist()}; onnx's reference: {reference['values'].tolist()}")
            assert same == (nan not in numbers)
            if numbers[0] is nan:
                assert len(theirs["values"]) == 1
                assert int(theirs["counts"][0]) == len(numbers)
            assert len(reference["values"]) == len(numbers)
PY
"$here/venv/bin/python" "$here/see.py"
