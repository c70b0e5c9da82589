"""What has expired is let go of without looking at all that has not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from router.buckets import Bucket, Mirror
from router.expiry import Expiry
from tests.router.store import MemoryStore

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
MANY = 6 * Expiry.LOOKS


class Looked:
    """A mirror of ends, a clock that is set, and how often a value was read."""

    def __init__(self) -> None:
        self.now, self.looks = NOON, 0
        store = MemoryStore()
        self.mirror: Mirror[datetime] = Mirror(
            store, Bucket(store, "some"), self._read, lambda end: end, clock=lambda: self.now
        )
        self._revisions: Iterator[int] = iter(range(1, 10 * MANY))

    def put(self, key: str, end: datetime) -> None:
        self.mirror.note(key, end.isoformat().encode(), next(self._revisions))

    def seconds(self, count: int) -> int:
        """Let them pass; the most that was looked at in one of them."""
        most = 0
        for _ in range(count):
            self.now += timedelta(seconds=1)
            before = self.looks
            self.mirror.forget()
            most = max(most, self.looks - before)
        return most

    def _read(self, value: bytes) -> datetime:
        self.looks += 1
        return datetime.fromisoformat(value.decode())


def test_each_is_looked_at_once_when_it_came_and_once_when_it_has_ended() -> None:
    looked = Looked()
    for number in range(MANY):
        looked.put(f"k{number}", NOON + timedelta(minutes=10 + number % 2))
    assert looked.seconds(540) <= Expiry.LOOKS
    assert (len(looked.mirror), looked.looks) == (MANY, MANY)
    assert looked.seconds(300) <= Expiry.LOOKS
    assert (len(looked.mirror), looked.looks) == (0, 2 * MANY)


def test_what_was_renewed_stays_until_its_later_end() -> None:
    looked = Looked()
    looked.put("a", NOON + timedelta(minutes=2))
    looked.seconds(60)
    looked.put("a", NOON + timedelta(minutes=30))
    looked.seconds(600)
    assert looked.mirror.keys() == ["a"]
    looked.seconds(1320)
    assert looked.mirror.keys() == []


def test_what_is_renewed_again_and_again_is_looked_at_no_more_often_than_it_would_have_ended() -> None:
    looked = Looked()
    looks = 0
    for _ in range(600):
        looked.put("a", looked.now + timedelta(minutes=5))
        looks += looked.seconds(1)
    assert 2 <= looks <= 4
    looked.seconds(360)
    assert looked.mirror.keys() == []


def test_an_end_that_was_moved_forward_counts_too() -> None:
    looked = Looked()
    looked.put("a", NOON + timedelta(hours=20))
    looked.seconds(60)
    looked.put("a", looked.now)
    looked.seconds(121)
    assert looked.mirror.keys() == []


def test_what_had_ended_when_it_came_goes_within_two_minutes() -> None:
    looked = Looked()
    looked.seconds(5)
    looked.put("a", NOON - timedelta(days=1))
    looked.seconds(120)
    assert looked.mirror.keys() == []


def test_what_is_gone_already_is_passed_over() -> None:
    looked = Looked()
    looked.put("a", NOON + timedelta(minutes=1))
    looked.seconds(30)
    looked.mirror.drop("a", 9 * MANY)
    looked.seconds(120)
    assert looked.mirror.keys() == []


def test_what_cannot_be_read_holds_nothing_up() -> None:
    looked = Looked()
    looked.mirror.note("a", b"never", 1)
    looked.mirror.note("a", b"ever", 2)
    looked.mirror.note("b", (NOON + timedelta(minutes=1)).isoformat().encode(), 3)
    looked.seconds(120)
    assert looked.mirror.keys() == ["a"]
    looked.mirror.note("a", (NOON + timedelta(minutes=3)).isoformat().encode(), 4)
    looked.seconds(120)
    assert looked.mirror.keys() == []


def test_a_mirror_of_what_never_expires_lets_go_of_nothing() -> None:
    store = MemoryStore()
    mirror: Mirror[bytes] = Mirror(store, Bucket(store, "some"), bytes)
    mirror.note("a", b"1", 1)
    mirror.forget()
    assert mirror.keys() == ["a"]
