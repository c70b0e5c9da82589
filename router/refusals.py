"""What intake refuses: said once for each publication, to its publisher by an event, to a person by a dead letter."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from channels.reasons import Reason
from policies.engine import Policy
from router import subjects
from router.clock import Clock
from router.deadletters import DeadLetters
from router.events import Happening
from router.ledger import ConflictError, Ledger
from router.outbox import traceparent_in
from router.received import Received
from router.seldom import Seldom
from router.story import About, Story
from router.turns import Turns
from router.wire import InvalidNotificationError

log = structlog.get_logger(__name__)


class Refusals:
    """Keeps and tells what cannot be taken. Saying it again, after a crash, changes nothing."""

    def __init__(self, ledger: Ledger, dead_letters: DeadLetters, policy: Callable[[], Policy], clock: Clock) -> None:
        self._ledger = ledger
        self._dead_letters = dead_letters
        self._policy = policy
        self._clock = clock
        self._seldom = Seldom()
        self._turns = Turns()

    async def misplaced(self, received: Received, why: str) -> None:
        """Published to a subject that names no lane or no source."""
        await self._bury(received, Reason.BAD_SUBJECT, why)

    async def reused(self, received: Received, story: Story, repeats: About) -> None:
        """The id belongs to another content, of which `repeats` is told should the story not say what it is about."""
        message = "id: this id was published before with other content; use a new id for a new notification"
        # The story stays about the notification that owns the id, and so do the fields that events repeat of it.
        await self._append(story, story.about or repeats, Reason.ID_REUSED, message, received.sequence)

    async def malformed(self, received: Received, origin: subjects.Origin, error: InvalidNotificationError) -> None:
        """A dead letter that holds it whole and, where it names an id, an event for its publisher."""
        reason = error.reason
        await self._bury(received, reason, error.message, field=error.field, notification_id=error.notification_id)
        if error.notification_id is None:
            return
        story = await self._ledger.read(origin.source, error.notification_id)
        nobody = About(
            origin.source, error.notification_id, origin.lane, None, None, {}, traceparent_in(received.headers)
        )
        await self._append(story, story.about or nobody, reason, error.message, received.sequence)

    async def _append(self, story: Story, repeats: About, reason: Reason, message: str, sequence: int) -> None:
        """In turn: whoever publishes nonsense often does so under one id."""
        async with self._turns.of((story.source, story.notification_id)) as had_to_wait:
            if had_to_wait:
                story = await self._ledger.read(story.source, story.notification_id)
            await self._append_now(story, repeats, reason, message, sequence)

    async def _append_now(self, story: Story, repeats: About, reason: Reason, message: str, sequence: int) -> None:
        while sequence not in story.snapshot.refused:
            decision: dict[str, object] = {
                "outcome": "rejected",
                "reason": reason.value,
                "message": message,
                "until": None,
                "policy": self._policy().version,
                "plan": [],
                "facts": {},
                "trace": [{"rule": "intake", "matched": True, "because": message}],
            }
            # Under an id whose notification is still on its way, this is not the end of it.
            final = story.snapshot.closed or not story.begun
            happening = Happening("rejected", self._clock(), final=final, reason=reason, decision=decision)
            snapshot = story.snapshot.refusing(sequence)
            try:
                await self._ledger.append(repeats, happening, snapshot, after=story.sequence)
            except ConflictError:
                story = await self._ledger.read(story.source, story.notification_id)
                continue
            log.info("intake.rejected", source=story.source, notification_id=story.notification_id, reason=reason)
            return

    async def _bury(
        self,
        received: Received,
        reason: Reason,
        message: str,
        *,
        field: str | None = None,
        notification_id: str | None = None,
    ) -> None:
        source = subjects.source_of(received.subject)
        # One that names an id has a line of its own, to be found by it; of the others there may be any number.
        kept_back = 0 if notification_id else self._seldom.due((source, reason))
        if kept_back is not None:
            keys = {"source": source, "notification_id": notification_id, "reason": reason, "field": field}
            log.warning("intake.dead_letter", **keys, kept_back=kept_back)
        await self._dead_letters.keep(
            "intake",
            source,
            sequence=received.sequence,
            subject=received.subject,
            body=received.body,
            headers=received.headers,
            reason=reason,
            message=message,
            notification_id=notification_id,
            field=field,
        )
