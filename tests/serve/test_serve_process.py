"""The service as a process: overload, lost clients, slow ones, signals, reload, settings."""

import json
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import numpy as np
import pytest

from digitjax.reading import artifact
from tests.serve.serving import Server, file_of, is_problem, running, start, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.torture]
BLANK = {"image": [0] * 784}
KEY = {"authorization": "Bearer secret"}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Small limits and a short patience."""
    with running(
        api_key="secret",
        max_waiting=32,
        deadline=0.5,
        read_timeout=0.5,
        max_connections=60,
        max_body=100_000,
        drain=0.3,
    ) as started:
        started.client.headers.update(KEY)
        yield started


def request_of(body: bytes, path: str = "/predict") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\nContent-Type: application/json\r\n"
    return head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def received(connection: socket.socket) -> bytes:
    """All that comes until the server closes."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def test_without_the_key_there_are_only_health_and_the_page(server):
    for headers in (
        {},
        {"authorization": "Bearer wrong"},
        {"x-api-key": "secre"},
        {"authorization": "Bearer é".encode()},
    ):
        with httpx.Client(base_url=server.url, headers=headers) as stranger:
            assert is_problem(stranger.post("/predict", json=BLANK), 401)
            assert is_problem(stranger.get("/metrics"), 401)
            assert is_problem(stranger.post("/admin/reload"), 401)
            assert stranger.get("/health/live").status_code == 200
            assert stranger.get("/").status_code == 200
    assert server.client.post("/predict", json=BLANK).status_code == 200
    assert httpx.post(f"{server.url}/predict", json=BLANK, headers={"x-api-key": "secret"}).status_code == 200
    assert "secret" not in json.dumps(server.lines)


def test_an_overloaded_server_sheds_stays_alive_and_recovers(server):
    images = {"images": np.zeros((40, 784), int).tolist()}
    statuses: list[int] = []
    stop = threading.Event()

    def flood() -> None:
        with httpx.Client(base_url=server.url, headers=KEY, timeout=60) as client:
            while not stop.is_set():
                response = client.post("/predict/batch", json=images)
                statuses.append(response.status_code)
                if response.status_code == 503:
                    assert is_problem(response, 503)
                    assert response.headers["retry-after"] == "1"

    with ThreadPoolExecutor(24) as threads:
        floods = [threads.submit(flood) for _ in range(24)]
        wait_until(lambda: statuses.count(503) > 50 and statuses.count(200) > 50, 60)
        assert server.client.get("/health/live").status_code == 200
        stop.set()
        for one in floods:
            one.result()
    assert set(statuses) <= {200, 503, 504}
    assert server.client.post("/predict", json=BLANK).status_code == 200
    wait_until(lambda: server.metric("digitjax_waiting_images") == 0)


def test_work_that_takes_longer_than_the_deadline_is_answered_504(server):
    rng = np.random.default_rng(0)
    picture = file_of(rng.integers(0, 256, (4000, 4000)).astype(np.uint8), "JPEG")
    assert len(picture) > 100_000
    with running(deadline=0.01) as hurried:
        answer = hurried.client.post("/predict", content=picture, headers={"content-type": "image/jpeg"})
        assert is_problem(answer, 504, 413)
        assert hurried.client.get("/health/live").status_code == 200


def test_a_client_that_leaves_is_noted_and_its_images_never_reach_the_model(server):
    def asked() -> float:
        return server.metric("digitjax_batch_images_sum")

    before, gone = asked(), server.metric("digitjax_requests_total", status="499")
    content = json.dumps(BLANK).encode()
    for _ in range(20):
        with connect(server) as connection:
            connection.sendall(request_of(content)[:-5])
    wait_until(lambda: server.metric("digitjax_requests_total", status="499") == gone + 20)
    assert asked() == before
    assert server.client.post("/predict", json=BLANK).status_code == 200


