"""How well does a model read what people really write, family by family?

    python -m experiments.reading [MODEL] [--split test] [--gallery errors.png]          (about ten minutes)

MODEL is whatever `digitjax.load` takes. Generated pictures (`experiments.pictures`), MNIST's own and scikit-learn's
digits go through the canonicaliser into the model; bare is the same model on a mere resize. Of digits it counts which
are right, whatever the verdict; of strings, which are read whole; of what is no digit, which are refused: not a digit,
or unsure. Beside it stands the coverage: the share that gets the verdict `digit`. Writes results/reading.jsonl and the
README's table.
"""

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from digitjax.base import device
from digitjax.data import datasets
from digitjax.picture.canonical import canonical
from digitjax.picture.pixels import read_picture
from experiments.pictures import GROUPS, NONDIGITS, NOT_A_DIGIT, Label, Picture, Split, sample
from experiments.scoreboard import RESULTS, fill_readme

TILE = 112
HEADS = {
    "strings": "pictures | read whole, % | | all called digits, %",
    "digits": "pictures | right, % | by a bare resize, % | called a digit, %",
    "nondigits": "pictures | refused, % | by a bare resize, % | called a digit, %",
}


class Answer(NamedTuple):
    """What a model made of one picture."""

    text: str
    right: bool
    digit: bool
    """Whether the verdict is `digit`; of a string, that of each of its digits."""
    seen: np.ndarray
    """What the model saw."""


def bare(picture: np.ndarray) -> np.ndarray:
    """The usual way: grey, bright on dark by the mean, resized to 28 x 28."""
    grey = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    grey = 255 - grey if grey.mean() > 127 else grey
    return np.asarray(cv2.resize(grey, (28, 28), interpolation=cv2.INTER_AREA), np.uint8)


def judged(predictor: Any, forms: Sequence[np.ndarray], labels: Sequence[Label]) -> list[Answer]:
    from digitjax.reading.predict import predictions

    answers = []
    for label, seen, found in zip(labels, forms, predictions(predictor.judge(np.stack(forms)))):
        digit = found.verdict == "digit"
        right = not digit if label == NOT_A_DIGIT else found.digit == label
        answers.append(Answer(f"{found.digit} {found.verdict} {found.confidence:.2f}", right, digit, seen))
    return answers


def read_strings(predictor: Any, pictures: Sequence[Picture], labels: Sequence[Label]) -> list[Answer]:
    from digitjax.reading import lines

    answers = []
    for label, picture in zip(labels, pictures):
        found = lines.read(predictor, picture)
        sure = all(digit.verdict == "digit" for line in found.lines for digit in line)
        answers.append(Answer(found.text, found.text.replace(" ", "") == label, sure, np.zeros((28, 28), np.uint8)))
    return answers


def families(each: int, seed: int, split: Split) -> Iterator[tuple[str, str, list[tuple[Picture, Label]]]]:
    """Group, family, and its pictures with their labels."""
    from sklearn.datasets import load_digits

    own = getattr(datasets.load("mnist"), split)
    yield "digits", "mnist", list(zip(own.images, own.labels.tolist()))
    rows, labels = load_digits(return_X_y=True)
    yield "digits", "sklearn_8x8", list(zip((rows * 15).astype(np.uint8).reshape(-1, 8, 8), labels.tolist()))
    for group, names in GROUPS.items():
        for name in names:
            yield group, name, sample(name, each, seed, split=split)


