"""A number reads as it is laid out, wherever it stands, whatever the polarity, and with boxes where its digits are."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import Int
from PIL import Image

import digitjax
from digitjax.data.datasets import Dataset, Splits
from digitjax.picture.pixels import PictureError
from digitjax.picture.strips import HEIGHT as STRIP
from digitjax.reading import tables
from digitjax.reading.layout import MOST_COMPONENTS
from digitjax.reading.lines import MOST_COLUMNS, Cut, Digit, Reading, _accounts_for, marked, read
from digitjax.reading.predict import Predictor
from digitjax.reading.strips import LineReader, Spotted
from tests.picture.test_canonical import TURNS, encoded

HEIGHT = 48
NUMBERS = st.lists(st.integers(0, 199), min_size=2, max_size=6)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return digitjax.load()


@pytest.fixture(scope="module")
def digits(splits: Splits, predictor: Predictor) -> Dataset:
    """Digits in one piece that the network is sure of: what is tested here is how they are found."""
    images, labels = splits.test.images, splits.test.labels
    judged = predictor.judge(images)
    plain = [cv2.connectedComponents((image > 60).astype(np.uint8))[0] == 2 for image in images]
    sure = np.flatnonzero((judged.digits == labels) & (judged.confidences > 0.95) & plain)[:200]
    return Dataset(images[sure], labels[sure])


def strokes(image: np.ndarray, height: int = HEIGHT) -> np.ndarray:
    """A digit of MNIST, trimmed, in smooth strokes."""
    left, top, wide, high = cv2.boundingRect((image > 60).astype(np.uint8))
    large = cv2.resize(image[top : top + high, left : left + wide], None, fx=height / high, fy=height / high)
    return cv2.resize(large, (max(large.shape[1], height // 8), height))


def line(images: Sequence[np.ndarray], gap: int = 14, height: int = HEIGHT) -> np.ndarray:
    """Digits side by side: bright strokes on dark."""
    space = np.zeros((height, gap), np.uint8)
    return np.hstack([part for image in images for part in (strokes(image, height), space)][:-1])


def page(ink: np.ndarray, left: int = 40, top: int = 40, right: int = 40, bottom: int = 40) -> np.ndarray:
    """Black ink on white paper."""
    return 255 - np.pad(ink, ((top, bottom), (left, right)))


def stacked(rows: Sequence[np.ndarray], gap: int = 40) -> np.ndarray:
    width = max(row.shape[1] for row in rows)
    return np.vstack([np.pad(row, ((0, gap), (0, width - row.shape[1]))) for row in rows])[:-gap]


def text(digits: Dataset, places: Sequence[int]) -> str:
    return "".join(str(digits.labels[place]) for place in places)


def boxes(reading: Reading) -> np.ndarray:
    return np.array([digit.box for row in reading.lines for digit in row])


def share(law: Callable[[np.random.Generator], bool], count: int = 40) -> float:
    """In how many of `count` draws the law holds."""
    random = np.random.default_rng(0)
    return sum(law(random) for _ in range(count)) / count


def number(digits: Dataset, random: np.random.Generator) -> Int[np.ndarray, " length"]:
    return random.integers(0, len(digits.labels), random.integers(2, 7))


def share_read(predictor: Predictor, digits: Dataset, draw, length: int = 5, count: int = 100) -> float:
    """How many numbers read as they should where `draw` makes a picture of each."""

    def right(random):
        places = random.integers(0, len(digits.labels), length)
        return read(predictor, draw(digits.images[places], random)).text == text(digits, places)

    return share(right, count)


@pytest.mark.parametrize("height", [20, 48, 150])
def test_digits_apart_are_read(predictor, digits, height):
    assert share_read(predictor, digits, lambda images, _: page(line(images, height // 4, height))) > 0.9


def test_a_number_may_stand_anywhere(predictor, digits):
    def holds(random):
        ink, (left, top) = line(digits.images[number(digits, random)]), random.integers(30, 300, 2).tolist()
        here, there = (read(predictor, page(ink, *corner, 350 - corner[0])) for corner in ((60, 50), (left, top)))
        if there.text != here.text:
            return False
        return np.abs(boxes(there) - (left, top, 0, 0) - boxes(here) + (60, 50, 0, 0)).max() <= 3

    assert share(holds) > 0.9


@given(NUMBERS)
def test_polarity_does_not_matter(predictor, digits, places):
    picture = page(line(digits.images[places]))
    dark, bright = read(predictor, picture), read(predictor, 255 - picture)
    assert bright.text == dark.text
    assert [[one.box for one in row] for row in bright.lines] == [[one.box for one in row] for row in dark.lines]
    # To a float's last bits: 1 - x / paper is not computed alike for paper and for its opposite.
    assert bright.confidence == pytest.approx(dark.confidence, abs=1e-3)


def test_numbers_side_by_side_read_one_after_the_other_with_a_space_between(predictor, digits):
    def holds(random):
        pages = [page(line(digits.images[number(digits, random)])) for _ in range(2)]
        return read(predictor, np.hstack(pages)).text == " ".join(read(predictor, one).text for one in pages)

    assert share(holds) > 0.9


def test_numbers_below_each_other_read_line_by_line(predictor, digits):
    def holds(random):
        rows = [line(digits.images[number(digits, random)]) for _ in range(random.integers(2, 5))]
        return read(predictor, page(stacked(rows))).text == "\n".join(read(predictor, page(row)).text for row in rows)

    assert share(holds, 25) > 0.85


def test_two_rows_in_a_wide_picture_are_not_taken_for_one_line(predictor, digits):
    def law(random: np.random.Generator) -> bool:
        rows = [random.integers(len(digits.labels), size=random.integers(5, 9)) for _ in range(2)]
        ink = stacked([line(digits.images[row]) for row in rows], gap=int(random.integers(10, 30)))
        return read(predictor, page(ink, 20, 6, 60, 6)).text == "\n".join(text(digits, row) for row in rows)

    assert share(law) >= 0.9


def test_a_line_is_all_there_is_only_if_all_its_tall_ink_is_of_its_digits():
    labels = np.zeros((100, 300), np.int32)
    labels[20:80, 40:80], labels[20:80, 120:150] = 1, 2
    places = np.array([[30, 60, 90], [110, 135, 160]], np.float32) * STRIP / 100
    cut = Cut(np.zeros((STRIP, 120), np.uint8), labels.astype(np.float32), labels, 0.0, STRIP / 100, (0, 0, 1, 1))

    def accounted(mask: np.ndarray, seen: np.ndarray = places) -> bool:
        spotted = Spotted(np.arange(len(seen), dtype=np.int32), np.ones(len(seen), np.float32), seen, 0.99)
        return _accounts_for(spotted, cut._replace(labels=mask, found=(mask > 0).astype(np.float32)))

    assert accounted(labels)
    assert not accounted(labels, places[:1])
    assert not accounted(labels, places[:0])
    speck, above = labels.copy(), labels.copy()
    speck[50:60, 200:210] = 3
    assert accounted(speck)
    above[20:80, 120:150], above[5:45, 120:150], above[55:95, 120:150] = 0, 2, 3
    assert not accounted(above)


@pytest.mark.parametrize("lean", [-9, -4, 0, 5, 9])
def test_the_order_follows_the_layout(predictor, digits, lean):
    """Six digits in two rows, which may climb or fall."""
    narrow = [place for place, image in enumerate(digits.images) if strokes(image).shape[1] <= 50]
    order = np.random.default_rng(9 + lean).permutation(narrow[:6])
    cells = [cv2.copyMakeBorder(strokes(digits.images[place]), 20, 20, 10, 10, cv2.BORDER_CONSTANT) for place in order]
    rows = page(
        stacked(
            [
                np.hstack([np.pad(cell, ((0, 0), (0, 70 - cell.shape[1]))) for cell in cells[start:][:3]])
                for start in (0, 3)
            ],
            1,
        ),
        120,
        120,
        120,
        120,
    )
    turn = cv2.getRotationMatrix2D((rows.shape[1] / 2, rows.shape[0] / 2), lean, 1)
    turned = cv2.warpAffine(rows, turn, rows.shape[::-1], borderValue=255)
    found = read(predictor, turned).lines
    assert [len(row) for row in found] == [3, 3]
    assert all(a.box[0] < b.box[0] for row in found for a, b in pairwise(row))
    assert [digit.digit for row in found for digit in row] == digits.labels[list(order)].tolist()


def test_boxes_lie_within_the_picture_and_cover_the_ink(predictor, digits):
    def holds(random):
        picture = page(line(digits.images[number(digits, random)]), *random.integers(0, 9, 4).tolist())
        covered = np.zeros(picture.shape, bool)
        for left, top, width, height in boxes(read(predictor, picture)):
            assert min(left, top) >= 0
            assert left + width <= picture.shape[1]
            assert top + height <= picture.shape[0]
            covered[top : top + height, left : left + width] = True
        return covered[picture < 100].mean() > 0.99

    assert share(holds) > 0.9


@pytest.mark.parametrize("orientation", TURNS)
def test_boxes_are_those_of_the_picture_as_seen(predictor, digits, orientation):
    upright = page(line(digits.images[:4]), 30, 200)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(TURNS[orientation](upright)))
    assert read(predictor, encoded(stored, "PNG", exif=exif)) == read(predictor, upright)


@pytest.mark.parametrize("zoom", [2, 5, 9])
def test_boxes_grow_with_the_picture(predictor, digits, zoom):
    """Also where a large JPEG is decoded to a smaller one."""
    small = page(line(digits.images[:5]), 100, 150, 80, 60)
    large = Image.fromarray(small).resize((small.shape[1] * zoom, small.shape[0] * zoom), Image.Resampling.BICUBIC)
    once, often = read(predictor, small), read(predictor, encoded(large, "JPEG", quality=95))
    assert often.text == once.text
    np.testing.assert_allclose(boxes(often) / zoom, boxes(once), atol=3)


def marks(images, random):
    """A number with a comma, a point, a dash, and specks."""
    row = np.pad(line(images, 26), ((0, 20), (40, 0)))
    ends = np.cumsum([strokes(image).shape[1] + 26 for image in images])[:-1] + 40 - 13
    for x, kind in zip(ends.tolist(), random.permutation(4)):
        if kind == 0:
            cv2.line(row, (x, HEIGHT - 2), (x - 3, HEIGHT + 8), 255, 4)
        elif kind == 1:
            cv2.circle(row, (x, HEIGHT - 2), 3, 255, -1)
        elif kind == 2:
            cv2.line(row, (x - 8, HEIGHT // 2), (x + 8, HEIGHT // 2), 255, 4)
    picture = page(row)
    for x, y in random.integers(2, 30, (6, 2)).tolist():
        cv2.circle(picture, (x, y), 1, 0, -1)
    return picture


def ruled(images, random):
    """A number on a ruled page."""
    picture = page(line(images), 60, 130, 60, 130)
    for y in range(random.integers(10, 30), picture.shape[0], 40):
        cv2.line(picture, (0, y), (picture.shape[1], y + 4), 170, 1)
    return picture


def underlined(images, random):
    picture = page(line(images))
    cv2.line(picture, (25, HEIGHT + 52), (picture.shape[1] - 25, HEIGHT + 50), 60, 3)
    return picture


def in_cells(images, random):
    """A number in a row of printed boxes."""
    cells = [np.pad(strokes(image), ((14, 14), (0, 0))) for image in images]
    cells = [np.pad(cell, ((0, 0), ((64 - cell.shape[1]) // 2,) * 2)) for cell in cells]
    for cell in cells:
        cv2.rectangle(cell, (0, 0), (cell.shape[1] - 1, cell.shape[0] - 1), 180, 2)
    return page(np.hstack(cells))


def above_a_cloth(images, random):
    """A number, and below it a coarse weave."""
    weave = cv2.resize(random.uniform(0, 1, (16, 60)), (600, 160), interpolation=cv2.INTER_CUBIC) > 0.6
    return np.vstack([page(line(images), right=600)[:, :600], np.where(weave, 60, 255).astype(np.uint8)])


@pytest.mark.parametrize(
    ("draw", "least", "count"),
    # A cloth has many pieces: its pages cost eight times what the others do.
    [(marks, 0.85, 100), (ruled, 0.85, 100), (underlined, 0.85, 100), (in_cells, 0.85, 100), (above_a_cloth, 0.75, 30)],
)
def test_what_is_no_digit_is_left_out(predictor, digits, draw, least, count):
    narrow = [strokes(image).shape[1] < 60 for image in digits.images]
    kept = Dataset(digits.images[narrow], digits.labels[narrow])
    assert share_read(predictor, kept, draw, count=count) > least


def broken(images, random):
    """A number of which one digit's strokes are interrupted."""
    torn, which = images.copy(), random.integers(len(images))
    torn[which, int(random.integers(10, 19))] = 0
    return page(line(torn))


