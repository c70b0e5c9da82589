"""Notifications as they were published, found again by the place that their story remembers."""

from __future__ import annotations

from dataclasses import dataclass

from router import subjects
from router.jetstream import JetStream
from router.outbox import OutboxItem, traceparent_in
from router.story import Story


class GoneError(Exception):
    """The notification is older than its stream keeps it."""


@dataclass(frozen=True, slots=True)
class Archive:
    """Reads NOTIFICATIONS by sequence."""

    js: JetStream

    async def item(self, story: Story, step: int, attempt: int) -> OutboxItem:
        """The next attempt of a story. Raises `GoneError` when its notification has aged out."""
        stored = await self.js.at(subjects.NOTIFICATIONS, story.snapshot.notification_sequence)
        if stored is None:
            raise GoneError(f"notification {story.source}/{story.notification_id} is no longer in its stream")
        return OutboxItem(
            source=story.source,
            notification_id=story.notification_id,
            lane=subjects.read_notification(stored.subject).lane,
            body=stored.body,
            snapshot=story.snapshot,
            revision=story.sequence,
            step=step,
            attempt=attempt,
            traceparent=traceparent_in(stored.headers),
        )
