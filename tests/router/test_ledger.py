"""The ledger's one promise: an append follows the event it names, once, answered or not."""

from __future__ import annotations

import pytest

from channels.model import SMS
from router.events import Happening
from router.jetstream import StoreUnavailableError
from router.ledger import ConflictError, Ledger
from router.story import About, Snapshot
from tests.factories import NOW
from tests.router.parts import now
from tests.router.store import LOST, STORED_UNANSWERED, MemoryStore

ABOUT = About("shop", "n-1", "normal", "otp", "+12025550123", {"a": "b"}, "00-trace")
ROUTED = Happening("routed", NOW, channel=SMS)
SNAPSHOT = Snapshot("1:x", 1, events=1)


async def test_what_is_appended_is_read_back() -> None:
    ledger = Ledger(MemoryStore(), now, "router-1")
    assert (await ledger.read("shop", "n-1")).begun is False

    appended = await ledger.append(ABOUT, ROUTED, SNAPSHOT, after=0)

    story = await ledger.read("shop", "n-1")
    assert (story.sequence, story.snapshot, story.about, story.owner) == (1, SNAPSHOT, ABOUT, "router-1.1")
    assert (appended.sequence, appended.snapshot, appended.owner) == (1, SNAPSHOT, "router-1.1")
    assert story.at == NOW


async def test_whoever_comes_second_is_told() -> None:
    store = MemoryStore()
    await Ledger(store, now, "first").append(ABOUT, ROUTED, SNAPSHOT, after=0)

    with pytest.raises(ConflictError):
        await Ledger(store, now, "second").append(ABOUT, ROUTED, SNAPSHOT, after=0)
    assert store.statuses() == ["routed"]


async def test_an_append_that_was_stored_without_an_answer_is_known_as_ones_own() -> None:
    store = MemoryStore([STORED_UNANSWERED])
    story = await Ledger(store, now, "first").append(ABOUT, ROUTED, SNAPSHOT, after=0)

    assert (story.sequence, story.owner) == (1, "first.1")
    assert store.statuses() == ["routed"]


async def test_an_append_that_was_lost_is_tried_again() -> None:
    store = MemoryStore([LOST, LOST])
    await Ledger(store, now, "first").append(ABOUT, ROUTED, SNAPSHOT, after=0)

    assert store.statuses() == ["routed"]


async def test_another_routers_event_after_a_lost_append_is_no_ones_own() -> None:
    store = MemoryStore([None, LOST])
    await Ledger(store, now, "second").append(ABOUT, ROUTED, SNAPSHOT, after=0)

    with pytest.raises(ConflictError):
        await Ledger(store, now, "first").append(ABOUT, ROUTED, SNAPSHOT, after=0)
    assert store.statuses() == ["routed"]


async def test_a_store_that_stays_away_is_said_so() -> None:
    with pytest.raises(StoreUnavailableError):
        await Ledger(MemoryStore([LOST] * 9), now, "first").append(ABOUT, ROUTED, SNAPSHOT, after=0)
