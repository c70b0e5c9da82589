"""Several routers on one NATS server: they share the work, and what one leaves the other takes up."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise

import pytest

from channels.testing import until
from channels.twilio.simulator import Faults
from router.app import Router
from tests.integration.conftest import Start
from tests.integration.harness import US, Harness

pytestmark = pytest.mark.nats


@pytest.fixture
async def pair(start: Start) -> Harness:
    """Two routers."""
    harness = await start()
    await harness.start_router()
    return harness


def _owners(harness: Harness, status: str) -> Counter[str]:
    """How many events of this status each router appended."""
    return Counter(
        event.headers["Pointsman-Owner"].partition(".")[0] for event in harness.deliveries if event.status == status
    )


async def test_each_of_two_hundred_notifications_is_sent_once_and_both_take_part(pair: Harness) -> None:
    numbers = [f"+1202555{index:04d}" for index in range(200)]
    await asyncio.gather(*(pair.publish(f"n-{index}", number) for index, number in enumerate(numbers)))

    for index in range(200):
        await pair.wait_for_final(f"n-{index}")
    await pair.idle()
    assert Counter(message.to for message in pair.sent) == Counter(numbers)
    for index in range(200):
        assert pair.statuses(f"n-{index}") == ["routed", "sending", "accepted", "sent", "delivered"]
    assert _owners(pair, "routed").keys() == {router.instance for router in pair.routers}


async def test_one_sender_is_paced_by_one_router_at_a_time(pair: Harness) -> None:
    """The one that came later may rank higher, and be given the sender in the middle of it."""
    for index in range(20):
        await pair.publish(f"n-{index}")

    await until(lambda: sum(event.status == "delivered" for event in pair.deliveries) == 20)
    sending = [event.headers["Pointsman-Owner"] for event in pair.deliveries if event.status == "sending"]
    owners = [owner.partition(".")[0] for owner in sending]
    assert sum(one != next_one for one, next_one in pairwise(owners)) <= 1, owners


async def test_another_router_takes_a_sender_over_when_its_owner_stops(pair: Harness) -> None:
    await pair.publish("before")
    await pair.wait_for("before", "delivered")
    first = _owner_of(pair, "before")

    await pair.stop_router(first)
    await pair.publish("after")

    await pair.wait_for("after", "accepted")
    assert _owner_of(pair, "after") is pair.routers[0]


async def test_what_waits_for_a_sender_when_its_owner_stops_is_sent_by_the_other_one(start: Start) -> None:
    slow = [{"name": "us", "kind": "10dlc", "channels": ["sms"], "from": "+15017122661", "rate": 2}]
    harness = await start(senders=slow)
    await harness.start_router(senders=slow)
    for index in range(8):
        await harness.publish(f"n-{index}")
    await harness.wait_for("n-0", "accepted")

    await harness.stop_router(_owner_of(harness, "n-0"))

    await until(lambda: sum(event.status == "accepted" for event in harness.deliveries) == 8)
    await harness.idle()
    assert len(harness.sent) == 8
    assert len(_owners(harness, "sending")) == 2


async def test_a_router_that_stops_ends_what_it_is_sending(start: Start) -> None:
    harness = await start(faults=Faults(callbacks_lost=1, latency_ms=400))
    await harness.publish("n-1", US)
    await harness.wait_for("n-1", "sending")

    await harness.stop_router(harness.routers[0])

    await until(lambda: harness.statuses("n-1") == ["routed", "sending", "accepted"])
    assert len(harness.sent) == 1


def _owner_of(harness: Harness, notification_id: str) -> Router:
    """The router that claimed its first attempt."""
    claim = next(event for event in harness.story(notification_id) if event.status == "sending")
    instance = claim.headers["Pointsman-Owner"].partition(".")[0]
    return next(router for router in harness.routers if router.instance == instance)
