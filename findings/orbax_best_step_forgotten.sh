#!/usr/bin/env bash
# orbax-checkpoint 0.12.8, jax 0.10.2 (CPU).
# Guess: a CheckpointManager writes which step was best beside its checkpoints (it saves the metrics), so that opening the
#   folder again and asking best_step() gives that step, or says that it cannot know.
# What happens: best_fn is an option of the manager, not of the folder. Opened without it, best_step() answers the latest step, and
#   raises nothing, although the metrics lie on disk.
# Why it matters: an evaluation script that opens a finished run "with defaults" scores the last weights and calls them the best.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --quiet --disable-pip-version-check orbax-checkpoint==0.12.8 jax==0.10.2 jaxlib==0.10.2
cat >"$here/see.py" <<'PY'
import sys
import numpy as np
import orbax.checkpoint as ocp
folder = sys.argv[1]
with ocp.CheckpointManager(folder, options=ocp.CheckpointManagerOptions(best_fn=lambda metrics: metrics["accuracy"])) as first:
    for step, accuracy in enumerate((0.2, 0.9, 0.5)):
        first.save(step, args=ocp.args.StandardSave({"weights": np.full(3, float(step))}), metrics={"accuracy": accuracy})
    first.wait_until_finished()
    known = first.best_step()
with ocp.CheckpointManager(folder) as second:
    found = second.best_step()
print(f"best step {known} while training, {found} when the folder is opened again without best_fn")
assert (known, found) == (1, 2)
PY
"$here/venv/bin/python" "$here/see.py" "$here/run" 2>/dev/null