def tables(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: a line a group, in which each family weighs the same."""
    texts = []
    for kind in dict.fromkeys(row["kind"] for row in rows):
        lines = [f"| {kind} | {HEADS[kind]} | worst family |", "|---|---|---|---|---|---|"]
        for group in dict.fromkeys(row["group"] for row in rows if row["kind"] == kind):
            mine = [row for row in rows if row["group"] == group]
            means = [percent(*(row[name] for row in mine)) for name in ("right", "bare", "digit")]
            worst = min(mine, key=lambda row: row["right"])
            count = sum(row["pictures"] for row in mine)
            lines.append(
                f"| {group} | {count:,} | {' | '.join(means)} | {worst['family']}: {percent(worst['right'])} |"
            )
        texts.append("\n".join(lines))
    return "\n\n".join(texts)


def percent(*shares: float | None) -> str:
    """The mean of those that are known."""
    known = [share for share in shares if share is not None]
    return f"{100 * np.mean(known):.1f}" if known else ""


def tile(family: str, picture: Picture, label: Label, answer: Answer) -> np.ndarray:
    """An error (BGR): the family, the label and the answer; what came in, and what the model saw."""
    sheet = np.full((TILE + 30, 2 * TILE + 6, 3), 255, np.uint8)
    for left, pixels in ((0, read_picture(picture)), (TILE, answer.seen)):
        zoom = TILE / max(pixels.shape)
        kind = cv2.INTER_AREA if zoom < 1 else cv2.INTER_NEAREST
        small = cv2.resize(pixels, None, fx=zoom, fy=zoom, interpolation=kind)[:TILE, :TILE]
        small = small[..., None] if small.ndim == 2 else small[..., ::-1]
        sheet[30 : 30 + small.shape[0], left : left + small.shape[1]] = small
    for y, text in ((11, family), (25, f"{label}: {answer.text}".replace("\n", "/"))):
        cv2.putText(sheet, text, (2, y), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return sheet


def gallery(tiles: Sequence[np.ndarray], columns: int = 8) -> np.ndarray:
    full = [*tiles, *[np.full_like(tiles[0], 255)] * (-len(tiles) % columns)]
    return np.vstack([np.hstack(full[start : start + columns]) for start in range(0, len(full), columns)])


def main() -> None:
    parser = argparse.ArgumentParser(description="How well a model reads pictures.")
    parser.add_argument("model", nargs="?", default="pretrained", help="a run folder, a model file, or pretrained")
    parser.add_argument("--each", type=int, default=100, help="pictures of each generated family")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", choices=("validation", "test"), default="validation", help="whose strokes")
    parser.add_argument("--groups", nargs="+", help="these alone; then nothing is written but the gallery")
    parser.add_argument("--gallery", type=Path, help="a PNG of up to 8 errors of each family")
    args = parser.parse_args()
    device.prepare(training=False)
    import digitjax

    predictor = digitjax.load(args.model)
    about = {"split": args.split, "seed": args.seed, "model": predictor.checksum, "commit": device.commit()}
    rows, errors, threads = [], [], ThreadPoolExecutor(len(os.sched_getaffinity(0)))
    for group, family, pairs in families(args.each, args.seed, args.split):
        if args.groups and group not in args.groups:
            continue
        pictures, labels = zip(*pairs)
        if group == "strings":
            kind, answers, simple = "strings", read_strings(predictor, pictures, labels), []
        else:
            kind = "nondigits" if group in NONDIGITS else "digits"
            answers = judged(predictor, list(threads.map(canonical, pictures)), labels)
            simple = judged(predictor, list(threads.map(lambda picture: bare(read_picture(picture)), pictures)), labels)
        row = {"kind": kind, "group": group, "family": family, "pictures": len(pairs)}
        row["right"], row["digit"] = (
            float(np.mean([getattr(answer, name) for answer in answers])) for name in ("right", "digit")
        )
        row["bare"] = float(np.mean([answer.right for answer in simple])) if simple else None
        rows.append(row | about)
        shares = "".join(f"{percent(row[name]):>7}" for name in ("right", "bare", "digit"))
        print(f"{group:12} {family:22} {shares}", flush=True)
        wrong = [i for i, answer in enumerate(answers) if not answer.right]
        errors += [tile(family, pictures[i], labels[i], answers[i]) for i in wrong[:8]]
    print(tables(rows))
    if args.gallery and errors:
        cv2.imwrite(str(args.gallery), gallery(errors))
    if not args.groups:
        RESULTS.joinpath("reading.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        made = f"{args.split} strokes, seed {args.seed}; model {predictor.checksum}, commit {about['commit']}."
        fill_readme("reading", f"{tables(rows)}\n\n{made}")


if __name__ == "__main__":
    main()
