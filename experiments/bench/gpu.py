"""How fast is digitjax on a GPU? Needs JAX, Flax, Optax, Orbax, jaxtyping and NumPy, and no network.

    DIGITJAX_MNIST_DIR=... make bench-gpu          writes results/gpu.json and the README's tables
    python -m experiments.bench.gpu --quick        all of it, small and on any device; nothing is written
    python -m experiments.bench.gpu --tables       the README's tables again, from results/gpu.json

Compiled programs are not kept between runs, so that each clock with compilation starts from nothing. Where PyTorch is
installed it trains the same network on the same card; where the command line and the service are, whole commands are
timed. At most six minutes on an H100, as far as could be reckoned without one.
"""

import argparse
import http.client
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Int32

from digitjax.base import device
from digitjax.base.config import NETWORKS, Config, TrainingConfig
from digitjax.data import datasets
from digitjax.data.datasets import Splits, epoch_batches
from digitjax.data.tfds import LOCAL_MNIST
from digitjax.network import model
from digitjax.reading.predict import Predictor
from digitjax.training import fit, metrics, train
from experiments.bench.ours import MILD
from experiments.bench.timing import clock, predictions
from experiments.ensemble import WAYS, rate
from experiments.scoreboard import RESULTS, ROOT, fill_readme
from experiments.tables import mean, middle, table

Rows = dict[str, list[dict[str, float]]]
PEERS = ROOT / ".venv-peers" / "bin" / "python"


class Size(NamedTuple):
    """How much is measured."""

    seeds: int = 10
    shortened: int = 1
    """By what the trainings' steps are divided."""
    batches: tuple[int, ...] = (64, 256, 512, 1024)
    peer_batches: tuple[int, ...] = (64, 512, 1024)
    members: tuple[int, ...] = (4, 16)
    member_batch: int = 64
    steps: int = 500
    """Of each stretch whose images/s are taken."""
    rounds: int = 5
    product: int = 8192
    """Rows and columns of the matrices whose product is the peak."""
    whole: tuple[str, ...] = ()
    """Further words of the `digitjax train` that is timed as a whole."""


QUICK = Size(1, 50, (64,), (64,), (4,), 2, 2, 1, 1024, ("--epochs", "1", "--widths", "4", "--depth", "1"))


def marks() -> dict[float, tuple[int, Config]]:
    """A recipe for each mark: its steps of 512, as a GPU wants them, and its config; the average remembers a tenth."""
    found = {}
    for mark, steps, augment in ((0.99, 84, None), (0.995, 324, MILD), (0.996, 594, MILD)):
        training = TrainingConfig("muon", 0.2, weight_decay=0.01, ema=1 - 10 / steps)
        own = Config(f"sprint-{100 * mark:.1f}", batch_size=512, training=training)
        found[mark] = steps, replace(own, augment=augment) if augment else own
    return found


