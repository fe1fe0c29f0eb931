"""A trained model for other runtimes. All take uint8 [batch, 28, 28] of any batch and give calibrated probabilities."""

import importlib
import math
import os
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import jax
import jax.export
import numpy as np
from jaxtyping import Float32

from digitjax.base.config import ModelConfig
from digitjax.base.disk import write_file
from digitjax.base.errors import DigitjaxError, UsageError
from digitjax.network import model
from digitjax.network.model import AnyArray, Variables
from digitjax.reading import artifact
from digitjax.reading.artifact import Artifact
from digitjax.reading.predict import answers

Format = Literal["stablehlo", "safetensors", "h5", "keras", "onnx"]
FORMATS: tuple[Format, ...] = get_args(Format)
OPSET = 20
"""Of ONNX: the first that has GELU."""
_EPSILON = 1e-5
"""Of Flax's batch normalisation."""


def write(found: Artifact, kind: Format, file: Path) -> None:
    """Writes a model in a format, whole or not at all.

    stablehlo: the program (`jax.export`) beside all that `artifact.write` writes; `load` takes it. safetensors: weights
    and trust, with config and card as JSON in the metadata. h5, keras: what `keras.models.load_model` opens. onnx: a
    graph of opset 20 with the outputs `logits` and `probabilities`.

    Raises:
      DigitjaxError: a package is missing, or the file cannot be written.
      UsageError: Keras would not open a file of that name.
    """
    if kind in ("h5", "keras"):
        if file.suffix != f".{kind}":
            raise UsageError(f"{file} does not end in .{kind}, by which Keras tells its formats: rename it")
        write_file(file, keras_model(found).save)
    elif kind == "stablehlo":
        artifact.write(file, found._replace(program=stablehlo(found)))
    else:
        if kind == "onnx":
            content = onnx_model(found.config, found.variables, found.trust.temperature).SerializeToString()
        else:
            content = _needs("safetensors.numpy").save(artifact.flat(found), {"digitjax": artifact.about(found)})
        write_file(file, lambda temporary: temporary.write_bytes(content))


def stablehlo(found: Artifact) -> jax.export.Exported:
    """The program from images to what `predict.answers` gives, for CPU and CUDA, with the weights in it."""
    (batch,) = jax.export.symbolic_shape("batch")
    program = jax.jit(partial(answers, found.config, *jax.device_put((found.variables, found.trust))))
    images = jax.ShapeDtypeStruct((batch, 28, 28), np.uint8)
    return jax.export.export(program, platforms=("cpu", "cuda"))(images)


def keras_model(found: Artifact) -> Any:
    """A functional Keras model of standard layers alone, named as ours are."""
    os.environ.setdefault("KERAS_BACKEND", "jax")  # else Keras looks for TensorFlow
    keras: Any = _needs("keras")
    _needs("h5py")
    layers, config, params = keras.layers, found.config, found.variables["params"]

    def activated(x: Any) -> Any:
        if config.activation != "gelu":
            return layers.Activation(config.activation)(x)
        # Keras has a layer for the exact form alone; Flax's is x * sigmoid(1.595769 x + 0.071355 x^3).
        twice = 2 * math.sqrt(2 / math.pi)
        inner = layers.Rescaling(0.044715 * twice, twice)(layers.Multiply()([x, x]))
        return layers.Multiply()([x, layers.Activation("sigmoid")(layers.Multiply()([x, inner]))])

    image = keras.Input((28, 28), dtype="uint8", name="image")
    x = layers.Reshape((28, 28, 1))(layers.Rescaling(1 / 255)(image))
    for layer, pool in enumerate(model.pools(config)):
        name, bias = f"convolution_{layer}", not config.batch_norm
        x = layers.Conv2D(
            params[name]["kernel"].shape[-1],
            3,
            padding=config.padding.lower(),
            data_format="channels_last",
            use_bias=bias,
            name=name,
        )(x)
        if not config.batch_norm:
            x = activated(x)
        if pool:
            x = layers.MaxPooling2D(2, data_format="channels_last")(x)
        if config.batch_norm:
            x = activated(layers.BatchNormalization(epsilon=_EPSILON, momentum=0.9, name=f"norm_{layer}")(x))
    heads = {"flatten": layers.Flatten, "max": layers.GlobalMaxPooling2D, "mean": layers.GlobalAveragePooling2D}
    x = heads[config.head](data_format="channels_last")(x)
    if config.hidden:
        x = activated(layers.Dense(config.hidden, name="hidden")(x))
    logits = layers.Dense(config.classes, name="output")(layers.Dropout(config.dropout)(x))
    probabilities = layers.Softmax(name="probabilities")(layers.Rescaling(1 / float(found.trust.temperature))(logits))
    net = keras.Model(image, probabilities, name=config.network)
    for name, leaves in params.items():
        leaves = leaves | found.variables["batch_stats"].get(name, {})
        order = ("kernel", "scale", "bias", "mean", "var")
        net.get_layer(name).set_weights([np.asarray(leaves[leaf]) for leaf in order if leaf in leaves])
    return net


