"""One measurement of Keras, on the backend that KERAS_BACKEND names; prints one JSON document."""

import argparse
import json
import os
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
IMPORTING = time.perf_counter()
import keras  # noqa: E402
import numpy as np  # noqa: E402
from keras import layers  # noqa: E402

IMPORTED = time.perf_counter()


def load(file: str, part: str):
    with np.load(file) as arrays:
        return arrays[f"{part}_images"].astype(np.float32)[..., None] / 255, arrays[f"{part}_labels"].astype(np.int32)


def step(args) -> dict:
    padding = "same" if args.network == "reference_same" else "valid"
    net = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 3, padding=padding, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, padding=padding, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    net.compile(keras.optimizers.Adam(1e-3), loss)
    images, labels = load(args.data, "train")
    images, labels = (a[: 9_600 // args.batch * args.batch] for a in (images, labels))

    def fit(size: int) -> float:
        started = time.perf_counter()
        net.fit(images[:size], labels[:size], batch_size=args.batch, epochs=1, verbose=0)
        return time.perf_counter() - started

    compile_seconds = fit(args.batch)
    fit(len(images))
    rate = len(images) / float(np.median([fit(len(images)) for _ in range(3)]))
    return {"images_per_second": rate, "compile_seconds": compile_seconds}


def example(args) -> dict:
    """Keras's own example (keras.io, 'Simple MNIST convnet'): Adam, batch 128, until validation crosses the mark."""
    keras.utils.set_random_seed(args.seed)
    parts = {part: load(args.data, part) for part in ("train", "validation", "test")}
    parts = {part: (images, keras.utils.to_categorical(labels, 10)) for part, (images, labels) in parts.items()}
    started, evaluating = time.perf_counter(), 0.0
    net = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, kernel_size=(3, 3), activation="relu"),
            layers.MaxPooling2D(pool_size=(2, 2)),
            layers.Conv2D(64, kernel_size=(3, 3), activation="relu"),
            layers.MaxPooling2D(pool_size=(2, 2)),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )
    net.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    for _ in range(15):
        net.fit(*parts["train"], batch_size=128, epochs=1, verbose=0)
        trained = time.perf_counter()
        reached = net.evaluate(*parts["validation"], batch_size=1000, verbose=0)[1]
        if reached >= args.mark:
            break
        evaluating += time.perf_counter() - trained
    cold = time.time() - args.started
    return {
        "training_seconds": trained - started - evaluating,
        "cold_seconds": cold,
        "crossed": reached >= args.mark,
        "validation": reached,
        "test": net.evaluate(*parts["test"], batch_size=1000, verbose=0)[1],
    }


TASKS = {f.__name__: f for f in (step, example)}

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--data", required=True)
    parser.add_argument("--network", default="reference_same")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--mark", type=float, default=0.99)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--started", type=float, default=time.time())
    args = parser.parse_args()
    print(json.dumps({"import_seconds": IMPORTED - IMPORTING} | TASKS[args.task](args)))
