"""NATS as commands use it: connected at once or not at all, and every failure one line for the user."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import nats
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from router.cli.errors import CommandError
from router.jetstream import JetStream, StoreError, StoreRefusedError
from router.servers import addresses, tls_context
from router.settings import NatsSettings

#: Seconds within which a router must have answered.
ANSWER_WITHIN = 2.0
#: The same where it may have to ask the provider first.
_DONE_WITHIN = 15.0
_CONNECT_WITHIN = 3  #: seconds, for each server
_BAD_REQUEST = 400


class NoServerError(CommandError):
    """Nobody listens at the configured address."""


class NoAnswerError(CommandError):
    """No router answered, or none in time."""


class ServiceError(CommandError):
    """A router answered that it cannot; `code` is that of the NATS micro convention."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


@asynccontextmanager
async def connected(settings: NatsSettings) -> AsyncIterator[JetStream]:
    """JetStream for the time of a command. Raises `CommandError`, also for what the store refuses meanwhile."""
    where = addresses_of(settings)
    client = await _connect(settings, where)
    js = JetStream(client, timeout=settings.timeout, replicated=settings.replicas > 1)
    try:
        await js.start()
        yield js
    except StoreError as exc:
        raise CommandError(f"NATS at {where}: {exc}") from None
    finally:
        await js.stop()
        await client.close()


def addresses_of(settings: NatsSettings) -> str:
    """The servers as they may be shown. Raises `CommandError` for what is no address."""
    try:
        return addresses(settings)
    except ValueError:
        raise CommandError("nats.url: not an address; write for example nats://127.0.0.1:4222") from None


async def _connect(settings: NatsSettings, where: str) -> Client:
    failures: list[Exception] = []

    async def note(exc: Exception) -> None:
        failures.append(exc)

    try:
        client = await nats.connect(
            settings.servers,
            name=f"{settings.name}-cli",
            inbox_prefix=settings.inbox,
            connect_timeout=_CONNECT_WITHIN,
            max_reconnect_attempts=1,
            reconnect_time_wait=0.1,
            error_cb=note,
            user_credentials=str(settings.creds) if settings.creds else None,
            nkeys_seed=str(settings.nkey) if settings.nkey else None,
            tls=tls_context(settings.tls) if settings.tls else None,
        )
    except (NatsError, OSError, ValueError) as exc:
        raise _failure(where, failures[-1] if failures else exc) from None
    # Somebody who follows events wants to follow them through a restart of the server.
    client.options["max_reconnect_attempts"] = -1
    return client


def _failure(where: str, reason: Exception) -> CommandError:
    if isinstance(reason, ConnectionRefusedError | TimeoutError):
        return NoServerError(f"no NATS server answers at {where}: start one, or give --nats")
    return CommandError(f"NATS at {where} cannot be used: {str(reason) or type(reason).__name__}")


async def ask(js: JetStream, service: str, request: Mapping[str, Any]) -> dict[str, Any] | None:
    """The answer of a router; None when none answers in time. Raises `ServiceError` for what it refuses."""
    try:
        return await _answer(js, service, request, ANSWER_WITHIN)
    except (NoRespondersError, TimeoutError):
        return None


async def told(settings: NatsSettings, service: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """The answer where nobody but a router has one. Raises `CommandError` when none answers, or one refuses."""
    async with connected(settings) as js:
        return await asked(js, service, request)


async def asked(js: JetStream, service: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """The same over a connection that is there. Raises `NoAnswerError` when none answers."""
    try:
        return await _answer(js, service, request, _DONE_WITHIN)
    except NoRespondersError:
        raise NoAnswerError("no router answers: start one (pointsman run)") from None
    except TimeoutError:
        # Whatever is asked for can be asked for twice, so this advice is safe.
        raise NoAnswerError(f"no answer within {_DONE_WITHIN:g} s, so it may or may not be done: ask again") from None


async def _answer(js: JetStream, service: str, request: Mapping[str, Any], within: float) -> dict[str, Any]:
    reply = await js.client.request(f"pointsman.{service}", json.dumps(request).encode(), timeout=within)
    answer: dict[str, Any] = json.loads(reply.data)
    if code := (reply.headers or {}).get("Nats-Service-Error-Code"):
        raise ServiceError(_refusal(**answer["error"]), code)
    return answer


def _refusal(code: int, field: str | None, message: str) -> str:
    """Why a router refuses; it names the field that is wrong, unless the sentence does."""
    is_named = field is None or code != _BAD_REQUEST or message.startswith(field)
    return message if is_named else f"{field}: {message}"


async def require_stream(js: JetStream, name: str) -> None:
    """Raises `CommandError` where no router has made its streams yet."""
    try:
        await js.api(f"STREAM.INFO.{name}")
    except StoreRefusedError:
        raise CommandError(
            f"NATS has no stream {name}: a router makes its streams when it starts (pointsman run)"
        ) from None
