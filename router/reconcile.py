"""Reconcile: attempts of which nobody can say whether they were sent.

Nothing is sent again before everything has been asked, in this order: the attempt's own status callback (whenever it
comes, `tracking` takes it), after `reconcile.wait` the provider's list, and after `reconcile.settle`, when neither has
it, the notification's own `on_unknown`: at once where the provider has no list to look into.

The limit: a provider's list cannot tell two equal messages to one recipient apart. Several equal ones are matched to
several equal attempts one for one, each to one attempt only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import structlog

from channels.errors import OutcomeUnknownError, SendError
from channels.model import OnUnknown, Sender
from channels.port import Finder, FoundMessage
from channels.reasons import Reason
from channels.status import DeliveryStatus
from policies.engine import Policy
from router import subjects
from router.archive import Archive, GoneError
from router.attribution import Attribution
from router.clock import Clock, rfc3339
from router.crashpoints import CrashPoint, reached
from router.deadletters import DeadLetters
from router.events import Happening
from router.hashing import Hasher
from router.ledger import ConflictError, Ledger
from router.outbox import ATTEMPT, OutboxItem
from router.owners import Owner, Owners
from router.providers import OpenChannels
from router.rendering import outbound_message
from router.settings import ReconcileSettings
from router.silence import Silence
from router.story import Attempt, Snapshot, Story
from router.timers import Kind, Timers

log = structlog.get_logger(__name__)

#: Seconds that our clock may be ahead of the provider's; its times are whole seconds besides.
_SKEW = 60
#: Seconds beyond the time-out for an answer within which the provider may have taken a request that had left.
_LINGERS = 60.0
UNKNOWN = frozenset({DeliveryStatus.UNKNOWN})
#: A provider that cannot be asked for so many times `settle` leaves the attempt to a person.
_PATIENCE = 30


@dataclass(frozen=True, slots=True)
class Reconcile:
    """Resolves unknown attempts, woken by a schedule."""

    ledger: Ledger
    archive: Archive
    timers: Timers
    dead_letters: DeadLetters
    attribution: Attribution
    owners: Owners
    silence: Silence
    channels: OpenChannels
    senders: Mapping[str, Sender]
    hasher: Hasher
    policy: Callable[[], Policy]
    settings: ReconcileSettings
    attempts_per_step: int
    timeout: float  #: seconds that an attempt waits for the provider's answer
    clock: Clock

    async def begin(self, story: Story, attempt: Attempt) -> None:
        """An outcome became unknown: look into it after the time that its callback gets. Repeating it is harmless."""
        await self._again(story, attempt, self._since(attempt) + timedelta(seconds=self.settings.wait))

    async def look(self, source: str, notification_id: str, number: int) -> None:
        """The schedule fired for this attempt: resolve it, or come back later."""
        reached(CrashPoint.RECONCILE_WOKEN)
        while True:
            story = await self.ledger.read(source, notification_id)
            attempt = story.snapshot.attempt(number)
            if attempt is None or attempt.status is not DeliveryStatus.UNKNOWN or story.snapshot.closed:
                await self._confirm(source, notification_id, attempt)
                return  # its callback came meanwhile
            try:
                await self._resolve(story, attempt)
            except ConflictError:
                continue
            reached(CrashPoint.RECONCILE_APPENDED)
            return

    async def _confirm(self, source: str, notification_id: str, attempt: Attempt | None) -> None:
        """Whoever recorded what a search had found may have died before it saw that the message is another's."""
        if attempt is not None and attempt.provider_message_id is not None:
            owner = Owner(source, notification_id, attempt.number)
            await self.owners.confirm(attempt.provider_message_id, owner)

    async def _resolve(self, story: Story, attempt: Attempt) -> None:
        try:
            item = await self.archive.item(story, attempt.step, attempt.number)
        except GoneError:
            await self._end(story, attempt)
            return
        try:
            found = await self._search(item, attempt)
        except SendError as exc:
            await self._cannot_ask(story, attempt, item, exc)
            return
        if found is not None:
            reached(CrashPoint.RECONCILE_FOUND)
            await self._accept(story, attempt, item, found)
        elif self._age(attempt) < self.settings.settle and self._may_show_yet(item):
            await self._again(story, attempt, self._since(attempt) + timedelta(seconds=self.settings.settle))
        else:
            await self._settle(story, attempt, item)

    def _may_show_yet(self, item: OutboxItem) -> bool:
        """Whether waiting helps: a provider's list may show late what was taken; where there is none, nothing will."""
        channel: object = self.channels.of(item.chosen)
        return channel is None or isinstance(channel, Finder)

    async def _search(self, item: OutboxItem, attempt: Attempt) -> FoundMessage | None:
        """The provider's message for this attempt, if its list has one that belongs to no other attempt."""
        finder: object = self.channels.of(item.chosen)
        sender = self.senders.get(item.chosen.sender)
        if not isinstance(finder, Finder) or sender is None:
            return None
        token = self.hasher.token(item.source, item.notification_id, item.attempt)
        since = self._since(attempt) - timedelta(seconds=_SKEW)
        async with asyncio.timeout(60):
            candidates = await finder.find(outbound_message(item, sender, token), since)
        # What was created later answers another request, however equal it looks. Storing the claim may have taken a
        # while, and the request left after that.
        claimed = await self.ledger.stored_at("sending", item.source, item.notification_id, item.attempt)
        last = (claimed or self.clock()) + timedelta(seconds=self.timeout + _LINGERS)
        return await self._first_free([each for each in candidates if each.created_at <= last], item, since)

    async def _first_free(
        self, candidates: Sequence[FoundMessage], item: OutboxItem, since: datetime
    ) -> FoundMessage | None:
        if not candidates:
            return None
        # The provider's clock may be the one that is ahead: what it says was made then stands in the log earlier.
        earlier = since - timedelta(seconds=_SKEW)
        taken = await self.attribution.taken([each.provider_message_id for each in candidates], earlier)
        owner = str(Owner(item.source, item.notification_id, item.attempt))
        for found in candidates:
            if found.provider_message_id in taken:
                continue
            if await self.attribution.claim(found.provider_message_id, owner):
                return found
        return None

    async def _accept(self, story: Story, attempt: Attempt, item: OutboxItem, found: FoundMessage) -> None:
        moved = attempt.moved(DeliveryStatus.ACCEPTED, found.provider_message_id)
        happening = replace(
            self._happening(story.snapshot, attempt, "accepted"),
            reason=Reason.RESOLVED_BY_SEARCH,
            provider_message_id=found.provider_message_id,
            provider_status=found.provider_status,
        )
        await self.silence.expect(story.source, story.notification_id, story.snapshot, attempt.step)
        await self._append(story, item, happening, moved)
        log.info("reconcile.found", **_keys(item), provider_message_id=found.provider_message_id)
        await self._confirm(story.source, story.notification_id, moved)

    async def _settle(self, story: Story, attempt: Attempt, item: OutboxItem) -> None:
        """Neither a callback nor the list knows it: the notification says what is the lesser evil."""
        choice = item.notification.on_unknown or self.policy().on_unknown(item.notification.category)
        if choice is OnUnknown.HOLD:
            await self._hold(story, item, "nobody can say whether it was sent, and on_unknown is hold")
            return
        move = self._move(choice, story.snapshot, attempt, item)
        moved = replace(attempt.moved(DeliveryStatus.FAILED, None, move), settled=True)
        error = OutcomeUnknownError("no callback came and the provider's list does not show it").as_provider_error()
        happening = replace(self._happening(story.snapshot, attempt, "failed"), reason=Reason.NOT_FOUND, error=error)
        await self._append(story, item, happening, moved)
        log.warning("reconcile.settled", **_keys(item), on_unknown=choice, next=moved.next)

    def _move(self, choice: OnUnknown, snapshot: Snapshot, attempt: Attempt, item: OutboxItem) -> str:
        """What follows, in the words of `router.moves`."""
        expires_at = item.notification.expires_at
        if expires_at is not None and expires_at <= self.clock():
            return f"give_up@{Reason.EXPIRED}"
        if choice is OnUnknown.RETRY and snapshot.counted_on(attempt.step) < self.attempts_per_step:
            return f"retry@{rfc3339(self.clock())}"
        if (step := snapshot.after(attempt.step)) is not None:
            return f"step@{step}"
        return f"give_up@{Reason.OUTCOME_UNKNOWN}"

    async def as_sent(self, owner: Owner, waiting: Collection[DeliveryStatus] = UNKNOWN) -> bool:
        """A person says that an attempt was sent: the story ends there. False when it is none of `waiting` any more."""
        return await self._by_person(owner, waiting, DeliveryStatus.SENT, "")

    async def as_not_sent(
        self, owner: Owner, waiting: Collection[DeliveryStatus] = UNKNOWN, *, again: bool = False
    ) -> bool:
        """A person says that it was not: sent again, or given up. False when it is none of `waiting` any more."""
        move = f"retry@{rfc3339(self.clock())}" if again else f"give_up@{Reason.OUTCOME_UNKNOWN}"
        return await self._by_person(owner, waiting, DeliveryStatus.FAILED, move)

    async def _by_person(
        self, owner: Owner, waiting: Collection[DeliveryStatus], status: DeliveryStatus, move: str
    ) -> bool:
        while True:
            story = await self.ledger.read(owner.source, owner.notification_id)
            attempt = story.snapshot.attempt(owner.number)
            if attempt is None or attempt.status not in waiting or story.snapshot.closed:
                return False
            final = status is DeliveryStatus.SENT
            happening = replace(
                self._happening(story.snapshot, attempt, status.value),
                reason=Reason.RESOLVED_BY_PERSON,
                final=final,
                provider_message_id=attempt.provider_message_id,
            )
            snapshot = story.snapshot.with_attempt(attempt.moved(status, None, move))
            try:
                assert story.about is not None
                await self.ledger.append(story.about, happening, replace(snapshot, closed=final), after=story.sequence)
            except ConflictError:
                continue
            return True

    async def _cannot_ask(self, story: Story, attempt: Attempt, item: OutboxItem, error: SendError) -> None:
        """Not knowing is no reason to send again: asked later, in the end by a person."""
        log.warning("reconcile.cannot_ask", **_keys(item), why=error.message)
        if self._age(attempt) > self.settings.settle * _PATIENCE + self.settings.wait:
            await self._hold(story, item, "the provider could not be asked whether it was sent")
        else:
            pause = max(1.0, self.settings.wait)
            await self._again(story, attempt, self.clock() + timedelta(seconds=pause))

    async def _end(self, story: Story, attempt: Attempt) -> None:
        """What was sent is not kept any more, so it can be looked for no longer, and sent no more either."""
        happening = replace(
            self._happening(story.snapshot, attempt, "exhausted"),
            final=True,
            reason=Reason.AGED_OUT,
            error=OutcomeUnknownError("the notification is kept no more, so nobody can look").as_provider_error(),
        )
        assert story.about is not None
        snapshot = replace(story.snapshot, closed=True, events=story.snapshot.events + 1)
        await self.ledger.append(story.about, happening, snapshot, after=story.sequence)
        log.warning("reconcile.aged_out", source=story.source, notification_id=story.notification_id)

    async def _hold(self, story: Story, item: OutboxItem, why: str) -> None:
        await self.dead_letters.keep(
            "reconcile",
            item.source,
            sequence=story.sequence,
            subject=subjects.outbox(item.chosen.sender, item.lane, item.source, item.notification_id),
            body=item.body,
            headers=item.headers(),
            reason=Reason.HELD,
            message=f"attempt {item.attempt}: {why}; look at the provider, then resolve it as sent or not sent",
            notification_id=item.notification_id,
        )
        log.warning("reconcile.held", **_keys(item))

    async def _again(self, story: Story, attempt: Attempt, at: datetime) -> None:
        headers = {ATTEMPT: str(attempt.number)}
        await self.timers.schedule(Kind.RECONCILE, story.source, story.notification_id, at, b"", headers)

    async def _append(self, story: Story, item: OutboxItem, happening: Happening, moved: Attempt) -> None:
        snapshot = story.snapshot.with_attempt(moved)
        await self.ledger.append(story.about or item.about, happening, snapshot, after=story.sequence)

    def _happening(self, snapshot: Snapshot, attempt: Attempt, status: str) -> Happening:
        step = snapshot.plan[attempt.step]
        channel = self.channels.of(step)
        return Happening(
            status,
            self.clock(),
            channel=step.channel,
            form=step.form.value,
            attempt=attempt.number,
            sender=step.sender,
            provider=channel.provider if channel else None,
        )

    def _since(self, attempt: Attempt) -> datetime:
        return datetime.fromtimestamp(attempt.begun, UTC)

    def _age(self, attempt: Attempt) -> float:
        return (self.clock() - self._since(attempt)).total_seconds()


def _keys(item: OutboxItem) -> dict[str, object]:
    return {"source": item.source, "notification_id": item.notification_id, "attempt": item.attempt}
