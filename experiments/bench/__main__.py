"""How fast is digitjax beside PyTorch, Keras, ONNX Runtime and tinygrad, on this machine, in the same run?

    make bench-setup            the peers, in an environment of their own (.venv-peers)
    make bench                  everything: more than an hour on two cores that do nothing else
    python -m experiments.bench step prediction --rounds 5

Every measurement is a process of its own, and the sides take turns. Writes results/bench.json and the README's tables.
"""

import argparse
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from digitjax.base import device
from digitjax.data import datasets
from digitjax.network import model
from experiments.bench import bulk, canonical
from experiments.bench.ours import SPRINTS
from experiments.bench.timing import clock
from experiments.scoreboard import RESULTS, fill_readme
from experiments.tables import mean, median, middle, table

ROOT = Path(__file__).parent.parent.parent
PEERS = ROOT / ".venv-peers" / "bin" / "python"
BATCHES = (64, 128, 256)
HUGE_PAGES = "glibc.malloc.hugetlb=1"
COUNTS = (10_000, 100_000, 1_000_000)


class Bench:
    """The contestants' common ground: where the digits lie, how many rounds, and what was measured."""

    def __init__(self, folder: Path, source: str, rounds: int, quick: bool):
        self.folder, self.source, self.rounds, self.quick = folder, source, rounds, quick
        splits = datasets.load(source)
        parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
        arrays = {
            f"{name}_{kind}": getattr(part, kind) for name, part in parts.items() for kind in ("images", "labels")
        }
        np.savez(folder / "digits.npz", **arrays)

    def ours(
        self, task: str, cold: bool = False, cores: int = 0, settings: Mapping[str, str] | None = None, **options: Any
    ) -> dict[str, Any]:
        """digitjax; `cold` gives it an empty cache of compiled programs."""
        with tempfile.TemporaryDirectory() as empty:
            environment = {"XDG_CACHE_HOME": empty} if cold else {}
            command = [sys.executable, "-m", "experiments.bench.ours", task, "--mnist", self.source]
            return self._run(command, environment | dict(settings or {}), cores, options)

    def peer(
        self, script: str, task: str, cores: int = 0, settings: Mapping[str, str] | None = None, **options: Any
    ) -> dict[str, Any]:
        command = [str(PEERS), str(ROOT / "experiments" / "bench" / f"{script}_peer.py"), task]
        return self._run([*command, "--data", str(self.folder / "digits.npz")], settings or {}, cores, options)

    def _run(self, command: list[str], settings: Mapping[str, str], cores: int, options: Mapping[str, Any]) -> dict:
        for name, value in options.items():
            command += [f"--{name}"] if value is True else [f"--{name}", str(value)]
        if "mark" in options or "started" in options:
            command += ["--started", str(time.time())]
        pin = ["taskset", "--cpu-list", f"0-{cores - 1}"] if cores else []
        environment = os.environ | dict(settings)
        done = subprocess.run([*pin, *command], capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            print(f"  {' '.join(command[1:4])} failed: {reason}", file=sys.stderr)
            return {}
        return json.loads(done.stdout.splitlines()[-1])

    def interleaved(self, sides: Mapping[str, Callable[[int], dict]], rounds: int = 0) -> dict[str, list[dict]]:
        """Each side once a round, round after round; a side that fails is left out from then on."""
        rows: dict[str, list[dict]] = {name: [] for name in sides}
        for turn in range(rounds or self.rounds):
            for name, side in sides.items():
                if len(rows[name]) == turn and (row := side(turn)):
                    rows[name].append(row)
                    shown = {key: value for key, value in row.items() if isinstance(value, float)}
                    print(f"  {name}: " + ", ".join(f"{k} {v:.4g}" for k, v in shown.items()), file=sys.stderr)
        return {name: found for name, found in rows.items() if found}

    def step(self) -> Iterator[dict[str, Any]]:
        """images/s of one training step; each side's batch is the best of three on the first network."""
        found, best = {}, {}
        for network in ("reference_same", "reference"):
            sides: dict[str, Any] = {
                "digitjax": lambda batch, network=network: self.ours("step", True, network=network, batch=batch)
            }
            if PEERS.exists():
                for dtype in ("fp32", "bf16"):
                    sides[f"PyTorch {dtype}"] = lambda batch, dtype=dtype, network=network: self.peer(
                        "torch", "step", dtype=dtype, network=network, batch=batch
                    )
                for backend in ("tensorflow", "jax"):
                    sides[f"Keras on {backend}"] = lambda batch, backend=backend, network=network: self.peer(
                        "keras", "step", settings={"KERAS_BACKEND": backend}, network=network, batch=batch
                    )
                if network == "reference_same":
                    sides["tinygrad"] = lambda batch: self.peer("tinygrad", "step", batch=batch)
            running = {}
            for name, side in sides.items():
                if name not in best:
                    rates = {batch: side(batch).get("images_per_second", 0.0) for batch in BATCHES}
                    best[name] = max(rates, key=lambda batch, rates=rates: rates[batch]) if any(rates.values()) else 0
                if best[name]:
                    running[name] = lambda _, side=side, batch=best[name]: side(batch)
            rows = self.interleaved(running)
            found[network] = {name: {"batch": best[name], "rows": rows[name]} for name in rows}
            yield found

    def lines(self) -> Iterator[dict[str, Any]]:
        """Lines/s of one training step of the line network, by the width of the strips, batches of 64.

        All sides get the huge pages that `make pretrained` asks for.
        """
        found, pages = {}, {"GLIBC_TUNABLES": HUGE_PAGES}
        for width in (112, 208):
            sides: dict[str, Any] = {
                "digitjax": lambda _, width=width: self.ours("lines", True, settings=pages, batch=64, strip=width)
            }
            if PEERS.exists():
                for dtype in ("fp32", "bf16"):
                    sides[f"PyTorch {dtype}"] = lambda _, width=width, dtype=dtype: self.peer(
                        "torch",
                        "lines",
                        settings=pages,
                        batch=64,
                        width=width,
                        channels=model.LINE_CHANNELS,
                        dtype=dtype,
                    )
            found[str(width)] = self.interleaved(sides)
            if len({row["parameters"] for rows in found[str(width)].values() for row in rows}) != 1:
                raise SystemExit("the sides train networks of different sizes")
            yield found

    def accuracy(self) -> Iterator[dict[str, Any]]:
        """Seconds to 98.5, 99.0 and 99.5 % on validation, a seed a round."""
        found = {}
        for mark, (steps, config) in SPRINTS.items():
            ours = config.training
            recipe: dict[str, Any] = dict(mark=mark, steps=steps, rate=ours.learning_rate, ema=ours.ema)
            if config.augment.rotation:
                recipe["augment"] = True
            sides: dict[str, Any] = {
                "digitjax": lambda seed, mark=mark: self.ours("accuracy", True, mark=mark, seed=seed)
            }
            if PEERS.exists():
                sides["the same recipe in PyTorch"] = lambda seed, recipe=recipe: self.peer(
                    "torch", "recipe", seed=seed, **recipe
                )
                if mark == 0.99:
                    sides["PyTorch's example"] = lambda seed, mark=mark: self.peer(
                        "torch", "example", mark=mark, seed=seed
                    )
                    sides["Keras's example"] = lambda seed, mark=mark: self.peer(
                        "keras", "example", settings={"KERAS_BACKEND": "tensorflow"}, mark=mark, seed=seed
                    )
            found[f"{100 * mark:.1f}"] = self.interleaved(sides)
            yield found

    def prediction(self) -> Iterator[dict[str, Any]]:
        """The same weights everywhere: microseconds for one picture, pictures a second in batches of 256."""
        weights = self.folder / "weights.npz"
        self.ours("weights", weights=weights)
        found = {}
        for cores in (1, 2)[: os.cpu_count()]:
            sides: dict[str, Any] = {
                "digitjax": lambda _, cores=cores: self.ours("predict", cores=cores, weights=weights)
            }
            if PEERS.exists():
                for name, script in {"ONNX Runtime": "onnx", "PyTorch": "torch"}.items():
                    sides[name] = lambda _, script=script, cores=cores: self.peer(
                        script, "predict", cores=cores, weights=weights
                    )
            rows = self.interleaved(sides)
            answers = {name: np.array(found[0].pop("logits")) for name, found in rows.items()}
            for name, logits in answers.items():
                apart = float(np.abs(logits - answers["digitjax"]).max())
                if apart > 1e-3:
                    raise SystemExit(f"{name} computes something else: its logits are {apart:.3g} from digitjax's")
            for row in (row for side in rows.values() for row in side):
                row.pop("logits", None)
            found[str(cores)] = rows
            yield found

    def explain(self) -> Iterator[dict[str, Any]]:
        """Maps a second of each method on one core, in batches of 64; seconds for the report of a finished run."""
        run = str(self.folder / "run")

        def digitjax(*words: str) -> dict[str, float]:
            command = [sys.executable, "-m", "digitjax", *words]
            return {"seconds": clock(lambda: subprocess.run(command, stdout=subprocess.DEVNULL, check=True))}

        digitjax("train", "--recipe", "quick", "--data", self.source, "--run-dir", run)
        maps = {"digitjax": lambda _: self.ours("explanation", cores=1)}
        yield self.interleaved(maps | {"report": lambda _: digitjax("report", run)})

    def growth(self) -> Iterator[dict[str, Any]]:
        """Seconds of an epoch and memory for x1, x4 and x16 the images, and for wider networks."""
        images = {f"x{copies}": lambda _, copies=copies: self.ours("growth", copies=copies) for copies in (1, 4, 16)}
        widths = {f"x{width}": lambda _, width=width: self.ours("growth", width=width) for width in (1, 2, 4)}
        yield {"images": self.interleaved(images), "width": self.interleaved(widths, max(1, self.rounds // 2))}

    def startup(self) -> Iterator[dict[str, Any]]:
        """Seconds from process start to the first step of the default recipe, with an empty cache and a filled one."""
        self.ours("startup", started=0)
        sides = {
            "empty cache": lambda _: self.ours("startup", True, started=0),
            "filled cache": lambda _: self.ours("startup", started=0),
            "import jax": lambda _: _seconds("import jax"),
            "import digitjax": lambda _: _seconds("import digitjax"),
            "import digitjax.training.fit, with JAX, Flax and Optax": lambda _: _seconds(
                "import digitjax.training.fit"
            ),
            "digitjax --help": lambda _: _seconds("from digitjax.__main__ import main; main(['--help'])"),
        }
        yield self.interleaved(sides)

    def canonical(self) -> Iterator[dict[str, Any]]:
        """Milliseconds and memory from a file's bytes to MNIST's form, on one core."""
        kinds = canonical.write(self.folder / "canonical", self.source)
        command = [sys.executable, "-m", "experiments.bench.canonical"]
        yield self.interleaved(
            {kind: lambda _, files=files: self._run([*command, str(files)], {}, 1, {}) for kind, files in kinds.items()}
        )

    def scaling(self) -> Iterator[dict[str, Any]]:
        """images/s of data-parallel training: two processes on two cores beside one process on both."""
        found = {}
        for batch in (256, 64, 1024):
            sides = {
                "one process": lambda _, batch=batch: self._run(self._trainer(batch), {}, 2, {}),
                "two processes": lambda _, batch=batch: self._together(batch),
            }
            found[str(batch)] = self.interleaved(sides)
            yield found

    def _trainer(self, batch: int) -> list[str]:
        return [sys.executable, "-m", "experiments.bench.scaling", "--mnist", self.source, "--batch", str(batch)]

    def _together(self, batch: int) -> dict[str, Any]:
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{listening.getsockname()[1]}"
        command = [*self._trainer(batch), "--coordinator", address, "--processes", "2"]
        second = [*command, "--process", "1"]
        with subprocess.Popen(second, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
            return self._run(command, {}, 2, {})

    def bulk(self) -> Iterator[dict[str, Any]]:
        """Seconds and memory of `digitjax predict --out` for ever more pictures."""
        command = [sys.executable, "-m", "experiments.bench.bulk"]
        files = {f"{count:,}": bulk.write(self.folder / f"{count}-idx3-ubyte", self.source, count) for count in COUNTS}
        yield self.interleaved(
            {count: lambda _, file=file: self._run([*command, str(file)], {}, 0, {}) for count, file in files.items()}
        )


def _seconds(code: str) -> dict[str, float]:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=True)
    return {"seconds": time.perf_counter() - started}


# --- tables


def step_table(found: Mapping[str, Any]) -> str:
    texts = []
    for network, sides in found.items():
        ours = median(sides["digitjax"]["rows"], "images_per_second")
        rows = [
            (
                name,
                side["batch"],
                middle(side["rows"], "images_per_second"),
                f"{ours / median(side['rows'], 'images_per_second'):.2f}",
                middle(side["rows"], "compile_seconds", 1),
                middle(side["rows"], "import_seconds", 1),
            )
            for name, side in sides.items()
        ]
        head = f"training step of `{network}` | best batch | images/s | digitjax's ratio | first step, s | import, s"
        share = 100 * median(sides["digitjax"]["rows"], "share_of_peak")
        texts.append(table(head, rows) + f"\n\ndigitjax's share of the float32 matrix-product peak: {share:.0f} %.")
    return "\n\n".join(texts)


def lines_table(found: Mapping[str, Any]) -> str:
    rows = []
    for width, sides in found.items():
        ours = median(sides["digitjax"], "images_per_second")
        for name, side in sides.items():
            rate, ratio = middle(side, "images_per_second"), ours / median(side, "images_per_second")
            rows.append((width, name, rate, f"{ratio:.2f}", middle(side, "compile_seconds", 1)))
    return table("training step of the line network, width | side | lines/s | digitjax's ratio | first step, s", rows)


def accuracy_table(found: Mapping[str, Any]) -> str:
    rows = []
    for mark, sides in found.items():
        for name, side in sides.items():
            crossed = sum(row["crossed"] for row in side)
            rows.append(
                (
                    f"{mark} %",
                    name,
                    mean(side, "training_seconds"),
                    mean(side, "cold_seconds"),
                    f"{crossed} of {len(side)}",
                )
                + (mean(side, "test", 2, 100),)
            )
    return table(
        "validation mark | side | training clock, s | cold clock, s | seeds that reached it | test accuracy, %", rows
    )


def prediction_table(found: Mapping[str, Any]) -> str:
    rows = [
        (cores, name, middle(side, "latency_us"), middle(side, "images_per_second"))
        for cores, sides in found.items()
        for name, side in sides.items()
    ]
    return table("cores | side | one picture, µs | batches of 256, pictures/s", rows)


def explain_table(found: Mapping[str, Any]) -> str:
    rows = found["digitjax"]
    text = table(
        "explanation, batches of 64 on one core | maps/s",
        [(name, middle(rows, name)) for name in rows[0] if name not in ("import_seconds", "cores")],
    )
    return f"{text}\n\n`digitjax report` of a finished run, on all cores: {middle(found['report'], 'seconds')} s."


def growth_table(found: Mapping[str, Any]) -> str:
    images = found["images"]
    seconds, sizes = ([median(images[name], key) for name in images] for key in ("seconds", "images"))
    slopes = [(seconds[k + 1] - seconds[k]) / (sizes[k + 1] - sizes[k]) for k in range(2)]
    memory = [median(images[name], "peak_mib") for name in images]
    added = (memory[2] - memory[1]) / ((sizes[2] - sizes[1]) * 784 / 2**20)
    rows = [
        (kind, name, middle(side, "seconds", 1), middle(side, "compile_seconds", 1), middle(side, "peak_mib"))
        for kind, sides in found.items()
        for name, side in sides.items()
    ]
    text = table("growing | by | an epoch, s | compile, s | most memory, MiB", rows)
    return text + (
        f"\n\nx1 is {sizes[0]:,.0f} images and `default`'s own width. The slope of seconds from x4 to x16 is "
        f"{100 * (slopes[1] / slopes[0] - 1):+.1f} % off that from x1 to x4; "
        f"memory grows by {added:.2f} times the uint8 images."
    )


def startup_table(found: Mapping[str, Any]) -> str:
    rows = []
    for name, side in found.items():
        if "seconds" in side[0]:
            rows.append((name, middle(side, "seconds", 2), "", ""))
        else:
            rows.append(
                (f"first step of `default`, {name}", middle(side, "ready_seconds", 1), middle(side, "first_rate"))
                + (middle(side, "later_rate"),)
            )
    return table("from process start to | seconds | images/s right after | images/s later", rows)


def canonical_table(found: Mapping[str, Any]) -> str:
    rows = [(name, middle(side, "milliseconds", 2), middle(side, "extra_mib")) for name, side in found.items()]
    return table("any picture to MNIST's form, one core | ms | extra memory, MiB", rows)


def scaling_table(found: Mapping[str, Any]) -> str:
    rows = [
        (batch, name, middle(side, "images_per_second"))
        + (f"{median(side, 'images_per_second') / median(sides['one process'], 'images_per_second'):.2f}",)
        for batch, sides in found.items()
        for name, side in sides.items()
    ]
    return table("training `default`, global batch | on two cores | images/s | ratio", rows)


def bulk_table(found: Mapping[str, Any]) -> str:
    seconds = [median(side, "seconds") for side in found.values()]
    times = ["", *(f"{after / before:.1f}" for before, after in pairwise(seconds))]
    rows = [
        (name, middle(side, "seconds", 1), more, middle(side, "peak_mib"))
        for (name, side), more in zip(found.items(), times)
    ]
    return table("pictures, `digitjax predict --out` | s | times the one before | most memory, MiB", rows)


TABLES = {
    "step": step_table,
    "lines": lines_table,
    "accuracy": accuracy_table,
    "prediction": prediction_table,
    "explain": explain_table,
    "growth": growth_table,
    "startup": startup_table,
    "canonical": canonical_table,
    "scaling": scaling_table,
    "bulk": bulk_table,
}


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    versions = {name: device.describe()["versions"][name] for name in ("python", "jax", "jaxlib")}
    if PEERS.exists():
        shown = subprocess.run([PEERS, "-m", "pip", "freeze"], capture_output=True, text=True, check=True).stdout
        wanted = ("torch", "tensorflow_cpu", "tensorflow-cpu", "keras", "onnxruntime", "tinygrad")
        wanted += ("fastapi", "litserve")
        versions |= dict(line.split("==", 1) for line in shown.splitlines() if line.startswith(wanted) and "==" in line)
    return f"{os.cpu_count()} cores of {model}; " + ", ".join(f"{name} {version}" for name, version in versions.items())


def main() -> None:
    parser = argparse.ArgumentParser(description="digitjax beside its peers.")
    parser.add_argument("parts", nargs="*", default=list(TABLES), metavar="PART", help=f"of {', '.join(TABLES)}; all")
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one round, and nothing is written")
    args = parser.parse_args()
    for part in args.parts:
        if part not in TABLES:
            parser.error(f"no part is called {part!r}: they are {', '.join(TABLES)}")
    if not PEERS.exists():
        print("the peers are not installed ('make bench-setup' does it): digitjax alone is measured", file=sys.stderr)
    results = RESULTS / "bench.json"
    found = json.loads(results.read_text()) if results.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), args.data, 1 if args.quick else args.rounds, args.quick)
        for part in args.parts:
            print(f"{part}:", file=sys.stderr)
            for measured in getattr(bench, part)():
                found[part] = {"machine": machine(), "rounds": bench.rounds, "found": measured}
                if not args.quick:
                    keep(results, found)
            print(TABLES[part](found[part]["found"]))


def keep(results: Path, found: Mapping[str, Any]) -> None:
    """Writes what is known so far, so that an interrupted bench loses only what it was at."""
    results.write_text(json.dumps(found, indent=1) + "\n")
    texts = [TABLES[name](found[name]["found"]) for name in TABLES if name in found]
    machines = sorted({found[name]["machine"] for name in found})
    fill_readme("bench", "\n\n".join([*texts, *machines]))


if __name__ == "__main__":
    main()
