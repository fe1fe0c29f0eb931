"""Test pictures by seed: what phones, scanners and mice make of a digit, and what is no digit at all.

A family is a function of (generator, subject). A subject is a 28x28 digit, whose strokes are borrowed, or a label,
which is written anew along a pen path of ours. A picture is anything `pixels.read_picture` takes: arrays, or bytes
where a file format has its say. Nothing here is trained on, and nothing is shared with `augment.py`: this is the
yardstick.
"""

import itertools
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import cv2
import numpy as np

from digitjax import data

Random = np.random.Generator
Subject = np.ndarray | int
Picture = np.ndarray | bytes
Family = Callable[[Random, Subject], Picture]
NOT_A_DIGIT = -1


# --- Strokes: a digit as coverage from 0 to 1, cropped to its ink


def _arc(x, y, rx, ry, start, stop, n=14):
    """Points on an ellipse; degrees, clockwise from three o'clock as y points down."""
    t = np.radians(np.linspace(start, stop, n))
    return [(x + rx * np.cos(a), y + ry * np.sin(a)) for a in t]


# Per digit some ways to write it: strokes of points in a unit box, y down. A point given twice is a sharp corner.
_WAYS: dict[int, list[list[list[tuple[float, float]]]]] = {
    0: [[_arc(.5, .5, .38, .5, -90, -455, 26)], [_arc(.5, .5, .3, .5, -60, -405, 24)], [_arc(.5, .5, .45, .48, -120,
        260, 26)]],
    1: [[[(.5, 0), (.5, 1)]], [[(.25, .25), (.55, 0), (.55, 0), (.52, 1)]], [[(.55, 0), (.45, 1)]],
        [[(.25, .22), (.52, 0), (.52, 0), (.52, 1)], [(.2, 1), (.85, 1)]]],
    2: [[[(.1, .25), *_arc(.48, .27, .36, .27, -170, 30, 10), (.5, .7), (.08, 1), (.08, 1), (.92, .98)]],
        [[(.12, .2), *_arc(.5, .25, .34, .25, -160, 40, 9), (.45, .75), (.15, .95), (.1, .85), (.25, .8), (.55, .95),
            (.95, .92)]],
        [[(.15, .12), (.5, 0), (.82, .12), (.8, .4), (.1, 1), (.1, 1), (.95, 1)]]],
    3: [[[(.12, .12), *_arc(.45, .24, .35, .24, -120, 80, 9), (.38, .48), (.38, .48), *_arc(.45, .74, .4, .26, -80,
        140, 10)]],
        [[(.1, .03), (.85, .0), (.85, .0), (.42, .42), (.42, .42), *_arc(.42, .7, .42, .3, -70, 150, 10)]],
        [[(.15, .15), (.5, 0), (.8, .2), (.4, .45), (.8, .7), (.5, 1), (.08, .88)]]],
    4: [[[(.25, 0), (.12, .55), (.12, .55), (.95, .52)], [(.72, .05), (.68, 1)]], [[(.62, 0), (.05, .66), (.05, .66),
        (.95, .66)], [(.68, .0), (.68, 1)]],
        [[(.68, 1), (.72, 0), (.72, 0), (.05, .68), (.05, .68), (.98, .68)]], [[(.15, .02), (.12, .4), (.35, .52),
            (.8, .42)], [(.85, 0), (.8, 1)]]],
    5: [[[(.22, .02), (.18, .45), (.18, .45), *_arc(.45, .7, .4, .3, -120, 140, 12)], [(.22, .02), (.9, 0)]],
        [[(.88, .02), (.25, .03), (.25, .03), (.18, .45), (.18, .45), *_arc(.45, .7, .42, .3, -110, 145, 12)]],
        [[(.85, .02), (.4, .05), (.25, .35), (.65, .5), (.75, .8), (.4, 1), (.08, .92)]], [[(.25, .05), (.2, .42),
            (.2, .42), *_arc(.42, .7, .4, .3, -110, 145, 12)], [(.35, .0), (.98, .03)]]],
    6: [[[(.75, .02), (.35, .25), (.12, .65), *_arc(.48, .73, .36, .27, 180, -190, 18)]], [[(.55, 0), (.2, .4), (.12,
        .75), (.45, 1), (.82, .78), (.55, .52), (.18, .72)]],
        [[(.3, 0), (.12, .5), (.15, .85), (.5, 1), (.85, .78), (.5, .6), (.15, .8)]]],
    7: [[[(.08, .05), (.9, .02), (.9, .02), (.4, 1)]], [[(.08, .05), (.9, .02), (.9, .02), (.4, 1)], [(.3, .52),
        (.85, .5)]],
        [[(.1, .2), (.12, .04), (.12, .04), (.88, .06), (.88, .06), (.55, .5), (.45, 1)]], [[(.05, .08), (.5, .1),
            (.92, 0), (.92, 0), (.6, .45), (.35, 1)]]],
    8: [[[(.8, .15), (.5, 0), (.2, .2), (.5, .45), (.85, .75), (.5, 1), (.15, .78), (.5, .47), (.82, .2), (.7, .06)]],
        [_arc(.5, .24, .3, .24, -60, -425, 18), _arc(.5, .74, .38, .27, -90, -455, 18)],
        [[(.5, .48), (.2, .25), (.5, 0), (.8, .22), (.5, .48), (.15, .78), (.5, 1), (.85, .76), (.5, .48)]]],
    9: [[[*_arc(.48, .28, .36, .28, -20, -380, 18), (.82, .3), (.75, 1)]], [[*_arc(.45, .28, .36, .28, 0, -360, 18),
        (.82, .4), (.7, .85), (.35, 1), (.12, .92)]],
        [[(.8, .1), (.45, 0), (.12, .25), (.4, .52), (.78, .3), (.82, .05), (.82, .05), (.68, 1)]]],
}  # fmt: skip

