"""Follow-up: carries out what the log decided after an attempt failed, and ends stories that have no attempt left.

Driven by the log's own events, so that a process that dies leaves nothing undone: the event comes again, the story is
read, and only what is still missing is done.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import structlog
from nats.aio.msg import Msg

from channels.model import ProviderError
from channels.reasons import Reason
from channels.status import ENDED_BADLY, DeliveryStatus
from router.archive import Archive, GoneError
from router.clock import Clock
from router.crashpoints import CrashPoint, reached
from router.events import Happening
from router.ledger import ConflictError, Ledger
from router.moves import GiveUpMove, RetryMove, StepMove, read_move
from router.outbox import Outbox
from router.reconcile import Reconcile
from router.silence import Silence
from router.story import Attempt, Story
from router.timers import Kind, Timers

log = structlog.get_logger(__name__)


class UndecidedError(Exception):
    """An attempt failed, and the log does not say what follows."""


@dataclass(frozen=True, slots=True)
class FollowUp:
    """From a failed attempt to the next one, or to the end."""

    ledger: Ledger
    archive: Archive
    outbox: Outbox
    timers: Timers
    reconcile: Reconcile
    silence: Silence
    clock: Clock

    async def on_message(self, msg: Msg) -> None:
        """A message of the stream DELIVERIES."""
        await self.on_event(msg.data)

    async def on_event(self, body: bytes) -> None:
        """One event of the log that says how an attempt ended. Done when it returns."""
        reached(CrashPoint.FOLLOW_UP_TAKEN)
        event = json.loads(body)
        while True:
            story = await self.ledger.read(event["source"], event["notification_id"])
            attempt = story.snapshot.latest
            if attempt is None or attempt.number != event["attempt"] or story.snapshot.closed:
                return  # the story has gone on without us
            try:
                await self._go_on(story, attempt, event)
            except ConflictError:
                continue
            reached(CrashPoint.FOLLOW_UP_DONE)
            return

    async def _go_on(self, story: Story, attempt: Attempt, event: Mapping[str, Any]) -> None:
        if attempt.status is DeliveryStatus.UNKNOWN:
            await self.reconcile.begin(story, attempt)
            return
        if attempt.status not in ENDED_BADLY:
            return
        try:
            await self._carry_out(story, attempt, event)
        except GoneError:
            # What would be sent is there no more: a story that cannot go on ends.
            await self._end(story, event, Reason.AGED_OUT)
        log.info("follow_up.done", source=story.source, notification_id=story.notification_id, next=attempt.next)

    async def _carry_out(self, story: Story, attempt: Attempt, event: Mapping[str, Any]) -> None:
        match read_move(attempt.next):
            case RetryMove(at):
                item = await self.archive.item(story, attempt.step, attempt.number + 1)
                headers = item.headers()
                await self.timers.schedule(Kind.RETRY, item.source, item.notification_id, at, item.body, headers)
            case StepMove(step):
                if attempt.given_up:
                    await self.silence.take_back(story, attempt)
                    reached(CrashPoint.FOLLOW_UP_TOOK_BACK)
                await self.outbox.put(await self.archive.item(story, step, attempt.number + 1))
            case GiveUpMove(reason):
                await self._end(story, event, reason)
            case None:
                # Whoever records a failure decides what follows in the same event; ending here would end it unsaid.
                raise UndecidedError(f"attempt {attempt.number} is {attempt.status}, and nothing was decided after it")

    async def _end(self, story: Story, event: Mapping[str, Any], reason: Reason) -> None:
        """Every step of the plan failed: the last failure says why."""
        assert story.about is not None
        happening = Happening(
            "expired" if reason is Reason.EXPIRED else "exhausted",
            self.clock(),
            final=True,
            channel=event["channel"],
            form=event["form"],
            attempt=event["attempt"],
            sender=event["sender"],
            provider=event["provider"],
            provider_message_id=event["provider_message_id"],
            provider_status=event["provider_status"],
            reason=reason,
            error=_error_of(event),
        )
        snapshot = replace(story.snapshot, closed=True, events=story.snapshot.events + 1)
        await self.ledger.append(story.about, happening, snapshot, after=story.sequence)


def _error_of(event: Mapping[str, Any]) -> ProviderError | None:
    error = event["error"]
    return ProviderError(error["class"], error["code"], error["message"]) if error else None
