"""What the service answers, asked as a client asks: a real process, real pictures, and everything that can be wrong."""

import base64
import gzip
import io
import json
import re
import select
import socket
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import digitjax
from digitjax.data import sources
from digitjax.data.datasets import Dataset, Splits
from digitjax.generated import hands
from digitjax.network import explain, model
from digitjax.picture.canonical import canonical
from digitjax.picture.pixels import PictureError
from digitjax.reading import lines
from digitjax.reading.predict import DOUBT
from serve import images, logs
from serve.problems import Refusal
from tests.serve.serving import Server, file_of, is_problem, running

JSON = {"content-type": "application/json"}
PNG = {"content-type": "image/png"}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running() as started:
        yield started


@pytest.fixture(scope="module")
def digits(splits: Splits) -> Dataset:
    some = np.linspace(0, len(splits.test.labels) - 1, 200).astype(int)
    return splits.test.take(some)


def test_most_digits_are_read_as_what_they_are(server, digits):
    answers = server.client.post("/predict/batch", json={"images": digits[0].reshape(200, -1).tolist()}).json()
    assert np.mean([row["digit"] for row in answers["predictions"]] == digits[1]) > 0.97


def test_an_image_is_read_alike_however_it_is_sent(server, digits):
    for image in digits[0][:5]:
        file = file_of(canonical(image))
        flat = server.client.post("/predict", json={"image": canonical(image).ravel().tolist()}).json()
        assert flat.keys() == {"digit", "confidence", "probabilities", "verdict", "model"}
        assert sum(flat["probabilities"]) == pytest.approx(1, abs=1e-4)
        assert np.argmax(flat["probabilities"]) == flat["digit"]
        others = [
            server.client.post("/predict", json={"image": canonical(image).tolist()}),
            server.client.post("/predict", json={"image": base64.b64encode(file).decode()}),
            server.client.post("/predict", json={"image": "data:image/png;base64," + base64.b64encode(file).decode()}),
            server.client.post("/predict", content=file, headers=PNG),
            server.client.post("/predict", files={"file": ("digit.png", file)}),
            server.client.post("/predict?canonical=1", json={"image": image.tolist()}),
        ]
        assert [other.json() for other in others] == [flat] * len(others)


def test_a_picture_takes_the_form_that_the_library_gives_it(server, digits):
    large = np.asarray(Image.fromarray(255 - digits[0][0]).resize((190, 150)))
    answer = server.client.post("/predict?input=1", content=file_of(large), headers=PNG).json()
    assert np.array_equal(answer["input"], canonical(large))


def test_a_batch_answers_in_order_whatever_its_form(server, digits):
    few = digits[0][:9]
    alone = [server.client.post("/predict", json={"image": image.tolist()}).json()["digit"] for image in few]
    together = [
        server.client.post("/predict/batch", json={"images": few.tolist()}),
        server.client.post("/predict/batch", files=[("files", file_of(image)) for image in few]),
    ]
    for response in together:
        assert [row["digit"] for row in response.json()["predictions"]] == alone


def test_clients_at_once_each_get_their_own_answer_as_if_alone(server, digits):
    pixels = [image.ravel().tolist() for image in digits[0]]
    alone = [server.client.post("/predict", json={"image": image}).json() for image in pixels]

    def ask(first_and_size: tuple[int, int]) -> list[dict]:
        first, size = first_and_size
        if size == 1:
            return [server.client.post("/predict", json={"image": pixels[first]}).json()]
        several = {"images": pixels[first : first + size]}
        return server.client.post("/predict/batch", json=several).json()["predictions"]

    asked = [(place, 1) for place in range(100)] + [(size, size) for size in range(1, 65)]
    with ThreadPoolExecutor(32) as threads:
        for (first, size), rows in zip(asked, threads.map(ask, asked)):
            for row, expected in zip(rows, alone[first : first + size], strict=True):
                assert row["digit"] == expected["digit"]
                np.testing.assert_allclose(row["probabilities"], expected["probabilities"], atol=1e-5)
    assert server.metric("digitjax_batch_images_sum") > server.metric("digitjax_batch_images_count")


