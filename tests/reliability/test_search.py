"""What the search of the provider's list takes for an attempt, and what it leaves alone."""

from __future__ import annotations

import json
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from typing import Any

import pytest

from channels.errors import OutcomeUnknownError
from channels.memory import MemoryChannel
from channels.model import (
    SMS,
    AttemptRef,
    NotificationId,
    OutboundMessage,
    ProviderMessageId,
    SendReceipt,
    StatusReport,
)
from channels.status import DeliveryStatus
from router.deadletters import DeadLetter, DeadLetters, State
from router.outbox import OutboxItem, read_item
from router.providers import OpenChannels
from router.received import Received
from router.rendering import outbound_message
from tests.factories import US_MAIN
from tests.reliability.gates import Fate
from tests.reliability.world import HASHER, SETTLE, TIMEOUT, WAIT, World

BODY = json.dumps({"id": "n-1", "to": "+12025550143", "content": {"text": "same"}}).encode()


@pytest.fixture
def world() -> Iterator[World]:
    """One whose first request to the provider is lost before it is taken."""
    made = World([Fate.DROPPED])
    yield made
    made.close()


def _do(world: World, work: Coroutine[Any, Any, object]) -> None:
    world.begin(world.processes[0], work)
    world.pass_all()


def _routed(world: World, body: bytes = BODY) -> OutboxItem:
    sequence = world.seed(body)
    _do(world, world.processes[0].intake.take(Received("notifications.normal.shop", sequence, body, {})))
    queued = world.store.stream("OUTBOX")[-1]
    return read_item("shop", json.loads(body)["id"], queued.headers, queued.body)


def _attempt(world: World, body: bytes = BODY) -> OutboxItem:
    item = _routed(world, body)
    _do(world, world.processes[0].attempts.make(item))
    return item


def _of_somebody_else(world: World, item: OutboxItem) -> None:
    """In the same words to the same number; nobody but the provider knows of it."""
    message = outbound_message(item, US_MAIN, HASHER.token("shop", "n-1", 1))
    other = replace(message, ref=replace(message.ref, notification_id=NotificationId("n-2")))
    world.loop.run_until_complete(MemoryChannel.send(world.channels[SMS], other))


@pytest.mark.parametrize(("later", "found"), [(10.0, True), (TIMEOUT + 50, True), (TIMEOUT + 90, False)])
def test_an_equal_message_counts_only_if_the_lost_request_can_have_made_it(
    world: World, later: float, found: bool
) -> None:
    item = _attempt(world)
    assert world.store.bodies("DELIVERIES")[-1]["status"] == "unknown"
    world.advance(later, Fate.DROPPED)
    _of_somebody_else(world, item)
    world.advance(WAIT + 100, Fate.DROPPED)

    _do(world, world.processes[0].reconcile.look("shop", "n-1", 1))

    assert (world.store.bodies("DELIVERIES")[-1]["status"] == "accepted") is found


@pytest.mark.parametrize(("ahead", "found"), [(8.0, True), (59.0, True), (90.0, False)])
def test_a_clock_that_is_ahead_of_the_provider_s_hides_no_message_for_a_minute(
    world: World, ahead: float, found: bool
) -> None:
    """The provider says of what it took for the attempt that it was made before the attempt began."""
    item = _routed(world)
    _of_somebody_else(world, item)
    world.advance(ahead, Fate.DROPPED)
    _do(world, world.processes[0].attempts.make(item))
    world.advance(WAIT, Fate.DROPPED)

    _do(world, world.processes[0].reconcile.look("shop", "n-1", 1))

    assert (world.store.bodies("DELIVERIES")[-1]["status"] == "accepted") is found


@pytest.mark.parametrize("since", [1.0, 30.0, 59.0])
def test_an_equal_message_of_our_own_that_was_sent_before_is_not_taken_for_the_lost_one(since: float) -> None:
    world = World([Fate.TAKEN, Fate.DROPPED])
    _attempt(world, BODY.replace(b"n-1", b"n-0"))
    assert world.store.bodies("DELIVERIES")[-1]["status"] == "accepted"
    world.advance(since, Fate.DROPPED)
    _attempt(world)
    world.advance(WAIT, Fate.DROPPED)

    _do(world, world.processes[0].reconcile.look("shop", "n-1", 1))

    assert world.store.bodies("DELIVERIES")[-1]["status"] == "unknown"
    world.close()


class Listless:
    """A channel whose provider has no list to look into."""

    name, provider = SMS, "acme"

    async def send(self, message: OutboundMessage) -> SendReceipt:
        raise OutcomeUnknownError("no answer")


@pytest.mark.parametrize(("searchable", "status"), [(True, "unknown"), (False, "failed")])
def test_nobody_waits_for_a_list_that_there_is_not(world: World, searchable: bool, status: str) -> None:
    item = _attempt(world)
    world.advance(WAIT, Fate.DROPPED)
    reconcile = world.processes[0].reconcile
    if not searchable:
        reconcile = replace(reconcile, channels=OpenChannels({(item.chosen.sender, SMS): Listless()}))

    _do(world, reconcile.look("shop", "n-1", 1))

    assert world.store.bodies("DELIVERIES")[-1]["status"] == status


def test_an_attempt_that_was_held_needs_nobody_once_its_callback_has_told(world: World) -> None:
    _attempt(world, json.dumps({**json.loads(BODY), "on_unknown": "hold"}).encode())
    world.advance(SETTLE, Fate.DROPPED)
    _do(world, world.processes[0].reconcile.look("shop", "n-1", 1))
    (letter,) = world.store.bodies("DEADLETTERS")
    assert (letter["stage"], _state(world)) == ("reconcile", State.OPEN)

    token = HASHER.token("shop", "n-1", 1)
    ref = AttemptRef("shop", NotificationId("n-1"), 1, token)
    report = StatusReport(ref, "memory", ProviderMessageId("SM1"), DeliveryStatus.DELIVERED, "delivered")
    _do(world, world.processes[0].tracking.record(report))

    assert world.store.statuses()[-2:] == ["accepted", "delivered"]
    assert _state(world) is State.RESOLVED


def _state(world: World) -> State:
    """Of the only dead letter."""
    (letter,) = world.store.bodies("DEADLETTERS")
    found: list[DeadLetter | None] = []

    async def find() -> None:
        found.append(await DeadLetters(world.store, world.clock, "deadletters").find(letter["dead_letter_id"]))

    _do(world, find())
    assert found[0] is not None
    return found[0].state
