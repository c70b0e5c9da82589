"""The channel beyond the contract: receipts, search, questions and cancellation, by the real SDK over real HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from channels.errors import (
    ChannelConfigError,
    MessageInvalidError,
    OutcomeUnknownError,
    ProviderRejectedError,
    ProviderThrottledError,
    ProviderUnavailableError,
    SendError,
)
from channels.model import MMS, SMS, WHATSAPP, ChannelName, Handle, Media, ProviderError, ProviderMessageId, Template
from channels.port import Canceler, Channel, Fetcher, Finder, FoundMessage, ProviderContext
from channels.status import DeliveryStatus
from channels.twilio.channel import SEARCH_LIMIT, TwilioChannel, open_channel
from tests.channels.twilio import server
from tests.channels.twilio.messages import SERVICE, a_message, a_sender
from tests.channels.twilio.server import ACCOUNT, Answer, Server, a_resource, answer_json, answer_text
from tests.channels.twilio.test_contract import environ

SINCE = datetime(2026, 11, 23, 9, 59, 59, 900_000, UTC)
CREATED = datetime(2026, 11, 23, 10, tzinfo=UTC)
SID = ProviderMessageId("SM00000000000000000000000000000001")


@asynccontextmanager
async def a_channel(*script: Answer, name: ChannelName = SMS) -> AsyncIterator[tuple[TwilioChannel, Server]]:
    async with server.running(*script) as provider:
        context = ProviderContext(environ(provider.url), "https://notify.example.com", timeout=2.0)
        try:
            yield open_channel(name, context), provider
        finally:
            await context.aclose()


def page(*resources: dict[str, object], next_page: str | None = None) -> Answer:
    return answer_json(200, {"messages": resources, "next_page_uri": next_page, "page_size": 100, "page": 0})


def dated(moment: datetime) -> str:
    return moment.strftime("%a, %d %b %Y %H:%M:%S +0000")


# Sending.


async def test_a_message_goes_out_as_one_form() -> None:
    created = answer_json(201, a_resource(num_segments="2", price="-0.0079"), {"Twilio-Request-Id": "RQ1"})
    async with a_channel(created, name=MMS) as (channel, provider):
        message = a_message(channel=MMS, content=Media(("https://a/1", "https://a/2"), "Look"))
        receipt = await channel.send(message)
    (seen,) = provider.seen
    assert (seen.method, seen.path) == ("POST", f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json")
    assert seen.form == {
        "To": ["+15017122661"],
        "From": ["+15558675310"],
        "Body": ["Look"],
        "MediaUrl": ["https://a/1", "https://a/2"],
        "StatusCallback": ["https://notify.example.com/twilio/status?n=shop.order-1&a=2&t=t0k_en-#rc=5&rp=all"],
    }
    assert (receipt.provider_message_id, receipt.provider_status, receipt.segments) == (SID, "queued", 2)
    assert receipt.raw == {
        "status": "queued",
        "num_segments": "2",
        "num_media": "0",
        "price": "-0.0079",
        "price_unit": "USD",
        "request_id": "RQ1",
    }


@pytest.mark.parametrize("num_segments", ["0", None, "", "many", 0])
async def test_segments_are_told_only_where_twilio_knows_them(num_segments: object) -> None:
    async with a_channel(answer_json(201, a_resource(num_segments=num_segments))) as (channel, _):
        assert (await channel.send(a_message())).segments is None


@pytest.mark.parametrize(
    "body", ["", "{}", "null", "[]", "7", '"SM1"', '{"sid": null}', '{"sid": 7}', '{"sid": ""}', "{"]
)
async def test_a_success_that_names_no_message_is_unknown(body: str) -> None:
    async with a_channel(answer_text(201, body)) as (channel, _):
        with pytest.raises(OutcomeUnknownError):
            await channel.send(a_message())


async def test_a_problem_document_is_read_like_any_other_refusal() -> None:
    """RFC 9457 documents raise an exception of the SDK's that is not its usual one."""
    problem = {"type": "about:blank", "title": "Bad", "status": "odd", "code": 21612, "detail": "to +15017122661"}
    async with a_channel(answer_json(400, problem)) as (channel, _):
        with pytest.raises(ProviderRejectedError) as caught:
            await channel.send(a_message())
    assert caught.value.provider_code == 21612


@pytest.mark.parametrize("code", [None, [21612], {"a": 1}, True, 2.5])
async def test_a_code_of_any_shape_is_an_answer(code: object) -> None:
    async with a_channel(answer_json(400, {"code": code, "message": "odd"})) as (channel, _):
        with pytest.raises(SendError) as caught:
            await channel.send(a_message())
    assert caught.value.alert


async def test_nothing_is_sent_that_cannot_be_expressed() -> None:
    async with a_channel() as (channel, provider):
        with pytest.raises(MessageInvalidError):
            await channel.send(a_message(recipient=Handle("whatsapp", "GB.1349", "GB")))
    assert provider.seen == []


# Searching.


