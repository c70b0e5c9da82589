"""Refused for the rate: that sender rests and no other, whichever router heard of it and whichever paces it."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from nats.js.errors import NotFoundError

from channels.testing import PATIENCE
from channels.twilio.errors import CODES
from channels.twilio.simulator import Faults
from tests.integration.conftest import Start
from tests.integration.harness import IN, US, Harness

pytestmark = pytest.mark.nats


async def rests(harness: Harness, sender: str) -> float:
    """Seconds that it must be silent yet."""
    try:
        stored = await harness.js.get_last_msg("KV_senders", f"$KV.senders.rest.{sender}")
    except NotFoundError:
        return 0.0
    until = datetime.fromisoformat(json.loads(stored.data or b"")["until"])
    return (until - datetime.now(UTC)).total_seconds()


async def until_it_rests(harness: Harness, sender: str, seconds: float) -> None:
    async with asyncio.timeout(PATIENCE):
        while await rests(harness, sender) < seconds:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("code", [30001, 30022, 63018])
async def test_a_callback_about_the_rate_rests_its_sender_and_no_other(start: Start, code: int) -> None:
    harness = await start(faults=Faults(scripts={US: (f"failed:{code}",)}))
    await harness.publish("n-1")
    failed = await harness.wait_for("n-1", "failed")
    assert (failed.body["reason"], failed.body["error"]["code"]) == ("provider_throttled", code)
    pause = CODES[code].pause
    assert pause is not None
    await until_it_rests(harness, "us", pause - 5)

    await harness.publish("same-sender", "+12025550199")
    await harness.publish("other-sender", IN)

    await harness.wait_for("other-sender", "delivered")
    await harness.wait_for("same-sender", "routed")
    assert harness.statuses("same-sender") == ["routed"]
    assert await rests(harness, "uk") == await rests(harness, "wa") == 0


async def test_what_failed_for_the_rate_is_tried_again_on_the_same_step_after_the_rest(start: Start) -> None:
    harness = await start(faults=Faults(scripts={US: ("throttle",)}, retry_after=2))
    await harness.publish("n-1")
    await harness.publish("n-2", "+12025550199")

    await harness.wait_for("n-1", "delivered")
    await harness.wait_for("n-2", "delivered")
    failed = await harness.wait_for("n-1", "failed")
    again = [event for event in harness.story("n-1") if event.status == "sending"][1]
    assert again.body["sender"] == failed.body["sender"]
    assert _seconds(failed.body, again.body) >= 2


async def test_a_router_that_takes_the_sender_over_lets_it_rest_too(start: Start) -> None:
    harness = await start(faults=Faults(scripts={US: ("failed:30001",)}))
    await harness.publish("n-1")
    await harness.wait_for("n-1", "failed")
    await until_it_rests(harness, "us", 50)

    await harness.start_router()
    await harness.stop_router(harness.routers[0])

    await harness.publish("n-2", "+12025550199")
    await harness.publish("n-3", IN)
    await harness.wait_for("n-3", "delivered")
    await harness.wait_for("n-2", "routed")
    assert harness.statuses("n-2") == ["routed"]


async def test_a_router_that_paces_nothing_hears_of_it_for_the_one_that_does(start: Start) -> None:
    harness = await start(faults=Faults(callbacks_lost=1))
    await harness.start_router()
    await harness.publish("n-1")
    await harness.wait_for("n-1", "accepted")

    await harness.report(harness.sent[0], "failed", ErrorCode="30022")

    await until_it_rests(harness, "us", 5)
    await harness.publish("n-2", "+12025550199")
    await harness.publish("n-3", IN)
    await harness.wait_for("n-3", "accepted")
    await harness.wait_for("n-2", "routed")
    assert harness.statuses("n-2") == ["routed"]


def _seconds(earlier: dict[str, Any], later: dict[str, Any]) -> float:
    then, now = (datetime.fromisoformat(event["recorded_at"]) for event in (earlier, later))
    return (now - then).total_seconds()
