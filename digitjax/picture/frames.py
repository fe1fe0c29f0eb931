"""Ink without what forms print around digits: cells, combs and underlines."""

import cv2
import numpy as np
from jaxtyping import UInt8

from digitjax.picture.ink import Ink

Mask = UInt8[np.ndarray, "_ _"]
FAINT, INK = 0.12, 0.3
MOST_TRIED = 1000  # of holes, and of long strokes: a bound for hostile pictures


def without_frames(found: Ink, boxes: np.ndarray, height: float) -> Ink:
    """Takes out cells around digits and lines along them.

    Args:
      boxes: of connected ink: left, top, right, bottom.
      height: of a usual digit.
    """
    frames = np.zeros(found.shape, np.uint8)
    for level in (FAINT, INK):
        frames |= _cells((found > level).astype(np.uint8), height)
    width = boxes[:, 2] - boxes[:, 0]
    for which in np.argsort(-width)[:MOST_TRIED]:
        if width[which] < 2.5 * height:
            break
        left, top, right, bottom = boxes[which]
        area = np.s_[top:bottom, left:right]
        length = min(max(2.5 * height, 0.85 * width[which]), 6 * height)
        frames[area] |= _straight((found[area] > FAINT).astype(np.uint8), int(length) | 1)
    if not frames.any():
        return found
    thick = max(1, round(4 * cv2.mean(cv2.distanceTransform(frames, cv2.DIST_L2, 3), frames)[0]))
    # Where a stroke crossed a line, it goes on.
    bridged = cv2.morphologyEx(np.where(frames, np.float32(0), found), cv2.MORPH_CLOSE, _square(thick + 2))
    return np.minimum(bridged, found)


def _cells(mask: Mask, height: float) -> Mask:
    """The ink around holes that are straight-edged and large enough for a digit."""
    frames = np.zeros_like(mask)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(1 - mask, connectivity=4)
    stats[0] = 0
    width, depth, area = stats[:, 2], stats[:, 3], stats[:, 4]
    large = (np.minimum(width, depth) > 0.4 * height) & (area > 0.25 * height**2)
    inside = (width < mask.shape[1]) & (depth < mask.shape[0])
    margin = int(0.2 * height) + 2
    for hole in np.flatnonzero(large & inside)[:MOST_TRIED]:
        left, top = stats[hole, :2]
        around = np.s_[
            max(0, top - margin) : top + depth[hole] + margin, max(0, left - margin) : left + width[hole] + margin
        ]
        outlines, _ = cv2.findContours(
            (labels[around] == hole).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
        )
        hull = cv2.convexHull(max(outlines, key=len))
        sides = cv2.minAreaRect(hull)[1]
        # A rectangle fills its box; the hole of a zero, an ellipse, fills pi / 4 of it.
        if cv2.contourArea(hull) < max(0.9 * sides[0] * sides[1], 0.3 * height**2):
            continue
        filled = cv2.fillConvexPoly(np.zeros_like(mask[around]), hull, 1)
        ring = inner = cv2.erode(filled, _square(3))
        for step in range(margin):
            wider = cv2.dilate(ring, _square(3))
            if step > 1 and cv2.mean(mask[around], wider - ring)[0] < 0.5:
                break
            ring = wider
        frames[around] |= (ring - inner) & mask[around]
    return frames


def _straight(mask: Mask, length: int) -> Mask:
    """Rows of ink that run straight for `length` pixels, leaning up to 12 degrees."""
    found = np.zeros_like(mask)
    if mask.shape[1] < length:
        return found
    thick = cv2.dilate(mask, np.ones((3, 1), np.uint8))
    for lean in range(-12, 13, 2):
        rise = round(length * np.tan(np.radians(lean)))
        kernel = np.zeros((abs(rise) + 1, length), np.uint8)
        cv2.line(kernel, (0, max(0, -rise)), (length - 1, max(0, rise)), 1)
        found |= cv2.morphologyEx(thick, cv2.MORPH_OPEN, kernel)
    return found & mask


def _square(side: int) -> Mask:
    return np.ones((side | 1, side | 1), np.uint8)


def unframed(found: Ink) -> Ink:
    """The ink of one digit without a box that is printed around it: four straight sides, each of them nearly whole."""
    mask = found > 0.3
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    if min(found.shape) < 40 or min(width, height) < 24:
        return found
    box = mask[top : top + height, left : left + width]
    margins = [_side(side) for side in (box, box[::-1], box.T, box.T[::-1])]
    if all(margins) and 0.4 < width / height < 2.5:
        above, below, before, behind = margins
        inside = np.zeros_like(found)
        part = np.s_[top + above : top + height - below, left + before : left + width - behind]
        inside[part] = found[part]
        return inside
    return np.zeros_like(found) if any(margins) and _is_crossing(mask) else found


def _is_crossing(mask: np.ndarray) -> bool:
    """Whether there is nothing but lines from border to border that cross each other: those of an empty cell."""
    rows, columns = (np.flatnonzero(cv2.dilate(along, np.ones((3, 1))) > 0.9) for along in (mask.mean(1), mask.mean(0)))
    inside = all(
        len(found) and found[0] > 1 and found[-1] < size - 2 for found, size in zip((rows, columns), mask.shape)
    )
    if not inside:
        return False
    rest = mask.copy()
    rest[rows], rest[:, columns] = False, False
    return bool(rest.sum() < 0.05 * mask.sum())


def _side(mask: np.ndarray) -> int:
    """Where the straight line that is the upper side of a box ends, in rows; 0 where there is none."""
    strip = mask[: max(3, len(mask) // 5)]
    # A slanted line takes several rows, none of which it fills.
    lined = np.flatnonzero(strip.mean(1) > 0.4)
    if not len(lined) or strip.any(0).mean() < 0.9:
        return 0
    return int(lined[-1]) + 1 + max(1, (int(lined[-1]) + 1) // 4)
