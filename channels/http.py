"""HTTP/1.1 for adapters: connections that are kept open, and an honest word about every failure.

A sender of messages has to know one thing that HTTP clients do not tell: when no answer came, could the request have
left? Here a request is written in one piece, and the moment of that write divides the failures. Before it nothing was
sent: a failure of DNS, TCP or TLS and a wait for a free connection that took too long are a `NotSentError`. From it on
bytes may be on their way, so whatever breaks is a `NoAnswerError`, and that includes a connection that the server was
about to close: its close and our request may have crossed.

Nothing is sent twice, no redirect is followed, no cookie is kept. Answers are parsed by llhttp (the package httptools).
Why this and not a larger client: docs/decisions/0008-what-a-notification-costs.md.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import cast
from urllib.parse import quote_plus

import httptools

from channels.values import value

#: Seconds after which an idle connection is not used any more: the server may be about to close it.
_FRESH = 15.0
#: Bytes of an answer; more is not an answer that anybody asked for.
_MAX_BODY = 16 * 1024 * 1024
#: What each ASCII character is written as in a form.
_QUOTED = {code: quote_plus(chr(code)) for code in range(128)}


class NotSentError(Exception):
    """Nothing of the request left: it can safely be made again."""


class NoAnswerError(Exception):
    """The request may have arrived, and no readable answer came back."""


@value(frozen=True, slots=True)
class Origin:
    """Where connections lead."""

    host: str
    port: int
    secure: bool


@value(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer."""

    status: int
    headers: Mapping[str, str]  #: names in lower case; repeated ones are joined by commas
    body: bytes


class Connections:
    """A pool of connections to one origin; each carries one request at a time.

    `connect_timeout` is seconds to get a connection, the wait for a free one included; `timeout` is seconds for the
    answer.
    """

    def __init__(
        self, origin: Origin, *, limit: int, connect_timeout: float, timeout: float, tls: ssl.SSLContext | None = None
    ) -> None:
        self._origin = origin
        self._tls = (tls or ssl.create_default_context()) if origin.secure else None
        self._connect_timeout = connect_timeout
        self._timeout = timeout
        self._slots = asyncio.Semaphore(limit)
        self._idle: list[_Connection] = []
        self._all: set[_Connection] = set()

    async def exchange(self, request: bytes) -> Answer:
        """Send one request, once. Raises `NotSentError` or `NoAnswerError`."""
        connection = await self._take()
        try:
            answer = await connection.exchange(request, self._timeout)
        finally:
            self._slots.release()
        if connection.reusable:
            self._idle.append(connection)
        else:
            connection.abort()
        return answer

    def close(self) -> None:
        """Drop every connection; whoever still waits for an answer gets none."""
        for connection in list(self._all):
            connection.abort()
        self._idle.clear()

    async def _take(self) -> _Connection:
        """A connection and a slot, the usual way without a wait."""
        if self._idle and not self._slots.locked():
            await self._slots.acquire()
            if connection := self._fresh():
                return connection
            self._slots.release()
        try:
            async with asyncio.timeout(self._connect_timeout):
                return await self._take_in_turn()
        except (OSError, ValueError) as exc:  # asyncio's TimeoutError is an OSError, a name that is none a ValueError
            raise NotSentError(type(exc).__name__) from None

    async def _take_in_turn(self) -> _Connection:
        await self._slots.acquire()
        try:
            return self._fresh() or await self._open()
        except BaseException:
            self._slots.release()
            raise

    def _fresh(self) -> _Connection | None:
        """The connection that was used last, as long as the server can be expected to hold it open."""
        while self._idle:
            connection = self._idle.pop()
            if connection.fresh:
                return connection
            connection.abort()
        return None

    async def _open(self) -> _Connection:
        loop, origin = asyncio.get_running_loop(), self._origin
        connection = _Connection(loop, self._all)
        await loop.create_connection(lambda: connection, origin.host, origin.port, ssl=self._tls)
        return connection


