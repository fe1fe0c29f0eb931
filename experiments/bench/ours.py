"""One measurement of digitjax in a process of its own; prints one JSON document. Called by `experiments.bench`."""

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

IMPORTING = time.perf_counter()
from digitjax.base import device  # noqa: E402

if __name__ == "__main__" and sys.argv[1] != "lines":  # which are learnt without its settings (`pretrained`)
    device.prepare(training=sys.argv[1] not in ("predict", "explanation"))
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from digitjax.base.config import NETWORKS, AugmentConfig, Config, TrainingConfig  # noqa: E402
from digitjax.data import datasets  # noqa: E402
from digitjax.network import explain, model  # noqa: E402
from digitjax.reading.predict import Predictor  # noqa: E402
from digitjax.training import metrics, train  # noqa: E402
from experiments.bench.timing import clock, predictions  # noqa: E402

IMPORTED = time.perf_counter()
ADAM = TrainingConfig("adam", 1e-3, "constant", warmup=0.0, weight_decay=0.0, label_smoothing=0.0, ema=0.0)
MUON = TrainingConfig("muon", 0.05, weight_decay=0.01)
MILD = AugmentConfig(rotation=9.0, shift=1.5, zoom=0.09, shear=0.07)
SPRINTS = {  # one recipe a mark: its steps of 64, and its config; the average remembers a tenth of the run
    0.985: (140, Config("sprint-98.5", training=replace(MUON, ema=0.929))),
    0.99: (270, Config("sprint-99.0", training=replace(MUON, ema=0.963))),
    0.995: (1900, Config("sprint-99.5", augment=MILD, training=replace(MUON, learning_rate=0.1, ema=0.991))),
}


def steps(config: Config, total: int, dataset: datasets.Dataset) -> Iterator[train.TrainState]:
    """The state after each of `total` steps; JAX may run ahead by 32 of them."""
    on_device, compiled = jax.device_put(dataset), config.compiled_part()
    state = train.start(config, total, on_device)
    count = 0
    for epoch in range(total):
        for indices in datasets.epoch_batches(config.seed, epoch, len(dataset.labels), config.batch_size):
            state, result = train.train_step(compiled, total, state, on_device, indices)
            count += 1
            if count % 32 == 1:
                result.loss.block_until_ready()
            yield state
            if count == total:
                return


def advance(states: Iterator[train.TrainState], count: int) -> train.TrainState:
    for _ in range(count - 1):
        next(states)
    return jax.block_until_ready(next(states))


