"""Accepted messages of which nothing more is heard: asked about until the provider says how they ended."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest

from channels.testing import PATIENCE, until
from channels.twilio.simulator import Delays, Faults
from channels.twilio.simulator.settings import DEMO_ACCOUNT_SID, DEMO_AUTH_TOKEN
from router import topology
from tests.integration.harness import US, Harness
from tests.reliability.doomed import SETTINGS
from tests.reliability.operators import ask

pytestmark = pytest.mark.nats

#: The provider hands messages to the carrier, and hears nothing more of them.
UNDER_WAY = Delays(queued=0, sent=0, delivered=1_000, jitter=0)


async def _harness(stack: AsyncExitStack, stuck_after: float, **simulator: Any) -> Harness:
    """No callback ever comes."""
    harness = await stack.enter_async_context(Harness(faults=Faults(callbacks_lost=1), simulator=simulator))
    await harness.start_router(**{**SETTINGS, "tracking": {"stuck_after": stuck_after}})
    return harness


async def test_those_still_under_way_keep_nobody_from_looking_at_the_others(stack: AsyncExitStack) -> None:
    harness = await _harness(stack, 1, delays=UNDER_WAY)
    # Two instead of the thousand that the router lets be pending.
    info = await harness.js.consumer_info("DELIVERIES", topology.STUCK)
    info.config.max_ack_pending = 2
    await harness.js.add_consumer("DELIVERIES", info.config)
    for number in range(4):
        await harness.publish(f"n-{number}", f"+1202555012{number}")
        await harness.wait_for(f"n-{number}", "accepted")

    last = await harness.sent_to("+12025550123")
    last.enter("delivered", time.time())

    assert (await harness.wait_for_final("n-3")).status == "delivered"
    first = await harness.sent_to("+12025550120")
    first.enter("delivered", time.time())  # and those are looked at again
    assert (await harness.wait_for_final("n-0")).status == "delivered"


async def test_a_router_that_starts_later_looks_again(stack: AsyncExitStack) -> None:
    harness = await _harness(stack, 1, delays=UNDER_WAY)
    await harness.publish("n-1")
    await harness.wait_for("n-1", "sent")
    async with asyncio.timeout(PATIENCE):
        while await _held(harness):
            await asyncio.sleep(0.02)

    await harness.stop_router(harness.routers[0])
    (message,) = harness.sent
    message.enter("delivered", time.time())
    await harness.start_router(**{**SETTINGS, "tracking": {"stuck_after": 1}})

    assert (await harness.wait_for_final("n-1")).status == "delivered"


async def _held(harness: Harness) -> int:
    """What the consumer has and has not settled: a schedule looks again, so it need hold nothing."""
    info = await harness.js.consumer_info("DELIVERIES", topology.STUCK)
    return (info.num_pending or 0) + (info.num_ack_pending or 0)


@pytest.fixture
async def forgotten(stack: AsyncExitStack) -> Harness:
    """A router with one dead letter: the provider has forgotten what it had accepted."""
    harness = await _harness(stack, 4)
    await harness.publish("n-1", US)
    await harness.wait_for("n-1", "accepted")
    await until(lambda: harness.sent[0].status == "delivered")
    await _forget(harness)
    await until(lambda: len(harness.dead_letters) == 1)
    return harness


async def _forget(harness: Harness) -> None:
    (message,) = harness.sent
    url = f"{harness.simulator.base_url}/2010-04-01/Accounts/{DEMO_ACCOUNT_SID}/Messages/{message.sid}.json"
    headers = {"Authorization": aiohttp.encode_basic_auth(DEMO_ACCOUNT_SID, DEMO_AUTH_TOKEN)}
    async with harness.http.delete(url, headers=headers) as answer:
        assert answer.status == 204


def _identity(harness: Harness) -> str:
    return str(harness.dead_letters[0].body["dead_letter_id"])


@pytest.mark.parametrize(
    ("outcome", "events", "reason"),
    [
        ("sent", [("accepted", False), ("sent", True)], "resolved_by_person"),
        ("not_sent", [("accepted", False), ("failed", False), ("exhausted", True)], "outcome_unknown"),
    ],
)
async def test_what_the_provider_has_forgotten_ends_as_a_person_says(
    forgotten: Harness, outcome: str, events: list[tuple[str, bool]], reason: str
) -> None:
    assert forgotten.dead_letters[0].body["stage"] == "stuck"
    refused = await ask(forgotten, "resolve", {"id": _identity(forgotten)})
    assert refused["error"]["code"] == 409

    request = {"id": _identity(forgotten), "outcome": outcome}
    assert (await ask(forgotten, "resolve", request))["done"] == "recorded"
    assert (await ask(forgotten, "resolve", request))["done"] == "nothing to do: its outcome is known by now"

    end = await forgotten.wait_for_final("n-1")
    await forgotten.idle()
    assert [(event.status, event.body["final"]) for event in forgotten.story("n-1")[2:]] == events
    assert end.body["reason"] == reason
    assert (await ask(forgotten, "list", {}))["dead_letters"] == []


async def test_replayed_the_provider_is_asked_again(stack: AsyncExitStack) -> None:
    forgotten = await _harness(stack, 4)
    await forgotten.publish("n-1", US)
    taken = await forgotten.sent_to(US)
    await until(lambda: taken.status == "delivered")
    await _forget(forgotten)
    await until(lambda: len(forgotten.dead_letters) == 1)
    refused = await ask(forgotten, "replay", {"id": _identity(forgotten)})
    assert (refused["error"]["code"], "still does not tell" in refused["error"]["message"]) == (409, True)
    assert len((await ask(forgotten, "list", {}))["dead_letters"]) == 1

    forgotten.simulator._store.add(taken)  # Twilio has no call that brings a message back
    assert "says how it ended" in (await ask(forgotten, "replay", {"id": _identity(forgotten)}))["done"]
    assert (await forgotten.wait_for_final("n-1")).status == "delivered"
    assert (await ask(forgotten, "list", {}))["dead_letters"] == []


async def test_what_the_consumer_delivers_no_more_is_replayed_to_whoever_has_not_done_it(
    stack: AsyncExitStack,
) -> None:
    harness = await _harness(stack, 3_600)
    for number, consumer in enumerate((topology.STUCK, "reports")):
        await harness.publish(f"n-{number}", f"+1202555012{number}")
        await harness.wait_for(f"n-{number}", "accepted")
        await until(lambda: harness.sent[-1].status == "delivered")
        await _strand(harness, consumer, f"n-{number}")
    await until(lambda: len(harness.dead_letters) == 2)
    ours, others = (letter.body["dead_letter_id"] for letter in harness.dead_letters)

    assert "says how it ended" in (await ask(harness, "replay", {"id": ours}))["done"]
    assert (await ask(harness, "replay", {"id": others}))["error"]["code"] == 409

    assert (await harness.wait_for_final("n-0")).status == "delivered"
    assert harness.statuses("n-1") == ["routed", "sending", "accepted"]


async def _strand(harness: Harness, consumer: str, notification_id: str) -> None:
    """As the server words it when a consumer gives up on a message."""
    accepted = await harness.js.get_last_msg("DELIVERIES", f"deliveries.shop.accepted.*.{notification_id}")
    advisory = {"stream": "DELIVERIES", "consumer": consumer, "stream_seq": accepted.seq, "deliveries": 5}
    subject = f"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.DELIVERIES.{consumer}"
    await harness.client.publish(subject, json.dumps(advisory).encode())
