"""What stands between a connection and the routes answers each request once."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from serve.edge import Edge
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