def test_memory_stays_flat_however_many_ask(server, digits):
    bodies = [json.dumps({"image": image.tolist()}).encode() for image in digits[0][:50]]
    drawings = [file_of(np.kron(255 - image, np.ones((4, 4), np.uint8))) for image in digits[0][:50]]

    def ask(place: int) -> int:
        if place % 5:
            return server.client.post("/predict", content=bodies[place % 50], headers=JSON).status_code
        return server.client.post("/predict", content=drawings[place % 50], headers=PNG).status_code

    with ThreadPoolExecutor(16) as threads:
        assert set(threads.map(ask, range(500))) == {200}
        before = server.memory()
        assert set(threads.map(ask, range(2000))) == {200}
    assert server.memory() - before < 10e6


def test_nothing_is_compiled_once_the_server_is_ready(server, digits):
    before = server.metric("digitjax_compilations_total")
    for size in range(1, 40):
        server.client.post("/predict/batch", json={"images": digits[0][:size].tolist()}).raise_for_status()
    assert before > 0
    assert server.metric("digitjax_compilations_total") == before


BLANK = [0] * 784
NOT_FITTING = {
    "no JSON": b"image",
    "nothing": b"",
    "cut off": b'{"image": [0, 0',
    "not UTF-8": b'{"image": "\xff\xfe"}',
    "not UTF-8 at all": b"\xff\xfe\x00",
    "deep": b"[" * 90_000,
    "deep in an unknown field": b'{"x": ' + b"[" * 90_000,
    "deep in the image": b'{"image": ' + b"[" * 90_000,
    "a list": b"[1, 2]",
    "null": b"null",
    "no image": b"{}",
    "a null image": b'{"image": null}',
    "a boolean image": b'{"image": true}',
    "an empty image": b'{"image": []}',
    "783 numbers": json.dumps({"image": [0] * 783}).encode(),
    "785 numbers": json.dumps({"image": [0] * 785}).encode(),
    "27 rows": json.dumps({"image": [[0] * 28] * 27}).encode(),
    "rows of 29": json.dumps({"image": [[0] * 29] * 28}).encode(),
    "784 rows": json.dumps({"image": [[0]] * 784}).encode(),
    "rows and numbers": json.dumps({"image": [[0] * 28] * 27 + [0] * 28}).encode(),
    "an unknown field": json.dumps({"image": BLANK, "colour": 1}).encode(),
    "the batch's field": json.dumps({"images": [BLANK]}).encode(),
    "a string that is no base64": b'{"image": "seven!"}',
    **{
        f"a pixel of {pixel}": json.dumps({"image": BLANK}).replace("0", pixel, 1).encode()
        for pixel in ("256", "-1", "null", "true", "1.5", "NaN", "Infinity", "1e400", '"0"', "{}", "9" * 5000)
    },
}


@pytest.mark.parametrize("body", NOT_FITTING.values(), ids=NOT_FITTING.keys())
def test_json_that_does_not_fit_is_refused_with_a_sentence(server, body):
    assert is_problem(server.client.post("/predict", content=body, headers=JSON), 400)
    assert server.client.post("/predict", json={"image": BLANK}).status_code == 200


@pytest.mark.parametrize("images", [[], [[]], [BLANK, [0]], [BLANK] * 1001, [[0]] * 10_001, "AAAA", [None]], ids=repr)
def test_a_batch_that_does_not_fit_is_refused_with_a_sentence(server, images):
    assert is_problem(server.client.post("/predict/batch?strict=1", json={"images": images}), 400, 413, 422)


