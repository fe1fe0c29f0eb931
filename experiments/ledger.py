"""Results as JSONL, a row a measurement: each is written as soon as it is there, so that an experiment resumes."""

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def measured(
    file: Path | None, keys: Iterable[Mapping[str, Any]], measure: Callable[..., Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """A row for each key: `measure(**key)`, or what `file` holds of it; None to keep nothing."""
    known = [json.loads(line) for line in file.read_text().splitlines()] if file and file.exists() else []
    rows = []
    for key in keys:
        row = next((row for row in known if row.items() >= key.items()), None)
        if row is None:
            row = dict(key) | dict(measure(**key))
            if file:
                with file.open("a") as stream:
                    stream.write(json.dumps(row) + "\n")
        print(", ".join(f"{name} {_short(value)}" for name, value in row.items()), file=sys.stderr)
        rows.append(row)
    return rows


def _short(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) < 40 else text[:36] + " ..."
