"""The command line: what each command does; `terminal` says it."""

import json
import logging
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import digitjax
from digitjax import options, terminal
from digitjax.base import device, hosts
from digitjax.base.config import NETWORKS, named
from digitjax.base.errors import DigitjaxError, UsageError

DONE, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130
SHOWN = 40
"""Pictures on a sheet of `predict --show`: the first ones."""


def run_train(args: options.Train) -> int:
    from digitjax.training import checkpoint

    settings, run, first = args.config, args.run_dir, True
    if args.distributed:
        hosts.join(args.coordinator, args.process_id, args.num_processes, args.join_timeout)
        first = hosts.is_first()
    elif args.coordinator or (args.process_id, args.num_processes) != (None, None):
        raise UsageError("--coordinator, --process-id and --num-processes belong to --distributed: add it")
    finished = first and not args.fresh and checkpoint.standing(run, settings) == "finished"
    if not (hosts.agree(finished) if args.distributed else finished):
        return _train(args, first)
    if first:
        terminal.log(f"{run} holds this run, finished: nothing to do (--fresh starts over)")
        figures = json.loads((run / "metrics.json").read_text())
        terminal.answer(args, figures, _result(figures, run))
    return DONE


def _train(args: options.Train, first: bool) -> int:
    """Trains what is not finished; the first of several processes alone reports and writes."""
    from digitjax.base import config
    from digitjax.reading import artifact, upright
    from digitjax.report import loggers, results
    from digitjax.training import checkpoint, fit, train

    settings, run = args.config, args.run_dir
    splits = upright.load(settings.data, settings.validation_share)
    if args.distributed:
        hosts.require_same("options or data", config.to_json(settings) + splits.checksum)
    fit.sharing(settings.batch_size)  # before anything is written
    initial = artifact.weights(settings.initial)[1] if settings.initial else None
    if not first:
        fit.fit(settings, splits, initial=initial)
        return DONE
    if splits.note:
        terminal.log(splits.note)
    sizes = " / ".join(f"{len(part.labels):,}" for part in (splits.train, splits.validation, splits.test))
    terminal.log(f"recipe {settings.recipe}, convolutions in {train.precision(settings)}")
    terminal.log(f"data {splits.name}: {sizes} for training / validation / test")
    with checkpoint.open_run(run, settings, args.fresh) as progress:
        if progress == "unfinished":
            terminal.log(f"resuming the run in {run}")
        logs = [loggers.opened(kind, run, settings) for kind in args.log]
        with terminal.progress(settings, fit.examples(settings, splits)) as (track, show):

            def on_epoch(row: Mapping[str, float | int]) -> None:
                show(row)
                for log in logs:
                    log.epoch(row)

            trained = fit.fit(settings, splits, run, on_epoch, track, initial)
        terminal.log("scoring the test part and drawing the pictures")
        figures = results.finish(run, settings, splits, trained)
        for log in logs:
            log.finish(figures, [run / f"{name}.png" for name in checkpoint.PICTURES])
    return terminal.answer(args, figures, _result(figures, run))


def _result(figures: Mapping[str, Any], run: Path) -> str:
    low, high = figures["accuracy_interval"]
    return (
        f"accuracy {figures['accuracy']:.4f} ({low:.4f} to {high:.4f}) on {figures['data']}, "
        f"{figures['examples']:,} digits\n"
        f"best epoch {figures['best_epoch']} of {figures['epochs']}, {figures['training_seconds']:.1f} s of training, "
        f"{figures['parameters']:,} parameters\n"
        f"figures and pictures are in {run}"
    )


def run_evaluate(args: options.Evaluate) -> int:
    from digitjax.reading import artifact, upright
    from digitjax.report import results

    found = artifact.read(args.model or ("outputs" if (Path("outputs") / artifact.MODEL).exists() else "pretrained"))
    if not args.model:
        terminal.log(f"model {found.name}")
    learnt = found.card["config"]
    if args.data:
        digits, note, name = upright.scored(args.data, found.card["provenance"]["data_checksum"])
    else:
        splits = upright.load(learnt["data"], learnt["validation_share"])
        digits, note = splits.test, splits.note
        name = f"{splits.name}, {'test' if splits.official else 'held-back part (not an official test set)'}"
    if note:
        terminal.log(note)
    how, name = (results.as_uploaded, f"{name}, canonical") if args.canonical else (results.evaluation, name)
    figures = how(found, digits, name)
    return terminal.answer(args, figures, results.as_text(figures))


