"""The delivery log as ledger: what stands in it is true, and each notification's events follow each other one by one.

An append names the event it follows. Whoever comes second is told so (`Conflict`), reads what stands there and decides
again. That is the only fence in the system: an acknowledgement is none, and neither is a lease.

A publish that is not answered may have been stored all the same. So every append carries a mark of its own, and after a
time-out the log is asked: our mark there means that it was ours.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from datetime import datetime

from router import subjects
from router.clock import Clock, parse_time
from router.events import OWNER, Happening, body_of, event_id, headers_of, subject_of
from router.jetstream import JetStream, Stored, StoreUnavailableError, WrongSequenceError
from router.story import SNAPSHOT, About, Snapshot, Story

#: Pauses in seconds between tries while the store does not answer; then the caller decides what to do.
_PATIENCE = (0.05, 0.2, 0.5, 1.0)


#: Told of every event that was appended: whoever counts them.
Appended = Callable[[About, Happening, Snapshot], None]


class ConflictError(Exception):
    """The story has moved on; it is read again and decided again."""


class Ledger:
    """Appends to and reads from the stream DELIVERIES."""

    def __init__(self, js: JetStream, clock: Clock, instance: str, appended: Appended | None = None) -> None:
        self._js = js
        self._clock = clock
        self.instance = instance  #: names this process, different at each start
        self._appended = appended
        self._marks = itertools.count(1)

    async def read(self, source: str, notification_id: str) -> Story:
        """Where this notification stands: one round trip."""
        newest = await self._js.last(subjects.DELIVERIES, subjects.story(source, notification_id))
        if newest is None:
            return Story(source, notification_id)
        return story_at(newest, source, notification_id)

    async def stored_at(self, status: str, source: str, notification_id: str, attempt: int) -> datetime | None:
        """When the newest event of this status was stored, by the server's clock; None if it is another attempt's."""
        newest = await self.newest(status, source, notification_id)
        if newest is None or json.loads(newest.body)["attempt"] != attempt:
            return None
        return parse_time(newest.time)

    async def newest(self, status: str, source: str, notification_id: str) -> Stored | None:
        """The newest event of this status."""
        return await self._js.last(subjects.DELIVERIES, subjects.delivery(source, status, "*", notification_id))

    async def append(self, about: About, happening: Happening, snapshot: Snapshot, *, after: int) -> Story:
        """Append one event that follows the one at sequence `after` (0: it is the first).

        Raises `ConflictError` when another event came in between, and `StoreUnavailableError` when nobody can say
        whether it was stored.
        """
        mark = f"{self.instance}.{next(self._marks)}"
        identity = event_id(about, happening, snapshot.events)
        now = self._clock()
        body = body_of(about, happening, identity, now)
        headers = headers_of(about, happening, identity, snapshot, mark)
        subject, expect_on = subject_of(about, happening), subjects.story(about.source, about.notification_id)
        doubt = False
        for pause in (*_PATIENCE, None):
            try:
                sequence = await self._js.publish(subject, body, headers, expect=after, expect_on=expect_on)
                if self._appended:
                    self._appended(about, happening, snapshot)
                return Story(
                    about.source, about.notification_id, sequence, snapshot, mark, now, about, happening.status
                )
            except WrongSequenceError:
                return await self._conflict(about, mark, doubt=doubt)
            except StoreUnavailableError:
                if pause is None:
                    raise
                doubt = True
                await asyncio.sleep(pause)
        raise AssertionError("unreachable: the last pause raises")

    async def _conflict(self, about: About, mark: str, *, doubt: bool) -> Story:
        """Somebody was first; after an unanswered publish that somebody may have been ourselves."""
        if doubt:
            story = await self.read(about.source, about.notification_id)
            if story.owner == mark:
                return story
        raise ConflictError


def story_at(stored: Stored, source: str, notification_id: str) -> Story:
    """The story up to this event."""
    event = json.loads(stored.body)
    repeats = About(
        source=source,
        notification_id=notification_id,
        lane=event["lane"],
        category=event["category"],
        recipient=event["recipient"],
        metadata=event["metadata"],
        traceparent=stored.headers.get("traceparent"),
    )
    return Story(
        source=source,
        notification_id=notification_id,
        sequence=stored.sequence,
        snapshot=Snapshot.load(stored.headers[SNAPSHOT]),
        owner=stored.headers.get(OWNER, ""),
        at=parse_time(stored.time),
        about=repeats,
        status=event["status"],
    )
