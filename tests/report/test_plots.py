"""A sheet shows every picture whole, in its order and shape, whatever their number and sizes."""

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from digitjax.report import plots


def drawn(figure) -> np.ndarray:
    """Grey, [height, width]."""
    return cv2.imdecode(np.frombuffer(plots.png(figure), np.uint8), cv2.IMREAD_GRAYSCALE)


def places(sheet: np.ndarray, shades: list[int]) -> np.ndarray:
    """Where each shade lies: first and last row and column, [n, 4]. It must fill all between."""
    found = []
    for shade in shades:
        mine = abs(sheet.astype(int) - shade) <= 2
        rows, columns = np.nonzero(mine)
        box = rows.min(), rows.max(), columns.min(), columns.max()
        assert mine[box[0] : box[1] + 1, box[2] : box[3] + 1].all()
        found.append(box)
    return np.array(found)


def in_order(found: np.ndarray, columns: int) -> None:
    """Rows from top to bottom, in each the pictures from left to right, none over another."""
    for number, (top, _, left, _) in enumerate(found):
        if number % columns:
            assert left > found[number - 1][3]
        if number >= columns:
            assert top > found[number - columns][1]


@settings(max_examples=10)
@given(st.lists(st.tuples(st.integers(20, 60), st.integers(20, 60)), min_size=1, max_size=9), st.integers(2, 4))
def test_a_sheet_shows_every_picture_whole_in_its_order_and_shape(sizes, columns):
    shades = [40 + 12 * number for number in range(len(sizes))]
    pictures = [np.full(size, shade, np.uint8) for size, shade in zip(sizes, shades)]
    found = places(drawn(plots.digits(pictures, [""] * len(sizes), "", columns)), shades)
    in_order(found, columns)
    tall, wide = found[:, 1] - found[:, 0] + 1, found[:, 3] - found[:, 2] + 1
    np.testing.assert_allclose(tall / wide, [height / width for height, width in sizes], rtol=0.05)


def test_a_heat_map_lies_over_its_own_picture_alone():
    heat = np.ones((28, 28))
    plain, warm = (
        drawn(plots.digits(np.full((3, 28, 28), 90, np.uint8), [""] * 3, "", 3, maps=[None, each]))
        for each in (None, heat)
    )
    changed = np.flatnonzero((plain != warm).any(0)) / plain.shape[1]
    assert 1 / 3 < changed.min() < 0.4
    assert 0.6 < changed.max() < 2 / 3


def test_each_channel_has_a_tile_in_its_order_and_shape():
    stack = np.arange(1, 20) / 19 * np.ones((6, 4, 19))
    sheet = drawn(plots.channels(stack, ""))
    shades = [256 * channel // 19 for channel in range(1, 19)]
    found = places(sheet[:, : round(0.95 * sheet.shape[1])], shades)  # the bar of colours beside it has all shades
    in_order(found, 16)
    tall, wide = found[:, 1] - found[:, 0] + 1, found[:, 3] - found[:, 2] + 1
    np.testing.assert_allclose(tall / wide, 6 / 4, rtol=0.08)
