"""What a run is worth: the figures of an evaluation, and the files that a finished run leaves behind."""

import dataclasses
import hashlib
import json
import platform
import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from digitjax.base import device
from digitjax.base.config import AugmentConfig, Config, ModelConfig
from digitjax.base.disk import write_text
from digitjax.data.datasets import Dataset, Splits, padded_batches
from digitjax.network import model
from digitjax.network.augment import augment
from digitjax.network.model import Variables
from digitjax.reading import artifact, predict
from digitjax.reading.artifact import Artifact
from digitjax.reading.predict import Judged, Predictor
from digitjax.reading.trust import SHARES, SHARES_OF_LEARNT, VERDICTS, Trust, learn
from digitjax.report import plots
from digitjax.training import checkpoint, metrics, train
from digitjax.training.fit import Trained


def evaluation(found: Artifact, dataset: Dataset, data: str) -> dict[str, Any]:
    """The figures of a model on a data set, ready for JSON. Shares are from 0 to 1, the loss is in nats.

    Loss and calibration error are those after temperature scaling.
    """
    return _figures(train.evaluate(found.config, found.variables, dataset, temperature=found.trust.temperature), data)


def as_uploaded(found: Artifact, dataset: Dataset, data: str) -> dict[str, Any]:
    """The figures of `evaluation`, and `verdicts`, for images that go the way of pictures: brought into MNIST's form,
    and judged by the line network too where the model that ships is in doubt.
    """
    from digitjax.picture.canonical import canonical  # a machine that only trains may lack OpenCV

    judged = predict.of(found).judge(np.stack([canonical(image) for image in dataset.images]))
    logits, labels = jnp.log(judged.probabilities + 1e-9), jnp.asarray(dataset.labels)
    sums = jax.tree.map(np.asarray, metrics.totals(logits, labels, jnp.ones(len(labels))))
    called = judged.verdicts == 0
    return _figures(sums, data) | {
        "verdicts": {name: float((judged.verdicts == place).mean()) for place, name in enumerate(VERDICTS)},
        "misread_of_called_digit": float((judged.digits != dataset.labels)[called].mean()) if called.any() else None,
    }


def _figures(sums: metrics.Totals, data: str) -> dict[str, Any]:
    right, examples = float(np.trace(sums.confusion)), float(sums.weight)
    low, high = metrics.wilson(right, examples)
    return {
        "data": data,
        "examples": int(examples),
        "accuracy": metrics.accuracy(sums),
        "accuracy_interval": [low, high],
        "loss": metrics.mean_loss(sums),
        "ece": metrics.expected_calibration_error(sums),
        "per_class": metrics.per_class(sums.confusion),
        "confusion": sums.confusion.astype(int).tolist(),
    }


def as_text(figures: Mapping[str, Any]) -> str:
    """The figures of `evaluation` as a page for people."""
    low, high = figures["accuracy_interval"]
    lines = [
        f"data       {figures['data']}, {figures['examples']:,} examples",
        f"accuracy   {figures['accuracy']:.4f}  (95 % interval {low:.4f} to {high:.4f})",
        f"loss       {figures['loss']:.4f}",
        f"ece        {figures['ece']:.4f}",
        *_verdicts(figures),
        "",
        "digit  accuracy  95 % interval     precision  recall  f1      support",
    ]
    for row in figures["per_class"]:
        interval = f"{row['low']:.4f} to {row['high']:.4f}"
        lines.append(
            f"{row['digit']:>5}  {row['accuracy']:.4f}    {interval}  {row['precision']:.4f}     {row['recall']:.4f}"
            f"  {row['f1']:.4f}  {int(row['support']):>7}"
        )
    lines += ["", "is \\ read as" + "".join(f"{column:>6}" for column in range(len(figures["confusion"])))]
    lines += [
        f"{row:>12}" + "".join(f"{count:>6}" for count in counts) for row, counts in enumerate(figures["confusion"])
    ]
    return "\n".join(lines) + "\n"


def _verdicts(figures: Mapping[str, Any]) -> list[str]:
    if "misread_of_called_digit" not in figures:
        return []
    shares = ", ".join(f"{name} {share:.4f}" for name, share in figures["verdicts"].items())
    misread = figures["misread_of_called_digit"]
    return [
        f"verdicts   {shares}",
        *([] if misread is None else [f"misread    {misread:.4f} of what is called a digit"]),
    ]


