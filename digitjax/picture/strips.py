"""Strips: a line of writing at one height, its strokes bright on dark, as the line reader sees it."""

import cv2
import numpy as np
from jaxtyping import UInt8

HEIGHT = 40
"""Of every strip, in pixels."""
Grey = UInt8[np.ndarray, "_ _"]
Strip = UInt8[np.ndarray, "40 _"]


def evened(grey: Grey) -> Grey:
    """Dark writing on paper of any light as strokes from 0 (paper) to 255 (the strongest ink), of the same size.

    What is darker than the paper around it is ink, by the share that it is darker.
    """
    paper = cv2.blur(cv2.dilate(grey, np.ones((9, 9), np.uint8)), (15, 15), borderType=cv2.BORDER_REPLICATE)
    darker = 255 - np.asarray(cv2.divide(grey, paper, scale=255), np.uint8)
    darker[paper == 0] = 0
    counts = np.cumsum(np.bincount(darker.ravel(), minlength=256))
    strongest = max(int(np.searchsorted(counts, 0.985 * counts[-1])), 20)
    return np.asarray(cv2.convertScaleAbs(darker, alpha=255 / strongest), np.uint8)


def strip(grey: Grey) -> Strip:
    """Dark writing on paper that fills a picture, as a strip."""
    zoom = HEIGHT / grey.shape[0]
    size = max(8, round(grey.shape[1] * zoom)), HEIGHT
    return evened(cv2.resize(grey, size, interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR))
