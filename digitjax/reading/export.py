"""A trained model for other runtimes. All take uint8 [batch, 28, 28] of any batch and give calibrated probabilities."""

import importlib
import math
import os
from collections.abc import Sequence
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
from digitjax.reading import artifact, strips
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


def write_lines(kind: Format, file: Path) -> None:
    """Writes the line network that ships: stablehlo (what `jax.export.deserialize` takes), safetensors or onnx.

    It maps uint8 strips [batch, 40, width], bright on dark, width a
    multiple of four, to logits [batch, width / 4, 11]: ten digits and none at each place, to be read by connectionist
    temporal classification.

    Raises:
      DigitjaxError: a package is missing, or the file cannot be written.
      UsageError: another format.
    """
    variables, _ = strips.read(strips.FILE)
    if kind == "stablehlo":
        shape = jax.export.symbolic_shape("batch, 40, 4*places")
        program = jax.jit(partial(model.line_logits, jax.device_put(variables)))
        exported = jax.export.export(program, platforms=("cpu", "cuda"))(jax.ShapeDtypeStruct(shape, np.uint8))
        content = bytes(exported.serialize())
    elif kind == "onnx":
        content = lines_onnx_model(variables).SerializeToString()
    elif kind == "safetensors":
        content = _needs("safetensors.numpy").save(artifact.named_leaves(variables))
    else:
        raise UsageError(f"the line network is not written as {kind}: choose stablehlo, onnx or safetensors")
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


class _Graph:
    """Nodes and constants of an ONNX graph that grows."""

    def __init__(self) -> None:
        self.onnx: Any = _needs("onnx")
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: Any) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(self.onnx.numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def put(self, operator: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        name = name or f"value_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(operator, inputs, [name], **attributes))
        return name

    def grey(self, axes: list[int]) -> str:
        """The input `image` from 0 to 1, with an axis for its one channel."""
        levels = self.put("Cast", "image", to=self.onnx.TensorProto.FLOAT)
        return self.put(
            "Reshape", self.put("Mul", levels, self.constant(np.float32(1 / 255))), self.constant(np.array(axes))
        )

    def convolved(self, x: str, kernel: Any, *bias: str, padding: str = "SAME") -> str:
        pads = [1, 1, 1, 1] if padding == "SAME" else [0, 0, 0, 0]
        return self.put("Conv", x, self.constant(kernel.transpose(3, 2, 0, 1)), *bias, pads=pads)

    def normalised(self, x: str, params: Any, stats: Any) -> str:
        told = params["scale"], params["bias"], stats["mean"], stats["var"]
        return self.put("BatchNormalization", x, *map(self.constant, told), epsilon=_EPSILON)

    def model(self, name: str, shape: Sequence[int | str], made: Sequence[int | str]) -> Any:
        """What these nodes are: from uint8 `image` [batch, ...] to float `logits` and `probabilities` [batch, ...]."""
        helper, kinds = self.onnx.helper, self.onnx.TensorProto

        def value(name: str, kind: int, shape: Sequence[int | str]) -> Any:
            return helper.make_tensor_value_info(name, kind, ["batch", *shape])

        given = value("image", kinds.UINT8, shape)
        answers = [value(output, kinds.FLOAT, made) for output in ("logits", "probabilities")]
        graph = helper.make_graph(self.nodes, name, [given], answers, self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)


def onnx_model(config: ModelConfig, variables: Variables, temperature: Float32[AnyArray, ""] | float = 1.0) -> Any:
    """An ONNX model from `image` to `logits` and `probabilities`."""
    graph = _Graph()
    put, constant = graph.put, graph.constant
    variables = jax.tree.map(np.asarray, variables)
    params, stats = variables["params"], variables["batch_stats"]

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

    x = graph.grey([-1, 1, 28, 28])
    for layer, pool in enumerate(model.pools(config)):
        leaves, norm = params[f"convolution_{layer}"], f"norm_{layer}"
        bias = () if config.batch_norm else (constant(leaves["bias"]),)
        x = graph.convolved(x, leaves["kernel"], *bias, padding=config.padding)
        if not config.batch_norm:
            x = activated(x)
        if pool:
            x = put("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
        if config.batch_norm:
            x = activated(graph.normalised(x, params[norm], stats[norm]))
    size = config.sizes()[-1] if config.head == "flatten" else 0
    if not size:
        x = put("GlobalMaxPool" if config.head == "max" else "GlobalAveragePool", x)
    x = put("Flatten", x)
    if config.hidden:
        x, size = activated(dense(x, "hidden", size)), 0
    logits = dense(x, "output", size, name="logits")
    put("Softmax", put("Div", logits, constant(np.float32(temperature))), name="probabilities")
    return graph.model(config.network, [28, 28], [config.classes])


def lines_onnx_model(variables: Variables) -> Any:
    """The line network from `image` [batch, 40, width] to `logits` and `probabilities` [batch, width / 4, 11]."""
    graph = _Graph()
    put, constant = graph.put, graph.constant
    variables = jax.tree.map(np.asarray, variables)
    params, stats = variables["params"], variables["batch_stats"]

    def active(x: str, layer: int) -> str:
        return put("Relu", graph.normalised(x, params[f"BatchNorm_{layer}"], stats[f"BatchNorm_{layer}"]))

    x, stages = graph.grey([0, 1, 40, -1]), model.LINE_STAGES
    for layer, (_, pool) in enumerate(stages):
        x = graph.convolved(x, params[f"Convolution_{layer}"]["kernel"])
        if pool:
            x = put("MaxPool", x, kernel_shape=[2, pool], strides=[2, pool])
        x = active(x, layer)
    # Rows and channels of a column become channels, in the order in which ours has them; then columns are convolved.
    channels = params["Dense_0"]["kernel"].shape[0]
    x = put("Reshape", put("Transpose", x, perm=[0, 2, 1, 3]), constant(np.array([0, channels, -1])))
    x = active(put("Conv", x, constant(params["Dense_0"]["kernel"].T[..., None])), len(stages))
    for layer in (1, 2):
        kernel = params[f"Dense_{layer}"]["kernel"]
        taps = kernel.reshape(5, -1, kernel.shape[-1]).transpose(2, 1, 0)
        x = put("Add", x, active(put("Conv", x, constant(taps), pads=[2, 2]), len(stages) + layer))
    x = put("MatMul", put("Transpose", x, perm=[0, 2, 1]), constant(params["Dense_3"]["kernel"]))
    put("Softmax", put("Add", x, constant(params["Dense_3"]["bias"]), name="logits"), name="probabilities")
    places = ["places", model.BLANK + 1]
    return graph.model("lines", [40, "width"], places)


def _needs(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise DigitjaxError(f"the package {error.name} is missing: pip install 'digitjax[export]'") from error
