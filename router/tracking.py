"""Tracking: what the provider reports becomes delivery events, in an order that never goes backwards.

A callback may come late, twice, before the provider's own answer has been recorded, or for an attempt whose outcome
nobody knew: then its reference, carried by the callback URL, reveals the provider's id and the attempt is accepted.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum

import structlog

from channels.address import parse_recipient
from channels.errors import BY_CLASS, RecipientOptedOutError, ServiceWindowClosedError
from channels.model import AttemptRef, NotificationId, StatusReport
from channels.reasons import Reason
from channels.status import ARRIVED, ENDED_BADLY, TERMINAL, DeliveryStatus, advances
from router.clock import Clock
from router.consent import ConsentKeeper
from router.crashpoints import CrashPoint, reached
from router.events import Happening
from router.hashing import Hasher
from router.ledger import ConflictError, Ledger
from router.metrics import CALLBACKS
from router.moves import Mover
from router.owners import Owner, Owners
from router.reach import Reach
from router.recipients import Sessions
from router.resting import Rests
from router.silence import Silence
from router.story import Attempt, Story

log = structlog.get_logger(__name__)

_BEFORE_ACCEPTED = frozenset({DeliveryStatus.SENDING, DeliveryStatus.UNKNOWN})
#: Seconds after its claim in which a callback that comes before the answer has merely overtaken it.
_OVERTAKES = 5.0


class Outcome(Enum):
    """What became of a report."""

    RECORDED = "recorded"  #: news: appended to the log
    REPEATED = "repeated"  #: known already, or late: appended nowhere
    STRANGE = "strange"  #: no attempt of ours, or a word we do not know


@dataclass(frozen=True, slots=True)
class Tracking:
    """Appends reports to the log."""

    ledger: Ledger
    hasher: Hasher
    mover: Mover
    consent: ConsentKeeper
    reach: Reach
    sessions: Sessions
    silence: Silence
    rests: Rests
    owners: Owners
    clock: Clock

    async def record(self, report: StatusReport) -> Outcome:
        """Append what is news. Raises `StoreUnavailableError` when it was not stored: let the provider repeat it."""
        reached(CrashPoint.TRACKING_READ)
        outcome = await self._record(report)
        reached(CrashPoint.TRACKING_APPENDED)
        CALLBACKS.inc(outcome.value)
        ref = report.ref
        log.info(
            "callback." + outcome.value,
            provider_message_id=report.provider_message_id,
            provider_status=report.provider_status,
            status=report.status,
            code=report.error.code if report.error else None,
            **({"source": ref.source, "notification_id": ref.notification_id, "attempt": ref.attempt} if ref else {}),
        )
        return outcome

    async def _record(self, report: StatusReport) -> Outcome:
        ref, status = report.ref, report.status
        if ref is None or status is None or not self._is_ours(report):
            return Outcome.STRANGE
        while True:
            story = await self.ledger.read(ref.source, ref.notification_id)
            attempt = story.snapshot.attempt(ref.attempt)
            if attempt is None or not _same_message(attempt, report):
                return Outcome.STRANGE
            if not _is_news(attempt, status):
                return Outcome.REPEATED
            if self._was_unknown(attempt) and (other := await self._counted_for(attempt, report)):
                return await self._record(replace(report, ref=other))
            await self._heed_opt_out(story, attempt, report)
            await self._heed_reach(story, attempt, report)
            await self._heed_window(story, attempt, report)
            await self.rests.reported(story.snapshot.plan[attempt.step].sender, report.error)
            try:
                await self._append(story, attempt, report, status)
            except ConflictError:
                continue
            return Outcome.RECORDED

    def _is_ours(self, report: StatusReport) -> bool:
        """The signature says that the provider sent it; the token, that it speaks of an attempt that we made."""
        assert report.ref is not None
        expected = self.hasher.token(report.ref.source, report.ref.notification_id, report.ref.attempt)
        return hmac.compare_digest(expected.encode(), report.ref.token.encode())

    def _was_unknown(self, attempt: Attempt) -> bool:
        """Whether a search may have given its message to another attempt meanwhile."""
        if attempt.status is DeliveryStatus.SENDING:
            return self.clock().timestamp() - attempt.begun > _OVERTAKES
        return attempt.status is DeliveryStatus.UNKNOWN or attempt.guessed

    async def _counted_for(self, attempt: Attempt, report: StatusReport) -> AttemptRef | None:
        """The other attempt that the message stays with.

        What was given up for not being found has had its `on_unknown` by now, so the message makes up for the other
        one, which looks just like it. Otherwise the other one was a guess, and is corrected.
        """
        assert report.ref is not None
        owner = Owner(report.ref.source, report.ref.notification_id, attempt.number)
        if not attempt.guessed:
            await self.owners.reveal(report.provider_message_id, owner)
            return None
        other = await self.owners.holder(report.provider_message_id, owner)
        return other and AttemptRef(
            other.source, NotificationId(other.notification_id), other.number, self.hasher.token(*other)
        )

    async def _heed_opt_out(self, story: Story, attempt: Attempt, report: StatusReport) -> None:
        if report.error is None or report.error.error_class != RecipientOptedOutError.error_class:
            return
        assert story.about is not None
        if story.about.recipient is not None:
            proof = f"the provider refused message {report.provider_message_id}"
            step = story.snapshot.plan[attempt.step]
            await self.consent.refused(parse_recipient(story.about.recipient), step, proof)

    async def _heed_reach(self, story: Story, attempt: Attempt, report: StatusReport) -> None:
        """Whether the recipient can be reached on the attempt's channel, where the report tells."""
        if story.about is None or story.about.recipient is None or report.status not in TERMINAL:
            return
        channel = story.snapshot.plan[attempt.step].channel
        if report.status in ARRIVED and self.reach.anything_known:
            await self.reach.forget(parse_recipient(story.about.recipient), channel)
        elif report.status in ENDED_BADLY:
            await self.reach.learn(parse_recipient(story.about.recipient), channel, report.error)

    async def _heed_window(self, story: Story, attempt: Attempt, report: StatusReport) -> None:
        """The session that the policy saw open had closed: the next decision knows."""
        if report.error is None or report.error.error_class != ServiceWindowClosedError.error_class:
            return
        assert story.about is not None
        if story.about.recipient is not None:
            begun = datetime.fromtimestamp(attempt.begun, UTC)
            sender = story.snapshot.plan[attempt.step].sender
            await self.sessions.closed(sender, parse_recipient(story.about.recipient), begun)

    async def _append(self, story: Story, attempt: Attempt, report: StatusReport, status: DeliveryStatus) -> None:
        if attempt.status in _BEFORE_ACCEPTED or attempt.guessed:
            story, attempt = await self._reveal(story, attempt, report)
            if not advances(attempt.status, status):
                return
        await self._add(story, attempt, report, status, None)

    async def _reveal(self, story: Story, attempt: Attempt, report: StatusReport) -> tuple[Story, Attempt]:
        """The provider speaks of it, so it was accepted: said before anything else, under the provider's id."""
        reason = Reason.RESOLVED_BY_CALLBACK if attempt.status is DeliveryStatus.UNKNOWN else None
        if attempt.status is not DeliveryStatus.SENDING:  # else the timer was set when it was claimed
            await self.silence.expect(story.source, story.notification_id, story.snapshot, attempt.step)
        revealed = await self._add(story, attempt, report, DeliveryStatus.ACCEPTED, reason)
        if attempt.status is DeliveryStatus.UNKNOWN:
            await self.owners.let_go(story, attempt)
        return revealed

    async def _add(
        self, story: Story, attempt: Attempt, report: StatusReport, status: DeliveryStatus, reason: Reason | None
    ) -> tuple[Story, Attempt]:
        move = ""
        if status in ENDED_BADLY and attempt == story.snapshot.latest and status is not DeliveryStatus.CANCELED:
            move = self.mover.after_report(report.error, status, story.snapshot, attempt.step)
        moved = attempt.moved(status, report.provider_message_id, move)
        happening = self._happening(story, moved, report, reason)
        if happening.late:
            await self.silence.arrives_late(story, attempt)
        snapshot = story.snapshot.with_attempt(moved)
        snapshot = replace(snapshot, closed=snapshot.closed or happening.final)
        assert story.about is not None
        return await self.ledger.append(story.about, happening, snapshot, after=story.sequence), moved

    def _happening(self, story: Story, attempt: Attempt, report: StatusReport, reason: Reason | None) -> Happening:
        step = story.snapshot.plan[attempt.step]
        if reason is None and attempt.status in ENDED_BADLY:
            reason = _reason_of(report, attempt.status)
        accepted = attempt.status is DeliveryStatus.ACCEPTED
        late = attempt.status in ARRIVED and _was_given_up(story, attempt)
        return Happening(
            attempt.status.value,
            self._moment(story, report),
            final=_ends(attempt.status, closed=story.snapshot.closed, late=late),
            late=late,
            channel=step.channel,
            form=step.form.value,
            attempt=attempt.number,
            sender=step.sender,
            provider=report.provider,
            provider_message_id=report.provider_message_id,
            provider_status=None if accepted else report.provider_status,
            reason=reason,
            error=report.error if attempt.status in ENDED_BADLY else None,
        )

    def _moment(self, story: Story, report: StatusReport) -> datetime:
        """When the provider says it happened; some say whole minutes, and nothing happens before its cause."""
        said = report.reported_at
        now = self.clock()
        return min(said, now) if said is not None and story.at is not None and said >= story.at else now


def _is_news(attempt: Attempt, status: DeliveryStatus) -> bool:
    if attempt.given_up:
        return status in ARRIVED  # anything else was given up already
    return advances(attempt.status, status) or attempt.guessed


def _was_given_up(story: Story, attempt: Attempt) -> bool:
    """Whether the story had gone on without this attempt."""
    latest = story.snapshot.latest
    return attempt.silent or (latest is not None and latest.number != attempt.number)


def _ends(status: DeliveryStatus, *, closed: bool, late: bool) -> bool:
    """A story ends once: what is learnt of an attempt that was given up comes after the end, and is none itself."""
    if closed:
        return status is DeliveryStatus.READ and not late
    return status in ARRIVED | {DeliveryStatus.CANCELED}


def _same_message(attempt: Attempt, report: StatusReport) -> bool:
    return attempt.provider_message_id in {None, report.provider_message_id}


def _reason_of(report: StatusReport, status: DeliveryStatus) -> Reason:
    if status is DeliveryStatus.CANCELED:
        return Reason.CANCELED
    if report.error is None or report.error.error_class not in BY_CLASS:
        return Reason.UNDELIVERABLE
    return BY_CLASS[report.error.error_class].reason