def touching(images, random):
    """Digits so near that their ink meets."""
    row = strokes(images[0])
    for digit in map(strokes, images[1:]):
        before, after = row > 100, digit > 100
        free = before[:, ::-1].argmax(1) + after.argmax(1)
        free[~before.any(1) | ~after.any(1)] = 99
        overlap = max(0, min(int(free.min()) + 1, digit.shape[1] - 1))
        width = np.zeros((HEIGHT, row.shape[1] + digit.shape[1] - overlap), np.uint8)
        width[:, : row.shape[1]] = row
        width[:, width.shape[1] - digit.shape[1] :] = np.maximum(width[:, width.shape[1] - digit.shape[1] :], digit)
        row = width
    return page(row)


@pytest.mark.parametrize(("draw", "length", "least"), [(broken, 4, 0.8), (touching, 2, 0.7), (touching, 3, 0.6)])
def test_strokes_apart_are_put_together_and_digits_that_touch_are_cut(predictor, digits, draw, length, least):
    assert share_read(predictor, digits, draw, length=length) > least


@pytest.mark.parametrize("place", [3, 50, 120])
def test_one_digit_is_what_the_predictor_says_of_the_picture(predictor, digits, place):
    picture = page(strokes(digits.images[place]), 100, 60)
    alone = predictor.predict(picture)
    [[digit]] = read(predictor, picture).lines
    assert (digit.digit, digit.verdict) == (alone.digit, alone.verdict)
    assert digit.confidence == pytest.approx(alone.confidence)
    [[same]] = read(predictor, digits.images[place]).lines
    assert same.digit == digits.labels[place]


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_blank_picture_says_nothing(predictor, level):
    assert read(predictor, np.full((300, 400), level, np.uint8)) == Reading("", [])


