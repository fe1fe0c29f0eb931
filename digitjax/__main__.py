"""The command line: the only file that prints. Answers go to stdout, progress and errors to stderr."""

import contextlib
import dataclasses
import io
import json
import logging
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from digitjax import hosts, mesh
from digitjax.config import NETWORKS, RECIPES, Config, named
from digitjax.errors import DigitjaxError, UsageError

DONE, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130
SHOWN = 40
"""Pictures on a sheet of `predict --show`: the first ones."""


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
    csv: Path | None = None
    """Write the texts to this new file."""
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
    """A run folder, a model file, or pretrained."""


@dataclass(frozen=True)
class Summary(Common):
    """Layers, shapes, parameters and FLOPs of a network."""

    network: str = "default"
    """Its name."""


@dataclass(frozen=True)
class Data(Common):
    """Which data are here, where, and how to get the others."""


@dataclass(frozen=True)
class Doctor(Common):
    """Devices, versions, and what to install for a GPU."""


def run_train(args: Train) -> int:
    from digitjax import artifact, checkpoint, config, data, fit, report

    settings, run, first = args.config, args.run_dir, True
    if args.distributed:
        hosts.join(args.coordinator, args.process_id, args.num_processes, args.join_timeout)
        first = hosts.is_first()
    elif args.coordinator or (args.process_id, args.num_processes) != (None, None):
        raise UsageError("--coordinator, --process-id and --num-processes belong to --distributed: add it")
    finished = first and not args.fresh and checkpoint.standing(run, settings) == "finished"
    if hosts.agree(finished) if args.distributed else finished:
        if not first:
            return DONE
        _tell(f"{run} holds this run, finished: nothing to do (--fresh starts over)")
        figures = json.loads((run / "metrics.json").read_text())
        return _answer(args, figures, _result(figures, run))
    splits = data.load(settings.data, settings.validation_share)
    if args.distributed:
        hosts.require_same("options or data", config.to_json(settings) + splits.checksum)
    fit.sharing(settings.batch_size)  # before anything is written
    initial = artifact.read(settings.initial).variables if settings.initial else None
    if not first:
        fit.fit(settings, splits, initial=initial)
        return DONE
    if splits.note:
        _tell(splits.note)
    sizes = " / ".join(f"{len(part.labels):,}" for part in (splits.train, splits.validation, splits.test))
    _tell(f"data {splits.name}: {sizes} for training / validation / test")
    with checkpoint.open_run(run, settings, args.fresh) as progress:
        if progress == "unfinished":
            _tell(f"resuming the run in {run}")
        with _progress(settings, fit.examples(settings, splits)) as (track, on_epoch):
            trained = fit.fit(settings, splits, run, on_epoch, track, initial)
        figures = report.finish(run, settings, splits, trained)
    return _answer(args, figures, _result(figures, run))


def _result(figures: Mapping[str, Any], run: Path) -> str:
    low, high = figures["accuracy_interval"]
    return (
        f"accuracy {figures['accuracy']:.4f} ({low:.4f} to {high:.4f}) on {figures['data']}, "
        f"{figures['examples']:,} digits\n"
        f"best epoch {figures['best_epoch']} of {figures['epochs']}, {figures['training_seconds']:.1f} s of training, "
        f"{figures['parameters']:,} parameters\n"
        f"figures and pictures are in {run}"
    )


def run_evaluate(args: Evaluate) -> int:
    from digitjax import artifact, data, report

    found = artifact.read(args.model or ("outputs" if (Path("outputs") / artifact.MODEL).exists() else "pretrained"))
    if not args.model:
        _tell(f"model {found.name}")
    learnt = found.card["config"]
    splits = data.load(args.data or learnt["data"], learnt["validation_share"] if not args.data else 0.0)
    if splits.note:
        _tell(splits.note)
    whole = args.data and not splits.official
    part = "all of it" if whole else "test" if splits.official else "held-back part (not an official test set)"
    name = f"{splits.name}, {part}"
    if whole and splits.checksum == found.card["provenance"]["data_checksum"]:
        name += ", which holds what this model was trained on"
    figures = report.evaluation(found, splits.everything() if whole else splits.test, name)
    return _answer(args, figures, report.as_text(figures))


