#!/usr/bin/env bash
# litestar 2.25.0.
# Guess: with CompressionConfig("gzip", minimum_size=2048), an answer of a few bytes goes out as it would without: its size
#   is known before anything is packed, so it costs one comparison.
# What happens: for each request whose client takes gzip, a gzip stream is made and its header written first, and thrown away
#   where the answer turns out to be small. A route that does nothing takes about twice as long as without compression.
#   `exclude` is a regular expression that each request is matched with, so it buys only a part back; the middleware on the
#   routes with long answers alone costs the others nothing.
# Why it matters: "small answers are not compressed" reads as "small answers are free"; in a service of many small answers
#   this one line of configuration is the dearest part of a request.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --quiet --disable-pip-version-check litestar==2.25.0
cat >"$here/see.py" <<'PY'
import asyncio, gzip, time
from litestar import Litestar, get
from litestar.config.compression import CompressionConfig
from litestar.middleware import DefineMiddleware
from litestar.middleware.compression import CompressionMiddleware

made = 0

class Counted(gzip.GzipFile):
    def __init__(self, *args, **kwargs):
        global made
        made += 1
        super().__init__(*args, **kwargs)

import litestar.middleware.compression.gzip_facade as facade
facade.GzipFile = Counted

@get("/small")
async def small() -> dict[str, str]:
    return {"status": "ok"}

COUNT, PACK = 3_000, CompressionConfig("gzip", minimum_size=2048)
apps = {
    "none": Litestar([small]),
    "for all, minimum_size=2048": Litestar([small], compression_config=PACK),
    "on other routes alone": Litestar([small, get("/long", middleware=[DefineMiddleware(CompressionMiddleware, config=PACK)])(small.fn)]),
}

async def ask(app):
    sent = []
    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}
    async def send(message):
        sent.append(message)
    headers = [(b"host", b"x"), (b"accept-encoding", b"gzip")]
    await app({"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http", "path": "/small",
               "raw_path": b"/small", "query_string": b"", "root_path": "", "headers": headers, "client": ("127.0.0.1", 1),
               "server": ("x", 80), "state": {}}, receive, send)
    assert dict(sent[0]["headers"]).get(b"content-encoding") is None and sent[1]["body"] == b'{"status":"ok"}'

async def main():
    found = {}
    for name, app in apps.items():
        global made
        await ask(app)
        made, started = 0, time.thread_time()
        for _ in range(COUNT):
            await ask(app)
        found[name] = made
        print(f"compression {name}: {1e6 * (time.thread_time() - started) / COUNT:.0f} us a request, {made} gzip streams for {COUNT} answers of 15 bytes")
    assert list(found.values()) == [0, COUNT, 0]

asyncio.run(main())
PY
"$here/venv/bin/python" "$here/see.py"
