"""Pictures on disk: the answer to each, and a table of the answers."""

import csv
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from digitjax.base.disk import write_file
from digitjax.picture.canonical import Searched, searched
from digitjax.picture.pixels import PictureError
from digitjax.reading import tables
from digitjax.reading.lines import Reading, marked, read
from digitjax.reading.predict import Prediction, Predictor


class Answer(NamedTuple):
    """Of one file: a prediction and what the network saw, or what is wrong with the file."""

    file: Path
    prediction: Prediction | None
    seen: UInt8[np.ndarray, "28 28"] | None
    error: str = ""

    def document(self) -> dict[str, Any]:
        """As the command line's JSON has it."""
        answer = self.prediction._asdict() if self.prediction else {"error": self.error}
        return {"file": str(self.file)} | answer


def predict(predictor: Predictor, files: Sequence[Path]) -> list[Answer]:
    """The answer to each file, in their order; a bad file is answered by its error and harms no other."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        found = list(threads.map(_searched, files))
    answers = iter(predictor.answers([one for one in found if not isinstance(one, str)]))
    return [
        Answer(file, None, None, one) if isinstance(one, str) else Answer(file, next(answers), one.form)
        for file, one in zip(files, found)
    ]


def _searched(file: Path) -> Searched | str:
    try:
        return searched(file)
    except PictureError as error:
        return str(error)


class Page(NamedTuple):
    """Of one file: the digits that were found in it, or what is wrong with the file."""

    file: Path
    reading: Reading | None
    error: str = ""

    def document(self, mark_unsure: bool = False, table: bool = False) -> dict[str, Any]:
        """As the command line's JSON has it; with `mark_unsure` an unsure digit's text is a question mark."""
        if self.reading is None:
            return {"file": str(self.file), "error": self.error}
        text = marked(self.reading) if mark_unsure else self.reading.text
        lines = [[digit._asdict() for digit in line] for line in self.reading.lines]
        document = {"file": str(self.file), "text": text, "confidence": self.reading.confidence, "lines": lines}
        if table:
            document["table"] = tables.cells(self.reading)
        if self.reading.turned:
            document["turned"] = self.reading.turned
        return document | ({"truncated": True} if self.reading.truncated else {})


def read_all(predictor: Predictor, files: Sequence[Path]) -> list[Page]:
    """All digits of each file, in their order; a bad file is answered by its error and harms no other."""

    def page(file: Path) -> Page:
        try:
            return Page(file, read(predictor, file))
        except PictureError as error:
            return Page(file, None, str(error))

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        return list(threads.map(page, files))


def _write_tables(file: Path, documents: Sequence[Mapping[str, Any]]) -> None:
    """The cells of each picture's table, a line a row; before them the picture's name where there are several."""
    rows = [
        ([document["file"]] if len(documents) > 1 else []) + row
        for document in documents
        for row in document.get("table", [["error: " + document.get("error", "")]])
    ]

    def write(temporary: Path) -> None:
        with temporary.open("w", newline="") as stream:
            csv.writer(stream).writerows(rows)

    write_file(file, write)


def write_csv(file: Path, documents: Sequence[Mapping[str, Any]]) -> None:
    """A line a file: digit, confidence, verdict and the ten probabilities of a prediction, or the text that was read;
    where tables were asked for, their cells.

    Raises:
      DigitjaxError: it cannot be written.
    """
    if any("table" in document for document in documents):
        _write_tables(file, documents)
        return
    predicted = ["digit", "confidence", "verdict", *(f"p{digit}" for digit in range(10))]
    texts = any("text" in document for document in documents)
    columns = ["file", *(["text"] if texts else predicted), "error"]

    def write(temporary: Path) -> None:
        with temporary.open("w", newline="") as stream:
            table = csv.DictWriter(stream, columns, extrasaction="ignore")
            table.writeheader()
            for document in documents:
                shares = {f"p{digit}": share for digit, share in enumerate(document.get("probabilities", ()))}
                table.writerow({**document, **shares})

    write_file(file, write)
