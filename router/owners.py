"""Which attempt one of the provider's messages belongs to, when a search has guessed and its own callback tells.

A search cannot tell two equal messages apart (`router.attribution`), so it may give an attempt the message of another
one. The other one's callback, or its late answer, is no guess: the message is counted for that attempt from then on,
and the attempt that had it is `unknown` again, so that it is looked for once more or sent by its `on_unknown`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import structlog

from channels.reasons import Reason
from channels.status import DeliveryStatus
from router import subjects
from router.archive import Archive
from router.attribution import Attribution
from router.clock import Clock
from router.deadletters import DeadLetters
from router.events import Happening
from router.ledger import ConflictError, Ledger
from router.story import Attempt, Story

log = structlog.get_logger(__name__)

#: Taken by the provider, and the story still waits for its end.
OPEN = frozenset({DeliveryStatus.ACCEPTED, DeliveryStatus.QUEUED, DeliveryStatus.SENT})
MISCOUNTED = "attribution"  #: stage of a dead letter: a story that had ended by a message of another attempt


class Owner(NamedTuple):
    """An attempt, as the bucket names it."""

    source: str
    notification_id: str
    number: int

    def __str__(self) -> str:
        return f"{self.source}.{self.notification_id}.{self.number}"

    @classmethod
    def read(cls, text: str) -> Owner:
        """From the bucket; no token of it has a dot."""
        source, notification_id, number = text.split(".")
        return cls(source, notification_id, int(number))


@dataclass(frozen=True, slots=True)
class Owners:
    """Corrects what a search has guessed."""

    ledger: Ledger
    archive: Archive
    attribution: Attribution
    dead_letters: DeadLetters
    clock: Clock

    async def holder(self, provider_message_id: str, owner: Owner) -> Owner | None:
        """The other attempt that the message is counted for; from now on it is `owner`'s where there is none."""
        held = await self.attribution.hold(provider_message_id, str(owner))
        return None if held == str(owner) else Owner.read(held)

    async def reveal(self, provider_message_id: str, owner: Owner) -> None:
        """The provider says that this is its message: whoever else had it was a guess."""
        displaced = await self.attribution.take_over(provider_message_id, str(owner))
        if displaced is not None:
            await self._reopen(provider_message_id, Owner.read(displaced))

    async def confirm(self, provider_message_id: str, owner: Owner) -> None:
        """After a search was recorded: its message may have been revealed as another's in between."""
        holder = await self.attribution.held_by(provider_message_id)
        if holder is not None and holder != str(owner):
            await self._reopen(provider_message_id, owner)

    async def let_go(self, story: Story, attempt: Attempt) -> None:
        """The attempt is unknown no more; `story` is as it was before. Where it was held, nobody need look any more."""
        assert story.about is not None
        sender = story.snapshot.plan[attempt.step].sender
        subject = subjects.outbox(sender, story.about.lane, story.source, story.notification_id)
        note = "the provider told how it ended"
        await self.dead_letters.settle("reconcile", story.sequence, subject, Reason.HELD, note)

    async def _reopen(self, provider_message_id: str, owner: Owner) -> None:
        while True:
            story = await self.ledger.read(owner.source, owner.notification_id)
            attempt = story.snapshot.attempt(owner.number)
            if attempt is None or attempt.provider_message_id != provider_message_id:
                return
            if story.snapshot.closed:
                await self._tell(story, attempt)
                return
            if attempt.status not in OPEN:
                return  # it counts as failed, and the story has gone on
            try:
                await self._append(story, attempt)
            except ConflictError:
                continue
            log.warning("attribution.mistaken", **owner._asdict(), provider_message_id=provider_message_id)
            return

    async def _append(self, story: Story, attempt: Attempt) -> None:
        step = story.snapshot.plan[attempt.step]
        happening = Happening(
            DeliveryStatus.UNKNOWN.value,
            self.clock(),
            channel=step.channel,
            form=step.form.value,
            attempt=attempt.number,
            sender=step.sender,
            reason=Reason.MISATTRIBUTED,
        )
        moved = replace(attempt.moved(DeliveryStatus.UNKNOWN, None), provider_message_id=None)
        assert story.about is not None
        await self.ledger.append(story.about, happening, story.snapshot.with_attempt(moved), after=story.sequence)

    async def _tell(self, story: Story, attempt: Attempt) -> None:
        """A story ends once: what ended by mistake needs a person."""
        item = await self.archive.item(story, attempt.step, attempt.number)
        await self.dead_letters.keep(
            MISCOUNTED,
            story.source,
            sequence=story.sequence,
            subject=subjects.outbox(item.chosen.sender, item.lane, item.source, item.notification_id),
            body=item.body,
            headers=item.headers(),
            reason=Reason.MISATTRIBUTED,
            message=f"attempt {attempt.number} ended as {attempt.status} by a message of the provider's that proved "
            "to be another notification's; publish it under a new id if it still matters",
            notification_id=story.notification_id,
        )
        log.error("attribution.ended_by_mistake", source=story.source, notification_id=story.notification_id)
