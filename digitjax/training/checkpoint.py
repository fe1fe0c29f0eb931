"""A run's folder on disk: config, history, last state and best weights. The only file that knows Orbax."""

import contextlib
import hashlib
import json
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from digitjax.base import config as configs
from digitjax.base.config import Config
from digitjax.base.disk import claim, write_text
from digitjax.base.errors import DigitjaxError, UsageError, first_line
from digitjax.network import model
from digitjax.network.model import Variables

History = Sequence[Mapping[str, float | int]]
"""One row of figures an epoch, from the first."""
Progress = Literal["new", "unfinished", "finished"]

_CONFIG, _HISTORY, _FIGURES, _CHECKPOINTS = "config.json", "metrics.jsonl", "metrics.json", "checkpoints"
_OURS = (_CONFIG, _HISTORY, _FIGURES, "metrics.txt", "provenance.json", "report.html", "model.npz")


class Last(NamedTuple):
    """Where an unfinished run stands."""

    state: Any
    history: History


def standing(run: Path, config: Config) -> Progress:
    """How far the training of `config` in the folder `run` is; looks, and writes nothing.

    Raises:
      UsageError: the folder holds another config, or files that are no run, or is a file.
    """
    if run.exists() and not run.is_dir():
        raise UsageError(f"{run} is a file: name a folder with --run-dir")
    if not (run / _CONFIG).exists():
        if run.is_dir() and any(not file.name.startswith(".") for file in run.iterdir()):
            raise UsageError(f"{run} holds files but no {_CONFIG}: name another folder with --run-dir, or add --fresh")
        return "new"
    stored = read_config(run)
    if stored != config:
        changed = _difference(configs.to_json(stored), configs.to_json(config))
        raise UsageError(f"{run} holds a run of another config ({changed}): name another --run-dir, or add --fresh")
    return "finished" if (run / _FIGURES).exists() else "unfinished"


@contextlib.contextmanager
def open_run(run: Path, config: Config, fresh: bool = False) -> Iterator[Progress]:
    """Claims the folder `run` for this process and says how far it is; `fresh` clears away an earlier run first.

    Raises:
      UsageError: as for `standing`.
      DigitjaxError: another process trains there, or it cannot be written.
    """
    with claim(run, "--run-dir"):
        if fresh:
            _clear(run)
        progress = standing(run, config) if not fresh else "new"
        if progress == "new":
            write_text(run / _CONFIG, configs.to_json(config))
        yield progress


def _difference(stored: str, wanted: str) -> str:
    pairs = zip(_flat(json.loads(stored)), _flat(json.loads(wanted)))
    changed = [f"{name} {old} there, {new} here" for (name, old), (_, new) in pairs if old != new]
    return "; ".join(changed[:3]) + ("; ..." if len(changed) > 3 else "")


