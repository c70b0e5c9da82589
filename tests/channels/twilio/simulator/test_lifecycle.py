"""From accepted to its end: which statuses a message takes, and which of them are called back."""

from __future__ import annotations

from typing import Any

import pytest

from channels.twilio.simulator import ContentTemplate, Delays, TwilioMessage
from tests.channels.twilio.simulator.support import (
    SENDER,
    SERVICE,
    TEMPLATE,
    US,
    WA_RECIPIENT,
    WA_SENDER,
    Api,
    Start,
    Webhook,
)

TEMPLATED = {"ContentSid": TEMPLATE, "ContentVariables": '{"1": "x"}'}


def statuses(message: TwilioMessage) -> list[str]:
    return [status for status, _ in message.history]


def only(api: Api) -> TwilioMessage:
    [message] = api.simulator.messages
    return message


async def test_from_a_number(start: Start, webhook: Webhook) -> None:
    api = await start()
    answer = await api.text(StatusCallback=webhook.url)
    assert answer.json["status"] == "queued"
    assert await webhook.statuses(2) == ["sent", "delivered"]
    assert statuses(only(api)) == ["queued", "sent", "delivered"]


async def test_from_a_service(start: Start, webhook: Webhook) -> None:
    api = await start(services={SERVICE: (SENDER, WA_SENDER)})
    answer = await api.create(To=US, Body="hi", MessagingServiceSid=SERVICE, StatusCallback=webhook.url)
    assert (answer.json["status"], answer.json["from"], answer.json["num_segments"]) == ("accepted", None, "0")
    hooks = await webhook.first(3)
    assert [hook.status for hook in hooks] == ["queued", "sent", "delivered"]
    assert {(hook.fields["From"], hook.fields["MessagingServiceSid"]) for hook in hooks} == {(SENDER, SERVICE)}


async def test_whatsapp_is_read_while_the_window_is_open(start: Start, webhook: Webhook) -> None:
    api = await start()
    api.simulator.set_session(WA_SENDER, WA_RECIPIENT)
    await api.whatsapp(Body="hi", StatusCallback=webhook.url)
    hooks = await webhook.first(3)
    assert [hook.status for hook in hooks] == ["sent", "delivered", "read"]
    assert [hook.fields.get("EventType") for hook in hooks] == [None, None, "READ"]
    assert hooks[0].fields["ChannelPrefix"] == "whatsapp"


async def test_no_read_receipts_no_read(start: Start) -> None:
    api = await start(read_receipts=False)
    api.simulator.set_session(WA_SENDER, WA_RECIPIENT)
    await api.whatsapp(Body="hi")
    api.simulator.skip(60)
    assert statuses(only(api)) == ["queued", "sent", "delivered"]


async def test_the_rare_sending(start: Start) -> None:
    api = await start(sending_share=1)
    await api.text()
    api.simulator.skip(60)
    assert statuses(only(api)) == ["queued", "sending", "sent", "delivered"]


async def test_delays_are_kept_and_skipped_time_plays_in_order(start: Start) -> None:
    api = await start(delays=Delays(sent=10, delivered=100, jitter=0))
    await api.text()
    message = only(api)
    api.simulator.skip(9)
    assert statuses(message) == ["queued"]
    api.simulator.skip(1)
    assert statuses(message) == ["queued", "sent"]
    api.simulator.skip(1000)
    created, sent, delivered = (at for _, at in message.history)
    assert sent - created == pytest.approx(10)
    assert delivered - sent == pytest.approx(100)


async def test_a_sender_sends_at_its_rate(start: Start) -> None:
    # Two segments each, at one a second: they leave at 0, 2 and 4 s.
    api = await start(rates={SENDER: 1})
    for _ in range(3):
        await api.text(Body="x" * 161)
    api.simulator.skip(60)
    sent = [message.sent or 0 for message in api.simulator.messages]
    assert [round(at - sent[0]) for at in sent] == [0, 2, 4]


async def test_what_waits_longer_than_its_validity_fails(start: Start, webhook: Webhook) -> None:
    api = await start(rates={SENDER: 0.1})
    await api.text()
    await api.text(ValidityPeriod="5", StatusCallback=webhook.url)
    api.simulator.skip(60)
    [hook] = await webhook.first(1)
    assert (hook.status, hook.fields["ErrorCode"]) == ("failed", "30036")


FAILURES: list[tuple[str, dict[str, Any], dict[str, Any], int]] = [
    ("window closed", {}, {"Body": "hi"}, 63016),
    ("template not decided on", {"status": "pending"}, TEMPLATED, 63016),
    ("template rejected", {"status": "rejected"}, TEMPLATED, 63040),
    ("template paused", {"status": "paused"}, TEMPLATED, 63041),
    ("template disabled", {"status": "disabled"}, TEMPLATED, 63042),
    ("variable missing", {}, {"ContentSid": TEMPLATE}, 63028),
    ("template too long", {}, {"ContentSid": TEMPLATE, "ContentVariables": f'{{"1": "{"x" * 1020}"}}'}, 63021),
    ("marketing to the US", {"category": "MARKETING"}, TEMPLATED | {"To": f"whatsapp:{US}"}, 63049),
    ("to itself", {}, TEMPLATED | {"To": WA_SENDER}, 63031),
]


