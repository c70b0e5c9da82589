"""The newest part of the delivery log in memory, bounded, with what is drawn from it.

An event is kept as it came. What is counted is read from its subject and found in its bytes, so that taking an event
costs microseconds: a busy log has thousands a second, and this runs beside the router's own work.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from channels.status import ENDED_BADLY

SLOT = 10  #: seconds of one point of a plot
SLOTS = 90  #: points that are kept: a quarter of an hour
UNKNOWN_COUNTRY = "—"

_COUNTRY = re.compile(rb'"country":"([A-Z]{2}|001)"')
_SENDER = re.compile(rb'"sender":"([a-z0-9_-]+)"')
_FINAL = b'"final":true'
#: Where a notification stands, in a word.
STANDS = {
    "delivered": "delivered",
    "read": "read",
    "undelivered": "failed",
    "failed": "failed",
    "exhausted": "failed",
    "unknown": "unknown",
    "suppressed": "not sent",
    "rejected": "not sent",
    "expired": "not sent",
    "canceled": "not sent",
}
UNDER_WAY = "under way"
_BAD = frozenset(status.value for status in ENDED_BADLY)


@dataclass(frozen=True, slots=True)
class Seen:
    """One event of the log."""

    sequence: int
    at: float  #: when it was stored, in seconds since 1970
    source: str
    status: str
    channel: str
    notification_id: str
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        """As subscribers read it."""
        value: dict[str, Any] = json.loads(self.body)
        return value


@dataclass(frozen=True, slots=True)
class Line:
    """Where one notification stands, as far as the memory goes back."""

    source: str
    notification_id: str
    status: str
    channel: str
    at: float  #: of its newest event
    final: bool
    country: str
    sequence: int  #: of its newest event


@dataclass(frozen=True, slots=True)
class Point:
    """What happened within one slot."""

    at: float  #: its beginning
    counts: Mapping[tuple[str, str], int]  #: (status, channel)


class Feed:
    """The last so many events."""

    def __init__(self, most: int, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._most = most
        self._events: deque[Seen] = deque(maxlen=most)
        self._lines: OrderedDict[tuple[str, str], Line] = OrderedDict()
        self._slots: dict[int, Counter[tuple[str, str]]] = {}
        self._standing: Counter[tuple[str, str, str]] = Counter()
        self._stood = -1  #: what `taken` was when that was counted
        self._senders: dict[int, Counter[str]] = {}
        self.skipped = 0  #: events that came faster than they could be taken
        self.taken = 0  #: how many events were taken; changes when there is something new to draw

    def take(self, sequence: int, at: float, subject: str, body: bytes) -> None:
        """One event, newer than all before it: `deliveries.<source>.<status>.<channel>.<id>`."""
        _, source, status, channel, identity = subject.split(".")
        self._events.append(Seen(sequence, at, source, status, channel, identity, body))
        self.taken += 1
        before = self._lines.pop((source, identity), None)
        country = _country(body) if status == "routed" or before is None else before.country
        final = _FINAL in body or (before is not None and before.final)
        self._lines[source, identity] = Line(source, identity, status, channel, at, final, country, sequence)
        if len(self._lines) > self._most:
            self._lines.popitem(last=False)
        self._count(at, status, channel, body)

    def _count(self, at: float, status: str, channel: str, body: bytes) -> None:
        slot = int(at // SLOT)
        self._slots.setdefault(slot, Counter())[status, channel] += 1
        if status == "accepted" and (found := _SENDER.search(body)):
            self._senders.setdefault(slot, Counter())[found[1].decode()] += 1
        if len(self._slots) > SLOTS:
            self._drop_old()

    def _drop_old(self) -> None:
        oldest = int(self._clock() // SLOT) - SLOTS
        for slots in (self._slots, self._senders):
            for slot in [slot for slot in slots if slot < oldest]:
                del slots[slot]

    # --- what is drawn

    @property
    def oldest(self) -> float | None:
        """How far the memory goes back, in seconds since 1970."""
        return self._events[0].at if self._events else None

    @property
    def first(self) -> int | None:
        """Sequence of the oldest event in memory."""
        return self._events[0].sequence if self._events else None

    def newest(self, count: int) -> list[Seen]:
        """The last so many events, newest first."""
        events = self._events
        return [events[-index] for index in range(1, min(count, len(events)) + 1)]

    def points(self) -> list[Point]:
        """A quarter of an hour, slot by slot; the slot that is not over is left out."""
        now = int(self._clock() // SLOT)
        slots = range(now - SLOTS, now)
        return [Point(slot * SLOT, self._slots.get(slot, Counter())) for slot in slots]

    def by_channel(self) -> Counter[tuple[str, str]]:
        """(status, channel) over the last quarter of an hour."""
        return sum(self._recent(self._slots), Counter())

    def standing(self) -> Counter[tuple[str, str, str]]:
        """(channel, country, where it stands) of every notification that moved in the last quarter of an hour."""
        if self._stood != self.taken:
            since, self._stood = self._clock() - SLOT * SLOTS, self.taken
            lines = (line for line in self._lines.values() if line.at >= since)
            self._standing = Counter((each.channel, each.country, _stands(each)) for each in lines)
        return self._standing

    def a_minute(self, sender: str) -> float:
        """Messages of this sender that its provider took, a minute, over the last minute."""
        now = int(self._clock() // SLOT)
        return sum(self._senders.get(slot, Counter())[sender] for slot in range(now - 6, now))

    def _recent(self, slots: Mapping[int, Counter[Any]]) -> Iterator[Counter[Any]]:
        oldest = int(self._clock() // SLOT) - SLOTS
        return (counter for slot, counter in list(slots.items()) if slot >= oldest)

    def lines(self) -> list[Line]:
        """Where notifications stand, longest unmoved first."""
        return list(self._lines.values())

    def find(self, wanted: str, most: int) -> list[Seen]:
        """The newest event of each notification whose recipient, id or provider's id this is, newest first."""
        found: dict[tuple[str, str], Seen] = {}
        for seen in reversed(self._events):
            key = (seen.source, seen.notification_id)
            if key not in found and _is_about(seen, wanted):
                found[key] = seen
                if len(found) >= most:
                    break
        return list(found.values())


def _country(body: bytes) -> str:
    found = _COUNTRY.search(body)
    return found[1].decode() if found else UNKNOWN_COUNTRY


def _stands(line: Line) -> str:
    """A carrier without receipts leaves it at `sent`, which is then the end of it."""
    if line.status == "sent" and line.final:
        return "sent"
    return STANDS.get(line.status, UNDER_WAY)


def _is_about(seen: Seen, wanted: str) -> bool:
    if seen.notification_id == wanted:
        return True
    if wanted.encode() not in seen.body:
        return False
    event = seen.event
    return wanted in {event["recipient"], event["provider_message_id"]}


def delivered_share(counts: Counter[tuple[str, str]]) -> float | None:
    """Of the attempts that ended, those that arrived; None where none ended."""
    arrived = sum(count for (status, _), count in counts.items() if status == "delivered")
    failed = sum(count for (status, _), count in counts.items() if status in _BAD)
    return arrived / (arrived + failed) if arrived + failed else None
