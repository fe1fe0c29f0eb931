#!/usr/bin/env bash
# numpy 2.4.6, ml_dtypes 0.5.4 (whose types JAX and TensorFlow use); safetensors 0.8.0 to compare with.
# Guess: np.savez of weights in bfloat16, which NumPy prints, adds and casts, gives them back in bfloat16, or refuses.
# What happens: all of them are written without a word. bfloat16 comes back as raw bytes (void of two, with ml_dtypes imported
#   or not): bytes and shape are right, so that checksums and shape checks pass, and every sum is an error. int4 and
#   float8_e4m3fn come back as void of one, not to be told apart. float8_e5m2 does not come back at all: NumPy wrote a header
#   ('<f1') that NumPy refuses.
# Why it matters: the model was saved "successfully" at the end of a long training, by the two most usual libraries; which
#   type a leaf had is lost but for what its reader knows (view(ml_dtypes.bfloat16) brings that one back).
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --quiet --disable-pip-version-check numpy==2.4.6 ml_dtypes==0.5.4 safetensors==0.8.0
cat >"$here/see.py" <<'PY'
import ml_dtypes, numpy as np
from safetensors.numpy import load_file, save_file

found = {}
for name in ("float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "int4"):
    dtype = np.dtype(getattr(ml_dtypes, name, name))
    weights = np.arange(6).astype(dtype)
    np.savez("weights.npz", weights=weights)
    try:
        with np.load("weights.npz", allow_pickle=False) as stored:
            back = stored["weights"]
    except ValueError as error:
        found[name] = "refused"
        print(f"{name}: written, and refused on reading: {error}")
        continue
    try:
        total = f"sum {back.sum()}"
    except TypeError as error:
        total = f"no sum ({type(error).__name__})"
    found[name] = str(back.dtype)
    again = back.view(dtype) if back.dtype.kind == "V" else back
    print(f"{name}: comes back as {back.dtype}, {total}; by its reader's knowledge {again.astype(float).tolist()}")
    assert back.tobytes() == weights.tobytes()
save_file({"weights": np.arange(6).astype(ml_dtypes.bfloat16)}, "weights.safetensors")
print("bfloat16 by safetensors:", load_file("weights.safetensors")["weights"].dtype)
assert found == {
    "float16": "float16", "bfloat16": "|V2", "float8_e4m3fn": "|V1", "float8_e5m2": "refused", "int4": "|V1",
}
PY
cd "$here" && "$here/venv/bin/python" "$here/see.py"
