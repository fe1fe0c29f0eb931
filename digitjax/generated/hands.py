"""Generated hands: digits as pen paths, with the variants that people write all over the world, and by any pen.

Skeletons are written from a person's knowledge of handwriting: no picture, font or data set stands behind them. A digit
is a list of strokes, each a path of the pen in a box of height 1 (x to the right, y down); `draw` writes it with a pen,
a slant and a tremor, `digits` puts it into MNIST's form.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Int32, UInt8

from digitjax.data.formats import Dataset
from digitjax.generated import fonts
from digitjax.generated.pen import Draw, Number, Stroke, arc, curve, joined, written
from digitjax.picture.canonical import fitted


def paths(draw: Draw, digit: int) -> list[Stroke]:
    """The strokes of one way to write a digit, [points, 2] each (x, y), about 1 high."""
    return [np.asarray(stroke, np.float64) for stroke in _DIGITS[digit](draw)]


def draw(rng: Draw, digit: int, height: int = 80) -> UInt8[np.ndarray, "_ _"]:
    """A digit as one hand writes it: its strokes, bright on dark, cut out tightly; about `height` pixels high.

    >>> strokes = draw(np.random.default_rng(0), 7)
    >>> strokes.dtype, bool(strokes[0].any()), bool(strokes[:, -1].any())
    (dtype('uint8'), True, True)
    """
    return written(rng, paths(rng, digit), height)


def digits(labels: Int32[np.ndarray, " n"], seed: int) -> Dataset:
    """A generated digit of each label, in MNIST's form; each depends on (seed, its place, its label) alone."""
    pictures = [
        fitted(draw(np.random.default_rng((seed, place, int(label))), int(label)) / np.float32(255))
        for place, label in enumerate(labels)
    ]
    return Dataset(np.stack(pictures), labels) if pictures else Dataset(np.zeros((0, 28, 28), np.uint8), labels)


def joined_to(dataset: Dataset, share: float, seed: int, folder: str = "") -> Dataset:
    """The data set and behind it `share` times as many generated digits, the ten classes in turn.

    Args:
      folder: of handwriting fonts (see `fonts.glyphs`), which then give half of them; '' for pen paths alone.
    """
    count = round(share * len(dataset.labels))
    if not count:
        return dataset
    labels = (np.arange(count) % 10).astype(np.int32)
    made = digits(labels, seed).images
    if folder:
        known = fonts.glyphs(folder, "0123456789")
        for place in range(1, count, 2):
            rng, label = np.random.default_rng((seed, place, 11)), int(labels[place])
            same = known[str(label)]
            made[place] = fonts.varied(rng, same[int(rng.integers(len(same)))])
    return Dataset(np.concatenate([dataset.images, made]), np.concatenate([dataset.labels, labels]))


def pick(rng: Draw, *shares: Number) -> int:
    """Which of several ways, by their shares."""
    return int(rng.choice(len(shares), p=np.array(shares) / sum(shares)))


def _zero(rng: Draw) -> list[Stroke]:
    """Closed, not quite closed, with a loop or a hook at the top, slashed, begun or left with a tail, or with both."""
    across, way, direction = rng.uniform(0.18, 0.46), pick(rng, 5, 2, 2, 1.2, 0.8, 1.5), rng.choice([-1, 1])
    if way == 5:  # as in a row of them: it comes from the left and leaves to the right, and its ends may cross
        return [_ribbon(rng)]
    sweep = rng.uniform(300, 345) if way == 1 else rng.uniform(355, 385)
    strokes = [arc(0.5, 0.5, across, 0.5, rng.uniform(-130, -50), direction * sweep)]
    if way == 2:
        hook = arc(0.5 + rng.uniform(-0.1, 0.15), rng.uniform(-0.03, 0.1), rng.uniform(0.05, 0.15), 0.08, 60, -330)
        strokes = [joined(strokes[0], hook)] if rng.random() < 0.5 else [*strokes, hook]
    if way == 3:
        reach = rng.uniform(0.6, 1.35)
        strokes.append(
            joined([(0.5 - reach * across, 0.5 + reach * 0.38)], [(0.5 + reach * across, 0.5 - reach * 0.38)])
        )
    if way == 4:
        tail = np.array([rng.uniform(-0.1, 0.35), -rng.uniform(0.05, 0.22)])
        strokes = [joined([strokes[0][0] + tail], strokes[0]) if rng.random() < 0.5 else
                   joined(strokes[0], [strokes[0][-1] + tail])]  # fmt: skip
    return strokes


