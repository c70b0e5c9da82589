"""What was paused after it had been decided: messages that wait in the outbox.

A pause counts at once, so it is looked at once more at the moment of sending, and does there what the guard does where
it is met before: a category or source that the pause suppresses ends as `suppressed`; one that it defers waits. A
message on a paused channel goes back to the policy, which knows whether another channel can carry it. Only where
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

from channels.reasons import Reason
from policies.engine import Policy
from policies.guards import at
from policies.pauses import Kind as What
from policies.pauses import Pause
from router import subjects
from router.clock import Clock, rfc3339
from router.events import Happening
from router.intake import as_published
from router.ledger import ConflictError, Ledger
from router.outbox import OutboxItem
from router.story import Story
from router.timers import Kind, Timers

log = structlog.get_logger(__name__)

#: What goes back to the policy is asked again after this long, so that the event comes before the timer fires.
_AT_ONCE = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Pausing:
    """Asked before each attempt."""

    ledger: Ledger
    timers: Timers
    policy: Callable[[], Policy]
    clock: Clock

    async def holds(self, item: OutboxItem) -> bool:
        """Whether a pause keeps this attempt from being made. Then it is seen to, and may be acknowledged."""
        policy = self.policy()
        if not policy.pauses:
            return False
        now, category = self.clock(), item.notification.category
        if pause := policy.pauses.whole(category, item.source, now):
            await self._hold(item, policy, pause, pause.asked_again(now))
            return True
        if pause := policy.pauses.find(What.CHANNEL, item.chosen.channel, now):
            await self._leave_channel(item, policy, pause, now)
            return True
        return False

    async def _leave_channel(self, item: OutboxItem, policy: Policy, pause: Pause, now: datetime) -> None:
        if not item.snapshot.attempts:
            await self._hold(item, policy, pause, now + _AT_ONCE)
            return
        rest = range(item.step + 1, len(item.snapshot.plan))
        free = (n for n in rest if not policy.pauses.find(What.CHANNEL, item.snapshot.plan[n].channel, now))
        step = next(free, None)
        if step is None:
            await self._hold(item, policy, pause, pause.asked_again(now))
        else:
            await self._hold(replace(item, step=step), policy, pause, now + _AT_ONCE)

    async def _hold(self, item: OutboxItem, policy: Policy, pause: Pause, until: datetime | None) -> None:
        """End its story, or let it wait; nothing where the story has gone on without this attempt."""
        while True:
            happening = self._happening(item, policy, pause, until)
            snapshot = replace(item.snapshot, events=item.snapshot.events + 1, closed=happening.final)
            if not happening.final:
                # Before the first attempt the policy is asked for another plan.
                snapshot = replace(snapshot, until=until, plan=item.snapshot.plan if item.snapshot.attempts else ())
            try:
                story = await self.ledger.append(item.about, happening, snapshot, after=item.revision)
            except ConflictError:
                story = await self.ledger.read(item.source, item.notification_id)
                if not item.is_next_of(story):
                    await self.resume(item, story)
                    return
                item = item.on(story)
                continue
            log.info("attempt.paused", status=happening.status, because=pause.because, **_keys(item))
            if until is not None and not happening.final:
                await self._wait(item.on(story), until)
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

    def _happening(self, item: OutboxItem, policy: Policy, pause: Pause, until: datetime | None) -> Happening:
        """With a decision like any other: the guard's, made at the last moment."""
        status, reason, because = "suppressed", Reason.PAUSED, pause.because
        expires_at = item.notification.expires_at
        if until is not None and expires_at is not None and expires_at <= until:
            status, reason, until = "expired", Reason.EXPIRED, None
            because = f"{because}; it expires before it is asked again, at {at(expires_at)}"
        elif until is not None:
            status, because = "deferred", f"{because}; asked again at {at(until)}"
        decision: dict[str, Any] = {
            "outcome": "deferred" if status == "deferred" else "suppressed",
            "reason": reason.value,
            "until": rfc3339(until) if until else None,
            "policy": policy.version,
            "plan": [],
            "facts": {},
            "trace": [{"rule": "guard.paused", "matched": True, "because": f"while it waited to be sent: {because}"}],
        }
        step = item.chosen
        return Happening(
            status,
            self.clock(),
            final=status != "deferred",
            channel=step.channel,
            form=step.form.value,
            attempt=item.attempt - 1,
            sender=step.sender,
            reason=reason,
            decision=decision,
        )


def _keys(item: OutboxItem) -> dict[str, object]:
    return {"source": item.source, "notification_id": item.notification_id, "channel": item.chosen.channel}
