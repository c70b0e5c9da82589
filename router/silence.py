"""Silence: a message that nothing is heard of gives way to the next step of its plan, and may arrive all the same.

A step's `within` says how long its delivery is waited for, from the moment at which the provider took the message:

    expect     a timer is set before the attempt is claimed; setting it again is harmless
    look       the timer fired: too early, and it is set again; or nothing was heard, and the attempt counts as failed
               with the reason `silent`, by compare-and-set like every other event
    take back  follow-up asks the provider for the earlier message back, then the next step runs

Nothing but a delivery overrules `silent`: it closes the story and is called late. What had been claimed by then is
called off where the provider still allows it; where it does not, both messages stand in the log.

The timer says no more than which story to look at, since there is one for each notification and an older one may come
in place of a newer one. An attempt of unknown outcome is left to reconcile, which sets the timer again when it finds
that the message was taken.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import structlog

from channels.reasons import Reason
from channels.status import ARRIVED, DeliveryStatus
from router.archive import Archive
from router.cancel import provider_takes_back
from router.clock import Clock
from router.crashpoints import CrashPoint, reached
from router.events import Happening
from router.ledger import ConflictError, Ledger
from router.providers import OpenChannels
from router.story import Attempt, Snapshot, Story
from router.timers import Kind, Timers

log = structlog.get_logger(__name__)

_SENDING = DeliveryStatus.SENDING
#: Taken by the provider, and not heard of since.
_TAKEN = frozenset({DeliveryStatus.ACCEPTED, DeliveryStatus.QUEUED, DeliveryStatus.SENT})
#: What a provider may still take back.
_WAITS_THERE = frozenset({DeliveryStatus.ACCEPTED, DeliveryStatus.QUEUED})
#: Seconds between looks at an attempt that is being sent at this moment, at least.
_BEING_SENT = 1.0
#: Seconds after its claim in which an attempt that is to be called off gets its outcome, if it ever does.
_LONGEST_CALL = 120.0
#: Seconds from setting the timer until the late delivery stands in the log.
_UNTIL_APPENDED = 2.0


def patience(snapshot: Snapshot, step: int) -> float | None:
    """Seconds without a delivery after which another step follows this one; None: silence leads nowhere."""
    return snapshot.plan[step].silence if snapshot.after(step) is not None else None


@dataclass(frozen=True, slots=True)
class Silence:
    """Watches over accepted messages whose step has `within`."""

    ledger: Ledger
    archive: Archive
    timers: Timers
    channels: OpenChannels
    clock: Clock

    async def expect(self, source: str, notification_id: str, snapshot: Snapshot, step: int) -> None:
        """A message of this step is about to be taken, or turned out to be. It costs nothing where silence is borne."""
        if (seconds := patience(snapshot, step)) is not None:
            await self._look_in(source, notification_id, seconds)
            reached(CrashPoint.SILENCE_EXPECTED)

    async def arrives_late(self, story: Story, attempt: Attempt) -> None:
        """An attempt that was given up is about to be recorded as arrived: call off what was begun in its place."""
        latest = story.snapshot.latest
        if latest is not None and latest.number != attempt.number and latest.status in {*_WAITS_THERE, _SENDING}:
            await self._look_in(story.source, story.notification_id, _UNTIL_APPENDED)

    async def look(self, source: str, notification_id: str) -> None:
        """The timer fired."""
        reached(CrashPoint.SILENCE_WOKEN)
        while True:
            story = await self.ledger.read(source, notification_id)
            attempt = story.snapshot.latest
            if attempt is None:
                return
            try:
                await (self._call_off if story.snapshot.closed else self._look)(story, attempt)
            except ConflictError:
                continue
            return

    async def take_back(self, story: Story, attempt: Attempt) -> None:
        """Before the next step: the earlier message, where its provider still has it."""
        in_time = await provider_takes_back(self.channels, story, attempt)
        log.info("silence.earlier_message", **_keys(story, attempt), taken_back=in_time)

    async def _look(self, story: Story, attempt: Attempt) -> None:
        seconds = patience(story.snapshot, attempt.step)
        if seconds is None or attempt.status not in {*_TAKEN, _SENDING}:
            return
        if attempt.status is _SENDING:
            await self._look_in(story.source, story.notification_id, max(_BEING_SENT, seconds))
            return
        left = seconds - (self.clock() - await self._taken_at(story, attempt)).total_seconds()
        if left > 0:
            await self._look_in(story.source, story.notification_id, left)
        else:
            await self._give_up(story, attempt, seconds)

    async def _give_up(self, story: Story, attempt: Attempt, seconds: float) -> None:
        step = story.snapshot.after(attempt.step)
        assert step is not None
        item = await self.archive.item(story, step, attempt.number + 1)
        expires_at = item.notification.expires_at
        if expires_at is not None and expires_at <= self.clock():
            return  # too late for another step: this one may still arrive
        moved = replace(attempt.moved(DeliveryStatus.FAILED, None, f"step@{step}"), silent=True)
        happening = replace(self._happening(story, attempt, "failed"), reason=Reason.SILENT)
        assert story.about is not None
        await self.ledger.append(story.about, happening, story.snapshot.with_attempt(moved), after=story.sequence)
        log.info("silence.given_up", **_keys(story, attempt), seconds=seconds, next=moved.next)
        reached(CrashPoint.SILENCE_APPENDED)

    async def _call_off(self, story: Story, attempt: Attempt) -> None:
        """The story was closed by an earlier attempt that arrived late: this one need not arrive any more."""
        if not any(each.status in ARRIVED for each in story.snapshot.attempts[:-1]):
            return
        if attempt.status is _SENDING and self.clock().timestamp() - attempt.begun < _LONGEST_CALL:
            await self._look_in(story.source, story.notification_id, _BEING_SENT)
        elif attempt.status in _WAITS_THERE and await provider_takes_back(self.channels, story, attempt):
            happening = replace(self._happening(story, attempt, "canceled"), reason=Reason.CANCELED)
            snapshot = story.snapshot.with_attempt(attempt.moved(DeliveryStatus.CANCELED, None))
            assert story.about is not None
            await self.ledger.append(story.about, happening, snapshot, after=story.sequence)
            log.info("silence.called_off", **_keys(story, attempt))

    async def _taken_at(self, story: Story, attempt: Attempt) -> datetime:
        """When the log says that the provider took it."""
        begun = datetime.fromtimestamp(attempt.begun, UTC)
        return await self.ledger.stored_at("accepted", story.source, story.notification_id, attempt.number) or begun

    async def _look_in(self, source: str, notification_id: str, seconds: float) -> None:
        at = self.clock() + timedelta(seconds=seconds)
        await self.timers.schedule(Kind.SILENCE, source, notification_id, at, b"", {})

    def _happening(self, story: Story, attempt: Attempt, status: str) -> Happening:
        step = story.snapshot.plan[attempt.step]
        channel = self.channels.of(step)
        return Happening(
            status,
            self.clock(),
            channel=step.channel,
            form=step.form.value,
            attempt=attempt.number,
            sender=step.sender,
            provider=channel.provider if channel else None,
            provider_message_id=attempt.provider_message_id,
        )


def _keys(story: Story, attempt: Attempt) -> dict[str, object]:
    return {"source": story.source, "notification_id": story.notification_id, "attempt": attempt.number}
