"""Makes the models that ship: the recipe reader, seed 0, and the line network.

    python -m experiments.pretrained            (make pretrained; some three hours on two cores)
    python -m experiments.pretrained --only lines

Trains in outputs/scoreboard/reader-0 (a finished run there is taken as it is: the same seed gives the same weights), on
from it in reader-0-on, and in outputs/lines-0.npz and on in lines-1.npz and lines-2.npz; then writes digitjax/weights/
and its card. Interrupted, it goes on where it stopped.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from digitjax.base import device
from digitjax.data import datasets
from digitjax.generated import numbers
from digitjax.network import model
from digitjax.network.model import Variables
from digitjax.reading import artifact, strips
from digitjax.training import lines
from experiments.scoreboard import FONTS, RUNS, train

CARD = """# The models that ship

Written by `make pretrained`; `digitjax predict`, `digitjax read` and the service load them. What they read beyond MNIST
is in experiments/README.md, made by `python -m experiments.reading`.

## One digit: pretrained.npz

| | |
|---|---|
{digit}

## A line of digits: lines.npz

| | |
|---|---|
{line}

Beside MNIST's training digits and pen paths of our own, both learnt from digits and letters of {fonts} families of
handwriting fonts (npm's @fontsource: {licences}), which `experiments/fonts/package.json` lists; no font ships.
"""
PART = 2_500  # lines that a process makes at a time
LINES = (
    lines.LineConfig(),
    lines.LineConfig(seed=2, lines=130_000, steps=10_000, learning_rate=2e-3),
    lines.LineConfig(seed=3, lines=130_000, steps=10_000, learning_rate=2e-3),
)
"""Each goes on from where the one before it ended, on lines of its own."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes the models that ship.")
    parser.add_argument("--only", choices=("digit", "lines"), help="this one alone; the other stays as it is")
    args = parser.parse_args()
    artifact.PRETRAINED.parent.mkdir(exist_ok=True)
    if args.only != "lines":
        train("reader", 0, "mnist")
        learn_on(RUNS / "reader-0", RUNS / "reader-0-on")
        shutil.copy(RUNS / "reader-0-on" / artifact.MODEL, artifact.PRETRAINED)
    if args.only != "digit":
        variables, first = learn_lines(LINES[0], RUNS.parent / "lines-0.npz", None)
        cards = [first]
        for place, config in enumerate(LINES[1:], 1):
            variables, card = learn_lines(config, RUNS.parent / f"lines-{place}.npz", variables)
            cards.append(card)
        write_lines(variables, {name: ", then ".join(str(card[name]) for card in cards) for name in cards[0]})
    if artifact.PRETRAINED.exists() and strips.FILE.exists():
        write_card()


def learn_on(run: Path, on: Path) -> None:
    """Eight more epochs from where a run ended, at a smaller rate and nearer to MNIST, with fewer generated hands."""
    command = [sys.executable, "-m", "digitjax", "train", "--recipe", "reader", "--data", "mnist", "--fonts", FONTS]
    changes = {"seed": 1, "epochs": 8, "learning-rate": 0.003, "hands": 0.4, "hard": 0.5, "from": run, "run-dir": on}
    command += [str(word) for name, value in changes.items() for word in (f"--{name}", value)]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)


def made_lines(places: range, seed: int) -> numbers.Numbers:
    source = numbers.glyphs(datasets.load("mnist").train, FONTS)
    return numbers.numbers(source, places, seed)


def learn_lines(
    config: lines.LineConfig, state: Path, initial: Variables | None
) -> tuple[Variables, dict[str, object]]:
    """Generates lines and learns them, from `initial` weights or fresh ones: the network's variables, and its card."""
    started = time.perf_counter()
    parts = [range(start, min(start + PART, config.lines)) for start in range(0, config.lines, PART)]
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        made = []
        for part in pool.map(made_lines, parts, [config.seed] * len(parts)):
            made.append(part)
            print(f"{PART * len(made):,} of {config.lines:,} lines made", flush=True)
    learnt = numbers.Numbers(*(np.concatenate(part) for part in zip(*made)))
    validation = validation_lines()

    def report(row: Mapping[str, float | int]) -> None:
        told = f"step {row['step']}/{config.steps}: loss {row['loss']:.4f}, read whole {row['whole']:.4f}"
        print(f"{told}, {time.perf_counter() - started:.0f} s", flush=True)

    variables = lines.fit(config, learnt, validation, state, report, initial=initial)
    seconds = time.perf_counter() - started
    seen = numbers.strips(validation, np.arange(len(validation.widths), dtype=np.int32), np.random.default_rng(0))
    return variables, {
        "recipe": f"{config.steps:,} steps of {config.batch_size} of {config.lines:,} lines, seed {config.seed}, "
        f"rate {config.learning_rate:g}",
        "generated validation lines read whole, at one look": f"{lines.whole(variables, seen, validation):.4f}",
        "commit": device.commit(),
        "trained in": f"{seconds:.0f} s",
    }


