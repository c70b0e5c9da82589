"""The state of a notification that every event carries: read back, it is the same."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.model import ChannelName, Form
from channels.status import DeliveryStatus
from policies.model import Step
from router.story import Attempt, Snapshot

_NAMES = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,31}", fullmatch=True)
_STEPS = st.builds(
    Step,
    channel=_NAMES.map(ChannelName),
    form=st.sampled_from(Form),
    sender=_NAMES,
    content_sid=st.none() | st.just("HX" + "0" * 32),
    language=st.none() | st.sampled_from(["en", "pt-BR"]),
)
_ATTEMPTS = st.builds(
    Attempt,
    number=st.integers(1, 99),
    step=st.integers(0, 9),
    status=st.sampled_from(DeliveryStatus),
    begun=st.integers(0, 2**33),
    provider_message_id=st.none() | st.text(max_size=40),
    next=st.sampled_from(["", "step@1", "retry@2026-11-20T12:00:00.000Z", "give_up@expired"]),
    settled=st.booleans(),
    owner=st.sampled_from(["", "a1b2c3"]),
    earlier=st.integers(0, 2_000),
)
_MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(9999, 1, 1)).map(  # noqa: DTZ001 - hypothesis wants them naive
    lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000, tzinfo=UTC)
)
_SNAPSHOTS = st.builds(
    Snapshot,
    fingerprint=st.text(max_size=40),
    notification_sequence=st.integers(0, 2**63),
    plan=st.lists(_STEPS, max_size=4).map(tuple),
    attempts=st.lists(_ATTEMPTS, max_size=6).map(tuple),
    closed=st.booleans(),
    events=st.integers(0, 10_000),
    until=st.none() | _MOMENTS,
    refused=st.lists(st.integers(1, 2**63), max_size=8).map(tuple),
    published=st.sampled_from([0.0, 1_700_000_000.125]),
    expires_at=st.none() | _MOMENTS,
)


@given(_SNAPSHOTS)
def test_a_snapshot_is_read_back_as_it_was_written(snapshot: Snapshot) -> None:
    text = snapshot.dump()

    assert Snapshot.load(text) == snapshot
    assert text.isascii()
    assert "\n" not in text


@given(_SNAPSHOTS, _ATTEMPTS)
def test_an_attempt_that_moves_leaves_everything_else_as_it_was(snapshot: Snapshot, attempt: Attempt) -> None:
    moved = attempt.moved(DeliveryStatus.ACCEPTED, "SM1", "step@1")
    after = snapshot.with_attempt(attempt)

    assert moved == replace(
        attempt, status=DeliveryStatus.ACCEPTED, provider_message_id="SM1", next="step@1", settled=False
    )
    assert after == replace(snapshot, attempts=after.attempts, events=snapshot.events + 1)


def test_a_log_of_a_later_version_is_not_misread() -> None:
    with pytest.raises(ValueError, match="later version"):
        Snapshot.load("[3]")


def test_only_the_last_refusals_are_remembered() -> None:
    snapshot = Snapshot("1:x", 1)
    for sequence in range(1, 21):
        snapshot = snapshot.refusing(sequence)

    assert snapshot.refused == tuple(range(13, 21))
    assert snapshot.events == 20


def test_attempts_are_found_by_their_number() -> None:
    first = Attempt(1, 0, DeliveryStatus.FAILED, 0)
    second = Attempt(2, 0, DeliveryStatus.SENDING, 0)
    snapshot = Snapshot("1:x", 1).with_attempt(first).with_attempt(second)

    assert [snapshot.attempt(number) for number in (0, 1, 2, 3)] == [None, first, second, None]
    assert (snapshot.latest, snapshot.tries_on(0), snapshot.tries_on(1)) == (second, 2, 0)


def _tried_in_vain(snapshot: Snapshot, step: int) -> Snapshot:
    number = snapshot.last_number + 1
    begun = snapshot.beginning(Attempt(number, step, DeliveryStatus.SENDING, 0, owner="router-1"))
    latest = begun.latest
    assert latest is not None
    move = "retry@2026-11-20T12:00:00.000Z"
    return begun.with_attempt(replace(latest.moved(DeliveryStatus.FAILED, None, move), in_vain=True))


def test_of_tries_in_vain_only_the_number_is_kept() -> None:
    refused = Attempt(1, 0, DeliveryStatus.FAILED, 0)
    snapshot = Snapshot("1:x", 1).with_attempt(refused)
    for _ in range(3):
        snapshot = _tried_in_vain(snapshot, 0)
    few = len(snapshot.dump())
    for _ in range(997):
        snapshot = _tried_in_vain(snapshot, 0)

    later = Snapshot.load(snapshot.dump())

    assert later == snapshot
    assert len(snapshot.dump()) < few + 20
    assert [each.number for each in later.attempts] == [1, 1001]
    assert (later.last_number, later.tries_on(0), later.counted_on(0), later.in_vain_on(0)) == (1001, 1001, 1, 1000)
    assert [later.attempt(number) for number in (1, 1000)] == [refused, None]


def test_what_was_tried_in_vain_on_an_earlier_step_is_none_of_the_next_ones() -> None:
    snapshot = _tried_in_vain(_tried_in_vain(Snapshot("1:x", 1), 0), 1)

    assert (snapshot.tries_on(0), snapshot.tries_on(1)) == (1, 1)


def test_a_router_that_knows_only_whole_rows_is_told_when_some_are_missing() -> None:
    snapshot = _tried_in_vain(Snapshot("1:x", 1), 0)
    assert snapshot.dump().startswith("[1,")
    assert _tried_in_vain(snapshot, 0).dump().startswith("[2,")


def test_who_claimed_an_attempt_and_when_stays_with_it_whatever_is_appended_after() -> None:
    claimed = Attempt(1, 0, DeliveryStatus.SENDING, 1_700_000_000, owner="router-1")
    snapshot = Snapshot("1:x", 1).with_attempt(claimed)

    later = Snapshot.load(snapshot.refusing(7).dump())

    assert later.attempt(1) == claimed
    moved = claimed.moved(DeliveryStatus.UNKNOWN, None)
    assert (moved.owner, moved.begun) == ("router-1", 1_700_000_000)


def test_an_attempt_of_before_owners_were_kept_is_read_as_abandoned() -> None:
    row = '[1,"1:x",1,[],[[1,0,"sending",1700000000,null,"",0]],0,2,null,[]]'

    assert Snapshot.load(row).attempt(1) == Attempt(1, 0, DeliveryStatus.SENDING, 1_700_000_000, owner="")
