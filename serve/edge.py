"""The outermost layer, plain ASGI: whom to let in, how much to read, what answers carry, what is noted of them."""

import asyncio
import hmac
import ipaddress
import itertools
import os
import re
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from functools import lru_cache
from time import perf_counter, time
from typing import Any

from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from serve import logs, metrics
from serve.batcher import overloaded
from serve.problems import Refusal, document
from serve.service import Service, release_memory, stopping

CLIENT_LEFT = 499
DEAR = {"/read", "/explain", "/features"}
"""Refused before their pictures are read, where these would wait for too long."""
_IDENTITY = re.compile(rb"[\w.:-]{1,80}")

Headers = Mapping[bytes, bytes]


class Edge:
    def __init__(self, app: ASGIApp, service: Service):
        self.app, self.service, self.settings = app, service, service.settings
        self.prefix, self.numbers = os.urandom(4).hex().encode(), itertools.count()
        self.key = service.settings.api_key.encode()
        self.limiter = Limiter(service.settings.rate_limit) if service.settings.rate_limit else None
        self.origins, self.hosts = named(self.settings.cors_origins), {*named(self.settings.hosts), self.settings.host}
        self.held = Held(self.settings.max_bodies)
        self.is_called = lru_cache(1000)(self._is_called)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status, task = perf_counter(), 0, asyncio.current_task()
        headers: Headers = dict(scope["headers"])
        identity = headers.get(b"x-request-id", b"")
        if not _IDENTITY.fullmatch(identity):
            identity = b"%s%08x" % (self.prefix, next(self.numbers) & 0xFFFFFFFF)

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                closing = [(b"connection", b"close")] if self.service.draining else []
                message["headers"] = [*message["headers"], (b"x-request-id", identity), *closing]
            await send(message)

        state: dict[str, Any] = scope["state"]
        state["held"] = 0
        state["content_type"] = headers.get(b"content-type", b"").decode("latin-1")
        # The protocol calls this where the client leaves or sends too slowly, and says in `why` which it was.
        state["cancel"] = task.cancel if task else None
        try:
            self._admit(scope, headers)
            if scope["method"] == "POST":
                state["body"] = await self._body(receive, state)
                if headers.get(b"content-encoding", b"identity").lower() != b"identity":
                    state["body"] = self._unpacked(state)
            state["deadline"] = asyncio.get_running_loop().time() + self.settings.deadline
            await self.app(scope, receive, answer)
        except Refusal as refusal:
            await _refuse(scope["path"], self._readable(refusal, headers), answer)
        except asyncio.CancelledError:
            match state.get("why"):
                case "slow" if not status:
                    await _refuse(scope["path"], self._too_slow(), answer)
                case "stopping" if not status:
                    await _refuse(scope["path"], stopping(), answer)
                case "slow" | "gone" | "stopping":
                    status = CLIENT_LEFT
                case _:
                    raise
        finally:
            state["cancel"] = None
            state.pop("body", None)
            self.held.give_back(state["held"])
            self._note(scope, status, perf_counter() - started, identity)

    def _admit(self, scope: HTTPScope, headers: Headers) -> None:
        """Refuses what can be refused before the body is read."""
        path, posts = scope["path"], scope["method"] == "POST"
        self._check_host(scope, headers)
        if posts and self.service.batcher.full:
            raise overloaded()
        if posts and path in DEAR:
            self.service.dear.check(self.settings.deadline)
        if "\0" in path:
            raise Refusal(400, "the path has a zero byte: see /schema for the paths that there are")
        if posts and not self._is_own_page(headers):
            raise Refusal(403, "another site's page may not send here: name its origin in DIGITJAX_CORS_ORIGINS")
        if self.key and (posts or path == "/metrics"):
            scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
            keys = headers.get(b"x-api-key", b""), given.strip() if scheme.lower() == b"bearer" else b""
            if not any(hmac.compare_digest(one, self.key) for one in keys):
                detail = "the key is missing or wrong: send the header 'Authorization: Bearer KEY'"
                raise Refusal(401, detail, {"www-authenticate": "Bearer"})
        if self.limiter and posts:
            self.limiter.check((scope["client"] or ("",))[0], perf_counter())
        if (length := int(headers.get(b"content-length", b"0"))) > self.settings.max_body:
            raise self._too_large()
        self.held.check(length)
        if (coding := headers.get(b"content-encoding", b"identity").lower()) not in (b"identity", b"gzip", b"deflate"):
            raise Refusal(415, f"the body's Content-Encoding is {coding[:20]!r}: send gzip, deflate, or it as it is")

    def _too_large(self) -> Refusal:
        return Refusal(413, f"the body is larger than {self.settings.max_body} bytes: send several requests")

    def _too_slow(self) -> Refusal:
        detail = f"the body did not arrive within {self.settings.read_timeout:g} seconds: send it faster"
        return Refusal(408, detail, {"connection": "close"})

    def _check_host(self, scope: HTTPScope, headers: Headers) -> None:
        """Refuses names that somebody else's DNS may have bound to this address, and heads that HTTP/1.1 forbids."""
        every: Any = scope["headers"]
        if b"host" not in headers or len(headers) < len(every):  # some header came twice
            count = sum(name == b"host" for name, _ in every)
            if scope["http_version"] == "1.0" and not count:
                return
            if count != 1:
                raise Refusal(400, f"the request has {count} Host headers: send one")
        if not self.is_called(headers[b"host"]):
            name = _host(headers[b"host"])[:100]
            raise Refusal(421, f"this server is not called {name!r}: name it in DIGITJAX_HOSTS")

    def _is_called(self, header: bytes) -> bool:
        name = _host(header)
        known = name in self.hosts or "*" in self.hosts or "." not in name or name.endswith(".localhost")
        return known or _is_address(name)

    def _is_own_page(self, headers: Headers) -> bool:
        """Whether who sends is no page, our own, or one whose origin is named."""
        if b"origin" not in headers and b"sec-fetch-site" not in headers:
            return True
        site, origin = headers.get(b"sec-fetch-site", b""), headers.get(b"origin", b"").decode("latin-1")
        if site in (b"same-origin", b"none") or not (origin or site):
            return True
        own = origin.partition("://")[2] == headers.get(b"host", b"").decode("latin-1")
        return bool(origin) and (origin in self.origins or "*" in self.origins or own)

    def _readable(self, refusal: Refusal, headers: Headers) -> Refusal:
        """The refusal, such that a page whose origin is named can read it."""
        origin = headers.get(b"origin", b"").decode("latin-1")
        if origin and (origin in self.origins or "*" in self.origins):
            shared = {"access-control-allow-origin": origin, "vary": "Origin"}
            return Refusal(refusal.status, refusal.detail, {**refusal.headers, **shared})
        return refusal

    async def _body(self, receive: Receive, state: dict[str, Any]) -> bytes:
        parts: list[bytes] = []
        size, more = 0, True
        while more:
            message: Any = await receive()
            if message["type"] == "http.disconnect":
                raise asyncio.CancelledError
            parts.append(message["body"])
            length = len(message["body"])
            self.held.take(length)
            size += length
            state["held"] = size
            if size > self.settings.max_body:
                raise self._too_large()
            more = message["more_body"]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _unpacked(self, state: dict[str, Any]) -> bytes:
        """The body of a request, as large at most as one may be that is not packed."""
        most, unpacking = self.settings.max_body, zlib.decompressobj(wbits=47)  # gzip, or zlib, which deflate means
        try:
            content = unpacking.decompress(state["body"], most + 1)
        except zlib.error as error:
            raise Refusal(400, f"the body is not what its Content-Encoding says ({error}): send it anew") from error
        if len(content) > most:
            raise self._too_large()
        if not unpacking.eof or unpacking.unused_data:
            raise Refusal(400, "the packed body is cut, or has something behind it: send it whole")
        self.held.take(len(content))
        state["held"] += len(content)
        return content

    def _note(self, scope: HTTPScope, status: int, seconds: float, identity: bytes) -> None:
        route = scope.get("path_template") or "refused"
        if self.settings.metrics:
            metrics.note_request(route, status, seconds)
        if self.settings.access_log and not route.startswith("/health/"):
            known = round(time(), 3), "request", identity.decode(), scope["method"], route, status
            logs.line(logs.Request(*known, round(1000 * seconds, 3), scope["state"].get("batch", 0)))