def test_who_leaves_the_queue_costs_the_model_nothing():
    large = {"images": [[0] * 784] * 1000}
    with running() as server, ThreadPoolExecutor(4) as threads:
        waiting = [threads.submit(httpx.post, f"{server.url}/predict/batch", json=large, timeout=60) for _ in range(4)]
        wait_until(lambda: server.metric("digitjax_waiting_images") > 1000)
        for _ in range(20):
            with connect(server) as connection:
                connection.sendall(request_of(json.dumps(BLANK).encode()))
        assert {one.result().status_code for one in waiting} == {200}

        def left() -> float:
            return server.metric("digitjax_requests_total", status="499")

        def answered() -> float:
            return server.metric("digitjax_requests_total", route="/predict", status="200")

        wait_until(lambda: left() + answered() == 20, 30)
        assert left() > 0
        assert 4000 + answered() <= server.metric("digitjax_batch_images_sum") < 4020


def test_a_slow_body_is_told_so_and_a_silent_connection_is_closed(server):
    with connect(server) as slow, connect(server) as silent, connect(server) as half:
        slow.sendall(request_of(b"x" * 100)[:-50])
        half.sendall(b"POST /predict HTTP/1.1\r\nHo")
        started = time.monotonic()
        assert received(slow).split()[1] == b"408"
        assert received(silent) == received(half) == b""
        assert 0.4 < time.monotonic() - started < 10


def test_a_body_that_trickles_has_no_more_time_than_one_that_stops(server):
    with connect(server) as connection:
        connection.sendall(request_of(b"x" * 1000)[:-1000])
        started = time.monotonic()
        try:
            while time.monotonic() - started < 10:
                connection.sendall(b"x")
                time.sleep(0.05)
        except OSError:
            pass
        assert time.monotonic() - started < 5


def test_more_connections_than_the_limit_are_told_to_come_back(server):
    connections = [connect(server) for _ in range(80)]
    try:
        answers = []
        for connection in connections:
            connection.settimeout(0.1)
            try:
                answers.append(connection.recv(65536))
            except OSError:
                answers.append(b"")
        refused = [answer for answer in answers if answer]
        assert len(refused) >= 15
        assert all(answer.split()[1] == b"503" and b"retry-after" in answer for answer in refused)
    finally:
        for connection in connections:
            connection.close()
    wait_until(lambda: httpx.get(f"{server.url}/health/live").status_code == 200)


def test_a_rate_limit_tells_when_to_come_back_and_origins_may_be_named():
    with running(rate_limit=5, cors_origins="https://example.org") as server:
        answers = [server.client.post("/predict", json=BLANK) for _ in range(12)]
        assert [answer.status_code for answer in answers[:5]] == [200] * 5
        assert is_problem(answers[-1], 429)
        assert int(answers[-1].headers["retry-after"]) >= 1
        assert server.client.get("/health/live").status_code == 200
        origin = {"origin": "https://example.org", "access-control-request-method": "POST"}
        allowed = server.client.options("/predict", headers=origin).headers
        assert allowed["access-control-allow-origin"] == "https://example.org"
        stranger = server.client.options("/predict", headers=origin | {"origin": "https://example.com"}).headers
        assert "access-control-allow-origin" not in stranger


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    file = tmp_path / "model.npz"
    artifact.write(file, artifact.read())
    return file


def other_model(file: Path) -> None:
    """Another model in the place of the one in `file`."""
    found = artifact.read(file)
    colder = found.trust._replace(temperature=np.float32(found.trust.temperature * 1.5))
    artifact.write(file, found._replace(trust=colder))


