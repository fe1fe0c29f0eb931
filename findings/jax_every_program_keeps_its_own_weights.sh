#!/usr/bin/env bash
# jax 0.10.2, numpy 2.4.6 (CPU).
# Guess: a function that is jitted over an array on the device (weights it closes over) refers to that array; a service that
#   compiles it for ten batch sizes holds the weights once, and the folder of compiled programs holds programs.
# What happens: the array becomes a constant of each program: ten sizes hold it ten times more in memory, and ten more in
#   the cache on disk. The same function with the weights as an argument takes next to nothing for a further size.
# Why it matters: nothing is said, each size alone looks fine, and the sum meets the memory limit of a container in
#   production, where traffic brings the sizes; a home's cache grows by the model for each program of each version of it.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cat >"$here/see.py" <<'PY'
import os, sys
from pathlib import Path
import jax, numpy as np

def resident():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024

kind, folder = sys.argv[1], Path(sys.argv[2])
jax.config.update("jax_compilation_cache_dir", str(folder))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
weights = jax.device_put(np.random.default_rng(0).random((2048, 2048), np.float32))
by_argument = jax.jit(lambda weights, rows: rows @ weights)
program = jax.jit(lambda rows: rows @ weights) if kind == "closed over" else lambda rows: by_argument(weights, rows)
program(np.zeros((1, 2048), np.float32)).block_until_ready()
before = resident()
for size in range(2, 12):
    program(np.zeros((size, 2048), np.float32)).block_until_ready()
memory, disk = resident() - before, sum(file.stat().st_size for file in folder.iterdir()) / 2**20
print(f"weights of 16 MiB, {kind}: ten more sizes took {memory:.0f} MiB of memory; eleven are {disk:.1f} MiB on disk")
assert (memory > 120 and disk > 150) if kind == "closed over" else (memory < 60 and disk < 5)
PY
for kind in "closed over" "an argument"; do
  mkdir "$here/$kind"
  JAX_PLATFORMS=cpu "$here/venv/bin/python" "$here/see.py" "$kind" "$here/$kind"
done