# Letters that no reader takes for a digit, in the same manner.
_LETTERS: list[list[list[tuple[float, float]]]] = [
    [[(0, 1), (.45, 0), (.45, 0), (.95, 1)], [(.2, .6), (.75, .6)]], [[(.1, 0), (.1, 1), (.1, 1), (.85, 1)], [(.1,
        .5), (.7, .5)], [(.1, 0), (.9, 0)]],
    [[(.1, 0), (.1, 1)], [(.1, .02), (.9, 0)], [(.1, .5), (.7, .5)]], [[(.1, 0), (.1, 1)], [(.9, 0), (.9, 1)], [(.1,
        .5), (.9, .5)]],
    [[(.1, 0), (.1, 1)], [(.85, 0), (.1, .55), (.1, .55), (.9, 1)]], [[(0, 1), (.15, 0), (.15, 0), (.5, .7), (.5,
        .7), (.85, 0), (.85, 0), (1, 1)]],
    [[(.1, 1), (.1, 0), (.1, 0), (.9, 1), (.9, 1), (.9, 0)]], [[(.1, 1), (.1, 0), (.1, 0), (.8, .1), (.8, .45), (.1,
        .5), (.1, .5), (.9, 1)]],
    [[(0, 0), (.2, 1), (.2, 1), (.5, .4), (.5, .4), (.8, 1), (.8, 1), (1, 0)]], [[(0, 0), (1, 1)], [(1, 0), (0, 1)]],
    [[(.1, 0), (.1, .7), (.4, 1), (.8, .8), (.85, 0), (.85, 0), (.9, 1)]], [[(.1, .3), (.1, 1), (.1, .6), (.3, .3),
        (.5, .5), (.5, 1), (.5, .6), (.7, .3), (.9, .5), (.9, 1)]],
]  # fmt: skip


def _smooth(points, step: float = 0.04) -> np.ndarray:
    """A Catmull-Rom curve through the points, N x 2; it stops and starts again at doubled points."""
    runs, run = [], [points[0]]
    for point in points[1:]:
        if point == run[-1]:
            runs.append(run)
            run = [point]
        else:
            run.append(point)
    curve = []
    for one in [*runs, run]:
        p = np.array([one[0], *one, one[-1]], float)
        for a, b, c, d in zip(p, p[1:], p[2:], p[3:], strict=False):
            t = np.linspace(0, 1, max(2, int(np.hypot(*(c - b)) / step)), endpoint=False)[:, None]
            curve.append(
                0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
            )
        curve.append(p[-1:])
    return np.concatenate(curve)


def _write(rng: Random, strokes, height: int, width_share: float | None = None) -> np.ndarray:
    """Strokes by an unsteady hand and a pen, `height` pixels high."""
    pen = height * (width_share or rng.uniform(0.05, 0.16))
    slant, aspect = rng.normal(0.08, 0.15), rng.uniform(0.55, 0.95)
    bend = rng.normal(0, 0.035, (4, 2))
    margin = int(height * 0.45)
    canvas = np.zeros((height + 2 * margin, height + 2 * margin), np.uint8)
    for stroke in strokes:
        jitter = rng.normal(0, 0.022, (len(stroke), 2))
        doubled = dict(zip(stroke, jitter, strict=True))
        path = _smooth([(x + doubled[x, y][0], y + doubled[x, y][1]) for x, y in stroke])
        path = path + np.sin(path @ rng.normal(0, 4, (2, 4)) + rng.uniform(0, 6, 4)) @ bend
        x = (path[:, 0] - 0.5) * aspect + 0.5 - slant * (path[:, 1] - 0.5)
        path = np.stack([x, path[:, 1]], 1) * height + margin
        pressure = 1 + 0.25 * np.cumsum(rng.normal(0, 0.12, len(path))).clip(-1.5, 1.5)
        if rng.random() < 0.3:  # the pen lifts while it still moves
            pressure[-6:] *= np.linspace(1, 0.4, min(6, len(path)))[-len(pressure[-6:]) :]
        for a, b, p in zip(path, path[1:], pressure, strict=False):
            cv2.line(
                canvas,
                np.round(a * 16).astype(int),
                np.round(b * 16).astype(int),
                255,
                max(1, round(pen * p)),
                cv2.LINE_AA,
                4,
            )
    return _cropped(canvas.astype(np.float32) / 255)


def _cropped(coverage: np.ndarray) -> np.ndarray:
    rows, columns = np.flatnonzero(coverage.max(1) > 0.1), np.flatnonzero(coverage.max(0) > 0.1)
    if not len(rows):
        return np.ones((2, 2), np.float32)
    return coverage[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def glyph(rng: Random, subject: Subject, height: int, width_share: float | None = None) -> np.ndarray:
    """Coverage from 0 to 1 of a digit about `height` pixels high, cropped to its ink."""
    height = max(int(height), 4)
    if isinstance(subject, np.ndarray):
        tall = cv2.copyMakeBorder(_cropped(subject.astype(np.float32) / 255), 1, 1, 1, 1, cv2.BORDER_CONSTANT)
        shape = max(2, round(tall.shape[1] * height / tall.shape[0])), height
        if height < 24:
            return _cropped(cv2.resize(tall, shape, interpolation=cv2.INTER_AREA))
        big = cv2.GaussianBlur(cv2.resize(tall, shape, interpolation=cv2.INTER_CUBIC), (0, 0), height / 50)
        coverage = np.clip((big - 0.4) / 0.2 + 0.5, 0, 1)
        if width_share is not None:  # another pen on the same path
            change = round(height * (width_share - 0.12))
            kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (abs(change) + 1,) * 2)
            room = (
                cv2.copyMakeBorder(coverage, change, change, change, change, cv2.BORDER_CONSTANT)
                if change > 0
                else coverage
            )
            thinner = coverage if change > 0 else cv2.erode(coverage, kernel)
            coverage = (
                cv2.dilate(room, kernel)
                if change > 0
                else thinner
                if (thinner > 0.5).sum() > 0.2 * (coverage > 0.5).sum()
                else coverage
            )
        return _cropped(coverage)
    ways = _WAYS[int(subject)]
    supersampled = _write(rng, ways[rng.integers(len(ways))], max(height, 40), width_share)
    if height < 40:
        shape = max(1, round(supersampled.shape[1] * height / supersampled.shape[0])), height
        return cv2.resize(supersampled, shape, interpolation=cv2.INTER_AREA)
    return supersampled


# --- Paper, pens, light, cameras


