"""A pause that meets a message in the outbox: done once, whatever dies in between."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from policies import document
from policies.document import Action
from policies.engine import Policy, compile_policy
from policies.pauses import Kind, Pause
from router.intake import woken
from router.jetstream import StoreUnavailableError
from router.outbox import OutboxItem, read_item
from router.pausing import Pausing
from router.timers import Timers
from tests.factories import NOW, a_world
from tests.router.parts import Parts, now, received
from tests.router.store import LOST

BODY = {"id": "n-1", "to": "+12025550143", "content": {"text": "hello"}}
FREE = compile_policy(document.shipped(), a_world())


def paused(kind: Kind, name: str, **changes: Any) -> Policy:
    pause = replace(Pause(kind, name, "by an operator"), **changes)
    return compile_policy(document.shipped(), a_world(), [pause])


def a_pausing(parts: Parts, policy: Policy) -> Pausing:
    return Pausing(parts.ledger, Timers(parts.store), lambda: policy, now)


async def routed(parts: Parts, **fields: Any) -> OutboxItem:
    """A notification that waits in the outbox."""
    await parts.intake().take(received(json.dumps({**BODY, **fields}).encode()))
    (stored,) = parts.store.stream("OUTBOX")
    return read_item("shop", "n-1", stored.headers, stored.body)


DEFER = {"action": Action.DEFER}
CASES: list[tuple[str, Policy, list[str]]] = [
    ("a category", paused(Kind.CATEGORY, "transactional"), ["routed", "suppressed"]),
    ("a source", paused(Kind.SOURCE, "shop"), ["routed", "suppressed"]),
    ("a category that waits", paused(Kind.CATEGORY, "transactional", **DEFER), ["routed", "deferred"]),
    ("a channel", paused(Kind.CHANNEL, "sms"), ["routed", "deferred"]),
    ("a category that is another's", paused(Kind.CATEGORY, "marketing"), ["routed"]),
    ("a channel that is not its own", paused(Kind.CHANNEL, "whatsapp"), ["routed"]),
    ("one that has ended", paused(Kind.SOURCE, "shop", until=NOW), ["routed"]),
    ("nothing", FREE, ["routed"]),
]


@pytest.mark.parametrize(("policy", "statuses"), [row[1:] for row in CASES], ids=[row[0] for row in CASES])
async def test_what_becomes_of_a_message_that_waits(policy: Policy, statuses: list[str]) -> None:
    parts = Parts()
    item = await routed(parts)

    assert await a_pausing(parts, policy).holds(item) is (len(statuses) == 2)

    assert parts.store.statuses() == statuses
    last = parts.store.bodies("DELIVERIES")[-1]
    assert last["final"] is (statuses[-1] == "suppressed")
    timers = [stored.subject for stored in parts.store.stream("TIMERS")]
    assert timers == (["timers.defer.shop.n-1"] if statuses[-1] == "deferred" else [])


async def test_what_expires_before_it_is_asked_again_ends() -> None:
    parts = Parts()
    item = await routed(parts, expires_at=(NOW + timedelta(seconds=300)).isoformat())
    assert await a_pausing(parts, paused(Kind.SOURCE, "shop", **DEFER)).holds(item)
    assert parts.store.statuses() == ["routed", "expired"]
    assert parts.store.bodies("DELIVERIES")[-1]["final"] is True


async def test_a_process_that_dies_before_the_timer_leaves_one_that_comes_again_to_set_it() -> None:
    parts = Parts()
    item = await routed(parts)
    pausing = a_pausing(parts, paused(Kind.SOURCE, "shop", **DEFER))
    parts.store.mishaps.extend([None, LOST])  # the event is stored, the timer is not
    with pytest.raises(StoreUnavailableError):
        await pausing.holds(item)
    assert (parts.store.statuses(), parts.store.stream("TIMERS")) == (["routed", "deferred"], [])

    assert await pausing.holds(item)

    assert parts.store.statuses() == ["routed", "deferred"]
    assert [stored.subject for stored in parts.store.stream("TIMERS")] == ["timers.defer.shop.n-1"]


async def test_the_same_after_the_pause_is_over_when_nobody_asks_whether_it_is_paused() -> None:
    """Then the claim finds the story waiting, and hands it to `resume`."""
    parts = Parts()
    item = await routed(parts)
    parts.store.mishaps.extend([None, LOST])
    with pytest.raises(StoreUnavailableError):
        await a_pausing(parts, paused(Kind.SOURCE, "shop", **DEFER)).holds(item)
    story = await parts.ledger.read("shop", "n-1")
    assert not item.is_next_of(story)

    await a_pausing(parts, FREE).resume(item, story)

    (timer,) = parts.store.stream("TIMERS")
    comes_back = woken(timer.body, timer.headers)
    assert (comes_back.subject, comes_back.sequence, comes_back.body) == ("notifications.normal.shop", 1, item.body)
    assert timer.headers["Nats-Schedule"] == "@at 2026-11-20T12:05:00.000Z"


async def test_a_story_that_has_ended_is_left_alone() -> None:
    parts = Parts()
    item = await routed(parts)
    pausing = a_pausing(parts, paused(Kind.CATEGORY, "transactional"))
    assert await pausing.holds(item)
    assert await pausing.holds(item)  # delivered once more
    assert parts.store.statuses() == ["routed", "suppressed"]
    assert parts.store.stream("TIMERS") == []
