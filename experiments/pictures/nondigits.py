"""Families: what is no digit, whatever the reader."""

from collections.abc import Callable

import cv2
import numpy as np

from experiments.pictures.papers import clouds
from experiments.pictures.paths import LETTERS, strokes
from experiments.pictures.photos import ALL_PAPERS, LIGHTS, RULED, SQUARED, Photo
from experiments.pictures.strokes import Random, pick, write

Maker = Callable[[Random], np.ndarray | bytes]


def letters(rng: Random) -> np.ndarray | bytes:
    path = strokes(pick(rng, LETTERS))
    if rng.random() < 0.5:
        return Photo().take(rng, lambda height, _: write(rng, path, height))
    canvas = np.zeros((200, 200), np.float32)
    coverage = write(rng, path, 110)[:190, :190]
    canvas[5 : 5 + coverage.shape[0], 5 : 5 + coverage.shape[1]] = coverage
    return (255 - canvas * 255).astype(np.uint8)


def scribbles(rng: Random) -> bytes:
    path = [[tuple(point) for point in rng.uniform(0, 1, (rng.integers(8, 30), 2))]]
    return Photo().take(rng, lambda height, _: write(rng, path, height, rng.uniform(0.03, 0.08)))


def blanks(rng: Random) -> np.ndarray | bytes:
    """Paper without ink, photographed, plain or with lines; or one grey."""
    kind = rng.integers(4)
    if kind == 0:
        return np.full((int(rng.integers(8, 300)),) * 2, rng.integers(256), np.uint8)
    pitch = (None, RULED, SQUARED)[kind - 1]
    photo = Photo(papers=ALL_PAPERS, lights=LIGHTS, pitch=pitch, squared=bool(kind == 3))
    return photo.take(rng, lambda height, _: np.zeros((height, height), np.float32))


def noise(rng: Random) -> np.ndarray:
    side = int(rng.choice([28, 28, 64, 280]))
    if rng.random() < 0.5:
        return rng.integers(0, 256, (side, side)).astype(np.uint8)
    return np.clip(rng.normal(rng.uniform(0, 128), 60, (side, side)), 0, 255).astype(np.uint8)


def textures(rng: Random) -> np.ndarray:
    side = int(rng.choice([28, 100, 280]))
    y, x = np.indices((side, side)) / side
    angle, waves = rng.uniform(0, np.pi), rng.uniform(3, 14)
    kind = rng.integers(3)
    if kind == 0:
        field = np.sin(2 * np.pi * waves * (x * np.cos(angle) + y * np.sin(angle)))
    elif kind == 1:
        field = np.sin(2 * np.pi * waves * x) * np.sin(2 * np.pi * waves * y)
    else:
        field = clouds(rng, (side, side), waves)
    return np.clip(127 + 110 * field, 0, 255).astype(np.uint8)


def shapes(rng: Random) -> np.ndarray:
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


GROUPS: dict[str, dict[str, Maker]] = {
    "letters": {"not_letters": letters},
    "clothes": {},
    "textures": {"not_textures": textures},
    "noise": {"not_noise": noise},
    "blanks": {"not_blanks": blanks},
    "scribbles": {"not_scribbles": scribbles},
    "shapes": {"not_shapes": shapes},
}
