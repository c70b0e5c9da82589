"""What waits to be sent: the notification as it was published, and in headers which step and attempt comes next.

The body is never rewritten: what was published is what is rendered, whichever process picks it up. The same form
waits in a schedule when the attempt is to be made later.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

from nats.aio.msg import Msg

from channels.status import ENDED_BADLY
from channels.values import value
from policies.model import Step
from router import subjects
from router.jetstream import MESSAGE_ID, JetStream
from router.story import SNAPSHOT, About, Snapshot, Story
from router.wire import Notification, parse_notification

_REVISION, _STEP = "Pointsman-Revision", "Pointsman-Step"
ATTEMPT = "Pointsman-Attempt"
_LANE = "Pointsman-Lane"
TRACEPARENT = "traceparent"
#: W3C trace context; a later version may have more behind the flags, and a whole line of it goes on every event.
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]{1,64})?")


def traceparent_in(headers: Mapping[str, str]) -> str | None:
    """The publisher's trace; whatever else stands there is left behind."""
    given = headers.get(TRACEPARENT)
    return given if given is not None and _TRACEPARENT.fullmatch(given) else None


@value(frozen=True)
class OutboxItem:
    """One attempt to be made."""

    source: str
    notification_id: str
    lane: str
    body: bytes  #: the notification, as published
    snapshot: Snapshot  #: of the story when this was put here
    revision: int  #: sequence of the event that the claim must follow
    step: int  #: index into the plan
    attempt: int  #: from 1
    traceparent: str | None = None

    def knowing(self, notification: Notification, about: About) -> OutboxItem:
        """The same, by whoever has read its body already."""
        self.__dict__.update(notification=notification, about=about)
        return self

    @cached_property
    def notification(self) -> Notification:
        """The notification; it was checked when it came in."""
        return parse_notification(self.body)

    @property
    def claimed(self) -> bool:
        """Whether it was begun already when it was put here: it is not to be made, its outcome is to be found out."""
        return self.snapshot.attempt(self.attempt) is not None

    @property
    def chosen(self) -> Step:
        """The step of the plan to try."""
        return self.snapshot.plan[self.step]

    @cached_property
    def about(self) -> About:
        """What events repeat of the notification."""
        return about(self.source, self.lane, self.notification, self.traceparent)

    def on(self, story: Story) -> OutboxItem:
        """The same attempt, to be claimed after a newer event."""
        return replace(self, snapshot=story.snapshot, revision=story.sequence)

    def is_next_of(self, story: Story) -> bool:
        """Whether this attempt is the one that the story waits for, on the way that it was decided for."""
        snapshot, latest = story.snapshot, story.snapshot.latest
        if snapshot.closed or snapshot.last_number != self.attempt - 1 or self.step >= len(snapshot.plan):
            return False
        if snapshot.plan[self.step].sender != self.chosen.sender:
            return False  # decided again, for another one
        return latest is None or latest.status in ENDED_BADLY

    def headers(self) -> dict[str, str]:
        """Everything but the body, for the wire."""
        row = {
            SNAPSHOT: self.snapshot.dump(),
            _REVISION: str(self.revision),
            _STEP: str(self.step),
            ATTEMPT: str(self.attempt),
            _LANE: self.lane,
        }
        return {**row, TRACEPARENT: self.traceparent} if self.traceparent else row


def about(source: str, lane: str, notification: Notification, traceparent: str | None) -> About:
    """What events repeat of a notification."""
    return About(
        source=source,
        notification_id=notification.id,
        lane=lane,
        category=notification.category,
        recipient=notification.recipient().address,
        metadata=notification.metadata,
        traceparent=traceparent,
    )


def read_item(source: str, notification_id: str, headers: Mapping[str, str], body: bytes) -> OutboxItem:
    """From the wire."""
    return OutboxItem(
        source=source,
        notification_id=notification_id,
        lane=headers[_LANE],
        body=body,
        snapshot=Snapshot.load(headers[SNAPSHOT]),
        revision=int(headers[_REVISION]),
        step=int(headers[_STEP]),
        attempt=int(headers[ATTEMPT]),
        traceparent=headers.get(TRACEPARENT),
    )


def item_of(msg: Msg) -> OutboxItem:
    """From a message of the stream OUTBOX: `outbox.<sender>.<lane>.<source>.<id>`."""
    _, _, _, source, notification_id = msg.subject.split(".")
    return read_item(source, notification_id, msg.headers or {}, msg.data)


class Outbox:
    """The stream OUTBOX."""

    def __init__(self, js: JetStream) -> None:
        self._js = js

    async def put(self, item: OutboxItem) -> None:
        """Let the chosen sender make this attempt. Putting it twice is harmless: only one of two claims succeeds."""
        subject = subjects.outbox(item.chosen.sender, item.lane, item.source, item.notification_id)
        mark = f"{item.source}.{item.notification_id}.{item.attempt}.{item.revision}"
        await self._js.publish(subject, item.body, {**item.headers(), MESSAGE_ID: mark})
