"""The review of a run agrees with its answers; the page stands alone and says what the figures say."""

import copy
import dataclasses
import html
import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from digitjax.base.config import Config, ModelConfig
from digitjax.base.errors import DigitjaxError
from digitjax.data import datasets
from digitjax.data.datasets import Dataset
from digitjax.reading import artifact
from digitjax.reading.artifact import Artifact
from digitjax.report import page, results, review
from digitjax.report.review import on_a_map
from digitjax.training import checkpoint, fit

SMALL = ModelConfig("small", (4, 6), (1, 1))


@pytest.fixture(scope="module")
def run(splits, tmp_path_factory):
    """A finished run on a few real digits that it can load again."""
    folder = tmp_path_factory.mktemp("review")
    np.savez(folder / "few.npz", images=splits.train.images[:640], labels=splits.train.labels[:640])
    config = Config("test", data=str(folder / "few.npz"), epochs=2, batch_size=32, model=SMALL)
    parts = datasets.load(config.data)
    with checkpoint.open_run(folder / "run", config):
        results.finish(folder / "run", config, parts, fit.fit(config, parts, folder / "run"))
    return folder / "run"


@pytest.fixture(scope="module")
def other(run):
    """Another model of the same digits."""
    config = dataclasses.replace(checkpoint.read_config(run), seed=1)
    parts = datasets.load(config.data)
    trained = fit.fit(config, parts)
    return Artifact(config.model, trained.variables, results.learn_trust(config, parts, trained), {}, "other", "")


@pytest.fixture(scope="module")
def reviewed(run):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(review, "ROBUSTNESS_SIZE", 32)
        yield review.review(run)


def answers(run):
    found = artifact.read(run)
    digits = datasets.load(found.card["config"]["data"]).test
    logits, _ = results.scores(found.config, found.variables, digits.images)
    return found, digits, logits


def test_the_figures_are_those_of_the_answers(run, reviewed):
    _, digits, logits = answers(run)
    figures = reviewed.figures
    assert figures["test"] == json.loads((run / "metrics.json").read_text())
    wrong = logits.argmax(1) != digits.labels
    assert sum(pair["count"] for pair in review.confused(figures["test"]["confusion"], 90)) == wrong.sum()
    assert figures["risk"][-1] == {"coverage": 1.0, "risk": pytest.approx(wrong.mean())}
    assert figures["calibration"]["after"]["nll"] == pytest.approx(figures["test"]["loss"], rel=1e-4)
    assert figures["calibration"]["after"]["ece"] == pytest.approx(figures["test"]["ece"], abs=1e-5)
    assert figures["degrees"]["rotation"]["accuracies"][4] == pytest.approx((~wrong)[:32].mean())
    assert figures["corrected"] is None
    json.dumps(figures)


def test_a_run_whose_data_have_changed_is_not_reviewed(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    config = checkpoint.read_config(run)
    digits = datasets.load(config.data).everything()
    np.savez(tmp_path / "fewer.npz", images=digits.images[1:], labels=digits.labels[1:])
    found = artifact.read(run)
    elsewhere = found.card["config"] | {"data": str(tmp_path / "fewer.npz")}
    artifact.write(tmp_path / "run" / artifact.MODEL, found._replace(card=found.card | {"config": elsewhere}))
    with pytest.raises(DigitjaxError, match="was trained on other data"):
        review.review(tmp_path / "run")


def test_temperature_does_not_raise_the_loss_on_the_digits_it_was_chosen_on(run):
    found = artifact.read(run)
    digits = datasets.load(found.card["config"]["data"]).validation
    logits, _ = results.scores(found.config, found.variables, digits.images)
    before, after = (review._totals(logits / t, digits.labels) for t in (1, found.trust.temperature))
    assert after.loss <= before.loss + 1e-3


class Page(HTMLParser):
    """What a browser would fetch, and the text it would show."""

    def __init__(self, text: str):
        super().__init__()
        self.fetched, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, _, attrs):
        self.fetched += [value for name, value in attrs if name in ("src", "href", "srcset", "data")]

    def handle_data(self, data):
        self.text += data


def test_the_page_stands_alone_and_holds_every_picture(reviewed):
    html = page.html(reviewed)
    found = Page(html)
    within = [source for source in found.fetched if source.startswith("#")]
    assert len(within) > 8
    assert all(html.count(f'id="{place[1:]}"') == 1 for place in within)
    found.fetched = [source for source in found.fetched if source not in within]
    assert len(found.fetched) == len(reviewed.pictures) == html.count("<img")
    assert all(source.startswith("data:image/png;base64,") for source in found.fetched)
    assert "@import" not in html
    assert "url(" not in html
    assert "<script" not in html


def test_the_page_opens_with_what_people_look_at_and_ends_with_provenance(reviewed):
    html = page.html(reviewed)
    titles = re.findall(r"<h2[^>]*>(.*?)</h2>", html)
    assert titles[:4] == ["Training", "By digit", "Mistakes, and why", "Confidence"]
    assert titles[-1] == "Provenance"


def test_the_cards_head_is_what_model_hubs_read(reviewed):
    _, head, text = page.model_card(reviewed.figures).split("---\n", 2)
    known = yaml.safe_load(head)
    assert known["pipeline_tag"] == "image-classification"
    [result] = known["model-index"][0]["results"]
    assert result["metrics"][0]["value"] == pytest.approx(reviewed.figures["test"]["accuracy"])
    assert text.lstrip().startswith("# digitjax")


