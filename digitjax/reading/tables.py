"""What was read of a table, in rows and columns: numbers above each other make a column, empty cells are empty."""

import numpy as np

from digitjax.reading.lines import Digit, Reading

APART = 0.62
"""Room between two digits of one cell, in heights of a digit, at most."""
Corners = tuple[int, int, int, int]
"""Left, top, right and bottom."""
INNER = 0.7
"""The share of a number's width by which it says where its column is."""


def cells(reading: Reading) -> list[list[str]]:
    """The texts of all cells, row by row, each row as long as the others; '' where nothing stands.

    A column is what overlaps from row to row; a page that leans or lies is seen upright first.
    """
    rows = [[(_upright(one, reading.turned), str(one.digit)) for one in line] for line in reading.lines]
    if not rows:
        return []
    slopes = [_slope(np.array([box for box, _ in row])) for row in rows if len(row) > 1]
    slope = float(np.median(slopes)) if slopes else 0.0
    numbers = [_numbers(row, slope) for row in rows]
    edges = _columns([(left, right) for row in numbers for left, right, _ in row])
    table = [[""] * len(edges) for _ in numbers]
    for row, found in zip(table, numbers):
        for left, right, text in found:
            row[int(np.searchsorted(edges, (left + right) / 2, side="right")) - 1] += text
    return table


def _upright(one: Digit, turned: int) -> Corners:
    """Left, top, right and bottom on the page as it is read."""
    x, y, wide, high = one.box
    left, top, across, down = {
        0: (x, y, wide, high),
        90: (y, -x - wide, high, wide),
        180: (-x - wide, -y - high, wide, high),
        270: (-y - high, x, high, wide),
    }[turned]
    return left, top, left + across, top + down


def _slope(boxes: np.ndarray) -> float:
    """Rows that a line gains a column."""
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    spread = np.ptp(middle[:, 0])
    return float(np.polyfit(middle[:, 0], middle[:, 1], 1)[0]) if spread > 0 else 0.0


def _numbers(row: list[tuple[Corners, str]], slope: float) -> list[tuple[float, float, str]]:
    """The numbers of a line: where each begins and ends along the page's own rows, and what it says."""
    high = float(np.median([box[3] - box[1] for box, _ in row]))
    found: list[tuple[float, float, str]] = []
    for (left, top, right, bottom), text in sorted(row):
        lean = slope * (top + bottom) / 2
        start, stop = left + lean, right + lean
        if found and start - found[-1][1] < APART * high:
            before, end, said = found.pop()
            found.append((before, max(end, stop), said + text))
        else:
            found.append((start, stop, text))
    return found


def _columns(spans: list[tuple[float, float]]) -> np.ndarray:
    """Where each column begins: spans that overlap by more than their rims are of one."""
    starts: list[float] = []
    end = -np.inf
    for left, right in sorted(spans):
        rim = (1 - INNER) / 2 * (right - left)
        if left + rim >= end:
            starts.append(left)
        end = max(end, right - rim)
    return np.array(starts)
