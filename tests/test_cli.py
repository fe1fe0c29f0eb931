"""The command line in real processes: killed, interrupted, misused."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from digitjax.__main__ import main
from digitjax.reading import artifact, predict

slow = pytest.mark.slow

DIGITJAX = [sys.executable, "-m", "digitjax"]
SMALL = "train --data mnist5k --widths 4 6 --depth 1 1 --epochs 4 --batch-size 32".split()


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def digitjax(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*DIGITJAX, *map(str, words)], capture_output=True, text=True, timeout=300)


def checksum(run: Path) -> str:
    return json.loads((run / "provenance.json").read_text())["weights_checksum"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("whole") / "run"
    done = digitjax(*SMALL, "--run-dir", run)
    assert done.returncode == 0, done.stderr
    return run


@slow
def test_training_tells_a_plain_line_an_epoch_and_answers_on_stdout(folder):
    done = digitjax(*SMALL)
    assert done.returncode == 0
    assert [line.split(":")[0] for line in done.stderr.splitlines() if line.startswith("epoch")] == [
        f"epoch {number}/4" for number in (1, 2, 3, 4)
    ]
    assert done.stdout.startswith("accuracy 0.")
    assert "not an official test set" in done.stdout
    again = digitjax(*SMALL, "--json")
    assert again.returncode == 0
    assert "nothing to do" in again.stderr
    assert json.loads(again.stdout) == json.loads((folder / "outputs" / "metrics.json").read_text())
    other = digitjax(*SMALL, "--seed", 1)
    assert (other.returncode, "--run-dir" in other.stderr) == (2, True)


@slow
@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_a_run_stopped_in_mid_epoch_resumes_to_the_same_bits(folder, uninterrupted, ending):
    history = folder / "outputs" / "metrics.jsonl"
    process = subprocess.Popen([*DIGITJAX, *SMALL], stderr=subprocess.PIPE, text=True)
    while not history.exists():
        assert process.poll() is None
        time.sleep(0.005)
    time.sleep(0.05)
    process.send_signal(ending)
    _, told = process.communicate(timeout=60)
    if ending == signal.SIGINT:
        assert process.returncode == 130
        assert "Traceback" not in told
    assert len(history.read_text().splitlines()) < 4
    assert not (folder / "outputs" / "metrics.json").exists()
    done = digitjax(*SMALL)
    assert done.returncode == 0, done.stderr
    assert "resuming" in done.stderr
    assert checksum(folder / "outputs") == checksum(uninterrupted)


@slow
@pytest.mark.filterwarnings("ignore")  # of MLflow's own
def test_other_tools_read_back_the_numbers_that_the_run_holds(folder):
    from mlflow import MlflowClient
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    done = digitjax(*SMALL, "--log", "tensorboard", "mlflow")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (folder / "outputs" / "metrics.jsonl").read_text().splitlines()]
    events = EventAccumulator(str(folder / "outputs" / "tensorboard"))
    events.Reload()
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    run = (folder / "outputs" / "mlflow.txt").read_text().strip()
    for name in rows[0]:
        expected = [(row["epoch"], row[name]) for row in rows]
        np.testing.assert_allclose([(one.step, one.value) for one in events.Scalars(name)], expected, rtol=1e-6)
        found = sorted((one.step, one.value) for one in client.get_metric_history(run, name))
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    figures = json.loads((folder / "outputs" / "metrics.json").read_text())
    assert client.get_run(run).data.metrics["test_accuracy"] == pytest.approx(figures["accuracy"])
    assert client.get_run(run).data.params["training.optimizer"] == "adamw"
    assert client.get_run(run).info.status == "FINISHED"
    assert {Path(one.path).stem for one in client.list_artifacts(run)} == set(events.Tags()["images"])


@slow
def test_evaluate_scores_what_was_trained(uninterrupted, folder):
    done = digitjax("evaluate", "--model", uninterrupted, "--json")
    figures = json.loads(done.stdout)
    trained = json.loads((uninterrupted / "metrics.json").read_text())
    assert {name: figures[name] for name in ("accuracy", "loss", "confusion")} == {
        name: trained[name] for name in ("accuracy", "loss", "confusion")
    }
    whole = json.loads(digitjax("evaluate", "--model", uninterrupted, "--data", "mnist5k", "--json").stdout)
    assert whole["examples"] == 5000
    assert "trained on" in whole["data"]


@pytest.mark.torture
@slow
def test_a_full_disk_stops_the_run_with_a_line_and_keeps_what_was_there(folder):
    """A file size limit stands in for the disk: writing past it fails in the same way."""
    words = " ".join([*DIGITJAX, *SMALL])
    done = subprocess.run(
        ["bash", "-c", f"trap '' XFSZ; ulimit -f 8; {words}"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 1
    assert "free space" in done.stderr
    assert "Traceback" not in done.stderr
    assert digitjax(*SMALL).returncode == 0


def bad_inputs(folder: Path) -> dict[str, list[object]]:
    np.savez(folder / "unlabelled.npz", images=np.zeros((20, 28, 28), np.uint8))
    (folder / "empty").mkdir()
    (folder / "file").write_text("x")
    return {
        "did you mean quick": ["train", "--recipe", "quik"],
        "did you mean batchnorm": ["train", "--network", "batchnrom"],
        "--epochs": ["train", "--epoch", 3],
        "epochs is 0: it must be from 1": ["train", "--epochs", 0],
        "invalid literal": ["train", "--epochs", "many"],
        "did you mean train": ["trian"],
        "dropout is 1.0": ["train", "--dropout", 1.0],
        "no images and labels": ["train", "--data", folder / "unlabelled.npz"],
        "no sub-folders": ["train", "--data", folder / "empty"],
        "no data set, folder or file": ["train", "--data", folder / "missing"],
        "is a file": ["train", "--run-dir", folder / "file"],
        "digitjax train": ["evaluate", "--model", folder / "empty"],
        "no finished run": ["report", folder / "empty"],
        "name the folder of a run": ["report", folder / "file"],
        "no model is called": ["compare", folder / "missing", folder / "empty"],
        "no finished run in": ["explain", folder / "file", "--out", folder / "out", "--model", folder / "empty"],
        "did you mean reference": ["summary", "--network", "referense"],
    }


def test_the_version_is_that_of_the_package(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == metadata.version("digitjax")


@pytest.mark.parametrize("command", ["predict", "read", "explain"])
def test_a_command_without_pictures_says_what_it_wants(command, capsys):
    assert main([command]) == 2
    assert "name files, folders or patterns" in capsys.readouterr().err


def test_bad_input_is_answered_in_a_line_and_leaves_nothing(folder, capsys):
    cases = bad_inputs(folder)
    before = sorted(folder.rglob("*"))
    for complaint, words in cases.items():
        status = main([str(word) for word in words])
        told = capsys.readouterr()
        assert status in (1, 2), (words, told)
        assert complaint in told.err, (words, told.err)
        assert len(told.err.strip().splitlines()) == 1, told.err
        assert told.out == ""
        assert sorted(folder.rglob("*")) == before, words


@slow
@pytest.mark.parametrize(
    ("status", "words"), [(2, ["train", "--epochs", "many"]), (1, ["evaluate", "--model", "none"])]
)
def test_the_exit_status_of_a_real_process_says_whose_fault_it_was(folder, status, words):
    done = digitjax(*words)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (status, "", 1)


@pytest.mark.parametrize("words", [["summary"], ["data"], ["doctor"], ["summary", "--network", "reference"]])
def test_the_informing_commands_answer_in_text_and_in_json(capsys, words):
    assert main(words) == 0
    assert len(capsys.readouterr().out.splitlines()) > 3
    assert main([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    if "reference" in words:
        assert document["parameters"] == 121_930


@slow
def test_a_reader_that_leaves_early_causes_no_traceback(folder):
    done = subprocess.run(
        ["bash", "-c", f"{' '.join(DIGITJAX)} summary | true"], capture_output=True, text=True, env=os.environ
    )
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


@slow
def test_a_terminal_sees_a_bar(folder):
    """Under a pseudo-terminal of Python's own."""
    code = f"import pty, sys; sys.exit(pty.spawn({[*DIGITJAX, *SMALL]!r}) >> 8)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout
    assert "images/s" in done.stdout
    assert "epoch 4/4" in done.stdout
    assert "\x1b[" in done.stdout