@given(st.integers(0, 2**32 - 1))
def test_the_map_is_the_plane_in_which_embeddings_differ_most(seed):
    """The reference is the covariance's own eigenvectors; turning the embeddings about changes no place but by sign."""
    draw = np.random.default_rng(seed)
    rows = (draw.normal(size=(40, 6)) * [9, 5, 2, 1, 0.5, 0.1]).astype(np.float32)
    places, how = on_a_map(rows)
    _, vectors = np.linalg.eigh(np.cov(rows.T))
    expected = (rows - rows.mean(0)) @ vectors[:, ::-1][:, :2]
    np.testing.assert_allclose(np.abs(places), np.abs(expected), atol=1e-3)
    assert "principal" in how
    turned, _ = on_a_map((rows @ np.linalg.qr(draw.normal(size=(6, 6)))[0]).astype(np.float32))
    np.testing.assert_allclose(np.abs(turned), np.abs(places), atol=2e-3)


def test_the_page_says_what_the_figures_say(reviewed):
    figures, text = reviewed.figures, Page(page.html(reviewed)).text
    said = [figures["test"]["accuracy"], figures["calibration"]["before"]["ece"], *figures["corruptions"].values()]
    said += [row["auroc"] for row in figures["out_of_distribution"]]
    assert all(f"{value:.4f}" in text for value in said)
    assert figures["provenance"]["weights_checksum"] in text
    assert "no official test set" in text
    for row in figures["test"]["per_class"]:
        assert f"{row['precision']:.4f}" in text


def test_a_name_cannot_put_tags_into_the_page(reviewed):
    hostile = reviewed._replace(figures=reviewed.figures | {"recipe": "<img src=http://a.example/b.png>"})
    assert all(source.startswith(("data:", "#")) for source in Page(page.html(hostile)).fetched)


@pytest.mark.parametrize(
    "name", ["![x](http://evil.example/a.png)", "[a](javascript:b)", "# head", "a | b", "`c` **d** _e_"]
)
def test_a_name_is_a_name_and_no_picture_link_or_heading(reviewed, name):
    figures = copy.deepcopy(reviewed.figures)
    figures["data"]["name"] = figures["data"]["note"] = figures["test"]["data"] = name
    shown = page.html(reviewed._replace(figures=figures))
    assert 'evil.example/a.png"' not in shown
    assert not re.search('<a (?!href="#)', shown)
    assert shown.count("<h1>") == 1
    assert html.escape(name, quote=False) in shown


def test_the_model_card_is_a_part_of_the_page(reviewed):
    card = page.model_card(reviewed.figures)
    assert f"{reviewed.figures['test']['accuracy']:.4f}" in card
    assert "](" not in card
    for heading in re.findall("^## (.*)$", card, re.MULTILINE):
        assert f">{heading}</h2>" in page.html(reviewed)


def test_corrected_labels_count_what_people_voted_for_and_leave_out_what_they_did_not_agree_on():
    labels = np.zeros(10_000, np.int32)
    for index, (official, _) in review.VOTED.items():
        labels[index] = official
    as_official = review.corrected(labels, labels)
    assert as_official["examples"] == 9_985 + len(review.VOTED)
    assert as_official["accuracy"] == 9_985 / 9_995
    voted = labels.copy()
    for index, (_, digit) in review.VOTED.items():
        voted[index] = digit
    voted[list(review.UNDECIDED)] = 7
    assert review.corrected(voted, labels)["accuracy"] == 1
    assert review.corrected(labels[:-1], labels[:-1]) is None


def test_the_official_labels_are_as_the_table_of_votes_has_them(mnist_dir):
    labels = datasets.load(str(mnist_dir)).test.labels
    assert all(labels[index] == official for index, (official, _) in review.VOTED.items())
    assert review.corrected(labels, labels)["accuracy"] == 9_985 / 9_995


def test_confused_pairs_come_by_count_and_without_the_right_ones():
    assert review.confused([[9, 2, 0], [0, 9, 5], [1, 0, 9]], 2) == [
        {"is": 1, "read": 2, "count": 5},
        {"is": 0, "read": 1, "count": 2},
    ]


def test_as_many_reference_digits_are_strange_as_a_verdict_that_strict_refuses(run):
    """Of a tenth refused, three quarters are for the energy alone; who is refused twice makes it fewer."""
    found, _, _ = answers(run)
    images = datasets.load(found.card["config"]["data"]).train.images
    scores = review._scores(found, images)
    strange = review.outlier_score(found.trust, scores, scores)
    assert 0.07 <= (strange > 0.9).mean() <= 0.1
    noise = np.random.default_rng(0).integers(0, 256, (50, 28, 28)).astype(np.uint8)
    far = review.outlier_score(found.trust, scores, review._scores(found, noise))
    assert far.mean() > strange.mean()


def test_comparison_is_mirrored_when_the_two_change_places(run, other):
    first, second = artifact.read(run), other
    digits = datasets.load(first.card["config"]["data"]).everything().take(np.arange(64))
    there, back = review.compare(first, second, digits, "few"), review.compare(second, first, digits, "few")
    assert there["p_value"] == back["p_value"]
    assert (there["difference"], there["low"]) == pytest.approx((-back["difference"], -back["high"]))
    assert there["first"] == back["second"]
    gained = there["first"]["accuracy"] - there["second"]["accuracy"]
    assert there["difference"] == pytest.approx(gained)
    assert {row["index"]: (row["first"], row["second"]) for row in there["differing"]} == {
        row["index"]: (row["second"], row["first"]) for row in back["differing"]
    }
    right = sum(row["first"] == row["label"] for row in there["differing"])
    assert right == there["only_first_right"] > 0
    assert f"p = {there['p_value']:.3g}" in page.comparison(there)


def test_a_model_does_not_differ_from_itself(run):
    found, digits, _ = answers(run)
    same = review.compare(found, found, Dataset(*digits), "few")
    assert (same["difference"], same["p_value"], same["differing"]) == (0, 1, [])
    assert same["low"] == pytest.approx(-same["high"])