def run_predict(args: options.Predict) -> int:
    from digitjax.data import inputs
    from digitjax.reading import files, predict

    if args.out:
        return _predict_in_parts(args, args.out)
    if args.engine != "local" or args.address or args.format != "jsonl":
        raise UsageError("--engine, --address and --format belong to --out: name a folder for the answers with it")
    _require_new(args.csv, args.show)
    named_files = inputs.named(args.files)
    left_out = terminal.tell_left_out(args.files)
    predictor = predict.load(args.model)
    answers = files.predict(predictor, named_files)
    documents = [answer.document() for answer in answers]
    if args.csv:
        files.write_csv(args.csv, documents)
    if args.show:
        from digitjax.picture.pixels import read_picture
        from digitjax.report import plots

        shown = [
            (file.name, read_picture(file), prediction, seen)
            for file, prediction, seen, _ in answers[:SHOWN]
            if prediction and seen is not None
        ]
        plots.save(plots.predictions(shown), args.show)
    lines = []
    for file, prediction, _, error in answers:
        if prediction:
            also = "  (several digits: 'digitjax read' reads them all)" if prediction.several else ""
            percent = f"{100 * prediction.confidence:.1f} %"
            lines.append(f"{terminal.plain(str(file))}: {prediction.digit}  {percent}  {prediction.verdict}{also}")
        else:
            terminal.log(f"digitjax: {file}: {error}")
    if any("error" not in document for document in documents):
        terminal.say_model(predictor.name, predictor.checksum)
    document = {"model": predictor.checksum, "predictions": documents, "left_out": left_out}
    terminal.answer(args, document, "\n".join(lines))
    return DONE if len(lines) == len(answers) else FAILED


def _predict_in_parts(args: options.Predict, out: Path) -> int:
    from digitjax.data import inputs
    from digitjax.reading import artifact, bulk, predict

    if args.csv or args.show:
        raise UsageError("--csv and --show hold all answers at once: leave them out, or leave out --out")
    if args.address and args.engine != "ray":
        raise UsageError("--address is that of a Ray cluster: add --engine ray")
    found, sources = artifact.read(args.model), inputs.inputs(args.files)
    terminal.say_model(found.name, found.checksum)
    if args.engine == "ray":
        engine = partial(bulk.on_ray, found, sources, args.format, args.address)
    else:
        engine = partial(bulk.here, predict.of(found), sources, args.format)
    started = told = time.perf_counter()
    pictures = 0
    for part in bulk.write(out, sources, found.checksum, args.format, engine):
        pictures += part.stop - part.start
        now = time.perf_counter()
        if now - told > 10:
            told = now
            terminal.log(f"{pictures:,} pictures answered, {pictures / (now - started):,.0f} a second")
    document = bulk.summary(out)
    line = "{pictures:,} pictures, {bad:,} of them bad, in {parts:,} parts in {out}"
    terminal.answer(args, document, line.format(**document))
    return FAILED if document["bad"] else DONE


def run_read(args: options.Read) -> int:
    from digitjax.data import inputs
    from digitjax.reading import files, predict

    _require_new(args.csv, args.show)
    left_out = terminal.tell_left_out(args.files)
    predictor = predict.load(args.model)
    pages = files.read_all(predictor, inputs.named(args.files))
    documents = [page.document(args.mark_unsure, args.table) for page in pages]
    if args.csv:
        files.write_csv(args.csv, documents)
    if args.show:
        from digitjax.picture.pixels import read_picture
        from digitjax.report import plots

        shown = [(file.name, read_picture(file), found.lines) for file, found, _ in pages[:SHOWN] if found]
        plots.save(plots.readings(shown), args.show)
    lines = []
    for document in documents:
        if "error" in document:
            terminal.log(f"digitjax: {document['file']}: {document['error']}")
        else:
            about = f"digitjax: {document['file']}"
            if "truncated" in document:
                terminal.log(f"{about}: there is more than is read of one picture: cut it in parts")
            if "turned" in document:
                terminal.log(f"{about}: it lies turned by {document['turned']} degrees, and was read so")
            told = ["\t".join(row) for row in document["table"]] if args.table else document["text"].split("\n")
            lines += [f"{terminal.plain(document['file'])}: {line}" for line in told]
    if any("error" not in document for document in documents):
        terminal.say_model(predictor.name, predictor.checksum)
    terminal.answer(args, {"model": predictor.checksum, "pictures": documents, "left_out": left_out}, "\n".join(lines))
    return FAILED if any("error" in document for document in documents) else DONE


