"""One measurement of ONNX Runtime in a process of its own; prints one JSON document. Called by `experiments.bench`."""

import argparse
import json
import os

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from timing import predictions


def build(weights: dict[str, np.ndarray]) -> bytes:
    """`reference_same` as a graph from uint8 [N, 28, 28] to logits, normalisation included."""
    hidden = weights["hidden/kernel"].reshape(7, 7, 64, 64).transpose(2, 0, 1, 3).reshape(-1, 64)
    constants = {
        "shape": np.array([-1, 1, 28, 28], np.int64),
        "scale": np.float32(1 / 255),
        "k0": weights["convolution_0/kernel"].transpose(3, 2, 0, 1),
        "b0": weights["convolution_0/bias"],
        "k1": weights["convolution_1/kernel"].transpose(3, 2, 0, 1),
        "b1": weights["convolution_1/bias"],
        "kh": hidden,
        "bh": weights["hidden/bias"],
        "ko": weights["output/kernel"],
        "bo": weights["output/bias"],
    }
    pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
    nodes = [
        helper.make_node("Cast", ["image"], ["grey"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["grey", "scale"], ["unit"]),
        helper.make_node("Reshape", ["unit", "shape"], ["x"]),
        helper.make_node("Conv", ["x", "k0", "b0"], ["c0"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c0"], ["r0"]),
        helper.make_node("MaxPool", ["r0"], ["p0"], **pool),
        helper.make_node("Conv", ["p0", "k1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("MaxPool", ["r1"], ["p1"], **pool),
        helper.make_node("Flatten", ["p1"], ["f"]),
        helper.make_node("Gemm", ["f", "kh", "bh"], ["h"]),
        helper.make_node("Relu", ["h"], ["rh"]),
        helper.make_node("Gemm", ["rh", "ko", "bo"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "reference_same",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", 28, 28])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 10])],
        [numpy_helper.from_array(np.ascontiguousarray(a), name) for name, a in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return model.SerializeToString()


def predict(args) -> dict:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    with np.load(args.weights) as weights:
        session = onnxruntime.InferenceSession(build(dict(weights)), options, providers=["CPUExecutionProvider"])
    with np.load(args.data) as arrays:
        images = arrays["test_images"]

    def run(batch):
        return session.run(None, {"image": batch})[0]

    return predictions(run, images)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=["predict"])
    parser.add_argument("--data", required=True)
    parser.add_argument("--weights", required=True)
    args = parser.parse_args()
    print(json.dumps(predict(args)))