def run_predict(args: Predict) -> int:
    from digitjax import files, predict

    if args.out:
        return _predict_in_parts(args, args.out)
    if args.engine != "local" or args.address or args.format != "jsonl":
        raise UsageError("--engine, --address and --format belong to --out: name a folder for the answers with it")
    _require_new(args.csv, args.show)
    named_files = files.named(args.files)
    answers = files.predict(predict.load(args.model), named_files)
    documents = [answer.document() for answer in answers]
    if args.csv:
        files.write_csv(args.csv, documents)
    if args.show:
        from digitjax import plots
        from digitjax.pixels import read_picture

        shown = [
            (file.name, read_picture(file), prediction, seen)
            for file, prediction, seen, _ in answers[:SHOWN]
            if prediction and seen is not None
        ]
        plots.save(plots.predictions(shown), args.show)
    lines = []
    for file, prediction, _, error in answers:
        if prediction:
            lines.append(f"{file}: {prediction.digit}  {100 * prediction.confidence:.1f} %  {prediction.verdict}")
        else:
            _tell(f"digitjax: {file}: {error}")
    _answer(args, {"predictions": documents}, "\n".join(lines))
    return DONE if len(lines) == len(answers) else FAILED


def _predict_in_parts(args: Predict, out: Path) -> int:
    from digitjax import artifact, bulk, predict, streams

    if args.csv or args.show:
        raise UsageError("--csv and --show hold all answers at once: leave them out, or leave out --out")
    if args.address and args.engine != "ray":
        raise UsageError("--address is that of a Ray cluster: add --engine ray")
    found, inputs = artifact.read(args.model), streams.sources(args.files)
    if args.engine == "ray":
        engine = partial(bulk.on_ray, found, inputs, args.format, args.address)
    else:
        engine = partial(bulk.here, predict.of(found), inputs, args.format)
    started = told = time.perf_counter()
    pictures = 0
    for part in bulk.write(out, inputs, found.checksum, args.format, engine):
        pictures += part.stop - part.start
        now = time.perf_counter()
        if now - told > 10:
            told = now
            _tell(f"{pictures:,} pictures answered, {pictures / (now - started):,.0f} a second")
    document = bulk.summary(out)
    line = "{pictures:,} pictures, {bad:,} of them bad, in {parts:,} parts in {out}"
    _answer(args, document, line.format(**document))
    return FAILED if document["bad"] else DONE


def run_read(args: Read) -> int:
    from digitjax import files, predict

    _require_new(args.csv, args.show)
    pages = files.read_all(predict.load(args.model), files.named(args.files))
    documents = [page.document(args.mark_unsure) for page in pages]
    if args.csv:
        files.write_csv(args.csv, documents)
    if args.show:
        from digitjax import plots
        from digitjax.pixels import read_picture

        shown = [(file.name, read_picture(file), found.lines) for file, found, _ in pages[:SHOWN] if found]
        plots.save(plots.readings(shown), args.show)
    lines = []
    for document in documents:
        if "error" in document:
            _tell(f"digitjax: {document['file']}: {document['error']}")
        else:
            lines += [f"{document['file']}: {line}" for line in document["text"].split("\n")]
    _answer(args, {"pictures": documents}, "\n".join(lines))
    return FAILED if any("error" in document for document in documents) else DONE


def run_explain(args: Explain) -> int:
    from digitjax import explain, files, predict, review

    predictor = predict.load(args.model)
    methods, documents, failed = args.method or tuple(explain.METHODS), [], False
    for number, answer in enumerate(files.predict(predictor, files.named(args.files))):
        if answer.prediction is None:
            _tell(f"digitjax: {answer.file}: {answer.error}")
            documents.append(answer.document())
            failed = True
            continue
        target = args.out / f"{number:04d}-{answer.file.stem}.png"
        documents.append(review.explained(predictor, answer, methods, args.digit, args.layer, target))
    told = [
        f"{row['file']}: {row['sheet']}"
        + "".join(f"; {name} finds nothing for {row['digit']}" for name in row["empty"])
        for row in documents
        if "sheet" in row
    ]
    _answer(args, {"explanations": documents}, "\n".join(told))
    return FAILED if failed else DONE


