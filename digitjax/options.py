"""What the commands take: an option a field, its text for --help below it. The only file that knows tyro."""

import contextlib
import dataclasses
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from digitjax.base import device
from digitjax.base.config import NETWORKS, Config, named, recipe_for
from digitjax.base.errors import UsageError


@dataclass(frozen=True)
class Common:
    json: bool = False
    """Print one JSON document on stdout and nothing else."""
    debug: bool = False
    """Show the traceback of an error."""


@dataclass(frozen=True)
class Train(Common):
    """Train a network; run again to resume. Every field of the config is an option; --recipe and --network set many."""

    run_dir: Path = Path("outputs")
    """Folder of the run."""
    fresh: bool = False
    """Start over, whatever the folder holds of an earlier run."""
    log: tuple[Literal["tensorboard", "mlflow"], ...] = ()
    """Write the run for these tools, too: pip install 'digitjax[logs]'."""
    distributed: bool = False
    """Train together with other processes, each started with this command; Slurm, MPI and Kubernetes say who is who."""
    coordinator: str = ""
    """HOST:PORT of process 0, where nobody else says it."""
    process_id: int | None = None
    """The number of this process, from 0; process 0 alone writes the run folder."""
    num_processes: int | None = None
    """How many processes take part."""
    join_timeout: int = 120
    """Seconds in which all processes must be there."""
    config: Config = field(default_factory=Config)


@dataclass(frozen=True)
class Evaluate(Common):
    """Score a trained model on its test part, or on other data."""

    model: str = ""
    """A run folder, a model file, or pretrained; the run in outputs if not given, or else pretrained."""
    data: str = ""
    """Data to score, as for train; the test part of the data that the run was trained on if not given."""
    canonical: bool = False
    """Bring each of them into MNIST's form first, as happens to every picture that is uploaded."""


@dataclass(frozen=True, kw_only=True)
class Predict(Common):
    """Read the digit in each picture; a folder or a pattern such as 'scans/*.png' stands for its pictures."""

    files: tuple[str, ...]
    """Pictures, folders of pictures, or patterns; with --out also .npz, IDX and Parquet files, or folders of them."""
    model: str = "pretrained"
    """A run folder, a model file, or pretrained."""
    csv: Path | None = None
    """Write the answers to this new file."""
    show: Path | None = None
    """Write a sheet to this new PNG: each picture, what the network saw of it, and the ten probabilities."""
    out: Path | None = None
    """Write the answers into this folder, part by part, for any number of pictures; run again to go on."""
    format: Literal["jsonl", "parquet"] = "jsonl"
    """Of the parts in --out."""
    engine: Literal["local", "ray"] = "local"
    """Where --out is worked on: here, or by Ray Data on a cluster."""
    address: str = ""
    """HOST:PORT of the Ray cluster; one of this machine alone if not given."""


@dataclass(frozen=True, kw_only=True)
class Read(Common):
    """Read all digits of each picture: a phone number, a postal code, an amount, one line or several."""

    files: tuple[str, ...]
    """Pictures, folders of pictures, or patterns."""
    model: str = "pretrained"
    """A run folder, a model file, or pretrained."""
    mark_unsure: bool = False
    """Write a question mark for a digit that the model is not sure of."""
    table: bool = False
    """Rows and columns: numbers above each other make a column, cells are parted by tabs, empty ones are empty."""
    csv: Path | None = None
    """Write the texts to this new file, or with --table the cells."""
    show: Path | None = None
    """Write a sheet to this new PNG: each picture, with a box around each digit and what it was read as."""


@dataclass(frozen=True, kw_only=True)
class Explain(Common):
    """Show where the network looks: a sheet a picture, with what the network saw and a heat map for each method."""

    files: tuple[str, ...]
    """Pictures, folders of pictures, or patterns."""
    out: Path = Path("explanations")
    """The folder for the sheets; it may be new."""
    model: str = "pretrained"
    """A run folder, a model file, or pretrained."""
    method: tuple[str, ...] = ()
    """gradcam, gradcam_plus_plus, hirescam, integrated_gradients, smoothgrad, saliency, occlusion; all if not given."""
    digit: int | None = None
    """The digit to explain; the predicted one if not given."""
    layer: int = -1
    """The convolution that the first three look at, from 0, or from the end; its feature maps are drawn too."""


