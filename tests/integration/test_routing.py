"""The main job, end to end: a notification in, the right message at the provider, delivery events back."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.integration.conftest import Start
from tests.integration.harness import (
    IN,
    JM,
    ORDER_SHIPPED,
    UK_SENDER,
    US,
    US_2,
    US_SENDER,
    WA_SENDER,
    WHATSAPP,
    Harness,
)

pytestmark = pytest.mark.nats

PICTURE = "https://shop.example/parcel.png"
TEMPLATE = {"name": "order_shipped", "variables": {"1": "Ada", "2": "4711"}}
DELIVERED = ["routed", "sending", "accepted", "sent", "delivered"]


@dataclass(frozen=True)
class Case:
    """A notification, and the message that it must become."""

    label: str
    to: str
    content: dict[str, Any]
    channel: str
    form: str
    sender: str
    address: str  #: of the recipient, as the provider is told
    origin: str  #: of the sender, as the provider is told
    body: str = ""
    media: tuple[str, ...] = ()
    content_sid: str | None = None
    has_session: bool = False
    fields: dict[str, Any] = field(default_factory=dict)


CASES = [
    Case("US text", US, {"text": "hi"}, "sms", "text", "us", US, US_SENDER, "hi"),
    Case(
        "US media is an MMS",
        US,
        {"text": "look", "media": [PICTURE]},
        "mms",
        "media",
        "us",
        US,
        US_SENDER,
        "look",
        (PICTURE,),
    ),
    Case(
        "Jamaica shares +1 and gets no MMS but a link",
        JM,
        {"text": "look", "media": [PICTURE]},
        "sms",
        "link",
        "uk",
        JM,
        UK_SENDER,
        f"look\n{PICTURE}",
    ),
    Case(
        "India by template",
        IN,
        {"text": "hi", "template": TEMPLATE},
        "whatsapp",
        "template",
        "wa",
        WHATSAPP + IN,
        WHATSAPP + WA_SENDER,
        content_sid=ORDER_SHIPPED,
    ),
    Case(
        "India free-form while a session is open",
        IN,
        {"text": "hi", "template": TEMPLATE},
        "whatsapp",
        "text",
        "wa",
        WHATSAPP + IN,
        WHATSAPP + WA_SENDER,
        "hi",
        has_session=True,
    ),
    Case("India text without a session is an SMS", IN, {"text": "hi"}, "sms", "text", "uk", IN, UK_SENDER, "hi"),
    Case(
        "a national number with its region",
        "(202) 555-0123",
        {"text": "hi"},
        "sms",
        "text",
        "us",
        US,
        US_SENDER,
        "hi",
        fields={"region": "US"},
    ),
    Case(
        "pinned to WhatsApp",
        US,
        {"text": "hi", "template": TEMPLATE},
        "whatsapp",
        "template",
        "wa",
        WHATSAPP + US,
        WHATSAPP + WA_SENDER,
        content_sid=ORDER_SHIPPED,
        fields={"channel": "whatsapp"},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
async def test_each_notification_becomes_its_message_and_its_story(harness: Harness, case: Case) -> None:
    if case.has_session:
        await harness.receive(WHATSAPP + case.to, WHATSAPP + WA_SENDER, "hi there")

    await harness.publish("n-1", case.to, content=case.content, **case.fields)

    await harness.wait_for("n-1", "read" if case.channel == "whatsapp" else "delivered")
    expected = [*DELIVERED, "read"] if case.channel == "whatsapp" else DELIVERED
    assert harness.statuses("n-1") == expected
    (message,) = harness.sent
    assert (message.to, message.from_, message.media) == (case.address, case.origin, case.media)
    assert message.content_sid == case.content_sid
    assert case.content_sid or message.body == case.body
    for event in harness.story("n-1"):
        assert (event.body["channel"], event.body["form"], event.body["sender"]) == (
            case.channel,
            case.form,
            case.sender,
        )
    assert [event.body["final"] for event in harness.story("n-1")] == [
        status in {"delivered", "read"} for status in expected
    ]


async def test_a_template_carries_its_variables_to_the_provider(harness: Harness) -> None:
    await harness.publish("n-1", IN, content={"template": TEMPLATE})

    message = await harness.sent_to(WHATSAPP + IN)
    assert message.params["ContentVariables"] == ['{"1": "Ada", "2": "4711"}']


async def test_events_repeat_what_the_service_said(harness: Harness) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await harness.publish(
        "n-1", category="otp", metadata={"order": "7"}, lane="urgent", source="bank", headers={"traceparent": trace}
    )

    await harness.wait_for("n-1", "delivered", "bank")
    for event in harness.story("n-1", "bank"):
        body = event.body
        assert (body["lane"], body["category"], body["metadata"]) == ("urgent", "otp", {"order": "7"})
        assert body["recipient"] == US
        assert event.headers["traceparent"] == trace
    accepted = harness.story("n-1", "bank")[2].body
    assert accepted["provider"] == "twilio"
    assert accepted["provider_message_id"] == harness.sent[0].sid
    assert harness.story("n-1", "bank")[4].body["provider_status"] == "delivered"


async def test_the_decision_stands_on_the_event_with_its_plan_and_its_trace(harness: Harness) -> None:
    await harness.publish("n-1", IN, content={"text": "hi", "template": TEMPLATE})

    decision = (await harness.wait_for("n-1", "routed")).body["decision"]
    assert (decision["outcome"], decision["reason"], decision["until"]) == ("routed", "routed", None)
    assert [(step["channel"], step["form"], step["sender"]) for step in decision["plan"]] == [
        ("whatsapp", "template", "wa"),
        ("sms", "text", "uk"),
    ]
    assert decision["facts"]["country"] == "IN"
    assert decision["trace"][-1]["matched"]
    assert all(entry.keys() == {"rule", "matched", "because"} for entry in decision["trace"])


async def test_a_pin_that_cannot_work_is_refused_and_nothing_is_sent(harness: Harness) -> None:
    await harness.publish("n-1", US, channel="whatsapp")

    event = await harness.wait_for_final("n-1")
    assert (event.status, event.body["reason"]) == ("rejected", "session_closed")
    await harness.idle()
    assert harness.sent == []


async def test_after_stop_nothing_more_is_sent_until_start(harness: Harness) -> None:
    await harness.receive(US, US_SENDER, "STOP")
    await harness.publish("stopped")
    event = await harness.wait_for_final("stopped")
    assert (event.status, event.body["reason"], event.body["channel"]) == ("suppressed", "opted_out", "none")

    await harness.receive(US, US_SENDER, "START")
    await harness.publish("resumed")
    await harness.wait_for("resumed", "delivered")
    assert [message.body for message in harness.sent] == ["hello resumed"]


#: Sends one segment a second, so that a message behind a long one waits.
SLOW = [{"name": "us", "kind": "10dlc", "channels": ["sms"], "from": US_SENDER, "rate": 1}]
LONG = {"text": "a" * 600}  # four segments: four seconds


async def test_a_stop_that_comes_while_a_message_waits_in_the_outbox_counts(start: Start) -> None:
    harness = await start(senders=SLOW)
    await harness.publish("first", US_2, content=LONG)
    await harness.wait_for("first", "delivered")

    await harness.publish("waiting")
    await harness.wait_for("waiting", "routed")
    await harness.receive(US, US_SENDER, "STOP")

    event = await harness.wait_for_final("waiting")
    assert (event.status, event.body["reason"], event.body["attempt"]) == ("suppressed", "opted_out", 0)
    assert harness.statuses("waiting") == ["routed", "suppressed"]
    assert [message.to for message in harness.sent] == [US_2]


async def test_what_expires_in_the_outbox_is_not_sent(start: Start) -> None:
    harness = await start(senders=SLOW)
    await harness.publish("first", US_2, content=LONG)
    await harness.wait_for("first", "delivered")

    await harness.publish("waiting", expires_at=_in(2.5))

    assert (await harness.wait_for_final("waiting")).status == "expired"
    assert harness.statuses("waiting") == ["routed", "expired"]
    assert [message.to for message in harness.sent] == [US_2]


async def test_what_has_expired_is_not_sent(harness: Harness) -> None:
    await harness.publish("n-1", expires_at=_in(-5))

    event = await harness.wait_for_final("n-1")
    assert (event.status, event.body["reason"]) == ("expired", "expired")
    await harness.idle()
    assert harness.sent == []


async def test_the_provider_is_told_how_long_a_message_is_good_for(harness: Harness) -> None:
    await harness.publish("n-1", expires_at=_in(600))

    message = await harness.sent_to(US)
    assert 590 <= message.validity <= 600


async def test_send_at_waits_and_then_goes_its_way(harness: Harness) -> None:
    send_at = datetime.now(UTC) + timedelta(seconds=3)
    await harness.publish("n-1", send_at=send_at.isoformat())

    deferred = await harness.wait_for("n-1", "deferred")
    assert deferred.body["reason"] == "scheduled"
    assert datetime.fromisoformat(deferred.body["decision"]["until"]) - send_at < timedelta(milliseconds=1)
    await harness.wait_for("n-1", "delivered")
    assert harness.statuses("n-1") == ["deferred", *DELIVERED]
    assert harness.sent[0].created >= send_at.timestamp()


async def test_a_stop_counts_that_came_while_a_notification_was_deferred(harness: Harness) -> None:
    await harness.publish("n-1", send_at=_in(3))
    await harness.wait_for("n-1", "deferred")
    await harness.receive(US, US_SENDER, "STOP")

    assert (await harness.wait_for_final("n-1")).status == "suppressed"
    assert harness.sent == []


async def test_a_notification_published_twice_is_sent_once(harness: Harness) -> None:
    await harness.publish("n-1", content={"text": "hi"}, metadata={"a": "1", "b": "2"})
    await harness.wait_for("n-1", "delivered")
    # The same content, written in another order.
    await harness.publish_raw(
        "notifications.normal.shop",
        b'{"metadata":{"b":"2","a":"1"},"content":{"text":"hi"},"to":"%s","id":"n-1"}' % US.encode(),
    )

    await harness.idle()
    assert harness.statuses("n-1") == DELIVERED
    assert len(harness.sent) == 1


async def test_fifty_publications_of_one_notification_at_once_are_sent_once(harness: Harness) -> None:
    for _ in range(50):
        await harness.publish("n-1")

    await harness.wait_for("n-1", "delivered")
    await harness.idle()
    assert harness.statuses("n-1") == DELIVERED
    assert len(harness.sent) == 1


async def test_the_same_id_of_another_source_is_another_notification(harness: Harness) -> None:
    await harness.publish("n-1", source="shop")
    await harness.publish("n-1", source="bank", content={"text": "other"})

    await harness.wait_for("n-1", "delivered", "shop")
    await harness.wait_for("n-1", "delivered", "bank")
    assert len(harness.sent) == 2


def _in(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()
