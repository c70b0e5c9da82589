"""The HTTP client under the SDK: one session, real timeouts, no retries, and an honest word about every failure.

The SDK's own asynchronous client ignores its timeout, sends a POST up to three times when asked to retry, and drops the
headers of an error. This one keeps them, sends once, and answers the one question that matters when no answer came:
could the request have left? It asks aiohttp's tracing: from the moment a connection is handed over, new or reused,
bytes may be on their way, so whatever breaks later leaves the outcome unknown. Before that moment nothing was sent: a
failure of DNS, TCP or TLS, and a wait for a free connection that took too long, are safe to try again. A reused
connection that the server had closed counts as unknown too: the close and our request may have crossed.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from types import SimpleNamespace
from urllib.parse import urlencode, urlsplit, urlunsplit

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, TraceConfig
from twilio.http import AsyncHttpClient
from twilio.http.response import Response
from yarl import URL

from channels.errors import OutcomeUnknownError, ProviderResponseError, ProviderUnavailableError

#: As many requests as an account may have in flight by default.
CONNECTIONS = 100
#: Seconds to get a connection, the wait for a free one included.
CONNECT_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the SDK's exceptions leave out of an HTTP answer."""

    status: int
    headers: Mapping[str, str]  #: case-insensitive


@dataclass(slots=True)
class _Request:
    """One request on its way through aiohttp."""

    may_have_left: bool = False


#: The last answer that the current task got. The SDK returns or raises in the task that called it.
_last_answer: ContextVar[Answer | None] = ContextVar("twilio_last_answer", default=None)


def last_answer() -> Answer | None:
    """The answer to this task's latest request; None while there is none."""
    return _last_answer.get()


def forget_answer() -> None:
    """Start anew, so that `last_answer` speaks of the next request."""
    _last_answer.set(None)


class TwilioHttpClient(AsyncHttpClient):  # type: ignore[misc]  # the SDK ships no types
    """One pool of connections for all channels.

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
        self._timeout = ClientTimeout(connect=connect_timeout, sock_read=timeout, total=connect_timeout + timeout)
        self._connections = connections
        self._base = urlsplit(base_url) if base_url else None
        self._session: ClientSession | None = None
        self._authorization: dict[tuple[str, str], str] = {}

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
        address = self._address(url, params)
        body = urlencode(data, doseq=True).encode("ascii") if data else None
        sent_headers = dict(headers or {})
        if auth is not None:
            sent_headers["Authorization"] = self._basic(auth)
        return await self._exchange(method, address, body, sent_headers)

    async def _exchange(self, method: str, url: URL, body: bytes | None, headers: Mapping[str, str]) -> Response:
        request = _Request()
        try:
            async with self._open().request(
                method, url, data=body, headers=headers, allow_redirects=False, trace_request_ctx=request
            ) as response:
                text = (await response.read()).decode("utf-8", errors="replace")
        except (ClientError, OSError) as exc:  # asyncio's TimeoutError is an OSError
            kind = type(exc).__name__
            if request.may_have_left:
                raise OutcomeUnknownError(f"no answer from Twilio ({kind})") from None
            raise ProviderUnavailableError(f"Twilio was not reached ({kind})") from None
        _last_answer.set(Answer(response.status, response.headers))
        return Response(response.status, text, response.headers)

    def _open(self) -> ClientSession:
        """The session, made by the first request because it belongs to the running loop."""
        if self._session is None or self._session.closed:
            self._session = ClientSession(
                connector=TCPConnector(limit=self._connections),
                cookie_jar=DummyCookieJar(),
                timeout=self._timeout,
                trace_configs=[_watch_connections()],
            )
        return self._session

    def _address(self, url: str, params: Mapping[str, object] | None) -> URL:
        parts = urlsplit(url)
        if self._base is not None:
            path = self._base.path.rstrip("/") + parts.path
            parts = parts._replace(scheme=self._base.scheme, netloc=self._base.netloc, path=path)
        elif parts.scheme != "https" or not (parts.hostname or "").endswith(".twilio.com"):
            # A page's link to the next one comes from the answer: the credentials go nowhere but to Twilio.
            raise ProviderResponseError("the answer led to a host that is not Twilio's")
        query = urlencode({name: value for name, value in (params or {}).items() if value is not None}, doseq=True)
        return URL(urlunsplit(parts._replace(query=query or parts.query)), encoded=True)

    def _basic(self, auth: tuple[str, str]) -> str:
        if auth not in self._authorization:
            self._authorization = {auth: "Basic " + base64.b64encode(":".join(auth).encode()).decode("ascii")}
        return self._authorization[auth]

    async def close(self) -> None:
        """Close the connections; a later request opens new ones."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def _watch_connections() -> TraceConfig:
    trace = TraceConfig()
    trace.on_connection_create_end.append(_mark)
    trace.on_connection_reuseconn.append(_mark)
    return trace


async def _mark(_session: ClientSession, context: SimpleNamespace, _params: object) -> None:
    request: _Request = context.trace_request_ctx
    request.may_have_left = True
