"""Daily caps: what is over them waits for the next day, whoever counts; a share is kept for urgent messages."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import nats
import pytest

from channels.model import DailyCap, Lane
from channels.testing import until
from router.budget import Amounts, Budget
from router.embedded import EmbeddedNats
from router.jetstream import JetStream
from router.topology import bucket_stream
from tests.integration.conftest import Start
from tests.integration.harness import IN, SENDERS, Harness

pytestmark = pytest.mark.nats

ONE: Amounts = {"messages": 1, "segments": 1}


def capped(**cap: Any) -> list[dict[str, Any]]:
    """The sender of SMS to the United States, with a cap."""
    return [{**sender, **(cap if sender["name"] == "us" else {})} for sender in SENDERS]


async def accepted(harness: Harness) -> set[str]:
    return {event.body["notification_id"] for event in harness.deliveries if event.status == "accepted"}


async def settled(harness: Harness, count: int) -> None:
    """So many were accepted, and another sender's message that came after all of them was, too."""
    await until(lambda: sum(event.status == "accepted" for event in harness.deliveries) >= count)
    await harness.publish(f"after-{count}", IN)
    await harness.wait_for(f"after-{count}", "delivered")


async def test_what_is_over_the_cap_waits_and_urgent_messages_have_a_share(start: Start) -> None:
    harness = await start(senders=capped(daily_messages=10, daily_reserve=0.2))
    for index in range(12):
        await harness.publish(f"n-{index}")
    await settled(harness, 8)
    assert len([each for each in await accepted(harness) if each.startswith("n-")]) == 8

    for index in range(4):
        await harness.publish(f"u-{index}", lane="urgent")

    await settled(harness, 11)
    assert len([each for each in await accepted(harness) if each.startswith("u-")]) == 2
    waiting = [f"n-{index}" for index in range(12) if f"n-{index}" not in await accepted(harness)]
    assert all(harness.statuses(each) == ["routed"] for each in waiting)


async def test_segments_are_counted_where_the_cap_is_in_segments(start: Start) -> None:
    harness = await start(senders=capped(daily_segments=10, daily_reserve=0))
    await harness.publish("long-1", content={"text": "a" * 600})  # four segments
    await harness.publish("long-2", content={"text": "b" * 600})
    await harness.publish("long-3", content={"text": "c" * 600})

    await settled(harness, 2)
    await harness.wait_for("long-3", "routed")
    assert harness.statuses("long-3") == ["routed"]


async def test_another_router_and_a_restart_begin_no_new_day(start: Start) -> None:
    senders = capped(daily_messages=3, daily_reserve=0)
    harness = await start(senders=senders)
    for index in range(5):
        await harness.publish(f"n-{index}")
    await settled(harness, 3)

    await harness.start_router(senders=senders)
    await harness.stop_router(harness.routers[0])

    await settled(harness, 4)
    assert len([each for each in await accepted(harness) if each.startswith("n-")]) == 3


async def test_the_explanation_and_the_metrics_say_so(start: Start) -> None:
    harness = await start(senders=capped(daily_messages=2, daily_reserve=0))
    for index in range(3):
        await harness.publish(f"n-{index}")
    await settled(harness, 2)

    notification = {"id": "x", "to": "+12025550123", "content": {"text": "hi"}}
    reply = await harness.client.request("pointsman.explain", json.dumps(notification).encode(), timeout=30)
    (said,) = json.loads(reply.data)["waits"]
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date()
    assert said == f"sender 'us' has used its 2 messages of today, and goes on at {tomorrow}T00:00:00+00:00"
    async with harness.http.get(f"{harness.routers[0].admin_url}/metrics") as response:
        assert 'pointsman_sender_left_today{sender="us",unit="messages"} 0.0' in await response.text()


async def test_the_longest_text_goes_while_the_day_has_room_for_it(start: Start) -> None:
    """Less than it takes may be left of what was booked: then more is booked, and it does not hold up its lane."""
    harness = await start(senders=capped(daily_segments=1000, daily_reserve=0, rate=40))
    longest = "\u0416" * 1600  # UCS-2: 24 segments
    for index in range(6):
        await harness.publish(f"n-{index}", content={"text": "one"})
        await harness.publish(f"long-{index}", content={"text": longest})
    await settled(harness, 12)


# --- the count itself


@pytest.fixture
async def js() -> AsyncIterator[JetStream]:
    async with EmbeddedNats() as server:
        client = await nats.connect(server.url)
        store = JetStream(client)
        await store.start()
        plan = bucket_stream("senders")
        await store.api(f"STREAM.CREATE.{plan.name}", plan.config(1))
        yield store
        await store.stop()
        await client.close()


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 11, 20, 7, 59, tzinfo=UTC)  # one minute before midnight in Los Angeles

    def __call__(self) -> datetime:
        return self.now


def a_budget(js: JetStream, clock: Clock, messages: int = 1000) -> Budget:
    cap = DailyCap(messages, None, "America/Los_Angeles", 0.0)
    return Budget(js, "senders", "us", 50.0, cap, clock)


async def spend(budget: Budget, most: int) -> int:
    """As many as it allows, as a queue does it."""
    sent = 0
    while sent < most:
        await budget.top_up()
        if not budget.allows(Lane.NORMAL, ONE):
            return sent
        budget.charge(ONE)
        sent += 1
    return sent


async def test_two_routers_that_both_believe_to_pace_a_sender_share_one_budget(js: JetStream) -> None:
    clock = Clock()
    counts = await asyncio.gather(*(spend(a_budget(js, clock), 10_000) for _ in range(2)))
    assert sum(counts) == 1000


async def test_routers_that_die_again_and_again_never_exceed_it(js: JetStream) -> None:
    clock, sent, lives = Clock(), 0, 0
    while (more := await spend(a_budget(js, clock), 37)) > 0:  # each dies after so many, and gives nothing back
        sent, lives = sent + more, lives + 1
    assert 1000 - lives * 30 <= sent <= 1000  # a block and a half of 20 is the most that each takes with it


async def test_what_is_given_back_is_there_for_the_next_one(js: JetStream) -> None:
    clock, sent = Clock(), 0
    while True:
        budget = a_budget(js, clock)
        more = await spend(budget, 37)
        await budget.give_back()
        sent += more
        if not more:
            break
    assert sent == 1000


async def test_the_day_is_that_of_the_caps_time_zone(js: JetStream) -> None:
    clock = Clock()
    budget = a_budget(js, clock, messages=30)
    assert await spend(budget, 100) == 30

    clock.now += timedelta(minutes=2)

    assert not budget.allows(Lane.URGENT, ONE), "yesterday's budget is not today's"
    assert await spend(budget, 100) == 30