def run_report(args: Report) -> int:
    from digitjax import checkpoint, page, review

    found = review.review(args.run)
    checkpoint.write_text(args.run / "report.html", page.html(found))
    checkpoint.write_text(args.run / "model_card.md", page.model_card(found.figures))
    return _answer(args, found.figures, f"{args.run / 'report.html'}\n{args.run / 'model_card.md'}")


def run_compare(args: Compare) -> int:
    from digitjax import artifact, data, page, review

    first, second = artifact.read(args.first), artifact.read(args.second)
    learnt = first.card["config"]
    splits = data.load(args.data or learnt["data"], learnt["validation_share"] if not args.data else 0.0)
    kind = "test" if splits.official else "held-back part (not an official test set)"
    if not splits.official and second.card["provenance"]["data_checksum"] != splits.checksum:
        _tell(f"{second.name} was trained on other data, which may hold these digits")
    found = review.compare(first, second, splits.test, f"{splits.name}, {kind}")
    return _answer(args, found, page.comparison(found))


def _require_new(*outputs: Path | None) -> None:
    for file in outputs:
        if file and file.exists():
            raise UsageError(f"{file} is there already: name a new file, or remove it")


def run_export(args: Export) -> int:
    from digitjax import artifact, export

    out = args.out or Path(f"model.{args.format}")
    _require_new(out)
    found = artifact.read(args.model)
    export.write(found, args.format, out)
    document = {"file": str(out), "format": args.format, "bytes": out.stat().st_size, "model": found.checksum}
    return _answer(args, document, f"{out}: {found.name} as {args.format}, {document['bytes']:,} bytes")


def run_summary(args: Summary) -> int:
    from digitjax import model

    layers = model.summary(named("network", args.network, NETWORKS))
    parameters, flops = sum(layer.parameters for layer in layers), sum(layer.flops for layer in layers)
    lines = [f"{'layer':<16}{'shape':<14}{'parameters':>10}{'FLOPs an image':>18}"]
    for layer in (*layers, model.Layer("all", (), parameters, flops)):
        shape = "x".join(map(str, layer.shape))
        lines.append(f"{layer.name:<16}{shape:<14}{layer.parameters:>10,}{layer.flops:>18,}")
    rows = [layer._asdict() for layer in layers]
    document = {"network": args.network, "parameters": parameters, "flops": flops, "layers": rows}
    return _answer(args, document, "\n".join(lines))


def run_data(args: Data) -> int:
    from digitjax import data

    rows = [row._asdict() for row in data.inventory()]
    lines = [f"{row['name']:<15}{row['state']:<14}{row['where']}" for row in rows]
    return _answer(args, {"data": rows}, "\n".join(lines))


def run_doctor(args: Doctor) -> int:
    found = mesh.describe()
    lines = [f"{name:<22}{value}" for name, value in found["versions"].items()]
    lines += [f"{'device':<22}{device}" for device in found["devices"]]
    lines += [f"{name:<22}{found[name]}" for name in ("cores", "cache")]
    return _answer(args, found, "\n".join([*lines, found["advice"]]))


