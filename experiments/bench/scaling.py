"""One of the processes of a data-parallel training, or the only one; the first prints images/s as a JSON document.

Called by `experiments.bench` for as many processes as there are cores, and for one process on all of them.
"""

import argparse
import json

from digitjax.base import device, hosts

device.prepare()
import jax  # noqa: E402
import numpy as np  # noqa: E402

from digitjax.base.config import Config  # noqa: E402
from digitjax.data import datasets  # noqa: E402
from digitjax.training import train  # noqa: E402
from experiments.bench.ours import ADAM, MILD  # noqa: E402
from experiments.bench.timing import clock  # noqa: E402

IMAGES = 15_360
"""In each of three stretches."""


def rate(source: str, batch_size: int) -> float:
    """images/s of training `default` on all devices: the median of three stretches."""
    config = Config("bench", batch_size=batch_size, augment=MILD, training=ADAM)
    devices, steps = device.data_parallel(), IMAGES // batch_size
    dataset = datasets.load(source).train
    on_devices = device.replicate(dataset, devices)
    state = device.replicate(train.create_state(config, steps), devices)
    batches = datasets.epoch_batches(0, 0, len(dataset.labels), batch_size)[:steps]

    def stretch() -> None:
        nonlocal state
        for number, indices in enumerate(batches):
            state, result = train.train_step(config, steps, state, on_devices, device.divide(indices, devices), devices)
            if number % 8 == 0:
                result.loss.block_until_ready()
        jax.block_until_ready(state)

    stretch()
    return IMAGES / float(np.median([clock(stretch) for _ in range(3)]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--mnist", required=True)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--coordinator", default="")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--process", type=int, default=0)
    args = parser.parse_args()
    if args.coordinator:
        hosts.join(args.coordinator, args.process, args.processes, timeout=60)
    found = rate(args.mnist, args.batch)
    if hosts.is_first():
        print(json.dumps({"images_per_second": found}))
