"""Paper, its ruling, and ink on it: reflectances, [height, width, 3], from 0 to 1."""

import cv2
import numpy as np
from jaxtyping import Float32

from experiments.pictures.strokes import Coverage, Random

Page = Float32[np.ndarray, "_ _ 3"]
Colour = tuple[float, float, float]

PAPERS = {
    "white": (0.95, 0.95, 0.94),
    "yellow": (0.95, 0.88, 0.62),
    "grey": (0.68, 0.68, 0.67),
    "recycled": (0.80, 0.76, 0.68),
    "pink": (0.93, 0.78, 0.80),
    "blue": (0.75, 0.83, 0.92),
}
PENS = {
    "black": (0.08, 0.08, 0.09),
    "blue": (0.10, 0.16, 0.55),
    "lightblue": (0.25, 0.45, 0.80),
    "green": (0.08, 0.42, 0.2),
    "red": (0.75, 0.10, 0.12),
    "purple": (0.38, 0.12, 0.5),
    "orange": (0.92, 0.48, 0.1),
}
RULING = ((0.55, 0.68, 0.85), (0.6, 0.6, 0.62), (0.75, 0.7, 0.8), (0.45, 0.55, 0.75), (0.6, 0.78, 0.7))


def clouds(rng: Random, shape: tuple[int, ...], cells: float) -> Float32[np.ndarray, "_ _"]:
    """A smooth random field, about -1 to 1, with `cells` waves along the longer side."""
    few = [max(2, int(cells * side / max(shape)) + 2) for side in shape]
    return cv2.resize(rng.normal(0, 1, few).astype(np.float32), shape[::-1], interpolation=cv2.INTER_CUBIC)


def paper(rng: Random, shape: tuple[int, int], colour: Colour) -> Page:
    """A page with its fibres."""
    grain = rng.uniform(0.002, 0.02)
    fibre = cv2.GaussianBlur(rng.normal(0, 1, shape).astype(np.float32), (0, 0), rng.uniform(0.8, 2.5))
    page = 1 + grain * fibre / fibre.std() + 0.015 * clouds(rng, shape, rng.uniform(3, 12))
    return page[..., None] * np.array(colour, np.float32)


def ruled(rng: Random, page: Page, pitch: float, squared: bool = False) -> Page:
    """The page with printed lines every `pitch` pixels, one way or both."""
    colour = np.array(RULING[rng.integers(len(RULING))], np.float32)
    strength = rng.uniform(0.45, 1)
    thick = rng.uniform(0.8, 1.2) * max(1.0, pitch / rng.uniform(24, 60))

    def across(side: int) -> np.ndarray:
        away = np.abs((np.arange(side) - rng.uniform(0, pitch)) % pitch - pitch / 2)
        return np.clip(thick / 2 + 0.5 - away, 0, 1).astype(np.float32)

    lines = np.broadcast_to(across(page.shape[0])[:, None], page.shape[:2])
    if squared:
        lines = np.maximum(lines, across(page.shape[1]))
    elif rng.random() < 0.3:
        margin = int(page.shape[1] * rng.uniform(0.05, 0.95))
        page = page.copy()
        page[:, margin : margin + max(1, round(thick))] *= np.array([0.95, 0.6, 0.6], np.float32)
    return page * (1 - (lines * strength)[..., None] * (1 - colour))


def inked(page: Page, coverage: Coverage, top: int, left: int, colour: Colour, strength: float = 1.0) -> Page:
    """The page with ink laid on it; what sticks out is lost."""
    y, x = max(top, 0), max(left, 0)
    part = coverage[y - top : max(page.shape[0] - top, 0), x - left : max(page.shape[1] - left, 0), None] * strength
    area = np.s_[y : y + part.shape[0], x : x + part.shape[1]]
    page = page.copy()
    page[area] += part * (np.array(colour, np.float32) - page[area])
    return page


def pencil(rng: Random, coverage: Coverage) -> Coverage:
    """Graphite on the paper's grain."""
    grain = cv2.GaussianBlur(rng.normal(0, 1, coverage.shape).astype(np.float32), (0, 0), 1.1)
    return coverage * np.clip(0.75 + 0.32 * grain / max(grain.std(), 1e-6), 0, 1)


def ballpoint(rng: Random, coverage: Coverage) -> Coverage:
    """Ink that fails along part of the path."""
    skips = clouds(rng, coverage.shape, 14)
    return coverage * np.clip(1.15 - 0.5 * np.clip(skips, 0, 2), 0.25, 1)