async def test_a_search_asks_for_recipient_and_sender_and_no_date() -> None:
    async with a_channel(page(), name=WHATSAPP) as (channel, provider):
        assert await channel.find(a_message(channel=WHATSAPP), SINCE) == []
    (seen,) = provider.seen
    expected = {"To": ["whatsapp:+15017122661"], "From": ["whatsapp:+15558675310"], "PageSize": ["100"]}
    assert (seen.method, seen.query) == ("GET", expected)


async def test_equal_messages_are_found_oldest_first() -> None:
    newer = a_resource(2, status="sent", date_created=dated(CREATED + timedelta(seconds=5)))
    async with a_channel(page(newer, a_resource(1))) as (channel, _):
        found = await channel.find(a_message(), SINCE)
    assert found == [
        FoundMessage(SID, "queued", CREATED),
        FoundMessage(ProviderMessageId(f"SM{2:032}"), "sent", CREATED + timedelta(seconds=5)),
    ]


@pytest.mark.parametrize(
    ("resource", "fields"),
    [
        pytest.param({"body": "Another"}, {}, id="other words"),
        pytest.param({"num_media": "1"}, {}, id="media where there were none"),
        pytest.param({"direction": "inbound"}, {}, id="from the recipient"),
        pytest.param({"date_created": dated(CREATED - timedelta(seconds=2))}, {}, id="older"),
        pytest.param({"date_created": None}, {}, id="without a date"),
        pytest.param({"messaging_service_sid": "MG2"}, {"sender": a_sender(SERVICE)}, id="of another service"),
        pytest.param({"body": ""}, {"content": Media(("https://a/1",))}, id="without the media"),
        pytest.param({"body": "x", "num_media": "1"}, {"content": Media(("https://a/1",))}, id="with another caption"),
        pytest.param(
            {"date_created": dated(CREATED - timedelta(seconds=2))}, {"content": Template("HX1")}, id="older template"
        ),
    ],
)
async def test_other_messages_are_not_found(resource: dict[str, object], fields: dict[str, Any]) -> None:
    async with a_channel(page(a_resource(**resource))) as (channel, _):
        assert await channel.find(a_message(**fields), SINCE) == []


@pytest.mark.parametrize(
    ("resource", "fields"),
    [
        pytest.param({"body": "rendered by Twilio"}, {"content": Template("HX1")}, id="template, whatever its words"),
        pytest.param({"body": "", "num_media": "1"}, {"content": Media(("https://a/1",))}, id="media"),
        pytest.param({"body": None, "num_media": "1"}, {"content": Media(("https://a/1",), "")}, id="media, no words"),
        pytest.param(
            {"messaging_service_sid": SERVICE.sid, "from": "+15550001111"},
            {"sender": a_sender(SERVICE)},
            id="whichever number the service chose",
        ),
        pytest.param({"body": "It's here"}, {"body": "It\u2019s here "}, id="smart encoding"),
    ],
)
async def test_equal_messages_are_found(resource: dict[str, object], fields: dict[str, Any]) -> None:
    message = a_message(**{name: value for name, value in fields.items() if name != "body"})
    if "body" in fields:
        message = replace(message, content=type(message.content)(fields["body"]))
    async with a_channel(page(a_resource(**resource))) as (channel, _):
        assert len(await channel.find(message, SINCE)) == 1


async def test_a_search_goes_on_to_the_next_page() -> None:
    path = f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json?PageToken=2"
    async with a_channel(page(next_page=path), page(a_resource())) as (channel, provider):
        assert len(await channel.find(a_message(), SINCE)) == 1
    assert provider.seen[1].query == {"PageToken": ["2"]}


async def test_a_page_of_older_messages_ends_the_search() -> None:
    older = [a_resource(n, date_created=dated(CREATED - timedelta(days=1))) for n in range(100)]
    async with a_channel(page(*older, next_page="/more")) as (channel, provider):
        assert await channel.find(a_message(), SINCE) == []
    assert provider.calls() == 1


async def test_a_search_that_cannot_be_finished_says_so() -> None:
    recent = [a_resource(n, body="Another") for n in range(SEARCH_LIMIT)]
    async with a_channel(page(*recent, next_page="/more")) as (channel, _):
        with pytest.raises(OutcomeUnknownError, match="incomplete"):
            await channel.find(a_message(), SINCE)


# A question that fails has changed nothing.


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(server.refuse(401, 20003), ChannelConfigError, id="401"),
        pytest.param(server.refuse(429, 20429), ProviderThrottledError, id="429"),
        pytest.param(server.refuse(500, 20500), ProviderUnavailableError, id="500"),
        pytest.param(answer_text(502, "<html>"), ProviderUnavailableError, id="502"),
        pytest.param(answer_text(200, "<html>"), ProviderUnavailableError, id="garbage"),
        pytest.param(answer_text(200, "{}"), ProviderUnavailableError, id="empty"),
        pytest.param(server.disconnect, ProviderUnavailableError, id="disconnected"),
    ],
)
async def test_a_search_or_question_that_fails(answer: Answer, expected: type[SendError]) -> None:
    async with a_channel(answer, answer) as (channel, _):
        with pytest.raises(expected):
            await channel.find(a_message(), SINCE)


