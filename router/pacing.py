"""How fast one sender may go, and which lane goes first: pure, with the time as an argument."""

from __future__ import annotations

from collections.abc import Mapping

from channels.model import Lane

#: Seconds of its rate that a sender may catch up on after an idle or busy moment; small, so that no 5-second window
#: holds more than 5 % above the rate.
_BURST = 0.1


class Pacer:
    """A bucket of segments that may go into debt: a long text is sent at once and paid for afterwards."""

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._burst = max(1.0, rate * _BURST)
        # A new owner starts empty: it does not know what the one before it has just sent.
        self._level = 0.0
        self._at = now
        self._paused_until = 0.0

    def wait(self, now: float) -> float:
        """Seconds until the next message may go; 0 when it may go now."""
        self._refill(now)
        debt = max(0.0, -self._level) / self._rate
        return max(debt, self._paused_until - now, 0.0)

    def charge(self, segments: float, now: float) -> None:
        """So many segments go now."""
        self._refill(now)
        self._level -= segments

    def pause(self, until: float) -> None:
        """The provider asked for silence."""
        self._paused_until = max(self._paused_until, until)

    def _refill(self, now: float) -> None:
        self._level = min(self._burst, self._level + (now - self._at) * self._rate)
        self._at = now


class LaneChooser:
    """Urgent before normal before bulk; a lane that is passed over keeps a small share of what passes it."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._credit = dict.fromkeys(Lane, 0.0)

    def choose(self, waiting: Mapping[Lane, int]) -> Lane | None:
        """The lane to serve next; None when all are empty."""
        ready = [lane for lane in Lane if waiting[lane]]
        if not ready:
            return None
        chosen = next((lane for lane in reversed(ready) if self._credit[lane] >= 1.0), ready[0])
        if self._credit[chosen] >= 1.0:
            self._credit[chosen] -= 1.0
            return chosen
        for passed in ready[1:]:
            self._credit[passed] += self._share
        return chosen