def validation_lines() -> numbers.Numbers:
    """Of other digits, and without fonts: what is measured is not the generator's memory alone."""
    return numbers.numbers(numbers.glyphs(datasets.load("mnist").validation), range(2_000), 1)


def write_lines(variables: Variables, card: Mapping[str, object]) -> None:
    """Writes strips.FILE."""
    strips.write(strips.FILE, variables, calibrated(variables, validation_lines()), card)


def calibrated(variables: Variables, validation: numbers.Numbers) -> float:
    """The temperature by which the probability of lines looked at again is nearest to how often they are right."""
    reader = strips.LineReader(variables, 1.0)
    seen = numbers.strips(validation, np.arange(len(validation.widths), dtype=np.int32), np.random.default_rng(0))
    unsure = [
        line for line in range(len(seen)) if reader.voted(reader.log_shares([seen[line]])).confidence < strips.SURE
    ]
    found = [reader.read([seen[line]])[0] for line in unsure]
    expected = [validation.labels[line, : validation.lengths[line]].tolist() for line in unsure]
    right = np.array([one.digits.tolist() == digits for one, digits in zip(found, expected)])
    chances = np.clip([one.confidence for one in found], 1e-6, 1 - 1e-6)

    def loss(temperature: float) -> float:
        own = np.clip(chances ** (1 / temperature), 1e-6, 1 - 1e-6)
        return -float(np.mean(np.where(right, np.log(own), np.log(1 - own))))

    return round(min(np.arange(0.3, 4, 0.05).tolist(), key=loss), 2)


def write_card() -> None:
    found = artifact.read()
    figures, origin = found.card["figures"], found.card["provenance"]
    low, high = figures["accuracy_interval"]
    facts = {
        "network": f"{found.config.network}, {figures['parameters']:,} parameters",
        "file": f"{artifact.PRETRAINED.stat().st_size:,} bytes",
        "model": found.checksum,
        "recipe": f"{origin['recipe']}, seed 0, then {figures['epochs']} epochs more with seed {origin['seed']}",
        "data": f"{origin['data']}, SHA-256 {origin['data_checksum']}",
        "commit": origin["commit"],
        "versions": ", ".join(f"{name} {version}" for name, version in origin["versions"].items()),
        "trained on": f"{origin['device']}, {figures['training_seconds']:.0f} s",
        "MNIST test accuracy": f"{figures['accuracy']:.4f} (95 % interval {low:.4f} to {high:.4f})",
        "ECE, loss (after temperature)": f"{figures['ece']:.4f}, {figures['loss']:.4f}",
        "verdicts on the MNIST test digits": ", ".join(f"{k} {v:.4f}" for k, v in figures["verdicts"].items()),
        "weights": f"SHA-256 {origin['weights_checksum']}",
    }
    of_lines = json.loads(np.load(strips.FILE)["about"].tobytes())
    families = json.loads(Path(FONTS).parent.parent.joinpath("package-lock.json").read_text())["packages"]
    kinds = [package["license"] for name, package in families.items() if "@fontsource" in name]
    text = CARD.format(
        digit=rows_of(facts),
        line=rows_of(
            {
                "network": f"{model.parameter_count(strips.read(strips.FILE)[0]):,} parameters",
                "file": f"{strips.FILE.stat().st_size:,} bytes",
                **of_lines,
                "temperature": f"{of_lines['temperature']:.2f}",
            }
        ),
        fonts=len(kinds),
        licences=", ".join(f"{kinds.count(kind)} {kind}" for kind in sorted(set(kinds))),
    )
    artifact.PRETRAINED.with_name("README.md").write_text(text)


def rows_of(facts: dict) -> str:
    return "\n".join(f"| {name} | {value} |" for name, value in facts.items())


if __name__ == "__main__":
    main()