COMMANDS: Mapping[str, tuple[type[Common], Callable[[Any], int]]] = {
    "train": (Train, run_train),
    "evaluate": (Evaluate, run_evaluate),
    "predict": (Predict, run_predict),
    "read": (Read, run_read),
    "explain": (Explain, run_explain),
    "report": (Report, run_report),
    "compare": (Compare, run_compare),
    "export": (Export, run_export),
    "summary": (Summary, run_summary),
    "data": (Data, run_data),
    "doctor": (Doctor, run_doctor),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status: 0 done, 1 failed, 2 wrong use, 130 interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if not words or words[0] in ("-h", "--help"):
            print(_overview())
            return DONE if words else MISUSED
        kind, run = named("command", words[0], COMMANDS)
        args = _parse(kind, words[0], words[1:])
        if kind is Train and args.distributed and not hosts.is_watched():
            return hosts.watch(words, args.coordinator, args.join_timeout, _tell)
        if not args.debug:
            # Orbax logs a traceback of each error that it also raises.
            logging.getLogger("absl").setLevel(logging.CRITICAL)
        if told := mesh.prepare(training=kind is Train):
            _tell(told)
        return run(args)
    except (Exception, KeyboardInterrupt) as error:
        if hosts.is_watched():
            if "--debug" in words:
                traceback.print_exception(error)
            # At once: JAX's farewell would wait for the others, who wait for this process.
            os._exit(_explain(hosts.lost() if hosts.is_loss(error) else error))
        if "--debug" in words:
            raise
        return _explain(error)


def _explain(error: BaseException) -> int:
    """Says an error in a line, and gives the exit status that it means."""
    chain = [error]
    while following := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(following)
    # Compiled code that a Ctrl-C hits may raise an error of its own in its place.
    if any(isinstance(link, KeyboardInterrupt) for link in chain):
        _tell("interrupted: what was finished is kept; the same command goes on from there")
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        # Whoever read our answer has gone: nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    if isinstance(error, DigitjaxError):
        _tell(f"digitjax: {error}")
        return MISUSED if isinstance(error, UsageError) else FAILED
    _tell(f"digitjax: {type(error).__name__}: {error}: this is not foreseen; --debug shows where it comes from")
    return FAILED


def _overview() -> str:
    lines = [f"  {name:<10} {(kind.__doc__ or '').splitlines()[0]}" for name, (kind, _) in COMMANDS.items()]
    return "\n".join(
        ["usage: digitjax COMMAND [OPTIONS]", "", *lines, "", "digitjax COMMAND --help lists its options."]
    )


def _parse(kind: type[Common], command: str, words: Sequence[str]) -> Any:
    import tyro

    defaults: dict[str, Any] = {}
    if kind is Train:
        start, network = _value_of("--from", words) or "", _value_of("--network", words)
        recipe = _value_of("--recipe", words) or ("finetune" if start else Config.recipe)
        config = dataclasses.replace(named("recipe", recipe, RECIPES), initial=start)
        if start:
            from digitjax import artifact

            config = dataclasses.replace(config, model=artifact.read(start).config)
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


@contextlib.contextmanager
def _progress(config: Config, examples: int) -> Iterator[tuple[Any, Any]]:
    """A bar with images/s and the remaining time on a terminal; a line an epoch elsewhere."""
    if not sys.stderr.isatty():
        yield iter, lambda row: _tell(_epoch_line(row, config.epochs))
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("epoch {task.fields[epoch]}/" + str(config.epochs)),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[rate]:,.0f} images/s"),
        TimeRemainingColumn(),
    )
    steps = -(-examples // config.batch_size) * config.epochs
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("training", total=steps, epoch=1, rate=0.0)

        def track(batches: Iterable[Any]) -> Iterator[Any]:
            started, images = time.perf_counter(), 0
            for batch in batches:
                yield batch
                images += batch.size
                rate = images / (time.perf_counter() - started)
                progress.update(task, advance=len(batch) if batch.ndim == 2 else 1, rate=rate)

        def on_epoch(row: Mapping[str, float | int]) -> None:
            progress.console.print(_epoch_line(row, config.epochs), highlight=False)
            progress.update(
                task, completed=row["epoch"] * steps / config.epochs, epoch=min(row["epoch"] + 1, config.epochs)
            )

        yield track, on_epoch


def _epoch_line(row: Mapping[str, float | int], epochs: int) -> str:
    return (
        f"epoch {row['epoch']}/{epochs}: validation accuracy {row['validation_accuracy']:.4f}, "
        f"loss {row['validation_loss']:.4f}, {row['images_per_second']:,.0f} images/s, {row['seconds']:.1f} s"
    )


def _answer(args: Common, document: Mapping[str, Any], text: str) -> int:
    print(json.dumps(document) if args.json else text)
    return DONE


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
