"""The public listener against clients that mean no good: others are served meanwhile, and nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
import structlog

from channels.port import WebhookReply
from channels.twilio.simulator import TwilioMessage
from router.http import ASGIApp, read_body, respond
from router.listeners import Limits, Listener, bind
from tests.integration.harness import US, Harness

pytestmark = pytest.mark.nats

_HEAD = 1.0  #: seconds
_SLOW = 200  #: clients at a time


def an_app() -> ASGIApp:
    """Answers whoever sends a whole request, in one place before it is whole."""

    async def app(scope, receive, send) -> None:  # type: ignore[no-untyped-def] # the ASGI signature
        assert scope["type"] == "http"
        match scope["path"]:
            case "/unread":
                await respond(send, WebhookReply(404))
            case "/large":
                await respond(send, WebhookReply(200, "text/plain", b"x" * 1_000_000))
            case _:
                await read_body(scope, receive, 1_000)
                await respond(send, WebhookReply(204))

    return app


@asynccontextmanager
async def listening(limits: Limits | None = None) -> AsyncIterator[Listener]:
    listener = Listener(an_app(), bind("127.0.0.1:0"), limits or Limits(head=_HEAD))
    await listener.start()
    try:
        yield listener
    finally:
        await listener.stop()


async def drip(port: int, text: bytes, pause: float) -> float:
    """Send byte after byte until the other side has enough; for how many seconds that was."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    started = time.monotonic()
    closed = asyncio.create_task(reader.read())
    try:
        for byte in text:
            if closed.done():
                break
            writer.write(bytes([byte]))
            await asyncio.wait([closed], timeout=pause)
    except ConnectionError:
        pass
    finally:
        closed.cancel()
        writer.close()
    return time.monotonic() - started


async def test_heads_that_never_end_are_cut_off_while_others_are_served() -> None:
    async with listening() as listener:
        port = urlsplit(listener.url).port
        assert port is not None
        slow = [asyncio.create_task(drip(port, b"POST / HTTP/1.1\r\nX: " + b"a" * 1_000, 0.1)) for _ in range(_SLOW)]
        await asyncio.sleep(_HEAD / 2)
        async with aiohttp.ClientSession() as session, session.post(listener.url, data=b"x") as answer:
            assert answer.status == 204
        lasted = await asyncio.gather(*slow)
        assert max(lasted) < _HEAD + 3
        assert min(lasted) > _HEAD / 2


async def test_a_second_request_on_a_connection_has_the_same_time_as_the_first() -> None:
    async with listening() as listener:
        port = urlsplit(listener.url).port
        assert port is not None
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
        assert b"204" in await reader.readline()
        await asyncio.sleep(0.1)
        writer.write(b"POST / HTTP/1.1\r\nHo")
        async with asyncio.timeout(_HEAD + 3):
            await reader.read()
        writer.close()


async def test_a_connection_that_says_nothing_may_wait_longer_than_one_that_drips() -> None:
    async with listening() as listener:
        port = urlsplit(listener.url).port
        assert port is not None
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.sleep(_HEAD * 1.5)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        assert b"204" in await reader.readline()
        writer.close()


async def test_a_crowd_that_says_nothing_makes_room_for_whoever_says_something() -> None:
    async with listening(Limits(connections=50)) as listener:
        port = urlsplit(listener.url).port
        assert port is not None
        crowd = [await asyncio.open_connection("127.0.0.1", port) for _ in range(300)]
        async with aiohttp.ClientSession() as session:
            for _ in range(20):
                async with session.post(listener.url, data=b"x") as answer:
                    assert answer.status == 204
        async with asyncio.timeout(30):
            assert [await reader.read() for reader, _ in crowd[:250]] == [b""] * 250, "the first to come are let go"
        assert not any(reader.at_eof() for reader, _ in crowd[-40:])
        for _, writer in crowd:
            writer.close()


@pytest.mark.parametrize(
    ("head", "most", "answer"),
    [
        (b"POST / HTTP/1.1\r\nHost: x\r\nX: ", 1_000_000, b"431"),
        (b"POST /" + b"x" * 1000, 1_000_000, b"431"),
        (b"POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n", 8_000_000, b"404"),
        (b"POST /unread HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n", 8_000_000, b"404"),
    ],
)
async def test_what_has_no_end_is_cut_off_however_fast_it_comes(head: bytes, most: int, answer: bytes) -> None:
    """`most` of it leaves here, which is what fits into the buffers on the way."""
    async with listening(Limits()) as listener:
        port = urlsplit(listener.url).port
        assert port is not None
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head)
        first = asyncio.create_task(reader.read(12))
        left = 0
        with contextlib.suppress(ConnectionError):
            while left < 3 * most:
                writer.write(b"x" * 10_000)
                left += 10_000
                await writer.drain()
                await asyncio.sleep(0)
        assert left <= most
        with contextlib.suppress(ConnectionError):  # what came after it may have overtaken the answer
            assert (await first).endswith(answer)
        writer.close()


