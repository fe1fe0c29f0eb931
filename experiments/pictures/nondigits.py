"""Families: what is no digit, whatever the reader."""

from collections.abc import Callable, Sequence
from functools import partial

import cv2
import numpy as np
from jaxtyping import Float

from experiments.pictures.cameras import gradient
from experiments.pictures.drawings import POLARITIES, on_canvas
from experiments.pictures.papers import clouds
from experiments.pictures.paths import CLOTHES, ICONS, LETTERS, SIGNS, Stroke, strokes
from experiments.pictures.photos import ALL_PAPERS, LIGHTS, RULED, SQUARED, Photo
from experiments.pictures.strokes import Random, as_in_mnist, pick, write

Picture = np.ndarray | bytes
Field = Float[np.ndarray, "side side"]
"""A pattern, about -1 to 1."""


# --- Written things


def written(rng: Random, paths: Sequence[str]) -> Picture:
    return _shown(rng, strokes(pick(rng, paths)))


def scribble(rng: Random) -> Picture:
    """Straight lines to and fro, loops that drift, or hatching."""
    count = int(rng.integers(12, 40))
    turns = np.linspace(0, rng.uniform(4, 9) * 2 * np.pi, 6 * count)
    kind = rng.integers(3)
    if kind == 0:
        points = rng.uniform(0, 1, (count, 2))
    elif kind == 1:
        drift = rng.uniform(0.3, 0.6) * turns[:, None] / turns[-1]
        points = drift + 0.25 * np.column_stack([np.cos(turns), np.sin(turns)]) * rng.uniform(0.7, 1.3, (6 * count, 2))
    else:
        across = np.linspace(0, 1, count)
        points = np.column_stack([across, np.arange(count) % 2]) + rng.normal(0, 0.04, (count, 2))
    return _shown(rng, [[(float(x), float(y)) for x, y in points]], rng.uniform(0.02, 0.07))


def _shown(rng: Random, path: Sequence[Stroke], pen: float | None = None) -> Picture:
    """On paper, on a canvas, or as MNIST would show it."""
    kind = rng.integers(3)
    if kind == 0:
        return Photo(papers=ALL_PAPERS, lights=LIGHTS).take(rng, lambda height, _: write(rng, path, height, pen))
    coverage = write(rng, path, int(rng.integers(40, 220)), pen)
    if kind == 1:
        margins = rng.integers(4, 1 + max(coverage.shape), (2, 2))
        return on_canvas(rng, np.pad(coverage, margins), pick(rng, POLARITIES))
    return (as_in_mnist(coverage) * 255).round().astype(np.uint8)


# --- Things and patterns