def onnx_model(config: ModelConfig, variables: Variables, temperature: Float32[AnyArray, ""] | float = 1.0) -> Any:
    """An ONNX model from `image` to `logits` and `probabilities`."""
    onnx: Any = _needs("onnx")
    helper, nodes, constants = onnx.helper, [], []
    variables = jax.tree.map(np.asarray, variables)
    params, stats = variables["params"], variables["batch_stats"]

    def constant(value: Any) -> str:
        name = f"constant_{len(constants)}"
        constants.append(onnx.numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def put(operator: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        name = name or f"value_{len(nodes)}"
        nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def activated(x: str) -> str:
        if config.activation == "silu":
            return put("Mul", x, put("Sigmoid", x))
        if config.activation == "gelu":
            return put("Gelu", x, approximate="tanh")
        return put(config.activation.capitalize(), x)

    def dense(x: str, layer: str, size: int = 0, **names: str) -> str:
        kernel = params[layer]["kernel"]
        if size:  # ONNX has channels before rows and columns
            units = kernel.shape[-1]
            kernel = kernel.reshape(size, size, -1, units).transpose(2, 0, 1, 3).reshape(-1, units)
        return put("Gemm", x, constant(kernel), constant(params[layer]["bias"]), **names)

    grey = put("Mul", put("Cast", "image", to=onnx.TensorProto.FLOAT), constant(np.float32(1 / 255)))
    x = put("Reshape", grey, constant(np.array([-1, 1, 28, 28])))
    for layer, pool in enumerate(model.pools(config)):
        leaves, norm = params[f"convolution_{layer}"], f"norm_{layer}"
        bias = () if config.batch_norm else (constant(leaves["bias"]),)
        pads = [1, 1, 1, 1] if config.padding == "SAME" else [0, 0, 0, 0]
        x = put("Conv", x, constant(leaves["kernel"].transpose(3, 2, 0, 1)), *bias, pads=pads)
        if not config.batch_norm:
            x = activated(x)
        if pool:
            x = put("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
        if config.batch_norm:
            told = [params[norm]["scale"], params[norm]["bias"], stats[norm]["mean"], stats[norm]["var"]]
            x = activated(put("BatchNormalization", x, *map(constant, told), epsilon=_EPSILON))
    size = config.sizes()[-1] if config.head == "flatten" else 0
    if not size:
        x = put("GlobalMaxPool" if config.head == "max" else "GlobalAveragePool", x)
    x = put("Flatten", x)
    if config.hidden:
        x, size = activated(dense(x, "hidden", size)), 0
    logits = dense(x, "output", size, name="logits")
    put("Softmax", put("Div", logits, constant(np.float32(temperature))), name="probabilities")

    def value(name: str, kind: int, *shape: int) -> Any:
        return helper.make_tensor_value_info(name, kind, ["batch", *shape])

    outputs = [value(name, onnx.TensorProto.FLOAT, config.classes) for name in ("logits", "probabilities")]
    graph = helper.make_graph(
        nodes, config.network, [value("image", onnx.TensorProto.UINT8, 28, 28)], outputs, constants
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)


def _needs(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise DigitjaxError(f"the package {error.name} is missing: pip install 'digitjax[export]'") from error
