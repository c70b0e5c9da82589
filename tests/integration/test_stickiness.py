"""A recipient keeps the sender of their last message when equal senders come and go."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from channels.testing import PATIENCE
from tests.integration.conftest import Start
from tests.integration.harness import SENDERS, US

pytestmark = pytest.mark.nats


def us_sender(name: str, last_digit: int, weight: int) -> dict[str, Any]:
    number = f"+1501712266{last_digit}"
    row = {"kind": "10dlc", "channels": ["sms"], "countries": ["US"], "rate": 500}
    return {**row, "name": name, "from": number, "weight": weight}


async def test_a_recipient_keeps_their_sender_when_the_weights_change_and_routers_start_anew(start: Start) -> None:
    harness = await start(senders=[us_sender("first", 2, 1), us_sender("second", 3, 0)])
    await harness.publish("n-1", US)
    assert (await harness.wait_for("n-1", "accepted")).body["sender"] == "first"
    async with asyncio.timeout(PATIENCE):
        while not (await harness.js.stream_info("KV_last-senders")).state.messages:
            await asyncio.sleep(0.02)
    await harness.stop_router(harness.routers[0])

    await harness.start_router(senders=[us_sender("first", 2, 1), us_sender("second", 3, 1000)])
    await harness.publish("n-2", US)

    routed = await harness.wait_for("n-2", "routed")
    assert routed.body["sender"] == "first"
    assert "the last message to this recipient on sms came from it" in routed.body["decision"]["plan"][0]["because"]
    assert routed.body["decision"]["facts"]["last_sender"] == {"sms": "first"}


async def test_where_no_senders_are_equal_nothing_is_kept(start: Start) -> None:
    harness = await start(senders=SENDERS)
    await harness.publish("n-1", US)
    await harness.wait_for("n-1", "delivered")
    await harness.idle()

    assert (await harness.js.stream_info("KV_last-senders")).state.last_seq == 0
