"""Saying something that anybody outside can provoke: once in a while, with how often it happened meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable

_PAUSE = 10.0  #: seconds between two lines about the same thing
_KINDS = 1_000  #: different things remembered; what is told apart should be of our own choosing


class Seldom:
    """Decides whether a line is due, so that ten thousand forged requests do not make ten thousand lines."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next: dict[Hashable, float] = {}
        self._kept_back: dict[Hashable, int] = {}

    def due(self, what: Hashable) -> int | None:
        """How often it was kept back since the last line; None: keep this one back too."""
        now = self._clock()
        if now < self._next.get(what, now):
            self._kept_back[what] = self._kept_back.get(what, 0) + 1
            return None
        if len(self._next) >= _KINDS:
            self._next.clear()
            self._kept_back.clear()
        self._next[what] = now + _PAUSE
        return self._kept_back.pop(what, 0)
