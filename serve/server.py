"""uvicorn around the app: connections that time out, signals, an orderly end."""

import asyncio
import os
import signal
import socket
import threading
import time
from asyncio import BaseTransport, TimerHandle
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from digitjax.base.errors import DigitjaxError
from serve import logs
from serve.app import create_app
from serve.problems import document
from serve.service import Service
from serve.settings import Settings

MOST_HEAD = 65_536
"""Bytes of a request before its body, where they come in more than one piece."""

ACCEPTS = 16
"""Connections that are let in at a time."""
LINGER = 2.0
"""Seconds in which a client may go on sending what was refused, so that it reads why: a reset would lose the answer."""

_POLICY = "; ".join(
    ["default-src 'none'", *(f"{kind}-src 'self'" for kind in ("script", "style", "img", "connect"))]
    + ["base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"]
)
_HEAD_END = (
    f"x-content-type-options: nosniff\r\nreferrer-policy: no-referrer\r\ncontent-security-policy: {_POLICY}\r\n\r\n"
).encode()
"""What every answer forbids, and the empty line."""


class Corked:
    """A transport that keeps the head of an answer for its body: one packet and one system call in place of two.

    What every answer forbids is put into its head here, in one piece, since uvicorn would look at each letter of it.

    Args:
      unread: whether the client is still sending.
    """

    def __init__(self, transport: BaseTransport, unread: Callable[[], bool]):
        self._transport: Any = transport
        self._unread, self._head, self._ending = unread, b"", False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if data.startswith(b"HTTP/1.1 ") and data.endswith(b"\r\n\r\n") and not data.startswith(b"HTTP/1.1 100"):
            self._head = data[:-2] + _HEAD_END
        else:
            self._transport.write(self._head + data)
            self._head = b""

    def flush(self) -> None:
        if self._head:
            self.write(b"")

    def is_closing(self) -> bool:
        return self._ending or self._transport.is_closing()

    def close(self) -> None:
        self.flush()
        if self._unread() and not self.is_closing() and self._transport.can_write_eof():
            self._ending = True
            self._transport.write_eof()
            self._transport.resume_reading()  # uvicorn stops where it holds much of a body
            asyncio.get_running_loop().call_later(LINGER, self._transport.close)
        elif not self._ending:
            self._transport.close()


class Protocol(HttpToolsProtocol):
    """uvicorn's own, with an end to clients that say nothing, stop half-way, are too many, or have left."""

    patience: float
    most: int
    _waiting: TimerHandle | None = None
    _in_head, _head = True, 0

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(Corked(transport, self._is_sending))  # pyright: ignore
        if len(self.connections) > self.most:
            self._refuse(503, "this server has as many connections as it takes: come back in a second")
            return
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head:
            self._head += len(data)
            if self._head > MOST_HEAD:
                self._refuse(431, f"the headers are longer than {MOST_HEAD} bytes: send fewer")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head = True, 0
        self._wait()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        if self.cycle is not None and self.cycle.response_complete:
            self._wait()  # refused before its body came: uvicorn's own clock was stopped by that body
        else:
            self._stop_waiting()

    def on_response_complete(self) -> None:
        self.transport.flush()  # pyright: ignore
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)
        self._cancel("gone")

    def shutdown(self) -> None:
        if self._is_sending():
            self._cancel("stopping")
        if self.cycle is None:  # its first request may be on its way
            self.loop.call_later(0.2, super().shutdown)
        else:
            super().shutdown()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, f"{msg.rstrip('.')}: send HTTP/1.1")

    def _refuse(self, status: int, detail: str) -> None:
        media_type, body = document("", status, detail)
        head = f"HTTP/1.1 {status} \r\ncontent-type: {media_type}\r\ncontent-length: {len(body)}\r\nretry-after: 1\r\n"
        self.transport.write(head.encode() + b"connection: close\r\n" + _HEAD_END + body)
        self.transport.close()

    def _cancel(self, why: str) -> None:
        """Ends the request that is at work, if there is one; the edge looks why."""
        if self.cycle is not None and not self.cycle.response_complete:
            state: dict[str, Any] = self.cycle.scope.get("state", {})
            if cancel := state.get("cancel"):
                state["why"] = why
                cancel()

    def _is_sending(self) -> bool:
        return self.cycle is not None and self.cycle.more_body

    def _wait(self) -> None:
        self._stop_waiting()
        self._waiting = self.loop.call_later(self.patience, self._lose_patience)

    def _lose_patience(self) -> None:
        if self._is_sending():
            self._cancel("slow")
        self._waiting = self.loop.call_later(1, self.transport.close)  # by then the edge has answered 408

    def _stop_waiting(self) -> None:
        if self._waiting:
            self._waiting.cancel()
            self._waiting = None


class Server(uvicorn.Server):
    """uvicorn's own, ready once it listens, drained before it stops; SIGHUP loads the model anew."""

    def __init__(self, config: uvicorn.Config, service: Service, started: float):
        super().__init__(config)
        self.service, self.began, self._reload = service, started, None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        loop, model = asyncio.get_running_loop(), self.service.predictor.checksum
        loop.add_signal_handler(signal.SIGHUP, lambda: setattr(self, "_reload", loop.create_task(self.reload())))
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        seconds = round(time.perf_counter() - self.began, 2)
        logs.event("ready", address=f"http://{host}:{port}", model=model, seconds=seconds)

    async def reload(self) -> None:
        try:
            await self.service.reload()
        except DigitjaxError as error:
            logs.event("not reloaded", reason=str(error))

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if not self.service.draining:
            self.service.draining = True
            logs.event("stopping", signal=sig)
            timer = threading.Timer(self.service.settings.drain, setattr, (self, "should_exit", True))
            timer.daemon = True
            timer.start()
        else:  # told twice: at once
            self.should_exit = self.force_exit = True


def at_a_time(listener: socket.socket, count: int) -> list[socket.socket]:
    """One listening socket under so many names: libuv lets in one connection a name and turn of its loop, which a batch
    makes long."""
    return [listener, *(listener.dup() for _ in range(count - 1))]


def serve(settings: Settings, listener: socket.socket) -> None:
    """Answers until SIGTERM or SIGINT.

    Raises:
      DigitjaxError: the model cannot be had.
    """
    started, is_worker = time.perf_counter(), settings.workers > 1
    service = Service(settings, lambda: is_worker and os.kill(os.getppid(), signal.SIGHUP))
    logs.start()
    limits = dict(patience=settings.read_timeout, most=settings.max_connections)
    config = uvicorn.Config(
        create_app(service),
        loop="uvloop",
        http=type("LimitedProtocol", (Protocol,), limits),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies or None,
        timeout_graceful_shutdown=int(settings.deadline) + 1,
        backlog=settings.max_connections,
    )
    Server(config, service, started).run(at_a_time(listener, ACCEPTS))
    logs.event("stopped")
    logs.stop()