def _ribbon(rng: Draw) -> Stroke:
    """A ring that is open, or closed twice over, below or above, with a tail to the side on which each end lies."""
    across, place = rng.uniform(0.35, 0.75), rng.uniform(-50, 50)
    lap = rng.uniform(-40, 70)  # degrees that are gone twice: below 0 its ends stay apart
    ring = arc(0.5, 0.5, across, 0.5, 90 + place + lap / 2, 360 + lap)[:: rng.choice([-1, 1])]
    begin, end = (rng.uniform(0, 0.5), rng.uniform(-0.05, 0.1)), (rng.uniform(0, 0.45), rng.uniform(-0.02, 0.12))
    first, last = (1, -1) if ring[0, 0] > ring[-1, 0] else (-1, 1)
    parts = [ring]
    if rng.random() < 0.6:
        parts.insert(0, ring[:1] + (first * begin[0], begin[1]))
    if rng.random() < 0.75:
        parts.append(ring[-1:] + (last * end[0], end[1]))
    path = joined(*parts)
    return path * (1, -1) + (0, 1) if rng.random() < 0.3 else path  # linked above


def _one(rng: Draw) -> list[Stroke]:
    """A stroke; with an upstroke of any length, its top sharp or round; with a foot; with both; in one go."""
    lean, way = rng.uniform(-0.08, 0.16), pick(rng, 1.2, 1.5, 3, 2.5, 0.8, 3)
    top, foot = np.array([0.5 + lean, 0.0]), np.array([0.5 - lean, 1.0])
    if way == 0:
        return [joined([top], [foot])]
    if way == 5:  # up and down in one go, which leaves a narrow loop at the top, or none
        start = foot - (rng.uniform(0.08, 0.5), rng.uniform(-0.05, 0.45))
        beside = (top + foot) / 2 - (rng.uniform(-0.06, 0.16), rng.uniform(0.05, 0.3))
        over = [top + (rng.uniform(-0.08, 0.1), rng.uniform(0.03, 0.2)), top]
        return [curve([start, beside, *over, top + (foot - top) * 0.3 - (rng.uniform(0, 0.08), 0), foot])]
    length = (rng.uniform(0.12, 0.3), rng.uniform(0.25, 0.55), rng.uniform(0.5, 1.1), rng.uniform(0.1, 0.3))[way - 1]
    angle = np.radians(rng.uniform(15, 62))
    start = top + length * np.array([-np.sin(angle), np.cos(angle)]) * (1, 1 if way < 4 else 0.2)
    bulge = (start + top) / 2 + rng.uniform(-0.05, 0.22) * length * np.array([-np.cos(angle), -np.sin(angle)])
    if rng.random() < 0.3:  # the pen turns at the top without a corner
        strokes = [curve([start, bulge, top, (foot + top) / 2 + (0.03, 0), foot])]
    else:
        up = curve([start, bulge, top]) if rng.random() < 0.6 else joined([start], [top])
        if rng.random() < 0.2:  # the pen lands with a hook
            up = joined([start - (rng.uniform(0.02, 0.14), rng.uniform(-0.06, 0.1))], up)
        apart = top + (rng.uniform(-0.03, 0.02), rng.uniform(0, 0.05))
        strokes = [joined(up, [foot])] if rng.random() < 0.8 else [up, joined([apart], [foot])]
    if rng.random() < 0.33:
        left, right, rise = rng.uniform(0.12, 0.42), rng.uniform(0.12, 0.42), rng.uniform(-0.04, 0.03)
        strokes.append(joined([foot - (left, rise)], [foot + (right, rise)]))
    return strokes


