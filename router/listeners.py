"""Serving ASGI apps inside the router's own event loop, on sockets that are bound before anything else is promised."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import structlog
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from router.seldom import Seldom

log = structlog.get_logger(__name__)

_BACKLOG = 2048
#: Seconds after which a connection is cut whose other side does not take what is still to be sent.
_LINGER = 5
#: Connections more than the limit that are just being closed.
_CLOSING = 100
#: Bytes of a head; and of a body that still comes after it was answered, so that its sender gets to read the answer.
_HEAD, _REST = 64 * 1024, 1024 * 1024
_HEAD_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class ListenError(Exception):
    """An address cannot be listened on."""


def bind(address: str, *, shared: bool = False) -> socket.socket:
    """`host:port`, port 0 for any free one; a shared port is spread by the kernel over all who listen on it."""
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        raise ListenError(f"{address!r} is no host:port")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        sock.bind((host.strip("[]") or "0.0.0.0", int(port)))  # noqa: S104 - ":8080" asks for every interface
    except OSError as exc:
        sock.close()
        raise ListenError(f"cannot listen on {address}: {exc.strerror}") from None
    return sock


@dataclass(frozen=True)
class Limits:
    """What one listener puts up with."""

    head: float = 10.0  #: seconds that the head of a request may take from its first byte on; a body has its own limit
    #: Seconds that a connection may say nothing, or not take what is sent: longer than load balancers keep one, so that
    #: they close it first.
    idle: float = 65.0
    #: At a time. For one more, the one that has been waiting for a request longest is closed; where all are at work,
    #: it is answered 503, and a provider comes again.
    connections: int = 1_000


class Listener:
    """One app on one socket."""

    def __init__(
        self, app: Any, sock: socket.socket, limits: Limits | None = None, *, websockets: bool = False
    ) -> None:
        limits = limits or Limits()
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # nothing that a proxy says is believed: signatures cover the configured URL
            timeout_graceful_shutdown=5,  # a webhook is one packet; whoever drips it in does not hold up a drain
            timeout_keep_alive=round(limits.idle) + 1,  # ours comes first
            limit_concurrency=limits.connections + _CLOSING,
            http=type("_Guarded", (_Guarded,), {"crowd": _Crowd(limits)}),
            ws="auto" if websockets else "none",
            backlog=_BACKLOG,
        )
        self._server = _Server(config)
        self._socket = sock
        self._task: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self._socket.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @property
    def connections(self) -> int:
        """At the moment."""
        return len(self._server.server_state.connections)

    async def start(self) -> None:
        """Serve."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]), name="listener")
        while not self._server.started:
            if self._task.done():
                await self._task
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """End requests under way, then close."""
        self._server.should_exit = True
        if self._task:
            await self._task


@dataclass
class _Crowd:
    """All connections of one listener."""

    limits: Limits
    waiting: dict[_Guarded, None] = field(default_factory=dict)  #: for a request, or for the rest of its head
    seldom: Seldom = field(default_factory=Seldom)

    def make_room(self, connections: int) -> None:
        """Close the one that has been waiting longest, if there are too many."""
        if connections > self.limits.connections and self.waiting:
            next(iter(self.waiting)).end()


class _Guarded(HttpToolsProtocol):
    """Closes connections whose requests never come to an end: uvicorn would wait for a head for ever, however long."""

    crowd: ClassVar[_Crowd]
    _deadline: asyncio.TimerHandle | None = None
    _deadline_is_idle = True
    _stalled: asyncio.TimerHandle | None = None
    _unanswered = 0  #: bytes that belong to no request under way
    _owed = False  #: the last answer was given before its request had ended

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = _Provoked(self.logger, self.crowd.seldom)  # type: ignore[assignment] # as much of it as is used

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        super().connection_made(transport)
        self.crowd.make_room(len(self.connections))
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        if self._stalled is not None:
            self._stalled.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        was_idle = self._deadline is None or self._deadline_is_idle
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._forget()  # the head is here; the app sees to the rest
            self._unanswered = 0
            return
        self._unanswered += len(data)
        if self._unanswered > (_REST if self._owed else _HEAD):
            if not self._owed and not self.transport.is_closing():
                self.transport.write(_HEAD_TOO_LARGE)
            self.end()
        elif was_idle:
            self._expect(head=True)

    def on_response_complete(self) -> None:
        self._owed = self.cycle.more_body
        super().on_response_complete()
        self._expect()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(self.crowd.limits.idle, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()

    def end(self) -> None:
        """Close it, and cut it off should the other side not take what is still to be sent."""
        self._forget()
        self.transport.close()
        self.loop.call_later(_LINGER, self.transport.abort)

    def _expect(self, *, head: bool = False) -> None:
        """A request, or the rest of its head, in time; or the connection is closed."""
        self._forget()
        if not self.transport.is_closing():
            limits = self.crowd.limits
            self._deadline_is_idle = not head
            self._deadline = self.loop.call_later(limits.head if head else limits.idle, self.end)
            self.crowd.waiting[self] = None

    def _forget(self) -> None:
        self.crowd.waiting.pop(self, None)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class _Provoked(logging.LoggerAdapter[logging.Logger]):
    """uvicorn warns of every request that is none: anybody outside can send as many as they like."""

    def __init__(self, logger: logging.Logger, seldom: Seldom) -> None:
        super().__init__(logger)
        self._seldom = seldom

    @property
    def level(self) -> int:
        """Looked at by uvicorn."""
        return self.logger.level

    def warning(self, msg: object, *args: object, **kwargs: Any) -> None:  # noqa: ARG002 - logging's signature
        """Once in a while."""
        if (kept_back := self._seldom.due(msg)) is not None:
            log.warning("http.refused", why=str(msg), kept_back=kept_back)


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The router handles signals itself."""
        yield
