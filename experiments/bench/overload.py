"""What does the service do when more ask than it can answer? One core serves, the other asks.

    python -m experiments.bench.overload                       (3 minutes on two cores that do nothing else)
    python -m experiments.bench.overload --beside ../older     in turns with another checkout of this repository

64 and then 512 clients ask at once: six in ten for JSON, two for a 28 x 28 PNG, one for a drawing, half each to read a
number and to explain. Who is refused comes back when the refusal says. Then four clients let the service read its
worst picture while others draw, and 128, more than can be answered in time. Answers a second, and the 99th percentile
of their milliseconds and of refusals'. At last 64 ask for JSON alone, all sides' servers in turns of a second.
"""

import argparse
import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import uvloop

from digitjax.data import datasets
from experiments.bench.load import measure, request
from experiments.bench.serving import ROOT, serving
from experiments.scoreboard import RESULTS, fill_readme
from experiments.tables import table

SECONDS, WARM_UP, PAUSE, TURNS = 10.0, 6.0, 0.1, 30
SHARES = {"JSON": 12, "28 x 28 PNG": 4, "drawing": 2, "read": 1, "explain": 1}
"""Of twenty clients."""
SLOW = ("read", "explain")


class Asking(asyncio.Protocol):
    """Sends one request after another until `stop`, and notes when each ended, its status, and its seconds."""

    def __init__(self, asked: bytes, stop: float):
        self.asked, self.stop = asked, stop
        self.answers: list[tuple[float, int, float]] = []
        self.done = asyncio.get_running_loop().create_future()
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._send()

    def _send(self) -> None:
        self._started = time.perf_counter()
        if not self._transport.is_closing():
            self._transport.write(self.asked)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        if not end or len(body) < int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]):
            return
        now, status = time.perf_counter(), int(head.split(b" ", 2)[1])
        self.answers.append((now, status, now - self._started))
        self._buffer = b""
        if now > self.stop:
            self._transport.close()
        elif status == 200:
            self._send()
        else:
            told = head.lower().partition(b"retry-after:")[2].split(b"\r\n")[0]
            asyncio.get_running_loop().call_later(float(told or PAUSE), self._send)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.done.set_result(None)


def asked_at_once(port: int, requests: Sequence[tuple[str, bytes]], seconds: float) -> dict[str, np.ndarray]:
    """By kind of request: rows of (seconds of the clock, status, seconds taken) after the warm-up."""

    async def run() -> list[tuple[str, Asking]]:
        loop, stop = asyncio.get_running_loop(), time.perf_counter() + WARM_UP + seconds
        made = [(kind, Asking(content, stop)) for kind, content in requests]
        for _, client in made:
            with contextlib.suppress(OSError):
                await loop.create_connection(lambda client=client: client, "127.0.0.1", port)
        await asyncio.wait([client.done for _, client in made], timeout=WARM_UP + seconds + 8)
        return made

    began, rows = time.perf_counter() + WARM_UP, {kind: [] for kind, _ in requests}
    for kind, client in uvloop.run(run()):
        rows[kind] += [row for row in client.answers if began <= row[0] <= began + seconds]
    return {kind: np.array(found).reshape(-1, 3) for kind, found in rows.items()}


def contents() -> dict[str, tuple[str, bytes, str]]:
    """Path, body and content type of each kind of request."""
    random = np.random.default_rng(0)
    digit = cv2.GaussianBlur(np.pad(np.full((18, 4), 255, np.uint8), ((5, 5), (12, 12))), (3, 3), 0)
    drawing = 255 - cv2.resize(digit, (112, 112), interpolation=cv2.INTER_CUBIC)
    number = np.hstack([drawing] * 5)
    specks = 255 - 255 * (random.random((900, 1200)) < 0.1).astype(np.uint8)

    def png(picture: np.ndarray) -> bytes:
        return cv2.imencode(".png", picture)[1].tobytes()

    levels = json.dumps({"image": digit.ravel().tolist()}).encode()
    return {
        "JSON": ("predict", levels, "application/json"),
        "28 x 28 PNG": ("predict", png(digit), "image/png"),
        "drawing": ("predict", png(drawing), "image/png"),
        "read": ("read", png(number), "image/png"),
        "explain": ("explain", png(drawing), "image/png"),
        "worst picture": ("read", png(specks), "image/png"),
    }


def mixed(port: int, clients: int) -> list[tuple[str, bytes]]:
    known, kinds = contents(), [kind for kind, share in SHARES.items() for _ in range(share)]
    order = np.random.default_rng(1).permutation(clients) % len(kinds)
    return [(kinds[place], asked(port, known[kinds[place]])) for place in order]


def asked(port: int, content: tuple[str, bytes, str]) -> bytes:
    path, body, kind = content
    return request(f"http://127.0.0.1:{port}/{path}", body, kind)


