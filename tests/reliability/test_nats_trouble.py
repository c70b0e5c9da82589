"""NATS restarts, goes away, loses a consumer, runs out of room: the router keeps what it holds and takes up again."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

import pytest

from channels.twilio.simulator import Faults
from router.app import Router
from router.settings import Settings
from tests.integration.harness import US, Harness, router_settings
from tests.reliability.asking import PATIENCE, answers, eventually, status_of, until_all_are_final
from tests.reliability.doomed import SETTINGS

pytestmark = pytest.mark.nats


async def _start(stack: AsyncExitStack, faults: Faults | None = None) -> tuple[Harness, Router]:
    harness = await stack.enter_async_context(Harness(faults=faults))
    # The router must not give an attempt up as unknown and send it again while the server is away.
    return harness, await harness.start_router(**{**SETTINGS, "reconcile": {"wait": 1, "settle": 15}})


async def _publish_until_stored(harness: Harness, notification_id: str, to: str) -> None:
    """As every publisher has to: again, until it is acknowledged."""
    while True:
        try:
            await harness.publish(notification_id, to)
        except Exception:  # whatever went wrong: the router knows it by its id
            await asyncio.sleep(0.1)
        else:
            return


async def test_a_server_killed_twice_under_load_loses_nothing_and_doubles_nothing(stack: AsyncExitStack) -> None:
    harness, _ = await _start(stack, Faults(latency_ms=5, jitter_ms=20))
    numbers = {f"n-{index}": f"+1202555{index:04d}" for index in range(120)}

    async def load() -> None:
        for notification_id, number in numbers.items():
            await _publish_until_stored(harness, notification_id, number)
            await asyncio.sleep(0.01)

    publishing = asyncio.create_task(load())
    for accepted in (20, 60):
        await eventually(_accepted(harness, accepted))
        harness.server.kill()
        await harness.server.wait()
        await harness.server.start()
    await publishing
    await harness.watch_again()

    await until_all_are_final(harness, len(numbers))
    await harness.idle()
    assert Counter(message.to for message in harness.sent) == Counter(numbers.values())


def _accepted(harness: Harness, count: int) -> Callable[[], Awaitable[bool]]:
    async def reached() -> bool:
        return len(harness.sent) >= count

    return reached


async def test_while_the_server_is_away_it_says_so_and_afterwards_it_goes_on(stack: AsyncExitStack) -> None:
    harness, router = await _start(stack, Faults(callbacks_lost=1))
    ready = f"{router.admin_url}/readyz"
    await harness.publish("n-1")
    message = await harness.sent_to(US)
    await harness.wait_for("n-1", "accepted")
    assert await status_of(harness, ready) == 200

    harness.server.kill()
    await harness.server.wait()
    away_until = asyncio.get_running_loop().time() + 3
    await eventually(answers(harness, ready, 503))
    while asyncio.get_running_loop().time() < away_until:
        assert await harness.report(message, "sent") == 503
        assert await status_of(harness, ready) == 503
        assert await status_of(harness, f"{router.admin_url}/healthz") == 200
    await harness.server.start()

    await eventually(answers(harness, ready, 200))
    await harness.watch_again()
    for status in ("sent", "delivered"):  # the provider repeats what was not taken
        assert await harness.report(message, status) == 204
    await harness.publish("n-2", "+12025550124")
    await harness.wait_for("n-2", "accepted")
    await harness.idle()
    assert harness.statuses("n-1") == ["routed", "sending", "accepted", "sent", "delivered"]
    assert len(harness.sent) == 2


async def test_an_answer_that_comes_while_the_server_is_away_is_held_until_it_is_back(stack: AsyncExitStack) -> None:
    harness, _ = await _start(stack, Faults(callbacks_lost=1, latency_ms=600))
    await harness.publish("n-1")
    await harness.wait_for("n-1", "sending")

    harness.server.kill()
    await harness.server.wait()
    await harness.sent_to(US)
    await harness.server.start()

    await harness.watch_again()
    async with asyncio.timeout(PATIENCE):
        await harness.wait_for("n-1", "accepted")
    await harness.idle()
    assert harness.statuses("n-1") == ["routed", "sending", "accepted"]
    assert len(harness.sent) == 1


CONSUMERS = {
    "NOTIFICATIONS": "intake-normal",
    "OUTBOX": "dispatch-us-normal",
    "DELIVERIES": "follow-up",
    "TIMERS": "wake",
}


async def test_consumers_deleted_by_hand_are_made_again_and_work_goes_on(stack: AsyncExitStack) -> None:
    harness, _ = await _start(stack, Faults(scripts={US: ("throttle",)}, retry_after=1))
    for stream, consumer in CONSUMERS.items():
        await harness.js.delete_consumer(stream, consumer)

    await harness.publish("n-1")

    async with asyncio.timeout(PATIENCE):
        await harness.wait_for("n-1", "delivered")
    await harness.idle()
    # The throttled attempt takes it through all four of them.
    assert harness.statuses("n-1") == ["routed", "sending", "failed", "sending", "accepted", "sent", "delivered"]
    assert len(harness.sent) == 1


async def _fill(harness: Harness, stream: str) -> None:
    """From now on the stream refuses what is published to it, as it does on a full disk."""
    await _change(harness, stream, {"max_bytes": 1, "discard": "new"})


async def _make_room(harness: Harness, stream: str) -> None:
    await _change(harness, stream, {"max_bytes": -1, "discard": "old"})


async def _change(harness: Harness, stream: str, changes: Mapping[str, Any]) -> None:
    config = (await harness.js.stream_info(stream)).config
    await harness.js.update_stream(config.evolve(**changes))


@pytest.mark.parametrize(("stream", "meanwhile"), [("OUTBOX", ["routed"]), ("DELIVERIES", [])])
async def test_what_cannot_be_stored_waits_until_there_is_room(
    stack: AsyncExitStack, stream: str, meanwhile: list[str]
) -> None:
    harness = await stack.enter_async_context(Harness())
    # A router that can send has no need of the outbox.
    given = router_settings(harness.server.url, harness.reserve_port(), **SETTINGS)
    intake = Router(Settings(**given), harness.environ, frozenset({"intake"}))
    await intake.start()
    stack.push_async_callback(intake.stop)
    await harness.watch()
    await _fill(harness, stream)
    await harness.publish("n-1")
    await eventually(_given_back(harness))
    assert harness.statuses("n-1") == meanwhile

    await _make_room(harness, stream)
    await harness.start_router(**SETTINGS)

    async with asyncio.timeout(PATIENCE):
        await harness.wait_for("n-1", "delivered")
    await harness.idle()
    assert harness.statuses("n-1") == ["routed", "sending", "accepted", "sent", "delivered"]
    assert len(harness.sent) == 1


def _given_back(harness: Harness) -> Callable[[], Awaitable[bool]]:
    """Intake has been refused, and will try again."""

    async def given_back() -> bool:
        return bool((await harness.js.consumer_info("NOTIFICATIONS", "intake-normal")).num_redelivered)

    return given_back


async def test_an_answer_that_the_full_log_refuses_is_held_until_there_is_room(stack: AsyncExitStack) -> None:
    harness, _ = await _start(stack, Faults(callbacks_lost=1, latency_ms=600))
    await harness.publish("n-1")
    await harness.wait_for("n-1", "sending")
    await _fill(harness, "DELIVERIES")
    message = await harness.sent_to(US)
    assert await harness.report(message, "sent") == 503

    await _make_room(harness, "DELIVERIES")

    async with asyncio.timeout(PATIENCE):
        await harness.wait_for("n-1", "accepted")
    await harness.idle()
    assert harness.statuses("n-1") == ["routed", "sending", "accepted"]
    assert len(harness.sent) == 1
