"""A load generator: clients that each send one request after the other, and what they measured.

    python -m experiments.bench.load http://127.0.0.1:8000/predict body.json --clients 64 --seconds 5

It needs a core of its own: of that core it can ask for several times what the service can answer.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import uvloop


class Client(asyncio.Protocol):
    """Sends `request`, waits for the whole answer, and sends it again, until `stop` (in seconds of perf_counter)."""

    def __init__(self, request: bytes, stop: float):
        self.request, self.stop = request, stop
        self.ended: list[float] = []
        self.seconds: list[float] = []
        self.failures = 0
        self.done = asyncio.get_running_loop().create_future()
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._started = time.perf_counter()
        self._transport.write(self.request)  # pyright: ignore

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        if not end or len(body) < int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]):
            return
        now = time.perf_counter()
        self.ended.append(now)
        self.seconds.append(now - self._started)
        self.failures += not head.startswith(b"HTTP/1.1 200")
        self._buffer = b""
        if now < self.stop:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.failures += exc is not None or not self.ended or self.ended[-1] < self.stop
        self.done.set_result(None)


def request(url: str, body: bytes, kind: str) -> bytes:
    parts = urlsplit(url)
    head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


def measure(
    url: str, requests: Sequence[bytes], clients: int, seconds: float, warm_up: float = 1.0
) -> dict[str, float]:
    """Answers a second, and the percentiles of their latency in milliseconds, after a warm-up."""

    async def run() -> list[Client]:
        parts, stop = urlsplit(url), time.perf_counter() + warm_up + seconds
        loop = asyncio.get_running_loop()
        made = [Client(requests[place % len(requests)], stop) for place in range(clients)]
        for client in made:
            await loop.create_connection(lambda client=client: client, parts.hostname or "", parts.port or 80)
        await asyncio.gather(*(client.done for client in made))
        return made

    began = time.perf_counter() + warm_up
    made = uvloop.run(run())
    ended, taken = (np.concatenate([getattr(client, name) for client in made]) for name in ("ended", "seconds"))
    counted = 1000 * taken[(ended >= began) & (ended <= began + seconds)]
    median, high = np.percentile(counted, (50, 99))
    failures = sum(client.failures for client in made)
    return {"requests_per_second": len(counted) / seconds, "p50_ms": median, "p99_ms": high, "failures": failures}


def main() -> None:
    parser = argparse.ArgumentParser(description="Requests a second, and their latency.")
    parser.add_argument("url")
    parser.add_argument("body", type=Path)
    parser.add_argument("--kind", default="application/json")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5.0)
    args = parser.parse_args()
    asked = request(args.url, args.body.read_bytes(), args.kind)
    print(json.dumps(measure(args.url, [asked], args.clients, args.seconds)))


if __name__ == "__main__":
    main()