@pytest.mark.parametrize(("template", "form", "code"), [row[1:] for row in FAILURES], ids=[row[0] for row in FAILURES])
async def test_whatsapp_accepts_and_fails_later(
    start: Start, webhook: Webhook, template: dict[str, Any], form: dict[str, Any], code: int
) -> None:
    api = await start(templates=(ContentTemplate(sid=TEMPLATE, text="Order {{1}}", **template),))
    answer = await api.whatsapp(**{"To": WA_RECIPIENT, "StatusCallback": webhook.url} | form)
    assert answer.status == 201
    [hook] = await webhook.first(1)
    assert (hook.status, hook.fields["ErrorCode"]) == ("failed", str(code))
    assert hook.fields["ChannelStatusMessage"]
    assert only(api).resource("")["error_code"] == code


async def test_an_approved_template_passes_a_closed_window(start: Start) -> None:
    api = await start(templates=(ContentTemplate(sid=TEMPLATE, text="Order {{1}}"),))
    await api.whatsapp(**TEMPLATED)
    api.simulator.skip(60)
    assert (only(api).status, only(api).body) == ("read", "Order x")


async def test_the_window_closes_after_24_hours(start: Start) -> None:
    api = await start()
    api.simulator.set_session(WA_SENDER, WA_RECIPIENT)
    api.simulator.skip(24 * 3600 - 10)
    await api.whatsapp(Body="in time")
    api.simulator.skip(10)
    await api.whatsapp(Body="too late")
    api.simulator.skip(60)
    assert [message.status for message in api.simulator.messages] == ["read", "failed"]


async def test_the_window_can_close_while_the_message_waits_in_the_queue(start: Start) -> None:
    api = await start(rates={WA_SENDER: 0.001})
    api.simulator.set_session(WA_SENDER, WA_RECIPIENT)
    await api.whatsapp(Body="first")
    await api.whatsapp(Body="second")
    api.simulator.set_session(WA_SENDER, WA_RECIPIENT, is_open=False)
    api.simulator.skip(2000)
    assert [(message.status, message.error_code) for message in api.simulator.messages] == [
        ("read", None),
        ("failed", 63016),
    ]


SERVICE_FAILURES: list[tuple[str, dict[str, Any], int]] = [
    ("no sender for the channel", {"services": {SERVICE: (WA_SENDER,)}}, 21703),
    ("queue full", {"services": {SERVICE: (SENDER,)}, "rates": {SENDER: 1}, "queue_seconds": 0.5}, 30001),
]


@pytest.mark.parametrize(
    ("changes", "code"), [row[1:] for row in SERVICE_FAILURES], ids=[row[0] for row in SERVICE_FAILURES]
)
async def test_a_service_finds_out_later(start: Start, webhook: Webhook, changes: dict[str, Any], code: int) -> None:
    api = await start(**changes)
    answer = await api.create(To=US, Body="hi", MessagingServiceSid=SERVICE, StatusCallback=webhook.url)
    assert answer.status == 201
    [hook] = await webhook.first(1)
    assert (hook.status, hook.fields["ErrorCode"]) == ("failed", str(code))


async def test_a_scheduled_message_waits_and_can_be_canceled(start: Start, webhook: Webhook) -> None:
    api = await start()
    form = {"To": US, "Body": "hi", "MessagingServiceSid": SERVICE, "ScheduleType": "fixed"}
    form["StatusCallback"] = webhook.url
    assert (await api.create(**form, SendAt="soon")).code == 20001
    answer = await api.create(**form, SendAt="2100-01-01T12:00:00Z")
    assert answer.json["status"] == "scheduled"
    canceled = await api.request("POST", answer.json["uri"], data={"Status": "canceled"})
    assert canceled.json["status"] == "canceled"
    assert await webhook.statuses(1) == ["canceled"]


async def test_with_a_number_alone_the_schedule_is_dropped(start: Start) -> None:
    api = await start()
    answer = await api.text(ScheduleType="fixed", SendAt="2100-01-01T12:00:00Z")
    assert answer.json["status"] == "queued"


async def test_the_oldest_messages_are_forgotten_beyond_the_limit(start: Start) -> None:
    api = await start(max_messages=3)
    sids = [(await api.text(Body=str(n))).json["sid"] for n in range(5)]
    assert [message.sid for message in api.simulator.messages] == sids[2:]
    assert api.simulator.accepted == 5
    listed = await api.request("GET", f"{api.account}/Messages.json?To=%2B15551230001")
    assert [message["sid"] for message in listed.json["messages"]] == sids[:1:-1]


async def test_the_same_seed_gives_the_same_story(start: Start) -> None:
    async def story() -> list[tuple[str, str]]:
        api = await start(faults={"throttle": 0.3, "error_after": 0.3}, delays=Delays(jitter=0.5))
        for _ in range(20):
            await api.text()
        api.simulator.skip(60)
        return [(message.sid, message.status) for message in api.simulator.messages]

    assert await story() == await story()
