"""What stands between a connection and the routes answers each request once."""

import asyncio
import socket
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest
import uvloop

from serve.edge import Edge
from serve.server import ACCEPTS, at_a_time
from serve.settings import Settings


@pytest.mark.parametrize(("begun", "statuses"), [(False, [408]), (True, [200])])
def test_a_client_that_is_too_slow_gets_one_answer(begun, statuses):
    """408, unless another has begun: two would be one broken answer to whoever reads them."""
    sent: list[dict[str, Any]] = []

    async def app(scope: Any, _: Any, send: Any) -> None:
        if begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        scope["state"]["why"] = "slow"
        scope["state"]["cancel"]()
        await asyncio.sleep(60)

    async def send(message: Any) -> None:
        sent.append(message)

    settings = Settings(access_log=False, metrics=False)
    service: Any = SimpleNamespace(settings=settings, draining=False, batcher=SimpleNamespace(full=False))
    scope = {"type": "http", "http_version": "1.0", "method": "GET", "path": "/"}
    scope |= {"headers": [], "state": {}, "client": None}
    asyncio.run(Edge(app, service)(cast(Any, scope), cast(Any, None), cast(Any, send)))
    assert [message["status"] for message in sent if "status" in message] == statuses


def test_clients_who_come_at_once_are_let_in_together_however_long_a_turn_of_the_loop_is():
    """Else the last of 512 waits for 512 batches before it is so much as seen: libuv takes one a turn."""
    clients, turns, seen = 4 * ACCEPTS, 0, []

    class Seen(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            seen.append(transport)

    async def come() -> None:
        nonlocal turns
        loop, listener = asyncio.get_running_loop(), socket.create_server(("127.0.0.1", 0), backlog=clients)
        servers = [await loop.create_server(Seen, sock=one) for one in at_a_time(listener, ACCEPTS)]
        waiting = [socket.create_connection(listener.getsockname()) for _ in range(clients)]
        while len(seen) < clients and turns < clients:
            turns += 1
            time.sleep(0.001)  # a batch
            await asyncio.sleep(0)
        for client in [*waiting, *seen]:
            client.close()
        for one in servers:
            one.close()

    uvloop.run(come())
    assert len(seen) == clients
    assert turns <= clients // ACCEPTS + 4
