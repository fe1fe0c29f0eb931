"""Many devices or processes train what one would have trained; a lost one is told in a line, and nothing is lost."""

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from digitjax.__main__ import main
from digitjax.base import hosts

pytestmark = pytest.mark.slow

TRAIN = (
    "train --data mnist5k --widths 4 6 --depth 1 1 --batch-size 200 --optimizer sgd --learning-rate 0.005 --ema 0.9"
    " --rotation 9 --shift 1.5 --dropout 0.2"
).split()
VIRTUAL = """
import dataclasses, json, sys
from pathlib import Path
import jax
jax.config.update("jax_num_cpu_devices", 8)
import numpy as np
from digitjax.base import device
from digitjax.data import datasets
from digitjax.network import model
from digitjax.reading import predict
from digitjax.training import checkpoint, fit, train
from digitjax.base.config import AugmentConfig, Config, ModelConfig, TrainingConfig

splits = datasets.load("mnist5k")
splits = splits._replace(train=splits.train.take(np.arange(260)), validation=splits.validation.take(np.arange(101)))
config = Config(
    "test", epochs=3, batch_size=32, augment=AugmentConfig(rotation=9.0, shift=2.0, noise=0.2, hard=0.5),
    model=ModelConfig("small", (4, 6), (1, 1), dropout=0.2), training=TrainingConfig("sgd", 0.1, ema=0.9),
)
run = Path(sys.argv[1])
stop = lambda row: sys.exit() if row["epoch"] == 2 else None

def trained(whole_epochs=False, run=None, on_epoch=lambda row: None):
    device.compiles_epochs = lambda: whole_epochs
    found = fit.fit(config, splits, run, on_epoch)
    leaves = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(found.variables)])
    return leaves, np.array([row["validation_loss"] for row in found.history])

is_cpu, device.is_cpu = device.is_cpu, lambda: False
variables = model.init(config.model, jax.random.key(0))
logits = predict.Predictor(config.model, variables).logits(splits.test.images[:300])
assert len(predict.Predictor(config.model, variables)._devices.devices) == 8
device.is_cpu = is_cpu
apart = np.abs(logits - np.asarray(model.logits(config.model, variables, splits.test.images[:300]))).max()

devices, compiled = device.data_parallel(), config.compiled_part()
state, dataset = (device.replicate(tree, devices) for tree in (train.create_state(compiled, 27), splits.train))
indices = device.divide(np.arange(32, dtype=np.int32), devices)
program = train.train_step.lower(compiled, 27, state, dataset, indices, devices).compile().as_text()
assert "all-gather" not in program, "each device must compute its share, and no more"
assert program.count(" all-reduce(") == 2 * 2 + 1, "one exchange for all gradients, two for each batch normalisation"

eight, eight_whole = trained(), trained(True)
with checkpoint.open_run(run, config):
    try:
        trained(run=run, on_epoch=stop)
    except SystemExit:
        pass
device.data_parallel = lambda: None
one = trained()
with checkpoint.open_run(run, config):
    moved = trained(run=run)
print(json.dumps({
    name: [float(np.abs(a - b).max()) for a, b in zip(found, one)]
    for name, found in {"eight": eight, "eight, an epoch a program": eight_whole, "eight, then one": moved}.items()
} | {"logits": [float(apart)] * 2}))
"""


