"""Which digits are labelled wrongly, and do networks find them by themselves?

    python -m experiments.label_errors [--folds 5] [--repeats 3]      (about 15 minutes on two cores)

Trains the quick recipe on all folds but one, again and again, so that every training digit is judged by networks that
never saw it, and every test digit by all of them. Ranks digits by four measures: mean loss; mean norm of the loss's
gradient in the weights, by vmap(grad) (GraNd, Paul et al. 2021), and in the logits (EL2N, of the same authors); and the
share of networks that do not read the label.
Reports how many of the 15 MNIST test digits whose label people's votes did not support (Northcutt et al. 2021) are
among the first 100. Writes results/label_errors.jsonl, .md and .png.

Answer: yes. All 15 are among the 100 test digits of the highest loss, 14 among those of the largest gradient, 13 among
those that the most networks read otherwise. Of the training digits, the first ones are plainly labelled wrongly, too:
see results/label_errors.png.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from digitjax.base import device
from experiments.crossval import folds, without
from experiments.ledger import RESULTS

MEASURES = ("loss", "gradient", "error", "disagreement")
FIRST = 100
KEPT = Path("outputs/label_errors")


def ranking(measures: Mapping[str, np.ndarray]) -> np.ndarray:
    """All as one: rows by the mean of their places, the most suspicious first."""
    from scipy import stats

    return np.argsort(-np.mean([stats.rankdata(values) for values in measures.values()], axis=0), kind="stable")


def recall(order: np.ndarray, suspects: list[int]) -> int:
    return len(set(order[:FIRST].tolist()) & set(suspects))


def judged(config: Any, variables: Any, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """[n, 4]: loss, norm of its gradient in the weights and in the logits, and 1 where something else is read."""
    import jax
    import jax.numpy as jnp

    from digitjax.data.datasets import padded_batches
    from digitjax.network import model

    @jax.jit
    def rows(images: jax.Array, labels: jax.Array) -> jax.Array:
        def loss(params: Any, image: jax.Array, label: jax.Array) -> tuple[jax.Array, Any]:
            logits = model.logits(config, {**variables, "params": params}, image[None])[0]
            error = jnp.linalg.norm(jax.nn.softmax(logits) - jax.nn.one_hot(label, len(logits)))
            return -jax.nn.log_softmax(logits)[label], (error, logits.argmax() != label)

        each = jax.vmap(jax.value_and_grad(loss, has_aux=True), (None, 0, 0))
        (losses, (errors, wrong)), gradients = each(variables["params"], images, labels)
        squares = jax.tree.map(lambda g: (g**2).reshape(len(g), -1).sum(1), gradients)
        return jnp.stack([losses, jnp.sqrt(sum(jax.tree.leaves(squares))), errors, wrong], axis=1)

    batches = padded_batches(len(labels), 100)
    return np.concatenate([np.asarray(rows(images[i], labels[i]))[weights > 0] for i, weights in batches])


def main() -> None:
    parser = argparse.ArgumentParser(description="Digits that are probably labelled wrongly.")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--quick", action="store_true", help="two networks on mnist5k, and nothing is written")
    args = parser.parse_args()
    if args.quick:
        args.folds, args.repeats, args.data = 2, 1, "mnist5k"
    device.prepare()
    from digitjax.base.config import RECIPES
    from digitjax.data import datasets
    from digitjax.report import plots
    from digitjax.report.review import UNDECIDED, VOTED, corrected
    from digitjax.training import fit
    from experiments.trials import least

    splits = datasets.load(args.data)
    whole = splits._replace(test=splits.validation.take(np.arange(0))).everything()
    outside, test = np.zeros((len(whole.labels), len(MEASURES))), np.zeros((len(splits.test.labels), len(MEASURES)))
    for repeat in range(args.repeats):
        config = least(replace(RECIPES["quick"], seed=repeat), args.quick)
        fold = folds(whole.labels, args.folds, repeat)
        for out in range(args.folds):
            print(f"repeat {repeat}, fold {out}", file=sys.stderr)
            kept = KEPT / f"{len(MEASURES)}-{args.folds}-{repeat}-{out}.npz"
            if kept.exists() and not args.quick:
                with np.load(kept) as rows_of:
                    held, tested = rows_of["held"], rows_of["tested"]
            else:
                parts = without(whole, fold, out, repeat)
                judge = partial(judged, config.model, fit.fit(config, parts).variables)
                held, tested = judge(*parts.test), judge(*splits.test)
                if not args.quick:
                    KEPT.mkdir(parents=True, exist_ok=True)
                    np.savez(kept, held=held, tested=tested)
            outside[fold == out] += held / args.repeats
            test += tested / (args.repeats * args.folds)
    known = [*VOTED, *UNDECIDED] if corrected(splits.test.labels, splits.test.labels) else []
    lines, rows, shown = ["| measure | of the 15 known, in the first 100 |", "|---|---|"], [], {}
    for part, dataset, found in (("test", splits.test, test), ("training", whole, outside)):
        measures: dict[str, np.ndarray] = dict(zip(MEASURES, found.T))
        order = ranking(measures)
        shown[part] = (dataset, order)
        rows += [
            {"part": part, "place": place, "index": int(row), "label": int(dataset.labels[row])}
            | {name: float(values[row]) for name, values in measures.items()}
            for place, row in enumerate(order[:FIRST], 1)
        ]
        if part == "test" and known:
            for name, values in measures.items():
                lines.append(f"| {name} | {recall(np.argsort(-values, kind='stable'), known)} |")
            lines.append(f"| all four, by mean rank | {recall(order, known)} |")
    networks = args.repeats * args.folds
    lines += [
        "",
        f"{networks} networks of the quick recipe on {args.data}, {args.folds} folds, {args.repeats} repeats.",
    ]
    print("\n".join(lines))
    if args.quick:
        return
    RESULTS.joinpath("label_errors.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    RESULTS.joinpath("label_errors.md").write_text("\n".join(lines) + "\n")
    images, titles = [], []
    for part, (dataset, order) in shown.items():
        images += list(dataset.images[order[:20]])
        titles += [f"{part} {row}\nlabelled {dataset.labels[row]}" for row in order[:20]]
    plots.save(plots.digits(images, titles, "The most suspicious labels", columns=10), RESULTS / "label_errors.png")


if __name__ == "__main__":
    main()
