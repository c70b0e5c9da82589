"""How fast messages leave, seen from the provider: never faster than the sender may, urgent ones first."""

from __future__ import annotations

from typing import Any

import pytest

from channels.testing import until
from channels.twilio.simulator import Faults
from tests.integration.conftest import Start
from tests.integration.harness import US_SENDER, Harness

pytestmark = pytest.mark.nats

RATE = 20
#: What a sender may catch up on after an idle moment, and the message that pays afterwards.
ALLOWANCE = RATE * 0.2 + 1


def _sender(rate: float) -> list[dict[str, Any]]:
    return [{"name": "us", "kind": "10dlc", "channels": ["sms"], "from": US_SENDER, "rate": rate}]


async def test_no_moment_sees_more_than_the_senders_rate(start: Start) -> None:
    harness = await start(faults=Faults(callbacks_lost=1), senders=_sender(RATE))
    for index in range(40):
        await harness.publish(f"n-{index}")

    await until(lambda: len(harness.sent) == 40)
    moments = [message.created for message in harness.sent]
    for first in moments:
        for window in (0.25, 0.5, 1.0):
            inside = sum(first <= moment < first + window for moment in moments)
            assert inside <= RATE * window + ALLOWANCE, f"{inside} messages within {window} s at {RATE} a second"


async def test_urgent_overtakes_what_waits(start: Start) -> None:
    harness = await start(faults=Faults(callbacks_lost=1), senders=_sender(4))
    for index in range(15):
        await harness.publish(f"bulk-{index}", lane="bulk")
    await harness.wait_for("bulk-14", "routed")
    await harness.publish("otp", lane="urgent", category="otp")

    await harness.wait_for("otp", "accepted")
    await until(lambda: len(harness.sent) == 15 + 1)
    assert _place(harness, "hello otp") <= 8


async def test_long_texts_count_for_each_of_their_segments(start: Start) -> None:
    harness = await start(faults=Faults(callbacks_lost=1), senders=_sender(10))
    for index in range(4):
        await harness.publish(f"n-{index}", content={"text": "a" * 460})  # four segments

    await until(lambda: len(harness.sent) == 4)
    assert harness.sent[-1].created - harness.sent[0].created >= 0.9


def _place(harness: Harness, body: str) -> int:
    """From 0, in the order in which the provider accepted them."""
    return [message.body for message in harness.sent].index(body)