async def test_whoever_does_not_take_the_answers_is_cut_off() -> None:
    async with listening(Limits(idle=1.0)) as listener:
        port = urlsplit(listener.url).port
        assert port is not None
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
        writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n" * 40)
        async with asyncio.timeout(30):
            while listener.connections:
                await asyncio.sleep(0.05)
        writer.close()


async def test_requests_that_are_none_do_not_fill_the_log() -> None:
    async with listening() as listener:
        port = urlsplit(listener.url).port
        assert port is not None
        with structlog.testing.capture_logs() as lines:
            for number in range(300):
                request = (
                    b"\x00\r\n\r\n"
                    if number % 2
                    else b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
                )
                await ask(port, request)
        assert 0 < len(lines) < 10
        assert {line["event"] for line in lines} == {"http.refused"}


#: Whatever these are, they are no requests of a provider.
MALFORMED = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,  # TLS where there is none
    b"GET\r\n\r\n",
    b"POST /twilio/status HTTP/9.9\r\n\r\n",
    b"POST  /twilio/status  HTTP/1.1\r\n\r\n",
    b"POST /twilio/status HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /twilio/status HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
    b"POST /twilio/status HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    b"POST /twilio/status HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /twilio/status HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    b"POST /twilio/%zz%00%ff HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    b"POST http://elsewhere.example/twilio/status HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    b"POST /../../etc/passwd HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    b"CONNECT elsewhere.example:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /twilio/status HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"POST /twilio/status HTTP/1.1\r\nHost: x\r\n" + b"X: " + b"a" * 100_000 + b"\r\n\r\n",
    b"POST /twilio/status HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
    b"POST /twilio/status HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na=1" * 50,  # all at once
    b"\x00" * 1_000,
]


async def ask(port: int, request: bytes) -> bytes:
    """What comes back before the connection is closed, or within a moment."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        async with asyncio.timeout(1.0):
            return await reader.read(200)
    except (ConnectionError, TimeoutError):
        return b""
    finally:
        writer.close()


@pytest.fixture
async def accepted(harness: Harness) -> TwilioMessage:
    """One whose callbacks the test sends itself."""
    await harness.publish("n-1")
    await harness.wait_for_final("n-1")
    return await harness.sent_to(US)


async def test_what_is_no_request_is_refused_and_a_real_callback_is_taken_after_all_of_it(
    harness: Harness, accepted: TwilioMessage
) -> None:
    before = len(harness.deliveries)
    answers = await asyncio.gather(*(ask(harness.port, request) for request in MALFORMED))
    statuses = [answer.split(b" ")[1] for answer in answers if answer.startswith(b"HTTP/1.1 ")]
    assert all(status.startswith(b"4") for status in statuses), statuses
    assert len(statuses) > len(MALFORMED) / 2
    assert await harness.report(accepted, "read") == 204
    await harness.wait_for("n-1", "read")
    assert len(harness.deliveries) == before + 1


@pytest.mark.timeout(240)
@pytest.mark.slow
async def test_ten_thousand_forged_webhooks_leave_nothing_but_a_count(
    harness: Harness, accepted: TwilioMessage
) -> None:
    assert accepted.callback is not None
    url = accepted.callback.partition("#")[0]
    stored = await last_sequences(harness)
    await forge(harness, url, 500)  # warm
    gc.collect()
    before = resident()
    with structlog.testing.capture_logs() as lines:
        await forge(harness, url, 10_000)
    gc.collect()
    assert resident() - before < 20.0, "megabytes"
    assert len([line for line in lines if line["event"] == "webhook.refused"]) < 50
    assert not any("+1" in str(line) for line in lines), "a forged number stands in the log"
    assert await last_sequences(harness) == stored
    assert await harness.report(accepted, "read") == 204


async def forge(harness: Harness, url: str, count: int) -> None:
    """By fifty clients at a time: no signature, a wrong one, one of another address, and stops from everybody."""
    inbound = f"{harness.public_url}/twilio/inbound"
    left = iter(range(count))

    async def client() -> None:
        for number in left:
            status = {"MessageSid": f"SM{number:032x}", "MessageStatus": "failed", "ErrorCode": "30003"}
            stop = {"MessageSid": f"SM{number:032x}", "From": "+12025550177", "To": "+1", "Body": "STOP"}
            kind = number % 4
            target, fields = (url, status) if kind < 2 else (inbound, stop)
            token = "another" if kind % 2 else ""
            signature = None if token else ("" if kind == 0 else "bm9uc2Vuc2U=")
            answer, _ = await harness.post(target, fields, signature, token or "x")
            assert answer == 403

    async with asyncio.TaskGroup() as group:
        for _ in range(50):
            group.create_task(client())


async def last_sequences(harness: Harness) -> list[int]:
    """Of everything that a webhook can change."""
    return [(await harness.js.stream_info(name)).state.last_seq for name in ("DELIVERIES", "INBOUND", "KV_consent")]


def resident() -> float:
    """Megabytes of this process, the router's among them."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6
