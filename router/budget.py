"""What a sender may send in a day: counted in NATS, so that it survives restarts and changes of its router.

The router that paces a sender books a block of its budget ahead, by compare-and-set, and spends from that in memory; so
a message costs no round trip, and two routers that both believe to pace the sender share one budget. A router that dies
takes what it had booked and not spent with it: the day's budget is never exceeded, and may be missed by two blocks.

A day is a calendar day of the cap's time zone. A share is kept for the lane `urgent`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

import structlog

from channels.model import DailyCap, Lane
from router.buckets import Bucket
from router.clock import Clock
from router.jetstream import JetStream

log = structlog.get_logger(__name__)

#: Before the name of the sender.
KEY = "spent"
#: Seconds of a sender's rate that are booked at once, and the largest share of a day that is.
_BLOCK, _LARGEST_SHARE = 10.0, 0.02
#: What one message takes at most; the longest text is 1,600 characters of UCS-2. So much is always booked ahead.
_LARGEST = {"messages": 1, "segments": 24}
_LEAST = 10  #: that a block holds
#: Seconds for which a day's count is kept.
_KEPT = 3 * 86_400.0

Amounts = Mapping[str, int]  #: by unit, "messages" or "segments"


@dataclass(frozen=True, slots=True)
class Spent:
    """What of a day's budget is booked."""

    day: str
    booked: Amounts

    @classmethod
    def load(cls, value: bytes | None) -> Spent:
        """As stored; nothing is booked of a day that nobody has counted."""
        if not value:
            return cls("", {})
        row = json.loads(value)
        return cls(row["day"], row["booked"])

    def dump(self) -> bytes:
        """To store."""
        return json.dumps({"day": self.day, "booked": self.booked}).encode()


class Budget:
    """The budget of one sender in the hands of the router that paces it."""

    def __init__(self, js: JetStream, bucket: str, sender: str, rate: float, cap: DailyCap, clock: Clock) -> None:
        self._bucket = Bucket(js, bucket)
        self._sender = sender
        self._cap = cap
        self._limits = limits_of(cap)
        self._block = {
            unit: max(_LEAST, _LARGEST[unit], math.ceil(min(rate * _BLOCK, limit * _LARGEST_SHARE)))
            for unit, limit in self._limits.items()
        }
        self._clock = clock
        self._day = ""
        self._held = dict.fromkeys(self._limits, 0)
        self._booked = dict.fromkeys(self._limits, 0)
        self._told = ""  #: the day of which it was said that its budget is used up

    def allows(self, lane: Lane, cost: Amounts) -> bool:
        """Whether a message of this lane and size may go today, from what is booked."""
        if self._day != today(self._cap, self._clock()):
            return False
        return not self._exceeds(lane, cost) and all(cost[unit] <= self._held[unit] for unit in self._limits)

    def waits_for(self, lane: Lane, cost: Amounts) -> float:
        """Seconds until a day begins in which it may go; 0 when it may go today, as soon as enough is booked."""
        now = self._clock()
        if self._day != today(self._cap, now) or not self._exceeds(lane, cost):
            return 0.0
        return (next_day(self._cap, now) - now).total_seconds()

    def _exceeds(self, lane: Lane, cost: Amounts) -> bool:
        share = 1.0 if lane is Lane.URGENT else 1.0 - self._cap.reserve
        spent = {unit: self._booked[unit] - self._held[unit] for unit in self._limits}
        return any(spent[unit] + cost[unit] > limit * share for unit, limit in self._limits.items())

    def charge(self, cost: Amounts) -> None:
        """A message of this size goes now."""
        for unit in self._limits:
            self._held[unit] -= cost[unit]

    def refund(self, cost: Amounts) -> None:
        """It did not go after all."""
        for unit in self._limits:
            self._held[unit] += cost[unit]

    @property
    def left(self) -> Mapping[str, int]:
        """What may still be sent today, by unit, as far as this router knows."""
        return {unit: limit - self._booked[unit] + self._held[unit] for unit, limit in self._limits.items()}

    async def top_up(self) -> bool:
        """Book another block where the last one is half used, or a new day's first. True: something was booked."""
        day = today(self._cap, self._clock())
        if day == self._day and not self._needed():
            return False
        granted: dict[str, int] = {}

        def book(stored: bytes | None) -> bytes:
            spent = Spent.load(stored)
            booked = spent.booked if spent.day == day else dict.fromkeys(self._limits, 0)
            for unit, limit in self._limits.items():
                granted[unit] = max(0, min(self._block[unit], limit - booked.get(unit, 0)))
            return Spent(day, {unit: booked.get(unit, 0) + granted[unit] for unit in self._limits}).dump()

        written = await self._bucket.change(f"{KEY}.{self._sender}", book, ttl=_KEPT)
        if day != self._day:
            self._day, self._held = day, dict.fromkeys(self._limits, 0)
        self._booked = {unit: Spent.load(written.value).booked[unit] for unit in self._limits}
        for unit, more in granted.items():
            self._held[unit] += more
        self._say()
        return any(granted.values())

    async def give_back(self) -> None:
        """What was booked and not spent, when the sender is given up."""
        held, day = {unit: max(0, left) for unit, left in self._held.items()}, self._day
        if not any(held.values()):
            return

        def unbook(stored: bytes | None) -> bytes:
            spent = Spent.load(stored)
            if spent.day != day:
                return spent.dump()
            return Spent(day, {unit: spent.booked.get(unit, 0) - held[unit] for unit in self._limits}).dump()

        self._held = dict.fromkeys(self._limits, 0)
        await self._bucket.change(f"{KEY}.{self._sender}", unbook, ttl=_KEPT)

    def _needed(self) -> bool:
        return any(
            self._held[unit] < max(self._block[unit] / 2 + 1, _LARGEST[unit]) and self._booked[unit] < limit
            for unit, limit in self._limits.items()
        )

    def _say(self) -> None:
        used_up = [unit for unit, limit in self._limits.items() if self._booked[unit] >= limit]
        if used_up and self._told != self._day:
            self._told = self._day
            until = next_day(self._cap, self._clock())
            log.warning("sender.cap_reached", sender=self._sender, unit=used_up[0], until=until.isoformat())


def limits_of(cap: DailyCap) -> dict[str, int]:
    """By unit."""
    limits = {"messages": cap.messages, "segments": cap.segments}
    return {unit: limit for unit, limit in limits.items() if limit is not None}


def today(cap: DailyCap, now: datetime) -> str:
    """The day of the cap's time zone."""
    return now.astimezone(ZoneInfo(cap.timezone)).date().isoformat()


def next_day(cap: DailyCap, now: datetime) -> datetime:
    """When the next day begins there."""
    zone = ZoneInfo(cap.timezone)
    return datetime.combine(now.astimezone(zone).date() + timedelta(days=1), time(), zone)