def _flat(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        yield from _flat(value) if isinstance(value, dict) else [(name, value)]


def _clear(run: Path) -> None:
    """Removes what a run writes and nothing else: the folder may be somebody's home."""
    shutil.rmtree(run / _CHECKPOINTS, ignore_errors=True)
    for file in [*(run / name for name in _OURS), *(run / f"{name}.png" for name in PICTURES)]:
        file.unlink(missing_ok=True)


PICTURES = ("accuracy_plot", "loss_plot", "sample_predictions", "misclassified", "augmentation", "confusion_matrix")


def read_config(run: Path) -> Config:
    """The config of a run.

    Raises:
      DigitjaxError: the folder is no run, or its config cannot be read.
    """
    file = run / _CONFIG
    try:
        return configs.from_json(file.read_text())
    except FileNotFoundError as error:
        raise DigitjaxError(f"no run in {run}: train one with 'digitjax train --run-dir {run}'") from error
    except (OSError, UnicodeDecodeError, UsageError) as error:
        raise DigitjaxError(f"{file} cannot be read: {error}: start over with --fresh") from error


def data_checksum(run: Path) -> str:
    """The checksum of the data that a finished run was trained on; '' where it is not known."""
    try:
        return json.loads((run / "provenance.json").read_text())["data_checksum"]
    except (OSError, ValueError, KeyError):
        return ""


def save_last(run: Path, state: Any, history: History) -> None:
    """Keeps the state after the last epoch of `history`, and drops the one before only once that is done."""
    if not (run / _CONFIG).exists():
        raise DigitjaxError(f"{run} is gone or was emptied while it was trained in: train again, and leave it alone")
    with _manager(run, "last") as manager:
        epochs = [dict(row) for row in history]
        known = {"epochs": epochs, "checksums": _checksums(state, epochs)}
        parts = ocp.args.Composite(state=ocp.args.StandardSave(_plain(state)), history=ocp.args.JsonSave(known))
        _writing(run, lambda: manager.save(len(history), args=parts, force=True))
    write_text(run / _HISTORY, "".join(json.dumps(dict(row)) + "\n" for row in history))


def save_best(run: Path, variables: Variables, epoch: int) -> None:
    """Keeps the best weights so far, those after `epoch`, in place of the ones before."""
    with _manager(run, "best") as manager:
        # An epoch may be trained again after a kill between its two saves: its weights are the same.
        if epoch not in manager.all_steps():
            parts = ocp.args.Composite(
                weights=ocp.args.StandardSave(_plain(variables)),
                known=ocp.args.JsonSave({"checksums": _checksums(variables)}),
            )
            _writing(run, lambda: manager.save(epoch, args=parts, force=True))


def restore_last(run: Path, like: Any) -> Last | None:
    """The last state, as NumPy arrays, or None where no epoch was finished.

    Args:
      like: a state of the same structure, shapes and dtypes (arrays or `jax.ShapeDtypeStruct`).
    """
    with _manager(run, "last") as manager:
        epoch = manager.latest_step()
        if epoch is None:
            return None
        parts = ocp.args.Composite(state=ocp.args.StandardRestore(_blank(like)), history=ocp.args.JsonRestore())
        found = _reading(run, lambda: manager.restore(epoch, args=parts))
        state = _reading(run, lambda: _fitting(found.state, like))
        known, epochs = (_reading(run, lambda part=part: found.history[part]) for part in ("checksums", "epochs"))
        if damaged := _damaged(known, state, epochs):
            other = "start over with --fresh"
            with contextlib.suppress(DigitjaxError):
                restore_best(run)
                other = f"its best weights are whole: learn on from them with --from {run} --run-dir ANOTHER"
            raise DigitjaxError(f"the last checkpoint in {run} is damaged ({damaged} is not what was saved): {other}")
        return Last(state, epochs)


def restore_best(run: Path) -> Variables:
    """The best weights of a run.

    Raises:
      DigitjaxError: there are none, or they cannot be read.
    """
    config = read_config(run)
    like = jax.eval_shape(lambda: model.init(config.model, jax.random.key(0)))
    with _manager(run, "best") as manager:
        epoch = manager.latest_step()
        if epoch is None:
            raise DigitjaxError(f"no checkpoint in {run}: finish an epoch with 'digitjax train --run-dir {run}'")
        parts = ocp.args.Composite(weights=ocp.args.StandardRestore(_blank(like)), known=ocp.args.JsonRestore())
        found = _reading(run, lambda: manager.restore(epoch, args=parts))
        weights = _reading(run, lambda: _fitting(found.weights, like))
        if damaged := _damaged(_reading(run, lambda: found.known["checksums"]), weights):
            cause = f"{damaged} is not what was saved"
            raise DigitjaxError(f"the best checkpoint in {run} is damaged ({cause}): start over with --fresh")
        return jax.device_put(weights)


@contextlib.contextmanager
def _manager(run: Path, kind: str) -> Iterator[Any]:
    # The first of several processes alone knows the folder, and waits for no other.
    alone = ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0}, barrier_sync_key_prefix=kind)
    options = ocp.CheckpointManagerOptions(
        max_to_keep=1, enable_async_checkpointing=False, create=False, multiprocessing_options=alone
    )
    folder = (run / _CHECKPOINTS / kind).absolute()
    with _shielded():
        _writing(run, lambda: folder.mkdir(parents=True, exist_ok=True))
        manager = _reading(run, lambda: ocp.CheckpointManager(folder, options=options))
        try:
            yield manager
        finally:
            manager.close()


def _plain(tree: Any) -> Any:
    """Numbers alone, without the devices that they lie on: a checkpoint is restored on any others."""
    return jax.tree.map(np.asarray, tree)


def _blank(like: Any) -> Any:
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like)


def _fitting(found: Any, like: Any) -> Any:
    """What was read, if it is of the shapes of `like`: another model's checkpoint may have the same tree."""
    for (path, leaf), wanted in zip(jax.tree.leaves_with_path(found), jax.tree.leaves(like)):
        if np.shape(leaf) != wanted.shape:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            raise ValueError(f"it is of another model: {name} has the shape {np.shape(leaf)}, not {wanted.shape}")
    return found


def _checksums(tree: Any, history: History = ()) -> dict[str, str]:
    """Of every leaf, its type included: Orbax keeps none, and casts what it reads to the type that is asked for."""

    def checksum(leaf: Any) -> str:
        array = np.ascontiguousarray(leaf)
        return _digest(f"{array.dtype} {array.shape}".encode() + array.tobytes())

    leaves = jax.tree.leaves_with_path(tree)
    known = {jax.tree_util.keystr(path, simple=True, separator="/"): checksum(leaf) for path, leaf in leaves}
    return known | {"history": _digest(json.dumps(history).encode())}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def _damaged(known: Mapping[str, str], tree: Any, history: History = ()) -> str:
    """The first leaf that is not what was saved; '' where all are."""
    return next((name for name, found in _checksums(tree, history).items() if known.get(name) != found), "")


@contextlib.contextmanager
def _shielded() -> Iterator[None]:
    """Lets a Ctrl-C wait: Orbax would turn it into an error of its own, and a whole checkpoint is worth the moment."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed = []
    before = signal.signal(signal.SIGINT, lambda *_: pressed.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt


def _writing(run: Path, write: Callable[[], Any]) -> Any:
    try:
        return write()
    except Exception as error:  # Orbax and TensorStore raise many kinds, with pages of text.
        cause = first_line(error)
        raise DigitjaxError(f"no checkpoint could be written to {run} ({cause}): free space, then run again") from error


def _reading(run: Path, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except Exception as error:
        cause = first_line(error)
        raise DigitjaxError(f"the checkpoint in {run} cannot be read ({cause}): start over with --fresh") from error
