"""How well and how fast are numbers read, beside a general OCR package that anybody can install?

    make bench-setup                                  RapidOCR among the peers
    python -m experiments.bench.ocr                   generated numbers, family by family
    python -m experiments.bench.ocr --folder FOLDER   pictures of your own, with a labels.csv (file, text)

Both sides read the same files on one core, one after the other, each in a process of its own: RapidOCR once with its
own search for lines, and once told that each picture is one line; the better one counts. Only digits are compared.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from experiments.bench import ocr_files
from experiments.scoreboard import RESULTS, fill_readme

ROOT = Path(__file__).parent.parent.parent
PEERS = ROOT / ".venv-peers" / "bin" / "python"
FAMILIES = ("string_apart", "string_touching", "string_amount", "string_boxes", "string_lines", "string_scan")


def ours(folder: Path) -> dict[str, Any]:
    """digitjax in this process."""
    from digitjax.base import device

    device.prepare(training=False)
    import digitjax
    from digitjax.reading import artifact, strips

    files, predictor, started = ocr_files.pictures(folder), digitjax.load(), time.perf_counter()

    def read(file: bytes) -> str:
        return "".join(digitjax.read(predictor, file).text.split())

    for file in files:  # compiles whatever widths there are
        read(file.read_bytes())
    first = time.perf_counter() - started
    texts, milliseconds = ocr_files.milliseconds_of(read, files)
    weights = sum(file.stat().st_size for file in (artifact.PRETRAINED, strips.FILE)) / 1e6
    return dict(texts=texts, ms=milliseconds, mib=ocr_files.peak_mib(), mb=weights, first_seconds=first)


def edits(found: str, expected: str) -> int:
    """Digits to change, add or take away (Levenshtein 1966)."""
    row = np.arange(len(expected) + 1)
    for place, sign in enumerate(found, 1):
        new = [place]
        for column, other in enumerate(expected, 1):
            new.append(min(new[-1] + 1, int(row[column]) + 1, int(row[column - 1]) + (sign != other)))
        row = np.array(new)
    return int(row[-1])


def measured(folder: Path, core: int) -> list[dict[str, Any]]:
    """A row a side for a folder of pictures."""
    labels = {
        row["file"]: "".join(filter(str.isdigit, row["text"])) for row in csv.DictReader((folder / "labels.csv").open())
    }
    script = str(ROOT / "experiments" / "bench" / "rapidocr_peer.py")
    sides = {
        "digitjax": [[sys.executable, "-m", "experiments.bench.ocr", "--folder", str(folder), "--ours"]],
        "RapidOCR": [[str(PEERS), script, str(folder), *more] for more in ([], ["--lines-alone"])],
    }
    rows = []
    for side, commands in sides.items():
        tried = []
        for command in commands:
            pinned = ["taskset", "--cpu-list", str(core), *command]
            done = subprocess.run(pinned, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            texts = found.pop("texts")
            whole = np.mean([texts[name] == text for name, text in labels.items()])
            wrong = sum(edits(texts[name], text) for name, text in labels.items())
            digits = 1 - wrong / max(1, sum(map(len, labels.values())))
            tried.append({"side": side, "whole": float(whole), "digits": digits, "pictures": len(labels)} | found)
        rows.append(max(tried, key=lambda row: row["whole"]))
    return rows


def write(folder: Path, family: str, count: int) -> None:
    """Generated numbers of a family, as files with their labels."""
    from experiments.pictures import sample

    folder.mkdir()
    with (folder / "labels.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["file", "text"])
        for number, (picture, label) in enumerate(sample(family, count, 5, split="validation")):
            content = (
                picture
                if isinstance(picture, bytes)
                else cv2.imencode(".png", picture[..., ::-1] if picture.ndim == 3 else picture)[1].tobytes()
            )
            (folder / f"{number:04d}").write_bytes(content)
            table.writerow([f"{number:04d}", label])


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| pictures | side | read whole, % | digits, % | ms a picture, one core | MiB | MB of weights |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        shares = f"{100 * row['whole']:.1f} | {100 * row['digits']:.1f} | {row['ms']:.1f}"
        lines.append(
            f"| {row['name']} ({row['pictures']}) | {row['side']} | {shares} | {row['mib']:.0f} | {row['mb']:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="How well are numbers read, beside RapidOCR?")
    parser.add_argument("--folder", type=Path, help="pictures of your own, with a labels.csv; nothing is written then")
    parser.add_argument("--each", type=int, default=60, help="pictures of each generated family")
    parser.add_argument("--ours", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.ours:
        print(json.dumps(ours(args.folder)))
        return
    core = max(os.sched_getaffinity(0))
    if args.folder:
        print(table([{"name": args.folder.name} | row for row in measured(args.folder, core)]))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for family in FAMILIES:
            write(Path(folder) / family, family, args.each)
            rows += [{"name": family} | row for row in measured(Path(folder) / family, core)]
            print(table(rows[-2:]), flush=True)
    RESULTS.joinpath("ocr.json").write_text(json.dumps(rows, indent=1) + "\n")
    fill_readme("ocr", table(rows))


if __name__ == "__main__":
    main()