def finish(run: Path, config: Config, splits: Splits, trained: Trained) -> dict[str, Any]:
    """Reads the test part, once, and writes everything that a finished run shows; returns the content of metrics.json.

    `metrics.json` is written last: a folder that has it is finished.
    """
    kind = "test" if splits.official else "held-back part (not an official test set)"
    trust = learn_trust(config, splits, trained)
    found = Artifact(config.model, jax.tree.map(np.asarray, trained.variables), trust, {})
    figures = evaluation(found, splits.test, f"{splits.name}, {kind}")
    answers = Predictor(config.model, trained.variables, trust).judge(splits.test.images)
    figures["verdicts"] = {name: float((answers.verdicts == place).mean()) for place, name in enumerate(VERDICTS)}
    best = trained.history[trained.best_epoch - 1]
    figures |= {
        "validation_accuracy": best["validation_accuracy"],
        "validation_loss": best["validation_loss"],
        "best_epoch": trained.best_epoch,
        "epochs": len(trained.history),
        "training_seconds": round(sum(row["seconds"] for row in trained.history), 2),
        "parameters": model.parameter_count(trained.variables),
    }
    _draw(run, config, splits, trained, answers, figures)
    origin = provenance(config, splits, trained)
    card = {"config": dataclasses.asdict(config), "figures": figures, "provenance": origin}
    artifact.write(run / artifact.MODEL, found._replace(card=card))
    write_text(run / "metrics.txt", as_text(figures))
    write_text(run / "provenance.json", json.dumps(origin, indent=2) + "\n")
    write_text(run / "metrics.json", json.dumps(figures, indent=2) + "\n")
    return figures


def learn_trust(config: Config, splits: Splits, trained: Trained) -> Trust:
    """From the validation digits, which the weights were not trained on."""
    images, labels = splits.validation
    shares = SHARES_OF_LEARNT if config.training.outliers else SHARES
    return learn(images, *scores(config.model, trained.variables, images), labels, shares=shares)


_scores = jax.jit(model.logits_and_embedding, static_argnums=0)


def scores(config: ModelConfig, variables: Variables, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits and embeddings of any number of images."""
    parts = [_scores(config, variables, images[rows]) for rows, _ in padded_batches(len(images), 500)]
    logits, embedding = (np.concatenate(part)[: len(images)] for part in zip(*parts))
    return logits, embedding


def provenance(config: Config, splits: Splits, trained: Trained) -> dict[str, Any]:
    """What somebody needs to get the same weights again, and the hash by which to know them."""
    first = jax.devices()[0]
    return {
        "recipe": config.recipe,
        "precision": train.precision(config),
        "seed": config.seed,
        "data": splits.name,
        "data_checksum": splits.checksum,
        "weights_checksum": weights_checksum(trained.variables),
        "commit": device.commit(),
        "versions": device.versions(),
        "device": f"{first.platform}: {first.device_kind}",
        "machine": f"{platform.system()} {platform.machine()}",
        "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "wall_seconds": round(sum(row["seconds"] for row in trained.history), 2),
    }


def weights_checksum(variables: Variables) -> str:
    """SHA-256 of all arrays, by the names of their places."""
    digest = hashlib.sha256()
    for path, leaf in sorted(jax.tree.leaves_with_path(variables), key=lambda item: jax.tree_util.keystr(item[0])):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()


def _draw(
    run: Path, config: Config, splits: Splits, trained: Trained, answers: Judged, figures: Mapping[str, Any]
) -> None:
    images, labels = splits.test
    guesses, sure, rows, _ = answers
    losses = -np.log(np.maximum(rows[np.arange(len(labels)), labels], 1e-12))
    sample = np.random.default_rng(config.seed).permutation(len(labels))[:32]
    titles = [f"{guesses[row]}  ({100 * sure[row]:.1f} %)" for row in sample]
    wrong = np.flatnonzero(guesses != labels)
    worst = wrong[np.argsort(-losses[wrong])][:40]
    shown = f"the {len(worst)} worst of {len(wrong)}" if len(wrong) > len(worst) else f"all {len(wrong)}"
    captions = [f"is {labels[row]}, read {guesses[row]}\nloss {losses[row]:.1f}, no. {row}" for row in worst]
    pictures = {
        "accuracy_plot": plots.curve(trained.history, "accuracy"),
        "loss_plot": plots.curve(trained.history, "loss", "(nats)"),
        "sample_predictions": plots.digits(
            images[sample], titles, "Predictions and confidence", wrong=(guesses[sample] != labels[sample]).tolist()
        ),
        "misclassified": plots.digits(images[worst], captions, f"Misread digits by loss: {shown}"),
        "augmentation": augmentation_sheet(config, splits.train),
        "confusion_matrix": plots.confusion(
            figures["confusion"], f"Accuracy {figures['accuracy']:.4f} on {figures['data']}"
        ),
    }
    for name in checkpoint.PICTURES:
        plots.save(pictures[name], run / f"{name}.png")


def augmentation_sheet(config: Config, dataset: Dataset, rows: int = 4) -> Any:
    """A few training digits as they are, and seven draws of each as the network sees them in training."""
    originals = dataset.images[:: max(1, len(dataset.images) // rows)][:rows]
    key = jax.random.key(config.seed, impl="rbg")  # compiled in half the time that the default one takes
    changed = jax.jit(augment, static_argnums=0)(config.augment, np.repeat(originals, 7, axis=0), key)
    sheet = np.concatenate([originals[:, None], np.asarray(changed).reshape(-1, 7, 28, 28)], axis=1)
    titles = ["as it is", *["changed"] * 7] * rows
    heading = "Augmentation" if config.augment != AugmentConfig() else "Augmentation: none in this recipe"
    return plots.digits(sheet.reshape(-1, 28, 28), titles, heading)
