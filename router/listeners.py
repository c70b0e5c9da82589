"""Serving ASGI apps inside the router's own event loop, on sockets that are bound before anything else is promised."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any, ClassVar

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

_BACKLOG = 2048
#: Seconds that a connection may say nothing: longer than load balancers keep one, so that they close it first.
_IDLE = 65
#: Connections at a time. Whoever comes beyond them is answered 503, and a provider comes again.
_CONNECTIONS = 1_000


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


class Listener:
    """One app on one socket."""

    def __init__(self, app: Any, sock: socket.socket, *, head: float = 10.0) -> None:
        """`head`: seconds that the head of a request may take from its first byte on; its body has its own limit."""
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # nothing that a proxy says is believed: signatures cover the configured URL
            timeout_graceful_shutdown=5,  # a webhook is one packet; whoever drips it in does not hold up a drain
            timeout_keep_alive=_IDLE,
            limit_concurrency=_CONNECTIONS,
            http=type("_Guarded", (_Guarded,), {"head": head}),
            h11_max_incomplete_event_size=64 * 1024,
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


class _Guarded(AutoHTTPProtocol):  # type: ignore[misc, valid-type] # chosen by what is installed
    """Closes connections whose requests never come to an end: uvicorn waits for a head for ever."""

    head: ClassVar[float]  #: seconds that the head of a request may take
    _deadline: asyncio.TimerHandle | None = None
    _deadline_is_idle = True

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._expect(_IDLE)

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        was_idle = self._deadline is None or self._deadline_is_idle
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._forget()  # the head is here; the app sees to the rest
        elif was_idle:
            self._expect(self.head)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._expect(_IDLE)

    def _expect(self, seconds: float) -> None:
        """Within so many seconds, or the connection is closed."""
        self._forget()
        if not self.transport.is_closing():
            self._deadline_is_idle = seconds == _IDLE
            self._deadline = self.loop.call_later(seconds, self.transport.close)

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The router handles signals itself."""
        yield