class Held:
    """Bytes of bodies that this worker holds, all requests together; what was much goes back to the system."""

    MUCH, GRAIN = 16 << 20, 1 << 16

    def __init__(self, most: int):
        self.most, self.now, self.peak = most, 0, 0

    def check(self, more: int) -> None:
        """Raises:
        Refusal: 503, there is no room for that many more; a request alone has room.
        """
        if self.now and self.now + more > self.most:
            raise Refusal(503, "this server holds as much as it takes: send this again soon", {"retry-after": "1"})

    def _count(self, more: int) -> None:
        before = self.now
        self.now = now = before + more
        if before // self.GRAIN != now // self.GRAIN:  # to tell of each small request would cost more than the request
            metrics.HELD.set(now // self.GRAIN * self.GRAIN)

    def take(self, more: int) -> None:
        """Counts them as held.

        Raises:
          Refusal: as `check`.
        """
        self.check(more)
        self._count(more)
        if self.now > self.peak:
            self.peak = self.now

    def give_back(self, size: int) -> None:
        self._count(-size)
        if self.peak > self.MUCH and self.now < self.peak // 4:
            self.peak = self.now
            asyncio.get_running_loop().call_later(0.1, release_memory)


class Limiter:
    """A token bucket a client: `rate` requests a second, and a second's worth at once."""

    MOST_CLIENTS = 10_000

    def __init__(self, rate: float):
        self.rate, self.burst = rate, max(1.0, rate)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def check(self, client: str, now: float) -> None:
        """Takes a token.

        Raises:
          Refusal: 429, none is left.
        """
        tokens, then = self._buckets.pop(client, (self.burst, now))
        tokens = min(self.burst, tokens + (now - then) * self.rate)
        self._buckets[client] = (tokens - (tokens >= 1), now)
        if len(self._buckets) > self.MOST_CLIENTS:
            self._buckets.popitem(last=False)
        if tokens < 1:
            wait = f"{int((1 - tokens) / self.rate) + 1}"
            raise Refusal(429, f"more than {self.rate:g} requests a second: wait {wait} s", {"retry-after": wait})


def named(words: str) -> list[str]:
    return [word.strip().lower() for word in words.split(",") if word.strip()]


def _host(header: bytes) -> str:
    """The name in a Host header, without its port."""
    text = header.decode("latin-1")
    return (text.rpartition("]")[0].lstrip("[") or text.partition(":")[0]).lower().rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


async def _refuse(path: str, refusal: Refusal, send: Send) -> None:
    media_type, body = document(path, refusal.status, refusal.detail)
    headers = {"content-type": media_type, "content-length": str(len(body)), **refusal.headers}
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": pairs})
    await send({"type": "http.response.body", "body": body, "more_body": False})