def measured(checkout: Path) -> dict[str, Any]:
    """The figures of one side."""
    found: dict[str, Any] = {}
    with in_checkout(checkout) as port:
        for clients in (64, 512):
            rows = asked_at_once(port, mixed(port, clients), SECONDS)
            slow = np.concatenate([rows[kind] for kind in SLOW])
            every = np.concatenate(list(rows.values()))
            found |= {
                f"slow answers a second, {clients} clients": float((slow[:, 1] == 200).sum() / SECONDS),
                f"JSON p99, ms, {clients} clients": _high(rows["JSON"], 200),
                f"drawing p99, ms, {clients} clients": _high(rows["drawing"], 200),
                f"too late (504) a second, {clients} clients": float((every[:, 1] == 504).sum() / SECONDS),
            }
        known = contents()
        worst = asked_at_once(port, [("worst", asked(port, known["worst picture"]))] * 128, SECONDS)["worst"]
        found["refused (503) of 128 readers of the worst picture, p99, ms"] = _high(worst, 503)
        found["too late (504) of them, a second"] = float((worst[:, 1] == 504).sum() / SECONDS)
        beside = [("worst", asked(port, known["worst picture"]))] * 4 + [("drawing", asked(port, known["drawing"]))] * 2
        found["drawing beside 4 readers of the worst picture, p99, ms"] = _high(
            asked_at_once(port, beside, SECONDS)["drawing"], 200
        )
    return found


def json_alone(sides: Mapping[str, Path], turns: int) -> dict[str, list[float]]:
    """JSON answers a second of all sides, whose servers all run, each asked for a second in its turn."""
    digits = datasets.load("mnist5k").everything().images[::39]
    bodies = [json.dumps({"image": image.ravel().tolist()}).encode() for image in digits]
    found: dict[str, list[float]] = {side: [] for side in sides}
    with contextlib.ExitStack() as servers:
        ports = {side: servers.enter_context(in_checkout(checkout)) for side, checkout in sides.items()}
        asking = {
            side: [asked(port, ("predict", body, "application/json")) for body in bodies]
            for side, port in ports.items()
        }
        for turn in range(turns + 1):  # the first is no more than a warm-up
            for side in list(sides)[:: 1 if turn % 2 else -1]:
                row = measure(f"http://127.0.0.1:{ports[side]}/predict", asking[side], 64, 1.0)
                found[side] += [row["requests_per_second"]] if turn else []
    return found


def _high(rows: np.ndarray, status: int) -> float:
    taken = rows[rows[:, 1] == status, 2]
    return float(1000 * np.percentile(taken, 99)) if len(taken) else float("nan")


@contextlib.contextmanager
def in_checkout(checkout: Path) -> Iterator[int]:
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    words = [sys.executable, "-P", "-c", f"import sys, runpy; sys.path.insert(0, {str(checkout)!r}); "
             "sys.argv = ['serve']; runpy.run_module('serve', run_name='__main__')"]  # fmt: skip
    with serving(words, "0", {"access_log": 0}) as server:
        time.sleep(1)
        os.sched_setaffinity(0, {(os.cpu_count() or 1) - 1})
        yield server["port"]


def rows_of(sides: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    names = list(next(iter(sides.values()))[0])
    rows = [[name, *(_shown([row[name] for row in found]) for found in sides.values())] for name in names]
    return table(" | ".join(["median", *sides]), rows)


def alone_as_text(alone: Mapping[str, Sequence[float]]) -> str:
    ours, *others = alone
    told = [f"{side} {np.median(values):,.0f}" for side, values in alone.items()]
    for side in others:
        ratios = np.divide(alone[ours], alone[side])
        low, middle, high = np.percentile(ratios, [25, 50, 75])
        told.append(f"of {side} {middle:.3f} (quartiles {low:.3f} and {high:.3f} of {len(ratios)} turns)")
    return f"JSON answers a second, where 64 clients ask for nothing else: {'; '.join(told)}."


def _shown(values: Sequence[float]) -> str:
    known = [value for value in values if np.isfinite(value)]
    return f"{np.median(known):.1f}" if known else "none"


def main() -> None:
    parser = argparse.ArgumentParser(description="The service under more than it can answer.")
    parser.add_argument("--beside", type=Path, help="another checkout of this repository, measured in turns")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    sides = {"digitjax": ROOT} | ({args.beside.name: args.beside.absolute()} if args.beside else {})
    found: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for _ in range(args.rounds):
        for side, checkout in sides.items():
            found[side].append(measured(checkout))
            print(side, json.dumps(found[side][-1]), flush=True)
    alone = json_alone(sides, TURNS)
    text = rows_of(found) + "\n\n" + alone_as_text(alone)
    print(text)
    RESULTS.joinpath("overload.json").write_text(json.dumps(found | {"JSON alone": alone}, indent=1) + "\n")
    fill_readme("overload", text)


if __name__ == "__main__":
    main()
