"""Entry points set JAX up: compiled programs are kept, and no trouble with that stops a run."""

import json
import os
import stat
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from digitjax.base import device

QUICK = [
    sys.executable,
    "-m",
    "digitjax",
    "train",
    "--data",
    "mnist5k",
    "--epochs",
    "1",
    "--widths",
    "4",
    "--depth",
    "1",
]


def train(cache: Path | str, run: Path) -> subprocess.CompletedProcess[str]:
    settings = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    settings["XDG_CACHE_HOME"] = str(cache)
    return subprocess.run([*QUICK, "--run-dir", str(run)], capture_output=True, text=True, env=settings, timeout=300)


def weights(run: Path) -> str:
    return json.loads((run / "provenance.json").read_text())["weights_checksum"]


@pytest.mark.slow
def test_compiled_programs_are_kept_for_their_user_alone_and_found_again(tmp_path):
    assert train(tmp_path / "cache", tmp_path / "one").returncode == 0
    (folder,) = (tmp_path / "cache" / "digitjax").iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    # On a busy machine a trifle may take long enough to be kept, too.
    kept = {file.name for kind in ("train_step", "create_state") for file in folder.glob(f"*{kind}*-cache")}
    assert len(kept) == 2
    assert train(tmp_path / "cache", tmp_path / "two").returncode == 0
    assert {file.name for kind in ("train_step", "create_state") for file in folder.glob(f"*{kind}*-cache")} == kept
    assert weights(tmp_path / "one") == weights(tmp_path / "two")


@pytest.mark.slow
def test_a_corrupt_entry_is_compiled_anew(tmp_path):
    assert train(tmp_path / "cache", tmp_path / "one").returncode == 0
    entries = list((tmp_path / "cache").rglob("*-cache"))
    for entry in entries:
        entry.write_bytes(b"not a program")
    done = train(tmp_path / "cache", tmp_path / "two")
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert weights(tmp_path / "one") == weights(tmp_path / "two")


@pytest.mark.slow
def test_a_cache_folder_that_cannot_be_is_a_line_and_no_more(tmp_path):
    (tmp_path / "file").touch()
    done = train(tmp_path / "file", tmp_path / "run")
    assert done.returncode == 0
    told = [line for line in done.stderr.splitlines() if "compiled programs cannot be kept" in line]
    assert len(told) == 1


GRADIENTS = """
import sys

import jax
import jax
import jax.numpy as jnp
import numpy as np

from digitjax.base import device
from digitjax.network import model
from digitjax.training import train
from digitjax.base.config import RECIPES

if sys.argv[1] == "prepared":
    device.prepare()
config, gradients = RECIPES["reader"], {}
variables = model.init(config.model, jax.random.key(0))
stored = np.load(sys.argv[2])


@jax.jit
@jax.grad
def gradient(params, images, labels):
    logits, _ = model.training_logits(config.model, variables | {"params": params}, images, jax.random.key(1))
    return train.loss(config.training, logits, labels)


for size in (32, 64):
    found = gradient(variables["params"], stored["images"][:size], stored["labels"][:size])
    gradients |= {f"{size}{jax.tree_util.keystr(path)}": leaf for path, leaf in jax.tree.leaves_with_path(found)}
np.savez(sys.argv[3], **gradients)
"""


@pytest.mark.slow
def test_the_settings_of_entry_points_change_no_gradient(tmp_path, splits):
    """XLA's YNNPACK, asked for by one of them, gave NaN for batches of 32."""
    digits, found = tmp_path / "digits.npz", {}
    np.savez(digits, images=splits.train.images[:64], labels=splits.train.labels[:64].astype(np.int32))
    for kind in ("plain", "prepared"):
        command = [sys.executable, "-c", GRADIENTS, kind, str(digits), str(tmp_path / f"{kind}.npz")]
        subprocess.run(command, check=True, timeout=300)
        found[kind] = np.load(tmp_path / f"{kind}.npz")
    for name, expected in found["plain"].items():
        error = np.linalg.norm(found["prepared"][name] - expected)
        assert error <= 0.01 * np.linalg.norm(expected), name


def test_a_flag_reaches_only_the_versions_that_it_was_measured_on(monkeypatch, tmp_path):
    """XLA aborts the process at a flag that it does not know."""
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("jax._src.xla_bridge.backends_are_initialized", lambda: False)
    for version, flags in {"0.10.2": True, "0.11.2": True, "0.12.0": True, "0.13.0": False, "9.9.9": False}.items():
        monkeypatch.delenv("XLA_FLAGS", raising=False)
        monkeypatch.setattr(metadata, "version", lambda _, version=version: version)
        device.prepare()
        assert ("--xla_cpu_experimental_ynn_fusion_type=" in os.environ.get("XLA_FLAGS", "").split()) == flags
        assert ("emitters" in os.environ.get("XLA_FLAGS", "")) == version.startswith("0.10.")
    monkeypatch.setenv("XLA_FLAGS", "--mine")
    monkeypatch.setattr(metadata, "version", lambda _: "0.10.2")
    for _ in range(2):
        device.prepare(training=False)
        assert os.environ["XLA_FLAGS"].split() == ["--xla_cpu_experimental_ynn_fusion_type=", "--mine"]
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=true")
    device.prepare(training=True)
    assert "--xla_cpu_use_fusion_emitters=false" not in os.environ["XLA_FLAGS"]


def python(code: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120)


SUM = "import jax.numpy as jnp; jnp.ones(3).sum()"


@pytest.mark.parametrize(("code", "warns"), [("", False), (f"{SUM}; ", True), ("import jax; ", False)])
def test_who_imports_the_library_alone_has_no_ynnpack_or_is_warned(code, warns):
    done = python(f"{code}import os; from digitjax.network import model; print(os.environ.get('XLA_FLAGS', ''))")
    assert done.returncode == 0, done.stderr
    assert ("YNNPACK" in done.stderr) == warns
    assert ("ynn_fusion_type=" in done.stdout) != warns


@pytest.mark.parametrize("command", [["digitjax", "doctor"], ["digitjax", "train", "--data", "mnist5k"], ["serve"]])
def test_a_device_that_is_not_there_is_told_in_a_sentence(command, tmp_path):
    environment = os.environ | {"JAX_PLATFORMS": "cuda", "XDG_CACHE_HOME": str(tmp_path), "DIGITJAX_PORT": "0"}
    done = subprocess.run(
        [sys.executable, "-m", *command], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert "JAX_PLATFORMS is 'cuda', and JAX finds no such device" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert (done.returncode == 0) == ("doctor" in command)


def test_a_device_without_the_memory_is_told_in_a_sentence():
    with pytest.raises(RuntimeError) as raised:
        jax.jit(lambda: jnp.zeros(1 << 45))().block_until_ready()
    assert "smaller --batch-size" in device.trouble(raised.value)
    assert not device.trouble(RuntimeError("something else"))


def test_processes_that_share_a_gpu_take_no_more_than_one_would(monkeypatch):
    for workers in (1, 2, 7):
        monkeypatch.delenv("XLA_PYTHON_CLIENT_MEM_FRACTION", raising=False)
        device.share_memory(workers)
        assert 0.7 / workers < float(os.environ["XLA_PYTHON_CLIENT_MEM_FRACTION"]) <= 0.76 / workers
    monkeypatch.setenv("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.5")
    device.share_memory(2)
    assert os.environ["XLA_PYTHON_CLIENT_MEM_FRACTION"] == "0.5"