async def test_a_question_is_answered_with_a_report() -> None:
    failed = a_resource(status="failed", error_code=30005, error_message="Unknown +15017122661")
    async with a_channel(answer_json(200, failed)) as (channel, provider):
        report = await channel.fetch(SID)
    assert provider.seen[0].path == f"/2010-04-01/Accounts/{ACCOUNT}/Messages/{SID}.json"
    assert (report.ref, report.provider, report.provider_message_id) == (None, "twilio", SID)
    assert (report.status, report.provider_status, report.channel) == (DeliveryStatus.FAILED, "failed", None)
    assert report.error == ProviderError("recipient_unreachable", 30005, "handset is unknown", lasting=True)
    assert report.reported_at == CREATED + timedelta(seconds=5)
    assert report.raw["error_code"] == "30005"


async def test_a_report_tells_the_channel_where_the_address_does() -> None:
    resource = a_resource(status="read", to="whatsapp:+15017122661", **{"from": "whatsapp:+15558675310"})
    async with a_channel(answer_json(200, resource)) as (channel, _):
        report = await channel.fetch(SID)
    assert (report.channel, report.status, report.error) == (WHATSAPP, DeliveryStatus.READ, None)


async def test_a_message_that_twilio_does_not_know_is_no_fault_of_the_configuration() -> None:
    async with a_channel(server.refuse(404, 20404)) as (channel, _):
        with pytest.raises(ProviderRejectedError) as caught:
            await channel.fetch(SID)
    assert caught.value.provider_code == 20404


# Taking back.


@pytest.mark.parametrize(
    ("answer", "in_time"),
    [
        pytest.param(answer_json(200, a_resource(status="canceled")), True, id="in time"),
        pytest.param(answer_json(200, a_resource(status="sent")), False, id="gone out meanwhile"),
        pytest.param(server.refuse(409, 30409), False, id="too late"),
        pytest.param(server.refuse(404, 30404), False, id="not there"),
        pytest.param(server.refuse(404, 20404), False, id="not found"),
    ],
)
async def test_canceling(answer: Answer, in_time: bool) -> None:
    async with a_channel(answer) as (channel, provider):
        assert await channel.cancel(SID) is in_time
    assert provider.seen[0].form == {"Status": ["canceled"]}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (server.refuse(401, 20003), ChannelConfigError),
        (server.refuse(500, 20500), OutcomeUnknownError),
        (server.disconnect, OutcomeUnknownError),
    ],
)
async def test_canceling_that_fails_is_not_canceling_too_late(answer: Answer, expected: type[SendError]) -> None:
    async with a_channel(answer) as (channel, _):
        with pytest.raises(expected):
            await channel.cancel(SID)


# Opening.


async def test_the_channels_share_one_client_and_have_every_port() -> None:
    context = ProviderContext(environ("http://127.0.0.1:1"), None)
    channels = [open_channel(name, context) for name in (SMS, MMS, WHATSAPP)]
    assert [(one.name, one.provider) for one in channels] == [(SMS, "twilio"), (MMS, "twilio"), (WHATSAPP, "twilio")]
    assert all(isinstance(one, port) for one in channels for port in (Channel, Finder, Fetcher, Canceler))
    assert len(context._closers) == 1
    await context.aclose()


async def test_an_api_key_is_preferred_to_the_auth_token() -> None:
    async with server.running(default=answer_json(201, a_resource())) as provider:
        keys = {"TWILIO_API_KEY_SID": "SK1", "TWILIO_API_KEY_SECRET": "secret"}
        context = ProviderContext(environ(provider.url) | keys, None)
        await open_channel(SMS, context).send(a_message())
        await context.aclose()
    assert provider.seen[0].headers["Authorization"] == "Basic U0sxOnNlY3JldA=="
    assert provider.seen[0].path == f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json"


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, "TWILIO_ACCOUNT_SID"),
        ({"TWILIO_AUTH_TOKEN": "x"}, "TWILIO_ACCOUNT_SID"),
        ({"TWILIO_ACCOUNT_SID": ACCOUNT}, "TWILIO_API_KEY_SID and TWILIO_API_KEY_SECRET, or TWILIO_AUTH_TOKEN"),
        ({"TWILIO_ACCOUNT_SID": ACCOUNT, "TWILIO_API_KEY_SID": "SK1"}, "TWILIO_API_KEY_SECRET"),
        ({"TWILIO_ACCOUNT_SID": ACCOUNT, "TWILIO_API_KEY_SECRET": "x"}, "TWILIO_API_KEY_SID"),
        (environ("127.0.0.1:8080"), "TWILIO_API_BASE_URL"),
    ],
)
def test_what_is_missing_or_wrong_is_named_when_a_channel_is_opened(given: dict[str, str], named: str) -> None:
    with pytest.raises(ChannelConfigError, match=named):
        open_channel(SMS, ProviderContext(given, None))