class _Connection(asyncio.Protocol):
    """One connection, with the request that is under way on it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, register: set[_Connection]) -> None:
        self._loop = loop
        self._register = register  #: of the connections that are open
        self._transport: asyncio.Transport
        self._parser = httptools.HttpResponseParser(self)
        self._waiting: asyncio.Future[Answer] | None = None
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._size = 0
        self._until_close = False  #: the end of the answer is the end of the connection
        self._used = 0.0
        self.reusable = False  #: the answer was read to its end, and the server keeps the connection open

    async def exchange(self, request: bytes, timeout: float) -> Answer:  # noqa: ASYNC109 - one timer, no scope
        """Write a request and wait for its answer."""
        if self._transport.is_closing():
            raise NotSentError("the connection closed")
        self._waiting = self._loop.create_future()
        self.reusable = False
        timer = self._loop.call_later(timeout, self._fail, "no answer in time")
        try:
            self._transport.write(request)
            return await self._waiting
        except asyncio.CancelledError:
            self.abort()
            raise
        finally:
            timer.cancel()
            self._waiting = None

    @property
    def fresh(self) -> bool:
        """Whether it can be used once more."""
        return not self._transport.is_closing() and self._loop.time() - self._used < _FRESH

    def abort(self) -> None:
        """Drop it."""
        self._transport.abort()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is there."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its type
        self._register.add(self)

    def data_received(self, data: bytes) -> None:
        """A part of an answer."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail("the answer is no HTTP")

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._register.discard(self)
        if self._until_close and exc is None:
            self._finish()
        else:
            self._fail("the connection broke")

    # What the parser calls.

    def on_message_begin(self) -> None:
        """An answer begins."""
        self._headers, self._body, self._size = {}, [], 0
        if self._answered:
            self._fail("an answer that nobody asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text

    def on_headers_complete(self) -> None:
        """All of them."""
        self._until_close = "content-length" not in self._headers and "transfer-encoding" not in self._headers

    def on_body(self, part: bytes) -> None:
        """A part of the body."""
        self._size += len(part)
        if self._size > _MAX_BODY:
            self._fail("the answer is too large")
            return
        self._body.append(part)

    def on_message_complete(self) -> None:
        """The whole answer; a provisional one (1xx) is followed by another."""
        self._until_close = False
        if self._parser.get_status_code() >= 200:
            self.reusable = self._parser.should_keep_alive()
            self._finish()

    def _finish(self) -> None:
        self._used = self._loop.time()
        if self._waiting is not None and not self._waiting.done():
            answer = Answer(self._parser.get_status_code(), self._headers, b"".join(self._body))
            self._waiting.set_result(answer)

    def _fail(self, why: str) -> None:
        self.reusable = False
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(NoAnswerError(why))
        self.abort()

    @property
    def _answered(self) -> bool:
        """Whether nobody waits for an answer now."""
        return self._waiting is None or self._waiting.done()


def encode_head(method: str, target: str, headers: bytes, length: int | None) -> bytes:
    """The first lines of a request whose `headers` come from `encode_headers`; `length` of its body, where it has one.

    Raises `ValueError` for a target that would be more than one token of the line.
    """
    if not target.isascii() or not target.isprintable() or " " in target:
        raise ValueError("the address holds characters that no request can carry")
    size = b"" if length is None else b"Content-Length: %d\r\n" % length
    return b"%b %b HTTP/1.1\r\n%b%b\r\n" % (method.encode(), target.encode(), headers, size)


def encode_headers(headers: Mapping[str, str]) -> bytes:
    """Header lines. Raises `ValueError` for a value that would begin another line."""
    lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
    if any(not line[:-2].isprintable() for line in lines):
        raise ValueError("a header holds characters that no request can carry")
    return "".join(lines).encode("latin-1")


def quoted(text: str) -> str:
    """Like `quote_plus`, and twice as fast where the text is ASCII."""
    if not text.isascii():
        return quote_plus(text)
    return text if text.isalnum() else text.translate(_QUOTED)


def encode_form(fields: Mapping[str, object]) -> bytes:
    """Like `urlencode(fields, doseq=True)`: a list is one field for each of its members."""
    pairs = []
    for name, given in fields.items():
        for each in given if isinstance(given, (list, tuple)) else (given,):
            pairs.append(f"{quoted(name)}={quoted(str(each))}")
    return "&".join(pairs).encode("ascii")
