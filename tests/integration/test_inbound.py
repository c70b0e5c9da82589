"""What recipients write: the event, the session it opens, the consent it changes, and the answer."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from channels.testing import until
from channels.twilio.simulator import ButtonPress, MediaItem
from tests.integration.conftest import Start
from tests.integration.harness import IN, UK_SENDER, US, US_SENDER, WA_SENDER, WHATSAPP, Harness

pytestmark = pytest.mark.nats

USER_ID = "GB.13491208655302741918"
EMPTY = '<?xml version="1.0" encoding="UTF-8"?><Response />'


async def _event(harness: Harness) -> dict[str, Any]:
    await until(lambda: bool(harness.inbound))
    (event,) = harness.inbound
    return event.body


async def test_a_text_becomes_an_event_with_every_field(harness: Harness) -> None:
    answer = await harness.receive(US, US_SENDER, "where is my parcel?")

    body = dict(await _event(harness))
    raw, received_at = body.pop("raw"), body.pop("received_at")
    assert body == {
        "message_id": answer.message_sid,
        "channel": "sms",
        "from": US,
        "to": US_SENDER,
        "sender": "us",
        "text": "where is my parcel?",
        "media": [],
        "button": None,
        "location": None,
        "profile_name": None,
        "keyword": None,
        "session_expires_at": None,
    }
    assert raw["Body"] == "where is my parcel?"
    assert datetime.fromisoformat(received_at).tzinfo is not None
    assert harness.inbound[0].subject == "inbound.sms.us"
    assert harness.inbound[0].headers["ce-id"] == f"twilio:{answer.message_sid}"
    assert (answer.status, answer.content_type, answer.body) == (200, "text/xml", EMPTY)


async def test_a_whatsapp_message_opens_a_session_of_24_hours_less_the_margin(harness: Harness) -> None:
    await harness.receive(
        WHATSAPP + IN,
        WHATSAPP + WA_SENDER,
        "here",
        profile_name="Asha",
        latitude=12.97,
        longitude=77.59,
        label="Home",
        address="1 Street",
        button=ButtonPress(text="Yes", payload="yes-1"),
        media=(MediaItem(url="https://media.example/1", content_type="image/png"),),
    )

    body = await _event(harness)
    assert harness.inbound[0].subject == "inbound.whatsapp.wa"
    assert (body["from"], body["profile_name"]) == (IN, "Asha")
    assert body["location"] == {"latitude": 12.97, "longitude": 77.59, "label": "Home", "address": "1 Street"}
    assert body["button"] == {"text": "Yes", "payload": "yes-1"}
    assert body["media"] == [{"url": "https://media.example/1", "content_type": "image/png"}]
    length = datetime.fromisoformat(body["session_expires_at"]) - datetime.fromisoformat(body["received_at"])
    assert length == timedelta(hours=24, seconds=-300)


async def test_a_business_scoped_user_id_can_be_answered(harness: Harness) -> None:
    await harness.receive(WHATSAPP + USER_ID, WHATSAPP + WA_SENDER, "hi")
    body = await _event(harness)
    assert body["from"] == WHATSAPP + USER_ID

    await harness.publish("n-1", body["from"])

    await harness.wait_for("n-1", "read")
    (message,) = harness.sent
    assert (message.to, message.body) == (WHATSAPP + USER_ID, "hello n-1")
    assert harness.story("n-1")[0].body["recipient"] == WHATSAPP + USER_ID


async def test_an_sms_opens_no_session(harness: Harness) -> None:
    await harness.receive(IN, UK_SENDER, "hi")
    await harness.publish("n-1", IN)

    assert (await harness.wait_for("n-1", "routed")).body["channel"] == "sms"


@pytest.mark.parametrize(
    ("text", "keyword"),
    [
        ("STOP", "stop"),
        (" unsubscribe ", "stop"),
        ("Stop.", "stop"),
        ("opt out", "stop"),
        ("Start", "start"),
        ("help", "help"),
        ("stop it", None),
    ],
)
async def test_keywords_are_named(harness: Harness, text: str, keyword: str | None) -> None:
    await harness.receive(US, US_SENDER, text)

    assert (await _event(harness))["keyword"] == keyword


async def test_a_button_that_says_cancel_is_no_stop(harness: Harness) -> None:
    pressed = ButtonPress(text="Cancel", payload="cancel-appointment-17")
    await harness.receive(WHATSAPP + IN, WHATSAPP + WA_SENDER, "Cancel", button=pressed)
    body = await _event(harness)
    assert (body["keyword"], body["button"]["payload"]) == (None, "cancel-appointment-17")

    await harness.publish("n-1", IN)

    assert (await harness.wait_for("n-1", "routed")).body["channel"] == "whatsapp"


async def test_words_of_the_configuration_stop_and_start(start: Start) -> None:
    harness = await start(consent={"stop_words": ["BAJA", "No más"], "start_words": ["Sí"]})

    async def wrote(text: str, **fields: Any) -> str | None:
        answer = await harness.receive(WHATSAPP + IN, WHATSAPP + WA_SENDER, text, **fields)
        await until(lambda: any(event.body["message_id"] == answer.message_sid for event in harness.inbound))
        keyword: str | None = harness.inbound[-1].body["keyword"]
        assert bool("Message" in answer.body) is (keyword is not None)
        return keyword

    typed = {text: await wrote(text) for text in ("¡Baja!", "no  más.", "sí", "más", "bajar")}
    assert typed == {"¡Baja!": "stop", "no  más.": "stop", "sí": "start", "más": None, "bajar": None}
    pressed = {word: await wrote(word, button=ButtonPress(text=word, payload="1")) for word in ("Sí", "Baja")}
    assert pressed == {"Sí": None, "Baja": "stop"}
    await harness.publish("n-1", IN)
    assert (await harness.wait_for("n-1", "suppressed")).body["reason"] == "opted_out"


@pytest.mark.parametrize(("text", "part"), [("STOP", "no more messages"), ("START", "again"), ("HELP", "Reply STOP")])
async def test_keywords_are_answered_where_the_provider_does_not(harness: Harness, text: str, part: str) -> None:
    on_whatsapp = await harness.receive(WHATSAPP + IN, WHATSAPP + WA_SENDER, text)
    on_sms = await harness.receive(US, US_SENDER, text)

    assert on_whatsapp.body.startswith('<?xml version="1.0" encoding="UTF-8"?><Response><Message>')
    assert part in on_whatsapp.body
    assert on_sms.body == EMPTY


async def test_a_configured_reply_answers_everything_else(start: Start) -> None:
    harness = await start(inbound={"reply": "We read this & answer soon."})

    answer = await harness.receive(US, US_SENDER, "hello?")

    assert "<Message>We read this &amp; answer soon.</Message>" in answer.body


async def test_a_message_that_the_provider_repeats_is_one_event(harness: Harness) -> None:
    fields = {"MessageSid": "SM" + "a" * 32, "From": US, "To": US_SENDER, "Body": "hi"}
    url = f"{harness.public_url}/twilio/inbound"

    answers = [await harness.post(url, fields) for _ in range(3)]

    assert answers == [(200, EMPTY)] * 3
    await harness.idle()
    assert len(harness.inbound) == 1


async def test_a_message_to_an_address_that_is_nobodys_is_kept(harness: Harness) -> None:
    await harness.receive(US, "+12025550000", "hi")

    assert (await _event(harness))["sender"] == "unknown"


@pytest.mark.parametrize(("scope", "still_sent"), [("all", False), ("channel", True), ("sender", True)])
async def test_a_stop_reaches_as_far_as_configured(start: Start, scope: str, still_sent: bool) -> None:
    harness = await start(consent={"stop_scope": scope})
    await harness.receive(WHATSAPP + IN, WHATSAPP + WA_SENDER, "STOP")

    await harness.publish("n-1", IN)

    event = await harness.wait_for_final("n-1")
    assert (event.status, event.body["channel"]) == (("delivered", "sms") if still_sent else ("suppressed", "none"))
