"""Intake on a store in memory: every publication ends in an event or in a dead letter, whatever crashes in between."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.model import PhoneNumber
from router.clock import rfc3339
from router.consent_ledger import OPTED_OUT, ConsentEntry
from router.jetstream import StoreUnavailableError
from tests.factories import NOW
from tests.router.bodies import GOOD, bodies
from tests.router.parts import HASHER, Parts, received
from tests.router.store import LOST, STORED_UNANSWERED, MemoryStore

BODY = json.dumps(GOOD).encode()
SUBJECTS = st.sampled_from(
    ["notifications.normal.shop", "notifications.urgent.bank", "notifications.slow.shop", "notifications.bulk.A B", "x"]
)


@given(bodies(), SUBJECTS)
async def test_every_publication_ends_in_an_event_or_in_a_dead_letter(body: bytes, subject: str) -> None:
    parts = Parts()

    await parts.intake().take(received(body, subject))

    events, letters = parts.store.bodies("DELIVERIES"), parts.store.bodies("DEADLETTERS")
    assert events or letters
    assert all(letter["message"] for letter in letters)
    routed = [event for event in events if event["status"] == "routed"]
    deferred = [event for event in events if event["status"] == "deferred"]
    assert len(parts.store.stream("OUTBOX")) == len(routed)
    assert len(parts.store.stream("TIMERS")) == len(deferred)


@pytest.mark.parametrize(
    ("days", "status"),
    [(29, "deferred"), (29.01, "rejected"), (2_900_000, "rejected")],  # kept for thirty, one of them for the attempts
)
async def test_what_would_not_be_kept_until_it_is_due_is_refused(days: float, status: str) -> None:
    parts = Parts()
    send_at = rfc3339(NOW + timedelta(days=days))

    await parts.intake().take(received(json.dumps(GOOD | {"send_at": send_at}).encode()))

    assert parts.store.statuses() == [status]
    if status == "rejected":
        (letter,) = parts.store.bodies("DEADLETTERS")
        assert letter["field"] == "send_at"
        assert "kept for 30 days" in letter["message"]
        assert "so 2026-12-19T12:00:00.000Z is the latest now" in letter["message"]


@given(bodies(), st.integers(min_value=2, max_value=4))
async def test_taking_it_again_adds_nothing(body: bytes, times: int) -> None:
    parts = Parts()
    intake = parts.intake()
    await intake.take(received(body))
    before = [parts.store.bodies(stream) for stream in ("DELIVERIES", "DEADLETTERS", "OUTBOX")]

    for _ in range(times):
        await intake.take(received(body))

    assert [parts.store.bodies(stream) for stream in ("DELIVERIES", "DEADLETTERS", "OUTBOX")] == before


@pytest.mark.parametrize(
    "mishaps",
    [
        [LOST],
        [STORED_UNANSWERED],
        [None, LOST],
        [None, STORED_UNANSWERED],
        [STORED_UNANSWERED, LOST, LOST],
        [LOST, STORED_UNANSWERED, None, STORED_UNANSWERED],
    ],
    ids=str,
)
async def test_whatever_the_store_forgets_a_redelivery_completes(mishaps: list[str | None]) -> None:
    parts = Parts(MemoryStore(mishaps))

    for _ in range(len(mishaps) + 1):
        try:
            await parts.intake().take(received(BODY))
        except StoreUnavailableError:
            continue

    assert parts.store.statuses() == ["routed"]
    assert len(parts.store.stream("OUTBOX")) == 1


async def test_a_routed_notification_waits_for_its_sender_in_its_lane() -> None:
    parts = Parts()
    await parts.intake().take(received(BODY, "notifications.urgent.shop", sequence=7))

    (item,) = parts.store.stream("OUTBOX")
    assert (item.subject, item.body) == ("outbox.us-main.urgent.shop.n-1", BODY)
    (event,) = parts.store.bodies("DELIVERIES")
    assert (event["status"], event["channel"], event["form"], event["sender"]) == ("routed", "sms", "text", "us-main")


async def test_other_content_under_the_same_id_is_refused_once_for_each_publication() -> None:
    parts = Parts()
    intake = parts.intake()
    other = json.dumps(GOOD | {"to": "+12025550199"}).encode()
    await intake.take(received(BODY, sequence=1))
    for sequence in (2, 2, 3, 2):
        await intake.take(received(other, sequence=sequence))

    assert parts.store.statuses() == ["routed", "rejected", "rejected"]
    assert {event["reason"] for event in parts.store.bodies("DELIVERIES")[1:]} == {"id_reused"}
    assert len(parts.store.stream("OUTBOX")) == 1


async def test_a_channel_that_is_not_installed_is_named() -> None:
    parts = Parts()
    await parts.intake(channels=["sms"]).take(received(json.dumps(GOOD | {"channel": "mms"}).encode()))

    (letter,) = parts.store.bodies("DEADLETTERS")
    assert (letter["field"], letter["message"]) == ("channel", "channel: no channel 'mms' is installed (there are sms)")


async def test_a_recipient_who_said_stop_gets_nothing() -> None:
    parts = Parts()
    recipient = PhoneNumber("+12025550123", "US")
    entry = ConsentEntry("all", OPTED_OUT, NOW, "keyword")
    parts.consent.mirror.note(HASHER.recipient(recipient), json.dumps([entry.as_dict()]).encode(), 1)

    await parts.intake().take(received(BODY))

    assert parts.store.statuses() == ["suppressed"]
    assert parts.store.stream("OUTBOX") == []


@pytest.mark.parametrize(("hours", "status"), [(1, "deferred"), (-1, "routed")])
async def test_send_at_waits_in_a_schedule(hours: int, status: str) -> None:
    parts = Parts()
    send_at = NOW + timedelta(hours=hours)
    await parts.intake().take(received(json.dumps(GOOD | {"send_at": send_at.isoformat()}).encode(), sequence=5))

    assert parts.store.statuses() == [status]
    timers = parts.store.stream("TIMERS")
    assert len(timers) == (status == "deferred")
    for timer in timers:
        assert timer.subject == "timers.defer.shop.n-1"
        assert timer.headers["Nats-Schedule"] == f"@at {rfc3339(send_at)}"
        assert timer.headers["Nats-Schedule-Target"] == "wake.defer.shop.n-1"
        assert timer.headers["Pointsman-Sequence"] == "5"