def test_a_bad_image_costs_the_others_nothing_and_is_named(server):
    digit = np.zeros((28, 28), np.uint8)
    batches = [
        ({"json": {"images": [BLANK, [0], BLANK]}}, "images[1]"),
        ({"files": [("files", file_of(digit)), ("files", b"no picture"), ("files", file_of(digit))]}, "file 2"),
    ]
    for body, named in batches:
        assert named in server.client.post("/predict/batch?strict=1", **body).json()["detail"]
        first, error, last = server.client.post("/predict/batch", **body).json()["predictions"]
        assert error.keys() == {"error"}
        assert named in error["error"]
        assert first == last
        assert first.keys() >= {"digit", "confidence", "verdict"}
    assert server.client.post("/predict/batch", json={"images": [[0]]}).json()["predictions"][0].keys() == {"error"}


@pytest.mark.parametrize("levels", [np.float32([0, 0.5, 1]), np.uint8([0, 1]), np.float32([0, 1])], ids=str)
def test_levels_from_0_to_1_are_no_dark_picture(server, levels):
    image = np.resize(levels, 784).tolist()
    for answer in (
        server.client.post("/predict", json={"image": image}),
        server.client.post("/predict/batch?strict=1", json={"images": [image]}),
    ):
        assert is_problem(answer, 400, 422)
        assert "from 0 to 255" in answer.json()["detail"]


def test_base64_is_taken_as_programs_write_it(server):
    content = file_of(np.random.default_rng(3).integers(0, 255, (28, 28)).astype(np.uint8))
    plain = base64.b64encode(content).decode()
    assert {*"+/"} & {*plain}
    expected = server.client.post("/predict", json={"image": plain}).json()
    for text in (base64.encodebytes(content).decode(), base64.urlsafe_b64encode(content).decode(), plain.rstrip("=")):
        assert server.client.post("/predict", json={"image": text}).json() == expected


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress], ids=["gzip", "deflate"])
def test_bodies_come_packed_and_no_larger_for_it(server, pack):
    coding = {gzip.compress: "gzip", zlib.compress: "deflate"}[pack]
    headers = {**JSON, "content-encoding": coding}
    body = json.dumps({"image": BLANK}).encode()
    plain = server.client.post("/predict", content=body, headers=JSON)
    assert server.client.post("/predict", content=pack(body), headers=headers).json() == plain.json()
    before = server.memory()
    assert is_problem(server.client.post("/predict", content=pack(bytes(600 << 20)), headers=headers), 413)
    assert server.memory() - before < 100e6
    for bad in (body, pack(body)[:-3], pack(body) + b"more", b""):
        assert is_problem(server.client.post("/predict", content=bad, headers=headers), 400)
    assert server.metric("digitjax_held_bytes") == 0


