"""What a reviewer asks of a finished run: where it errs and why, how sure it is, robustness, which is better."""

import importlib
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float32, Int, Int32, UInt8

from digitjax.base.errors import DigitjaxError
from digitjax.data import datasets, tfds
from digitjax.data.datasets import Dataset, Splits
from digitjax.network import explain, model
from digitjax.picture.pixels import read_picture
from digitjax.reading import artifact, upright
from digitjax.reading.artifact import Artifact
from digitjax.reading.files import Answer
from digitjax.reading.predict import Predictor
from digitjax.reading.trust import SHARES, SHARES_OF_LEARNT, Trust, distance, energy
from digitjax.report import corruptions, plots, results
from digitjax.training import checkpoint, metrics
from digitjax.training.metrics import Totals

ROBUSTNESS_SIZE = 2_500
"""Digits that the robustness figures are made of, and pictures of each kind that is out of distribution."""
FALSE_REJECTION = 0.01
SHOWN = 20
"""Misread digits that are explained, the worst first."""
MAPPED, UMAP_FROM = 2_000, 50
"""Test digits on the map of what the network has learnt; UMAP needs neighbours."""
COVERAGES = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 1.0)

VOTED = {947: (8, 9), 1621: (0, 6), 1901: (9, 4), 2462: (2, 0), 2597: (5, 3),
         3558: (5, 0), 5937: (5, 3), 6651: (0, 6), 6783: (1, 6), 9729: (5, 6)}  # fmt: skip
"""MNIST test digits by index: the official label, and the one that most people gave (Northcutt et al. 2021)."""
UNDECIDED = (2130, 2654, 3520, 8527, 9679)
"""Those on which people did not agree."""


class Scores(NamedTuple):
    """What a model says of n images before any calibration."""

    logits: Float32[np.ndarray, "n classes"]
    embedding: Float32[np.ndarray, "n width"]


class Review(NamedTuple):
    """Figures ready for JSON, and pictures as PNG by name."""

    figures: dict[str, Any]
    pictures: dict[str, bytes]


def review(run: Path) -> Review:
    """Everything that the report of a finished run shows.

    Raises:
      DigitjaxError: there is no finished run, or its data cannot be had.
    """
    found, splits = _opened(run)
    images, labels = splits.test
    clean = _scores(found, images)
    before, after = (_totals(clean.logits / t, labels) for t in (1, found.trust.temperature))
    rows = _probabilities(found, clean)
    guesses = rows.argmax(1).astype(np.int32)
    by_coverage = metrics.risk_by_coverage(rows.max(1), guesses == labels)
    curves, corrupted = _robustness(found, splits.test)
    foreign, examples = _out_of_distribution(found, splits, clean)
    sheet, empty = _mistakes(found, images, labels, rows)
    few = np.random.default_rng(0).permutation(len(labels))[:MAPPED]
    places, how = on_a_map(clean.embedding[few])
    official = found.card["figures"]
    figures = {
        "name": found.name,
        "checksum": found.checksum,
        "recipe": found.card["config"]["recipe"],
        "provenance": found.card["provenance"],
        "data": _data(splits),
        "layers": [layer._asdict() for layer in model.summary(found.config)],
        "test": official,
        "corrected": corrected(guesses, labels),
        "confused": confused(official["confusion"]),
        "calibration": {
            "temperature": float(found.trust.temperature),
            "before": _calibration(before, np.asarray(jax.nn.softmax(clean.logits)), labels),
            "after": _calibration(after, rows, labels),
        },
        "risk": [{"coverage": share, "risk": float(by_coverage[_last(share, len(labels))])} for share in COVERAGES],
        "degrees": curves,
        "corruptions": corrupted,
        "corruptions_mean": float(np.mean(list(corrupted.values()))),
        "out_of_distribution": foreign,
        "empty_maps": empty,
        "map": how,
    }
    degrees = {name: (row["unit"], row["amounts"], row["accuracies"]) for name, row in curves.items()}
    drawn = {
        "mistakes": sheet,
        "map": plots.landscape(places, labels[few], guesses[few], how),
        "filters": filters(found),
        "reliability": plots.reliability(before, after),
        "risk": plots.risk(by_coverage),
        "robustness": plots.lines(degrees),
        "corruptions": _corruption_sheet(splits.test, corrupted),
        "out_of_distribution": plots.digits(*examples, "What is no digit"),
    }
    pictures = {name: _picture(run / f"{name}.png") for name in checkpoint.PICTURES if name != "misclassified"}
    return Review(figures, pictures | {name: plots.png(figure) for name, figure in drawn.items()})


