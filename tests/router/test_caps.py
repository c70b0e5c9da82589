"""Frequency caps: strict under concurrency, idempotent under redelivery, and given back by what was not sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from channels.model import SMS, Category, Form, PhoneNumber
from channels.reasons import Reason
from channels.status import DeliveryStatus
from policies import document
from policies.engine import Policy, compile_policy, decide
from policies.model import Decision, Deferred, RecipientFacts, RoutingPlan, Step, Suppressed
from router import crashpoints
from router.caps import Caps, Recent, Returns
from router.crashpoints import CrashPoint
from router.jetstream import Stored
from router.story import SNAPSHOT, Attempt, Snapshot
from tests.factories import NOW, a_request, a_world
from tests.router.parts import HASHER, Parts, now, received
from tests.router.store import MemoryStore

ADA = PhoneNumber("+12025550123", "US")
BOB = PhoneNumber("+12025550124", "US")
SERVICE, MARKETING, OTP = Category.SERVICE, Category.MARKETING, Category.OTP
DAY = 86_400


def capped(*rows: str) -> Policy:
    """A policy with these caps."""
    caps = "".join(f"[[guards.frequency]]\n{row}\n" for row in rows)
    text = f'version = "1"\n{caps}[[routes]]\nname = "all"\nplan = [{{ channel = "sms" }}]\n'
    return compile_policy(document.load(text, "policy.toml"), a_world())


ONE_A_DAY = capped(f'category = ["service", "marketing"]\nlimit = 1\nwindow = {DAY}')


class InterleavedStore(MemoryStore):
    """Others get a turn between every read and the write that follows it."""

    reads = 0

    async def last(self, stream: str, subject: str) -> Stored | None:
        self.reads += stream == "KV_recent"
        found = await super().last(stream, subject)
        await asyncio.sleep(0)
        return found


def deciding(
    category: Category, policy: Policy = ONE_A_DAY, at: Callable[[], datetime] = now
) -> Callable[[Recent], Decision]:
    def decided(recent: Recent) -> Decision:
        request = a_request(category=category, recipient=ADA)
        return decide(request, RecipientFacts(recent=recent), policy, at())

    return decided


async def ask(caps: Caps, name: str, category: Category = SERVICE, policy: Policy = ONE_A_DAY) -> type:
    decision = await caps.decided(name, ADA, category, policy, deciding(category, policy))
    return type(decision.outcome)


def counted(store: MemoryStore) -> list[str]:
    """The names that count for the recipient who was written last."""
    stored = store.stream("KV_recent")
    return [row[0] for row in json.loads(stored[-1].body)] if stored else []


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_of_many_that_are_decided_at_the_same_moment_no_more_pass_than_the_cap_allows(limit: int) -> None:
    store = InterleavedStore()
    routers = [Caps(store, "", HASHER, now) for _ in range(2)]
    policy = capped(f"limit = {limit}\nwindow = {DAY}")

    outcomes = await asyncio.gather(*(ask(routers[n % 2], f"shop.n-{n}", policy=policy) for n in range(8)))

    assert outcomes.count(RoutingPlan) == limit
    assert outcomes.count(Deferred) == 8 - limit
    assert len(counted(store)) == limit


async def test_the_same_notification_counts_once_however_often_and_by_whomever_it_is_decided() -> None:
    store = InterleavedStore()
    routers = [Caps(store, "", HASHER, now) for _ in range(2)]

    outcomes = await asyncio.gather(*(ask(router, "shop.n-1") for router in routers * 2))

    assert set(outcomes) == {RoutingPlan}
    assert counted(store) == ["shop.n-1"]
    assert await ask(routers[0], "shop.n-2") is Deferred


@pytest.mark.parametrize(
    ("first", "second", "outcome"),
    [
        (SERVICE, SERVICE, Deferred),
        (SERVICE, MARKETING, Deferred),
        (MARKETING, SERVICE, Deferred),
    ],
)
async def test_the_categories_of_one_cap_are_counted_together(first: Category, second: Category, outcome: type) -> None:
    caps = Caps(MemoryStore(), "", HASHER, now)
    assert await ask(caps, "shop.n-1", first) is RoutingPlan
    assert await ask(caps, "shop.n-2", second) is outcome


async def test_each_recipient_has_a_row_of_their_own_without_their_number() -> None:
    store = MemoryStore()
    caps = Caps(store, "", HASHER, now)
    for recipient in (ADA, BOB):
        decision = await caps.decided("shop.n-1", recipient, SERVICE, ONE_A_DAY, deciding(SERVICE))
        assert isinstance(decision.outcome, RoutingPlan)

    stored = store.stream("KV_recent")
    assert [each.subject for each in stored] == [f"$KV.recent.{HASHER.recipient(each)}" for each in (ADA, BOB)]
    assert {each.headers["Nats-TTL"] for each in stored} == {f"{DAY}s"}
    assert not any(b"202555" in each.body for each in stored)


async def test_what_left_the_longest_window_is_neither_counted_nor_kept() -> None:
    moment = NOW

    def clock() -> datetime:
        return moment

    policy = capped("limit = 1\nwindow = 60", 'category = "marketing"\nlimit = 1\nwindow = 600')
    store = MemoryStore()
    caps = Caps(store, "", HASHER, clock)

    async def outcome(name: str, category: Category) -> type:
        return type((await caps.decided(name, ADA, category, policy, deciding(category, policy, clock))).outcome)

    assert await outcome("shop.a", MARKETING) is RoutingPlan
    moment = NOW + timedelta(seconds=59)
    assert await outcome("shop.b", SERVICE) is Deferred
    moment = NOW + timedelta(seconds=60)
    assert await outcome("shop.b", SERVICE) is RoutingPlan
    assert counted(store) == ["shop.a", "shop.b"]
    moment = NOW + timedelta(seconds=599)
    assert await outcome("shop.c", MARKETING) is Deferred
    moment = NOW + timedelta(seconds=660)
    assert await outcome("shop.c", MARKETING) is RoutingPlan
    assert counted(store) == ["shop.c"]


async def test_giving_back_makes_room_and_may_be_repeated() -> None:
    store = InterleavedStore()
    caps = Caps(store, "", HASHER, now)
    assert await ask(caps, "shop.n-1") is RoutingPlan

    assert await asyncio.gather(*(caps.give_back("shop.n-1", ADA, ONE_A_DAY) for _ in range(2))) == [True, False]

    assert counted(store) == []
    assert await ask(caps, "shop.n-2") is RoutingPlan
    assert not await caps.give_back("shop.n-1", ADA, ONE_A_DAY)
    assert counted(store) == ["shop.n-2"]


# --- in intake


def body(identity: str, category: str = "service", **fields: Any) -> bytes:
    content = {"text": "Your parcel is here."}
    return json.dumps({"id": identity, "to": ADA.address, "category": category, "content": content, **fields}).encode()


async def test_a_policy_without_a_cap_on_the_category_asks_for_nothing() -> None:
    store = InterleavedStore()
    parts = Parts(store)
    await parts.intake(policy=ONE_A_DAY).take(received(body("n-1", "otp")))
    await parts.intake().take(received(body("n-2")))
    # What another guard stops costs no look either.
    await parts.intake(policy=ONE_A_DAY).take(received(body("n-3", expires_at="2020-01-01T00:00:00Z")))

    assert store.statuses() == ["routed", "routed", "expired"]
    assert store.reads == 0
    assert store.stream("KV_recent") == []


async def test_the_decision_shows_what_was_counted_and_when_it_is_asked_again() -> None:
    parts = Parts()
    for identity in ("n-1", "n-2"):
        await parts.intake(policy=ONE_A_DAY).take(received(body(identity)))

    deferred = parts.store.bodies("DELIVERIES")[-1]
    assert (deferred["status"], deferred["reason"]) == ("deferred", Reason.FREQUENCY_CAP)
    assert deferred["decision"]["until"] == "2026-11-21T12:00:00Z"
    assert deferred["decision"]["facts"]["recent"] == {"service": ["2026-11-20T12:00:00Z"]}
    assert parts.store.stream("TIMERS")[-1].subject == "timers.defer.shop.n-2"


async def test_a_crash_between_counting_and_routing_neither_loses_nor_doubles() -> None:
    parts = Parts()

    class DiedError(BaseException):
        pass

    def die(point: CrashPoint) -> None:
        if point is CrashPoint.INTAKE_COUNTED:
            raise DiedError

    crashpoints.install(die)
    try:
        with pytest.raises(DiedError):
            await parts.intake(policy=ONE_A_DAY).take(received(body("n-1")))
    finally:
        crashpoints.install(lambda _point: None)
    assert (parts.store.statuses(), counted(parts.store)) == ([], ["shop.n-1"])

    await parts.intake(policy=ONE_A_DAY).take(received(body("n-2")))
    await parts.intake(policy=ONE_A_DAY).take(replace(received(body("n-1")), redelivered=True))

    assert parts.store.statuses() == ["deferred", "routed"]
    assert counted(parts.store) == ["shop.n-1"]


async def test_what_was_counted_before_a_crash_and_is_deferred_after_it_counts_no_more() -> None:
    parts = Parts()
    assert await ask(parts.caps, "shop.n-1") is RoutingPlan  # and there its process died

    later = body("n-1", send_at="2026-11-20T13:00:00Z")
    await parts.intake(policy=ONE_A_DAY).take(replace(received(later), redelivered=True))

    assert parts.store.statuses() == ["deferred"]
    assert counted(parts.store) == []


# --- what gives its place back


def attempts(*statuses: tuple[DeliveryStatus, str | None, bool]) -> tuple[Attempt, ...]:
    return tuple(
        Attempt(number, 0, status, 0, provider_message_id, settled=settled)
        for number, (status, provider_message_id, settled) in enumerate(statuses, 1)
    )


FAILED, UNDELIVERED, CANCELED = DeliveryStatus.FAILED, DeliveryStatus.UNDELIVERED, DeliveryStatus.CANCELED
UNKNOWN, SENT = DeliveryStatus.UNKNOWN, DeliveryStatus.SENT


@pytest.mark.parametrize(
    ("status", "tried", "closed", "left"),
    [
        ("suppressed", (), True, []),
        ("expired", (), True, []),
        ("canceled", (), True, []),
        ("rejected", (), True, []),
        ("exhausted", ((FAILED, None, False), (FAILED, None, False)), True, []),
        ("canceled", ((CANCELED, "SM1", False),), True, []),
        # The provider accepted it: it counts, whatever became of it.
        ("exhausted", ((UNDELIVERED, "SM1", False),), True, ["shop.n-1"]),
        ("exhausted", ((FAILED, "SM1", False), (FAILED, None, False)), True, ["shop.n-1"]),
        ("canceled", ((SENT, "SM1", False),), True, ["shop.n-1"]),
        # Nobody knows whether it was sent.
        ("exhausted", ((FAILED, None, True),), True, ["shop.n-1"]),
        ("canceled", ((UNKNOWN, None, False),), True, ["shop.n-1"]),
        # A publication under its id was refused, and the notification goes on.
        ("rejected", (), False, ["shop.n-1"]),
    ],
)
async def test_what_never_reached_the_provider_counts_no_more(
    status: str, tried: Iterable[tuple[DeliveryStatus, str | None, bool]], closed: bool, left: list[str]
) -> None:
    parts = Parts()
    assert await ask(parts.caps, "shop.n-1") is RoutingPlan
    plan = (Step(SMS, Form.TEXT, "us-main"),)
    snapshot = Snapshot("1:f", 1, plan, attempts=attempts(*tried), closed=closed)
    event = {
        "source": "shop",
        "notification_id": "n-1",
        "category": "service",
        "recipient": ADA.address,
        "status": status,
    }

    for _ in range(2):
        await Returns(parts.caps, lambda: ONE_A_DAY).on_event(json.dumps(event).encode(), {SNAPSHOT: snapshot.dump()})

    assert counted(parts.store) == left


@pytest.mark.parametrize("changes", [{"category": "otp"}, {"category": None, "recipient": None}])
async def test_ends_that_no_cap_is_about_cost_no_look(changes: dict[str, Any]) -> None:
    store = InterleavedStore()
    parts = Parts(store)
    event = {"source": "shop", "notification_id": "n-1", "category": "service", "recipient": ADA.address, **changes}
    snapshot = Snapshot("1:f", 1, closed=True)

    await Returns(parts.caps, lambda: ONE_A_DAY).on_event(json.dumps(event).encode(), {SNAPSHOT: snapshot.dump()})

    assert store.reads == 0


async def test_a_cap_that_suppresses_does_so() -> None:
    caps = Caps(MemoryStore(), "", HASHER, now)
    policy = capped(f'limit = 1\nwindow = {DAY}\naction = "suppress"')
    assert await ask(caps, "shop.n-1", OTP, policy) is RoutingPlan
    assert await ask(caps, "shop.n-2", OTP, policy) is Suppressed