@slow
def test_explain_writes_a_sheet_a_picture_and_says_which_file_is_bad(uninterrupted, folder, splits):
    for number in range(2):
        Image.fromarray(255 - splits.test.images[number]).save(folder / f"{number}.png")
    (folder / "bad.png").write_text("no picture")
    words = [
        "explain",
        "0.png",
        "1.png",
        "bad.png",
        "--model",
        uninterrupted,
        "--out",
        "sheets",
        "--digit",
        3,
        "--json",
    ]
    done = digitjax(*words)
    assert done.returncode == 1
    assert "bad.png" in done.stderr
    *sheets, bad = json.loads(done.stdout)["explanations"]
    assert "error" in bad
    for row in sheets:
        assert row["digit"] == 3
        for picture in (row["sheet"], row["features"]):
            with Image.open(folder / picture) as sheet:
                assert np.asarray(sheet.convert("L")).std() > 5
    assert len(list((folder / "sheets").iterdir())) == 4
    wrong = digitjax("explain", "0.png", "--model", uninterrupted, "--out", "other", "--method", "gradcm")
    assert (wrong.returncode, "did you mean gradcam" in wrong.stderr) == (2, True)
    assert not (folder / "other").exists()


@slow
def test_report_and_compare_of_a_finished_run(uninterrupted):
    done = digitjax("report", uninterrupted, "--json")
    assert done.returncode == 0, done.stderr
    accuracy = json.loads((uninterrupted / "metrics.json").read_text())["accuracy"]
    assert json.loads(done.stdout)["test"]["accuracy"] == accuracy
    for name in ("report.html", "model_card.md"):
        assert f"{accuracy:.4f}" in (uninterrupted / name).read_text()
    same = digitjax("compare", uninterrupted, uninterrupted)
    assert "p = 1:" in same.stdout
    assert digitjax("report", uninterrupted / "checkpoints").returncode == 1


