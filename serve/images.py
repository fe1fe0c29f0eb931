"""What clients send -> the 28x28 that the model reads: JSON, base64, pictures, multipart forms."""

import base64
import binascii
import contextlib
from collections.abc import Iterator
from typing import Annotated, NamedTuple, TypeVar, cast

import cv2
import msgspec
import multipart
import numpy as np
from msgspec import Meta

from digitjax.picture.canonical import searched
from digitjax.picture.pixels import PictureError
from digitjax.reading import strips
from serve.problems import Refusal

SIDE, PIXELS = 28, 784
FIELDS_BESIDE = 9  # of a form, which are read to be named
T = TypeVar("T")
Level = Annotated[int, Meta(ge=0, le=255)]
Number = Level | Annotated[float, Meta(ge=0, le=255)]
Image = list[Number | list[Number]] | str
Numbers = list[int | float | list[int | float]]


class One(msgspec.Struct, forbid_unknown_fields=True):
    image: Image


class Many(msgspec.Struct, forbid_unknown_fields=True):
    images: Annotated[list[Image], Meta(min_length=1)]


class _Flat(msgspec.Struct, forbid_unknown_fields=True):
    """What most clients send: decoded without a look at each number, which `bytes` takes anyway."""

    image: list[int]


_flat = msgspec.json.Decoder(_Flat)
_one, _many = msgspec.json.Decoder(One), msgspec.json.Decoder(Many)


class Source(NamedTuple):
    """One image as it was sent: 784 grey levels, or a picture file that has to take MNIST's form yet."""

    content: bytes
    is_picture: bool
    place: str
    """Where it is in the request, for the sentence about what is wrong with it."""