def batches(config: Config, total: int, examples: int) -> Int32[np.ndarray, "steps batch"]:
    """The first `total` batches of a run."""
    rows = -(-examples // config.batch_size)
    epochs = range(-(-total // rows))
    return np.concatenate([epoch_batches(config.seed, n, examples, config.batch_size) for n in epochs])[:total]


def accuracy(splits: Splits, size: Size) -> Rows:
    """Seconds of whole trainings on each mark's recipe, a seed a row; the test split is read once, at the end of each.

    The first seed is trained twice: its first time, the cold one, includes compilation.
    """
    dataset, found = jax.device_put(splits.train), {}

    def trained(config: Config, total: int) -> tuple[float, Any]:
        order = batches(config, total, len(splits.train.labels))
        started = time.perf_counter()
        state = train.create_state(config, total)
        state, _ = fit.run_epoch(config.compiled_part(), total, state, dataset, order)
        return time.perf_counter() - started, train.evaluated_variables(state)

    for mark, (total, config) in marks().items():
        total = max(1, total // size.shortened)
        cold, rows = trained(config, total)[0], []
        for seed in range(size.seeds):
            seconds, variables = trained(replace(config, seed=seed), total)
            validation, test = (
                metrics.accuracy(train.evaluate(config.model, variables, part))
                for part in (splits.validation, splits.test)
            )
            rows.append({"seed": seed, "seconds": seconds, "cold_seconds": cold})
            rows[-1] |= {"validation": validation, "test": test, "crossed": float(validation >= mark)}
        found[f"{100 * mark:.1f}"] = rows
        _log(f"{100 * mark:.1f} %", rows)
    return found


def peaks(size: Size) -> dict[str, float]:
    """FLOP/s of matrix products: bfloat16, float32, and float32 as JAX multiplies it unless told (TF32 on a GPU)."""
    found = {}
    for name, dtype, precision in (
        ("bfloat16", jnp.bfloat16, lax.Precision.DEFAULT),
        ("float32", jnp.float32, lax.Precision.HIGHEST),
        ("float32 by default", jnp.float32, lax.Precision.DEFAULT),
    ):
        a = jnp.ones((size.product, size.product), dtype)
        product = jax.jit(partial(jnp.matmul, precision=precision))
        product(a, a).block_until_ready()

        def several(product: Any = product, a: Array = a) -> None:
            jax.block_until_ready([product(a, a) for _ in range(8)])

        found[name] = 8 * 2 * size.product**3 / min(clock(several) for _ in range(size.rounds))
    return found


def rates(splits: Splits, size: Size) -> Rows:
    """images/s of training the default network with augmentation, by batch size, and the FLOP/s that this is."""
    flops = 3 * sum(layer.flops for layer in model.summary(NETWORKS["default"]))
    dataset, found = jax.device_put(splits.train), {}
    for batch in size.batches:
        config = Config("bench", batch_size=batch, augment=MILD)
        order = batches(config, size.steps, len(splits.train.labels))
        state, rows = train.create_state(config, size.steps), []
        for _ in range(size.rounds + 1):
            started = time.perf_counter()
            state, _ = fit.run_epoch(config.compiled_part(), size.steps, state, dataset, order)
            rate = order.size / (time.perf_counter() - started)
            rows.append({"images_per_second": rate, "flops": rate * flops})
        found[str(batch)] = rows[1:]
        _log(f"batch {batch}", rows[1:])
    return found


def ensembles(splits: Splits, size: Size) -> dict[str, dict[str, float]]:
    """images/s of training several networks, each image counted for each network, by way and number of members."""
    found: dict[str, dict[str, float]] = {way: {} for way in WAYS}
    config = Config("bench", batch_size=size.member_batch, augment=MILD)
    for members in size.members:
        for way in WAYS:
            found[way][str(members)] = rate(config, range(members), splits, way, max(1, size.steps // members))
            _log(f"{members} networks, {way}", [{"images_per_second": found[way][str(members)]}])
    return found


def peers(splits: Splits, size: Size) -> Rows:
    """images/s of the same network, optimizer, warps and average in PyTorch; none where it has no such device."""
    python = sys.executable if importlib.util.find_spec("torch") else str(PEERS)
    if not Path(python).exists():
        print("  PyTorch is not installed here", file=sys.stderr)
        return {}
    found: Rows = {}
    with tempfile.TemporaryDirectory() as folder:
        digits = Path(folder) / "digits.npz"
        np.savez(digits, train_images=splits.train.images, train_labels=splits.train.labels)
        for batch in size.peer_batches:
            for dtype in ("fp32", "bf16"):
                script = str(ROOT / "experiments" / "bench" / "torch_peer.py")
                numbers = {"batch": batch, "dtype": dtype, "steps": size.steps, "rounds": size.rounds}
                words = [f"--{name}={value}" for name, value in numbers.items()]
                command = [python, script, "rates", "--data", str(digits), *words]
                done = subprocess.run(command, capture_output=True, text=True)
                rows = json.loads(done.stdout.splitlines()[-1])["rows"] if done.returncode == 0 else []
                rows = [row for row in rows if row["cuda"] or device.is_cpu()]
                if not rows:
                    print(f"  PyTorch {dtype}: {(done.stderr.splitlines() or ['sees no GPU'])[-1]}", file=sys.stderr)
                for row in rows:
                    found.setdefault(f"{row['how']}, {dtype}", []).append({"batch": batch} | row)
                    _log(f"PyTorch, batch {batch}, {dtype}, {row['how']}", [{"rate": row["images_per_second"]}])
    return found


def whole_commands(source: str, size: Size) -> dict[str, float]:
    """Seconds of `digitjax train` and of the service's start, by what is in the cache of compiled programs."""
    if missing := [name for name in ("tyro", "litestar", "cv2", "playwright") if not importlib.util.find_spec(name)]:
        print(f"  whole commands: {', '.join(missing)} is not installed here", file=sys.stderr)
        return {}
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for recipe in ("default", "quick"):
            environment = os.environ | {"XDG_CACHE_HOME": f"{folder}/{recipe}", "PYTHONPATH": str(ROOT)}
            for cache in ("empty", "filled"):
                run = f"{folder}/{recipe}-{cache}"
                command = [sys.executable, "-m", "digitjax", "train", "--recipe", recipe, "--data", source]
                command += ["--run-dir", run, *size.whole]
                started = time.perf_counter()
                subprocess.run(command, env=environment, check=True, capture_output=True, cwd=folder)
                found[f"train --recipe {recipe}, {cache} cache"] = time.perf_counter() - started
        for cache in ("empty", "filled"):
            found |= {f"{what}, {cache} cache": value for what, value in _served(f"{folder}/serve").items()}
    for name, seconds in found.items():
        _log(name, [{"seconds": seconds}])
    return found


def _served(cache: str) -> dict[str, float]:
    """Seconds until the service answers, and of one picture by one client."""
    from experiments.bench.serving import serving  # with what a machine that only trains may lack

    body = json.dumps({"image": [0] * 400 + [255] * 100 + [0] * 284})
    command = ["env", f"XDG_CACHE_HOME={cache}", sys.executable, "-m", "serve"]
    with serving(command, f"0-{len(os.sched_getaffinity(0)) - 1}") as server:
        client = http.client.HTTPConnection("127.0.0.1", server["port"])

        def ask() -> None:
            client.request("POST", "/predict", body, {"content-type": "application/json"})
            client.getresponse().read()

        ask()
        one = float(np.median([clock(ask) for _ in range(200)]))
    return {"service ready": server["ready_seconds"], "one picture by HTTP": one}


def prediction(splits: Splits, size: Size) -> dict[str, float]:
    """Latency of one picture, and pictures/s in batches of 256 and of the whole test split, from NumPy to NumPy."""
    config = NETWORKS["default"]
    run, images = Predictor(config, model.init(config, jax.random.key(0))).logits, splits.test.images
    found: dict[str, Any] = predictions(run, images)
    run(images)
    whole = len(images) / float(np.median([clock(lambda: run(images)) for _ in range(size.rounds)]))
    return {"latency_us": found["latency_us"], "of_256": found["images_per_second"], "of_all": whole}


def as_text(found: dict[str, Any]) -> str:
    marked = [
        (f"{mark} %", mean(rows, "seconds", 2), f"{rows[0]['cold_seconds']:.1f}")
        + (f"{sum(row['crossed'] for row in rows):.0f} of {len(rows)}", mean(rows, "test", 2, 100))
        for mark, rows in found["accuracy"].items()
    ]
    peak = found["peaks"]
    rates = [
        (batch, middle(rows, "images_per_second"))
        + tuple(f"{100 * np.median([row['flops'] for row in rows]) / peak[name]:.2f}" for name in peak)
        for batch, rows in found["rates"].items()
    ]
    ways = found["ensembles"]
    counts = list(dict.fromkeys(members for speeds in ways.values() for members in speeds))
    many = [
        (WAYS[way], *(f"{speeds[members]:,.0f}" if members in speeds else "" for members in counts))
        for way, speeds in ways.items()
    ]
    torch = [
        (how, *(f"{row['images_per_second']:,.0f}" for row in rows)) for how, rows in found.get("peers", {}).items()
    ]
    one = found["prediction"]
    texts = [
        table("validation mark | training, s | with compilation, s | seeds that reached it | test accuracy, %", marked),
        table(f"training in batches of | images/s | {' | '.join(f'% of the {name} peak' for name in peak)}", rates),
        "The peaks are products of matrices, in TFLOP/s: "
        + ", ".join(f"{name} {flops / 1e12:,.1f}" for name, flops in peak.items()),
        table(f"several networks, batches of 64 each: images/s of all | {' | '.join(counts)}", many),
        f"One picture is read in {one['latency_us']:,.0f} µs, {one['of_256']:,.0f} pictures/s in batches of 256, "
        f"{one['of_all']:,.0f} at once.",
    ]
    if torch:
        batches = [f"{row['batch']:.0f}" for row in next(iter(found["peers"].values()))]
        texts.append(table(f"PyTorch on the same card, images/s in batches of | {' | '.join(batches)}", torch))
    if found.get("whole"):
        texts.append(table("a whole command | s", [(name, f"{s:.3g}") for name, s in found["whole"].items()]))
    return "\n\n".join([*texts, f"{found['device']}; commit {found['commit'][:7]}"])


def _log(name: str, rows: list[dict[str, float]]) -> None:
    shown = ", ".join(f"{key} {np.mean([row[key] for row in rows]):.4g}" for key in rows[0])
    print(f"  {name}: {shown}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="digitjax on a GPU.")
    parser.add_argument("--data", default=os.environ.get(LOCAL_MNIST, "mnist"), help="as for digitjax train")
    parser.add_argument("--quick", action="store_true", help="small, on any device, and nothing is written")
    parser.add_argument("--tables", action="store_true", help="only write the README's tables, from results/gpu.json")
    args = parser.parse_args()
    if args.tables:
        fill_readme("bench-gpu", as_text(json.loads((RESULTS / "gpu.json").read_text())))
        return
    device.share_memory(2)  # with the processes that this one begins
    if device.is_cpu() and not args.quick:
        raise SystemExit("JAX sees no GPU here: --quick runs all of it, small, on the CPU, and writes nothing")
    splits, size = datasets.load(args.data), QUICK if args.quick else Size()
    versions = device.describe()["versions"]
    found: dict[str, Any] = {
        "device": f"{jax.devices()[0].device_kind}; data {splits.checksum[:12]}; "
        + ", ".join(f"{name} {versions[name]}" for name in ("python", "jax", "jaxlib")),
        "commit": device.commit(),
        "accuracy": accuracy(splits, size),
        "peaks": peaks(size),
        "rates": rates(splits, size),
        "ensembles": ensembles(splits, size),
        "prediction": prediction(splits, size),
        "peers": peers(splits, size),
        "whole": whole_commands(str(Path(args.data).resolve()) if Path(args.data).exists() else args.data, size),
    }
    print(as_text(found))
    if not args.quick:
        (RESULTS / "gpu.json").write_text(json.dumps(found, indent=1) + "\n")
        fill_readme("bench-gpu", as_text(found))


if __name__ == "__main__":
    main()
