"""A trained model as one file: its config and weights, what validation taught of trust, and how well it reads."""

import dataclasses
import hashlib
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from digitjax import model
from digitjax.config import ModelConfig, model_config
from digitjax.errors import DigitjaxError, UsageError
from digitjax.model import Variables
from digitjax.trust import Trust

MODEL = "model.npz"
"""The file in a finished run's folder."""
PRETRAINED = Path(__file__).parent / "weights" / "pretrained.npz"
_DAMAGED = (OSError, ValueError, TypeError, KeyError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error)


class Artifact(NamedTuple):
    config: ModelConfig
    variables: Variables
    trust: Trust
    card: dict[str, Any]
    """Where it comes from: config, figures and provenance of its run. Nothing that is needed to use it."""
    name: str = ""
    checksum: str = ""
    """The first 12 hex digits of the file's SHA-256."""


def write(file: Path, artifact: Artifact) -> None:
    """Writes an .npz without pickles; equal content gives equal bytes.

    Raises:
      DigitjaxError: it cannot be written.
    """
    from digitjax.checkpoint import write_file  # reading a model needs no Orbax

    about = json.dumps({"model": dataclasses.asdict(artifact.config), "card": artifact.card})
    arrays: dict[str, Any] = {"about": np.frombuffer(about.encode(), np.uint8)} | _flat(
        artifact.variables, artifact.trust
    )

    def save(temporary: Path) -> None:
        with temporary.open("wb") as stream:
            np.savez(stream, **arrays)

    write_file(file, save)


def read(which: str | Path = "pretrained") -> Artifact:
    """Reads the model that ships, a finished run's folder, or a file that `write` wrote.

    Raises:
      DigitjaxError: there is none, or it is damaged, or something else.
    """
    file = PRETRAINED if which == "pretrained" else Path(which).expanduser()
    if file.is_dir():
        if not (file / MODEL).exists():
            raise DigitjaxError(f"no finished run in {file}: train one with 'digitjax train --run-dir {file}'")
        file /= MODEL
    try:
        content = file.read_bytes()
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        about = json.loads(arrays.pop("about").tobytes())
        config = model_config(about["model"])
        variables, trust = _shaped(config, arrays)
    except FileNotFoundError as error:
        raise DigitjaxError(f"no model is called {which}: name a run folder, a model file, or pretrained") from error
    except (*_DAMAGED, UsageError) as error:
        raise DigitjaxError(f"{file} is no model of digitjax, or damaged ({error}): name another file") from error
    return Artifact(config, variables, trust, about["card"], str(which), hashlib.sha256(content).hexdigest()[:12])


def _flat(variables: Variables, trust: Trust) -> dict[str, np.ndarray]:
    leaves = jax.tree.leaves_with_path({"variables": variables, "trust": trust._asdict()})
    return {_name(path): np.asarray(leaf) for path, leaf in leaves}


def _shaped(config: ModelConfig, arrays: dict[str, np.ndarray]) -> tuple[Variables, Trust]:
    """The arrays in their places; ValueError where one is missing, too many, or of another shape."""
    variables = jax.eval_shape(lambda: model.init(config, jax.random.key(0)))
    like = {"variables": variables, "trust": dict.fromkeys(Trust._fields, 0)}
    paths, structure = jax.tree.flatten_with_path(like)
    names = [_name(path) for path, _ in paths]
    if set(names) != set(arrays):
        raise ValueError(f"its arrays are others than those of {config.network}")
    for name, (_, leaf) in zip(names, paths):
        fits = leaf is None or not isinstance(leaf, jax.ShapeDtypeStruct) or arrays[name].shape == leaf.shape
        if not fits or arrays[name].dtype != np.float32:
            raise ValueError(f"{name} is {arrays[name].dtype} of shape {arrays[name].shape}")
    found = jax.tree.unflatten(structure, [arrays[name] for name in names])
    return found["variables"], Trust(**found["trust"])


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
