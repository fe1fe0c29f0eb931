"""A Litestar app behind a server as it comes, in the peers' environment: python hosts_peer.py SERVER PORT.

Each has the limits that it knows: 40 connections or requests at once, 2 seconds for a head, a pause, an idle client.
"""

import sys

from litestar import Litestar, Request, get, post

MOST, SECONDS, BYTES = 40, 2, 6 << 20


@get("/health/live")
async def live() -> dict[str, str]:
    return {"status": "live"}


@post("/predict", status_code=200, request_max_body_size=BYTES)
async def predict(request: Request) -> dict[str, int]:
    return {"digit": len(await request.body()) % 10}


app = Litestar([live, predict], openapi_config=None)


def uvicorn(port: int) -> None:
    import uvicorn

    uvicorn.run(app, port=port, log_level="critical", limit_concurrency=MOST + 8, timeout_keep_alive=SECONDS)


def granian(port: int) -> None:
    from granian import Granian
    from granian.constants import Interfaces
    from granian.http import HTTP1Settings

    limits = HTTP1Settings(header_read_timeout=1000 * SECONDS)
    server = Granian(
        "hosts_peer:app",
        port=port,
        interface=Interfaces.ASGI,
        backpressure=MOST + 8,
        http1_settings=limits,
        log_enabled=False,
    )
    server.serve()


def hypercorn(port: int) -> None:
    import asyncio

    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    config = Config()
    config.bind, config.loglevel = [f"127.0.0.1:{port}"], "CRITICAL"
    config.keep_alive_timeout, config.read_timeout = SECONDS, SECONDS
    asyncio.run(serve(app, config))


if __name__ == "__main__":
    {"uvicorn": uvicorn, "granian": granian, "hypercorn": hypercorn}[sys.argv[1]](int(sys.argv[2]))
