"""What meets a message in the outbox that may not go now: done once, whatever dies in between."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files
from typing import Any

import pytest

from channels.status import DeliveryStatus
from policies import document
from policies.document import Action
from policies.engine import Policy, compile_policy
from policies.pauses import LAST_CALL, Kind, Pause
from router.events import Happening
from router.holding import Holding
from router.jetstream import StoreUnavailableError
from router.ledger import ConflictError
from router.outbox import OutboxItem, read_item
from router.received import woken
from router.story import Attempt
from router.timers import Timers
from tests.factories import NOW, a_world
from tests.router.parts import Parts, now, received
from tests.router.store import LOST

BODY = {"id": "n-1", "to": "+12025550143", "content": {"text": "hello"}}
FREE = compile_policy(document.shipped(), a_world())


def paused(kind: Kind, name: str, **changes: Any) -> Policy:
    pause = replace(Pause(kind, name, "by an operator"), **changes)
    return compile_policy(document.shipped(), a_world(), [pause])


def a_holding(parts: Parts, policy: Policy) -> Holding:
    return Holding(parts.ledger, Timers(parts.store), lambda: policy, now)


async def routed(parts: Parts, **fields: Any) -> OutboxItem:
    """A notification that waits in the outbox."""
    await parts.intake().take(received(json.dumps({**BODY, **fields}).encode()))
    (stored,) = parts.store.stream("OUTBOX")
    return read_item("shop", "n-1", stored.headers, stored.body)


def written(guards: str) -> Policy:
    """The shipped routes behind these guards; it is seven in the morning where the recipient lives."""
    shipped = (files("policies") / "default.toml").read_text()
    head, routes = shipped.split("[[routes]]", 1)
    return compile_policy(document.load(f"{head}{guards}\n[[routes]]{routes}", "policy.toml"), a_world())


def quiet(hours: str, more: str = "") -> Policy:
    start, end = hours.split("-")
    return written(f"[[guards.quiet_hours]]\nfrom = {start}:00\nuntil = {end}:00\n{more}")


DEFER = {"action": Action.DEFER}
CASES: list[tuple[str, Policy, list[str]]] = [
    ("a category", paused(Kind.CATEGORY, "transactional"), ["routed", "suppressed"]),
    ("a source", paused(Kind.SOURCE, "shop"), ["routed", "suppressed"]),
    ("a category that waits", paused(Kind.CATEGORY, "transactional", **DEFER), ["routed", "deferred"]),
    ("a channel", paused(Kind.CHANNEL, "sms"), ["routed", "deferred"]),
    ("a category that is another's", paused(Kind.CATEGORY, "marketing"), ["routed"]),
    ("a channel that is not its own", paused(Kind.CHANNEL, "whatsapp"), ["routed"]),
    ("one that has ended", paused(Kind.SOURCE, "shop", until=NOW), ["routed"]),
    ("quiet hours that began meanwhile", quiet("06:00-08:00"), ["routed", "deferred"]),
    ("quiet hours that suppress", quiet("06:00-08:00", 'action = "suppress"'), ["routed", "suppressed"]),
    ("quiet hours that are over", quiet("01:00-06:00"), ["routed"]),
    ("quiet hours that others keep", quiet("06:00-08:00", 'exempt = ["transactional"]'), ["routed"]),
    ("a country that was blocked meanwhile", written('[guards.countries]\nblocked = ["US"]'), ["routed", "suppressed"]),
    ("another country", written('[guards.countries]\nblocked = ["CA"]'), ["routed"]),
    ("nothing", FREE, ["routed"]),
]


@pytest.mark.parametrize(("policy", "statuses"), [row[1:] for row in CASES], ids=[row[0] for row in CASES])
async def test_what_becomes_of_a_message_that_waits(policy: Policy, statuses: list[str]) -> None:
    parts = Parts()
    item = await routed(parts)

    assert await a_holding(parts, policy).holds(item) is (len(statuses) == 2)

    assert parts.store.statuses() == statuses
    last = parts.store.bodies("DELIVERIES")[-1]
    assert last["final"] is (statuses[-1] == "suppressed")
    timers = [stored.subject for stored in parts.store.stream("TIMERS")]
    assert timers == (["timers.defer.shop.n-1"] if statuses[-1] == "deferred" else [])


async def test_a_retry_in_quiet_hours_waits_for_their_end_and_keeps_its_plan() -> None:
    parts = Parts()
    item = await routed(parts)
    story = await parts.ledger.read("shop", "n-1")
    failed = Attempt(1, 0, DeliveryStatus.FAILED, int(NOW.timestamp()), next="retry@2026-11-20T12:00:00Z")
    await parts.ledger.append(
        item.about, Happening("failed", NOW, attempt=1), story.snapshot.with_attempt(failed), after=1
    )
    again = replace(item.on(await parts.ledger.read("shop", "n-1")), attempt=2)

    assert await a_holding(parts, quiet("06:00-08:00")).holds(again)

    held = await parts.ledger.read("shop", "n-1")
    assert (held.status, held.snapshot.plan, held.snapshot.closed) == ("deferred", item.snapshot.plan, False)
    (timer,) = parts.store.stream("TIMERS")
    assert timer.subject == "timers.retry.shop.n-1"
    assert timer.headers["Nats-Schedule"] == "@at 2026-11-20T13:00:00.000Z"
    last = parts.store.bodies("DELIVERIES")[-1]
    assert last["decision"]["trace"][0]["rule"] == "guard.quiet-hours"
    assert last["decision"]["trace"][0]["because"].startswith("while it waited to be sent: now is inside 06:00-08:00")


async def test_what_expires_before_it_can_be_asked_again_ends() -> None:
    parts = Parts()
    item = await routed(parts, expires_at=(NOW + LAST_CALL).isoformat())
    assert await a_holding(parts, paused(Kind.SOURCE, "shop", **DEFER)).holds(item)
    assert parts.store.statuses() == ["routed", "expired"]
    assert parts.store.bodies("DELIVERIES")[-1]["final"] is True


async def test_a_process_that_dies_before_the_timer_leaves_one_that_comes_again_to_set_it() -> None:
    parts = Parts()
    item = await routed(parts)
    holding = a_holding(parts, paused(Kind.SOURCE, "shop", **DEFER))
    parts.store.mishaps.extend([None, LOST])  # the event is stored, the timer is not
    with pytest.raises(StoreUnavailableError):
        await holding.holds(item)
    assert (parts.store.statuses(), parts.store.stream("TIMERS")) == (["routed", "deferred"], [])

    with pytest.raises(ConflictError):
        await holding.holds(item)
    await holding.resume(item, await parts.ledger.read("shop", "n-1"))

    assert parts.store.statuses() == ["routed", "deferred"]
    assert [stored.subject for stored in parts.store.stream("TIMERS")] == ["timers.defer.shop.n-1"]


async def test_the_same_after_the_pause_is_over_when_nobody_asks_whether_it_is_paused() -> None:
    """Then the claim finds the story waiting, and hands it to `resume`."""
    parts = Parts()
    item = await routed(parts)
    parts.store.mishaps.extend([None, LOST])
    with pytest.raises(StoreUnavailableError):
        await a_holding(parts, paused(Kind.SOURCE, "shop", **DEFER)).holds(item)
    story = await parts.ledger.read("shop", "n-1")
    assert not item.is_next_of(story)

    await a_holding(parts, FREE).resume(item, story)

    (timer,) = parts.store.stream("TIMERS")
    comes_back = woken(timer.body, timer.headers)
    assert (comes_back.subject, comes_back.sequence, comes_back.body) == ("notifications.normal.shop", 1, item.body)
    assert timer.headers["Nats-Schedule"] == "@at 2026-11-20T12:05:00.000Z"


async def test_a_story_that_has_ended_is_left_alone() -> None:
    parts = Parts()
    item = await routed(parts)
    holding = a_holding(parts, paused(Kind.CATEGORY, "transactional"))
    assert await holding.holds(item)
    with pytest.raises(ConflictError):  # delivered once more
        await holding.holds(item)
    await holding.resume(item, await parts.ledger.read("shop", "n-1"))
    assert parts.store.statuses() == ["routed", "suppressed"]
    assert parts.store.stream("TIMERS") == []