def run_explain(args: options.Explain) -> int:
    from digitjax.data import inputs
    from digitjax.network import explain
    from digitjax.reading import files, predict
    from digitjax.report import review

    predictor = predict.load(args.model)
    methods, documents, failed = args.method or tuple(explain.METHODS), [], False
    for number, answer in enumerate(files.predict(predictor, inputs.named(args.files))):
        if answer.prediction is None:
            terminal.log(f"digitjax: {answer.file}: {answer.error}")
            documents.append(answer.document())
            failed = True
            continue
        target = args.out / f"{number:04d}-{answer.file.stem}.png"
        documents.append(review.explained(predictor, answer, methods, args.digit, args.layer, target))
    told = [
        f"{terminal.plain(row['file'])}: {terminal.plain(row['sheet'])}"
        + "".join(f"; {name} finds nothing for {row['digit']}" for name in row["empty"])
        for row in documents
        if "sheet" in row
    ]
    if any("error" not in document for document in documents):
        terminal.say_model(predictor.name, predictor.checksum)
    terminal.answer(args, {"model": predictor.checksum, "explanations": documents}, "\n".join(told))
    return FAILED if failed else DONE


def run_report(args: options.Report) -> int:
    from digitjax.base.disk import write_text
    from digitjax.report import page, review

    found = review.review(args.run)
    write_text(args.run / "report.html", page.html(found))
    write_text(args.run / "model_card.md", page.model_card(found.figures))
    return terminal.answer(args, found.figures, f"{args.run / 'report.html'}\n{args.run / 'model_card.md'}")


def run_compare(args: options.Compare) -> int:
    from digitjax.reading import artifact, upright
    from digitjax.report import page, review

    first, second = artifact.read(args.first), artifact.read(args.second)
    learnt = first.card["config"]
    splits = upright.load(args.data or learnt["data"], learnt["validation_share"] if not args.data else 0.0)
    kind = "test" if splits.official else "held-back part (not an official test set)"
    if not splits.official and second.card["provenance"]["data_checksum"] != splits.checksum:
        terminal.log(f"{second.name} was trained on other data, which may hold these digits")
    found = review.compare(first, second, splits.test, f"{splits.name}, {kind}")
    return terminal.answer(args, found, page.comparison(found))


def _require_new(*outputs: Path | None) -> None:
    for file in outputs:
        if file and file.exists():
            raise UsageError(f"{file} is there already: name a new file, or remove it")


def run_export(args: options.Export) -> int:
    from digitjax.reading import artifact, export

    out = args.out or Path(f"model.{args.format}")
    _require_new(out)
    if args.model == "lines":
        export.write_lines(args.format, out)
        document = {"file": str(out), "format": args.format, "bytes": out.stat().st_size}
        return terminal.answer(args, document, f"{out}: the line network as {args.format}, {document['bytes']:,} bytes")
    found = artifact.read(args.model)
    terminal.say_model(found.name, found.checksum)
    export.write(found, args.format, out)
    document = {"file": str(out), "format": args.format, "bytes": out.stat().st_size, "model": found.checksum}
    return terminal.answer(args, document, f"{out}: {found.name} as {args.format}, {document['bytes']:,} bytes")


