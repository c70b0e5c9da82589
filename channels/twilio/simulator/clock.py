"""Time as the simulator sees it: the wall clock plus what was skipped, and an agenda of what happens when.

Whatever comes next in a message's life is an entry of the agenda. Entries run in the order of their time and are told
that time, so that skipping an hour plays the hour in order: an entry made on the way runs too if its time has come.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from itertools import count


class Clock:
    """Seconds since the epoch, which can be moved forward."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._ahead = 0.0

    def now(self) -> float:
        """Seconds since the epoch, skipped time included."""
        return self._wall() + self._ahead

    def skip(self, seconds: float) -> None:
        """Let this much time pass at once."""
        self._ahead += seconds


class Agenda:
    """Actions by the time they are due; one timer of the event loop serves them all."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = count()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = float("inf")
        self._is_running = False

    def __len__(self) -> int:
        return len(self._entries)

    def at(self, due: float, action: Callable[[float], None]) -> None:
        """Call `action(due)` when that time has come; entries of one time run in the order they were made."""
        heapq.heappush(self._entries, (due, next(self._order), action))
        if due < self._timer_due:
            self._set_timer(due)

    def run_due(self) -> None:
        """Do everything whose time has come."""
        self._unset_timer()
        try:
            while self._entries and self._entries[0][0] <= self._clock.now():
                due, _, action = heapq.heappop(self._entries)
                action(due)
        finally:
            if self._entries:
                self._set_timer(self._entries[0][0])

    def start(self) -> None:
        """Keep to the times from now on, in the running loop; what is overdue happens at once."""
        self._is_running = True
        self.run_due()

    def stop(self) -> None:
        """Do nothing more until started again; the entries stay."""
        self._is_running = False
        self._unset_timer()

    def _set_timer(self, due: float) -> None:
        self._unset_timer()
        if not self._is_running:
            return
        self._timer_due = due
        self._timer = asyncio.get_running_loop().call_later(max(0.0, due - self._clock.now()), self.run_due)

    def _unset_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._timer_due = float("inf")


def rfc2822(moment: float) -> str:
    """A time as the Messages resource writes it: `Mon, 23 Nov 2026 22:14:48 +0000`."""
    return _rfc2822(int(moment))


@lru_cache(maxsize=1024)
def _rfc2822(second: int) -> str:
    return format_datetime(datetime.fromtimestamp(second, UTC))


def iso8601(moment: float) -> str:
    """A time as the Content API writes it: `2026-11-23T22:14:48Z`."""
    return datetime.fromtimestamp(int(moment), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