def _clouds(rng: Random, shape, cells: float) -> np.ndarray:
    """Smooth random field from about -1 to 1."""
    small = rng.normal(
        0, 1, (max(2, int(cells * shape[0] / max(shape)) + 2), max(2, int(cells * shape[1] / max(shape)) + 2))
    )
    return cv2.resize(small.astype(np.float32), shape[::-1], interpolation=cv2.INTER_CUBIC)


PAPERS = {
    "white": (0.95, 0.95, 0.94),
    "yellow": (0.95, 0.88, 0.62),
    "grey": (0.68, 0.68, 0.67),
    "recycled": (0.80, 0.76, 0.68),
    "pink": (0.93, 0.78, 0.80),
    "blue": (0.75, 0.83, 0.92),
}
PENS = {"black": (.08, .08, .09), "blue": (.10, .16, .55), "lightblue": (.25, .45, .80), "green": (.08, .42, .2),
    "red": (.75, .10, .12), "purple": (.38, .12, .5),
        "orange": (.92, .48, .1)}  # fmt: skip


def paper(rng: Random, shape, colour="white", grain=None) -> np.ndarray:
    grain = rng.uniform(0.002, 0.02) if grain is None else grain
    fibre = cv2.GaussianBlur(rng.normal(0, 1, shape).astype(np.float32), (0, 0), rng.uniform(0.8, 2.5))
    page = 1 + grain * fibre / fibre.std() + 0.015 * _clouds(rng, shape, rng.uniform(3, 12))
    return page[..., None] * np.array(PAPERS[colour], np.float32)


def rule(rng: Random, page: np.ndarray, pitch: float, squared: bool, strength=None) -> np.ndarray:
    """Print lines on the page: every `pitch` pixels, one way or both."""
    height, width = page.shape[:2]
    colour = np.array(
        [(0.55, 0.68, 0.85), (0.6, 0.6, 0.62), (0.75, 0.7, 0.8), (0.45, 0.55, 0.75), (0.6, 0.78, 0.7)][rng.integers(5)],
        np.float32,
    )
    strength = rng.uniform(0.45, 1) if strength is None else strength
    thick = rng.uniform(0.8, 1.2) * max(1.0, pitch / rng.uniform(24, 60))
    mask = np.zeros((height, width), np.float32)
    for axis in range(2 if squared else 1):
        where = np.arange(height if axis == 0 else width)
        line = np.clip(thick / 2 + 0.5 - np.abs((where - rng.uniform(0, pitch)) % pitch - pitch / 2), 0, 1)
        mask = np.maximum(mask, line[:, None] if axis == 0 else line[None, :])
    if not squared and rng.random() < 0.3:  # a margin line
        x = int(width * rng.uniform(0.05, 0.95))
        page = page.copy()
        page[:, x : x + max(1, round(thick))] *= np.array([0.95, 0.6, 0.6], np.float32)
    return page * (1 - (mask * strength)[..., None] * (1 - colour))


def ink_on(
    rng: Random, page: np.ndarray, coverage: np.ndarray, top: int, left: int, pen: Any = "black", strength=1.0
) -> np.ndarray:
    """Lay coverage on the page; the parts that stick out are lost."""
    page = page.copy()
    y0, x0 = max(top, 0), max(left, 0)
    y1, x1 = min(top + coverage.shape[0], page.shape[0]), min(left + coverage.shape[1], page.shape[1])
    if y1 <= y0 or x1 <= x0:
        return page
    part = (coverage[y0 - top : y1 - top, x0 - left : x1 - left] * strength)[..., None]
    page[y0:y1, x0:x1] = page[y0:y1, x0:x1] * (1 - part) + part * np.array(PENS.get(pen, pen), np.float32)
    return page


def pencil(rng: Random, coverage: np.ndarray) -> np.ndarray:
    grain = cv2.GaussianBlur(rng.normal(0, 1, coverage.shape).astype(np.float32), (0, 0), 1.1)
    return coverage * np.clip(0.75 + 0.8 * grain / max(grain.std(), 1e-6) * 0.4, 0, 1)


def ballpoint(rng: Random, coverage: np.ndarray) -> np.ndarray:
    """Skips: ink that fails along part of the path."""
    skips = _clouds(rng, coverage.shape, 14)
    return coverage * np.clip(1.15 - 0.5 * np.clip(skips, 0, 2), 0.25, 1)


def _coordinates(shape):
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    return (y / shape[0] - 0.5), (x / shape[1] - 0.5)


def gradient(rng: Random, shape) -> np.ndarray:
    y, x = _coordinates(shape)
    angle = rng.uniform(0, 2 * np.pi)
    return (
        1 - rng.uniform(0.1, 0.6) * (0.5 + x * np.cos(angle) + y * np.sin(angle)) ** rng.uniform(0.7, 2)
        if rng.random() < 0
        else np.clip(1 - rng.uniform(0.1, 0.55) * (0.5 + 0.7 * (x * np.cos(angle) + y * np.sin(angle))), 0.15, 1)
    )


def vignette(rng: Random, shape) -> np.ndarray:
    y, x = _coordinates(shape)
    r2 = (x - rng.uniform(-0.25, 0.25)) ** 2 + (y - rng.uniform(-0.25, 0.25)) ** 2
    return rng.uniform(0.15, 0.5) + 0.7 * np.exp(-r2 / rng.uniform(0.08, 0.4))


def shadow(rng: Random, shape) -> np.ndarray:
    """A straight or wavy shadow edge, from razor sharp to soft."""
    y, x = _coordinates(shape)
    angle = rng.uniform(0, 2 * np.pi)
    wave = rng.choice([0, 0.06]) * _clouds(rng, shape, 5)
    distance = x * np.cos(angle) + y * np.sin(angle) - rng.uniform(-0.3, 0.3) + wave
    return 1 - rng.uniform(0.25, 0.65) / (1 + np.exp(-distance / rng.choice([0.003, 0.01, 0.03, 0.08])))


def bars(rng: Random, shape) -> np.ndarray:
    """A window's or a blind's shadow: several edges."""
    y, x = _coordinates(shape)
    angle = rng.uniform(0, np.pi)
    wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * rng.uniform(8, 25) + rng.uniform(0, 6))
    return 1 - rng.uniform(0.2, 0.5) / (1 + np.exp(-wave * rng.uniform(2, 20)))