def test_eight_devices_train_what_one_does_and_their_checkpoint_goes_on_with_one(tmp_path):
    command = [sys.executable, "-c", VIRTUAL, str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for name, (weights, losses) in json.loads(done.stdout).items():
        assert weights < 1e-4, name
        assert losses < 1e-4, name


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


class Processes:
    """`digitjax train --distributed` by several processes of this machine."""

    def __init__(self, run: Path, *words: object, count: int = 2, each: tuple[tuple[object, ...], ...] = ((), ())):
        address = f"127.0.0.1:{free_port()}"
        common = ["--distributed", "--coordinator", address, "--num-processes", count, "--run-dir", run]
        self.all = [
            subprocess.Popen(
                [sys.executable, "-m", "digitjax", *TRAIN, *map(str, (*common, *words, "--process-id", number, *mine))],
                stderr=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=run.parent,
            )
            for number, mine in enumerate(each)
        ]

    def end(self, timeout: float = 120) -> list[tuple[int, str, str]]:
        """Status, stdout and stderr of each."""
        told = [process.communicate(timeout=timeout) for process in self.all]
        return [(process.returncode, *texts) for process, texts in zip(self.all, told)]


def weights(run: Path) -> dict[str, np.ndarray]:
    with np.load(run / "model.npz") as stored:
        return {name: stored[name] for name in stored.files if name.startswith("variables")}


def wait_for_epochs(run: Path, count: int) -> None:
    deadline = time.monotonic() + 60
    while not (run / "metrics.jsonl").exists() or len((run / "metrics.jsonl").read_text().splitlines()) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("alone") / "run"
    assert main([*TRAIN, "--epochs", "8", "--run-dir", str(run)]) == 0
    return run


def test_two_processes_lose_each_other_twice_and_still_train_what_one_does(tmp_path, alone):
    run = tmp_path / "run"
    for killed in (1, 0):
        processes = Processes(run, "--epochs", 8)
        wait_for_epochs(run, 2 - killed + 1)
        processes.all[killed].send_signal(signal.SIGKILL)
        started = time.monotonic()
        status, out, told = processes.end()[1 - killed]
        assert time.monotonic() - started < 30
        assert (status, out) == (1, "")
        assert "another process of this training has ended" in told.splitlines()[-1]
        assert not {"Traceback", "Check failure", "[Gloo]"} & set(told.split())
        assert not (run / "metrics.json").exists()
    (first, out, told), second = Processes(run, "--epochs", 8).end()
    assert first == 0, told
    assert "resuming" in told
    assert out.startswith("accuracy")
    assert second == (0, "", "")
    for name, array in weights(alone).items():
        np.testing.assert_allclose(weights(run)[name], array, atol=1e-3, err_msg=name)
    again = Processes(run, "--epochs", 8).end()
    assert [status for status, _, _ in again] == [0, 0]
    assert "nothing to do" in again[0][2]


def test_what_two_processes_left_is_finished_by_one(tmp_path, alone):
    run = tmp_path / "run"
    processes = Processes(run, "--epochs", 8)
    wait_for_epochs(run, 2)
    processes.all[0].send_signal(signal.SIGINT)
    (status, _, told), (other, _, _) = processes.end()
    assert (status, told.splitlines()[-1][:12], other) == (130, "interrupted:", 1)
    assert main([*TRAIN, "--epochs", "8", "--run-dir", str(run)]) == 0
    for name, array in weights(alone).items():
        np.testing.assert_allclose(weights(run)[name], array, atol=1e-3, err_msg=name)


def test_two_processes_start_from_the_weights_that_one_would_start_from(tmp_path, alone):
    words = ("--from", alone, "--recipe", "default", "--epochs", 1)
    ended = Processes(tmp_path / "two", *words).end()
    assert [status for status, _, _ in ended] == [0, 0], ended
    assert main([*TRAIN, *map(str, words), "--run-dir", str(tmp_path / "one")]) == 0
    for name, array in weights(tmp_path / "one").items():
        np.testing.assert_allclose(weights(tmp_path / "two")[name], array, atol=1e-3, err_msg=name)


def test_processes_that_do_not_fit_are_told_so_and_write_nothing(tmp_path, alone):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/thesis.txt").write_text("mine")
    cases = {
        "few": (Processes(tmp_path / "few", "--join-timeout", 4, count=3), "not all processes of this training met"),
        "deaf": (
            Processes(tmp_path / "deaf", "--join-timeout", 4, each=(("--process-id", 1, "--coordinator", "[::1]:9"),)),
            "at [::1]:9 within 4 s",
        ),
        "counts": (Processes(tmp_path / "counts", each=((), ("--num-processes", 3))), "process 0 expects 2"),
        "seeds": (
            Processes(tmp_path / "seeds", "--from", alone, each=((), ("--seed", 1))),
            "process 1 has other options or data",
        ),
        "uneven": (Processes(tmp_path / "uneven", "--batch-size", 201), "batch_size is 201, which 2 devices cannot"),
        "thesis": (Processes(tmp_path / "thesis"), "name another folder with --run-dir"),
    }
    for name, (processes, complaint) in cases.items():
        ended = processes.end(60)
        told = [text.splitlines() for _, _, text in ended]
        assert all(status in (1, 2) for status, _, _ in ended), (name, ended)
        assert all(lines[-1].startswith("digitjax: ") for lines in told), (name, told)
        assert any(complaint in lines[-1] for lines in told), (name, told)
        assert not any(text for _, text, _ in ended)
        assert not (tmp_path / name / "config.json").exists()
    assert [file.name for file in (tmp_path / "thesis").iterdir()] == ["thesis.txt"]


def test_words_that_can_never_work_are_refused_before_anything_starts(capsys):
    for words, complaint in {
        "--coordinator here:1": "belong to --distributed",
        "--distributed --coordinator here": "give HOST:PORT",
        "--distributed --coordinator here:1 --process-id 2 --num-processes 2": "number them from 0",
        "--distributed": "no Slurm, MPI or Kubernetes",
    }.items():
        done = subprocess.run(
            [sys.executable, "-m", "digitjax", *TRAIN, *words.split()], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 2, (words, done.stderr)
        assert complaint in done.stderr.splitlines()[-1], done.stderr


def test_one_process_agrees_with_itself():
    assert hosts.agree([{"loss": 0.25, "name": "é"}]) == [{"loss": 0.25, "name": "é"}]
    hosts.require_same("data", "a")
