"""The canonical form does not depend on place, polarity, light, size, orientation or file format of the picture."""

import io
import struct
import time
import zlib
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import stats

from digitjax.picture.canonical import canonical
from digitjax.picture.pixels import PictureError


def page(digit: np.ndarray, zoom: int = 6, size: int = 300, left: int = 70, top: int = 50) -> np.ndarray:
    """A digit in black on white paper, `zoom` times as large, in smooth strokes."""
    side = 28 * zoom
    strokes = np.asarray(Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC))
    picture = np.full((size, size), 255, np.uint8)
    picture[top : top + side, left : left + side] = 255 - strokes
    return picture


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """Mean difference in grey levels, over the pixels that either has ink in."""
    inked = np.maximum(a, b) > 0
    return float(np.abs(a.astype(float) - b)[inked].mean()) if inked.any() else 0.0


def difference_but_for_place(a: np.ndarray, b: np.ndarray) -> float:
    """The least difference with a moved by at most a pixel, which a rounded centre of mass may do."""
    moves = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    return min(difference(np.roll(a, move, (0, 1)), b) for move in moves)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def digits(splits) -> np.ndarray:
    return splits.validation.images[:300]


def test_a_digit_of_mnist_is_canonical_already(digits):
    kept = [difference(canonical(digit), digit) for digit in digits]
    assert np.mean(np.array(kept) == 0) > 0.97
    assert max(kept) < 60


def test_fog_over_a_digit_of_mnist_is_left_to_the_network(digits):
    def kept(digit: np.ndarray, seed: int) -> bool:
        clouds = np.random.default_rng(seed).uniform(20, 180, (4, 4))
        fog = cv2.resize(clouds, (28, 28), interpolation=cv2.INTER_CUBIC).clip(0, 255)
        picture = np.round(fog + (255 - fog) * (digit / 300)).astype(np.uint8)
        return np.array_equal(canonical(picture), picture)

    assert np.mean([kept(digit, seed) for seed, digit in enumerate(digits)]) > 0.9


