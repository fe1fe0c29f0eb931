#!/usr/bin/env bash
# safetensors 0.8.0, jax 0.10.2, flax 0.12.8, ml-dtypes 0.5.4 (CPU).
# Guess: safetensors.flax.load(bytes) gives what safetensors.flax.load_file(file) gives for the same bytes, for every dtype
#   that save and save_file write: they are one reader with two ways in.
# What happens: both write bfloat16 and 8-bit floats without a word. load_file reads bfloat16; load of the same bytes fails
#   with KeyError: 'BF16'. 8-bit floats neither reads: KeyError in one, an AttributeError of NumPy in the other. The bytes
#   are right; what lacks are NumPy's names for dtypes that ml_dtypes has and JAX brings.
# Why it matters: bytes are what comes out of an object store, an archive or a test. A service that was tried with files on a
#   disk fails at the first model from a bucket, and only for the dtype that large networks are kept in.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --quiet --disable-pip-version-check safetensors==0.8.0 jax==0.10.2 jaxlib==0.10.2 flax==0.12.8 ml-dtypes==0.5.4
cat >"$here/see.py" <<'PY'
import sys, jax.numpy as jnp, ml_dtypes, numpy as np
from pathlib import Path
from safetensors.flax import load, load_file, save_file

def tried(read, source):
    try:
        return str(read(source)["kernel"].dtype)
    except Exception as error:
        return type(error).__name__

found = {}
for dtype in ("float32", "float16", "bfloat16", "float8_e4m3fn"):
    file = Path(sys.argv[1]) / f"{dtype}.safetensors"
    save_file({"kernel": jnp.arange(6).astype(dtype)}, file)
    found[dtype] = tried(load_file, file), tried(load, file.read_bytes())
    print(f"{dtype}: written; load_file gives {found[dtype][0]}, load of the same bytes gives {found[dtype][1]}")
for dtype, size in (("bfloat16", 12), ("float8_e4m3fn", 6)):
    numbers = np.frombuffer((Path(sys.argv[1]) / f"{dtype}.safetensors").read_bytes()[-size:], getattr(ml_dtypes, dtype))
    print(f"the numbers at the end of {dtype}'s file: {numbers.tolist()}")
    assert numbers.tolist() == [0, 1, 2, 3, 4, 5]
assert found["float32"] == ("float32",) * 2 and found["float16"] == ("float16",) * 2
assert found["bfloat16"] == ("bfloat16", "KeyError")
assert found["float8_e4m3fn"] == ("AttributeError", "KeyError")
PY
JAX_PLATFORMS=cpu "$here/venv/bin/python" "$here/see.py" "$here"