def step(args: argparse.Namespace) -> dict[str, float]:
    """images/s on a named network with plain Adam: the median of three stretches."""
    config = Config("bench", batch_size=args.batch, model=NETWORKS[args.network], training=ADAM)
    stretch = 9_600 // args.batch
    states = steps(config, 10_000, datasets.load(args.mnist).train)
    compile_seconds = clock(lambda: advance(states, 1))
    advance(states, stretch // 4)
    rate = stretch * args.batch / np.median([clock(lambda: advance(states, stretch)) for _ in range(3)])
    flops = sum(layer.flops for layer in model.summary(config.model))
    return {"images_per_second": rate, "compile_seconds": compile_seconds, "share_of_peak": 3 * rate * flops / peak()}


def peak() -> float:
    """FLOP/s of a float32 matrix product on this machine."""
    a = jnp.ones((2048, 2048))
    product = jax.jit(jnp.matmul)
    product(a, a).block_until_ready()
    return 2 * 2048**3 / min(clock(lambda: product(a, a).block_until_ready()) for _ in range(8))


def accuracy(args: argparse.Namespace) -> dict[str, float]:
    """A whole training with the sprint of a mark. Validation at its end, then the test split, read this once."""
    total, config = SPRINTS[args.mark]
    config = replace(config, seed=args.seed)
    splits = datasets.load(args.mnist)
    started = time.perf_counter()
    state = advance(steps(config, total, splits.train), total)
    training, cold = time.perf_counter() - started, time.time() - args.started
    variables = train.evaluated_variables(state)
    reached, tested = (
        float(metrics.accuracy(train.evaluate(config.model, variables, part)))
        for part in (splits.validation, splits.test)
    )
    return {
        "training_seconds": training,
        "cold_seconds": cold,
        "crossed": reached >= args.mark,
        "validation": reached,
        "test": tested,
    }


def lines(args: argparse.Namespace) -> dict[str, float]:
    """Lines/s of the line network's training step; what they show and say does not change what a step takes."""
    from digitjax.training import lines as training

    draw, config = np.random.default_rng(args.seed), training.LineConfig(batch_size=args.batch)
    strips = draw.integers(0, 256, (args.batch, 40, args.strip), np.uint8)
    labels = draw.integers(0, 10, (args.batch, 12)).astype(np.int32)
    state, lengths = training.create_state(config), np.full(args.batch, 5, np.int32)

    def one() -> None:
        nonlocal state
        state, value = training.train_step(config, state, strips, labels, lengths)
        value.block_until_ready()

    compile_seconds = clock(one)
    one()
    seconds = float(np.median([clock(one) for _ in range(20)]))
    parameters = model.parameter_count({"params": state.params})
    return {"images_per_second": args.batch / seconds, "compile_seconds": compile_seconds, "parameters": parameters}


def predict(args: argparse.Namespace) -> dict[str, object]:
    """Latency of one picture and throughput of 256, from uint8 in NumPy to logits in NumPy."""
    config = NETWORKS["reference_same"]
    with np.load(args.weights) as weights:
        params: dict[str, dict[str, np.ndarray]] = {}
        for name in weights:
            layer, _, leaf = name.partition("/")
            params.setdefault(layer, {})[leaf] = weights[name]
    run = Predictor(config, {"params": params, "batch_stats": {}}).logits
    images = datasets.load(args.mnist).test.images
    return predictions(run, images)


def explanation(args: argparse.Namespace) -> dict[str, float]:
    """Maps a second of each method for batches of 64, from uint8 in NumPy to 0..1 in NumPy, on the default network."""
    config = NETWORKS["default"]
    variables = model.init(config, jax.random.key(args.seed))
    images = datasets.load(args.mnist).test.images[:64]
    rates = {}
    for name in explain.METHODS:
        run = partial(explain.explain, config, variables, images, None, name)
        run()
        rates[name] = 64 / float(np.median([clock(run) for _ in range(5)]))
    return rates


def growth(args: argparse.Namespace) -> dict[str, float]:
    """Seconds of an epoch over copies of 7,500 digits, compilation apart, and the most memory ever held."""
    copies = datasets.load(args.mnist).train.take(np.arange(7_500 * args.copies) % 7_500)
    network = NETWORKS["default"]
    network = replace(network, widths=tuple(args.width * width for width in network.widths))
    states = steps(Config("bench", model=network, augment=MILD), 100_000, copies)
    compile_seconds = clock(lambda: jax.block_until_ready(next(states)))

    def epoch() -> None:
        state = None
        for _ in range(len(copies.labels) // 64):
            state = next(states)
        jax.block_until_ready(state)

    seconds = clock(epoch)
    peak_mib, images = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, len(copies.labels)
    return {"seconds": seconds, "compile_seconds": compile_seconds, "peak_mib": peak_mib, "images": images}


def startup(args: argparse.Namespace) -> dict[str, float]:
    """Seconds from the start of the process to the end of the default recipe's first step, and the rate after it."""
    config = Config("bench", augment=MILD)
    states = steps(config, 1000, datasets.load(args.mnist).train)
    advance(states, 1)
    ready = time.time() - args.started
    rates = [6400 / clock(lambda: advance(states, 100)) for _ in range(4)]
    return {"ready_seconds": ready, "first_rate": rates[0], "later_rate": float(np.median(rates[1:]))}


def weights(args: argparse.Namespace) -> dict[str, object]:
    """Writes `reference_same`, trained for a moment, for the peers: an npz of layer/leaf, and ONNX beside it."""
    from digitjax.reading import export

    config = Config("bench", model=NETWORKS["reference_same"], training=ADAM)
    state = advance(steps(config, 100, datasets.load(args.mnist).train), 100)
    arrays = {f"{layer}/{leaf}": np.asarray(a) for layer, leaves in state.params.items() for leaf, a in leaves.items()}
    np.savez(args.weights, **cast(Any, arrays))
    graph = export.onnx_model(config.model, {"params": state.params, "batch_stats": {}})
    Path(args.weights).with_suffix(".onnx").write_bytes(graph.SerializeToString())
    return {"parameters": sum(a.size for a in arrays.values())}


TASKS = {f.__name__: f for f in (step, lines, accuracy, predict, explanation, growth, startup, weights)}

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--mnist", required=True)
    parser.add_argument("--network", default="reference_same")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--mark", type=float, default=0.99)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--started", type=float, default=time.time())
    parser.add_argument("--weights")
    parser.add_argument("--copies", type=int, default=1)
    parser.add_argument("--width", type=int, default=1)
    parser.add_argument("--strip", type=int)
    args = parser.parse_args()
    print(
        json.dumps(
            {"import_seconds": IMPORTED - IMPORTING, "cores": len(os.sched_getaffinity(0))} | TASKS[args.task](args)
        )
    )