def sources(body: bytes, content_type: str, many: bool, most: int) -> list[Source | Refusal]:
    """What a body holds: one image, or with `many` from 1 to `most`; in the place of a bad one, what is wrong with it.

    Raises:
      Refusal: 400, 413 or 415: the request as a whole is bad.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/json":
        if not many:
            try:
                levels = bytes(_flat.decode(body).image)
            except (ValueError, RecursionError):
                levels = b""
            if len(levels) == PIXELS:
                return [_of_levels(levels, "image")]
            return [_from_json(decode(_one, body).image, "image")]
        given = decode(_many, body).images
        check_number(len(given), most)
        return list(_each_from_json(given))
    if kind == "multipart/form-data":
        field, fields = "files" if many else "file", form(body, content_type, (most if many else 1) + FIELDS_BESIDE)
        strange = [name for name, _ in fields if name != field]
        if strange or not fields:
            names = ", ".join(repr(name[:50]) for name in strange[:9]) or "missing"
            raise Refusal(400, f"the form's fields {names} are not taken: send pictures as {field!r}, and nothing else")
        check_number(len(fields), most if many else 1)
        return [Source(content, True, f"file {place}") for place, (_, content) in enumerate(fields, 1)]
    if kind.startswith("image/") and not many:
        return [Source(body, True, "the body")]
    taken = "application/json or multipart/form-data" + ("" if many else ", or image/png, image/jpeg and the like")
    raise Refusal(415, f"the content type is {kind or 'missing'}: send {taken}")


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """JSON of a known shape.

    Raises:
      Refusal: 400.
    """
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(400, f"the JSON does not fit: {str(error)[:300]}") from error


def check_number(number: int, most: int) -> None:
    if number > most:
        raise Refusal(413, f"the request has {number} images, the limit is {most}: send them in several requests")


def form(body: bytes, content_type: str, most: int) -> list[tuple[str, bytes]]:
    """The fields of a form and what they hold, in order.

    Raises:
      Refusal: 400 or 413.
    """
    boundary = multipart.parse_options_header(content_type)[1].get("boundary", "")
    found: list[tuple[str, bytes]] = []
    try:
        with multipart.PushMultipartParser(boundary, max_segment_count=most) as parser:
            for event in parser.parse(body):
                if isinstance(event, multipart.MultipartSegment):
                    found.append((event.name or "", b""))
                elif event:
                    found[-1] = found[-1][0], found[-1][1] + event
    except multipart.ParserLimitReached as error:
        raise Refusal(413, f"the form is too large ({error}): send at most {most} file{'s' * (most > 1)}") from error
    except (multipart.MultipartError, UnicodeError) as error:
        raise Refusal(400, f"the form is broken ({error}): send multipart/form-data as browsers do") from error
    return found


def from_base64(text: str, place: str) -> Source:
    """A picture file as browsers, `base64` and mail programs write it: wrapped, URL-safe, without its padding, too.

    Raises:
      Refusal: 400.
    """
    plain = "".join((text.partition(",")[2] if text.startswith("data:") else text).split()).rstrip("=")
    try:
        content = base64.b64decode(plain.translate(_URL_SAFE) + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refusal(400, f"{place} is a string but no base64 ({error}): send a picture file in base64") from error
    return Source(content, True, place)


_URL_SAFE = str.maketrans("-_", "+/")


def _each_from_json(given: list[Image]) -> Iterator[Source | Refusal]:
    for place, image in enumerate(given):
        try:
            yield _from_json(image, f"images[{place}]")
        except Refusal as refusal:
            yield refusal


def _from_json(image: Image, place: str) -> Source:
    if isinstance(image, str):
        return from_base64(image, place)
    try:
        levels = bytes(cast(list[int], image))
    except TypeError:  # rows, or 255.0
        levels = _levels(image, place)
    if len(levels) != PIXELS:
        raise Refusal(400, f"{place} is no 784 whole numbers, nor 28 rows of 28: send these, in MNIST's form")
    return _of_levels(levels, place)


def _of_levels(levels: bytes, place: str) -> Source:
    if not levels.translate(None, b"\0\1") and b"\1" in levels:
        raise _to_one(place)
    return Source(levels, False, place)


def _to_one(place: str) -> Refusal:
    return Refusal(422, f"{place} has grey levels from 0 to 1: send whole numbers from 0 to 255")


def _levels(image: Numbers, place: str) -> bytes:
    """The grey levels of rows or floats, if they are whole."""
    with contextlib.suppress(ValueError):  # rows that differ in length
        array = np.array(image, float)
        if array.shape in ((PIXELS,), (SIDE, SIDE)):
            if (array % 1).any() and array.max() <= 1:
                raise _to_one(place)
            if not (array % 1).any():
                return array.astype(np.uint8).tobytes()
    return b""


def is_quick(source: Source) -> bool:
    """Whether reading `source` takes less than handing it to a thread would."""
    return not source.is_picture or _is_plain_28(source.content)


class Form(NamedTuple):
    """784 grey levels in MNIST's form, and whether more digits stood beside that one."""

    content: bytes
    several: bool = False
    is_picture: bool = False
    """Whether they were brought into this form; numbers are taken as they are."""


def pixels(source: Source, canonical_levels: bool = False) -> Form:
    """An image in MNIST's form; numbers are taken as they are unless `canonical_levels`.

    Raises:
      Refusal: 422, the picture is bad.
    """
    content, picture = source.content, None
    if not source.is_picture:
        if not canonical_levels:
            return Form(content)
        picture = np.frombuffer(content, np.uint8).reshape(SIDE, SIDE)
    elif _is_plain_28(content):
        # OpenCV needs a fifth of Pillow's time; what it cannot read, Pillow explains.
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    try:
        found = searched(content if picture is None else picture)
        return Form(found.form.tobytes(), strips.holds_several(found.beside), True)
    except PictureError as error:
        raise Refusal(422, f"{source.place}: {error}") from error


_PLAIN_28 = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x1c\0\0\0\x1c\x08\0\0\0"


def _is_plain_28(content: bytes) -> bool:
    """Whether this is a grey PNG of 28x28 with eight bits, and without anything but its pixels."""
    return content.startswith(_PLAIN_28) and content[37:41] == b"IDAT" and content.endswith(b"IEND\xaeB`\x82")
