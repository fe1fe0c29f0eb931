#!/usr/bin/env bash
# safetensors 0.8.0 and 0.7.0, numpy 2.4.6, scikit-learn 1.8.0.
# Guess: safetensors.numpy writes the numbers of an array, however these lie in memory, as numpy.save does; what it cannot
#   write it refuses, as its PyTorch side does ("non contiguous tensor").
# What happens: 0.8.0 takes the memory as it lies under the array's shape. A transposed or Fortran-ordered array comes back
#   with the right shape, dtype and sum, and all numbers in other places. 0.7.0 wrote it right.
# Why it matters: Fortran order comes unasked: out of .npy files, MATLAB, LAPACK and scikit-learn's PCA. A model that is
#   exported so loads everywhere and predicts nonsense; a checksum over sums or norms passes.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
pip() { "$here/venv/bin/pip" install --quiet --quiet --disable-pip-version-check "$@"; }
cat >"$here/see.py" <<'PY'
import sys
import numpy as np
from safetensors import __version__
from safetensors.numpy import load, save
from sklearn.decomposition import PCA

rng = np.random.default_rng(0)
kernel = rng.standard_normal((4, 3)).astype(np.float32)
arrays = {
    "as it is": kernel,
    "Fortran order": np.asfortranarray(kernel),
    "transposed": kernel.T,
    "components of a PCA": PCA(3, svd_solver="full").fit(rng.standard_normal((50, 8))).components_,
}
for name, array in arrays.items():
    back = load(save({"array": array}))["array"]
    same, total = bool(np.array_equal(back, array)), bool(np.isclose(back.sum(), array.sum()))
    layout = "C" if array.flags.c_contiguous else "Fortran"
    print(f"{__version__}, {name} ({layout}): equal {same}, same shape {back.shape == array.shape}, same sum {total}")
    assert same == (layout == "C" or __version__ == "0.7.0")
PY
for version in 0.7.0 0.8.0; do
  pip "safetensors==$version" numpy==2.4.6 scikit-learn==1.8.0
  "$here/venv/bin/python" "$here/see.py"
done
