"""One measurement of tinygrad in a process of its own; prints one JSON document. Called by `experiments.bench`."""

import argparse
import json
import time

IMPORTING = time.perf_counter()
import numpy as np  # noqa: E402
from timing import clock  # noqa: E402
from tinygrad import Tensor, TinyJit, nn  # noqa: E402

IMPORTED = time.perf_counter()


class Reference:
    def __init__(self):
        self.conv0, self.conv1 = nn.Conv2d(1, 32, 3, padding=1), nn.Conv2d(32, 64, 3, padding=1)
        self.hidden, self.output = nn.Linear(3136, 64), nn.Linear(64, 10)

    def __call__(self, x: Tensor) -> Tensor:
        x = self.conv0(x).max_pool2d().relu()
        x = self.conv1(x).max_pool2d().relu()
        return self.output(self.hidden(x.flatten(1)).relu().dropout(0.5))


def step(args) -> dict:
    with np.load(args.data) as arrays:
        images = Tensor(arrays["train_images"].astype(np.float32)[:, None] / 255)
        labels = Tensor(arrays["train_labels"].astype(np.int32))
    net = Reference()
    optimizer = nn.optim.Adam(nn.state.get_parameters(net), lr=1e-3)

    @TinyJit
    @Tensor.train()
    def one(index: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss = net(images[index]).sparse_categorical_crossentropy(labels[index]).backward()
        return loss.realize(*optimizer.schedule_step())

    rng = np.random.default_rng(0)

    def run(count: int) -> None:
        losses = [one(Tensor(rng.integers(0, 50_000, args.batch).astype(np.int32))) for _ in range(count)]
        losses[-1].item()

    compile_seconds = clock(lambda: run(3))
    count = 2560 // args.batch
    rate = count * args.batch / float(np.median([clock(lambda: run(count)) for _ in range(3)]))
    return {"images_per_second": rate, "compile_seconds": compile_seconds}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=["step"])
    parser.add_argument("--data", required=True)
    parser.add_argument("--network", default="reference_same")
    parser.add_argument("--batch", type=int, default=64)
    args = parser.parse_args()
    print(json.dumps({"import_seconds": IMPORTED - IMPORTING} | step(args)))
