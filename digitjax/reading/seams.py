"""Where strokes that touch may be cut: seams, the cheapest ways from top to bottom through ink."""

import cv2
import numpy as np
from jaxtyping import Int

from digitjax.picture.ink import Ink

PAPER, ASIDE = 0.02, 0.1  # what a seam pays for a pixel of paper, and for a step aside; full ink costs 1


class Ways:
    """The cheapest ways from top to bottom through ink, by every pixel of it."""

    def __init__(self, strokes: Ink):
        down, self.up = self._from_top(strokes)
        up, steps = self._from_top(strokes[::-1])
        self.down = steps[::-1]
        self.cost = down + up[::-1] - strokes - PAPER * (len(strokes) + 1)

    @staticmethod
    def _from_top(strokes: Ink) -> tuple[np.ndarray, np.ndarray]:
        """What the way to each pixel costs, and where it was a row before, to the left (-1) or right (1)."""
        cost, steps = strokes + np.float32(PAPER), np.zeros(strokes.shape, np.int8)
        for row in range(1, len(cost)):
            before = np.pad(cost[row - 1], 1, constant_values=np.inf)
            ways = np.stack([before[:-2] + ASIDE, before[1:-1], before[2:] + ASIDE])
            steps[row] = ways.argmin(0) - 1
            cost[row] += ways.min(0)
        return cost, steps

    def through(self, row: int, columns: np.ndarray) -> Int[np.ndarray, "seams height"]:
        """Seams through those columns of a row: the last column on their left, row by row."""
        seams = np.empty((len(columns), len(self.cost)), int)
        seams[:, row] = columns
        for y in range(row, 0, -1):
            seams[:, y - 1] = seams[:, y] + self.up[y, seams[:, y]]
        for y in range(row, len(self.cost) - 1):
            seams[:, y + 1] = seams[:, y] + self.down[y, seams[:, y]]
        return seams


def parts_between(seams: np.ndarray, shape: tuple[int, ...]) -> Int[np.ndarray, "height width"]:
    """How many seams, given from left to right, lie on the left of each pixel."""
    parts = np.zeros(shape, int)
    for seam in np.maximum.accumulate(seams):
        parts += np.arange(shape[1]) > seam[:, None]
    return parts


def seams_in(strokes: Ink, height: float) -> list[tuple[float, np.ndarray]]:
    """Where strokes may be cut into digits, from left to right: what each seam goes through, in widths of a stroke."""
    rows, columns = strokes.shape
    if columns < 0.45 * height:
        return []
    inside = np.pad((strokes > 0.5).astype(np.uint8), 1)
    stroke = max(1.0, 4 * cv2.mean(cv2.distanceTransform(inside, cv2.DIST_L2, 3), inside)[0] - 1)
    ways, edge = Ways(strokes), 0.1 * height
    tried: list[tuple[float, np.ndarray]] = []
    for row in (rows // 4, rows // 2, 3 * rows // 4):
        cost = ways.cost[row]
        lowest = cv2.erode(cost[None], np.ones((1, 2 * round(0.08 * height) + 1), np.uint8))[0]
        flat = np.flatnonzero(cost <= lowest + 1e-4)
        runs = np.split(flat, np.flatnonzero(np.diff(flat) > 1) + 1)
        places = np.array([(run[0] + run[-1]) // 2 for run in runs if len(run)], int)
        places = places[(cost[places] < 3.5 * stroke) & (places > edge) & (places < columns - edge)]
        tried += zip(np.maximum(cost[places], 0) / stroke, ways.through(row, places))
    # The ink up to each column, row by row: between two seams there must be some.
    ink_before = np.pad(np.cumsum(strokes > 0.3, axis=1), ((0, 0), (1, 0)))
    chosen = [(0.0, np.full(rows, -1)), (0.0, np.full(rows, columns - 1))]
    amounts = [ink_before[:, 0], ink_before[:, -1]]
    for cost, seam in sorted(tried, key=lambda one: one[0]):
        amount = ink_before[np.arange(rows), seam + 1]
        if min(np.abs(amount - other).sum() for other in amounts) > stroke**2:
            chosen.append((float(cost), seam))
            amounts.append(amount)
    return sorted(chosen[2:], key=lambda one: float(one[1].mean()))
