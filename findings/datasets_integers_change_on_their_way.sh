#!/usr/bin/env bash
# datasets 5.2.0, jax 0.10.2, numpy 2.4.6, pillow 12.3.0.
# Guess: `with_format("numpy")` and `with_format("jax")` give a column as the type that its features declare: pictures of
#   uint8 as uint8, and what JAX cannot hold (64 bits by default) is refused, or warned about.
# What happens: pictures declared `Array2D(..., "uint8")` come as int64 from numpy (eight times the memory) and as int32 in
#   JAX; the same pictures declared `Image()` come as uint8. In JAX whatever is an integer becomes int32 by its lowest bits:
#   uint32 above 2^31 turns negative, 2^40 + 5 is 5, without a warning.
# Why it matters: pictures that fitted into memory do not; arithmetic that relied on uint8 changes its meaning; ids, hashes
#   and seeds of 64 bits collide.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --quiet --disable-pip-version-check datasets==5.2.0 jax==0.10.2 numpy==2.4.6 pillow==12.3.0
cat >"$here/see.py" <<'PY'
import warnings

import numpy as np
from datasets import Array2D, Dataset, Features, Image, Value
from PIL import Image as Picture

warnings.simplefilter("error")
pictures = np.random.default_rng(0).integers(0, 256, (4, 28, 28), dtype=np.uint8)
sides = {
    "Array2D": Dataset.from_dict({"image": list(pictures)}, features=Features({"image": Array2D((28, 28), "uint8")})),
    "Image": Dataset.from_dict({"image": [Picture.fromarray(one) for one in pictures]}, features=Features({"image": Image()})),
}
types = {}
for name, side in sides.items():
    for form in ("numpy", "jax"):
        found = side.with_format(form)[:]["image"]
        types[name, form] = str(found.dtype)
        print(f"pictures of uint8, as {name}, in {form}: {found.dtype}, {found.nbytes / pictures.nbytes:.0f} times the memory")
        assert (np.asarray(found) == pictures).all()
columns = {"big": [2**40 + 5, 5], "unsigned": [2**31 + 3, 3]}
numbers = Dataset.from_dict(columns, features=Features({"big": Value("int64"), "unsigned": Value("uint32")}))
found = {name: values.tolist() for name, values in numbers.with_format("jax")[:].items()}
print(f"{columns} become {found}")
assert types == {
    ("Array2D", "numpy"): "int64", ("Array2D", "jax"): "int32", ("Image", "numpy"): "uint8", ("Image", "jax"): "uint8",
}
assert found == {"big": [5, 5], "unsigned": [3 - 2**31, 3]}
PY
HF_HUB_OFFLINE=1 HF_HOME="$here/home" "$here/venv/bin/python" "$here/see.py"