def _two(rng: Draw) -> list[Stroke]:
    """With a loop at the foot, with a corner there, flat like a Z, with a long tail."""
    way, width = pick(rng, 3, 5, 1.2, 1.2), rng.uniform(0.36, 0.8)
    neck = rng.uniform(0.5, 0.66)
    head = [(rng.uniform(0, 0.14), rng.uniform(0.1, 0.36)), (width * rng.uniform(0.3, 0.55), 0)]
    if rng.random() < 0.45:  # it begins with a curl, which may close
        curl = [(width * rng.uniform(0.3, 0.55), rng.uniform(0.2, 0.34)), (width * 0.2, rng.uniform(0.34, 0.44))]
        if rng.random() < 0.4:
            curl = [(width * 0.1, rng.uniform(0.2, 0.3)), (width * 0.4, rng.uniform(0.14, 0.24)), *curl]
        head = [*curl, (0, rng.uniform(0.16, 0.26)), head[1]]
    head += [(width, rng.uniform(0.14, 0.32)), (width * rng.uniform(0.5, 0.75), neck)]
    end = (width * rng.uniform(0.95, 1.35), rng.uniform(0.88, 1.02))
    if way == 0:
        loop = rng.uniform(0.12, 0.28)
        return [curve([*head, (0.1, 0.97), (0.02, 1 - loop * 0.5), (0.16, 1 - loop), (width * 0.6, 0.95), end])]
    if way == 2:
        return [joined([(0, rng.uniform(0, 0.08)), (width, 0)], [(0, 1)], [(end[0], rng.uniform(0.95, 1.02))])]
    foot = (rng.uniform(0, 0.08), 1)
    tail = curve([foot, (width * 0.5, rng.uniform(0.9, 1.0)), end]) if way == 3 else joined([foot], [end])
    return [joined(curve([*head, foot]), tail)]


def _three(rng: Draw) -> list[Stroke]:
    """Round, flat at the top, with a beak, with a small loop in the middle; its lower bow open or curled in."""
    width, way, waist = rng.uniform(0.45, 0.75), pick(rng, 5, 3, 1), rng.uniform(0.4, 0.52)
    beak = np.array([width * rng.uniform(0.3, 0.6), waist])
    low = [(width * rng.uniform(0.9, 1.1), rng.uniform(0.64, 0.8)), (width * 0.5, 1)]
    low += [(rng.uniform(0, 0.12), rng.uniform(0.8, 0.96))]
    if rng.random() < 0.15:
        low.append((rng.uniform(0.1, 0.2), rng.uniform(0.7, 0.8)))
    if way == 1:
        head = joined([(rng.uniform(0, 0.1), rng.uniform(0, 0.08))], [(width, rng.uniform(-0.02, 0.05))], [beak])
        return [joined(head, curve([beak, *low]))]
    head = curve(
        [(rng.uniform(0, 0.12), rng.uniform(0.06, 0.22)), (width * 0.5, 0), (width, rng.uniform(0.14, 0.28)), beak]
    )
    if way == 2:
        return [joined(head, arc(beak[0] - 0.06, waist, 0.06, 0.05, 0, 330), curve([beak, *low]))]
    return [joined(head, curve([beak, *low]))]


def _four(rng: Draw) -> list[Stroke]:
    """Open, closed as a triangle, on a long stem, in one stroke, like an L with a stroke through its foot, like h."""
    way, bar, stem = pick(rng, 4, 3, 1, 2.5, 1.3), rng.uniform(0.45, 0.75), rng.uniform(0.42, 0.72)
    right, tilt = rng.uniform(0.75, 1.05), rng.uniform(-0.08, 0.05)
    foot = (stem - rng.uniform(-0.05, 0.14), 1)
    if way == 0:
        down = [(rng.uniform(0.05, 0.4), rng.uniform(-0.02, 0.12)), (rng.uniform(0, 0.1), bar)]
        corner = curve([*down, (right, bar + tilt)]) if rng.random() < 0.25 else joined(down, [(right, bar + tilt)])
        return [corner, joined([(stem, rng.uniform(-0.1, 0.42))], [foot])]
    if way == 1:
        left = (rng.uniform(-0.05, 0.08), bar)
        return [joined([(stem, 0)], [left], [(right, bar + tilt)]), joined([(stem, rng.uniform(-0.05, 0.1))], [foot])]
    if way == 2:
        start = (right, bar + tilt)
        return [joined([start], [(0, bar)], [(stem, 0)], [foot])]
    if way == 4:  # like h: over the bar without a corner, and down
        down = [(rng.uniform(0.1, 0.3), 0), (rng.uniform(0, 0.1), rng.uniform(0.55, 0.75))]
        over = [(stem * 0.6, bar - rng.uniform(0.1, 0.22)), (stem, bar - 0.05), (stem - rng.uniform(0, 0.1), 1)]
        return [joined(down, curve([down[1], *over]))]
    low = rng.uniform(0.5, 0.85)
    down = [(rng.uniform(0.1, 0.45), 0), (0.06, low * 0.6), (rng.uniform(0, 0.1), low), (right, low + tilt)]
    down = curve(down) if rng.random() < 0.5 else joined([down[0]], down[2:])
    return [
        down,
        joined([(stem, low - rng.uniform(0.12, 0.4))], [(stem - rng.uniform(0, 0.08), rng.uniform(0.9, 1.05))]),
    ]


