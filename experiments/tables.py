"""How measurements are summed up: a median with its range, a mean with its deviation, a Markdown table."""

from collections.abc import Iterable, Mapping

import numpy as np


def middle(rows: Iterable[Mapping[str, float]], name: str, digits: int = 0) -> str:
    values = [row[name] for row in rows]
    return f"{np.median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def mean(rows: Iterable[Mapping[str, float]], name: str, digits: int = 1, scale: float = 1.0) -> str:
    values = scale * np.array([row[name] for row in rows])
    return f"{values.mean():.{digits}f} ± {values.std(ddof=1) if len(values) > 1 else 0:.{digits}f}"


def median(rows: Iterable[Mapping[str, float]], name: str) -> float:
    return float(np.median([row[name] for row in rows]))


def table(head: str, rows: Iterable[Iterable[object]]) -> str:
    lines = [f"| {head} |", "|" + "---|" * (head.count("|") + 1)]
    return "\n".join([*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows)])
