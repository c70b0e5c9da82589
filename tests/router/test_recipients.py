"""What is known about recipients: the newest word of each scope counts, and a window is never made shorter."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest

from channels.model import SMS, PhoneNumber
from router.consent_ledger import OPTED_IN, OPTED_OUT, ConsentEntry, current
from router.hashing import Hasher, load_hasher
from tests.factories import NOW
from tests.router.parts import HASHER, Parts
from tests.router.store import MemoryStore

ADA = PhoneNumber("+12025550123", "US")


def _entry(scope: str, state: str, minutes: int) -> ConsentEntry:
    return ConsentEntry(scope, state, NOW + timedelta(minutes=minutes), "keyword")


OUT, IN = OPTED_OUT, OPTED_IN


@pytest.mark.parametrize(
    ("entries", "now"),
    [
        ([], {}),
        ([_entry("all", OUT, 1)], {"all": OUT}),
        ([_entry("all", OUT, 2), _entry("all", IN, 1)], {"all": OUT}),
        ([_entry("channel:sms", OUT, 1), _entry("sender:us", IN, 2)], {"channel:sms": OUT, "sender:us": IN}),
        ([_entry("channel:sms", OUT, 1), _entry("all", IN, 2)], {"all": IN}),
        ([_entry("all", IN, 1), _entry("channel:sms", OUT, 2)], {"all": IN, "channel:sms": OUT}),
    ],
)
def test_the_newest_word_of_each_scope_counts(entries: list[ConsentEntry], now: dict[str, str]) -> None:
    assert {scope: entry.state for scope, entry in current(entries).items()} == now


@pytest.mark.parametrize(
    ("scope", "covered"),
    [
        ("all", True),
        ("channel:sms", True),
        ("channel:whatsapp", False),
        ("sender:us-main", True),
        ("sender:gb-sms", False),
        ("category:otp", True),
        ("category:marketing", False),
    ],
)
def test_a_stop_covers_what_its_scope_says(scope: str, covered: bool) -> None:
    parts = Parts()
    entries = [_entry(scope, OPTED_OUT, 0).as_dict()]
    parts.consent.mirror.note(HASHER.recipient(ADA), json.dumps(entries).encode(), 1)

    stop = parts.recipients.stopped_by(ADA, channel=SMS, sender="us-main", category="otp")
    assert (stop is not None) is covered


async def test_saying_the_same_twice_is_recorded_once() -> None:
    parts = Parts()
    for _ in range(3):
        await parts.consent.record(ADA, _entry("all", OPTED_OUT, 1))
    await parts.consent.record(ADA, _entry("all", OPTED_IN, 2))

    stored = json.loads(parts.store.stream("KV_consent")[-1].body)
    assert [row["state"] for row in stored] == [OPTED_OUT, OPTED_IN]


async def test_no_key_holds_a_phone_number() -> None:
    parts = Parts()
    await parts.consent.record(ADA, _entry("all", OPTED_OUT, 1))
    await parts.sessions.open("wa-main", ADA, NOW)

    subjects = [stored.subject for name in ("KV_consent", "KV_sessions") for stored in parts.store.stream(name)]
    assert len(subjects) == 2
    assert not any("2025550123" in subject for subject in subjects)


async def test_a_session_is_its_senders_and_known_at_once() -> None:
    parts = Parts()
    end = await parts.sessions.open("wa-main", ADA, NOW)

    assert end == NOW + timedelta(hours=24) - timedelta(seconds=300)
    assert parts.sessions.ends("wa-main", ADA) == end
    assert parts.sessions.ends("wa-other", ADA) is None
    assert parts.recipients.facts(ADA).sessions == {"wa-main": end}


@pytest.mark.parametrize(
    ("earlier", "expected"),
    [(NOW - timedelta(hours=2), NOW), (NOW - timedelta(days=3), NOW)],
)
async def test_an_older_message_that_comes_late_does_not_shorten_the_window(
    earlier: datetime, expected: datetime
) -> None:
    parts = Parts()
    first = await parts.sessions.open("wa-main", ADA, expected)

    assert await parts.sessions.open("wa-main", ADA, earlier) == first


async def test_all_routers_share_one_hash_key_that_is_made_once() -> None:
    store = MemoryStore()
    first, second = await load_hasher(store, "", {}), await load_hasher(store, "", {})
    given = await load_hasher(store, "", {"POINTSMAN_HASH_KEY": "given"})

    assert first.recipient(ADA) == second.recipient(ADA)
    assert given.recipient(ADA) == Hasher(b"given").recipient(ADA) != first.recipient(ADA)
    assert len(store.stream("KV_pointsman")) == 1


def test_tokens_differ_from_attempt_to_attempt() -> None:
    tokens = {HASHER.token(*ref) for ref in (("a", "b", 1), ("a", "b", 2), ("a", "c", 1), ("b", "b", 1))}

    assert len(tokens) == 4