def test_a_bad_picture_is_a_picture_error(predictor):
    with pytest.raises(PictureError):
        read(predictor, b"no picture")


def test_unsure_digits_are_marked():
    rows = [[Digit(4, 0.9, [0, 0, 1, 1], "digit"), Digit(7, 0.4, [2, 0, 1, 1], "unsure")]]
    assert marked(Reading("47\n1", [*rows, [Digit(1, 0.8, [0, 2, 1, 1], "not_a_digit")]])) == "4?\n?"


@pytest.mark.torture
@pytest.mark.parametrize(("seed", "size"), [(0, 1), (1, 2), (2, 5)])
def test_the_work_for_a_hostile_picture_is_bounded(predictor, monkeypatch, seed, size):
    random = np.random.default_rng(seed)
    specks = np.kron(random.random((900 // size, 1200 // size)) < 0.1, np.ones((size, size))).astype(np.uint8)
    judged, judge, columns, look = [], Predictor.judge_alone, [], LineReader.log_shares

    def counted(self: LineReader, strips: Sequence[np.ndarray]) -> list[np.ndarray]:
        columns.extend(strip.shape[1] for strip in strips)
        return look(self, strips)

    monkeypatch.setattr(
        Predictor, "judge_alone", lambda self, images: judged.append(len(images)) or judge(self, images)
    )
    monkeypatch.setattr(LineReader, "log_shares", counted)
    read(predictor, 255 - 255 * specks)
    assert 0 < sum(judged) <= 2 * MOST_COMPONENTS
    assert 0 < sum(columns) <= 1.2 * MOST_COLUMNS


def grid(rows: Sequence[Sequence[np.ndarray | None]], thick: int, is_open: bool, side: int = 80) -> np.ndarray:
    """Digits in the cells of a printed table, which may be open below: dark on white, with a margin."""
    cells = []
    for row in rows:
        across = []
        for image in row:
            cell = np.zeros((side, side), np.uint8)
            if image is not None:
                ink = strokes(image, side // 2)
                top, left = (side - ink.shape[0]) // 2, (side - ink.shape[1]) // 2
                cell[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
            across.append(cell)
        cells.append(np.hstack(across))
    sheet = np.vstack(cells)
    sheet = np.pad(sheet, ((0, 4), (0, 4)))
    for place in range(len(rows) + (not is_open)):
        cv2.line(sheet, (0, place * side), (sheet.shape[1], place * side), 255, thick)
    for place in range(len(rows[0]) + 1):
        cv2.line(sheet, (place * side, 0), (place * side, sheet.shape[0]), 255, thick)
    return page(sheet)


@pytest.mark.parametrize(("thick", "is_open"), [(1, False), (2, True), (4, False)])
@pytest.mark.parametrize(("rows", "columns", "empty"), [(3, 3, 0), (9, 9, 0.6), (8, 4, 0.2)])
def test_a_grid_is_no_ink_however_much_of_it_there_is(predictor, digits, thick, is_open, rows, columns, empty):
    narrow = [place for place, image in enumerate(digits.images) if strokes(image).shape[1] < 46]
    random = np.random.default_rng(rows * thick)
    places = random.choice(narrow, (rows, columns))
    there = random.random((rows, columns)) >= empty
    there[:, 0] = True
    picture = grid(
        [[digits.images[p] if t else None for p, t in zip(*row)] for row in zip(places, there)], thick, is_open
    )
    expected = [[int(digits.labels[p]) for p, t in zip(*row) if t] for row in zip(places, there)]
    reading = read(predictor, picture)
    found = [[one.digit for one in row] for row in reading.lines]
    assert len(found) == rows
    assert sum(a == b for a, b in zip(found, expected)) >= 0.8 * rows
    table = tables.cells(reading)
    texts = [[str(digits.labels[p]) if t else "" for p, t in zip(*row)] for row in zip(places, there)]
    if there.any(0).all():
        assert np.mean(np.array(table) == texts) > 0.9


@pytest.mark.parametrize("thick", [1, 3, 5, 7])
def test_a_number_in_the_cells_of_a_form_is_one_number_whatever_their_lines(predictor, digits, thick):
    narrow = np.array([place for place, image in enumerate(digits.images) if strokes(image).shape[1] < 46])

    def holds(random):
        places = random.choice(narrow, 8)
        return read(predictor, grid([list(digits.images[places])], thick, False)).text == text(digits, places)

    assert share(holds, 20) >= 0.8


@pytest.mark.parametrize(("rows", "length"), [(1, 2), (4, 10), (20, 20), (30, 30)])
def test_no_digit_of_a_page_is_lost_however_many_there_are(predictor, digits, rows, length):
    random = np.random.default_rng(rows)
    sheet = [line(digits.images[random.integers(0, 200, length)], 10, 28) for _ in range(rows)]
    found = read(predictor, page(stacked(sheet, 24)))
    assert not found.truncated
    assert len(found.lines) == rows
    counts = [len(row) for row in found.lines]
    assert sum(abs(count - length) for count in counts) <= 0.03 * rows * length
    assert found.confidence <= 1


def test_a_line_that_was_read_reads_the_same_alone(predictor, digits):
    def holds(random):
        sheet = page(stacked([line(digits.images[number(digits, random)]) for _ in range(3)]))
        found, same = read(predictor, sheet), []
        for row, said in zip(found.lines, found.text.split("\n")):
            corners = np.array([one.box for one in row])
            left, top = corners[:, :2].min(0) - 12
            right, bottom = (corners[:, :2] + corners[:, 2:]).max(0) + 12
            same.append(read(predictor, sheet[max(0, top) : bottom, max(0, left) : right]).text == said)
        return all(same)

    assert share(holds, 20) >= 0.8


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_page_may_lie_on_its_side_or_upside_down(predictor, digits, quarters):
    def holds(random):
        sheet = page(stacked([line(digits.images[random.integers(0, 200, 6)]) for _ in range(4)]))
        upright, lying = read(predictor, sheet), read(predictor, np.ascontiguousarray(np.rot90(sheet, -quarters)))
        if (lying.text, lying.turned) != (upright.text, 90 * quarters):
            return False
        marked_up, marked_so = np.zeros_like(sheet), np.zeros(np.rot90(sheet, quarters).shape, np.uint8)
        for seen, found in ((marked_up, upright), (marked_so, lying)):
            for left, top, wide, high in boxes(found):
                seen[top : top + high, left : left + wide] = 255
        return np.mean(marked_up != np.rot90(marked_so, quarters)) < 0.01

    assert share(holds, 8) >= 0.75


@given(st.data())
def test_a_tables_cells_are_those_that_it_was_made_of(data):
    """Whatever the widths of its columns, the room between them, its lean, and which way it lies."""
    rows, columns = data.draw(st.integers(2, 6)), data.draw(st.integers(1, 5))
    widths = [data.draw(st.integers(1, 4)) for _ in range(columns)]
    room, slope = data.draw(st.integers(16, 60)), data.draw(st.floats(-0.05, 0.05))
    turned = data.draw(st.sampled_from([0, 90, 180, 270]))
    expected, lines, side = [], [], 4000
    for row in range(rows):
        cells, found, x = [], [], 1000.0
        for column, width in enumerate(widths):
            there = column == row % columns or data.draw(st.integers(0, 3)) > 0  # each column has a full cell
            text = "".join(str(data.draw(st.integers(0, 9))) for _ in range(width)) if there else ""
            for place, sign in enumerate(text):
                left, top = x + 18 * place, 1000 + 40 * row
                box = [round(left - slope * top), round(top + slope * left), 14, 20]
                found.append(Digit(int(sign), 1.0, box, "digit"))
            cells.append(text)
            x += 18 * width + room
        lines.append([one._replace(box=_lying(one.box, turned, side)) for one in found])
        expected.append(cells)
    if rows >= columns:
        assert tables.cells(Reading("", lines, turned=turned)) == expected


def _lying(box: list[int], turned: int, side: int) -> list[int]:
    x, y, wide, high = box
    if turned == 90:
        return [side - y - high, x, high, wide]
    if turned == 180:
        return [side - x - wide, side - y - high, wide, high]
    return [y, side - x - wide, high, wide] if turned == 270 else box


def test_a_number_is_known_for_one_and_a_digit_is_not(predictor, digits):
    """One digit of several is never called a digit; one alone is never called several, also where its ink is apart."""

    def holds(random):
        places = random.integers(0, len(digits.labels), 2)
        two = predictor.predict(page(line(digits.images[places])))
        one = predictor.predict(page(strokes(digits.images[places[0]])))
        torn = digits.images[places[1]].copy()
        torn[13] = 0
        apart = predictor.predict(page(strokes(torn)))
        return two.several and two.verdict != "digit" and not one.several and not apart.several

    assert share(holds, 60) > 0.9
    forms = predictor.predict(list(digits.images[:50]))
    assert not any(answer.several for answer in forms)
