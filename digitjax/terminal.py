"""What a person at a terminal sees: answers on stdout, progress and notes on stderr. The only file that prints."""

import contextlib
import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from digitjax import options
from digitjax.base.config import Config


@contextlib.contextmanager
def progress(config: Config, examples: int) -> Iterator[tuple[Any, Any]]:
    """A bar with images/s and the remaining time on a terminal; a line an epoch elsewhere."""
    if not sys.stderr.isatty():
        yield iter, lambda row: log(_epoch_line(row, config.epochs))
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


def say(text: str) -> None:
    print(text)


def answer(args: options.Common, document: Mapping[str, Any], text: str) -> int:
    """Says the document where JSON is asked for, else the text, if there is any: the exit status of what is done."""
    if args.json or text:
        say(json.dumps(document) if args.json else text)
    return 0


def tell_left_out(words: Sequence[str]) -> list[str]:
    """Names the files in folders that are taken for no pictures."""
    from digitjax.data import inputs

    files = inputs.left_out(words)
    if files:
        log(inputs.told_left_out(files))
    return [str(file) for file in files]


def say_model(name: str, checksum: str) -> None:
    """Which model answers, and how to have one's own answer."""
    own = name == "pretrained" and (Path("outputs") / "model.npz").exists()
    log(f"model {name} ({checksum})" + "; the one that you trained answers with --model outputs" * own)


def log(line: str) -> None:
    print(plain(line), file=sys.stderr, flush=True)


def plain(words: str) -> str:
    """On one line, without codes that would steer the terminal: file names may hold both."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in words)
