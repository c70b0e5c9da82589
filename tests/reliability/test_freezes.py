"""A router that is frozen and thawed: it lives, and others cannot know it. The claim in the log decides."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from channels.twilio.simulator import Faults
from router.crashpoints import CrashPoint
from router.embedded import EmbeddedNats
from tests.integration.harness import Harness
from tests.reliability.doomed import ACK_WAIT, DoomedRouter

pytestmark = [pytest.mark.nats, pytest.mark.e2e]

#: The server drops a client that answers no ping for so long: the frozen router comes back to a broken connection.
IMPATIENT = 'ping_interval: "1s"\nping_max: 1'
#: Seconds; not over yet when the router thaws, or what it was about to send would have been sent again.
SETTLE = {"wait": 1, "settle": 12}
NEVER = 10**9


async def test_what_a_frozen_router_held_is_sent_by_another_and_not_again_when_it_thaws(
    stack: AsyncExitStack, tmp_path: Path
) -> None:
    harness = Harness(faults=Faults(latency_ms=100))
    harness.server = EmbeddedNats(extra_config=IMPATIENT)
    await stack.enter_async_context(harness)
    frozen = await DoomedRouter.start(
        harness, tmp_path, CrashPoint.REPLAY_DONE, nth=NEVER, roles="intake,dispatch", reconcile=SETTLE
    )
    stack.push_async_callback(frozen.close)
    numbers = {f"n-{index}": f"+1202555{index:04d}" for index in range(60)}
    for notification_id, number in numbers.items():
        await harness.publish(notification_id, number)
    async with asyncio.timeout(30):
        while len(harness.sent) < 5:
            await asyncio.sleep(0.01)

    frozen.freeze()
    await harness.start_router(
        dispatch={"ack_wait": ACK_WAIT, "timeout": 1, "lease": 2}, reconcile=SETTLE, tracking={"stuck_after": 60}
    )
    # What the frozen one was about to send is unknown to the other, which must not send it before `settle`.
    await _until_each_is(harness, {"accepted", "unknown"}, len(numbers))
    frozen.thaw()

    for index in range(60, 70):
        numbers[f"n-{index}"] = f"+1202555{index:04d}"
        await harness.publish(f"n-{index}", numbers[f"n-{index}"])
    await _until_each_is(harness, {"accepted"}, len(numbers))
    await harness.idle()
    assert Counter(message.to for message in harness.sent) == Counter(numbers.values())


async def _until_each_is(harness: Harness, statuses: set[str], wanted: int) -> None:
    async with asyncio.timeout(30):
        while len({e.body["notification_id"] for e in harness.deliveries if e.status in statuses}) < wanted:
            await asyncio.sleep(0.05)