def tilt(rng: Random, page: np.ndarray, degrees: float, perspective: float, fill=None) -> np.ndarray:
    height, width = page.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-degrees, degrees), rng.uniform(0.95, 1.1))
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    target = corners @ turn[:, :2].T + turn[:, 2] + rng.uniform(-perspective, perspective, (4, 2)) * (width, height)
    matrix = cv2.getPerspectiveTransform(corners, target.astype(np.float32))
    if fill is None:
        return cv2.warpPerspective(
            page, matrix, (width, height), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT_101
        )
    return cv2.warpPerspective(
        page, matrix, (width, height), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_CONSTANT, borderValue=fill
    )


def defocus(page: np.ndarray, radius: float) -> np.ndarray:
    size = int(radius) * 2 + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)).astype(np.float32)
    return cv2.filter2D(page, -1, kernel / kernel.sum())


def shake(rng: Random, page: np.ndarray, length: float) -> np.ndarray:
    size = int(length) | 1
    kernel = np.zeros((size, size), np.float32)
    angle, middle = rng.uniform(0, np.pi), size // 2
    d = np.array([np.cos(angle), np.sin(angle)]) * middle
    cv2.line(kernel, tuple(np.round(middle - d).astype(int)), tuple(np.round(middle + d).astype(int)), 1)
    return cv2.filter2D(page, -1, kernel / kernel.sum())


def camera(rng: Random, scene: np.ndarray, light=1.0, noise=None, quality=None, gamma=None) -> bytes:
    """Light on the scene, the sensor's noise and tone curve, and a JPEG file."""
    lit = scene * (light[..., None] if isinstance(light, np.ndarray) else light)
    lit = lit * rng.uniform(0.75, 1.02) * rng.uniform(0.93, 1.05, 3)
    noise = rng.uniform(0.003, 0.025) if noise is None else noise
    lit = lit + rng.normal(0, 1, lit.shape).astype(np.float32) * noise * np.sqrt(np.clip(lit, 0.05, 1))
    picture = np.clip(lit, 0, 1) ** (rng.uniform(0.8, 1.2) if gamma is None else gamma) * 255
    _, data = cv2.imencode(
        ".jpg", picture.astype(np.uint8)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(quality or rng.integers(60, 96))]
    )
    return data.tobytes()


# --- Families: photos


def photo(rng: Random, subject: Subject, *, frame=None, share=None, papers=("white",), pens=("black", "blue"),
    width_share=None, lights=("even", "gradient"),
          ruling=None, degrees=4., perspective=.01, blur=0., motion=0., finish=None, strength=None, coverage=None,
              clutter=None, **shot) -> bytes:  # fmt: skip
    """One digit on a page, seen by a phone. `share` is the digit's height in the frame's shorter side."""
    frame = frame or [(600, 800), (800, 600), (640, 640), (480, 640)][rng.integers(4)]
    low, high = (share, share) if isinstance(share, float) else share or (0.15, 0.6)
    height = int(min(frame) * rng.uniform(low, high))
    pen_width = rng.uniform(*width_share) if width_share else None
    coverage = glyph(rng, subject, height, pen_width) if coverage is None else coverage(rng, height)
    page = paper(rng, frame, papers[rng.integers(len(papers))])
    if ruling:
        page = rule(
            rng, page, height * rng.uniform(*((0.35, 1.6) if ruling == "ruled" else (0.25, 1.3))), ruling == "squared"
        )
    free = np.array(frame) - coverage.shape
    top, left = (int(f * rng.uniform(0.15, 0.85)) for f in free)
    coverage = finish(rng, coverage) if finish else coverage
    page = ink_on(
        rng,
        page,
        coverage,
        top,
        left,
        pens[rng.integers(len(pens))],
        rng.uniform(*strength) if strength else rng.uniform(0.85, 1),
    )
    if clutter:
        page = clutter(rng, page, (top, left, *coverage.shape))
    page = tilt(rng, page, degrees, perspective)
    lights = [
        {"even": lambda r, s: 1.0, "gradient": gradient, "vignette": vignette, "shadow": shadow, "bars": bars}[name]
        for name in lights
    ]
    light = lights[rng.integers(len(lights))](rng, frame)
    if blur:
        page = defocus(page, max(1.0, height * rng.uniform(0.2, 1) * blur))
    if motion:
        page = shake(rng, page, max(3.0, height * rng.uniform(0.3, 1) * motion))
    return camera(rng, page, light, **shot)


def _desk(rng: Random, page: np.ndarray, box) -> np.ndarray:
    """The paper's edge and what lies beyond: a dark, light or wooden desk on one or two sides, clear of the digit."""
    page, (height, width) = page.copy(), page.shape[:2]
    tone = np.array(
        [(0.15, 0.12, 0.1), (0.45, 0.3, 0.18), (0.3, 0.3, 0.32), (0.6, 0.5, 0.4)][rng.integers(4)], np.float32
    )
    for side in rng.choice(4, rng.integers(1, 3), replace=False):
        top, left, h, w = box
        room = [top, left, height - top - h, width - left - w][side]
        deep = int(max(0, room) * rng.uniform(0.2, 0.8))
        if deep < 2:
            continue
        area = [np.s_[:deep], np.s_[:, :deep], np.s_[height - deep :], np.s_[:, width - deep :]][side]
        grain = 1 + 0.12 * _clouds(rng, page[area].shape[:2], 30)
        page[area] = tone * grain[..., None]
    return page