def run_summary(args: options.Summary) -> int:
    from digitjax.network import model

    layers = model.summary(named("network", args.network, NETWORKS))
    parameters, flops = sum(layer.parameters for layer in layers), sum(layer.flops for layer in layers)
    lines = [f"{'layer':<16}{'shape':<14}{'parameters':>10}{'FLOPs an image':>18}"]
    for layer in (*layers, model.Layer("all", (), parameters, flops)):
        shape = "x".join(map(str, layer.shape))
        lines.append(f"{layer.name:<16}{shape:<14}{layer.parameters:>10,}{layer.flops:>18,}")
    rows = [layer._asdict() for layer in layers]
    document = {"network": args.network, "parameters": parameters, "flops": flops, "layers": rows}
    return terminal.answer(args, document, "\n".join(lines))


def run_serve(args: options.Serve) -> int:
    """Becomes the service, a program of its own: the library knows none. A user's serve.py here does not hide it."""
    given = {"DIGITJAX_MODEL": args.model, "DIGITJAX_PORT": "" if args.port is None else str(args.port)}
    os.environ.update({name: value for name, value in given.items() if value})
    os.execv(sys.executable, [sys.executable, "-P", "-m", "serve", *["--help"] * args.settings])


def run_data(args: options.Data) -> int:
    from digitjax.data import datasets

    rows = [row._asdict() for row in datasets.inventory()]
    lines = [f"{row['name']:<15}{row['state']:<14}{row['where']}" for row in rows]
    return terminal.answer(args, {"data": rows}, "\n".join(lines))


def run_doctor(args: options.Doctor) -> int:
    found = device.describe()
    lines = [f"{name:<22}{value}" for name, value in found["versions"].items()]
    lines += [f"{'device':<22}{device}" for device in found["devices"]]
    lines += [f"{name:<22}{found[name]}" for name in ("cores", "cache", "YNNPACK")]
    return terminal.answer(args, found, "\n".join([*lines, found["advice"]]))


COMMANDS: Mapping[str, tuple[type[options.Common], Callable[[Any], int]]] = {
    "train": (options.Train, run_train),
    "evaluate": (options.Evaluate, run_evaluate),
    "predict": (options.Predict, run_predict),
    "read": (options.Read, run_read),
    "explain": (options.Explain, run_explain),
    "report": (options.Report, run_report),
    "compare": (options.Compare, run_compare),
    "export": (options.Export, run_export),
    "summary": (options.Summary, run_summary),
    "serve": (options.Serve, run_serve),
    "data": (options.Data, run_data),
    "doctor": (options.Doctor, run_doctor),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status: 0 done, 1 failed, 2 wrong use, 130 interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    warnings.filterwarnings("ignore", module=r"PIL\.")  # what is wrong with a picture we say ourselves
    try:
        if words == ["--version"]:
            terminal.say(digitjax.__version__)
            return DONE
        if not words or words[0] in ("-h", "--help"):
            terminal.say(_overview())
            return DONE if words else MISUSED
        kind, run = named("command", words[0], COMMANDS)
        args = options.parse(kind, words[0], words[1:])
        if kind is options.Train and args.distributed and not hosts.is_watched():
            return hosts.watch(words, args.coordinator, args.join_timeout, terminal.log)
        if not args.debug:
            # Orbax logs a traceback of each error that it also raises.
            logging.getLogger("absl").setLevel(logging.CRITICAL)
        if told := device.prepare(training=kind is options.Train):
            terminal.log(told)
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
        terminal.log("interrupted: what was finished is kept; the same command goes on from there")
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        # Whoever read our answer has gone: nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    if isinstance(error, DigitjaxError):
        terminal.log(f"digitjax: {error}")
        return MISUSED if isinstance(error, UsageError) else FAILED
    if told := device.trouble(error):
        terminal.log(f"digitjax: {told}")
        return FAILED
    terminal.log(f"digitjax: {type(error).__name__}: {error}: this is not foreseen; --debug shows where it comes from")
    return FAILED


def _overview() -> str:
    lines = [f"  {name:<10} {(kind.__doc__ or '').splitlines()[0]}" for name, (kind, _) in COMMANDS.items()]
    return "\n".join(
        ["usage: digitjax COMMAND [OPTIONS]", "", *lines, "", "digitjax COMMAND --help lists its options."]
    )


if __name__ == "__main__":
    sys.exit(main())
