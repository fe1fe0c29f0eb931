"""What does each recipe reach, on the test split, over several seeds?

    python -m experiments.scoreboard            (make scoreboard; about 70 minutes on two cores)

Trains every recipe with every seed in a process of its own, in a run folder of its own under outputs/scoreboard (so it
resumes), then writes results/scoreboard.jsonl and the README's table. Those not named by --recipes keep their
rows. The test split is read once a run.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from digitjax.base.config import RECIPES

RESULTS = Path(__file__).parent / "results"
ROOT = Path(__file__).parent.parent
PAGES = [ROOT / folder / "README.md" for folder in ("", "experiments", "serve", "digitjax")]
RUNS = Path("outputs/scoreboard")
FONTS = "experiments/fonts/node_modules/@fontsource"
"""What `make fonts` fetches."""
SEEDS = {"quick": 5, "default": 5, "reference": 5, "reader": 3}


def train(recipe: str, seed: int, data: str) -> dict[str, object]:
    """The figures of one run."""
    run = RUNS / f"{recipe}-{seed}"
    command = [sys.executable, "-m", "digitjax", "train", "--recipe", recipe, "--seed", str(seed), "--data", data]
    if RECIPES[recipe].training.hands:
        command += ["--fonts", FONTS]
    done = subprocess.run([*command, "--run-dir", str(run), "--json"], stdout=subprocess.PIPE, text=True, check=True)
    figures, provenance = json.loads(done.stdout), json.loads((run / "provenance.json").read_text())
    kept = ("accuracy", "loss", "ece", "validation_accuracy", "training_seconds", "parameters", "data")
    known = ("commit", "device", "weights_checksum", "versions")
    row = {"recipe": recipe, "seed": seed} | {name: figures[name] for name in kept}
    return row | {name: provenance[name] for name in known}


def table(rows: list[dict]) -> str:
    """Markdown: a line a recipe, means with standard deviations over the seeds."""
    lines = [
        "| recipe | parameters | test accuracy, % | test loss | training, s | seeds |",
        "|---|---|---|---|---|---|",
    ]
    for recipe in dict.fromkeys(row["recipe"] for row in rows):
        mine = [row for row in rows if row["recipe"] == recipe]

        def spread(name: str, scale: float, digits: int, mine: list[dict] = mine) -> str:
            values = scale * np.array([row[name] for row in mine])
            return f"{values.mean():.{digits}f} ± {values.std(ddof=1) if len(values) > 1 else 0:.{digits}f}"

        figures = spread("accuracy", 100, 3), spread("loss", 1, 4), spread("training_seconds", 1, 1)
        lines.append(f"| {recipe} | {mine[0]['parameters']:,} | {' | '.join(figures)} | {len(mine)} |")
    commits, data = ({str(row[name]) for row in rows} for name in ("commit", "data"))
    made = f"{', '.join(sorted(data))}; {os.cpu_count()} cores; compilation counts as training; "
    return "\n".join([*lines, "", f"{made}commit {', '.join(sorted(commits))}."])


def fill_readme(name: str, text: str) -> None:
    """Puts a generated text between its marks, in the one README that has them."""
    pattern = re.compile(rf"(<!-- {name}: [^\n]* -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    pages = {page: pattern.subn(lambda marks: f"{marks[1]}{text}\n{marks[2]}", page.read_text()) for page in PAGES}
    filled = {page: new for page, (new, replaced) in pages.items() if replaced}
    if len(filled) != 1:
        raise SystemExit(
            f"{len(filled)} READMEs have a place for {name}; one needs marks: <!-- {name}: ... --> and <!-- /{name} -->"
        )
    for page, new in filled.items():
        page.write_text(new)


def transcript(*commands: str) -> str:
    """What a person sees who types these commands, as a Markdown block."""
    lines = ["```console"]
    for command in commands:
        shown = subprocess.run(
            command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        lines += [f"$ {command}", *shown.stdout.rstrip().splitlines()]
    return "\n".join([*lines, "```"])


def main() -> None:
    parser = argparse.ArgumentParser(description="What each recipe reaches, over several seeds.")
    parser.add_argument("--recipes", nargs="*", default=list(SEEDS), choices=SEEDS)
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--quick", action="store_true", help="one seed of quick on mnist5k, and nothing is written")
    args = parser.parse_args()
    if args.quick:
        print(table([train("quick", 0, "mnist5k")]))
        return
    rows = [train(recipe, seed, args.data) for recipe in args.recipes for seed in range(SEEDS[recipe])]
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / "scoreboard.jsonl"
    kept = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    rows = [row for row in kept if row["recipe"] not in args.recipes] + rows
    rows.sort(key=lambda row: [*SEEDS].index(row["recipe"]))
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    print(table(rows))
    fill_readme("scoreboard", table(rows))
    # The examples are typed in a folder of their own, with the digitjax of this interpreter.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    if "default" in args.recipes:
        shutil.copy(RUNS / "default-0" / "misclassified.png", RESULTS)
        shutil.copy(RUNS / "default-0" / "augmentation.png", RESULTS)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        shown = transcript(
            "digitjax train --recipe quick",
            "digitjax train --recipe quick",
            "digitjax train --recipe quick --epochs 2",
            "digitjax evaluate | head -n 12",
            "digitjax evaluate --data mnist5k --json | cut -c 1-160",
            "digitjax summary --network reference",
            "digitjax train --recipe quik",
        )
    fill_readme("usage", shown)


if __name__ == "__main__":
    main()