@dataclass(frozen=True, kw_only=True)
class Report(Common):
    """Write what a finished run is worth into its folder: report.html, a page in itself, and model_card.md."""

    run: Path
    """The run's folder."""


@dataclass(frozen=True, kw_only=True)
class Compare(Common):
    """Tell whether one of two models reads the same digits better, or whether that is chance."""

    first: str
    """A run folder, a model file, or pretrained."""
    second: str
    """Another."""
    data: str = ""
    """Data whose test part to compare on, as for train; those of the first model if not given."""


@dataclass(frozen=True, kw_only=True)
class Export(Common):
    """Write a model for another runtime; what is exported as stablehlo can be given as --model."""

    format: Literal["stablehlo", "safetensors", "h5", "keras", "onnx"] = "stablehlo"
    """What to write; all but stablehlo need pip install 'digitjax[export]'."""
    out: Path | None = None
    """The new file; model.FORMAT if not given."""
    model: str = "pretrained"
    """A run folder, a model file, pretrained, or lines: the line network that ships."""


@dataclass(frozen=True)
class Summary(Common):
    """Layers, shapes, parameters and FLOPs of a network."""

    network: str = "default"
    """Its name."""


@dataclass(frozen=True)
class Serve(Common):
    """Answer over HTTP, with a page to draw on; the settings are environment variables, which --settings lists."""

    settings: bool = False
    """List the settings, and their defaults."""
    model: str = ""
    """A run folder, a model file, or pretrained, in place of DIGITJAX_MODEL."""
    port: int | None = None
    """The port to listen on, in place of DIGITJAX_PORT."""


@dataclass(frozen=True)
class Data(Common):
    """Which data are here, where, and how to get the others."""


@dataclass(frozen=True)
class Doctor(Common):
    """Devices, versions, and what to install for a GPU."""


def parse(kind: type[Common], command: str, words: Sequence[str]) -> Any:
    """The options that these words give; of a training those of its recipe, network and first weights come first.

    Raises:
      UsageError: a word that no option takes.
      SystemExit: help was asked for, and printed.
    """
    import tyro

    defaults: dict[str, Any] = {}
    if kind is Train:
        start, network = _value_of("--from", words) or "", _value_of("--network", words)
        recipe = _value_of("--recipe", words) or ("finetune" if start else Config.recipe)
        config = dataclasses.replace(recipe_for(recipe, device.may_have_gpu()), initial=start)
        if start:
            from digitjax.reading import artifact

            config = dataclasses.replace(config, model=artifact.weights(start)[0])
            words = [re.sub("^--from(?==|$)", "--initial", word) for word in words]
        if network is not None:
            config = dataclasses.replace(config, model=named("network", network, NETWORKS))
        defaults = {"default": Train(config=config)}
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            return tyro.cli(
                kind,
                prog=f"digitjax {command}",
                args=words,
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff, tyro.conf.PositionalRequiredArgs),
                **defaults,
            )
    except SystemExit as end:
        if not end.code:
            raise
        raise UsageError(_one_line(told.getvalue())) from end


def _value_of(option: str, words: Sequence[str]) -> str | None:
    for position, word in enumerate(words):
        if word == option and position + 1 < len(words):
            return words[position + 1]
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
    return None


def _one_line(box: str) -> str:
    """The substance of one of tyro's boxes."""
    lines = [line.strip("│╭╮╰╯─ ") for line in box.splitlines()[1:]]
    text = " ".join(line for line in lines if line)
    return re.sub(r"\s+", " ", re.sub(r"For full helptext.*|Argument helptext:.*", "", text)).strip()