def test_what_a_file_is_called_steers_no_terminal(folder, capsys):
    (folder / "a\x1b[31m\nred.png").write_bytes(b"no picture")
    assert main(["predict", str(folder / "a\x1b[31m\nred.png")]) == 1
    told = capsys.readouterr()
    shown = told.err
    assert told.out == ""
    assert "\x1b" not in shown
    assert shown.count("\n") == 1
    assert "\\x1b[31m\\nred.png" in shown


def test_what_a_folder_holds_beside_pictures_is_named(folder, splits, capsys):
    Image.fromarray(splits.test.images[0]).save(folder / "a.png")
    for name in ("b.txt", "c.heic", ".hidden"):
        (folder / name).write_bytes(b"x")
    assert main(["predict", str(folder), "--json"]) == 0
    told = capsys.readouterr()
    assert [Path(name).name for name in json.loads(told.out)["left_out"]] == ["b.txt", "c.heic"]
    assert "b.txt" in told.err
    assert ".hidden" not in told.err


def test_which_model_answers_is_said(folder, splits, capsys):
    Image.fromarray(splits.test.images[0]).save(folder / "a.png")
    assert main(["predict", "a.png"]) == 0
    assert "--model outputs" not in capsys.readouterr().err
    (folder / "outputs").mkdir()
    shutil.copy(artifact.PRETRAINED, folder / "outputs/model.npz")
    assert main(["predict", "a.png", "--json"]) == 0
    told = capsys.readouterr()
    assert "--model outputs" in told.err
    assert json.loads(told.out)["model"] == artifact.read().checksum
    assert main(["predict", "a.png", "--model", "outputs"]) == 0
    assert "model outputs (" in capsys.readouterr().err


def test_a_set_is_scored_as_uploads_are_read(folder, splits, capsys):
    images, labels = splits.test.images[:60], splits.test.labels[:60]
    np.savez("a.npz", images=np.roll(images, 3, axis=2), labels=labels)
    figures = []
    for more in ([], ["--canonical"]):
        assert main(["evaluate", "--data", "a.npz", "--model", "pretrained", "--json", *more]) == 0
        figures.append(json.loads(capsys.readouterr().out))
    assert figures[0]["data"] != figures[1]["data"]
    assert figures[1]["accuracy"] >= figures[0]["accuracy"]
    answers = predict.load().predict(list(np.roll(images, 3, axis=2)))
    called = [answer.digit == label for answer, label in zip(answers, labels) if answer.verdict == "digit"]
    assert figures[1]["accuracy"] == pytest.approx(np.mean([answer.digit for answer in answers] == labels))
    assert figures[1]["verdicts"]["digit"] == pytest.approx(len(called) / 60)
    assert figures[1]["misread_of_called_digit"] == pytest.approx(1 - np.mean(called))
