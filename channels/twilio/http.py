"""The HTTP client under the SDK: pooled connections, real timeouts, no retries, and an honest word about every failure.

The SDK's own asynchronous client ignores its timeout, sends a POST up to three times when asked to retry, and drops the
headers of an error. This one keeps them, sends once, and answers the one question that matters when no answer came:
could the request have left? (`channels.http` tells.) Where it could, the outcome is unknown; where it could not, it is
safe to try again.
"""

from __future__ import annotations

import base64
import logging
import ssl
from collections.abc import Mapping
from contextvars import ContextVar
from functools import lru_cache
from urllib.parse import SplitResult, urlencode, urlsplit

from twilio.http import AsyncHttpClient
from twilio.http.response import Response

from channels.errors import OutcomeUnknownError, ProviderResponseError, ProviderUnavailableError
from channels.http import (
    Answer,
    Connections,
    NoAnswerError,
    NotSentError,
    Origin,
    encode_form,
    encode_head,
    encode_headers,
)

#: As many requests as an account may have in flight by default.
CONNECTIONS = 100
#: Seconds to get a connection, the wait for a free one included.
CONNECT_TIMEOUT = 5.0

_PORTS = {"http": 80, "https": 443}

#: The last answer that the current task got. The SDK returns or raises in the task that called it.
_last_answer: ContextVar[Answer | None] = ContextVar("twilio_last_answer", default=None)


def last_answer() -> Answer | None:
    """The answer to this task's latest request; None while there is none."""
    return _last_answer.get()


def forget_answer() -> None:
    """Start anew, so that `last_answer` speaks of the next request."""
    _last_answer.set(None)


class TwilioHttpClient(AsyncHttpClient):  # type: ignore[misc]  # the SDK ships no types
    """Connections for all channels.

    `timeout` is seconds for the answer once a connection is there, `connect_timeout` seconds to get one. `base_url`
    takes every request to another host (a simulator); otherwise only Twilio's own hosts are called.
    """

    def __init__(
        self,
        *,
        timeout: float,
        connect_timeout: float = CONNECT_TIMEOUT,
        connections: int = CONNECTIONS,
        base_url: str | None = None,
    ) -> None:
        super().__init__(logging.getLogger(__name__), is_async=True, timeout=timeout)
        self._timeout, self._connect_timeout = timeout, connect_timeout
        self._limit = connections
        self._base = urlsplit(base_url) if base_url else None
        # Reading the authorities takes a while: at the start, not in the middle of the first send.
        self._tls = ssl.create_default_context() if self._base is None or self._base.scheme == "https" else None
        self._pools: dict[Origin, Connections] = {}

    async def request(
        self,
        method: str,
        url: str,
        params: Mapping[str, object] | None = None,
        data: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109, ARG002 - the SDK's signature; nothing of ours passes it
        allow_redirects: bool = False,  # noqa: ARG002 - a redirected POST could be sent twice
    ) -> Response:
        """One request, sent once. Raises `ProviderUnavailableError` or `OutcomeUnknownError`: see the module."""
        origin, target = self._address(url, params)
        body = encode_form(data) if data else b""
        lines = _header_lines(origin, tuple(headers.items()) if headers else (), auth)
        head = encode_head(method, target, lines, len(body) if body or method == "POST" else None)
        answer = await self._exchange(origin, head + body)
        _last_answer.set(answer)
        return Response(answer.status, answer.body.decode("utf-8", errors="replace"), answer.headers)

    async def _exchange(self, origin: Origin, request: bytes) -> Answer:
        try:
            return await self._connections(origin).exchange(request)
        except NoAnswerError as exc:
            raise OutcomeUnknownError(f"no answer from Twilio ({exc})") from None
        except NotSentError as exc:
            raise ProviderUnavailableError(f"Twilio was not reached ({exc})") from None

    def _connections(self, origin: Origin) -> Connections:
        """Made by the first request, because they belong to the running loop."""
        if origin not in self._pools:
            self._pools[origin] = Connections(
                origin,
                limit=self._limit,
                connect_timeout=self._connect_timeout,
                timeout=self._timeout,
                tls=self._tls,
            )
        return self._pools[origin]

    def _address(self, url: str, params: Mapping[str, object] | None) -> tuple[Origin, str]:
        """Where a request goes, and what its first line asks for."""
        origin, target = _read_address(url, self._base)
        if not params:
            return origin, target
        query = urlencode({name: value for name, value in params.items() if value is not None}, doseq=True)
        return origin, f"{target.partition('?')[0]}?{query}" if query else target

    async def close(self) -> None:
        """Close the connections; a later request opens new ones."""
        pools, self._pools = self._pools, {}
        for pool in pools.values():
            pool.close()


@lru_cache(maxsize=256)
def _read_address(url: str, base: SplitResult | None) -> tuple[Origin, str]:
    parts = urlsplit(url)
    path = parts.path
    if base is not None:
        path = base.path.rstrip("/") + path
    elif parts.scheme != "https" or not (parts.hostname or "").endswith(".twilio.com"):
        # A page's link to the next one comes from the answer: the credentials go nowhere but to Twilio.
        raise ProviderResponseError("the answer led to a host that is not Twilio's")
    host = base or parts
    origin = Origin(host.hostname or "", host.port or _PORTS[host.scheme], secure=host.scheme == "https")
    return origin, (path or "/") + (f"?{parts.query}" if parts.query else "")


@lru_cache(maxsize=16)
def _header_lines(origin: Origin, headers: tuple[tuple[str, str], ...], auth: tuple[str, str] | None) -> bytes:
    """The same for every message, so they are written once."""
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    standard = origin.port == _PORTS["https" if origin.secure else "http"]
    lines = {"Host": host if standard else f"{host}:{origin.port}", **dict(headers)}
    if auth is not None:
        lines["Authorization"] = "Basic " + base64.b64encode(":".join(auth).encode()).decode("ascii")
    return encode_headers(lines)
