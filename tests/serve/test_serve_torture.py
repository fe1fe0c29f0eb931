"""What trusted servers are tried with: floods, refused bodies, half-open clients, kills. Bounded in count and time."""

import json
import os
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from serve import feedback
from serve.problems import Refusal
from tests.serve.serving import Server, file_of, is_problem, running, wait_until
from tests.serve.test_serve_process import BLANK, KEY, connect, received, request_of

pytestmark = pytest.mark.torture

MB = 1 << 20


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    origins = "https://friend.example"
    with running(cors_origins=origins, hosts="digits.example", read_timeout=1, max_connections=40) as started:
        yield started


def post(path: str, length: int, *headers: str) -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: x",
        f"Content-Length: {length}",
        "Content-Type: application/json",
        *headers,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("head", "status"),
    [
        (post("/predict", 90, "Origin: https://evil.example"), b"403"),
        (post("/predict", 90_000_000), b"413"),
        (post("/predict", 90, "Content-Encoding: br"), b"415"),
    ],
)
def test_a_body_that_comes_after_its_refusal_holds_no_place(server, head, status):
    """As many as there are places; each is told, sends a body none the less, and then nothing."""
    clients = [connect(server) for _ in range(40)]
    try:
        for client in clients:
            client.sendall(head)
        assert all(client.recv(4096).split()[1] == status for client in clients)
        for client in clients:
            client.sendall(b"x" * 90)
        wait_until(lambda: alive(server), 8)
        for client in clients:
            client.settimeout(8)
            assert received(client) == b""
    finally:
        for client in clients:
            client.close()


def alive(server: Server) -> bool:
    try:
        return httpx.get(f"{server.url}/health/live", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.slow
def test_a_refusal_is_read_before_the_connection_ends(server):
    """Also by who asks to close and is still sending: a reset would take the answer away."""
    with connect(server) as client:
        client.sendall(post("/predict", 20 * MB, "Connection: close") + b"x" * 4 * MB)
        answer = received(client)
    assert answer.split()[1] == b"413"
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["status"] == 413


@pytest.mark.slow
def test_bodies_of_all_together_are_bounded_and_their_memory_comes_back():
    """80 clients that each hold back the last byte of 5 MB: 400 MB, of which 24 may be held."""
    with running(max_bodies=24 * MB, read_timeout=20) as server:
        assert server.client.post("/predict", json=BLANK).status_code == 200
        before = server.memory()
        clients = [connect(server) for _ in range(80)]

        def fill(client: socket.socket) -> bytes:
            client.settimeout(3)
            try:
                client.sendall(request_of(b"x" * 5 * MB)[:-1])
                return client.recv(4096)
            except OSError:
                return b""

        with ThreadPoolExecutor(80) as threads:
            told = list(threads.map(fill, clients))
            assert sum(answer.split()[1] == b"503" for answer in told if answer) >= 60
            started = time.monotonic()
            assert server.client.post("/predict", json=BLANK).status_code == 200
            assert time.monotonic() - started < 5
            assert 0 < server.metric("digitjax_held_bytes") <= 30 * MB
            assert server.memory() - before < 120 * MB
        for client in clients:
            client.close()
        wait_until(lambda: server.metric("digitjax_held_bytes") == 0)
        wait_until(lambda: server.memory() < 1.1 * before + 8 * MB)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "https://evil.example", "sec-fetch-site": "cross-site"}, 403),
        ({"origin": "https://x.digits.example", "host": "digits.example", "sec-fetch-site": "same-site"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"origin": "https://friend.example", "sec-fetch-site": "cross-site"}, 200),
        ({"origin": "http://digits.example", "host": "digits.example"}, 200),
        ({"origin": "https://evil.example", "sec-fetch-site": "same-origin"}, 200),  # no page can send this
        ({}, 200),
        ({"host": "rebound.example"}, 421),
        ({"host": "127.0.0.1.evil.example:8000"}, 421),
        ({"host": "digits.example:443"}, 200),
        ({"host": "[::1]:8000"}, 200),
        ({"host": "localhost"}, 200),
    ],
)
def test_only_pages_of_this_server_and_of_named_origins_send_under_names_that_are_its_own(server, headers, status):
    answer = server.client.post("/predict", json=BLANK, headers=headers)
    assert answer.status_code == status
    assert status == 200 or is_problem(answer, status)
    shared = answer.headers.get("access-control-allow-origin")
    assert shared == ("https://friend.example" if "friend" in headers.get("origin", "") else None)


