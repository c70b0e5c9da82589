"""A STOP that comes while messages wait, anywhere: every one of them is stopped. Two routers."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from channels.testing import until
from channels.twilio.simulator import Faults
from tests.integration.conftest import Start
from tests.integration.harness import IN, SENDERS, US, US_SENDER, Harness

pytestmark = pytest.mark.nats

OTHER = "+12025550177"
SILENCE = """
version = "silence"
[[routes]]
name = "all"
plan = [{ channel = "whatsapp", form = "template", within = 4.0 }, { channel = "sms", form = "text" }]
"""
TEMPLATE = {"template": {"name": "order_shipped", "variables": {"1": "Ada"}}, "text": "hi"}


async def two(start: Start, *, faults: Faults | None = None, **sections: Any) -> Harness:
    harness = await start(faults=faults, **sections)
    await harness.start_router(**sections)
    return harness


async def stop(harness: Harness, recipient: str) -> None:
    """The recipient writes STOP to the sender of the United States."""
    await harness.receive(recipient, US_SENDER, "STOP")


async def check_stopped(harness: Harness, *ids: str) -> None:
    """Each ends for the opt-out; nothing of it was sent after that."""
    for each in ids:
        end = await harness.wait_for_final(each)
        assert (end.status, end.body["reason"]) == ("suppressed", "opted_out"), each
    await harness.idle()
    for each in ids:
        statuses = harness.statuses(each)
        assert "accepted" not in statuses or statuses.index("suppressed") > statuses.index("accepted")


async def test_in_the_outbox_on_every_lane(start: Start) -> None:
    slow = [{**sender, "rate": 1} for sender in SENDERS]
    harness = await two(start, faults=Faults(callbacks_lost=1), senders=slow)
    for index in range(4):
        await harness.publish(f"ahead-{index}", OTHER, lane="urgent")
    lanes = ("urgent", "normal", "bulk")
    ids = [f"{lane}-{index}" for lane in lanes for index in range(2)]
    for each in ids:
        await harness.publish(each, US, lane=each.partition("-")[0])
        await harness.wait_for(each, "routed")

    await stop(harness, US)

    await check_stopped(harness, *ids)
    assert US not in {message.to for message in harness.sent}


async def test_deferred(start: Start) -> None:
    harness = await two(start)
    at = (datetime.now(UTC) + timedelta(seconds=4)).isoformat()
    ids = [f"n-{index}" for index in range(5)]
    for each in ids:
        await harness.publish(each, US, send_at=at)
        await harness.wait_for(each, "deferred")

    await stop(harness, US)

    await check_stopped(harness, *ids)
    assert harness.sent == []


async def test_waiting_to_be_tried_again(start: Start) -> None:
    faults = Faults(callbacks_lost=1, scripts={US: ("throttle", "throttle", "throttle")}, retry_after=2)
    harness = await two(start, faults=faults)
    ids = ["n-0", "n-1", "n-2"]
    for each in ids:
        await harness.publish(each, US)
    await asyncio.gather(*(harness.wait_for(each, "routed") for each in ids))
    await until(lambda: any(event.status == "failed" for event in harness.deliveries))

    await stop(harness, US)

    await check_stopped(harness, *ids)
    assert harness.sent == []


async def test_waiting_for_a_word_about_the_message_before(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(SILENCE)
    harness = await two(start, faults=Faults(callbacks_lost=1), policy={"file": file})
    ids = ["n-0", "n-1"]
    for each in ids:
        await harness.publish(each, IN, content=TEMPLATE)
        await harness.wait_for(each, "accepted")

    await stop(harness, IN)

    await check_stopped(harness, *ids)
    assert all(message.to.startswith("whatsapp:") for message in harness.sent)
    assert len(harness.sent) == len(ids)
