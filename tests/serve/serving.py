"""A real server process to ask, and what its tests send."""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

ROOT = Path(__file__).parent.parent.parent


class Server:
    """A running `python -m serve`, its client, and the lines that it has logged so far."""

    def __init__(self, process: subprocess.Popen[bytes]):
        self.process, self.lines = process, []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.url = self.wait_for("ready")["address"]
        # Many threads use it. With a limit to what is kept alive, one closes what another has just been given.
        self.client = httpx.Client(base_url=self.url, timeout=60, limits=httpx.Limits())

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(json.loads(line))

    def wait_for(self, event: str, seconds: float = 60, **fields: Any) -> dict[str, Any]:
        """The first line of `event` with these fields."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for line in list(self.lines):
                if line["event"] == event and fields.items() <= line.items():
                    return line
            if self.process.poll() is not None and not self._reader.is_alive():
                break
            time.sleep(0.02)
        said = self.process.stderr.read() if self.process.stderr and self.process.poll() is not None else b""
        raise AssertionError(f"no {event} {fields} in {self.lines[-20:]}, exit status {self.process.poll()}: {said!r}")

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples with these labels."""
        total = 0.0
        for line in self.client.get("/metrics").text.splitlines():
            if found := re.fullmatch(r"(\w+)(?:{(.*)})? (\S+)", line):
                given = dict(re.findall(r'(\w+)="([^"]*)"', found[2] or ""))
                total += float(found[3]) if found[1] == name and labels.items() <= given.items() else 0
        return total

    def memory(self) -> int:
        """Bytes of resident memory."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def stop(self) -> int:
        """Tells the server to stop and returns its exit status."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(30)
        self._reader.join(5)
        return status


def start(environment: Mapping[str, str] | None = None, **settings: Any) -> subprocess.Popen[bytes]:
    given = {f"DIGITJAX_{name.upper()}": str(value) for name, value in settings.items()}
    environment = {"DIGITJAX_PORT": "0", **os.environ, **(environment or {}), **given}
    command = [sys.executable, "-m", "serve"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, cwd=ROOT)


@contextlib.contextmanager
def running(environment: Mapping[str, str] | None = None, **settings: Any) -> Iterator[Server]:
    process = start(environment, **settings)
    try:
        server = Server(process)
        with server.client:
            yield server
    finally:
        process.kill()
        process.communicate()


def wait_until(happens: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def file_of(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def is_problem(response: httpx.Response, *statuses: int) -> bool:
    """Whether the answer is a problem document that says something, with one of these statuses."""
    assert response.status_code in statuses, (response.status_code, response.text)
    assert response.headers["content-type"] == "application/problem+json"
    document = response.json()
    assert document["status"] == response.status_code
    assert len(document["detail"]) > 15, document
    return True