def _marks(rng: Random, page: np.ndarray, box) -> np.ndarray:
    """Crumbs, dots, and a pen stroke that enters from the frame's edge, clear of the digit."""
    page, (height, width) = page.copy(), page.shape[:2]
    top, left, h, w = box

    def free(y: int, x: int) -> bool:
        return not (top - 0.15 * h < y < top + 1.15 * h and left - 0.3 * h < x < left + w + 0.3 * h)

    for _ in range(rng.integers(1, 12)):
        y, x = rng.integers(height), rng.integers(width)
        if free(y, x):
            cv2.circle(page, (int(x), int(y)), int(rng.integers(1, max(2, h // 25))), (0.2, 0.2, 0.2), -1, cv2.LINE_AA)
    if rng.random() < 0.6:
        x = int(rng.integers(width))
        end = int(x + rng.normal(0, 60)), int(max(0, top - 0.25 * h) * rng.uniform(0.2, 0.9))
        if end[1] > 0:
            cv2.line(page, (x, 0), end, (0.12, 0.12, 0.3), max(1, h // 14), cv2.LINE_AA)
    return page


def _behind(rng: Random, page: np.ndarray, box) -> np.ndarray:
    """Print that shines through from the page's other side."""
    ghost = np.zeros(page.shape[:2], np.uint8)
    size = rng.uniform(0.4, 1.2)
    for y in range(0, page.shape[0], int(40 * size)):
        text = "".join(chr(rng.integers(97, 123)) if rng.random() < 0.8 else " " for _ in range(80))
        cv2.putText(
            ghost, text, (-int(rng.integers(40)), y), cv2.FONT_HERSHEY_TRIPLEX, size, 255, 1 + round(size), cv2.LINE_AA
        )
    ghost = cv2.GaussianBlur(ghost[:, ::-1].astype(np.float32) / 255, (0, 0), 1.5 * size)
    return page * (1 - rng.uniform(0.04, 0.13) * ghost[..., None])


def chalk(rng: Random, subject: Subject) -> bytes:
    """Bright strokes on a dark board."""
    frame = [(600, 800), (480, 640), (500, 500)][rng.integers(3)]
    height = int(min(frame) * rng.uniform(0.15, 0.7))
    coverage = glyph(rng, subject, height, rng.uniform(0.04, 0.14))
    if rng.random() < 0.5:
        coverage = pencil(rng, coverage)
    board = np.array(
        [(0.1, 0.1, 0.1), (0.08, 0.2, 0.14), (0.05, 0.05, 0.2), (0.25, 0.25, 0.25)][rng.integers(4)], np.float32
    )
    page = board * (1 + 0.1 * _clouds(rng, frame, 6) + 0.02 * rng.normal(0, 1, frame))[..., None].astype(np.float32)
    free = np.array(frame) - coverage.shape
    page = ink_on(rng, page, coverage, int(free[0] * rng.uniform(.1, .9)), int(free[1] * rng.uniform(.1, .9)),
                  [(.95, .95, .95), (.95, .9, .5), (.9, .6, .65)][rng.integers(3)], rng.uniform(.6, 1))  # fmt: skip
    light = [gradient, vignette, shadow, lambda r, s: 1.0][rng.integers(4)](rng, frame)
    return camera(rng, tilt(rng, page, 10, 0.03), light)


def thumbnail(rng: Random, subject: Subject) -> np.ndarray:
    """A photo that was made small: 24 to 64 pixels, paper and shadows and all."""
    data = photo(
        rng,
        subject,
        share=(0.45, 0.8),
        frame=(480, 480),
        papers=tuple(PAPERS),
        lights=("even", "gradient", "shadow", "vignette"),
        degrees=8,
        perspective=0.02,
    )
    side = int(rng.integers(24, 65))
    pixels = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))[..., ::-1]
    small = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA)
    return small if rng.random() < 0.5 else 255 - small


def everything(rng: Random, subject: Subject) -> bytes:
    """A draw from all troubles at once."""
    return photo(
        rng, subject, share=(.12, .7), papers=tuple(PAPERS), pens=("black", "blue", "green", "red", "purple"),
            width_share=(.03, .16),
        lights=("gradient", "vignette", "shadow", "bars"), ruling=[None, "ruled", "squared"][rng.integers(3)],
            degrees=15, perspective=.05,
        blur=rng.choice([0, .04]), motion=rng.choice([0, .1]), finish=[None, pencil, ballpoint][rng.integers(3)],
        clutter=[None, _desk, _marks, _behind][rng.integers(4)], quality=rng.integers(25, 90),
            noise=rng.uniform(.005, .04))  # fmt: skip


# --- Families: drawings, scans, small digits


def _mouse_path(rng: Random, subject: Subject, side: int) -> np.ndarray:
    """Drawn with a mouse: shaky straight pieces of one width. A borrowed digit is traced by its strokes instead."""
    height = int(side * rng.uniform(0.3, 0.9))
    width = max(1, side * rng.choice([0.008, 0.015, 0.03, 0.05, 0.08, 0.1])) / height
    if isinstance(subject, np.ndarray):
        return glyph(rng, subject, height, float(np.clip(width, 0.03, 0.2)))
    way = _WAYS[int(subject)][rng.integers(len(_WAYS[int(subject)]))]
    shaky = [
        [
            (p[0] + rng.normal(0, 0.015), p[1] + rng.normal(0, 0.015))
            for p in np.array(_smooth(stroke, rng.uniform(0.04, 0.2)))
        ]
        for stroke in way
    ]
    thick = max(1, round(width * height))
    room = thick + 2
    canvas = np.zeros((height + 2 * room + height // 3,) * 2, np.uint8)
    squeeze = rng.uniform(0.5, 1)
    for stroke in shaky:
        points = np.array([(x * squeeze * height + room, y * height + room) for x, y in stroke])
        cv2.polylines(
            canvas, [np.round(points).astype(int)], False, 255, thick, cv2.LINE_AA if rng.random() < 0.7 else cv2.LINE_8
        )
    return _cropped(canvas.astype(np.float32) / 255)


def mouse(rng: Random, subject: Subject, polarity: str) -> np.ndarray | bytes:
    """A drawing on a canvas of 28 to 800 pixels, no light and no noise; `clear` is a transparent canvas."""
    side = int(rng.choice([28, 56, 100, 140, 200, 280, 280, 400, 512, 800]))
    coverage = _mouse_path(rng, subject, side)
    coverage = coverage[:side, :side]
    top, left = (int(f * rng.uniform(0, 1)) for f in np.array((side, side)) - coverage.shape)
    canvas = np.zeros((side, side), np.float32)
    canvas[top : top + coverage.shape[0], left : left + coverage.shape[1]] = coverage
    level = np.round(canvas * 255).astype(np.uint8)
    if polarity == "clear":
        stroke = rng.choice([0, 0, 255])
        rgba = np.dstack([np.full((side, side, 3), stroke, np.uint8), level])
        return cv2.imencode(".png", rgba)[1].tobytes()
    if polarity == "dark":
        return level
    colours = (
        [(255, 255, 255), (0, 0, 0)]
        if rng.random() < 0.6
        else [(240, 240, 230), [(200, 30, 30), (20, 20, 160), (0, 110, 40), (120, 120, 120)][rng.integers(4)]]
    )
    ground, stroke = (np.array(c, np.float32) for c in colours)
    return (ground + canvas[..., None] * (stroke - ground)).round().astype(np.uint8)


def _cell(rng: Random, subject: Subject, side: int, borders: int) -> np.ndarray:
    """Reflectance of one box of a form, `borders` sides of which can be seen."""
    height = int(side * rng.uniform(0.45, 0.8))
    coverage = glyph(rng, subject, height, rng.uniform(0.05, 0.16))[:, : side - 2]
    cell = np.full((side, side), rng.uniform(0.85, 1), np.float32)
    for edge in rng.choice(4, borders, replace=False):
        # In part: the line is cut off, leans, or does not run the whole way.
        at, lean = rng.uniform(-0.01, 0.07) * side, rng.normal(0, 0.02) * side
        start, stop = rng.choice([0, 0, 0.3]) * side, side * rng.choice([1, 1, 0.7])
        a, b = (start, at), (stop, at + lean)
        a, b = [
            (a, b),
            (a[::-1], b[::-1]),
            ((a[0], side - a[1]), (b[0], side - b[1])),
            ((side - a[1], a[0]), (side - b[1], b[0])),
        ][edge]
        cv2.line(
            cell,
            [int(v * 16) for v in a],
            [int(v * 16) for v in b],
            rng.uniform(0.05, 0.6),
            max(1, round(side * rng.uniform(0.01, 0.04))),
            cv2.LINE_AA,
            4,
        )
    free = np.array(cell.shape) - coverage.shape
    top, left = (int(max(0, f) * rng.uniform(0.3, 0.7)) for f in free)
    part = cell[top : top + coverage.shape[0], left : left + coverage.shape[1]]
    part[:] = np.minimum(part, 1 - coverage[: part.shape[0], : part.shape[1]] * rng.uniform(0.55, 1))
    return cell


def scan(rng: Random, subject: Subject, *, borders=0, binary=False, faint=False) -> np.ndarray:
    """A box of a form off a scanner: 24 to 130 pixels, grey or black and white."""
    side = int(rng.choice([24, 32, 48, 64, 96, 130]))
    cell = _cell(rng, subject, side * 4, borders)
    cell = cv2.warpAffine(
        cell,
        cv2.getRotationMatrix2D((side * 2, side * 2), rng.normal(0, 4), 1),
        (side * 4, side * 4),
        borderMode=cv2.BORDER_REPLICATE,
    )
    cell = cv2.resize(cell, (side, side), interpolation=cv2.INTER_AREA)
    if faint:
        cell = 1 - (1 - cell) * rng.uniform(0.12, 0.35)
    cell = cell + rng.normal(0, rng.uniform(0, 0.03), cell.shape)
    if binary:
        cell = cell > rng.uniform(0.5, 0.75)
        cell = cell ^ (rng.random(cell.shape) < rng.choice([0, 0.001, 0.01]))
    picture = (np.clip(cell, 0, 1) * 255).astype(np.uint8)
    return picture if rng.random() < 0.75 else 255 - picture


def tight(rng: Random, subject: Subject) -> np.ndarray:
    """A small crop whose every side touches the ink, as post-code scans are: 12 to 24 pixels high."""
    side = int(rng.choice([16, 16, 16, 12, 20, 24]))
    coverage = glyph(rng, subject, 64, rng.uniform(0.07, 0.18))
    width = (
        side
        if rng.random() < 0.3
        else int(np.clip(coverage.shape[1] * side / coverage.shape[0] * rng.uniform(0.8, 1.3), 3, side))
    )
    small = cv2.resize(
        cv2.GaussianBlur(coverage, (0, 0), rng.uniform(0.5, 2)), (width, side), interpolation=cv2.INTER_AREA
    )
    margin = int(rng.integers(0, 2))
    room = max(0, side - width)
    cell = cv2.copyMakeBorder(small, margin, margin, margin + room // 2, margin + room - room // 2, cv2.BORDER_CONSTANT)
    cell = np.clip(cell / max(cell.max(), 0.1) + rng.normal(0, 0.02, cell.shape), 0, 1)
    picture = (cell * rng.uniform(120, 255)).astype(np.uint8)
    return picture if rng.random() < 0.5 else 255 - picture


# --- Families: corruptions of the 28x28 digit itself, bright on dark


def _digit28(rng: Random, subject: Subject) -> np.ndarray:
    """The subject as MNIST would show it, float from 0 to 1."""
    if isinstance(subject, np.ndarray):
        return subject.astype(np.float32) / 255
    strokes = glyph(rng, subject, 100, rng.uniform(0.09, 0.16))
    scale = 20 / max(strokes.shape)
    small = cv2.resize(
        strokes,
        (max(1, round(strokes.shape[1] * scale)), max(1, round(strokes.shape[0] * scale))),
        interpolation=cv2.INTER_AREA,
    )
    total = small.sum()
    top = round(14 - (small.sum(1) * np.arange(small.shape[0])).sum() / total)
    left = round(14 - (small.sum(0) * np.arange(small.shape[1])).sum() / total)
    digit = np.zeros((28, 28), np.float32)
    top, left = int(np.clip(top, 0, 28 - small.shape[0])), int(np.clip(left, 0, 28 - small.shape[1]))
    digit[top : top + small.shape[0], left : left + small.shape[1]] = small
    return digit


def _warp(digit, matrix):
    """Map output to input about the picture's middle by a 2 x 3 matrix."""
    centre = np.array([[1, 0, 13.5], [0, 1, 13.5], [0, 0, 1]])
    full = centre @ np.vstack([matrix, [0, 0, 1]]) @ np.linalg.inv(centre)
    return cv2.warpAffine(digit, full[:2], (28, 28), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


def _signed(rng: Random, low: float, high: float) -> float:
    return float(rng.choice([-1, 1]) * rng.uniform(low, high))


def shot_noise(rng, d):
    photons = rng.uniform(4, 14)
    return rng.poisson(d * photons + rng.choice([0, 0.3])) / photons


def impulse_noise(rng, d):
    hit = rng.random(d.shape) < rng.uniform(0.1, 0.3)
    return np.where(hit, rng.integers(0, 2, d.shape), d)


def glass_blur(rng, d):
    y, x = np.mgrid[:28, :28].astype(np.float32)
    reach = rng.uniform(0.8, 1.7)
    moved = cv2.remap(
        d,
        x + rng.uniform(-reach, reach, d.shape).astype(np.float32),
        y + rng.uniform(-reach, reach, d.shape).astype(np.float32),
        cv2.INTER_LINEAR,
    )
    return cv2.GaussianBlur(moved, (0, 0), rng.uniform(0.5, 1))


def motion_blur(rng, d):
    return shake(rng, d, rng.choice([5, 7, 9]))


def shear(rng, d):
    return _warp(d, np.array([[1, _signed(rng, 0.3, 0.8), 0], [0, 1, 0]]))


def scale(rng, d):
    z = 1 / rng.uniform(0.4, 0.75)
    return _warp(d, np.array([[z, 0, 0], [0, z, 0]]))


def rotate(rng, d):
    a = np.radians(_signed(rng, 15, 35))
    return _warp(d, np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0]]))


def brightness(rng, d):
    return d + rng.uniform(0.25, 0.7)


def translate(rng, d):
    return _warp(d, np.array([[1, 0, _signed(rng, 2, 5)], [0, 1, _signed(rng, 2, 5)]]))


def stripe(rng, d):
    upright = rng.random() < 0.5
    d = d.copy() if upright else d.T.copy()
    left, right = int(rng.integers(4, 9)), int(rng.integers(19, 24))
    if rng.random() < 0.6:
        d[:, :left], d[:, right:] = 1 - d[:, :left], 1 - d[:, right:]
    else:
        d[:, left : left + 5] = 1 - d[:, left : left + 5]
    return d if upright else d.T


def fog(rng, d):
    mist = np.sum([_clouds(rng, (28, 28), cells) / cells for cells in (1.5, 3, 6, 12)], axis=0)
    mist = (mist - mist.min()) / (mist.max() - mist.min())
    return d * (1 - rng.uniform(0.2, 0.4)) + mist * rng.uniform(0.4, 0.8)


def spatter(rng, d):
    drops = cv2.GaussianBlur(rng.normal(0, 1, (28, 28)).astype(np.float32), (0, 0), rng.uniform(0.9, 1.5))
    return np.maximum(d, np.clip((drops / drops.std() - rng.uniform(1.5, 2.1)) * 2, 0, 1) * rng.uniform(0.4, 0.9))


def _polyline(d, points, dotted):
    lines = np.zeros((28, 28), np.uint8)
    path = np.concatenate([np.linspace(a, b, max(2, int(np.hypot(*(b - a))))) for a, b in itertools.pairwise(points)])
    for i, p in enumerate(path[:-1]):
        if not dotted or i % 3 == 0:
            cv2.line(
                lines,
                tuple(np.round(p * 16).astype(int)),
                tuple(np.round((p if dotted else path[i + 1]) * 16).astype(int)),
                255,
                1,
                cv2.LINE_AA,
                4,
            )
    return np.maximum(d, lines / 255)


def dotted_line(rng, d):
    y = rng.uniform(3, 25, 2)
    points = np.array([[0, y[0]], [27, y[1]]])
    return _polyline(d, points if rng.random() < 0.5 else points[:, ::-1], True)


def zigzag(rng, d):
    n = rng.integers(4, 9)
    x = np.linspace(0, 27, n)
    y = rng.uniform(6, 22) + _signed(rng, 2, 5) * (-1) ** np.arange(n) + np.linspace(0, rng.normal(0, 4), n)
    points = np.stack([x, np.clip(y, 0, 27)], 1)
    return _polyline(d, points if rng.random() < 0.5 else points[:, ::-1], False)


def canny_edges(rng, d):
    return cv2.Canny((d * 255).astype(np.uint8), 100, 200, L2gradient=bool(rng.integers(2))) / 255


CORRUPTIONS = (
    shot_noise,
    impulse_noise,
    glass_blur,
    motion_blur,
    shear,
    scale,
    rotate,
    brightness,
    translate,
    stripe,
    fog,
    spatter,
    dotted_line,
    zigzag,
    canny_edges,
)


def corrupted(rng: Random, subject: Subject, corruption) -> np.ndarray:
    return np.round(np.clip(corruption(rng, _digit28(rng, subject)), 0, 1) * 255).astype(np.uint8)


# --- Families: what is no digit


def _letter(rng: Random, height: int) -> np.ndarray:
    return _write(rng, _LETTERS[rng.integers(len(_LETTERS))], max(40, height))


def _scribble(rng: Random, height: int) -> np.ndarray:
    n = rng.integers(8, 30)
    points = [tuple(p) for p in rng.uniform(0, 1, (n, 2))]
    return _write(rng, [points], max(40, height), rng.uniform(0.03, 0.08))


def letters(rng: Random, subject: Subject) -> Picture:
    if rng.random() < 0.5:
        return photo(rng, 0, coverage=_letter)
    canvas = np.zeros((200, 200), np.float32)
    coverage = _letter(rng, 110)[:190, :190]
    canvas[5 : 5 + coverage.shape[0], 5 : 5 + coverage.shape[1]] = coverage
    return (255 - canvas * 255).astype(np.uint8)


def scribbles(rng: Random, subject: Subject) -> Picture:
    return photo(rng, 0, coverage=_scribble)


def blanks(rng: Random, subject: Subject) -> Picture:
    """Paper without ink: photographed, ruled, or a canvas of one grey."""
    kind = rng.integers(4)
    if kind == 0:
        return np.full((int(rng.integers(8, 300)),) * 2, rng.integers(256), np.uint8)
    empty = lambda r, h: np.zeros((h, h), np.float32)  # noqa: E731
    return photo(
        rng,
        0,
        coverage=empty,
        papers=tuple(PAPERS),
        lights=("even", "gradient", "vignette", "shadow"),
        ruling=[None, None, "ruled", "squared"][kind],
    )


def noise(rng: Random, subject: Subject) -> Picture:
    side = int(rng.choice([28, 28, 64, 280]))
    return [rng.integers(0, 256, (side, side)), np.clip(rng.normal(rng.uniform(0, 128), 60, (side, side)), 0, 255)][
        rng.integers(2)
    ].astype(np.uint8)


def textures(rng: Random, subject: Subject) -> Picture:
    side = int(rng.choice([28, 100, 280]))
    y, x = np.mgrid[:side, :side] / side
    angle, waves = rng.uniform(0, np.pi), rng.uniform(3, 14)
    kind = rng.integers(3)
    if kind == 0:
        field = np.sin(2 * np.pi * waves * (x * np.cos(angle) + y * np.sin(angle)))
    elif kind == 1:
        field = np.sin(2 * np.pi * waves * x) * np.sin(2 * np.pi * waves * y)
    else:
        field = _clouds(rng, (side, side), waves)
    return np.clip(127 + 110 * field, 0, 255).astype(np.uint8)


def shapes(rng: Random, subject: Subject) -> Picture:
    """Filled or many-sided things, stars and arrows: no ring, which is a zero, and no bar, which is a one."""
    side = 160
    canvas = np.zeros((side, side), np.uint8)
    kind, size = rng.integers(4), rng.uniform(30, 65)
    turn = rng.uniform(0, 2 * np.pi)
    n = [3, 4, 10, 0][kind]
    if n:
        radii = size * np.where(np.arange(n) % 2, 0.45, 1) if n == 10 else np.full(n, size)
        a = turn + 2 * np.pi * np.arange(n) / n
        points = np.round(80 + radii[:, None] * np.stack([np.cos(a), np.sin(a)], 1)).astype(int)
        filled = rng.random() < 0.5
        cv2.fillPoly(canvas, [points], 255) if filled else cv2.polylines(canvas, [points], True, 255, 7, cv2.LINE_AA)
    else:
        cv2.circle(canvas, (80, 80), int(size), 255, -1, cv2.LINE_AA)
    return canvas if rng.random() < 0.5 else 255 - canvas


# --- The table


def families() -> dict[str, Family]:
    """Every family by name: photos, drawings, scans, `c_...` corruptions of 28x28 digits, `not_...` without a digit."""
    colours = tuple(PAPERS)
    table: dict[str, Family] = {
        "photo_white": photo,
        "photo_paper": partial(photo, papers=colours[1:]),
        "photo_shadow": partial(photo, papers=colours, lights=("shadow", "bars")),
        "photo_vignette": partial(photo, papers=colours, lights=("vignette",)),
        "photo_ruled": partial(
            photo, ruling="ruled", lights=("even", "gradient", "shadow"), degrees=6, perspective=0.02
        ),
        "photo_squared": partial(
            photo, ruling="squared", lights=("even", "gradient", "shadow"), degrees=6, perspective=0.02
        ),
        "photo_pens": partial(photo, papers=colours, pens=tuple(PENS), lights=("even", "gradient", "shadow")),
        "photo_pencil": partial(photo, finish=pencil, strength=(0.3, 0.6), width_share=(0.03, 0.09)),
        "photo_ballpoint": partial(photo, finish=ballpoint, width_share=(0.025, 0.06)),
        "photo_marker": partial(photo, width_share=(0.15, 0.24), pens=tuple(PENS)),
        "photo_blur": partial(photo, blur=0.09, motion=0.0),
        "photo_motion": partial(photo, motion=0.22),
        "photo_tiny": partial(photo, frame=(1500, 2000), share=(0.025, 0.07), lights=("even", "gradient", "shadow")),
        "photo_fills": partial(
            photo, frame=(400, 400), share=(0.8, 0.98), lights=("even", "gradient", "shadow"), degrees=3
        ),
        "photo_tilted": partial(photo, degrees=15, perspective=0.08, lights=("gradient", "shadow")),
        "photo_noisy_jpeg": partial(photo, noise=0.05, quality=18),
        "photo_desk": partial(photo, clutter=_desk, papers=colours, share=(0.15, 0.4)),
        "photo_marks": partial(photo, clutter=_marks, share=(0.15, 0.5)),
        "photo_behind": partial(photo, clutter=_behind),
        "photo_everything": everything,
        "chalk": chalk,
        "thumbnail": thumbnail,
        "mouse_dark": partial(mouse, polarity="dark"),
        "mouse_light": partial(mouse, polarity="light"),
        "mouse_clear": partial(mouse, polarity="clear"),
        "scan_grey": scan,
        "scan_binary": partial(scan, binary=True),
        "scan_faint": partial(scan, faint=True),
        "scan_borders": lambda rng, subject: scan(
            rng, subject, borders=int(rng.integers(1, 5)), binary=bool(rng.integers(2))
        ),
        "tight": tight,
    }
    table |= {f"c_{c.__name__}": partial(corrupted, corruption=c) for c in CORRUPTIONS}
    table |= {f"not_{f.__name__}": f for f in (letters, scribbles, blanks, noise, textures, shapes)}
    return table


@cache
def validation_digits() -> tuple[np.ndarray, np.ndarray]:
    """What the subjects are drawn from: never the test split, which is for a final table alone."""
    splits = data.load("mnist")
    return splits.validation.images, splits.validation.labels


def sample(family: str, n: int, seed: int = 0, pen_paths: float = 0.3) -> list[tuple[Picture, int]]:
    """`n` pictures and labels (-1: not a digit); picture i depends on (family, seed, i) alone."""
    make = families()[family]
    images, labels = validation_digits()
    drawn = []
    for i in range(n):
        rng = np.random.default_rng([seed, i, *family.encode()])
        which = int(rng.integers(len(labels)))
        label = int(labels[which])
        subject = label if rng.random() < pen_paths else images[which]
        drawn.append((make(rng, subject), NOT_A_DIGIT if family.startswith("not_") else label))
    return drawn
