"""The model that ships is what its card says, reads MNIST through the canonicaliser, and can be trained further."""

import json

import cv2
import jax
import numpy as np
import pytest

import digitjax
from digitjax.__main__ import main
from digitjax.data import datasets
from digitjax.picture.canonical import canonical
from digitjax.reading import artifact, trust, upright
from digitjax.report import results
from digitjax.training import metrics, train


@pytest.fixture(scope="module")
def mnist(mnist_dir):
    return datasets.load(str(mnist_dir))


def test_it_is_small_and_its_weights_are_those_of_its_card():
    found = artifact.read()
    assert artifact.PRETRAINED.stat().st_size < 2_000_000
    assert found.card["figures"]["parameters"] <= 300_000
    assert results.weights_checksum(found.variables) == found.card["provenance"]["weights_checksum"]
    card = artifact.PRETRAINED.with_name("README.md").read_text()
    for fact in (found.checksum, found.card["provenance"]["commit"], f"{found.card['figures']['accuracy']:.4f}"):
        assert fact in card


def test_its_figures_are_had_again(mnist):
    found = artifact.read()
    again = results.evaluation(found, mnist.test, "again")
    assert again["accuracy"] == pytest.approx(found.card["figures"]["accuracy"], abs=2e-4)
    assert again["accuracy"] >= 0.9955
    assert again["ece"] <= 0.003


def test_mnist_goes_through_the_canonicaliser_unharmed_and_is_hardly_refused(mnist):
    predictor = digitjax.load()
    forms = np.stack([canonical(image) for image in mnist.test.images])
    bare, through = (predictor.judge(images) for images in (mnist.test.images, forms))
    shares = [(judged.digits == mnist.test.labels).mean() for judged in (bare, through)]
    assert abs(shares[0] - shares[1]) <= 0.0005
    assert (through.verdicts > 0).mean() <= 0.01


def test_what_is_no_digit_is_refused():
    predictor = digitjax.load()
    draw = np.random.default_rng(0)
    noise = list(draw.integers(0, 256, (40, 90, 90), np.uint8))
    for number in range(40):
        blank = np.full((90, 90), 6 * number, np.uint8)
        noise.append(blank)
    verdicts = [answer.verdict for answer in predictor.predict(noise)]
    assert np.mean([verdict != "digit" for verdict in verdicts]) >= 0.95
    assert set(verdicts[40:]) == {"not_a_digit"}


@pytest.fixture
def own_digits(tmp_path, few):
    """Somebody's digits as photos, a folder a class: written in a hand that MNIST has not, mirrored."""
    for row, (image, label) in enumerate(zip(few.train.images[:200], few.train.labels[:200])):
        folder = tmp_path / "mine" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{row}.png"), 255 - cv2.resize(image[:, ::-1], (84, 84)))
    return tmp_path / "mine"


def test_fine_tuning_starts_from_its_weights_and_learns_a_new_hand(own_digits, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(upright, "lies", lambda _: "")  # else the whole set would be mirrored back, as it should be
    run = tmp_path / "run"
    command = ["train", "--data", str(own_digits), "--from", "pretrained", "--run-dir", str(run), "--epochs", "8"]
    assert main([*command, "--json"]) == 0
    tuned = artifact.read(run)
    assert tuned.config == artifact.read().config
    assert tuned.card["config"]["initial"] == "pretrained"
    mine = datasets.load(str(own_digits))
    before, after = (
        metrics.accuracy(train.evaluate(model.config, jax.device_put(model.variables), mine.test))
        for model in (artifact.read(), tuned)
    )
    assert after >= before + 0.1
    assert (
        np.mean(digitjax.load(str(run)).judge(mine.test.images).verdicts == trust.VERDICTS.index("not_a_digit")) < 0.15
    )
    assert json.loads((run / "config.json").read_text())["recipe"] == "finetune"
    capsys.readouterr()
    assert main(command) == 0
    assert "nothing to do" in capsys.readouterr().err


def test_a_start_that_is_not_there_is_refused_before_anything_is_written(tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["train", "--from", str(tmp_path / "none"), "--data", "mnist5k", "--run-dir", str(run)]) == 1
    assert "no model is called" in capsys.readouterr().err
    assert not run.exists()
