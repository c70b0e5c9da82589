"""What was seen a while ago: enough to look up what is likely to be there, and nothing more."""

from __future__ import annotations

from collections.abc import Hashable


class Lately:
    """The last so many keys, or half of them at least: a hint, never an answer.

    Two generations, of which the older one is dropped whole: one table that lets go of its oldest key with each new
    one is built anew every hundred thousand keys, and the process keeps the room that two of them took for a moment.
    """

    def __init__(self, size: int) -> None:
        self._generation = max(1, size // 2)
        #: Hashes: a tenth of the room, and two keys that share one cost a look-up.
        self._now: set[int] = set()
        self._before: set[int] = set()

    def seen(self, key: Hashable) -> bool:
        """Whether it came lately; from now on it did."""
        mark = hash(key)
        if mark in self._now:
            return True
        self._now.add(mark)
        known = mark in self._before
        if len(self._now) >= self._generation:
            self._before, self._now = self._now, set()
        return known
