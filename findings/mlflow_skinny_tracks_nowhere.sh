#!/usr/bin/env bash
# mlflow-skinny 3.17.2.
# Guess: the light MLflow client, which its page offers for logging "without SQL storage, server, UI", logs a run into a local
#   folder out of the box, as it did for years; at most one has to name the folder as a file: address.
# What happens: its own default address is an SQLite file, which it then refuses as an "unsupported URI", since the data base
#   packages are not among its dependencies; a file: address is refused, too, as "in maintenance mode", with the advice to use
#   SQLite. Nothing that is installed with it can hold a run. With sqlalchemy and alembic beside it the default works.
# Why it matters: a training script that logs locally works on the author's machine, where something else (Optuna, say) brought
#   SQLAlchemy, and stops at its first line wherever only what it declares is installed; the two errors send one in a circle.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --quiet --disable-pip-version-check mlflow-skinny==3.17.2
cat >"$here/see.py" <<'PY'
import sys
import warnings
from pathlib import Path

warnings.simplefilter("ignore")
import mlflow
from mlflow import MlflowClient


def tried(address):
    try:
        return "experiment " + MlflowClient(address).create_experiment(f"named after {address}"[:40])
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:110]}"


found = {name: tried(address) for name, address in {"default": None, "a folder": Path("runs").absolute().as_uri()}.items()}
print("default address:", mlflow.get_tracking_uri().partition(":")[0])
for name, said in found.items():
    print(f"{name}: {said}")
if sys.argv[1:] == ["alone"]:
    assert "unsupported URI" in found["default"] and "maintenance" in found["a folder"]
else:
    assert found["default"].startswith("experiment ")
PY
cd "$here"
echo "alone"; "$here/venv/bin/python" see.py alone 2>/dev/null
"$here/venv/bin/pip" install --quiet --quiet --disable-pip-version-check sqlalchemy==2.1.9 alembic==1.20.1
echo "with sqlalchemy and alembic"; "$here/venv/bin/python" see.py 2>/dev/null
