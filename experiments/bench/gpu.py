"""How fast is digitjax on a GPU? Needs JAX, Flax, Optax, Orbax, jaxtyping and NumPy, and no network.

    DIGITJAX_MNIST_DIR=... make bench-gpu          writes results/gpu.json and the README's tables
    python -m experiments.bench.gpu --quick        all of it, small and on any device; nothing is written

Compiled programs are not kept between runs, so that each clock with compilation starts from nothing.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Int32

from digitjax.base import device
from digitjax.base.config import NETWORKS, Config
from digitjax.data import datasets
from digitjax.data.datasets import Dataset, Splits, epoch_batches
from digitjax.data.tfds import LOCAL_MNIST
from digitjax.network import model
from digitjax.reading.predict import Predictor
from digitjax.training import fit, metrics, train
from digitjax.training.train import StepResult, TrainState
from experiments.bench.ours import MILD, SPRINTS
from experiments.bench.timing import clock, predictions
from experiments.scoreboard import RESULTS, fill_readme
from experiments.tables import mean, middle, table

Rows = dict[str, list[dict[str, float]]]


class Size(NamedTuple):
    """How much is measured."""

    seeds: int = 10
    shortened: int = 1
    """By what the trainings' steps are divided."""
    batches: tuple[int, ...] = (64, 256, 1024)
    members: tuple[int, ...] = (1, 4, 16, 64)
    member_batch: int = 64
    steps: int = 500
    """Of each stretch whose images/s are taken."""
    rounds: int = 5
    product: int = 8192
    """Rows and columns of the matrices whose product is the peak."""


QUICK = Size(1, 50, (64,), (1, 4, 16, 64), 2, 2, 1, 1024)


def marks() -> dict[float, tuple[int, Config]]:
    """The sprints of `make bench`, and one of twice the steps."""
    steps, config = SPRINTS[0.995]
    longer = replace(config, recipe="sprint-99.6", training=replace(config.training, ema=0.9955))
    return {0.99: SPRINTS[0.99], 0.995: (steps, config), 0.996: (2 * steps, longer)}


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


@partial(jax.jit, static_argnames=("config", "total_steps"), donate_argnames="states")
def ensemble_steps(
    config: Config, total_steps: int, states: TrainState, dataset: Dataset, order: Int32[Array, "steps members batch"]
) -> tuple[TrainState, StepResult]:
    """Many steps of many networks as one program: all leaves of `states` have the members first."""

    def one(state: TrainState, indices: Array) -> tuple[TrainState, StepResult]:
        return train.step(config, total_steps, state, dataset.images[indices], dataset.labels[indices])

    return lax.scan(jax.vmap(one), states, order)


def ensemble(config: Config, total: int, members: int, examples: int) -> tuple[TrainState, Array]:
    """The states of members of seeds from 0, and their batches [steps, members, batch]."""
    seeded = [replace(config, seed=seed) for seed in range(members)]
    states = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(train.create_state(one, total) for one in seeded))
    return states, jnp.asarray(np.stack([batches(one, total, examples) for one in seeded], axis=1))


def ensembles(splits: Splits, size: Size) -> Rows:
    """images/s of training several networks at once, each image counted for each network."""
    dataset, found = jax.device_put(splits.train), {}
    for members in size.members:
        config, steps = Config("bench", batch_size=size.member_batch, augment=MILD), max(1, size.steps // members)
        states, order = ensemble(config, steps, members, len(splits.train.labels))
        compiled, rows = config.compiled_part(), []
        for _ in range(size.rounds + 1):
            started = time.perf_counter()
            states, result = ensemble_steps(compiled, steps, states, dataset, order)
            result.loss.block_until_ready()
            rows.append({"images_per_second": order.size / (time.perf_counter() - started)})
        found[str(members)] = rows[1:]
        _log(f"{members} networks", rows[1:])
    return found


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
    many = [(members, middle(rows, "images_per_second")) for members, rows in found["ensembles"].items()]
    one = found["prediction"]
    texts = [
        table("validation mark | training, s | with compilation, s | seeds that reached it | test accuracy, %", marked),
        table(f"training in batches of | images/s | {' | '.join(f'% of the {name} peak' for name in peak)}", rates),
        "The peaks are products of matrices, in TFLOP/s: "
        + ", ".join(f"{name} {flops / 1e12:,.1f}" for name, flops in peak.items()),
        table("networks trained at once (vmap) | images/s, all networks together", many),
        f"One picture is read in {one['latency_us']:,.0f} µs, {one['of_256']:,.0f} pictures/s in batches of 256, "
        f"{one['of_all']:,.0f} at once.",
        found["device"],
    ]
    return "\n\n".join(texts)


def _log(name: str, rows: list[dict[str, float]]) -> None:
    shown = ", ".join(f"{key} {np.mean([row[key] for row in rows]):.4g}" for key in rows[0])
    print(f"  {name}: {shown}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="digitjax on a GPU.")
    parser.add_argument("--data", default=os.environ.get(LOCAL_MNIST, "mnist"), help="as for digitjax train")
    parser.add_argument("--quick", action="store_true", help="small, on any device, and nothing is written")
    args = parser.parse_args()
    if device.is_cpu() and not args.quick:
        raise SystemExit("JAX sees no GPU here: --quick runs all of it, small, on the CPU, and writes nothing")
    splits, size = datasets.load(args.data), QUICK if args.quick else Size()
    versions = device.describe()["versions"]
    found: dict[str, Any] = {
        "device": f"{jax.devices()[0].device_kind}; data {splits.checksum[:12]}; "
        + ", ".join(f"{name} {versions[name]}" for name in ("python", "jax", "jaxlib")),
        "accuracy": accuracy(splits, size),
        "peaks": peaks(size),
        "rates": rates(splits, size),
        "ensembles": ensembles(splits, size),
        "prediction": prediction(splits, size),
    }
    print(as_text(found))
    if not args.quick:
        (RESULTS / "gpu.json").write_text(json.dumps(found, indent=1) + "\n")
        fill_readme("bench-gpu", as_text(found))


if __name__ == "__main__":
    main()