def _five(rng: Draw) -> list[Stroke]:
    """In one stroke or two, its bar apart, above, across, long, short, missing; its bow round, flat, or a mere hook."""
    waist, x, width = rng.uniform(0.36, 0.52), rng.uniform(0.04, 0.22), rng.uniform(0.5, 0.8)
    bow = curve(
        [
            (x, waist),
            (x + 0.5 * width, waist - rng.uniform(0.02, 0.12)),
            (x + width * rng.uniform(0.85, 1), rng.uniform(0.6, 0.76)),
            (x + 0.4 * width, 1),
            (rng.uniform(-0.08, 0.1), rng.uniform(0.82, 0.97)),
        ]
    )
    top = np.array([x + rng.uniform(0, 0.12), rng.uniform(0, 0.05)])
    end = np.array([top[0] + width * rng.uniform(0.5, 1.15), rng.uniform(-0.16, 0.06)])
    way = pick(rng, 4, 4, 1, 4)
    if way == 3:  # its bow is hardly one: a stem that hooks to the left, with a bar to the right, like a tick
        bulge, foot = rng.uniform(-0.02, 0.14), x + rng.uniform(-0.28, 0.2)
        stem = curve([top, (foot + bulge, rng.uniform(0.5, 0.75)), (foot, rng.uniform(0.86, 1)),
                      (foot - rng.uniform(0.12, 0.4), rng.uniform(0.68, 0.95))])  # fmt: skip
        if rng.random() < 0.5:  # without a bow at all, like the sign of a root
            stem = joined(
                [top], [(foot, rng.uniform(0.9, 1))], [(foot - rng.uniform(0.1, 0.3), rng.uniform(0.5, 0.85))]
            )
        gap = np.array([rng.uniform(-0.05, 0.12), rng.uniform(-0.08, 0.08)])
        return [joined([end], stem)] if rng.random() < 0.6 else [stem, joined([top + gap], [end + gap])]
    if way == 0:
        return [joined([end], [top], bow)] if rng.random() < 0.75 else [joined(curve([end, (end + top) / 2, top]), bow)]
    if way == 1:
        gap = np.array([rng.uniform(-0.18, 0.16), rng.uniform(-0.1, 0.04)])
        return [joined([top], bow), joined([top + gap], [end + gap * (1, 1)])]
    return (
        [joined([top], bow)]
        if rng.random() < 0.6
        else [curve([end, (x + 0.3 * width, 0.02), (x, waist * 0.6), *bow[::8]])]
    )


def _six(rng: Draw) -> list[Stroke]:
    """Slim or wide, its bow closed, open or curled in; its back straight or bent."""
    across, down = rng.uniform(0.18, 0.36), rng.uniform(0.17, 0.32)
    y = 1 - down
    start = (rng.uniform(0.4, 0.95), rng.uniform(-0.02, 0.05))
    back = curve([start, (0.5 - across * rng.uniform(0.55, 1.0), rng.uniform(0.3, 0.45)), (0.5 - across, y)])
    return [joined(back, arc(0.5, y, across, down, 180, -rng.uniform(290, 400))[1:])]


