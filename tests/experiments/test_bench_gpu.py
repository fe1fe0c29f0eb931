"""The GPU bench runs from end to end where there is no GPU, on what a minimal GPU machine has installed."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from digitjax.base.config import Config, ModelConfig, TrainingConfig
from digitjax.training import train
from experiments import ensemble
from experiments.bench import gpu

ROOT = Path(__file__).parent.parent.parent
ABSENT = ("tensorflow_datasets", "litestar", "tyro", "cv2", "msgspec", "mlxtend", "uvicorn", "requests")
CONFIG = Config(
    "small",
    batch_size=8,
    model=ModelConfig("small", (4, 6), (1, 1), "SAME", True, "max"),
    training=TrainingConfig("sgd", 0.1),
)


@pytest.mark.parametrize("way", [way for way in ensemble.WAYS if way != "apart"])
def test_an_ensemble_is_its_members_trained_apart(few, way):
    seeds, steps, examples = (0, 1, 5), 4, len(few.train.labels)
    dataset, compiled = jax.device_put(few.train), CONFIG.compiled_part()
    order = ensemble.orders(CONFIG, seeds, 0, examples)[:steps]
    together, result = ensemble.steps_together(
        compiled, steps, ensemble.begun(CONFIG, seeds, steps), dataset, order, way
    )
    for member, seed in enumerate(seeds):
        alone = train.create_state(replace(CONFIG, seed=seed), steps)
        for step, rows in enumerate(order[:, member]):
            alone, one = train.train_step(compiled, steps, alone, dataset, rows)
            np.testing.assert_allclose(result.loss[step, member], one.loss, rtol=1e-3)
        for mine, theirs in zip(jax.tree.leaves(together.params), jax.tree.leaves(alone.params)):
            np.testing.assert_allclose(mine[member], theirs, atol=1e-3)


@pytest.mark.slow
def test_the_gpu_bench_runs_on_a_cpu_with_what_a_minimal_gpu_machine_has(few, tmp_path, compiled_sooner):
    """An import of what is not there is an error."""
    parts = [few.train, few.validation, few.test]
    images, labels = (np.concatenate([getattr(part, name) for part in parts]) for name in ("images", "labels"))
    np.savez(tmp_path / "few.npz", images=images, labels=labels)
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({ABSENT})); sys.argv[1:] = ['--quick', '--data', 'few.npz'];"
        "from experiments.bench import gpu; small = gpu.Size(1, 400, (8,), (), (2,), 2, 2, 1, 64);"
        "gpu.QUICK = small; gpu.main()"
    )
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin", "HOME": str(tmp_path)} | compiled_sooner
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for head in ("| validation mark |", "| training in batches of |", "| several networks, batches of 64 each"):
        assert done.stdout.count(head) == 1
    for mark in ("99.0 %", "99.5 %", "99.6 %"):
        assert f"| {mark} |" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["few.npz"]


def test_no_figure_of_a_cpu_is_taken_for_a_gpus(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["gpu"])
    with pytest.raises(SystemExit, match="JAX sees no GPU"):
        gpu.main()
