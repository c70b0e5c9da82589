"""The connections under an adapter, byte by byte against a server of raw answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from channels.http import (
    Connections,
    NoAnswerError,
    NotSentError,
    Origin,
    encode_head,
    encode_headers,
)
from channels.testing import until

REQUEST = b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class RawServer:
    """Answers each request with the next bytes of its script; `None` closes the connection."""

    def __init__(self, script: Sequence[Sequence[bytes | None]]) -> None:
        self._script = iter(script)
        self.connections = 0
        self.requests = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.requests += 1
                for part in next(self._script):
                    if part is None:
                        return
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(0)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has gone
        finally:
            writer.close()


@asynccontextmanager
async def against(
    *script: Sequence[bytes | None], limit: int = 2, timeout: float = 2.0, connect_timeout: float = 2.0
) -> AsyncIterator[tuple[Connections, RawServer]]:
    raw = RawServer(script)
    server = await asyncio.start_server(raw.serve, "127.0.0.1", 0)
    raw.port = server.sockets[0].getsockname()[1]
    pool = Connections(
        Origin("127.0.0.1", raw.port, secure=False), limit=limit, connect_timeout=connect_timeout, timeout=timeout
    )
    try:
        yield pool, raw
    finally:
        pool.close()
        server.close()


async def test_a_connection_is_used_again() -> None:
    async with against([OK], [OK], [OK]) as (pool, server):
        answers = [await pool.exchange(REQUEST) for _ in range(3)]
    assert [(answer.status, answer.body) for answer in answers] == [(200, b"ok")] * 3
    assert (server.connections, server.requests) == (1, 3)


@pytest.mark.parametrize(
    ("parts", "body"),
    [
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\no", b"k\r\n0\r\n\r\n"], b"ok"),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", OK], b"ok"),
        ([b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK], b"ok"),
        ([b"HT", b"TP/1.1 200 OK\r\nContent-", b"Length: 2\r\n\r\no", b"k"], b"ok"),
        ([b"HTTP/1.1 200 OK\r\n\r\no", b"k", None], b"ok"),
        ([b"HTTP/1.0 200 OK\r\n\r\nok", None], b"ok"),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], b""),
    ],
    ids=["chunked", "continue", "early hints", "in pieces", "until the close", "HTTP/1.0", "no content"],
)
async def test_an_answer_may_come_in_any_form(parts: list[bytes | None], body: bytes) -> None:
    async with against(parts) as (pool, _):
        assert (await pool.exchange(REQUEST)).body == body


async def test_headers_are_found_in_lower_case_and_repeated_ones_are_joined() -> None:
    raw = b"HTTP/1.1 429 Too Many\r\nRetry-After: 3\r\nVia: a\r\nVIA: b\r\nContent-Length: 0\r\n\r\n"
    async with against([raw]) as (pool, _):
        answer = await pool.exchange(REQUEST)
    assert (answer.status, dict(answer.headers)) == (429, {"retry-after": "3", "via": "a, b", "content-length": "0"})


@pytest.mark.parametrize(
    "parts",
    [
        [None],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok", None],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok", None],
        [b"HTTP/1.1 200 OK\r\nContent-Le", None],
        [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"],
        [b"SSH-2.0-OpenSSH\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + b" " * (17 * 1024 * 1024)],
        [],
    ],
    ids=["closed", "cut", "cut chunk", "cut head", "upgrade", "no HTTP", "no length", "too large", "silence"],
)
async def test_an_answer_that_cannot_be_read_is_no_answer(parts: list[bytes | None]) -> None:
    async with against(parts, [OK], timeout=0.3) as (pool, server):
        with pytest.raises(NoAnswerError):
            await pool.exchange(REQUEST)
        assert (await pool.exchange(REQUEST)).body == b"ok"
    assert (server.connections, server.requests) == (2, 2)


@pytest.mark.parametrize(
    "first",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        OK + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother",
        OK + b"HTTP/1.1 200",
    ],
    ids=["closing", "a second answer", "a part of a second answer"],
)
async def test_a_connection_that_may_mix_up_answers_is_not_used_again(first: bytes) -> None:
    async with against([first], [OK]) as (pool, server):
        assert [(await pool.exchange(REQUEST)).body for _ in range(2)] == [b"ok", b"ok"]
    assert server.connections == 2


async def test_what_comes_without_a_request_closes_the_connection() -> None:
    async with against([OK, OK], [OK]) as (pool, server):
        await pool.exchange(REQUEST)
        await asyncio.sleep(0.05)
        assert (await pool.exchange(REQUEST)).body == b"ok"
    assert server.connections == 2


async def test_a_connection_that_the_server_closed_while_idle_is_not_used_again() -> None:
    async with against([OK, None], [OK]) as (pool, server):
        await pool.exchange(REQUEST)
        await asyncio.sleep(0.05)
        assert (await pool.exchange(REQUEST)).body == b"ok"
    assert server.connections == 2


async def test_a_connection_idle_for_long_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with against([OK], [OK]) as (pool, server):
        await pool.exchange(REQUEST)
        loop = asyncio.get_running_loop()
        later = loop.time() + 16
        monkeypatch.setattr(loop, "time", lambda: later)
        await pool.exchange(REQUEST)
    assert server.connections == 2


async def test_no_more_connections_than_the_limit() -> None:
    async with against(*[[OK]] * 20, limit=3) as (pool, server):
        await asyncio.gather(*(pool.exchange(REQUEST) for _ in range(20)))
    assert server.requests == 20
    assert server.connections <= 3


async def test_a_wait_for_a_free_connection_ends_and_sent_nothing() -> None:
    async with against([], limit=1, connect_timeout=0.1) as (pool, server):
        first = asyncio.ensure_future(pool.exchange(REQUEST))
        await until(lambda: server.requests == 1)
        with pytest.raises(NotSentError):
            await pool.exchange(REQUEST)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
    assert server.requests == 1


async def test_a_cancelled_request_frees_its_place() -> None:
    async with against([], [OK], limit=1) as (pool, server):
        first = asyncio.ensure_future(pool.exchange(REQUEST))
        await until(lambda: server.requests == 1)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert (await pool.exchange(REQUEST)).body == b"ok"


async def test_closing_ends_what_is_under_way() -> None:
    async with against([]) as (pool, server):
        waiting = asyncio.ensure_future(pool.exchange(REQUEST))
        await until(lambda: server.requests == 1)
        pool.close()
        with pytest.raises(NoAnswerError):
            await waiting


@pytest.mark.parametrize("host", ["a..b", "x" * 70])
async def test_a_name_that_is_none_sent_nothing(host: str) -> None:
    pool = Connections(Origin(host, 80, secure=False), limit=1, connect_timeout=2, timeout=1)
    with pytest.raises(NotSentError):
        await pool.exchange(REQUEST)


def test_a_head_is_written() -> None:
    lines = encode_headers({"Host": "localhost", "X-A": "1"})
    assert encode_head("POST", "/x?a=b", lines, 3) == (
        b"POST /x?a=b HTTP/1.1\r\nHost: localhost\r\nX-A: 1\r\nContent-Length: 3\r\n\r\n"
    )
    assert encode_head("GET", "/x", lines, None) == b"GET /x HTTP/1.1\r\nHost: localhost\r\nX-A: 1\r\n\r\n"


@pytest.mark.parametrize("target", ["/x y", "/x\r\nX: y", "/\u00e9", "/x\x00"])
def test_no_address_can_begin_another_line(target: str) -> None:
    with pytest.raises(ValueError, match="no request can carry"):
        encode_head("GET", target, b"", None)


def test_no_header_can_begin_another_line() -> None:
    with pytest.raises(ValueError, match="no request can carry"):
        encode_headers({"X-A": "1\r\nX-B: 2"})
