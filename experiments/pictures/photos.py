"""Families: photos of a digit that a phone took."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from experiments.pictures.cameras import (
    Light,
    blind,
    creased,
    defocused,
    dusk,
    even,
    glare,
    gradient,
    jpeg,
    resized,
    shadow,
    shaken,
    tilted,
    vignette,
)
from experiments.pictures.papers import PAPERS, PENS, Colour, Page, ballpoint, clouds, inked, paper, pencil, ruled
from experiments.pictures.strokes import Coverage, Random, Subject, draw_line, glyph, pick

Span = tuple[float, float]
Box = tuple[int, int, int, int]
"""Top, left, height, width."""

ALL_PAPERS = tuple(PAPERS.values())
ALL_PENS = tuple(PENS.values())
DESKS = ((0.15, 0.12, 0.1), (0.45, 0.3, 0.18), (0.3, 0.3, 0.32), (0.6, 0.5, 0.4))
BOARDS = ((0.1, 0.1, 0.1), (0.08, 0.2, 0.14), (0.05, 0.05, 0.2), (0.25, 0.25, 0.25))
CHALKS = ((0.95, 0.95, 0.95), (0.95, 0.9, 0.5), (0.9, 0.6, 0.65))


@dataclass(frozen=True)
class Photo:
    """One thing on a page, seen by a phone; each picture draws from these."""

    frames: tuple[tuple[int, int], ...] = ((600, 800), (800, 600), (640, 640), (480, 640))
    """Heights and widths, in pixels."""
    share: Span = (0.15, 0.6)
    """Height of the digit in the frame's shorter side."""
    margin: float = 0.08
    """Share of the frame at each edge that is free of ink before the camera tilts."""
    papers: tuple[Colour, ...] = (PAPERS["white"],)
    pens: tuple[Colour, ...] = (PENS["black"], PENS["blue"])
    pen: Span | None = None
    """The pen's width as a share of the digit's height."""
    strength: Span = (0.85, 1)
    finish: Callable[[Random, Coverage], Coverage] | None = None
    """What the pen makes of its stroke."""
    pitch: Span | None = None
    """Distance of ruled lines as a share of the digit's height."""
    squared: bool = False
    clutter: Callable[[Random, Page, Box], Page] | None = None
    """What else is in the frame, clear of the digit's box."""
    lights: tuple[Callable[[Random, tuple[int, int]], Light], ...] = (even, gradient)
    degrees: float = 4.0
    perspective: float = 0.01
    blur: float = 0.0
    """Largest radius out of focus, as a share of the digit's height."""
    motion: float = 0.0
    """Largest path of the camera, as a share of the digit's height."""
    noise: float | None = None
    quality: int | None = None

    def __call__(self, rng: Random, subject: Subject) -> bytes:
        return self.take(rng, lambda height, pen: glyph(rng, subject, height, pen))

    def take(self, rng: Random, write: Callable[[int, float | None], Coverage]) -> bytes:
        """A photo of what `write` writes, for a height in pixels and a pen's width."""
        frame = pick(rng, self.frames)
        height = int(min(frame) * rng.uniform(*self.share))
        coverage = write(height, rng.uniform(*self.pen) if self.pen else None)
        fit = min(1.0, *np.multiply(frame, 1 - 2 * self.margin) / coverage.shape)
        if fit < 1:
            coverage = cv2.resize(coverage, None, fx=fit, fy=fit, interpolation=cv2.INTER_AREA)
        page = paper(rng, frame, pick(rng, self.papers))
        if self.pitch:
            page = ruled(rng, page, height * rng.uniform(*self.pitch), self.squared)
        free, edge = np.subtract(frame, coverage.shape), np.multiply(frame, self.margin)
        top, left = np.clip(free * rng.uniform(0.15, 0.85, 2), edge, free - edge).astype(int).tolist()
        coverage = self.finish(rng, coverage) if self.finish else coverage
        page = inked(page, coverage, top, left, pick(rng, self.pens), rng.uniform(*self.strength))
        if self.clutter:
            page = self.clutter(rng, page, (top, left, *coverage.shape))
        page = tilted(rng, page, self.degrees, self.perspective)
        light = pick(rng, self.lights)(rng, frame)
        if self.blur:
            page = defocused(page, max(1.0, height * rng.uniform(0.2, 1) * self.blur))
        if self.motion:
            page = shaken(rng, page, max(3.0, height * rng.uniform(0.3, 1) * self.motion))
        return jpeg(rng, page, light, self.noise, self.quality)


