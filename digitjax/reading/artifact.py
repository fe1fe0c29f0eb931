"""A trained model as one file: its config and weights, what validation taught of trust, and how well it reads.

An exported model has its program too, as StableHLO, which then answers in place of our model code.
"""

import dataclasses
import hashlib
import json
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import export

from digitjax.base.config import ModelConfig, model_config
from digitjax.base.disk import write_file
from digitjax.base.errors import DigitjaxError, UsageError
from digitjax.network import model
from digitjax.network.model import Variables
from digitjax.reading.trust import Trust

MODEL = "model.npz"
"""The file in a finished run's folder."""
SHIPPED = "pretrained"
PRETRAINED = Path(__file__).parent.parent / "weights" / "pretrained.npz"
_DAMAGED = (
    *(OSError, ValueError, TypeError, KeyError, EOFError, AttributeError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error),
)


class Artifact(NamedTuple):
    config: ModelConfig
    variables: Variables
    trust: Trust
    card: dict[str, Any]
    """Where it comes from: config, figures and provenance of its run. Nothing that is needed to use it."""
    name: str = ""
    checksum: str = ""
    """The first 12 hex digits of the file's SHA-256."""
    program: export.Exported | None = None
    """From images to `logits`, `probabilities` and `verdicts`, where it was exported."""


def write(file: Path, artifact: Artifact) -> None:
    """Writes an .npz without pickles; equal content gives equal bytes.

    Raises:
      DigitjaxError: it cannot be written.
    """
    arrays: dict[str, Any] = {"about": np.frombuffer(about(artifact).encode(), np.uint8)} | flat(artifact)
    if artifact.program:
        arrays["program"] = np.frombuffer(artifact.program.serialize(), np.uint8)

    def save(temporary: Path) -> None:
        with temporary.open("wb") as stream:
            np.savez(stream, **arrays)

    write_file(file, save)


def read(which: str | Path = SHIPPED) -> Artifact:
    """Reads the model that ships, a finished run's folder, or a file that `write` wrote.

    Raises:
      DigitjaxError: there is none, or it is damaged, or something else.
    """
    file = PRETRAINED if which == SHIPPED else Path(which).expanduser()
    if file.is_dir():
        if not (file / MODEL).exists():
            raise DigitjaxError(f"no finished run in {file}: train one with 'digitjax train --run-dir {file}'")
        file /= MODEL
    try:
        _require_size(file)
        content = file.read_bytes()
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        told, packed = json.loads(arrays.pop("about").tobytes()), arrays.pop("program", None)
        config, card = model_config(told["model"]), told["card"]
        variables, trust = _shaped(config, arrays)
        program = None if packed is None else _program(config, packed.tobytes())
    except FileNotFoundError as error:
        raise DigitjaxError(f"no model is called {which}: name a run folder, a model file, or pretrained") from error
    except (*_DAMAGED, UsageError) as error:
        raise DigitjaxError(f"{file} is no model of digitjax, or damaged ({error}): name another file") from error
    checksum = hashlib.sha256(content).hexdigest()[:12]
    return Artifact(config, variables, trust, card, str(which), checksum, program)


def weights(which: str) -> tuple[ModelConfig, Variables]:
    """The network of what `read` takes, or of the best epoch so far of a run that is not finished.

    Raises:
      DigitjaxError: as for `read`.
    """
    folder = Path(which).expanduser()
    if folder.is_dir() and (folder / "config.json").exists() and not (folder / MODEL).exists():
        from digitjax.training import checkpoint

        return checkpoint.read_config(folder).model, checkpoint.restore_best(folder)
    found = read(which)
    return found.config, found.variables


def about(artifact: Artifact) -> str:
    """Its config and card, as JSON."""
    return json.dumps({"model": dataclasses.asdict(artifact.config), "card": artifact.card})


def flat(artifact: Artifact) -> dict[str, np.ndarray]:
    """Its weights and its trust, by names such as variables/params/output/kernel."""
    return named_leaves({"variables": artifact.variables, "trust": artifact.trust._asdict()})


def named_leaves(tree: Any) -> dict[str, np.ndarray]:
    """The arrays of a tree by their ways through it, as params/output/kernel, in C order."""
    return {leaf_name(path): np.asarray(leaf, order="C") for path, leaf in jax.tree.leaves_with_path(tree)}


def _program(config: ModelConfig, packed: bytes) -> export.Exported:
    """What `jax.export` serialised; ValueError where it is another program, or would leave StableHLO."""
    try:
        program = export.deserialize(bytearray(packed))
        module = program.mlir_module()
        given = jax.eval_shape(program.call, jax.ShapeDtypeStruct((1, 28, 28), np.uint8))
    except Exception as error:  # a damaged byte leads the parsers to errors of any kind
        raise ValueError(f"its program cannot be read: {type(error).__name__}") from error
    # JAX trusts what it deserialises: a custom call reaches any function that is registered in the process.
    if leaving := re.findall(r"stablehlo\.(custom_call(?! @shape_assertion\()|infeed|outfeed|send|recv)\b", module):
        raise ValueError(f"its program leaves StableHLO by {leaving[0]}")
    given, row = jax.tree.map(lambda part: (part.shape, part.dtype), given), ((1, config.classes), np.float32)
    if given != {"logits": row, "probabilities": row, "verdicts": ((1,), np.int32)}:
        raise ValueError(f"its program gives {given}")
    return program


def _require_size(file: Path) -> None:
    """ValueError where the arrays would take much more memory than a file: zeros pack a thousandfold."""
    with zipfile.ZipFile(file) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if size > 4 * file.stat().st_size + (1 << 20):
        raise ValueError(f"its arrays are {size:,} bytes, packed into {file.stat().st_size:,}")


def _shaped(config: ModelConfig, arrays: dict[str, np.ndarray]) -> tuple[Variables, Trust]:
    """The arrays in their places; ValueError where one is missing, too many, or of another shape."""
    variables = jax.eval_shape(lambda: model.init(config, jax.random.key(0)))
    like = {"variables": variables, "trust": dict.fromkeys(Trust._fields, 0)}
    paths, structure = jax.tree.flatten_with_path(like)
    names = [leaf_name(path) for path, _ in paths]
    if set(names) != set(arrays):
        raise ValueError(f"its arrays are others than those of {config.network}")
    for name, (_, leaf) in zip(names, paths):
        fits = leaf is None or not isinstance(leaf, jax.ShapeDtypeStruct) or arrays[name].shape == leaf.shape
        if not fits or arrays[name].dtype != np.float32:
            raise ValueError(f"{name} is {arrays[name].dtype} of shape {arrays[name].shape}")
        if np.isnan(arrays[name]).any() or (name.startswith("variables/") and np.isinf(arrays[name]).any()):
            raise ValueError(f"{name} has numbers that are none (NaN or infinite)")
    found = jax.tree.unflatten(structure, [arrays[name] for name in names])
    return found["variables"], Trust(**found["trust"])


def leaf_name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