def _seven(rng: Draw) -> list[Stroke]:
    """Plain, with a serif, a wave, or a bar that sags as in a y; crossed high or low or not; with a long drop."""
    width, top, way = rng.uniform(0.45, 0.9), rng.uniform(0, 0.06), pick(rng, 4, 2.5, 4, 2, 2.5)
    if way == 3:  # little more than a stem with a stroke through it: its bar is short, and waved
        width, way = rng.uniform(0.18, 0.4), 2
    corner, deep = (width, top - rng.uniform(-0.02, 0.06)), False
    if way == 0:
        bar = [(0, top + rng.uniform(-0.04, 0.08)), corner]
    elif way == 4:
        deep, width = True, rng.uniform(0.3, 0.65)
        corner, dip = (width, top - rng.uniform(-0.04, 0.12)), rng.uniform(0.18, 0.42)
        landing = [(-rng.uniform(0.05, 0.25), top + rng.uniform(0.1, 0.25))] if rng.random() < 0.5 else []
        bar = list(curve([*landing, (0, top + rng.uniform(-0.02, 0.14)), (width * rng.uniform(0.2, 0.5), top + dip),
                          (width * rng.uniform(0.6, 0.8), top + dip * rng.uniform(0.6, 0.9)), corner]))  # fmt: skip
    elif way == 1:
        bar = [(rng.uniform(-0.05, 0.06), top + rng.uniform(0.1, 0.3)), (rng.uniform(0, 0.06), top), corner]
    else:
        dip, rise = rng.uniform(0.03, 0.32), rng.uniform(-0.05, 0.1)
        deep = dip > 0.14  # without a stroke through its stem it would be a y
        bar = [
            (0, top + dip * rng.uniform(0.2, 1)),
            (width * 0.2, top + rise),
            (width * rng.uniform(0.5, 0.75), top + dip),
        ]
        bar = list(curve([*bar, corner]))
    foot = (width * rng.uniform(0.0, 0.75), 1 + (rng.uniform(0, 0.25) if rng.random() < 0.25 else 0))
    middle = ((corner[0] + foot[0]) / 2 + rng.uniform(-0.14, 0.05), 0.5)
    down = curve([corner, middle, foot]) if rng.random() < 0.6 else joined([corner], [foot])
    strokes = [joined(bar, down[1:])]
    if rng.random() < (0.92 if deep or width < 0.42 else 0.5):
        y = rng.uniform(0.38, 0.64) if rng.random() < (0.25 if way == 4 else 0.8) else rng.uniform(0.58, 0.84)
        x = float(np.interp(y, down[:, 1], down[:, 0]))
        left, right, tilt = rng.uniform(0.1, 0.45), rng.uniform(0.1, 0.5), rng.uniform(-0.08, 0.14)
        cross = [(x - left, y + tilt), (x + right, y - tilt)]
        if rng.random() < 0.06:  # in one go: from the foot back up to where it is crossed
            return [joined(strokes[0], curve([foot, (foot[0] - 0.12, 0.97), cross[0], cross[1]])[1:])]
        strokes.append(
            curve([cross[0], (x, y + rng.uniform(-0.05, 0.05)), cross[1]]) if rng.random() < 0.3 else joined(cross)
        )
    return strokes


def _eight(rng: Draw) -> list[Stroke]:
    """Two rings, or one path that crosses itself, slim or wide, its top closed or left open."""
    waist, upper, lower = rng.uniform(0.38, 0.54), rng.uniform(0.15, 0.34), rng.uniform(0.18, 0.4)
    if rng.random() < 0.35:
        drift = rng.uniform(-0.06, 0.06)
        ring = arc(0.5 + drift, waist / 2, upper, waist / 2, 90 + rng.uniform(-40, 40), rng.uniform(335, 380))
        return [
            ring,
            arc(0.5, (1 + waist) / 2, lower, (1 - waist) / 2, -90 + rng.uniform(-40, 40), rng.uniform(345, 380)),
        ]
    start = (0.5 + upper * rng.uniform(0.7, 1.2), rng.uniform(0.02, 0.18))
    down = [start, (0.5, 0), (0.5 - upper, waist * 0.5), (0.5, waist), (0.5 + lower, rng.uniform(0.68, 0.8))]
    back = [(0.5, 1), (0.5 - lower, rng.uniform(0.68, 0.8)), (0.5, waist + 0.02), (0.5 + upper, waist * 0.45)]
    end = (0.5 + upper * rng.uniform(0.2, 1.0), rng.uniform(0, 0.1))
    path = curve([*down, *back, end])
    return [path * (-1, 1) + (1, 0)] if rng.random() < 0.2 else [path]