def desk(rng: Random, page: Page, box: Box) -> Page:
    """The paper's edge and what lies beyond: a dark, light or wooden desk on one or two sides."""
    page, (height, width) = page.copy(), page.shape[:2]
    top, left, high, wide = box
    tone = np.array(pick(rng, DESKS), np.float32)
    for side in rng.choice(4, rng.integers(1, 3), replace=False):
        room = (top, left, height - top - high, width - left - wide)[side]
        deep = int(max(0, room) * rng.uniform(0.2, 0.8))
        if deep >= 2:
            area = (np.s_[:deep], np.s_[:, :deep], np.s_[height - deep :], np.s_[:, width - deep :])[side]
            page[area] = tone * (1 + 0.12 * clouds(rng, page[area].shape[:2], 30))[..., None]
    return page


def marks(rng: Random, page: Page, box: Box) -> Page:
    """Crumbs, dots, and a pen stroke that enters from the frame's edge."""
    page, (height, width) = page.copy(), page.shape[:2]
    top, left, high, wide = box
    for _ in range(rng.integers(1, 12)):
        y, x = int(rng.integers(height)), int(rng.integers(width))
        beside = not (-0.15 * high < y - top < 1.15 * high and -0.3 * high < x - left < wide + 0.3 * high)
        if beside:
            cv2.circle(page, (x, y), int(rng.integers(1, max(2, high // 25))), (0.2, 0.2, 0.2), -1, cv2.LINE_AA)
    if rng.random() < 0.6:
        x = int(rng.integers(width))
        end = x + rng.normal(0, 60), max(0, top - 0.25 * high) * rng.uniform(0.2, 0.9)
        if end[1] > 1:
            draw_line(page, (x, 0), end, (0.12, 0.12, 0.3), high // 14)
    return page


def behind(rng: Random, page: Page, _box: Box) -> Page:
    """Print that shines through from the page's other side."""
    ghost = np.zeros(page.shape[:2], np.uint8)
    size = rng.uniform(0.4, 1.2)
    for y in range(0, page.shape[0], int(40 * size)):
        text = "".join(chr(rng.integers(97, 123)) if rng.random() < 0.8 else " " for _ in range(80))
        at = -int(rng.integers(40)), y
        cv2.putText(ghost, text, at, cv2.FONT_HERSHEY_TRIPLEX, size, 255, 1 + round(size), cv2.LINE_AA)
    seen = cv2.GaussianBlur(ghost[:, ::-1].astype(np.float32) / 255, (0, 0), 1.5 * size)
    return page * (1 - rng.uniform(0.04, 0.13) * seen[..., None])


def neighbours(rng: Random, page: Page, box: Box) -> Page:
    """Other writing on the page, cut off by the frame's edges."""
    top, left, high, wide = box
    height, width = page.shape[:2]
    for _ in range(rng.integers(1, 5)):
        other = glyph(rng, int(rng.integers(10)), high, rng.uniform(0.05, 0.12))
        beyond = int(rng.uniform(0.45, 0.8) * min(other.shape))
        places = {  # by the room between the edge and the digit
            top: (-beyond, int(rng.integers(width))),
            left: (int(rng.integers(height)), -beyond),
            height - top - high: (height - other.shape[0] + beyond, int(rng.integers(width))),
            width - left - wide: (int(rng.integers(height)), width - other.shape[1] + beyond),
        }
        room = pick(rng, tuple(places))
        if room > max(other.shape) - beyond + 0.3 * high:
            y, x = places[room]
            page = inked(page, other, y, x, PENS["black"])
    return page


def everything(rng: Random, subject: Subject) -> bytes:
    """A draw from all troubles at once."""
    ruling = rng.integers(3)
    photo = Photo(
        share=(0.12, 0.7),
        papers=ALL_PAPERS,
        pens=tuple(PENS[name] for name in ("black", "blue", "green", "red", "purple")),
        pen=(0.03, 0.16),
        lights=(gradient, vignette, shadow, blind),
        pitch=(None, RULED, SQUARED)[ruling],
        squared=bool(ruling == 2),
        degrees=15,
        perspective=0.05,
        blur=rng.choice([0, 0.04]),
        motion=rng.choice([0, 0.1]),
        finish=pick(rng, (None, pencil, ballpoint)),
        clutter=pick(rng, (None, desk, marks, behind)),
        quality=int(rng.integers(25, 90)),
        noise=rng.uniform(0.005, 0.04),
    )
    return photo(rng, subject)


def chalk(rng: Random, subject: Subject) -> bytes:
    """Bright strokes on a dark board."""
    frame = pick(rng, ((600, 800), (480, 640), (500, 500)))
    coverage = glyph(rng, subject, int(min(frame) * rng.uniform(0.15, 0.7)), rng.uniform(0.04, 0.14))
    if rng.random() < 0.5:
        coverage = pencil(rng, coverage)
    board = np.array(pick(rng, BOARDS), np.float32)
    page = board * (1 + 0.1 * clouds(rng, frame, 6) + 0.02 * rng.normal(0, 1, frame))[..., None].astype(np.float32)
    top, left = (int(free * rng.uniform(0.1, 0.9)) for free in np.subtract(frame, coverage.shape))
    page = inked(page, coverage, top, left, pick(rng, CHALKS), rng.uniform(0.6, 1))
    light = pick(rng, (gradient, vignette, shadow, even))(rng, frame)
    return jpeg(rng, tilted(rng, page, 10, 0.03), light)


def large(rng: Random, subject: Subject) -> bytes:
    """12 megapixels."""
    photo = Photo(((1500, 2000), (2000, 1500)), (0.05, 0.5), papers=ALL_PAPERS, pen=(0.04, 0.12), lights=LIGHTS)
    return cv2.imencode(".jpg", resized(photo(rng, subject), 4000))[1].tobytes()


def forwarded(rng: Random, subject: Subject) -> bytes:
    """What messengers leave of a photo: some 300 pixels, and few of a JPEG's coefficients."""
    small = resized(everything(rng, subject), int(rng.integers(240, 400)))
    return cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 45))])[1].tobytes()


def thumbnail(rng: Random, subject: Subject) -> np.ndarray:
    """A photo that was made small: 24 to 64 pixels, paper and shadows and all."""
    photo = Photo(((480, 480),), (0.45, 0.8), papers=ALL_PAPERS, lights=LIGHTS, degrees=8, perspective=0.02)
    small = resized(photo(rng, subject), int(rng.integers(24, 65)))[..., ::-1]
    return small if rng.random() < 0.5 else 255 - small


LIGHTS = (even, gradient, shadow, vignette)
RULED, SQUARED = (0.35, 1.6), (0.25, 1.3)
DAY = (even, gradient, shadow)
_LINES = Photo(lights=DAY, degrees=6, perspective=0.02)
FAMILIES = {
    "photo_white": Photo(),
    "photo_paper": Photo(papers=ALL_PAPERS[1:]),
    "photo_shadow": Photo(papers=ALL_PAPERS, lights=(shadow, blind)),
    "photo_vignette": Photo(papers=ALL_PAPERS, lights=(vignette,)),
    "photo_ruled": replace(_LINES, pitch=RULED),
    "photo_squared": replace(_LINES, pitch=SQUARED, squared=True),
    "photo_pens": Photo(papers=ALL_PAPERS, pens=ALL_PENS, lights=DAY),
    "photo_pencil": Photo(finish=pencil, strength=(0.3, 0.6), pen=(0.03, 0.09)),
    "photo_ballpoint": Photo(finish=ballpoint, pen=(0.025, 0.06)),
    "photo_marker": Photo(pen=(0.15, 0.24), pens=ALL_PENS),
    "photo_blur": Photo(blur=0.09),
    "photo_motion": Photo(motion=0.22),
    "photo_tiny": Photo(((1500, 2000),), share=(0.025, 0.07), lights=DAY),
    "photo_fills": Photo(((400, 400),), share=(0.8, 0.98), margin=0.01, lights=DAY, degrees=3),
    "photo_tilted": Photo(degrees=15, perspective=0.08, lights=(gradient, shadow)),
    "photo_noisy_jpeg": Photo(noise=0.05, quality=18),
    "photo_desk": Photo(clutter=desk, papers=ALL_PAPERS, share=(0.15, 0.4)),
    "photo_marks": Photo(clutter=marks, share=(0.15, 0.5)),
    "photo_behind": Photo(clutter=behind),
    "photo_neighbours": Photo(clutter=neighbours, share=(0.2, 0.5), degrees=3),
    "photo_creased": Photo(papers=ALL_PAPERS, lights=(creased,), blur=0.03),
    "photo_glare": Photo(papers=ALL_PAPERS, pens=ALL_PENS, lights=(glare,)),
    "photo_dusk": Photo(papers=ALL_PAPERS, lights=(dusk,), noise=0.03, quality=70),
    "photo_large": large,
    "photo_forwarded": forwarded,
    "photo_everything": everything,
    "chalk": chalk,
    "thumbnail": thumbnail,
}
