"""What do servers of ASGI hold by themselves, and what does ours add? Each is tried with the same bad clients.

    make bench-setup
    python -m experiments.bench.hosts          (4 minutes)

uvicorn, granian and hypercorn each serve a small Litestar app, told all limits that they know; ours is the service
itself. All are to end a client that says nothing for two seconds, and to hold at most 40 of them.
"""

import asyncio
import json
import os
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from experiments.bench.__main__ import PEERS, ROOT
from experiments.bench.hosts_peer import BYTES, MOST, SECONDS
from experiments.bench.load import measure, request
from experiments.bench.serving import resident_mib, serving
from experiments.scoreboard import RESULTS, fill_readme
from experiments.tables import table

WAIT = 12.0  # seconds in which a client that says nothing should be gone
OURS = "digitjax on uvicorn"
SIDES = {name: [str(PEERS), "hosts_peer.py", name, "PORT"] for name in ("uvicorn", "granian", "hypercorn")}
LIMITS = dict(max_connections=MOST + 8, read_timeout=SECONDS, max_body=BYTES, access_log=0)


def head(length: int) -> bytes:
    lines = ["POST /predict HTTP/1.1", "Host: localhost", "Content-Type: application/json", f"Content-Length: {length}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


HELD = {
    "nothing": [b""],
    "half a head": [b"POST /predict HTTP/1.1\r\nHost: local"],
    "half a body": [head(1000) + b"[" * 100],
    "a body after its refusal": [head(90_000_000), b"x" * 90],
}
"""What a client sends before it says nothing more; its parts half a second apart."""
MALFORMED = {
    "no Host": b"GET /health/live HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET /health/live HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "two lengths": b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
}


async def gone_after(port: int, parts: list[bytes], clients: int = MOST) -> tuple[float | None, bool]:
    """Seconds until the server has let go of all these clients, None if it has not; whether others were answered."""
    made = await asyncio.gather(*(asyncio.open_connection("127.0.0.1", port) for _ in range(clients)))
    for place, part in enumerate(parts):
        await asyncio.sleep(0.5 if place else 0)
        for _, writer in made:
            writer.write(part)
    started = time.perf_counter()

    async def ended(reader: asyncio.StreamReader) -> None:
        try:
            while await reader.read(1 << 16):
                pass
        except OSError:
            pass

    waiting = asyncio.gather(*(ended(reader) for reader, _ in made))
    await asyncio.sleep(0.5)
    others = await asyncio.to_thread(alive, port)
    try:
        await asyncio.wait_for(waiting, WAIT)
        seconds = time.perf_counter() - started
    except TimeoutError:
        seconds = None
    for _, writer in made:
        writer.transport.abort()
    return seconds, others


def alive(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/live", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


async def uploads(port: int, pid: int, clients: int = 100) -> tuple[float, float]:
    """By how many MiB a server grows by clients that each send 5 MiB of a body of 6, and seconds that others wait."""

    def memory() -> float:
        known = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        return sum(resident_mib(one) for one in known if os.getpgid(one) == pid)

    before, part = memory(), b"[" * (5 << 20)

    async def send() -> None:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head(BYTES))
            writer.write(part)
            await asyncio.wait_for(writer.drain(), 4)
        except (OSError, TimeoutError):
            pass

    sending, most = asyncio.gather(*(send() for _ in range(clients))), 0.0
    started, waited = time.perf_counter(), 0.0
    while not sending.done() or time.perf_counter() < started + 4:
        begun = time.perf_counter()
        await asyncio.to_thread(alive, port)
        waited = max(waited, time.perf_counter() - begun)
        most = max(most, memory() - before)
        await asyncio.sleep(0.05)
    return most, waited


async def status_of(port: int, content: bytes) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(content)
    try:
        answer = await asyncio.wait_for(reader.read(64), 2)
    except (OSError, TimeoutError):
        answer = b""
    writer.transport.abort()
    return answer[9:12].decode() or "closed"


def measured(server: dict[str, Any], path: str) -> dict[str, Any]:
    port, found = server["port"], {}

    def fresh(what: Callable[[], Awaitable[Any]]) -> Any:
        return asyncio.run(what())  # pyright: ignore

    bodies = [request(f"http://127.0.0.1:{port}/{path}", json.dumps({"image": [0] * 784}).encode(), "application/json")]
    found[f"requests/s that ask for nothing, {MOST} clients"] = measure(
        f"http://127.0.0.1:{port}/{path}", bodies, MOST, 3
    )["requests_per_second"]
    for name, parts in HELD.items():
        found[name] = fresh(lambda parts=parts: gone_after(port, parts))
    for name, content in MALFORMED.items():
        found[name] = fresh(lambda content=content: status_of(port, content))
    found["uploads"] = fresh(lambda: uploads(port, server["pid"]))
    return found


def rows_of(found: dict[str, dict[str, Any]]) -> str:
    rows = []
    for name in next(iter(found.values())):
        cells = []
        for side in found.values():
            value = side[name]
            if name in HELD:
                seconds, others = value
                gone = "never" if seconds is None else f"{seconds:.1f} s"
                cells.append(f"{gone}; others {'are answered' if others else 'wait'}")
            elif name == "uploads":
                cells.append(f"{value[0]:,.0f} MiB; others wait {value[1]:.2f} s")
            else:
                cells.append(value if isinstance(value, str) else f"{value:,.0f}")
        label = f"{MOST} clients send {name}: gone after" if name in HELD else name
        rows.append([label.replace("uploads", "100 send 5 MiB of 6: grows by"), *cells])
    return table(" | ".join(["", *found]), rows)


def main() -> None:
    found = {}
    os.sched_setaffinity(0, {(os.cpu_count() or 1) - 1})
    for name, command in SIDES.items():
        words = [command[0], str(ROOT / "experiments" / "bench" / command[1]), *command[2:]]
        with serving(words, "0") as server:
            found[name] = measured(server, "predict")
            print(name, found[name], flush=True)
    with serving([sys.executable, "-m", "serve"], "0", LIMITS) as server:
        found[OURS] = measured(server, "no-op")
        print(OURS, found[OURS], flush=True)
    text = rows_of(found)
    print(text)
    RESULTS.joinpath("hosts.json").write_text(json.dumps(found, indent=1) + "\n")
    fill_readme("hosts", text)


if __name__ == "__main__":
    main()
