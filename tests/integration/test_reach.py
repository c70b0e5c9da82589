"""What failed attempts teach about a recipient, on a real server, with callbacks and messages of the real kind."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from channels.testing import PATIENCE, until
from channels.twilio.simulator import Faults
from tests.integration.conftest import Start
from tests.integration.harness import IN, US, WA_SENDER, WHATSAPP, Harness

pytestmark = pytest.mark.nats

TEMPLATE = {"name": "order_shipped", "variables": {"1": "Ada"}}
CONTENT = {"text": "hi", "template": TEMPLATE}


async def ask(harness: Harness, service: str, **request: Any) -> dict[str, Any]:
    answer = await harness.client.request(f"pointsman.reach.{service}", json.dumps(request).encode(), timeout=30)
    return dict(json.loads(answer.data))


async def learnt(harness: Harness, word: str) -> None:
    """The first notification finds out, and arrives by SMS in the end."""
    await harness.publish("first", IN, content=CONTENT)
    await harness.wait_for("first", "delivered")
    assert [event.body["channel"] for event in harness.story("first") if event.status == "sending"] == [
        "whatsapp",
        "sms",
    ]
    answer = await ask(harness, "get", recipient=IN)
    assert answer["unreachable"]["whatsapp"]["code"] == int(word.rpartition(":")[2])


async def steps_of(harness: Harness, notification_id: str) -> list[str]:
    await harness.publish(notification_id, IN, content=CONTENT)
    routed = await harness.wait_for(notification_id, "routed")
    await harness.wait_for_final(notification_id)
    return [step["channel"] for step in routed.body["decision"]["plan"]]


@pytest.mark.parametrize("word", ["refuse:63003", "undelivered:63024"])
async def test_the_next_notification_skips_the_channel_and_says_why(start: Start, word: str) -> None:
    harness = await start(faults=Faults(outcomes={WHATSAPP + IN: word}))
    await learnt(harness, word)

    assert await steps_of(harness, "second") == ["sms"]

    decision = harness.story("second")[0].body["decision"]
    (entry,) = [entry for entry in decision["trace"] if entry["rule"].endswith(".whatsapp")]
    assert not entry["matched"]
    assert "found unreachable on whatsapp" in entry["because"]
    assert word.rpartition(":")[2] in entry["because"]
    assert decision["facts"]["unreachable"] == ["whatsapp"]
    assert [message.to for message in harness.sent][-1] == IN


async def test_a_message_that_arrives_there_after_all_is_proof_of_the_contrary(start: Start) -> None:
    harness = await start(faults=Faults(scripts={WHATSAPP + IN: ("ok", "refuse:63024")}, callbacks_lost=1))
    await harness.publish("early", IN, content=CONTENT)
    message = await harness.sent_to(WHATSAPP + IN)
    await harness.wait_for("early", "accepted")
    await harness.publish("refused", IN, content=CONTENT)
    await until(lambda: harness.statuses("refused").count("accepted") == 1)
    assert list((await ask(harness, "get", recipient=IN))["unreachable"]) == ["whatsapp"]

    assert await harness.report(message, "delivered") == 204

    await harness.wait_for("early", "delivered")
    assert (await ask(harness, "get", recipient=IN))["unreachable"] == {}


async def test_a_recipient_who_writes_from_there_can_be_reached_there(start: Start) -> None:
    harness = await start(faults=Faults(scripts={WHATSAPP + IN: ("refuse:63024",)}))
    await learnt(harness, "refuse:63024")
    assert await steps_of(harness, "second") == ["sms"]

    await harness.receive(WHATSAPP + IN, WHATSAPP + WA_SENDER, "hello")

    # Free-form in the session that this opened, the template should it close in flight, then the text message.
    assert await steps_of(harness, "third") == ["whatsapp", "whatsapp", "sms"]


async def test_a_second_router_knows_what_the_first_one_learnt_and_a_person_can_make_both_forget(start: Start) -> None:
    harness = await start(faults=Faults(scripts={WHATSAPP + IN: ("refuse:63024",)}))
    other = await harness.start_router()
    await learnt(harness, "refuse:63024")
    await until(lambda: other.health.started)

    assert await steps_of(harness, "second") == ["sms"]
    assert (await ask(harness, "forget", recipient=IN, channel="whatsapp"))["unreachable"] == {}

    assert (await ask(harness, "get", recipient=US))["unreachable"] == {}


async def test_it_is_forgotten_after_its_time(start: Start) -> None:
    harness = await start(faults=Faults(scripts={WHATSAPP + IN: ("refuse:63024",)}), reach={"ttl": 1})
    await learnt(harness, "refuse:63024")

    async with asyncio.timeout(PATIENCE):
        while (await ask(harness, "get", recipient=IN))["unreachable"]:
            await asyncio.sleep(0.05)
        while (await harness.js.stream_info("KV_reach")).state.messages:
            await asyncio.sleep(0.05)

    assert await steps_of(harness, "second") == ["whatsapp", "sms"]
