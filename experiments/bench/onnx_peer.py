"""One measurement of ONNX Runtime in a process of its own; prints one JSON document. Called by `experiments.bench`."""

import argparse
import json
import os
from pathlib import Path

import numpy as np
import onnxruntime
from timing import predictions


def predict(args) -> dict:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    graph = Path(args.weights).with_suffix(".onnx")
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    with np.load(args.data) as arrays:
        images = arrays["test_images"]

    def run(batch):
        return session.run(["logits"], {"image": batch})[0]

    return predictions(run, images)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=["predict"])
    parser.add_argument("--data", required=True)
    parser.add_argument("--weights", required=True)
    args = parser.parse_args()
    print(json.dumps(predict(args)))
