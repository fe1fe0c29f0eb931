"""Runs where other tools look for them: TensorBoard's event files and MLflow's store, by their own writers."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from digitjax.base.config import Config
from digitjax.base.disk import write_text
from digitjax.base.errors import DigitjaxError

Kind = Literal["tensorboard", "mlflow"]
Row = Mapping[str, float | int]


@runtime_checkable
class Logger(Protocol):
    def epoch(self, row: Row) -> None:
        """Notes a row of metrics.jsonl."""
        ...

    def finish(self, figures: Mapping[str, Any], pictures: Sequence[Path]) -> None:
        """Notes what the finished run is worth, and its pictures."""
        ...


def opened(kind: Kind, run: Path, config: Config) -> Logger:
    """A logger of a run, which goes on where an interrupted one of the same folder stopped.

    Raises:
      DigitjaxError: its package is missing.
    """
    try:
        return _TensorBoard(run, config) if kind == "tensorboard" else _MLflow(run, config)
    except ModuleNotFoundError as error:
        raise DigitjaxError(f"the package {error.name} is missing: pip install 'digitjax[logs]'") from error


def _flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{name}.") if isinstance(value, dict) else {above + name: value}
    return flat


def _scalars(figures: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in figures.items() if isinstance(value, int | float)}


class _TensorBoard:
    """Scalars an epoch, pictures and config in RUN/tensorboard."""

    def __init__(self, run: Path, config: Config):
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(str(run / "tensorboard"))
        table = [f"| {name} | {value} |" for name, value in _flat(dataclasses.asdict(config)).items()]
        self._writer.add_text("config", "\n".join(["| field | value |", "|---|---|", *table]))

    def epoch(self, row: Row) -> None:
        for name, value in row.items():
            self._writer.add_scalar(name, value, int(row["epoch"]))
        self._writer.flush()

    def finish(self, figures: Mapping[str, Any], pictures: Sequence[Path]) -> None:
        import numpy as np
        from PIL import Image

        for name, value in _scalars(figures).items():
            self._writer.add_scalar(f"test/{name}", value, int(figures["epochs"]))
        for file in pictures:
            with Image.open(file) as picture:
                self._writer.add_image(file.stem, np.asarray(picture.convert("RGB")), dataformats="HWC")
        self._writer.close()


class _MLflow:
    """A run of the experiment `digitjax`, where MLFLOW_TRACKING_URI says, or in ./mlflow.db; mlflow.txt has its id."""

    def __init__(self, run: Path, config: Config):
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        own = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path('mlflow.db').absolute()}"
        self._client, self._metric = MlflowClient(own), Metric
        known = run / "mlflow.txt"
        if known.exists():
            self._id = known.read_text().strip()
            return
        found = self._client.get_experiment_by_name("digitjax")
        experiment = found.experiment_id if found else self._client.create_experiment("digitjax")
        self._id = self._client.create_run(experiment, run_name=run.name).info.run_id
        fields = _flat(dataclasses.asdict(config)).items()
        self._client.log_batch(self._id, params=[Param(name, str(value)) for name, value in fields])
        write_text(known, self._id + "\n")

    def _log(self, values: Mapping[str, float], step: int) -> None:
        from time import time

        now = int(1000 * time())
        self._client.log_batch(self._id, metrics=[self._metric(*pair, now, step) for pair in values.items()])

    def epoch(self, row: Row) -> None:
        self._log(_scalars(row), int(row["epoch"]))

    def finish(self, figures: Mapping[str, Any], pictures: Sequence[Path]) -> None:
        self._log({f"test_{name}": value for name, value in _scalars(figures).items()}, int(figures["epochs"]))
        for file in pictures:
            self._client.log_artifact(self._id, str(file))
        self._client.set_terminated(self._id)
