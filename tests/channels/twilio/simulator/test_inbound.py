"""What recipients write: webhook, keywords, windows."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web

from channels.model import Keyword
from channels.twilio.simulator import ButtonPress, Inbound, MediaItem
from tests.channels.twilio.simulator.support import (
    SENDER,
    SERVICE,
    US,
    WA_RECIPIENT,
    WA_SENDER,
    Start,
    Webhook,
    until,
)

TWIML = "<Response><Message>thanks</Message></Response>"


async def test_a_text_is_posted_signed_and_the_answer_comes_back(start: Start, webhook: Webhook) -> None:
    webhook.answers = [web.Response(text=TWIML, content_type="text/xml")]
    api = await start(inbound_url=f"{webhook.url}/twilio/inbound", services={SERVICE: (SENDER,)})
    answer = await api.control("inbound", {"from": US, "to": SENDER, "body": "hello"})
    [hook] = await webhook.first(1)
    sid = answer.json["message_sid"]
    assert answer.json == {
        "message_sid": sid,
        "keyword": None,
        "status": 200,
        "failure": None,
        "content_type": "text/xml",
        "body": TWIML,
    }
    assert hook.path_qs == "/twilio/inbound"
    assert hook.fields == {
        "AccountSid": api.simulator.settings.account_sid,
        "ApiVersion": "2010-04-01",
        "MessageSid": sid,
        "SmsSid": sid,
        "SmsMessageSid": sid,
        "SmsStatus": "received",
        "MessagingServiceSid": SERVICE,
        "From": US,
        "To": SENDER,
        "Body": "hello",
        "NumMedia": "0",
        "NumSegments": "1",
        "FromCountry": "US",
        "ToCountry": "US",
    }
    assert webhook.is_signed(hook, api.simulator.settings.auth_token)


async def test_whatsapp_says_who_and_what(start: Start, webhook: Webhook) -> None:
    api = await start(inbound_url=webhook.url)
    await api.simulator.receive(
        Inbound(
            from_="whatsapp:US.123abc",
            to=WA_SENDER,
            media=(MediaItem(url="https://example.com/a.jpg"),),
            button=ButtonPress(text="Yes", payload="yes-1"),
            latitude=37.5,
            longitude=-122.25,
            label="Home",
            profile_name="Ann",
        )
    )
    [hook] = await webhook.first(1)
    expected = {
        "From": "whatsapp:US.123abc",
        "ExternalUserId": "US.123abc",
        "ProfileName": "Ann",
        "ButtonText": "Yes",
        "ButtonPayload": "yes-1",
        "ButtonType": "REPLY",
        "Latitude": "37.5",
        "Longitude": "-122.25",
        "Label": "Home",
        "NumMedia": "1",
        "MediaUrl0": "https://example.com/a.jpg",
        "MediaContentType0": "image/jpeg",
    }
    assert hook.fields | expected == hook.fields
    assert "WaId" not in hook.fields
    await api.simulator.receive(Inbound(from_=WA_RECIPIENT, to=WA_SENDER, body="hi"))
    assert (await webhook.first(2))[1].fields["WaId"] == "447700900123"


async def test_it_opens_the_window_of_that_sender_alone(start: Start) -> None:
    api = await start()
    await api.simulator.receive(Inbound(from_=WA_RECIPIENT, to=WA_SENDER, body="hi"))
    await api.whatsapp(Body="answer")
    await api.whatsapp(Body="from another sender", From="whatsapp:+15017122662")
    await until(lambda: [message.status for message in api.simulator.messages[1:]] == ["read", "failed"])


@pytest.mark.parametrize(
    ("word", "keyword"), [("STOP", Keyword.STOP), (" stop ", Keyword.STOP), ("help", Keyword.HELP)]
)
async def test_keywords_are_handled_and_still_posted(
    start: Start, webhook: Webhook, word: str, keyword: Keyword
) -> None:
    api = await start(inbound_url=webhook.url, advanced_opt_out=True)
    answer = await api.simulator.receive(Inbound(from_=US, to=SENDER, body=word))
    [hook] = await webhook.first(1)
    assert (answer.keyword, hook.fields["Body"], hook.fields["OptOutType"]) == (keyword, word, keyword.upper())


async def test_stop_and_start_for_one_number(start: Start) -> None:
    api = await start()
    await api.simulator.receive(Inbound(from_=US, to=SENDER, body="STOP"))
    assert (await api.text()).code == 21610
    assert (await api.text(From="+15017122662")).status == 201
    await api.simulator.receive(Inbound(from_=US, to=SENDER, body="start"))
    assert (await api.text()).status == 201


async def test_stop_holds_for_the_whole_service_and_fails_later_there(start: Start, webhook: Webhook) -> None:
    sibling = "+15017122662"
    api = await start(services={SERVICE: (SENDER, sibling)})
    await api.simulator.receive(Inbound(from_=US, to=SENDER, body="STOP"))
    assert (await api.text(From=sibling)).code == 21610
    answer = await api.create(To=US, Body="hi", MessagingServiceSid=SERVICE, StatusCallback=webhook.url)
    assert answer.status == 201
    hooks = await webhook.first(2)
    assert [(hook.status, hook.fields.get("ErrorCode")) for hook in hooks] == [("queued", None), ("failed", "21610")]


@pytest.mark.parametrize(("from_", "to"), [(WA_RECIPIENT, WA_SENDER), (US, "12345")])
async def test_whatsapp_and_short_codes_handle_no_keyword(start: Start, from_: str, to: str) -> None:
    api = await start()
    answer = await api.simulator.receive(Inbound(from_=from_, to=to, body="STOP"))
    assert answer.keyword is None


async def test_a_sender_can_have_its_own_webhook(start: Start, webhook: Webhook) -> None:
    api = await start(inbound_url="http://127.0.0.1:1/", inbound_urls={SENDER: f"{webhook.url}/own"})
    answer = await api.simulator.receive(Inbound(from_=US, to=SENDER, body="hi"))
    assert (answer.status, webhook.hooks[0].path_qs) == (204, "/own")


async def test_a_webhook_that_fails_is_told_and_retried_as_its_url_says(start: Start, webhook: Webhook) -> None:
    webhook.answers = [web.Response(status=503)]
    api = await start(inbound_url=f"{webhook.url}#rc=5&rp=all")
    assert (await api.simulator.receive(Inbound(from_=US, to=SENDER))).status == 204
    unreachable = await start(inbound_url="http://127.0.0.1:1/")
    answer = await unreachable.simulator.receive(Inbound(from_=US, to=SENDER))
    assert (answer.status, answer.failure) == (None, "ct")
    nowhere = await start()
    answer = await nowhere.simulator.receive(Inbound(from_=US, to=SENDER))
    assert (answer.status, answer.failure) == (None, None)


async def test_it_is_listed_as_inbound(start: Start) -> None:
    api = await start()
    await api.simulator.receive(Inbound(from_=US, to=SENDER, body="hi"))
    listed = await api.request("GET", f"{api.account}/Messages.json?From=%2B15551230001")
    [message] = listed.json["messages"]
    assert (message["direction"], message["status"], message["body"]) == ("inbound", "received", "hi")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"to": SENDER}, "from"),
        ({"from": US, "to": SENDER, "text": "hi"}, "text"),
        ({"from": US, "to": SENDER, "latitude": 91}, "latitude"),
        ({"from": US, "to": SENDER, "body": "\ud800"}, "body"),
        ([], "a JSON object is expected"),
    ],
)
async def test_a_request_that_cannot_be_read_names_the_field(start: Start, body: Any, field: str) -> None:
    api = await start()
    answer = await api.control("inbound", body)
    assert answer.status == 400
    assert [error.split(":")[0] for error in answer.json["errors"]] == [field]


async def test_a_service_answers_for_its_numbers_and_an_application_for_its_own(start: Start, webhook: Webhook) -> None:
    api = await start(
        inbound_url=f"{webhook.url}/own",
        services={SERVICE: (SENDER,)},
        service_urls={SERVICE: f"{webhook.url}/service"},
        applications={WA_SENDER: f"{webhook.url}/application"},
    )
    for to in (SENDER, WA_SENDER):
        await api.simulator.receive(Inbound(from_=US, to=to, body="hi"))
    assert [hook.path_qs for hook in webhook.hooks] == ["/service", "/application"]


async def test_an_inbound_webhook_called_by_get_has_its_fields_in_the_query_and_is_signed_with_them(
    start: Start, webhook: Webhook
) -> None:
    api = await start(inbound_url=f"{webhook.url}/in?a=1", inbound_method="GET")
    await api.simulator.receive(Inbound(from_=US, to=SENDER, body="hi"))
    [hook] = webhook.hooks
    assert hook.path_qs.startswith("/in?a=1&")
    assert "Body=hi" in hook.path_qs
    assert webhook.is_signed(hook, api.simulator.settings.auth_token)
