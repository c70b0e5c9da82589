"""The connection to NATS: how it is made, and that it is never given up."""

from __future__ import annotations

import asyncio

import structlog
from faststream.nats import NatsBroker
from faststream.security import BaseSecurity
from nats.errors import Error as NatsError

from router.servers import addresses, tls_context
from router.settings import NatsSettings

log = structlog.get_logger(__name__)

_FIRST_CONNECT = 10.0  #: seconds for the first connection; later ones are tried for ever


class ConnectionFailedError(Exception):
    """No server answers, or none lets us in; the message says which and what to look at."""


def make_broker(settings: NatsSettings) -> NatsBroker:
    """A FastStream broker over a connection that keeps trying to come back."""

    async def disconnected() -> None:
        if broker.connection.is_closed or broker.connection.is_draining:
            return
        log.warning("nats.disconnected")

    async def reconnected() -> None:
        log.info("nats.reconnected")

    async def error(exc: Exception) -> None:
        log.warning("nats.error", why=str(exc) or type(exc).__name__)

    broker = NatsBroker(
        settings.servers,
        name=settings.name,
        connect_timeout=5,
        # The defaults give up after 60 tries and notice a dead server after four minutes.
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.2,  # type: ignore[arg-type] # annotated int; nats-py takes any number of seconds
        ping_interval=5,
        max_outstanding_pings=2,
        disconnected_cb=disconnected,
        reconnected_cb=reconnected,
        error_cb=error,
        user_credentials=str(settings.creds) if settings.creds else None,
        nkeys_seed=str(settings.nkey) if settings.nkey else None,
        security=BaseSecurity(ssl_context=tls_context(settings.tls), use_ssl=True) if settings.tls else None,
        logger=None,
    )
    return broker


async def connect(broker: NatsBroker, settings: NatsSettings) -> None:
    """Connect for the first time. Raises `ConnectionFailedError` with the servers that were tried."""
    where = addresses(settings)
    try:
        async with asyncio.timeout(_FIRST_CONNECT):
            await broker.connect()
    except TimeoutError:
        raise ConnectionFailedError(f"no NATS server answers at {where}: start one, or set nats.url") from None
    except (NatsError, OSError) as exc:
        raise ConnectionFailedError(f"NATS at {where} cannot be used: {exc}") from None
