#!/usr/bin/env bash
# uvloop 0.23.0 (its libuv), beside asyncio's own loop of the same Python.
# Guess: uvloop is a drop-in for asyncio, whose selector loop calls accept until nobody waits (up to `backlog` times) whenever
#   a listening socket is readable. A burst of clients costs one turn of the loop on either.
# What happens: on uvloop a listening socket lets in one connection a turn of the loop. Of a hundred clients that the kernel has
#   connected already the last is seen after a hundred turns, whatever `backlog` says.
# Why it matters: a server that computes in its loop (a model, templates, compression) has turns of 5 to 20 ms. 512 clients
#   who come at once then wait up to ten seconds for their first byte, though throughput is fine, and neither its queue, its
#   limits nor its latency metrics see them: they are in the kernel. Several names of the socket (dup) are let in side by side.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --quiet --disable-pip-version-check uvloop==0.23.0
cat >"$here/see.py" <<'PY'
import asyncio
import socket
import time

import uvloop

CLIENTS, BATCH = 100, 0.005


async def turns_until_all_are_seen(names: int) -> tuple[int, float]:
    loop, seen, turns = asyncio.get_running_loop(), [], 0

    class Seen(asyncio.Protocol):
        def connection_made(self, transport):
            seen.append(transport)

    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    listeners = [listener, *(listener.dup() for _ in range(names - 1))]
    servers = [await loop.create_server(Seen, sock=one, backlog=1024) for one in listeners]
    clients = [socket.create_connection(listener.getsockname()) for _ in range(CLIENTS)]
    started = time.perf_counter()
    while len(seen) < CLIENTS and turns < 10 * CLIENTS:
        turns += 1
        time.sleep(BATCH)
        await asyncio.sleep(0)
    seconds = time.perf_counter() - started
    for one in [*clients, *seen, *servers]:
        one.close()
    assert len(seen) == CLIENTS
    return turns, seconds


found = {}
for name, run, names in (("asyncio", asyncio.run, 1), ("uvloop", uvloop.run, 1), ("uvloop, 16 names", uvloop.run, 16)):
    found[name], seconds = run(turns_until_all_are_seen(names))
    print(f"{name}: {CLIENTS} clients let in after {found[name]} turns of {1000 * BATCH:.0f} ms, {seconds:.2f} s")
assert found["asyncio"] < 10
assert found["uvloop"] >= CLIENTS - 2
assert found["uvloop, 16 names"] < 20
PY
"$here/venv/bin/python" "$here/see.py"
