"""What happens later: JetStream schedules, which survive restarts and need no process of their own.

A schedule waits on `timers.<kind>.<source>.<id>` and fires on `wake.<kind>.<source>.<id>`. There is one per subject, so
scheduling again replaces it and purging the subject cancels it.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from router import subjects
from router.clock import rfc3339
from router.jetstream import JetStream


class Kind(StrEnum):
    """What a timer is for."""

    DEFER = "defer"  #: the policy is asked again
    RETRY = "retry"  #: the attempt goes into the outbox
    RECONCILE = "reconcile"  #: an unknown outcome is looked into
    STUCK = "stuck"  #: the provider is asked once more what became of an accepted message
    SILENCE = "silence"  #: whether anything was heard of an accepted message


class Timers:
    """The stream TIMERS."""

    def __init__(self, js: JetStream) -> None:
        self._js = js

    async def schedule(
        self, kind: Kind, source: str, notification_id: str, at: datetime, body: bytes, headers: dict[str, str]
    ) -> None:
        """Wake at this time with this body; replaces a timer of the same kind and notification."""
        schedule = {
            "Nats-Schedule": f"@at {rfc3339(at)}",
            "Nats-Schedule-Target": subjects.wake(kind, source, notification_id),
        }
        await self._js.publish(subjects.timer(kind, source, notification_id), body, {**headers, **schedule})

    async def cancel(self, kind: Kind, source: str, notification_id: str) -> None:
        """Take a timer back; one that has fired or never was is no error."""
        filter_subject = subjects.timer(kind, source, notification_id)
        await self._js.api(f"STREAM.PURGE.{subjects.TIMERS}", {"filter": filter_subject})
