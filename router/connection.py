"""The connection to NATS: how it is made, and that it is never given up."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from faststream.nats import NatsBroker
from faststream.nats.security import NatsCredentials, NatsNKey, NatsSecurity
from nats.aio.client import Client
from nats.errors import Error as NatsError

from router.servers import addresses, tls_context
from router.settings import NatsSettings, TlsSettings

log = structlog.get_logger(__name__)

_LATELY = 60.0  #: seconds that a refusal is told after it came
_FIRST_CONNECT = 5.0  #: seconds for the first connection; later ones are tried for ever


class ConnectionFailedError(Exception):
    """No server answers, or none lets us in; the message says which and what to look at."""


class Connection:
    """A FastStream broker over a connection that keeps trying to come back."""

    def __init__(self, settings: NatsSettings) -> None:
        self._settings = settings
        self._up = False  #: connected once, and not closing
        self._refused = ("", -math.inf)  #: what, and when on the monotonic clock
        self.broker = NatsBroker(
            settings.servers,
            name=settings.name,
            inbox_prefix=settings.inbox,
            connect_timeout=5,
            # The defaults give up after 60 tries and notice a dead server after four minutes.
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.2,  # type: ignore[arg-type] # annotated int; nats-py takes any number of seconds
            ping_interval=5,
            max_outstanding_pings=2,
            disconnected_cb=self._disconnected,
            reconnected_cb=self._reconnected,
            error_cb=self._error,
            security=_security(settings),
            logger=None,
        )

    @property
    def client(self) -> Client:
        """The nats-py connection."""
        return self.broker.connection

    async def open(self) -> None:
        """Connect for the first time. Raises `ConnectionFailedError` with the servers that were tried."""
        where = addresses(self._settings)
        try:
            async with asyncio.timeout(_FIRST_CONNECT):
                await self.broker.connect()
        except TimeoutError:
            raise ConnectionFailedError(f"no NATS server answers at {where}: start one, or set nats.url") from None
        except (NatsError, OSError) as exc:
            raise ConnectionFailedError(f"NATS at {where} cannot be used: {exc}") from None
        guard_headers(self.client)
        self._up = True

    async def close(self) -> None:
        """Let go."""
        self._up = False
        await self.broker.stop()

    async def _disconnected(self) -> None:
        if self._up:
            log.warning("nats.disconnected")

    async def _reconnected(self) -> None:
        log.info("nats.reconnected")

    async def _error(self, exc: Exception) -> None:
        why = str(exc) or type(exc).__name__
        if "permissions violation" in why.lower():
            # Whoever published hears nothing but silence: this is the only word about it.
            self._refused = (why, time.monotonic())
            log.error("nats.refused", why=why)
        elif self._up:  # before, whoever waits for the first connection says it once
            log.warning("nats.error", why=why)

    def refused(self) -> str | None:
        """What the server did not permit us in the last minute, in its words."""
        why, at = self._refused
        return why if time.monotonic() - at < _LATELY else None


def guard_headers(client: Client) -> None:
    """Read whatever a publisher has put where headers belong as no headers.

    The server passes a header block on unread, and at some of them nats-py ends its reading from the connection for
    good: a message that nobody could get past, in a stream that everybody reads. What it offers is private, so where a
    later nats-py has it no more, this does nothing and tests/hostile says whether it is needed.
    """
    read: Callable[[Any], Awaitable[dict[str, str] | None]] | None = getattr(client, "_process_headers", None)
    if read is None:
        return

    async def guarded(headers: Any) -> dict[str, str] | None:
        try:
            return await read(headers)
        except Exception as exc:
            log.warning("nats.headers_unreadable", why=type(exc).__name__, size=len(headers))
            return None

    client._process_headers = guarded  # type: ignore[method-assign]


def _security(settings: NatsSettings) -> NatsSecurity | None:
    """Who we are, and how the server is known."""
    tls = _tls(settings.tls) if settings.tls else {}
    if settings.creds:
        return NatsCredentials(str(settings.creds), **tls)
    if settings.nkey:
        return NatsNKey.from_file(settings.nkey, **tls)
    return NatsSecurity(**tls) if tls else None


def _tls(files: TlsSettings) -> dict[str, Any]:
    try:
        return {"ssl_context": tls_context(files), "use_ssl": True}
    except OSError as exc:
        raise ConnectionFailedError(f"nats.tls: a file cannot be read: {exc.strerror or exc}") from None