def test_a_reload_under_load_loses_nothing_and_a_broken_model_is_refused(model_file):
    with running(model=model_file, api_key="secret") as server:
        server.client.headers.update(KEY)
        first = server.client.get("/model").json()["checksum"]
        stop, seen = threading.Event(), []

        def ask() -> None:
            with httpx.Client(base_url=server.url, headers=KEY, timeout=60) as client:
                while not stop.is_set():
                    answer = client.post("/predict", json=BLANK)
                    seen.append((answer.status_code, answer.json().get("model")))

        with ThreadPoolExecutor(4) as threads:
            clients = [threads.submit(ask) for _ in range(4)]
            other_model(model_file)
            server.process.send_signal(signal.SIGHUP)
            second = server.wait_for("reloaded")["model"]
            assert second != first
            other_model(model_file)
            third = server.client.post("/admin/reload").json()["checksum"]
            assert third not in (first, second)
            model_file.write_bytes(b"broken")
            assert is_problem(server.client.post("/admin/reload"), 409)
            server.process.send_signal(signal.SIGHUP)
            server.wait_for("not reloaded")
            stop.set()
            for client in clients:
                client.result()
        assert {status for status, _ in seen} == {200}
        assert {model for _, model in seen} <= {first, second, third}
        assert server.client.post("/predict", json=BLANK).json()["model"] == third
        assert server.metric("digitjax_model", checksum=third) == 1
        assert server.metric("digitjax_model", checksum=first) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_the_server_is_not_ready_answers_what_it_has_and_exits_0(number):
    with running(drain=2) as server:
        stop, answered = threading.Event(), []

        def ask() -> None:
            with httpx.Client(base_url=server.url, timeout=60) as client:
                while not stop.is_set():
                    answered.append(client.post("/predict", json=BLANK).status_code)

        with ThreadPoolExecutor(4) as threads:
            clients = [threads.submit(ask) for _ in range(4)]
            wait_until(lambda: len(answered) > 20)
            server.process.send_signal(number)
            server.wait_for("stopping")
            assert is_problem(server.client.get("/health/ready"), 503)
            assert server.client.get("/health/live").status_code == 200
            time.sleep(0.5)
            stop.set()
            for client in clients:
                client.result()
            assert server.process.wait(20) == 0
        assert set(answered) == {200}
        assert server.wait_for("stopped")


@pytest.mark.parametrize(
    ("settings", "status", "sentence"),
    [
        ({"model": "/nowhere"}, 1, "/nowhere"),
        ({"model": __file__}, 1, "damaged"),
        ({"port": "many"}, 2, "DIGITJAX_PORT is 'many'"),
        ({"port": 70_000}, 2, "DIGITJAX_PORT"),
        ({"deadline": -1}, 2, "DIGITJAX_DEADLINE"),
        ({"host": "nowhere.invalid"}, 1, "DIGITJAX_HOST"),
    ],
)
def test_a_server_that_cannot_start_says_why_in_a_line(settings, status, sentence):
    process = start(**settings)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == status
    assert not output
    assert sentence in errors.decode()
    assert errors.count(b"\n") == 1


def test_a_crash_in_native_code_says_where():
    with running() as server:
        server.process.send_signal(signal.SIGSEGV)
        assert server.process.wait(20) == -signal.SIGSEGV
        assert server.process.stderr
        assert b"serve/server.py" in server.process.stderr.read()


def test_a_port_that_is_taken_is_named(server):
    process = start(port=server.port)
    assert str(server.port) in process.communicate(timeout=60)[1].decode()
    assert process.returncode == 1


def test_workers_share_a_port_and_their_figures():
    with running(workers=2, access_log=0) as server:
        for _ in range(40):
            assert httpx.post(f"{server.url}/predict", json=BLANK).status_code == 200
        assert server.metric("digitjax_requests_total", route="/predict") == 40
        wait_until(lambda: [line["event"] for line in server.lines].count("ready") == 2, 60)
        assert server.stop() == 0


def test_spans_go_where_opentelemetry_is_told():
    received: queue.Queue[tuple[str, bytes]] = queue.Queue()

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.put((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{collector.server_port}"
        with running(tracing=1, environment={"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}) as server:
            assert server.client.post("/predict", json=BLANK).status_code == 200
            assert server.stop() == 0
        path, spans = received.get(timeout=20)
        collector.shutdown()
    assert path == "/v1/traces"
    assert b"/predict" in spans


def test_the_command_line_becomes_the_service_whatever_lies_in_the_folder(tmp_path):
    (tmp_path / "serve.py").write_text("raise SystemExit('mine')")
    command = [str(Path(sys.executable).parent / "digitjax"), "serve"]
    listed = subprocess.run([*command, "--settings"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "DIGITJAX_MAX_BODY" in listed.stdout
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": tmp_path}
    process = subprocess.Popen([*command, "--port", "0", "--model", "pretrained"], **piped)
    try:
        server = Server(process)
        with server.client as client:
            assert client.post("/predict", json=BLANK).json()["verdict"] == "not_a_digit"
        assert server.stop() == 0
    finally:
        process.kill()
        process.communicate()
