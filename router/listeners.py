"""Serving ASGI apps inside the router's own event loop, on sockets that are bound before anything else is promised."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn

_BACKLOG = 2048


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

    def __init__(self, app: Any, sock: socket.socket) -> None:
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # nothing that a proxy says is believed: signatures cover the configured URL
            timeout_graceful_shutdown=5,  # a webhook is one packet; whoever drips it in does not hold up a drain
            timeout_keep_alive=65,  # longer than load balancers keep a connection, so that they close it first
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


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The router handles signals itself."""
        yield