def test_large_answers_are_packed_for_those_who_take_it(server):
    body = {"images": [BLANK] * 20}
    plain = server.client.post("/predict/batch", json=body, headers={"accept-encoding": "identity"})
    packed = server.client.post("/predict/batch", json=body, headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"])
    assert packed.json() == plain.json()
    for path in ("/app.js", "/schema/openapi.json"):
        assert server.client.get(path, headers={"accept-encoding": "gzip"}).headers["content-encoding"] == "gzip"


@pytest.mark.parametrize("kind", [None, "text/plain", "application/xml", "application/x-www-form-urlencoded", ";", "é"])
@pytest.mark.parametrize("route", ["/predict", "/predict/batch"])
def test_a_content_type_that_is_not_taken_is_refused(server, route, kind):
    headers = {} if kind is None else {"content-type": kind.encode("latin-1")}
    body = json.dumps({"image": BLANK}).encode()
    assert is_problem(server.client.post(route, content=body, headers=headers), 415)


def part(name: str, content: bytes, filename: str = "a.png") -> bytes:
    head = f'--B\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n\r\n'
    return head.encode() + content + b"\r\n"


DIGIT = file_of(np.pad(np.full((20, 4), 255, np.uint8), ((4, 4), (12, 12))))
BROKEN_FORMS = {
    "no boundary": ("multipart/form-data", part("file", DIGIT) + b"--B--"),
    "another boundary": ("multipart/form-data; boundary=C", part("file", DIGIT) + b"--B--"),
    "a long boundary": (f"multipart/form-data; boundary={'B' * 3000}", part("file", DIGIT) + b"--B--"),
    "no end": ("multipart/form-data; boundary=B", part("file", DIGIT)),
    "nothing": ("multipart/form-data; boundary=B", b""),
    "an end": ("multipart/form-data; boundary=B", b"--B--\r\n"),
    "a text field, too": ("multipart/form-data; boundary=B", part("token", b"abc") + part("file", DIGIT) + b"--B--"),
    "another field": ("multipart/form-data; boundary=B", part("picture", DIGIT) + b"--B--"),
    "two files": ("multipart/form-data; boundary=B", 2 * part("file", DIGIT) + b"--B--"),
    "a thousand parts": ("multipart/form-data; boundary=B", 1000 * part("file", b"") + b"--B--"),
    "no name": ("multipart/form-data; boundary=B", b"--B\r\nContent-Disposition: form-data\r\n\r\n\r\n--B--"),
    "no headers": ("multipart/form-data; boundary=B", b"--B\r\n\r\nx\r\n--B--"),
    "a long header": ("multipart/form-data; boundary=B", b"--B\r\nX: " + b"x" * 100_000 + b"\r\n\r\nx\r\n--B--"),
    "a name that is not UTF-8": (
        "multipart/form-data; boundary=B",
        b'--B\r\nContent-Disposition: form-data; name="\xff"\r\n\r\nx\r\n--B--',
    ),
}


@pytest.mark.parametrize("route", ["/predict", "/predict/batch"])
@pytest.mark.parametrize(("kind", "body"), BROKEN_FORMS.values(), ids=BROKEN_FORMS.keys())
def test_a_form_that_does_not_fit_is_refused_with_a_sentence(server, route, kind, body):
    response = server.client.post(route, content=body, headers={"content-type": kind})
    assert is_problem(response, 400, 413, 422)
    assert server.client.post("/predict", files={"file": ("a.png", DIGIT)}).status_code == 200


def test_a_path_in_a_file_name_goes_nowhere(server):
    body = part("file", DIGIT, "../../../../etc/passwd") + b"--B--"
    response = server.client.post("/predict", content=body, headers={"content-type": "multipart/form-data; boundary=B"})
    assert response.status_code == 200


@pytest.mark.parametrize(
    "path", ["/../../etc/passwd", "/..%2f..%2fsettings.py", "/%2e%2e/app.py", "//etc/passwd", "/a%00b"]
)
def test_the_pages_folder_has_no_way_out(server, path):
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.split()[1] in (b"404", b"400")


def bomb(width: int, height: int) -> bytes:
    """A PNG of zeros, as its header says, a thousandth of its size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\0\0\0\0"
    pixels = zlib.compress(bytes((width + 1) * height))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


BAD_PICTURES = {
    "nothing": b"",
    "text": b"a seven",
    "a PDF": b"%PDF-1.7",
    "an SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "half a PNG": DIGIT[: len(DIGIT) // 2],
    "a signature": DIGIT[:8],
    "9000 x 9000": bomb(9000, 9000),
    "1 x 1": bomb(1, 1),
    "10000 x 1": bomb(10_000, 1),
    "no pixels": bomb(28, 28).replace(b"IDAT", b"IDAX"),
}


@pytest.mark.parametrize("picture", BAD_PICTURES.values(), ids=BAD_PICTURES.keys())
def test_a_bad_picture_is_refused_with_a_sentence_and_costs_no_memory(server, picture):
    before = server.memory()
    encoded = base64.b64encode(picture).decode()
    for response in (
        server.client.post("/predict", content=picture, headers=PNG),
        server.client.post("/predict", files={"file": picture}),
        server.client.post("/predict", json={"image": encoded}),
        server.client.post("/predict/batch?strict=1", json={"images": [encoded]}),
    ):
        assert is_problem(response, 400, 422)
    assert server.memory() - before < 50e6


@given(st.data())
def test_a_small_png_is_read_as_the_library_reads_it_even_if_damaged(data):
    levels = np.array(data.draw(st.binary(min_size=784, max_size=784)), np.bytes_)
    picture = bytearray(file_of(np.frombuffer(levels.tobytes().ljust(784, b"\0"), np.uint8).reshape(28, 28)))
    for _ in range(data.draw(st.integers(0, 2))):
        place = data.draw(st.integers(0, len(picture) - 1))
        picture[place] ^= data.draw(st.integers(1, 255))
    if data.draw(st.booleans()):
        del picture[data.draw(st.integers(0, len(picture))) :]
    source = images.Source(bytes(picture), True, "the body")
    try:
        expected = canonical(source.content).tobytes()
    except PictureError as error:
        with pytest.raises(Refusal, match=re.escape(str(error)[:20])):
            images.pixels(source)
    else:
        assert images.pixels(source).content == expected


def test_unknown_paths_methods_and_parameters_are_problems_too(server):
    assert is_problem(server.client.get("/nowhere"), 404)
    for nowhere in ("/v1/models/digitjax:predict", "/nowhere", "/model/more"):
        assert is_problem(server.client.post(nowhere, json={}), 404)
    assert is_problem(server.client.get("/predict"), 405)
    assert is_problem(server.client.post("/model", json={}), 405)
    assert is_problem(server.client.post("/app.js", json={}), 405)
    assert is_problem(server.client.delete("/model"), 405)
    assert is_problem(server.client.post("/predict?input=perhaps", json={"image": BLANK}), 400)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 2_000_000 + b"\r\n\r\n",
    ],
    ids=lambda request: repr(request[:30]),
)
def test_what_is_no_http_ends_in_a_4xx_or_a_closed_connection(server, request_bytes):
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        try:
            connection.sendall(request_bytes)
            answer = connection.recv(65536)
        except (ConnectionResetError, BrokenPipeError):
            answer = b""
    assert not answer or answer.split()[1].startswith(b"4"), answer[:200]
    assert server.client.get("/health/live").status_code == 200


def test_a_body_over_the_limit_is_refused_with_and_without_its_length(server):
    large = b" " * (9 << 20)
    assert is_problem(server.client.post("/predict", content=large, headers=JSON), 413)
    chunks = (large[start : start + 65536] for start in range(0, len(large), 65536))
    assert is_problem(server.client.post("/predict", content=chunks, headers=JSON), 413)
    assert is_problem(server.client.post("/predict", content=b"", headers={**JSON, "content-encoding": "br"}), 415)


def test_a_request_id_comes_back_and_is_logged_and_a_bad_one_is_replaced(server):
    response = server.client.get("/model", headers={"x-request-id": "mine-1"})
    assert response.headers["x-request-id"] == "mine-1"
    assert server.wait_for("request", id="mine-1", route="/model", status=200)["ms"] > 0
    replaced = server.client.get("/model", headers={"x-request-id": "a b\tc"}).headers["x-request-id"]
    assert replaced != "a b\tc"
    assert len(replaced) == 16


def test_logs_hold_no_pixels_and_answers_are_counted(server):
    before = server.metric("digitjax_requests_total", route="/predict", status="200")
    answer = server.client.post("/predict", json={"image": BLANK}, headers={"x-request-id": "blank"}).json()
    line = server.wait_for("request", id="blank")
    assert line.keys() == {"time", "event", "id", "method", "route", "status", "ms", "batch"}
    assert server.metric("digitjax_requests_total", route="/predict", status="200") == before + 1
    assert server.metric("digitjax_predictions_total", digit=str(answer["digit"]), verdict=answer["verdict"]) >= 1
    assert server.metric("digitjax_model", checksum=answer["model"]) == 1


@given(st.lists(st.integers(1, 4096).map(lambda length: b"x" * (length - 1) + b"\n"), max_size=20))
def test_a_log_is_written_in_pieces_of_whole_lines_that_a_pipe_takes_at_once(lines):
    pieces = list(logs.pieces(lines))
    assert b"".join(pieces) == b"".join(lines)
    assert all(piece.endswith(b"\n") and len(piece) <= select.PIPE_BUF for piece in pieces)


def test_a_head_alone_is_an_answer_too(server):
    head = server.client.head("/app.js", timeout=3)  # uvicorn itself would end what is left over after 5
    assert head.status_code == 200
    assert int(head.headers["content-length"]) == len(server.client.get("/app.js").content)
    asked = b"POST /predict HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(asked)
        assert connection.recv(9999) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"{}")
        assert connection.recv(9999).startswith(b"HTTP/1.1 415")


def test_every_answer_forbids_what_the_page_does_not_need(server):
    for response in (server.client.get("/"), server.client.get("/nowhere"), server.client.post("/predict")):
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in response.headers["content-security-policy"]
        assert "access-control-allow-origin" not in response.headers


def test_another_sites_page_may_not_send(server):
    strange = server.client.post("/predict", json={"image": BLANK}, headers={"sec-fetch-site": "cross-site"})
    assert is_problem(strange, 403)
    own = server.client.post("/predict", json={"image": BLANK}, headers={"sec-fetch-site": "same-origin"})
    assert own.status_code == 200


def test_the_page_and_the_model_introduce_themselves(server):
    page = server.client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "<!doctype html>" in page.text.lower()
    card = server.client.get("/model").json()
    answer = server.client.post("/predict", json={"image": BLANK}).json()
    assert card["checksum"] == answer["model"]
    assert card["parameters"] > 1000


def test_health_is_well():
    with running(access_log=0) as server:
        assert server.client.get("/health/live").json() == {"status": "live"}
        assert server.client.get("/health/ready").json() == {"status": "ready"}
        assert [line["event"] for line in server.lines] == ["ready"]
        assert server.stop() == 0
        with pytest.raises(httpx.ConnectError):
            server.client.get("/health/live")


def test_an_explanation_is_the_librarys_own(server, digits):
    image = canonical(digits[0][0])
    predictor = digitjax.load()
    for query, classes in (("", None), ("?class=3", np.array([3])), ("?method=saliency&class=0", np.array([0]))):
        method = "saliency" if "saliency" in query else "gradcam"
        answer = server.client.post(f"/explain{query}", json={"image": image.tolist()}).json()
        expected = explain.explain(predictor.config, predictor.variables, image[None], classes, method)[0]
        np.testing.assert_allclose(answer["heatmap"], expected, atol=1e-3)
        assert answer["input"] == image.tolist()
        assert answer["explained"] == (answer["digit"] if classes is None else classes[0])
    for query in ("?class=10", "?class=-1", "?class=x", "?method=guess", "?method="):
        assert is_problem(server.client.post(f"/explain{query}", json={"image": BLANK}), 400)


def test_an_explanation_is_a_picture_to_who_asks_for_one(server, digits):
    accept = {"accept": "image/png"}
    answer = server.client.post("/explain", content=file_of(digits[0][0]), headers={**PNG, **accept})
    assert answer.headers["content-type"] == "image/png"
    picture = np.asarray(Image.open(io.BytesIO(answer.content)))
    assert picture.shape == (280, 280, 3)
    red, green, blue = picture.reshape(-1, 3).astype(int).T
    assert (red >= blue).all()
    assert (red > green + 50).any()


def test_a_row_of_digits_is_read_as_the_library_reads_it(server, digits):
    predictor = digitjax.load()
    row = np.pad(
        np.concatenate([255 - np.kron(image, np.ones((3, 3), np.uint8)) for image in digits[0][:4]], 1),
        20,
        constant_values=255,
    )
    expected = lines.read(predictor, file_of(row))
    answer = server.client.post("/read", files={"file": file_of(row)}).json()
    assert answer["text"] == expected.text
    assert [[tuple(digit.values()) for digit in line] for line in answer["lines"]] == [
        [(digit.digit, pytest.approx(digit.confidence, abs=1e-5), digit.box, digit.verdict) for digit in line]
        for line in expected.lines
    ]
    assert len(answer["text"]) == 4
    assert server.client.post("/read", json={"image": BLANK}).json() == {
        "text": "",
        "lines": [],
        "confidence": 0.0,
        "truncated": False,
        "turned": 0,
    }
    assert is_problem(server.client.post("/read", content=b"no picture", headers=PNG), 422)


def test_feature_maps_are_the_networks_own(server, digits):
    predictor, features = digitjax.load(), jax.jit(model.features, static_argnums=(0, 3))
    image = digits[0][0]
    for layer in range(sum(predictor.config.depth)):
        answer = server.client.post(f"/features?layer={layer}", json={"image": image.tolist()}).json()
        expected = np.asarray(features(predictor.config, predictor.variables, image[None], layer))[0]
        maps = np.moveaxis(np.array(answer["maps"]), 0, -1)
        assert maps.shape == expected.shape
        assert (answer["layer"], answer["layers"]) == (layer, sum(predictor.config.depth))
        for channel in range(expected.shape[-1]):
            own = expected[..., channel]
            if np.ptp(own) > 1e-3:
                np.testing.assert_allclose(maps[..., channel], (own - own.min()) / np.ptp(own), atol=2e-3)
    assert is_problem(server.client.post(f"/features?layer={layer + 1}", json={"image": BLANK}), 422)
    assert is_problem(server.client.post("/features?layer=-1", json={"image": BLANK}), 400)


def test_corrections_are_kept_once_where_training_finds_them_and_no_more_than_fit(tmp_path, digits):
    def correct(server: Server, picture: bytes, label: str) -> httpx.Response:
        return server.client.post("/feedback", files={"file": ("a.png", picture)}, data={"label": label})

    with running(feedback_dir=tmp_path / "kept", feedback_files=10) as server:
        assert server.client.get("/model").json()["feedback"]
        for digit in range(10):
            image = digits[0][digits[1] == digit][0]
            for new in (True, False):
                answer = correct(server, file_of(image), str(digit))
                assert answer.status_code == 201
                assert answer.json() == {"new": new}
        assert is_problem(correct(server, file_of(digits[0][0].T), "1"), 507)
        for label in ("10", "-1", "", "../1", "seven", "\0"):
            assert is_problem(correct(server, file_of(digits[0][0]), label), 400)
        assert is_problem(correct(server, b"no picture", "1"), 422)
        assert is_problem(server.client.post("/feedback", files={"file": b"x"}), 400)
        assert is_problem(server.client.post("/feedback", json={"label": 1}), 415)
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and file.suffix != ".png"]
    assert len([*tmp_path.rglob("*.png")]) == 10
    assert sorted(sources.from_folder(tmp_path / "kept").whole.labels) == list(range(10))


def test_corrections_are_refused_where_none_are_kept(server):
    assert not server.client.get("/model").json()["feedback"]
    assert is_problem(server.client.post("/feedback", files={"file": DIGIT}, data={"label": "1"}), 403)


def test_a_picture_in_doubt_is_answered_as_the_library_answers_it_and_numbers_by_the_classifier_alone(server):
    predictor, drawn = digitjax.load(), [hands.draw(np.random.default_rng((5, n)), n % 10, 60) for n in range(60)]
    files = [file_of(255 - np.pad(strokes, 20)) for strokes in drawn]
    answers = []
    for start in range(0, len(files), 12):  # all at once, a busy machine would be right to refuse them
        sent = [("files", ("one.png", content, "image/png")) for content in files[start : start + 12]]
        answers += server.client.post("/predict/batch", files=sent).json()["predictions"]
    forms = np.stack([canonical(content) for content in files])
    alone = predictor.judge_alone(forms)
    assert (alone.confidences < DOUBT).sum() > 3
    for answer, expected in zip(answers, predictor.predict(files), strict=True):
        assert (answer["digit"], answer["verdict"]) == (expected.digit, expected.verdict)
        np.testing.assert_allclose(answer["probabilities"], expected.probabilities, atol=1e-4)
    numbers = {"images": forms.reshape(len(forms), -1).tolist()}
    plain = server.client.post("/predict/batch", json=numbers).json()["predictions"]
    np.testing.assert_allclose([one["probabilities"] for one in plain], alone.probabilities, atol=1e-4)
