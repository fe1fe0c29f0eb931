"""How much does a training step compile to, and for how long?

    python -m experiments.bench.compiled                    the recipes quick and default, five fresh processes each
    python -m experiments.bench.compiled --beside ../older  in turns with another checkout of this repository

Fusions and lines of the optimised program, and the seconds of tracing and of compiling it, without a cache.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from experiments.tables import middle, table

ROOT = Path(__file__).parent.parent.parent
PROGRAM = """
import json, sys, time
from digitjax.base import device
device.prepare(training=True)
import jax, numpy as np
jax.config.update("jax_enable_compilation_cache", False)
from digitjax.base.config import RECIPES
from digitjax.data.formats import Dataset
from digitjax.training import train
config = RECIPES[sys.argv[1]].compiled_part()
dataset = Dataset(np.zeros((6000, 28, 28), np.uint8), np.zeros(6000, np.int32))
like = jax.eval_shape(lambda: train.create_state(config, 860))
started = time.perf_counter()
lowered = train.train_step.lower(config, 860, like, dataset, np.zeros(config.batch_size, np.int32))
traced = time.perf_counter()
text = lowered.compile().as_text()
print(json.dumps(dict(traced=traced - started, compiled=time.perf_counter() - traced, text=text)))
"""


def measured(checkout: Path, recipe: str) -> dict[str, float]:
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    command = [sys.executable, "-P", "-c", PROGRAM, recipe]
    done = subprocess.run(command, env=environment, cwd=checkout, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout)
    text = found.pop("text")
    return found | {"fusions": len(re.findall(r" fusion\(", text)), "lines": text.count("\n")}


def main() -> None:
    parser = argparse.ArgumentParser(description="What a training step compiles to.")
    parser.add_argument("--beside", type=Path, help="another checkout of this repository, measured in turns")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    sides = {"here": ROOT} | ({args.beside.name: args.beside.absolute()} if args.beside else {})
    rows = []
    for recipe in ("quick", "default"):
        found = {side: [] for side in sides}
        for _ in range(args.rounds):
            for side, checkout in sides.items():
                found[side].append(measured(checkout, recipe))
        for side, runs in found.items():
            times = [middle(runs, name, 2) for name in ("traced", "compiled")]
            rows.append([recipe, side, runs[0]["fusions"], f"{runs[0]['lines']:,}", *times])
    print(table("recipe | side | fusions | lines | traced, s | compiled, s", rows))


if __name__ == "__main__":
    main()
