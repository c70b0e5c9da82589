"""Which of very many things have ended by now, found out a few at a time.

Looking at all of a million sessions once a minute would hold the event loop for seconds. So each is looked at once
after it came, to put it down under the minute in which it ends, and once after that minute. What was renewed meanwhile
is put down again then, so that what is renewed a thousand times a day stands here once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime


class Expiry:
    """Keys by the minute in which what they stand for ends."""

    LOOKS = 1_000  #: of each kind that one call may take: some milliseconds, and sixty thousand in a minute

    def __init__(self, end: Callable[[str], datetime | None]) -> None:
        self._end = end  #: of what this key stands for now; None: it is gone
        self._came: deque[str] = deque()  #: not put down yet
        self._by_minute: dict[int, list[str]] = {}
        self._due: deque[str] = deque()  #: their minute has passed
        self._minute = 0  #: the one that was looked at last

    def came(self, key: str) -> None:
        """It is new, or ends earlier than it did. Of what ends later nothing has to be said."""
        self._came.append(key)

    def ended(self, now: datetime) -> Iterator[str]:
        """Some of what has ended; called again and again, all of it."""
        self._put_down()
        self._turn_to(int(now.timestamp() // 60))
        for _ in range(min(self.LOOKS, len(self._due))):
            key = self._due.popleft()
            end = self._end(key)
            if end is None:
                continue
            if end <= now:
                yield key
            else:
                self._put_under(end, key)

    def _put_down(self) -> None:
        for _ in range(min(self.LOOKS, len(self._came))):
            key = self._came.popleft()
            if end := self._end(key):
                self._put_under(end, key)

    def _put_under(self, end: datetime, key: str) -> None:
        self._by_minute.setdefault(int(end.timestamp() // 60), []).append(key)

    def _turn_to(self, minute: int) -> None:
        if minute == self._minute:
            return
        self._minute = minute
        for past in [each for each in self._by_minute if each < minute]:
            self._due.extend(dict.fromkeys(self._by_minute.pop(past)))
