"""Stuck attempts: accepted long ago and no final word since, because a callback was lost or none exists.

Every acceptance is looked at once more after `tracking.stuck_after`. Where the story has not ended, the provider is
asked, and what it says is recorded as if it had called back; so lost callbacks cost time and nothing else. What is
under way even then, or cannot be asked about, is looked at again by a schedule (`router.timers`). A carrier without
receipts leaves a message at `sent` for ever: after `tracking.receipt_wait` that is its final word.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import structlog
from nats.aio.msg import Msg

from channels.errors import SendError
from channels.model import AttemptRef, NotificationId, ProviderMessageId, StatusReport
from channels.port import Fetcher
from channels.reasons import Reason
from channels.status import TERMINAL, DeliveryStatus
from router.clock import Clock
from router.deadletters import DeadLetters
from router.events import Happening
from router.hashing import Hasher
from router.ledger import ConflictError, Ledger
from router.outbox import ATTEMPT
from router.providers import OpenChannels
from router.settings import TrackingSettings
from router.story import Attempt, Story
from router.timers import Kind, Timers
from router.tracking import Tracking
from router.workers import LaterError

log = structlog.get_logger(__name__)

STAGE = "stuck"  #: of its dead letters
_ASK_AGAIN = 60.0  #: seconds, when the provider could not be asked


@dataclass(frozen=True, slots=True)
class Stuck:
    """Asks the provider about what it has not spoken of."""

    ledger: Ledger
    tracking: Tracking
    channels: OpenChannels
    hasher: Hasher
    settings: TrackingSettings
    clock: Clock
    timers: Timers
    dead_letters: DeadLetters
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def on_accepted(self, msg: Msg) -> None:
        """An `accepted` event of the log; put off until it is old enough to be worth a question."""
        event = json.loads(msg.data)
        age = self._seconds_since(datetime.fromisoformat(event["recorded_at"]))
        await self._until_old_enough(self.settings.stuck_after - age)
        story = await self.ledger.read(event["source"], event["notification_id"])
        attempt = story.snapshot.attempt(event["attempt"])
        if attempt is not None and _is_open(story, attempt):
            await self._look(story, [attempt])

    async def on_wake(self, msg: Msg) -> None:
        """`wake.stuck.<source>.<id>`: a later look; one timer for each notification, whichever attempt it is."""
        _, _, source, notification_id = msg.subject.split(".")
        story = await self.ledger.read(source, notification_id)
        await self._look(story, [attempt for attempt in story.snapshot.attempts if self._is_due(story, attempt)])

    async def ask_again(self, source: str, notification_id: str, number: int) -> str:
        """A person wants to know once more; what came of it, in a sentence. Raises `SendError`."""
        story = await self.ledger.read(source, notification_id)
        attempt = story.snapshot.attempt(number)
        if attempt is None or not _is_open(story, attempt):
            return "nothing to do: its end is known by now"
        if await self._ask(story, attempt):
            return "asked: the provider says how it ended"
        await self._again(story, self._pause)
        return "asked: still under way at the provider, which is asked again"

    async def stop(self) -> None:
        """Wait for nothing more: what is too young is looked at by another router."""
        self.stopping.set()

    async def _until_old_enough(self, seconds: float) -> None:
        """Acceptances come in order, so while the oldest is too young, nothing behind it is due.

        Waiting here holds the few that are being looked at. Giving them back to come again later would hold as many as
        the consumer may have pending, and no lost callback behind those would ever be made up for.
        """
        if seconds <= 0:
            return
        try:
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
        except TimeoutError:
            return
        raise LaterError("the router stops", 0.0)

    async def _look(self, story: Story, attempts: Sequence[Attempt]) -> None:
        """Ask about each, and come back for those of which there is more to hear.

        By a schedule, not by giving the message back: the consumer may have so many pending, and none behind those
        would ever be looked at.
        """
        pauses = [pause for attempt in attempts if (pause := await self._ask_or_bury(story, attempt)) is not None]
        if pauses:
            await self._again(story, min(pauses))

    async def _again(self, story: Story, seconds: float) -> None:
        at = self.clock() + timedelta(seconds=seconds)
        await self.timers.schedule(Kind.STUCK, story.source, story.notification_id, at, b"", {})

    def _is_due(self, story: Story, attempt: Attempt) -> bool:
        """A younger one is looked at when its own acceptance is old enough."""
        age = self._seconds_since(datetime.fromtimestamp(attempt.begun, UTC))
        return _is_open(story, attempt) and age >= self.settings.stuck_after

    @property
    def _pause(self) -> float:
        return max(1.0, self.settings.stuck_after)

    async def _ask_or_bury(self, story: Story, attempt: Attempt) -> float | None:
        """Seconds until the next look; None: there is nothing more to hear."""
        try:
            return None if await self._ask(story, attempt) else self._pause
        except SendError as exc:
            log.warning("stuck.cannot_ask", **_keys(story, attempt), why=exc.message)
            if exc.retryable:
                return _ASK_AGAIN
            await self._bury(story, attempt, exc)
            return None

    async def _ask(self, story: Story, attempt: Attempt) -> bool:
        """Whether it has come to its end. Raises `SendError`."""
        fetcher: object = self.channels.of(story.snapshot.plan[attempt.step])
        if not isinstance(fetcher, Fetcher):
            return True
        assert attempt.provider_message_id is not None
        report = await fetcher.fetch(ProviderMessageId(attempt.provider_message_id))
        age = self._seconds_since(datetime.fromtimestamp(attempt.begun, UTC))
        await self.tracking.record(replace(report, ref=self._ref(story, attempt)))
        if report.status in TERMINAL:
            log.info("stuck.resolved", **_keys(story, attempt), status=report.status)
            return True
        if report.status is DeliveryStatus.SENT and age >= self.settings.receipt_wait:
            await self._no_receipt(story, attempt, report)
            return True
        return False

    async def _bury(self, story: Story, attempt: Attempt, error: SendError) -> None:
        """The provider will not say: a person may find out."""
        accepted = await self.ledger.newest("accepted", story.source, story.notification_id)
        if attempt.given_up or accepted is None:
            return  # the story has gone on without it, or is as old as the log
        await self.dead_letters.keep(
            STAGE,
            story.source,
            sequence=accepted.sequence,
            subject=accepted.subject,
            body=accepted.body,
            headers={**accepted.headers, ATTEMPT: str(attempt.number)},
            reason=error.reason,
            message=f"accepted, no final status since, and the provider does not tell: {error.message}; "
            "look there, then resolve it as sent or not sent",
            notification_id=story.notification_id,
        )

    async def _no_receipt(self, story: Story, attempt: Attempt, report: StatusReport) -> None:
        """`sent` is the last word: say so once, and close the story."""
        while True:
            story = await self.ledger.read(story.source, story.notification_id)
            current = story.snapshot.attempt(attempt.number)
            if current is None or current.status is not DeliveryStatus.SENT or story.snapshot.closed:
                return
            step = story.snapshot.plan[current.step]
            happening = Happening(
                DeliveryStatus.SENT.value,
                self.clock(),
                final=True,
                channel=step.channel,
                form=step.form.value,
                attempt=current.number,
                sender=step.sender,
                provider=report.provider,
                provider_message_id=current.provider_message_id,
                provider_status=report.provider_status,
                reason=Reason.NO_RECEIPT,
            )
            assert story.about is not None
            snapshot = replace(story.snapshot, closed=True, events=story.snapshot.events + 1)
            try:
                await self.ledger.append(story.about, happening, snapshot, after=story.sequence)
            except ConflictError:
                continue
            return

    def _ref(self, story: Story, attempt: Attempt) -> AttemptRef:
        token = self.hasher.token(story.source, story.notification_id, attempt.number)
        return AttemptRef(story.source, NotificationId(story.notification_id), attempt.number, token)

    def _seconds_since(self, moment: datetime) -> float:
        return (self.clock() - moment).total_seconds()


def _is_open(story: Story, attempt: Attempt) -> bool:
    """Whether the provider may have more to say of it."""
    if attempt.provider_message_id is None or (attempt.status in TERMINAL and not attempt.given_up):
        return False
    # One that is closed as sent has a carrier without receipts, and that was said.
    return not (story.snapshot.closed and attempt.status is DeliveryStatus.SENT)


def _keys(story: Story, attempt: Attempt) -> dict[str, object]:
    return {"source": story.source, "notification_id": story.notification_id, "attempt": attempt.number}