def _nine(rng: Draw) -> list[Stroke]:
    """Round or straight, like g, q or P: a ring, closed or not, on a stem that may bend, hook or run long."""
    if rng.random() < 0.45:
        return _nine_on_a_stem(rng)
    if rng.random() < 0.2:  # like an e: from within, round, and on into the tail
        right, low = rng.uniform(0.6, 0.85), rng.uniform(0.36, 0.52)
        ring = [
            (0.3, low - 0.05),
            (0.55, low - rng.uniform(0.05, 0.12)),
            (right, 0.2),
            (0.5, 0),
            (0.25, rng.uniform(0.14, 0.3)),
        ]
        tail = [(rng.uniform(0.3, 0.45), low), (right - 0.05, rng.uniform(0.4, 0.6)), (rng.uniform(0.3, 0.6), 1)]
        return [curve([*ring, *tail])]
    across, down = rng.uniform(0.18, 0.36), rng.uniform(0.16, 0.3)
    start = rng.uniform(-75, 10)
    ring = arc(
        0.5, down, across, down, start, -(rng.uniform(235, 300) if rng.random() < 0.2 else rng.uniform(300, 385))
    )
    x, way = 0.5 + across, pick(rng, 3.5, 2.5, 2, 2)
    top, bottom = (x, down * rng.uniform(0.1, 1)), 1 + (rng.uniform(0, 0.15) if rng.random() < 0.2 else 0)
    if way == 0:
        tail = joined([top], [(x - rng.uniform(-0.03, 0.2), bottom)])
    elif way == 1:
        tail = curve(
            [top, (x, 0.65), (x - 0.12, 0.94), (0.5 - across * rng.uniform(0.2, 1.1), rng.uniform(0.84, 1.02))]
        )
    elif way == 2:
        tail = curve([top, (x + 0.02, 0.58), (0.52, 0.9), (0.5 - across * rng.uniform(0.3, 1.1), 1)])
    else:
        tail = curve(
            [top, (x, 0.7), (x - 0.22, 1), (0.5 - across, 0.88), (0.5, rng.uniform(0.62, 0.76)), (x + 0.1, 0.55)]
        )
    return [joined(ring, tail)] if rng.random() < 0.7 else [ring, tail]


def _nine_on_a_stem(rng: Draw) -> list[Stroke]:
    """The stem first, the bow then, to the left of it or to the right (like P): it need not close."""
    x, lean = rng.uniform(0.4, 0.7), rng.uniform(-0.05, 0.2)
    foot = np.array([x - lean, 1.0])
    stem = joined([(x, rng.uniform(-0.02, 0.12))], [foot])
    if rng.random() < 0.4:  # in one go: up, over, round, and back through the stem, to its left
        left, right, low = x - rng.uniform(0.02, 0.2), x + rng.uniform(0.26, 0.5), rng.uniform(0.36, 0.56)
        end = (x - rng.uniform(-0.12, 0.4), low + rng.uniform(-0.1, 0.06))
        bowl = [(left, rng.uniform(0.14, 0.3)), ((left + right) / 2, 0), (right, rng.uniform(0.12, 0.26))]
        return [curve([foot, ((x - lean * 0.6 + left) / 2, 0.55), *bowl, ((x + right) / 2, low), end])]
    if rng.random() < 0.25:  # it hooks at the foot, to either side
        stem = curve(
            [stem[0], (x - 0.6 * lean, 0.6), foot, foot + (rng.choice([-1, 1]) * rng.uniform(0.1, 0.35), -0.06)]
        )
    across, down, side = rng.uniform(0.16, 0.36), rng.uniform(0.15, 0.32), rng.choice([-1, 1], p=[0.35, 0.65])
    begin = 180 if side > 0 else 0
    bow = arc(x + side * across * 0.85, down, across, down, begin, side * rng.uniform(270, 380))
    if side > 0 and rng.random() < 0.3:  # like R: the bow ends in a leg
        bow = joined(bow, [bow[-1] + (rng.uniform(0.15, 0.45), rng.uniform(0.25, 0.55))])
    return [joined(stem[::-1], bow)] if rng.random() < 0.4 else [bow, stem]


_DIGITS: tuple[Callable[[Draw], list[Stroke]], ...] = (
    _zero, _one, _two, _three, _four, _five, _six, _seven, _eight, _nine,
)  # fmt: skip