@pytest.mark.slow
def test_a_page_whose_origin_is_named_can_read_what_is_wrong(server):
    headers = {"origin": "https://friend.example", "content-encoding": "br"}
    answer = server.client.post("/predict", content=b"x", headers=headers)
    assert is_problem(answer, 415)
    assert answer.headers["access-control-allow-origin"] == "https://friend.example"


@pytest.mark.slow
@pytest.mark.parametrize(
    "head",
    [
        b"GET /health/live HTTP/1.1\r\n\r\n",
        b"GET /health/live HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /health/live HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    ],
)
def test_a_request_has_one_host(server, head):
    with connect(server) as client:
        client.sendall(head)
        assert client.recv(4096).split()[1] in (b"400", b"421")


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/" + "a" * 300, "/" + "a/" * 3000, "/index.html/x", "/%2e%2e/x", "/%00"])
def test_a_path_that_no_folder_has_is_not_found(server, path):
    assert server.client.get(path).status_code in (400, 404, 414)


@pytest.mark.slow
def test_told_to_stop_twice_it_stops_at_once_and_half_an_upload_is_told_why():
    with running(drain=60) as server, connect(server) as half:
        half.sendall(request_of(b"x" * 100)[:-50])
        time.sleep(0.2)
        server.process.send_signal(signal.SIGINT)
        server.wait_for("stopping")
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(10) == 0
    with running(drain=0.1, read_timeout=30) as server, connect(server) as half:
        half.sendall(request_of(b"x" * 100)[:-50])
        time.sleep(0.2)
        started = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert received(half).split()[1] == b"503"
        assert server.process.wait(10) == 0
        assert time.monotonic() - started < 5


@pytest.mark.slow
def test_a_key_may_come_in_any_of_its_forms():
    with running(api_key="secret") as server:
        for headers in (
            KEY,
            {"authorization": "bearer secret"},
            {"authorization": "Basic dXNlcjpwYXNz", "x-api-key": "secret"},
        ):
            assert server.client.post("/predict", json=BLANK, headers=headers).status_code == 200
        assert server.client.post("/predict", json=BLANK, headers={"authorization": "Basic secret"}).status_code == 401


@pytest.mark.slow
def test_what_a_killed_worker_counted_as_waiting_is_forgotten_and_its_folder_goes():
    with running(workers=2, access_log=0) as server:
        wait_until(lambda: [line["event"] for line in server.lines].count("ready") == 2, 60)
        [folder] = Path(tempfile.gettempdir()).glob(f"digitjax-metrics-{server.process.pid}-*")
        for _ in range(40):
            httpx.post(f"{server.url}/predict", json=BLANK)
        worker = int(next(folder.glob("gauge_livesum_*.db")).stem.rpartition("_")[2])
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: not list(folder.glob(f"gauge_live*_{worker}.db")))
        wait_until(lambda: [line["event"] for line in server.lines].count("ready") == 3, 60)
        assert server.metric("digitjax_waiting_images") == 0
        assert server.stop() == 0
        assert not folder.exists()


def test_a_full_disk_leaves_nothing_of_a_correction(tmp_path, monkeypatch):
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(Refusal) as refused:
        feedback.save(tmp_path, "3", file_of(np.eye(28, dtype=np.uint8) * 255), 10, 1 << 20)
    assert refused.value.status == 507
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]
