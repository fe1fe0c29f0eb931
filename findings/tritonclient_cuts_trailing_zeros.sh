#!/usr/bin/env bash
# tritonclient 2.73.0 (its HTTP client), numpy 2.4.6; no server is asked.
# Guess: `set_data_from_numpy(np.array([blob]))` sends the bytes of `blob`: BYTES has a length before each element, the client
#   refuses arrays whose type does not fit ("got unexpected datatype"), and a `bytes` object in an array is that object.
# What happens: `np.array([blob])` has dtype S, which the client takes for BYTES without a word. NumPy pads S with zeros and
#   drops them when an element is read, so every zero at the end of a blob is gone, and the length that is sent is shorter.
#   `np.array([blob], dtype=object)` is sent whole.
# Why it matters: pictures that are sent as raw pixels end in background, which is zero, as do many BMP, TIFF and NumPy files;
#   compressed ones seldom do, so tests with PNG or JPEG pass. The server gets a truncated file, or the last rows are missing.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --quiet --disable-pip-version-check "tritonclient[http]==2.73.0" numpy==2.4.6
cat >"$here/see.py" <<'PY'
import struct

import numpy as np
from tritonclient.http import InferInput


def sent(array):
    tensor = InferInput("picture", list(array.shape), "BYTES")
    tensor.set_data_from_numpy(array)
    data, blobs = bytes(tensor._get_binary_data()), []
    while data:
        (length,) = struct.unpack_from("<I", data)
        blobs.append(data[4 : 4 + length])
        data = data[4 + length :]
    return blobs


digit = np.zeros((28, 28), np.uint8)
digit[5:20, 12:15] = 255
for name, blob in {"raw pixels": digit.tobytes(), "ends in a one": digit.tobytes() + b"\1", "zeros alone": bytes(784)}.items():
    plain, objects = sent(np.array([blob, blob])), sent(np.array([blob, blob], dtype=object))
    print(f"{name}: of {len(blob)} bytes dtype S sends {len(plain[0])}, dtype object {len(objects[0])}")
    assert objects == [blob, blob]
    assert plain == [blob.rstrip(b"\0")] * 2
try:
    InferInput("picture", [2], "FP32").set_data_from_numpy(np.zeros(2))
    raise SystemExit("float64 passed for FP32")
except Exception as error:
    print("while of numbers:", str(error)[:80])
PY
"$here/venv/bin/python" "$here/see.py"
