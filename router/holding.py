"""What may not go now although it was routed: messages that wait in the outbox, retries, next steps.

Time passes between a decision and each of its attempts, and policies change. So the guards that depend on either are
asked once more at the moment of sending: pauses, blocked countries, quiet hours. What one of them suppresses ends
there; what one defers waits until the guard lets it pass, and before the first attempt the whole policy is asked again.

A message on a paused channel goes back to the policy, which knows whether another channel can carry it. Only where
attempts were made already is the plan kept: then the next step on a channel that is not paused takes over.

Whatever waits leaves the outbox, so that it holds up nothing else of its sender's lane. The event that says so comes
before the timer; a process that dies between the two leaves the message in the outbox, and finds the event there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import structlog

from channels.address import zones_of
from channels.model import Lane
from channels.reasons import Reason
from policies.engine import Policy, look_again
from policies.guards import at
from policies.model import Deferred
from policies.pauses import Kind as What
from policies.pauses import Pause
from router import subjects
from router.clock import Clock, rfc3339
from router.events import Happening
from router.ledger import ConflictError, Ledger
from router.outbox import OutboxItem
from router.received import as_published
from router.story import Story
from router.timers import Kind, Timers

log = structlog.get_logger(__name__)

#: What goes back to the policy is asked again after this long, so that the event comes before the timer fires.
_AT_ONCE = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Halt:
    """Why an attempt is not made now."""

    rule: str  #: as the trace names it
    because: str  #: a sentence
    reason: Reason
    until: datetime | None  #: when it is looked at again; None: this is its end


@dataclass(frozen=True, slots=True)
class Holding:
    """Asked before each attempt."""

    ledger: Ledger
    timers: Timers
    policy: Callable[[], Policy]
    clock: Clock

    async def holds(self, item: OutboxItem) -> bool:
        """Whether something keeps this attempt from being made. Then it is seen to, and may be acknowledged.

        Raises `ConflictError` where the story has gone on without it: what stands there has to be looked at first.
        """
        policy = self.policy()
        if not policy.late:
            return False
        now = self.clock()
        if halt := _guarded(item, policy, now):
            await self._hold(item, policy, halt)
            return True
        if pause := policy.pauses.find(What.CHANNEL, item.chosen.channel, now):
            await self._leave_channel(item, policy, pause, now)
            return True
        return False

    async def _leave_channel(self, item: OutboxItem, policy: Policy, pause: Pause, now: datetime) -> None:
        if not item.snapshot.attempts:
            await self._hold(item, policy, _paused(item, pause, now + _AT_ONCE))
            return
        rest = range(item.step + 1, len(item.snapshot.plan))
        free = (n for n in rest if not policy.pauses.find(What.CHANNEL, item.snapshot.plan[n].channel, now))
        step = next(free, None)
        if step is None:
            await self._hold(item, policy, _paused(item, pause, pause.asked_again(now, item.notification.expires_at)))
        else:
            await self._hold(replace(item, step=step), policy, _paused(item, pause, now + _AT_ONCE))

    async def _hold(self, item: OutboxItem, policy: Policy, halt: Halt) -> None:
        """End its story, or let it wait."""
        while True:
            happening = self._happening(item, policy, halt)
            snapshot = replace(item.snapshot, events=item.snapshot.events + 1, closed=happening.final)
            if not happening.final:
                # Before the first attempt the policy is asked for another plan.
                snapshot = replace(
                    snapshot, until=halt.until, plan=item.snapshot.plan if item.snapshot.attempts else ()
                )
            try:
                story = await self.ledger.append(item.about, happening, snapshot, after=item.revision)
            except ConflictError:
                story = await self.ledger.read(item.source, item.notification_id)
                if not item.is_next_of(story):
                    raise
                item = item.on(story)
                continue
            log.info("attempt.held", status=happening.status, rule=halt.rule, because=halt.because, **_keys(item))
            if halt.until is not None:
                await self._wait(item.on(story), halt.until)
            return

    async def resume(self, item: OutboxItem, story: Story) -> None:
        """Set the timer of a message that waits for the policy: whoever said so may have died before it did."""
        until = story.snapshot.until
        if until is not None and not story.snapshot.closed and not story.snapshot.plan:
            await self._wait(item.on(story), until)

    async def _wait(self, item: OutboxItem, until: datetime) -> None:
        timers, source, identity = self.timers, item.source, item.notification_id
        if item.snapshot.attempts:
            await timers.schedule(Kind.RETRY, source, identity, until, item.body, item.headers())
            return
        subject = subjects.notification(item.lane, source)
        headers = as_published(subject, item.snapshot.notification_sequence, item.traceparent)
        await timers.schedule(Kind.DEFER, source, identity, until, item.body, headers)

    def _happening(self, item: OutboxItem, policy: Policy, halt: Halt) -> Happening:
        """With a decision like any other: the guard's, made at the last moment."""
        decision: dict[str, Any] = {
            "outcome": "suppressed" if halt.until is None else "deferred",
            "reason": halt.reason.value,
            "until": rfc3339(halt.until) if halt.until else None,
            "policy": policy.version,
            "plan": [],
            "facts": {},
            "trace": [{"rule": halt.rule, "matched": True, "because": f"while it waited to be sent: {halt.because}"}],
        }
        ended = "expired" if halt.reason is Reason.EXPIRED else "suppressed"
        step = item.chosen
        return Happening(
            ended if halt.until is None else "deferred",
            self.clock(),
            final=halt.until is None,
            channel=step.channel,
            form=step.form.value,
            attempt=item.attempt - 1,
            sender=step.sender,
            reason=halt.reason,
            decision=decision,
        )


def _guarded(item: OutboxItem, policy: Policy, now: datetime) -> Halt | None:
    request = item.notification.as_request(item.source, Lane(item.lane))
    stopped = look_again(request, zones_of(request.recipient), policy, now)
    if stopped is None:
        return None
    entry, outcome = stopped
    return Halt(entry.rule, entry.because, outcome.reason, outcome.until if isinstance(outcome, Deferred) else None)


def _paused(item: OutboxItem, pause: Pause, until: datetime | None) -> Halt:
    """By the pause of its channel."""
    expires_at = item.notification.expires_at
    if until is None:
        return Halt("guard.paused", pause.because, Reason.PAUSED, None)
    if expires_at is not None and expires_at <= until:
        because = f"{pause.because}; it expires before it is asked again, at {at(expires_at)}"
        return Halt("guard.paused", because, Reason.EXPIRED, None)
    return Halt("guard.paused", f"{pause.because}; asked again at {at(until)}", Reason.PAUSED, until)


def _keys(item: OutboxItem) -> dict[str, object]:
    return {"source": item.source, "notification_id": item.notification_id, "channel": item.chosen.channel}
