"""What the HTTP client says of every way that a request can fail, on real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvloop
from aiohttp import web

from channels.errors import OutcomeUnknownError, ProviderResponseError, ProviderUnavailableError
from channels.testing import until
from channels.twilio.http import TwilioHttpClient, forget_answer, last_answer
from tests.channels.twilio import server
from tests.channels.twilio.test_contract import unused_url

URL = "https://api.twilio.com/2010-04-01/Accounts/AC1/Messages.json"
DATA = {"To": "+15017122661", "Body": "a b&c=é", "MediaUrl": ["https://a/1", "https://a/2"]}


@asynccontextmanager
async def a_client(base_url: str | None, **options: float) -> AsyncIterator[TwilioHttpClient]:
    client = TwilioHttpClient(
        timeout=options.get("timeout", 5.0),
        connect_timeout=options.get("connect_timeout", 5.0),
        connections=int(options.get("connections", 100)),
        base_url=base_url,
    )
    try:
        yield client
    finally:
        await client.close()


async def test_a_request_goes_out_as_the_sdk_asked_for_it() -> None:
    async with (
        server.running(server.answer_text(201, "{}", {"Twilio-Request-Id": "RQ1"})) as provider,
        a_client(provider.url + "/base/") as client,
    ):
        forget_answer()
        response = await client.request(
            "POST", URL, params={"Page": 1, "None": None}, data=DATA, headers={"X-A": "1"}, auth=("user", "pass")
        )
        answer = last_answer()
    assert (response.status_code, response.text, response.ok) == (201, "{}", True)
    assert answer is not None
    assert (answer.status, answer.headers["twilio-request-id"]) == (201, "RQ1")
    (seen,) = provider.seen
    assert (seen.method, seen.path) == ("POST", "/base/2010-04-01/Accounts/AC1/Messages.json")
    assert seen.query == {"Page": ["1"]}
    assert seen.form == {"To": ["+15017122661"], "Body": ["a b&c=é"], "MediaUrl": ["https://a/1", "https://a/2"]}
    assert (seen.headers["Authorization"], seen.headers["X-A"]) == ("Basic dXNlcjpwYXNz", "1")


async def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    answer = server.answer_text(307, "", {"Location": "/elsewhere"})
    async with server.running(answer) as provider, a_client(provider.url) as client:
        assert (await client.request("POST", URL, data=DATA)).status_code == 307
        assert provider.calls() == 1


async def test_cookies_are_not_kept() -> None:
    answer = server.answer_text(200, "", {"Set-Cookie": "a=1"})
    async with server.running(default=answer) as provider, a_client(provider.url) as client:
        await client.request("GET", URL)
        await client.request("GET", URL)
        assert "Cookie" not in provider.seen[1].headers


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/x",
        "https://twilio.com.example.com/x",
        "https://eviltwilio.com/x",
        "https://api.twilio.com@example.com/x",
        "http://api.twilio.com/x",
    ],
)
async def test_credentials_go_to_no_other_host(url: str) -> None:
    async with a_client(None) as client:
        with pytest.raises(ProviderResponseError):
            await client.request("GET", url, auth=("user", "pass"))


async def test_a_base_url_takes_requests_to_every_host() -> None:
    async with (
        server.running(default=server.answer_text(200, "{}")) as provider,
        a_client(provider.url) as client,
    ):
        await client.request("GET", "https://content.twilio.com/v1/Content?PageSize=1")
        assert (provider.seen[0].path, provider.seen[0].query) == ("/v1/Content", {"PageSize": ["1"]})


# Before a byte left: safe to try again.


async def test_a_refused_connection_sent_nothing() -> None:
    async with a_client(unused_url()) as client:
        with pytest.raises(ProviderUnavailableError):
            await client.request("POST", URL, data=DATA)


async def test_a_name_that_does_not_resolve_sent_nothing() -> None:
    async with a_client("http://name.invalid") as client:
        with pytest.raises(ProviderUnavailableError):
            await client.request("POST", URL, data=DATA)


async def test_a_failed_tls_handshake_sent_nothing() -> None:
    async with server.running(default=server.answer_text(200, "")) as provider:
        plain_port = provider.url.replace("http://", "https://")
        async with a_client(plain_port) as client:
            with pytest.raises(ProviderUnavailableError):
                await client.request("POST", URL, data=DATA)
    assert provider.calls() == 0


async def test_a_handshake_that_takes_too_long_sent_nothing() -> None:
    """The kernel completes the connection; nobody answers the TLS hello."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        async with a_client(f"https://127.0.0.1:{mute.getsockname()[1]}", connect_timeout=0.2) as client:
            with pytest.raises(ProviderUnavailableError):
                await client.request("POST", URL, data=DATA)


