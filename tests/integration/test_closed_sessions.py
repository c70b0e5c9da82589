"""A session that closes while a message is on its way: the template answers, or the next step, once."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from channels.twilio.simulator import Faults
from tests.integration.conftest import Start
from tests.integration.harness import IN, UK_SENDER, WA_SENDER, WHATSAPP, Harness

pytestmark = pytest.mark.nats

TEMPLATE = {"name": "order_shipped", "variables": {"1": "Ada"}}
#: The provider says so at once, or by callback.
WORDS = ("refuse:63016", "failed:63016")


async def in_a_session(start: Start, word: str, content: dict[str, Any]) -> Harness:
    harness = await start(faults=Faults(scripts={IN: (word,)}))
    # A while ago: what is written after a message has begun leaves the session open.
    at = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    request = json.dumps({"sender": "wa", "recipient": IN, "at": at}).encode()
    assert json.loads((await harness.client.request("pointsman.session.touch", request, timeout=30)).data)["open"]
    await harness.publish("n-1", IN, content=content)
    await harness.wait_for("n-1", "delivered")
    await harness.idle()
    return harness


def ways(harness: Harness, notification_id: str) -> list[tuple[str, str]]:
    claims = [event.body for event in harness.story(notification_id) if event.status == "sending"]
    return [(claim["channel"], claim["form"]) for claim in claims]


@pytest.mark.parametrize("word", WORDS)
async def test_the_template_that_the_notification_brings_answers_it(start: Start, word: str) -> None:
    harness = await in_a_session(start, word, {"text": "hi", "template": TEMPLATE})

    assert ways(harness, "n-1") == [("whatsapp", "text"), ("whatsapp", "template")]
    failed = next(event for event in harness.story("n-1") if event.status == "failed")
    assert failed.body["reason"] == "session_closed"
    plan = harness.story("n-1")[0].body["decision"]["plan"]
    assert [(step["channel"], step["form"], step.get("rescue", False)) for step in plan] == [
        ("whatsapp", "text", False),
        ("whatsapp", "template", True),
        ("sms", "text", False),
    ]


@pytest.mark.parametrize("word", WORDS)
async def test_without_a_template_the_next_step_does(start: Start, word: str) -> None:
    harness = await in_a_session(start, word, {"text": "hi"})

    assert ways(harness, "n-1") == [("whatsapp", "text"), ("sms", "text")]
    assert harness.sent[-1].from_ == UK_SENDER


@pytest.mark.parametrize("word", WORDS)
async def test_afterwards_the_session_is_known_to_be_closed_until_the_recipient_writes(start: Start, word: str) -> None:
    harness = await in_a_session(start, word, {"text": "hi", "template": TEMPLATE})

    await harness.publish("n-2", IN, content={"text": "hi", "template": TEMPLATE})
    await harness.wait_for("n-2", "delivered")
    assert ways(harness, "n-2") == [("whatsapp", "template")]

    await harness.receive(WHATSAPP + IN, WHATSAPP + WA_SENDER, "hello again")
    await harness.idle()
    await harness.publish("n-3", IN, content={"text": "hi", "template": TEMPLATE})
    await harness.wait_for("n-3", "delivered")
    assert ways(harness, "n-3") == [("whatsapp", "text")]


async def test_other_failures_pass_the_template_over(start: Start) -> None:
    harness = await in_a_session(start, "refuse:63024", {"text": "hi", "template": TEMPLATE})

    assert ways(harness, "n-1") == [("whatsapp", "text"), ("sms", "text")]
