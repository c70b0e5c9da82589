"""A sender is taken out of the configuration while messages wait for it: each of them finds its end."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from channels.twilio.simulator import Faults
from router.app import Router
from router.crashpoints import CrashPoint
from router.settings import Settings
from tests.integration.harness import SENDERS, US, Harness, router_settings
from tests.reliability.doomed import SETTINGS, DoomedRouter

pytestmark = pytest.mark.nats

GONE: dict[str, Any] = {
    "name": "gone",
    "kind": "10dlc",
    "channels": ["sms"],
    "from": "+15017122999",
    "countries": ["US"],
}


async def _router(harness: Harness, roles: str, senders: list[dict[str, Any]]) -> Router:
    given = router_settings(harness.server.url, harness.reserve_port(), **SETTINGS, senders=senders)
    router = Router(Settings(**given), harness.environ, frozenset(roles.split(",")))
    await router.start()
    await harness.watch()
    return router


async def _routed(harness: Harness, count: int) -> None:
    """So many that were routed to the sender that goes, and wait."""
    router = await _router(harness, "intake", [GONE])
    for number in range(count):
        await harness.publish(f"n-{number}", f"+1202555{number:04d}")
        await harness.wait_for(f"n-{number}", "routed")
    await router.stop()


async def test_what_waits_is_routed_anew_to_the_senders_there_are(stack: AsyncExitStack) -> None:
    harness = await stack.enter_async_context(Harness())
    await _routed(harness, 20)
    for _ in range(2):
        await harness.start_router(**SETTINGS)
    for number in range(20):
        await harness.wait_for_final(f"n-{number}")
        story = harness.story(f"n-{number}")
        assert [event.status for event in story][:4] == ["routed", "routed", "sending", "accepted"]
        assert [event.body["sender"] for event in story[:3]] == ["gone", "us", "us"]
    await harness.idle()
    assert len(harness.sent) == 20


@pytest.mark.parametrize("at_once", [True, False])
async def test_an_attempt_that_lost_its_router_and_its_sender_is_looked_after(
    stack: AsyncExitStack, tmp_path: Path, at_once: bool
) -> None:
    """Nobody can say more of it than that: its callback alone reveals it."""
    harness = await stack.enter_async_context(Harness(faults=Faults(callbacks_lost=1)))
    if not at_once:
        await _routed(harness, 1)
    doomed = await DoomedRouter.start(harness, tmp_path, CrashPoint.DISPATCH_ANSWERED, senders=[GONE])
    stack.push_async_callback(doomed.close)
    if at_once:
        await harness.publish("n-0", "+12025550000")
    await doomed.died()

    await harness.start_router(**SETTINGS)

    unknown = await harness.wait_for("n-0", "unknown")
    assert (unknown.body["sender"], unknown.body["reason"]) == ("gone", "crashed")
    assert await harness.report(harness.sent[0], "delivered") == 204
    await harness.wait_for("n-0", "delivered")
    await harness.idle()
    assert len(harness.sent) == 1


async def test_while_another_router_still_has_the_sender_it_keeps_its_messages(stack: AsyncExitStack) -> None:
    harness = await stack.enter_async_context(Harness())
    slow = {**GONE, "rate": 1}
    old = await _router(harness, "intake,dispatch,tracking", [slow])
    stack.push_async_callback(old.stop)
    for number in range(4):
        await harness.publish(f"n-{number}", f"+1202555{number:04d}")
        await harness.wait_for(f"n-{number}", "routed")
    await _router_without_intake(harness, stack)
    for number in range(4):
        await harness.wait_for(f"n-{number}", "accepted")
    assert {event.body["sender"] for event in harness.deliveries} == {"gone"}


async def _router_without_intake(harness: Harness, stack: AsyncExitStack) -> None:
    router = await _router(harness, "dispatch,tracking,webhooks", SENDERS)
    stack.push_async_callback(router.stop)


async def test_a_retry_that_waits_for_a_sender_that_went_ends_with_its_reason(stack: AsyncExitStack) -> None:
    """It was attempted, so the plan stands: the next step, or here the end."""
    faults = Faults(scripts={US: ("throttle",)}, retry_after=2)
    harness = await stack.enter_async_context(Harness(faults=faults))
    old = await _router(harness, "intake,dispatch,tracking", [GONE])
    await harness.publish("n-1")
    await harness.wait_for("n-1", "failed")
    await old.stop()
    await harness.start_router(**SETTINGS)
    final = await harness.wait_for_final("n-1")
    assert [event.status for event in harness.story("n-1")] == [
        *("routed", "sending", "failed"),
        *("sending", "failed", "exhausted"),
    ]
    assert (final.body["reason"], final.body["error"]["class"]) == ("sender_unknown", "sender_unknown")
    assert harness.sent == []