async def test_a_wait_for_a_free_connection_that_takes_too_long_sent_nothing() -> None:
    async with (
        server.running(default=server.stall) as provider,
        a_client(provider.url, connections=1, connect_timeout=0.5) as client,
    ):
        first = asyncio.ensure_future(client.request("POST", URL, data=DATA))
        await until(lambda: provider.calls() == 1)
        with pytest.raises(ProviderUnavailableError):
            await client.request("POST", URL, data=DATA)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert provider.calls() == 1


# After a connection was there: unknown.


@pytest.mark.parametrize("answer", [server.disconnect, server.truncate, server.stall], ids=lambda one: one.__name__)
async def test_whatever_breaks_after_the_request_left_is_unknown(answer: server.Answer) -> None:
    async with server.running(answer) as provider, a_client(provider.url, timeout=0.3) as client:
        with pytest.raises(OutcomeUnknownError):
            await client.request("POST", URL, data=DATA)
        assert provider.calls() == 1


async def test_a_pooled_connection_that_the_server_drops_is_unknown_and_not_tried_again() -> None:
    async with (
        server.running(server.answer_text(201, "{}"), server.disconnect) as provider,
        a_client(provider.url) as client,
    ):
        await client.request("POST", URL, data=DATA)
        with pytest.raises(OutcomeUnknownError):
            await client.request("POST", URL, data=DATA)
        assert provider.calls() == 2


async def test_an_answer_that_is_no_http_is_unknown() -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"\x00\x01 not HTTP at all\r\n\r\n")
        await writer.drain()
        writer.close()

    babbling = await asyncio.start_server(babble, "127.0.0.1", 0)
    port = babbling.sockets[0].getsockname()[1]
    async with babbling, a_client(f"http://127.0.0.1:{port}") as client:
        with pytest.raises(OutcomeUnknownError):
            await client.request("POST", URL, data=DATA)


async def test_an_answer_that_drips_ends_at_the_total_timeout() -> None:
    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=201, headers={"Content-Length": "1000"})
        await response.prepare(request)
        for _ in range(1000):
            await response.write(b" ")
            await asyncio.sleep(0.05)
        return response

    async with (
        server.running(drip) as provider,
        a_client(provider.url, timeout=0.3, connect_timeout=1.0) as client,
    ):
        with pytest.raises(OutcomeUnknownError):
            await client.request("POST", URL, data=DATA)


async def test_an_answer_is_forgotten_before_the_next_request() -> None:
    async with server.running(server.answer_text(200, "{}")) as provider, a_client(provider.url) as client:
        await client.request("GET", URL)
        assert last_answer() is not None
        forget_answer()
        assert last_answer() is None


async def test_a_closed_client_opens_again() -> None:
    async with server.running(default=server.answer_text(200, "{}")) as provider, a_client(provider.url) as client:
        await client.request("GET", URL)
        await client.close()
        assert (await client.request("GET", URL)).status_code == 200


async def _exchange_and_fail() -> None:
    async with (
        server.running(server.answer_text(201, "{}"), server.disconnect) as provider,
        a_client(provider.url) as client,
        a_client(unused_url()) as lost,
    ):
        assert (await client.request("POST", URL, data=DATA)).status_code == 201
        with pytest.raises(OutcomeUnknownError):
            await client.request("POST", URL, data=DATA)
        with pytest.raises(ProviderUnavailableError):
            await lost.request("POST", URL, data=DATA)


def test_uvloop_makes_no_difference() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_exchange_and_fail())
