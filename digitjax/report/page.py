"""The figures of a review as words: a report in HTML that needs nothing beside itself, and a model card in Markdown."""

import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from markdown_it import MarkdownIt

from digitjax.report.review import FALSE_REJECTION, Review

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1c2430; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #d0d7de; padding-bottom: .3rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; display: block; overflow-x: auto; }
th, td { padding: .25rem .8rem; border-bottom: 1px solid #e3e7ec; } img { max-width: 100%; height: auto; }
code { font-size: .85em; overflow-wrap: anywhere; }
:root { color-scheme: light dark; }
@media (prefers-color-scheme: dark) {
  body { color: #e6edf3; background: #0d1117; } a { color: #6cb6ff; }
  th, td, h2 { border-color: #30363d; } img { border-radius: 4px; filter: brightness(.9); }
}
"""


def html(review: Review) -> str:
    """The report: one page, its pictures inside, which asks nothing of the network."""
    figures, card = review.figures, list(_card(review.figures))
    about = next(place for place, part in enumerate(card) if part.startswith("## "))
    parts = [*_details(figures), *card[about:]]
    titles = [part.removeprefix("## ") for part in parts if part.startswith("## ")]
    contents = " · ".join(f"[{title}](#{_place(title)})" for title in titles)
    text = "\n\n".join([f"# {_title(figures)}", *card[:about], contents, *parts])
    for name, picture in review.pictures.items():
        text = text.replace(f"({name}.png)", f"(data:image/png;base64,{base64.b64encode(picture).decode()})")
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    for title in titles:
        body = body.replace(f"<h2>{escape(title)}</h2>", f'<h2 id="{_place(title)}">{escape(title)}</h2>')
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(_title(figures))}'
    head += f"</title><style>{_STYLE}</style>"
    return f'<!doctype html>\n<html lang="en">\n<head>{head}</head>\n<body>\n{body}</body>\n</html>\n'


def model_card(figures: Mapping[str, Any]) -> str:
    """After Mitchell et al. (2019): what the model is, what for, how well it reads, where it fails.

    Its head is what model hubs read (Hugging Face's metadata; JSON's strings and numbers are YAML's).
    """
    test = figures["test"]
    result = {
        "task": {"type": "image-classification"},
        "dataset": {"name": test["data"], "type": figures["data"]["name"]},
        "metrics": [{"type": "accuracy", "value": round(test["accuracy"], 6)}],
    }
    known = {
        "license": "mit",
        "library_name": "digitjax",
        "pipeline_tag": "image-classification",
        "tags": ["jax", "flax", "mnist", "handwritten-digits"],
        "metrics": ["accuracy"],
        "model-index": [{"name": f"digitjax {figures['recipe']}", "results": [result]}],
    }
    head = "\n".join(["---", *(f"{name}: {json.dumps(value)}" for name, value in known.items()), "---"])
    return "\n\n".join([head, f"# {_title(figures)}", *_card(figures)]) + "\n"


def comparison(found: Mapping[str, Any]) -> str:
    """The figures of `review.compare`, for people."""
    first, second = found["first"], found["second"]
    lines = [
        f"data        {found['data']}, {found['examples']:,} digits",
        *(f"{row['name']:<11} {row['accuracy']:.4f}  ({_interval(row)})" for row in (first, second)),
        f"difference  {found['difference']:+.4f}  (95 % interval {found['low']:+.4f} to {found['high']:+.4f})",
        f"McNemar     p = {found['p_value']:.3g}: {found['only_first_right']} digits only the first reads rightly, "
        f"{found['only_second_right']} only the second; {found['both_wrong']} both misread",
    ]
    if found["differing"]:
        lines += ["", "  digit  is  first  second"]
        lines += [
            f"{row['index']:>7}{row['label']:>4}{row['first']:>7}{row['second']:>8}" for row in found["differing"]
        ]
    return "\n".join(lines)


def _text(words: str) -> str:
    """Words of a user's own, such as the names of folders, as words: none of them is a picture, a link or a heading."""
    return re.sub(r"([\\`*_{}\[\]()<>#+!|~-])", r"\\\1", " ".join(words.split()))


def _place(title: str) -> str:
    return re.sub(r"\W+", "-", title.lower())


def _title(figures: Mapping[str, Any]) -> str:
    return f"digitjax, recipe {figures['recipe']}, model {figures['checksum']}"


def _card(figures: Mapping[str, Any]) -> Iterable[str]:
    test, data, origin = figures["test"], figures["data"], figures["provenance"]
    calibration, corrected = figures["calibration"], figures["corrected"]
    yield (
        f"**Accuracy {test['accuracy']:.4f}** (95 % interval {_interval(test)}, Wilson) on {_text(test['data'])}, "
        f"{test['examples']:,} digits, of which {_wrong(test)} were misread."
    )
    if corrected:
        yield (
            f"Not all of MNIST's labels are right: with {corrected['relabelled']} digits relabelled as most people "
            f"read them and {corrected['left_out']} left out on which people disagree (Northcutt et al. 2021), the "
            f"accuracy is {corrected['accuracy']:.4f} ({_interval(corrected)}) on {corrected['examples']:,} digits."
        )
    yield "## What it is"
    yield (
        f"A convolutional network with {test['parameters']:,} parameters that reads one handwritten digit from a "
        "28 x 28 picture in MNIST's form, bright on dark. It says how sure it is, and refuses what looks like no digit."
    )
    yield (
        "It is meant for single, clearly written digits. Letters, other scripts' numerals and whole pages are none of "
        "its business; where a mistake is dear, have a person read what it calls unsure."
    )
    yield "## Data and training"
    parts = ", ".join(f"{size:,} for {name}" for name, size in data["parts"].items())
    kind = "its authors' own" if data["official_test"] else "held back from the same source, no official test set"
    yield f"{_text(data['name'])}: {parts}; the test part is {kind}. {_text(data['note'])}".strip()
    yield (
        f"Recipe `{figures['recipe']}`, seed {origin['seed']}; {test['training_seconds']:,.0f} s of training; of "
        f"{test['epochs']} epochs number {test['best_epoch']} was kept, by its validation loss. Every choice was made "
        "on the validation part."
    )
    yield "## How well it reads"
    rows = [(f"accuracy on {_text(test['data'])}", f"{test['accuracy']:.4f}", _interval(test))]
    if corrected:
        rows.append(("accuracy on corrected labels", f"{corrected['accuracy']:.4f}", _interval(corrected)))
    rows.append(("calibration error (ECE) after temperature", f"{calibration['after']['ece']:.4f}", ""))
    rows.append(("mean accuracy under 15 corruptions", f"{figures['corruptions_mean']:.4f}", ""))
    verdicts = test["verdicts"]
    rows.append(("test digits called unsure, or not a digit", f"{1 - verdicts['digit']:.4f}", ""))
    yield _table(("", "", "95 % interval"), rows)
    yield "## Where it fails"
    worst = sorted(figures["corruptions"].items(), key=lambda item: item[1])[:3]
    hard = ", ".join(f"{name.replace('_', ' ')} ({share:.2f})" for name, share in worst)
    pairs = ", ".join(f"{pair['is']} read as {pair['read']} ({pair['count']})" for pair in figures["confused"][:3])
    yield f"Accuracy is lowest under {hard}. The most frequent mistakes: {pairs or 'none'}."
    poor = [row for row in figures["out_of_distribution"] if row["verdict_rejected"] < 0.9]
    if poor:
        kinds = ", ".join(f"{row['kind'].replace('_', ' ')} ({row['verdict_rejected']:.2f})" for row in poor)
        yield f"It takes some of what is no digit for digits. Share rejected: {kinds}."
    yield "## Provenance"
    known = {"commit": origin["commit"] or "unknown", "weights": origin["weights_checksum"], "data": data["checksum"]}
    known |= {"device": origin["device"], "machine": origin["machine"]} | origin["versions"]
    yield _table(("", ""), [(name, f"`{value}`") for name, value in known.items()])


def _details(figures: Mapping[str, Any]) -> Iterable[str]:
    test, calibration = figures["test"], figures["calibration"]
    yield "## Training"
    yield _picture("accuracy_plot", "Accuracy by epoch") + "\n" + _picture("loss_plot", "Loss by epoch")
    yield "## By digit"
    yield _picture("confusion_matrix", "Label against answer")
    yield "The pairs most often mixed up:"
    yield _table(("is", "read as", "times"), [tuple(pair.values()) for pair in figures["confused"]])
    names = ("digit", "accuracy", "low", "high", "precision", "recall", "f1")
    rows = [(*(_number(row[name]) for name in names), int(row["support"])) for row in test["per_class"]]
    yield _table((*names[:2], "95 % from", "to", *names[4:], "digits"), rows)
    yield "## Mistakes, and why"
    yield (
        "Each misread digit stands beside what spoke for its label and what spoke for the answer (Grad-CAM at the last "
        "convolution)."
    )
    if figures["empty_maps"]:
        yield f"{len(figures['empty_maps'])} of these maps are empty: nothing in the picture spoke for that digit."
    yield _picture("mistakes", "Misread digits")
    yield _picture("sample_predictions", "Predictions on a sample")
    yield "## Confidence"
    yield (
        f"Logits are divided by {calibration['temperature']:.3f}, chosen on validation data (Guo et al. 2017). "
        "ECE in 15 bins; NLL in nats."
    )
    rows = [
        (f"{name} temperature scaling", *(_number(calibration[name][figure]) for figure in ("ece", "nll", "brier")))
        for name in ("before", "after")
    ]
    yield _table(("", "ECE", "NLL", "Brier score"), rows)
    yield _picture("reliability", "Reliability diagram")
    yield "Answering only the surest digits leaves fewer mistakes:"
    risks = [(f"{100 * row['coverage']:.0f} %", f"{100 * row['risk']:.3f} %") for row in figures["risk"]]
    yield _table(("answered", "misread among them"), risks)
    yield _picture("risk", "Risk by coverage")
    yield "## What it has learnt"
    yield (
        f"Where the last layer puts test digits, by {figures['map']}: an island a class where it tells them "
        "apart; a cross is a misread digit, in the colour of its label."
    )
    yield _picture("map", "Map of the test digits")
    yield _picture("filters", "Filters of the first convolution")
    layers = [
        (row["name"], "x".join(map(str, row["shape"])), f"{row['parameters']:,}", f"{row['flops']:,}")
        for row in figures["layers"]
    ]
    yield _table(("layer", "shape", "parameters", "FLOPs an image"), layers)
    yield "## What it learnt from"
    yield _picture("augmentation", "What augmentation does to a training digit")
    classes = figures["data"]["classes"]
    rows = [(digit, *(f"{classes[part][digit]:,}" for part in classes)) for digit in range(10)]
    yield _table(("digits of", *classes), rows)
    yield "## Robustness"
    yield (
        f"Mean accuracy under fifteen corruptions after MNIST-C: {figures['corruptions_mean']:.4f}. The pictures go to "
        "the network as they are: the canonical form, through which pictures of files go, undoes a part of it."
    )
    rows = [(name.replace("_", " "), _number(share)) for name, share in figures["corruptions"].items()]
    yield _table(("corruption", "accuracy"), rows)
    yield _picture("corruptions", "Corruptions")
    yield _picture("robustness", "Accuracy by degrees of change")
    yield "## What is no digit"
    yield (
        "AUROC of one score made of the verdict's three doubts (energy, distance, want of confidence); the share of "
        f"them rejected where {100 * FALSE_REJECTION:.0f} % of the test digits are; and the share that the verdict "
        f"itself rejects, which rejects {100 * (1 - test['verdicts']['digit']):.2f} % of the test digits."
    )
    rows = [
        (row["kind"].replace("_", " "), f"{row['pictures']:,}")
        + tuple(_number(row[name]) for name in ("auroc", "rejected", "verdict_rejected"))
        for row in figures["out_of_distribution"]
    ]
    rejected = f"rejected at {100 * FALSE_REJECTION:.0f} %"
    yield _table(("what is no digit", "pictures", "AUROC", rejected, "rejected by the verdict"), rows)
    yield _picture("out_of_distribution", "What is no digit")


def _interval(row: Mapping[str, Any]) -> str:
    low, high = row["accuracy_interval"]
    return f"{low:.4f} to {high:.4f}"


def _wrong(test: Mapping[str, Any]) -> int:
    return round((1 - test["accuracy"]) * test["examples"])


def _number(value: float | int) -> str:
    return str(value) if isinstance(value, int) else f"{value:.4f}"


def _picture(name: str, caption: str) -> str:
    return f"![{caption}]({name}.png)"


def _table(head: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """The first column to the left, the others to the right."""
    lines = [head, [":---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
