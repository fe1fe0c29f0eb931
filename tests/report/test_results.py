"""A finished run leaves every file, and its figures agree with each other."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from PIL import Image

from digitjax.base.config import Config, ModelConfig
from digitjax.network import model
from digitjax.report import results
from digitjax.training import checkpoint, fit, train

CONFIG = Config("test", data="test", epochs=2, batch_size=32, model=ModelConfig("small", (4, 6), (1, 1)))


@pytest.fixture(scope="module")
def finished(few, tmp_path_factory):
    run = tmp_path_factory.mktemp("run")
    with checkpoint.open_run(run, CONFIG):
        trained = fit.fit(CONFIG, few, run)
        figures = results.finish(run, CONFIG, few, trained)
    return run, trained, figures


def test_every_file_is_there_and_no_other(finished):
    run, _, _ = finished
    pictures = {f"{name}.png" for name in checkpoint.PICTURES}
    files = {
        "config.json",
        "metrics.jsonl",
        "metrics.txt",
        "metrics.json",
        "provenance.json",
        "checkpoints",
        ".lock",
        "model.npz",
    }
    assert {file.name for file in run.iterdir()} == files | pictures
    assert checkpoint.standing(run, CONFIG) == "finished"
    for name in pictures:
        with Image.open(run / name) as picture:
            grey = np.asarray(picture.convert("L"))
        assert min(grey.shape) > 300
        assert grey.std() > 5


def test_the_figures_agree_with_each_other_and_with_the_weights(finished, few):
    run, trained, figures = finished
    assert json.loads((run / "metrics.json").read_text()) == figures
    confusion = np.array(figures["confusion"])
    assert confusion.sum() == figures["examples"] == len(few.test.labels)
    assert figures["accuracy"] == np.trace(confusion) / confusion.sum()
    rows = np.asarray(model.logits(CONFIG.model, checkpoint.restore_best(run), few.test.images))
    assert figures["accuracy"] == pytest.approx((rows.argmax(1) == few.test.labels).mean())
    text = (run / "metrics.txt").read_text()
    assert f"{figures['accuracy']:.4f}" in text
    history = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert history == list(trained.history)
    assert figures["validation_loss"] == min(row["validation_loss"] for row in history)


def test_the_provenance_knows_the_weights_and_the_data(finished, few):
    run, trained, _ = finished
    known = json.loads((run / "provenance.json").read_text())
    assert known["weights_checksum"] == results.weights_checksum(checkpoint.restore_best(run))
    assert known["data_checksum"] == few.checksum
    assert known["versions"]["jax"] == jax.__version__
    nudged = jax.tree.map(lambda leaf: leaf.copy(), trained.variables)
    nudged["params"]["output"]["bias"] = nudged["params"]["output"]["bias"].at[3].add(1e-6)
    assert results.weights_checksum(nudged) != known["weights_checksum"]


def test_a_perfect_reading_can_be_drawn_too(few, tmp_path):
    """No digit misread, one epoch, a handful of digits: nothing to divide by, nothing to show."""
    config = dataclasses.replace(CONFIG, epochs=1)
    variables = train.evaluated_variables(train.create_state(config, 1))
    guesses = np.asarray(model.logits(config.model, variables, few.test.images)).argmax(1).astype(np.int32)
    right = few._replace(test=few.test._replace(labels=guesses))
    curves = {f"{part}_{figure}": 0.5 for part in ("training", "validation") for figure in ("loss", "accuracy")}
    history = [{"epoch": 1, "step": 1, "seconds": 0.1} | curves]
    figures = results.finish(tmp_path, config, right, fit.Trained(variables, history, 1))
    assert figures["accuracy"] == 1.0
    assert figures["accuracy_interval"][1] == 1.0