@pytest.mark.parametrize("columns", [1, 2, 3, 4])
def test_a_crowd_of_like_pieces_is_no_digit(digits, columns):
    wall = np.full((600, 800), 255, np.uint8)
    for place in range(2 * columns):
        top, left = 150 + 200 * (place % 2), 100 + 170 * (place // 2)
        part = wall[top : top + 112, left : left + 112]
        part -= np.kron(digits[9], np.ones((4, 4), np.uint8))
    assert canonical(wall).any() == (2 * columns < 6)


@given(st.integers(0, 299), st.integers(10, 32), st.integers(2, 40), st.sampled_from(["bright", "dark", "colour"]))
def test_pixels_shown_as_squares_are_the_pixels(digits, which, side, factor, ink):
    """Screens, plots and `np.kron` enlarge so: what comes is the small picture again."""
    small = cv2.resize(digits[which], (side, side), interpolation=cv2.INTER_AREA)
    small = {"bright": small, "dark": 255 - small, "colour": np.dstack([small // 2, small, small])}[ink]
    factor = max(factor, 32 // side + 1)
    large = small.repeat(factor, 0).repeat(factor, 1)
    np.testing.assert_array_equal(canonical(large), canonical(small))


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("side", [8, 10, 13, 20])
def test_a_small_digit_cut_out_to_its_own_box_has_the_form_that_it_has_with_a_margin(digits, side, dark):
    """Of bold ones six in seven within 60 grey levels, as far as a sample can tell: a pixel is a lot of so few."""

    def forms(digit: np.ndarray) -> list[np.ndarray]:
        digit = cv2.dilate(digit, np.ones((3, 3), np.uint8))
        left, top, width, height = cv2.boundingRect((digit > 40).astype(np.uint8))
        box = digit[top : top + height, left : left + width]
        zoom = side / max(box.shape)
        size = max(8, round(zoom * width)), max(8, round(zoom * height))
        small = cv2.resize(box, size, interpolation=cv2.INTER_AREA)
        return [canonical(255 - one if dark else one) for one in (small, np.pad(small, 3))]

    little = sum(difference_but_for_place(*forms(digit)) < 60 for digit in digits[:200])
    assert stats.binomtest(little, 200, 6 / 7, "less").pvalue > 0.05


@given(st.integers(0, 299), st.integers(2, 130), st.integers(2, 130))
def test_place_on_the_page_does_not_matter(digits, which, left, top):
    digit = digits[which]
    np.testing.assert_array_equal(canonical(page(digit, left=left, top=top)), canonical(page(digit)))


@given(st.integers(0, 299))
def test_polarity_does_not_matter(digits, which):
    picture = page(digits[which])
    np.testing.assert_array_equal(canonical(255 - picture), canonical(picture))


@given(st.integers(0, 299), st.integers(0, 2**32 - 1), st.sampled_from(["plain", "bands", "fog"]))
def test_mnists_form_saved_in_colour_is_what_it_is_in_grey(digits, which, seed, weather):
    rng, picture = np.random.default_rng(seed), digits[which].copy()
    if weather == "bands":
        picture[:, :9] = 255 - picture[:, :9]
    elif weather == "fog":
        fog = cv2.resize(rng.uniform(20, 180, (4, 4)), (28, 28), interpolation=cv2.INTER_CUBIC).clip(0, 255)
        picture = np.round(fog + (255 - fog) * (picture / 300)).astype(np.uint8)
    np.testing.assert_array_equal(canonical(np.dstack([picture] * 3)), canonical(picture))


@given(st.integers(0, 299), st.integers(0, 60))
def test_the_light_does_not_matter(digits, which, darker):
    grey = page(digits[which]) * 0.7
    assert difference(canonical((grey + 70).astype(np.uint8)), canonical((grey + 70 - darker).astype(np.uint8))) < 12


@pytest.mark.parametrize("zoom", [3, 4, 9, 20])
def test_the_size_of_the_page_hardly_matters(digits, zoom):
    """Nine digits in ten change by less than 30, as far as a sample can tell, which is MNIST's or mnist5k's."""
    sizes = [[canonical(page(digit, z, 40 * z, 6 * z, 6 * z)) for z in (zoom, 6)] for digit in digits[:200]]
    little = sum(difference_but_for_place(*both) < 30 for both in sizes)
    assert stats.binomtest(little, 200, 0.9, "less").pvalue > 0.05


@given(st.integers(0, 299))
def test_the_canonical_form_of_a_canonical_form_is_itself(digits, which):
    once = canonical(page(digits[which]))
    assert difference(canonical(once), once) < 12


@pytest.mark.parametrize("darkest", [0.7, 0.5, 0.3])
def test_an_uneven_light_leaves_the_digit(digits, darkest):
    """A shadow's slope from full light down; hardly a digit changes by more than its edges."""
    slope = np.linspace(1, darkest, 300)[:, None]
    pages = [page(digit) for digit in digits[:100]]
    changes = [difference_but_for_place(canonical((one * slope).astype(np.uint8)), canonical(one)) for one in pages]
    assert np.quantile(changes, 0.9) < 30


TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: np.rot90(a, 2),
    4: lambda a: a[::-1],
    5: lambda a: a.T,
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a, 2).T,
    8: lambda a: np.rot90(a, 3),
}
"""How a camera that writes this EXIF orientation has stored the picture."""


@pytest.mark.parametrize("orientation", TURNS)
def test_exif_turns_the_picture_back(digits, orientation):
    upright = page(digits[0])
    stored = Image.fromarray(np.ascontiguousarray(TURNS[orientation](upright)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    for kind in ("PNG", "TIFF"):
        np.testing.assert_array_equal(canonical(encoded(stored, kind, exif=exif)), canonical(upright))


def test_the_file_format_does_not_matter(digits):
    grey = page(digits[3])
    image = Image.fromarray(grey)
    colour = image.convert("RGB")
    black, white = (
        Image.merge("LA", (Image.new("L", image.size, ink), Image.fromarray(255 - grey))) for ink in (0, 255)
    )
    files = {
        "png": encoded(image, "PNG"),
        "bmp": encoded(colour, "BMP"),
        "tiff": encoded(image, "TIFF"),
        "gif": encoded(image, "GIF"),
        "pgm": encoded(image, "PPM"),
        "ppm": encoded(colour, "PPM"),
        "pgm, 16 bit": encoded(Image.fromarray(grey.astype(np.uint16) * 257), "PPM"),
        "webp": encoded(colour, "WEBP", lossless=True),
        "jpeg": encoded(colour, "JPEG", quality=92),
        "cmyk": encoded(colour.convert("CMYK"), "JPEG", quality=92),
        "palette": encoded(colour.convert("P", palette=Image.Palette.ADAPTIVE), "PNG"),
        "16 bit": encoded(Image.fromarray(grey.astype(np.uint16) * 257), "PNG"),
        "black on transparent": encoded(black, "PNG"),
        "white on transparent": encoded(white, "PNG"),
        "1 bit": encoded(image.point(lambda level: 255 * (level > 127)).convert("1"), "PNG"),
    }
    expected = canonical(grey)
    for name, file in files.items():
        assert difference_but_for_place(canonical(file), expected) < (45 if name == "1 bit" else 12), name
    arrays = {
        "float": grey / 255,
        "from -1": grey / np.float32(127.5) - 1,
        "lists": (grey / 255).tolist(),
        "a file's bytes": np.frombuffer(files["png"], np.uint8),
        "mask": grey < 128,
        "rgb": np.asarray(colour),
        "uint16": grey.astype(np.uint16) * 257,
    }
    for name, array in arrays.items():
        assert difference_but_for_place(canonical(array), expected) < (45 if name == "mask" else 12), name


@pytest.mark.parametrize("level", [0, 90, 255])
@pytest.mark.parametrize("size", [(28, 28), (200, 300), (1200, 900)])
def test_blank_stays_blank(level, size):
    assert not canonical(np.full(size, level, np.uint8)).any()
    assert not canonical(np.full((*size, 3), level, np.uint8)).any()


def png(width: int, height: int, *chunks: bytes) -> bytes:
    """A PNG with the header of a large picture and hardly any data."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IDAT", zlib.compress(bytes(1000)))


def bad_pictures() -> dict[str, bytes]:
    good = encoded(Image.fromarray(page(np.full((28, 28), 200, np.uint8))), "PNG")
    text = zlib.compress(bytes(50_000_000))
    body = b"Comment\0\0" + text
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    return {
        "nothing": b"",
        "text": b"the digit is 7",
        "truncated": good[: len(good) // 2],
        "wrong magic": b"\x89PNX" + good[4:],
        "bomb": png(12_000, 12_000),
        "text bomb": png(100, 100, chunk),
        "no data": png(100, 100),
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        "pdf": b"%PDF-1.7 ...",
        "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        "avif": b"\0\0\0\x20ftypavif\0\0\0\0avifmif1",
        "one pixel": encoded(Image.new("L", (1, 1)), "PNG"),
        "a line": encoded(Image.new("L", (1, 5000)), "PNG"),
    }


@pytest.mark.parametrize("name", bad_pictures())
def test_a_bad_picture_is_a_picture_error_that_says_why(name):
    file = bad_pictures()[name]
    started = time.process_time()
    with pytest.raises(PictureError) as found:
        canonical(file)
    assert len(str(found.value)) > 20
    assert "Traceback" not in str(found.value)
    # Far above what a refusal by header takes, far below what decoding a bomb takes.
    assert time.process_time() - started < 1.0


def test_what_is_no_picture_at_all_is_refused(tmp_path):
    bad = (tmp_path / "missing.png", tmp_path, 7, None, np.zeros((3, 4, 5)), np.full((9, 9), np.nan), np.array(["a"]))
    bad += [[1, 2], [3]], [["a"]], np.broadcast_to(np.uint8(0), (60_000, 60_000)), "data:image/png;base64," + "A" * 5000
    for source in bad:
        with pytest.raises(PictureError) as found:
            canonical(source)
        assert len(str(found.value)) < 300


@pytest.mark.torture
@given(st.data())
def test_no_damage_to_a_file_raises_anything_else(digits, data):
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP", "PPM"]))
    file = bytearray(encoded(Image.fromarray(page(digits[1])).convert("RGB"), kind))
    for _ in range(data.draw(st.integers(1, 8))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    try:
        result = canonical(bytes(file[: data.draw(st.integers(1, len(file)))]))
    except PictureError:
        return
    assert result.shape == (28, 28)
    assert result.dtype == np.uint8
