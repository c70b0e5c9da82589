"""Stuck attempts: accepted long ago and no final word since, because a callback was lost or none exists.

Every acceptance is looked at once more after `tracking.stuck_after`. Where the story has not ended, the provider is
asked, and what it says is recorded as if it had called back; so lost callbacks cost time and nothing else. A carrier
without receipts leaves a message at `sent` for ever: after `tracking.receipt_wait` that is its final word.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

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
from router.providers import OpenChannels
from router.settings import TrackingSettings
from router.story import Attempt, Story
from router.tracking import Tracking
from router.workers import LaterError

log = structlog.get_logger(__name__)

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
    dead_letters: DeadLetters
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def on_accepted(self, msg: Msg) -> None:
        """An `accepted` event of the log; put off until it is old enough to be worth a question."""
        event = json.loads(msg.data)
        age = self._seconds_since(datetime.fromisoformat(event["recorded_at"]))
        await self._until_old_enough(self.settings.stuck_after - age)
        story = await self.ledger.read(event["source"], event["notification_id"])
        attempt = story.snapshot.attempt(event["attempt"])
        if attempt is None or attempt.provider_message_id is None:
            return
        if attempt.status in TERMINAL and not attempt.given_up:
            return
        if story.snapshot.closed and attempt.status is DeliveryStatus.SENT:
            return  # its carrier has no receipts, and that was said
        await self._ask(story, attempt, msg)

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

    async def _ask(self, story: Story, attempt: Attempt, msg: Msg) -> None:
        fetcher: object = self.channels.of(story.snapshot.plan[attempt.step])
        if not isinstance(fetcher, Fetcher):
            return
        assert attempt.provider_message_id is not None
        try:
            report = await fetcher.fetch(ProviderMessageId(attempt.provider_message_id))
        except SendError as exc:
            log.warning("stuck.cannot_ask", **_keys(story, attempt), why=exc.message)
            if exc.retryable:
                raise LaterError("the provider could not be asked", _ASK_AGAIN) from exc
            await self._bury(story, msg, exc)
            return
        age = self._seconds_since(datetime.fromtimestamp(attempt.begun, UTC))
        await self.tracking.record(replace(report, ref=self._ref(story, attempt)))
        if report.status in TERMINAL:
            log.info("stuck.resolved", **_keys(story, attempt), status=report.status)
        elif report.status is DeliveryStatus.SENT and age >= self.settings.receipt_wait:
            await self._no_receipt(story, attempt, report)
        else:
            raise LaterError("still under way at the provider", max(1.0, self.settings.stuck_after))

    async def _bury(self, story: Story, msg: Msg, error: SendError) -> None:
        """The provider will not say: a person may find out."""
        await self.dead_letters.keep(
            "stuck",
            story.source,
            sequence=msg.metadata.sequence.stream,
            subject=msg.subject,
            body=msg.data,
            headers=msg.headers or {},
            reason=error.reason,
            message=f"accepted, no final status since, and the provider does not tell: {error.message}",
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


def _keys(story: Story, attempt: Attempt) -> dict[str, object]:
    return {"source": story.source, "notification_id": story.notification_id, "attempt": attempt.number}