def _opened(run: Path) -> tuple[Artifact, Splits]:
    """A finished run's model, and the data that it was trained on."""
    if run.is_file():
        raise DigitjaxError(f"{run} is a file: name the folder of a run")
    found = artifact.read(run)
    learnt = found.card["config"]
    splits = upright.load(learnt["data"], learnt["validation_share"])
    if splits.checksum != found.card["provenance"]["data_checksum"]:
        raise DigitjaxError(
            f"{run} was trained on other data than {splits.name} is now: bring those back, or train anew"
        )
    return found, splits


def _picture(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DigitjaxError(f"{file} cannot be read ({error.strerror}): train again with --fresh") from error


def corrected(guesses: Int[np.ndarray, " n"], labels: Int32[np.ndarray, " n"]) -> dict[str, Any] | None:
    """Accuracy under the labels that people voted for, where this is the MNIST test split; None elsewhere."""
    if len(labels) != 10_000 or any(labels[index] != given for index, (given, _) in VOTED.items()):
        return None
    voted = labels.copy()
    voted[list(VOTED)] = [label for _, label in VOTED.values()]
    kept = np.setdiff1d(np.arange(len(labels)), UNDECIDED)
    right = int((guesses == voted)[kept].sum())
    return {
        "examples": len(kept),
        "relabelled": len(VOTED),
        "left_out": len(UNDECIDED),
        "accuracy": right / len(kept),
        "accuracy_interval": list(metrics.wilson(right, len(kept))),
    }


def confused(confusion: Sequence[Sequence[int]], most: int = 8) -> list[dict[str, int]]:
    """The pairs of label and answer that were mixed up most often, the most frequent first."""
    matrix = np.asarray(confusion) * (1 - np.eye(len(confusion), dtype=int))
    order = np.argsort(-matrix, axis=None, kind="stable")[:most]
    pairs = (np.unravel_index(place, matrix.shape) for place in order)
    return [{"is": int(a), "read": int(b), "count": int(matrix[a, b])} for a, b in pairs if matrix[a, b]]


def compare(first: Artifact, second: Artifact, dataset: Dataset, name: str) -> dict[str, Any]:
    """Two models on the same digits: McNemar's test, the difference with its interval, the digits they differ on."""
    guesses = [Predictor(m.config, m.variables, m.trust).judge(dataset.images).digits for m in (first, second)]
    a, b = guesses
    right_a, right_b = (guess == dataset.labels for guess in guesses)
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    return {
        "data": name,
        "examples": len(dataset.labels),
        "first": _standing(first, right_a),
        "second": _standing(second, right_b),
        "only_first_right": only_a,
        "only_second_right": only_b,
        "both_wrong": int((~right_a & ~right_b).sum()),
        **metrics.paired(only_a, only_b, len(dataset.labels))._asdict(),
        "differing": [
            {"index": int(row), "label": int(dataset.labels[row]), "first": int(a[row]), "second": int(b[row])}
            for row in np.flatnonzero(a != b)
        ],
    }


def explained(
    predictor: Predictor, answer: Answer, methods: Sequence[str], digit: int | None, layer: int, file: Path
) -> dict[str, Any]:
    """Writes the sheet of one answered picture to `file`, and the feature maps of `layer` beside it.

    Returns:
      Where they are, the digit explained (the predicted one if None), and the methods whose map is empty.

    Raises:
      DigitjaxError: no such method, layer or digit; or the folder cannot be written.
    """
    assert answer.prediction is not None, "the picture could not be read"
    assert answer.seen is not None
    config, variables, seen = predictor.config, predictor.variables, answer.seen
    digit = answer.prediction.digit if digit is None else digit
    classes = np.array([digit], np.int32)
    maps = {name: explain.explain(config, variables, seen[None], classes, name, layer)[0] for name in methods}
    empty = [name for name, heat in maps.items() if not heat.any()]
    titles = [answer.file.name[-20:], "what the network saw"]
    titles += [f"{name}\nfinds nothing" if name in empty else name.replace("_", " ") for name in maps]
    heading = (
        f"Read as {answer.prediction.digit} ({100 * answer.prediction.confidence:.1f} %). What speaks for {digit}:"
    )
    pictures = [read_picture(answer.file), *[seen] * (1 + len(maps))]
    sheet = plots.digits(pictures, titles, heading, columns=min(len(pictures), 9), maps=[None, None, *maps.values()])
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DigitjaxError(f"{file.parent} cannot be made ({error.strerror}): name another folder") from error
    plots.save(sheet, file)
    features = file.with_suffix(".features.png")
    cut = np.asarray(model.features(config, variables, seen[None], layer))[0]
    plots.save(plots.channels(cut, f"Feature maps of convolution {range(sum(config.depth))[layer]}"), features)
    return {
        "file": str(answer.file),
        "digit": digit,
        "sheet": str(file),
        "features": str(features),
        "empty": empty,
    }


def filters(found: Artifact) -> Any:
    """The kernels of the first convolution."""
    kernel = np.asarray(found.variables["params"]["convolution_0"]["kernel"])[:, :, 0]
    return plots.channels(kernel, "Filters of the first convolution")


def on_a_map(embedding: Float32[np.ndarray, "n width"]) -> tuple[Float32[np.ndarray, "n 2"], str]:
    """Places of embeddings in the plane, and how they were had: UMAP where it is installed, else two components."""
    if importlib.util.find_spec("umap") and len(embedding) > UMAP_FROM:
        umap = importlib.import_module("umap")
        return umap.UMAP(random_state=0, n_jobs=1).fit_transform(embedding), "UMAP (McInnes et al. 2018)"
    centred = embedding - embedding.mean(0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    # A direction's sign means nothing: the larger half of it points up.
    directions = directions[:2] * np.sign(directions[:2].sum(1, keepdims=True) + 1e-9)
    return (centred @ directions.T).astype(np.float32), "the two principal components"


def _standing(found: Artifact, right: Bool[np.ndarray, " n"]) -> dict[str, Any]:
    low, high = metrics.wilson(int(right.sum()), len(right))
    return {
        "name": found.name,
        "checksum": found.checksum,
        "accuracy": float(right.mean()),
        "accuracy_interval": [low, high],
    }


def _scores(found: Artifact, images: UInt8[np.ndarray, "n 28 28"]) -> Scores:
    return Scores(*results.scores(found.config, found.variables, images))


def _probabilities(found: Artifact, scores: Scores) -> Float32[np.ndarray, "n classes"]:
    return np.asarray(jax.nn.softmax(scores.logits / found.trust.temperature))


def _totals(logits: np.ndarray, labels: np.ndarray) -> Totals:
    sums = metrics.totals(jnp.asarray(logits), jnp.asarray(labels), jnp.ones(len(labels)))
    return jax.tree.map(np.asarray, sums)


def _calibration(sums: Totals, probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    return {
        "ece": metrics.expected_calibration_error(sums),
        "nll": metrics.mean_loss(sums),
        "brier": metrics.brier(probabilities, labels),
    }


def _last(share: float, count: int) -> int:
    return max(0, round(share * count) - 1)


def _data(splits: Splits) -> dict[str, Any]:
    parts = {"training": splits.train, "validation": splits.validation, "test": splits.test}
    return {
        "name": splits.name,
        "official_test": splits.official,
        "checksum": splits.checksum,
        "note": splits.note,
        "parts": {name: len(part.labels) for name, part in parts.items()},
        "classes": {name: np.bincount(part.labels, minlength=10).tolist() for name, part in parts.items()},
    }


def _robustness(found: Artifact, dataset: Dataset) -> tuple[dict[str, Any], dict[str, float]]:
    """Accuracy by amount of each change by degrees, and under each corruption, on the first digits of a data set."""
    images, labels = (part[:ROBUSTNESS_SIZE] for part in dataset)
    predictor = Predictor(found.config, found.variables)

    def accuracy(pictures: np.ndarray) -> float:
        return float((predictor.logits(pictures).argmax(1) == labels).mean())

    curves = {
        name: {
            "unit": degree.unit,
            "amounts": list(degree.amounts),
            "accuracies": [accuracy(corruptions.changed(images, name, amount)) for amount in degree.amounts],
        }
        for name, degree in corruptions.DEGREES.items()
    }
    return curves, {name: accuracy(corruptions.corrupted(images, name)) for name in corruptions.CORRUPTIONS}


def outlier_score(trust: Trust, reference: Scores, scores: Scores) -> Float32[np.ndarray, " n"]:
    """How unlike a digit, from 0 to 1: 1 less the share of the reference digits that a verdict as strict would reject.

    So the verdict's three doubts are one score, whatever the strictness.
    """

    def doubts(of: Scores) -> Iterator[np.ndarray]:
        yield np.asarray(energy(of.logits))
        yield np.asarray(distance(trust, of.embedding))
        yield -np.asarray(jax.nn.log_softmax(of.logits / trust.temperature)).max(1)

    shares = SHARES if np.isfinite(trust.limits[3]) else SHARES_OF_LEARNT
    rejected = [
        (1 - np.searchsorted(np.sort(usual), doubt) / len(usual)) / share
        for usual, doubt, share in zip(doubts(reference), doubts(scores), shares)
        if share
    ]
    return (1 - np.clip(np.min(rejected, axis=0), 0, 1)).astype(np.float32)


def _out_of_distribution(
    found: Artifact, splits: Splits, clean: Scores
) -> tuple[list[dict[str, Any]], tuple[list[np.ndarray], list[str]]]:
    """How well each kind out of distribution is told apart from the test digits, and eight of each."""
    reference = _scores(found, splits.validation.images)
    usual = outlier_score(found.trust, reference, clean)
    limit = np.quantile(usual, 1 - FALSE_REJECTION, method="higher")
    predictor = Predictor(found.config, found.variables, found.trust)
    kinds = {name: corruptions.out_of_distribution(name, ROBUSTNESS_SIZE) for name in corruptions.OUT_OF_DISTRIBUTION}
    for name in ("fashion_mnist", "kmnist"):
        if name != splits.name and tfds.arrays_file(name).exists():
            kinds[name] = datasets.load(name).test.images[:ROBUSTNESS_SIZE]
    rows, shown, titles = [], [], []
    for name, pictures in kinds.items():
        strange = outlier_score(found.trust, reference, _scores(found, pictures))
        rows.append(
            {
                "kind": name,
                "pictures": len(pictures),
                "auroc": metrics.auroc(strange, usual),
                "rejected": float((strange > limit).mean()),
                "verdict_rejected": float((predictor.judge(pictures).verdicts > 0).mean()),
            }
        )
        shown += list(pictures[:8])
        titles += [name.replace("_", " "), *[""] * 7]
    return rows, (shown, titles)


def _mistakes(
    found: Artifact, images: np.ndarray, labels: np.ndarray, rows: np.ndarray
) -> tuple[Any, list[dict[str, int]]]:
    """The worst misread digits, with what spoke for the label and for the answer; and the maps that are empty."""
    guesses = rows.argmax(1).astype(np.int32)
    wrong = np.flatnonzero(guesses != labels)
    worst = wrong[np.argsort(rows[wrong, labels[wrong]], kind="stable")][:SHOWN]
    pictures, titles, maps, empty = [], [], [], []
    heat = [
        explain.explain(found.config, found.variables, images[worst], classes[worst]) for classes in (labels, guesses)
    ]
    for place, row in enumerate(worst):
        pictures += [images[row]] * 3
        titles.append(f"no. {row}\nis {labels[row]}, read {guesses[row]} ({100 * rows[row].max():.0f} %)")
        maps.append(None)
        for digit, found_heat in zip((labels[row], guesses[row]), heat):
            blank = not found_heat[place].any()
            titles.append(f"nothing for {digit}" if blank else f"for {digit}")
            maps.append(found_heat[place])
            if blank:
                empty.append({"index": int(row), "digit": int(digit)})
    title = f"The {len(worst)} worst of {len(wrong)} misread digits, and where Grad-CAM sees them speak"
    return plots.digits(pictures, titles, title, columns=9, maps=maps), empty


def _corruption_sheet(dataset: Dataset, accuracies: Mapping[str, float]) -> Any:
    three = dataset.images[:3]
    pictures = [three[1], *(corruptions.corrupted(three, name)[1] for name in accuracies)]
    titles = ["as it is", *(f"{name.replace('_', ' ')}\n{100 * share:.1f} %" for name, share in accuracies.items())]
    return plots.digits(pictures, titles, "Accuracy under corruptions")