def clothes(rng: Random) -> np.ndarray:
    """A grey piece with folds, a print or stripes, as a shop shows it: mostly 28 x 28, filling the frame."""
    fine = 140
    outline = np.array(strokes(pick(rng, CLOTHES))[0]) + rng.normal(0, 0.012, 2)
    outline = (outline - 0.5) * rng.uniform(0.75, 1.05, 2) + 0.5
    mask = np.zeros((fine, fine), np.uint8)
    cv2.fillPoly(mask, [np.round(outline * fine * 16).astype(int)], 255, cv2.LINE_AA, 4)
    inside = cv2.distanceTransform((mask > 127).astype(np.uint8), cv2.DIST_L2, 3) / fine
    cloth = rng.uniform(0.25, 0.95) * (1 + 0.15 * clouds(rng, mask.shape, rng.uniform(2, 9)))
    cloth *= 1 - 0.4 * np.exp(-inside * rng.uniform(30, 90))  # round edges are darker
    print_on = rng.integers(4)
    if print_on == 0:
        cloth *= 1 + rng.uniform(0.1, 0.5) * stripes(rng, fine)
    elif print_on == 1:
        top, left = rng.integers(fine // 4, fine // 2, 2)
        cloth[top : top + fine // 5, left : left + fine // 4] *= rng.choice([0.4, 1.8])
    elif print_on == 2:
        cloth *= 1 + 0.3 * natural(rng, fine)
    shown = cv2.resize(np.clip(cloth, 0, 1) * (mask / 255), None, fx=0.2, fy=0.2, interpolation=cv2.INTER_AREA)
    if rng.random() < 0.3:
        shown = cv2.resize(shown, None, fx=5, fy=5, interpolation=cv2.INTER_CUBIC)
    levels = (np.clip(shown, 0, 1) * 255).astype(np.uint8)
    return levels if rng.random() < 0.75 else 255 - levels


def waves(rng: Random, side: int) -> Field:
    y, x = np.indices((side, side)) / side
    angle, count = rng.uniform(0, np.pi), rng.uniform(3, 14)
    if rng.random() < 0.5:
        return np.sin(2 * np.pi * count * (x * np.cos(angle) + y * np.sin(angle)))
    return np.sin(2 * np.pi * count * x) * np.sin(2 * np.pi * count * y)


def stripes(rng: Random, side: int) -> Field:
    y, x = np.indices((side, side)) / side
    angle, period = rng.choice([0, np.pi / 2, rng.uniform(0, np.pi)]), rng.uniform(0.07, 0.3)
    phase = (x * np.cos(angle) + y * np.sin(angle)) / period + rng.uniform(0, 1)
    return np.where(phase % 1 < rng.uniform(0.3, 0.7), 1.0, -1.0)


def checkers(rng: Random, side: int) -> Field:
    count, shift = rng.uniform(3, 14), rng.uniform(0, 1, (2, 1, 1))
    y, x = np.floor(np.indices((side, side)) / side * count + shift)
    return np.where((x + y) % 2, 1.0, -1.0)


def natural(rng: Random, side: int) -> Field:
    """Noise whose power falls with frequency: clouds and stone, or, drawn out one way, wood and grass."""
    y, x = np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)
    angle, length = rng.uniform(0, np.pi), rng.choice([1, 1, 8, 25])
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    frequency = np.maximum(np.hypot(along * length, across), 1 / side)
    field = np.fft.ifft2(np.fft.fft2(rng.normal(0, 1, (side, side))) / frequency ** rng.uniform(0.7, 2)).real
    return field / (2.5 * field.std())


def cells(rng: Random, side: int) -> Field:
    """Cobbles, scales, leaves: how far the nearest of some points is."""
    count = rng.integers(8, 80)
    points = rng.uniform(0, side, (count, 2))
    y, x = np.indices((side, side))
    distance = np.hypot(y[..., None] - points[:, 0], x[..., None] - points[:, 1])
    distance.partition(1, axis=2)
    edges = distance[..., 1] - distance[..., 0] if rng.random() < 0.5 else distance[..., 0]
    return 2 * edges / edges.max() - 1


def bricks(rng: Random, side: int) -> Field:
    height = rng.uniform(0.06, 0.25)
    width, joint = height * rng.uniform(1.5, 3), rng.uniform(0.08, 0.2)
    y, x = np.indices((side, side)) / side + rng.uniform(0, 1, (2, 1, 1))
    row = np.floor(y / height)
    wall = ((y / height) % 1 > joint) & ((x / width + row / 2) % 1 > joint * height / width)
    return np.where(wall, 0.6, -0.8) + 0.2 * natural(rng, side)


def patterned(rng: Random, fields: Sequence[Callable[[Random, int], Field]]) -> np.ndarray:
    """A pattern over the whole picture, faint or strong, sometimes in an uneven light."""
    side = int(rng.choice([28, 28, 100, 280]))
    picture = 0.5 + rng.uniform(0.15, 0.5) * pick(rng, fields)(rng, side)
    if rng.random() < 0.3:
        picture = picture * gradient(rng, (side, side))
    return (np.clip(picture, 0, 1) * 255).astype(np.uint8)


def uniform(rng: Random, side: int) -> Field:
    return rng.uniform(-1, 1, (side, side))


def gaussian(rng: Random, side: int) -> Field:
    return rng.normal(rng.uniform(-1, 0), 0.5, (side, side))


def blank(rng: Random) -> Picture:
    """Paper without ink, photographed, plain or with lines; or one grey."""
    kind = rng.integers(4)
    if kind == 0:
        return np.full((int(rng.integers(8, 300)),) * 2, rng.integers(256), np.uint8)
    pitch = (None, RULED, SQUARED)[kind - 1]
    photo = Photo(papers=ALL_PAPERS, lights=LIGHTS, pitch=pitch, squared=bool(kind == 3))
    return photo.take(rng, lambda height, _: np.zeros((height, height), np.float32))


def filled(rng: Random) -> np.ndarray:
    """Nothing but ink: a dark page with lost flecks, a page of print, or a table."""
    side, kind = int(rng.choice([28, 100, 300])), rng.integers(3)
    page = np.zeros((300, 300), np.uint8)
    if kind == 0:
        page[:] = 255 - 200 * (clouds(rng, page.shape, 40) > rng.uniform(2, 3))
    elif kind == 1:
        size, thick = rng.uniform(0.3, 0.9), int(rng.integers(1, 3))
        for y in range(0, 340, int(32 * size)):
            text = "".join(chr(rng.integers(97, 123)) if rng.random() < 0.82 else " " for _ in range(60))
            cv2.putText(page, text, (-9, y), cv2.FONT_HERSHEY_SIMPLEX, size, 255, thick, cv2.LINE_AA)
    else:
        pitch, thick = rng.integers(12, 60, 2), rng.integers(1, 5)
        page[np.arange(300) % pitch[0] < thick] = 255
        page[:, np.arange(300) % pitch[1] < thick] = 255
    small = cv2.resize(page, (side, side), interpolation=cv2.INTER_AREA)
    return small if rng.random() < 0.5 else 255 - small


def shape(rng: Random) -> np.ndarray:
    """Triangles, squares, stars, discs: no ring, which is a zero, and no bar, which is a one."""
    canvas = np.zeros((160, 160), np.uint8)
    corners, size = pick(rng, (3, 4, 10, 0)), rng.uniform(30, 65)
    if not corners:
        cv2.circle(canvas, (80, 80), int(size), 255, -1, cv2.LINE_AA)
    else:
        angles = rng.uniform(0, 2 * np.pi) + 2 * np.pi * np.arange(corners) / corners
        radii = size * np.where((np.arange(corners) % 2 == 1) & (corners == 10), 0.45, 1)
        points = np.round(80 + radii * np.stack([np.cos(angles), np.sin(angles)])).astype(int).T
        if rng.random() < 0.5:
            cv2.fillPoly(canvas, [points], 255)
        else:
            cv2.polylines(canvas, [points], True, 255, 7, cv2.LINE_AA)
    return canvas if rng.random() < 0.5 else 255 - canvas


GROUPS: dict[str, dict[str, Callable[[Random], Picture]]] = {
    "letters": {"not_letters": partial(written, paths=LETTERS)},
    "clothes": {"not_clothes": clothes},
    "textures": {
        "not_waves": partial(patterned, fields=(waves,)),
        "not_stripes": partial(patterned, fields=(stripes,)),
        "not_checkers": partial(patterned, fields=(checkers,)),
        "not_textures": partial(patterned, fields=(natural, cells, bricks)),
    },
    "noise": {
        "not_uniform": partial(patterned, fields=(uniform,)),
        "not_gaussian": partial(patterned, fields=(gaussian,)),
    },
    "blanks": {"not_blanks": blank, "not_filled": filled},
    "scribbles": {"not_scribbles": scribble},
    "signs": {"not_signs": partial(written, paths=SIGNS)},
    "shapes": {"not_shapes": shape, "not_icons": partial(written, paths=ICONS)},
}
