"""One attempt, from its claim to its recorded outcome: the only place where a provider is called to send.

    claim    append `sending` by compare-and-set: whoever loses the race does not send
    send     one call of the channel, never repeated here
    record   append `accepted`, `failed` or `unknown`, once, whatever comes in between

An attempt that is found claimed without an outcome is unknown, never unsent: a process died between the two.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

import structlog

from channels.errors import (
    OutcomeUnknownError,
    ProviderDownError,
    RecipientOptedOutError,
    RecipientUnreachableError,
    SendError,
    SenderUnknownError,
    ServiceWindowClosedError,
    nearest_class,
)
from channels.model import OutboundMessage, Sender, SendReceipt
from channels.port import Channel
from channels.reasons import Reason
from channels.status import DeliveryStatus, advances
from router.clock import Clock
from router.consent import ConsentKeeper
from router.crashpoints import CrashPoint, reached
from router.events import Happening
from router.hashing import Hasher
from router.holding import Holding
from router.jetstream import StoreError
from router.leases import Presence
from router.ledger import ConflictError, Ledger
from router.metrics import PROVIDER
from router.moves import Mover, StepMove, read_move
from router.outbox import OutboxItem
from router.owners import Owner, Owners
from router.providers import OpenChannels
from router.recipients import Recipients
from router.rendering import outbound_message
from router.silence import Silence
from router.story import Attempt, Story
from router.workers import LaterError

log = structlog.get_logger(__name__)

#: Seconds between tries to record an outcome while the store is away: it is held for as long as this process lives.
_HOLD = 1.0
#: Seconds beyond the provider's time-out that a live owner may need to record its outcome.
_GRACE = 8.0
#: Seconds beyond the time-out for the answer that an adapter may take to connect.
_CONNECT = 6.0


@dataclass(frozen=True, slots=True)
class Attempts:
    """Makes attempts."""

    ledger: Ledger
    channels: OpenChannels
    senders: Mapping[str, Sender]
    recipients: Recipients
    consent: ConsentKeeper
    hasher: Hasher
    mover: Mover
    clock: Clock
    presence: Presence
    holding: Holding
    silence: Silence
    owners: Owners
    timeout: float  #: seconds the channel may take

    async def make(self, item: OutboxItem, instead: ProviderDownError | None = None) -> SendReceipt | SendError | None:
        """The whole attempt. Done when it returns: the item may then be acknowledged. None: there was nothing to send.

        `instead`: how it ends without the provider being asked.

        Raises `LaterError` when another process is at it, and `StoreUnavailableError` when it could not be claimed.
        """
        reached(CrashPoint.DISPATCH_TAKEN)
        if item.claimed:
            await self.resume(item)
            return None
        if not self.recipients.consent.mirror.is_current:
            await self.recipients.consent.refresh(item.notification.recipient())
        if happening := self._no_longer_wanted(item):
            await self._close(item, happening)
            return None
        try:
            if await self.holding.holds(item):
                return None
        except ConflictError:
            await self.resume(item)
            return None
        # Before the claim: what cannot even be put into words must not look as if it might have been sent.
        ready = instead or self._prepared(item)
        await self.silence.expect(item.source, item.notification_id, item.snapshot, item.step)
        claim = await self._claim(item)
        if claim is None:
            return None
        started = time.monotonic()
        reached(CrashPoint.DISPATCH_CLAIMED)
        outcome = ready if isinstance(ready, SendError) else await self._send(item, *ready)
        reached(CrashPoint.DISPATCH_ANSWERED)
        if not instead:
            PROVIDER.observe(time.monotonic() - started, item.chosen.channel, item.chosen.sender)
        await self._record(item, claim, outcome)
        reached(CrashPoint.DISPATCH_RECORDED)
        if isinstance(outcome, SendReceipt) and item.chosen.channel in self.recipients.stickiness.channels:
            recipient, step = item.notification.recipient(), item.chosen
            await self.recipients.stickiness.used(recipient, step.channel, step.sender)
        took = time.monotonic() - started
        log.info("attempt.done", **_keys(item), **_words(outcome), seconds=round(took, 4))
        return outcome

    async def begun(self, item: OutboxItem) -> bool:
        """Whether this attempt stands in the log already: it is not to be made, its outcome is to be found out."""
        story = await self.ledger.read(item.source, item.notification_id)
        return story.snapshot.attempt(item.attempt) is not None

    async def resume(self, item: OutboxItem) -> None:
        """Act on what the log says of an attempt that was begun. Raises what `make` raises."""
        await self._resume(item, await self.ledger.read(item.source, item.notification_id))

    def has_detour(self, item: OutboxItem, down: ProviderDownError) -> bool:
        """Whether, with this provider down, the plan goes on by another one."""
        move = read_move(self.mover.after_error(down, item.snapshot, item.step, item.notification.expires_at))
        if not isinstance(move, StepMove):
            return False
        here, there = self.channels.of(item.chosen), self.channels.of(item.snapshot.plan[move.step])
        return here is not None and there is not None and here.provider != there.provider

    def _no_longer_wanted(self, item: OutboxItem) -> Happening | None:
        """Asked once more at the last moment: a stop or an expiry that came while it waited counts."""
        notification, step = item.notification, item.chosen
        if notification.expires_at is not None and notification.expires_at <= self.clock():
            return self._stopped(item, "expired", Reason.EXPIRED, "expires_at passed while it waited to be sent")
        stop = self.recipients.stopped_by(
            notification.recipient(), channel=step.channel, sender=step.sender, category=notification.category
        )
        if stop is not None:
            because = f"the recipient opted out while it waited to be sent: the scope is '{stop}'"
            return self._stopped(item, "suppressed", Reason.OPTED_OUT, because)
        return None

    def _stopped(self, item: OutboxItem, status: str, reason: Reason, because: str) -> Happening:
        """With a decision like any other: it was made at the last moment, and the policy had no part in it."""
        step = item.chosen
        decision: dict[str, object] = {
            "outcome": "suppressed",
            "reason": reason.value,
            "until": None,
            "policy": "dispatch",
            "plan": [],
            "facts": {},
            "trace": [{"rule": f"dispatch.{reason.value}", "matched": True, "because": because}],
        }
        return Happening(
            status,
            self.clock(),
            final=True,
            channel=step.channel,
            form=step.form,
            attempt=item.attempt - 1,
            sender=step.sender,
            reason=reason,
            decision=decision,
        )

    async def _close(self, item: OutboxItem, happening: Happening) -> None:
        """End the story without an attempt, unless it has gone on meanwhile."""
        while True:
            snapshot = replace(item.snapshot, closed=True, events=item.snapshot.events + 1)
            try:
                await self.ledger.append(item.about, happening, snapshot, after=item.revision)
            except ConflictError:
                story = await self.ledger.read(item.source, item.notification_id)
                if not item.is_next_of(story):
                    await self._resume(item, story)
                    return
                item = item.on(story)
                continue
            log.info("attempt.not_wanted", **_keys(item), status=happening.status, reason=happening.reason)
            return

    async def _claim(self, item: OutboxItem) -> Story | None:
        """Own this attempt, or None when it is not to be made any more."""
        while True:
            begun = int(self.clock().timestamp())
            attempt = Attempt(item.attempt, item.step, DeliveryStatus.SENDING, begun, owner=self.ledger.instance)
            happening = self._happening(item, "sending")
            try:
                return await self.ledger.append(
                    item.about, happening, item.snapshot.beginning(attempt), after=item.revision
                )
            except ConflictError:
                story = await self.ledger.read(item.source, item.notification_id)
            if not item.is_next_of(story):
                await self._resume(item, story)
                return None
            item = item.on(story)

    async def _resume(self, item: OutboxItem, story: Story) -> None:
        """The attempt is in the log already: act on what stands there."""
        attempt = story.snapshot.attempt(item.attempt)
        if attempt is None or attempt.status is not DeliveryStatus.SENDING or story.snapshot.closed:
            log.debug("attempt.already_made", **_keys(item))
            await self.holding.resume(item, story)
            return
        age = self.clock().timestamp() - attempt.begun
        if (left := self.timeout + _GRACE - age) > 0 and await self.presence.lives(attempt.owner):
            raise LaterError("its owner is sending it now", min(left, _GRACE))
        log.warning("attempt.claim_without_outcome", **_keys(item), age=round(age, 1))
        await self._record(
            item.on(story), story, OutcomeUnknownError("a process died before it recorded the outcome"), crashed=True
        )

    def _prepared(self, item: OutboxItem) -> tuple[Channel, OutboundMessage] | SendError:
        step = item.chosen
        sender, channel = self.senders.get(step.sender), self.channels.of(step)
        if sender is None or channel is None:
            return SenderUnknownError("the sender or the channel of the plan is no longer configured")
        token = self.hasher.token(item.source, item.notification_id, item.attempt)
        try:
            return channel, outbound_message(item, sender, token)
        except SendError as exc:
            return exc

    async def _send(self, item: OutboxItem, channel: Channel, message: OutboundMessage) -> SendReceipt | SendError:
        try:
            async with asyncio.timeout(
                self.timeout + _CONNECT
            ):  # the channel keeps its own time-out; this one is the last resort
                return await channel.send(message)
        except SendError as exc:
            if nearest_class(exc) is None:
                log.error("attempt.error_without_class", **_keys(item), error=type(exc).__name__)
                return OutcomeUnknownError(f"the adapter does not say whether it was sent: {exc.message}")
            return exc
        except Exception as exc:
            # Whatever escapes an adapter came after its call began: nobody knows what the provider did.
            log.exception("attempt.adapter_failed", **_keys(item))
            return OutcomeUnknownError(f"the adapter failed: {type(exc).__name__}")

    async def _record(
        self, item: OutboxItem, story: Story, outcome: SendReceipt | SendError, *, crashed: bool = False
    ) -> None:
        """Append the outcome once; it is held until the store takes it."""
        if isinstance(outcome, RecipientOptedOutError):
            proof = f"the provider refused attempt {item.attempt} of {item.source}/{item.notification_id}"
            await self._until_stored(lambda: self.consent.refused(item.notification.recipient(), item.chosen, proof))
        elif isinstance(outcome, ServiceWindowClosedError) and (attempt := story.snapshot.attempt(item.attempt)):
            begun = datetime.fromtimestamp(attempt.begun, UTC)
            sessions, recipient = self.recipients.sessions, item.notification.recipient()
            await self._until_stored(lambda: sessions.closed(item.chosen.sender, recipient, begun))
        elif isinstance(outcome, RecipientUnreachableError):
            recipient, channel = item.notification.recipient(), item.chosen.channel
            learn = partial(self.recipients.reach.learn, recipient, channel, outcome.as_provider_error())
            await self._until_stored(learn)
        while True:
            attempt = story.snapshot.attempt(item.attempt)
            assert attempt is not None
            happening, moved = self._outcome(item, story, attempt, outcome, crashed=crashed)
            if not advances(attempt.status, moved.status):
                log.debug("attempt.overtaken", **_keys(item), status=moved.status)
                return
            snapshot = story.snapshot.with_attempt(moved)
            if happening.final and not snapshot.closed:
                snapshot = replace(snapshot, closed=True)
            if attempt.status is DeliveryStatus.UNKNOWN and moved.provider_message_id is not None:
                await self._until_stored(partial(self._reveal, item, moved.provider_message_id))
            try:
                await self.ledger.append(item.about, happening, snapshot, after=story.sequence)
            except ConflictError:
                story = await self._read_until_there(item)
            except StoreError:
                await asyncio.sleep(_HOLD)
            else:
                if attempt.status is DeliveryStatus.UNKNOWN:
                    await self._until_stored(partial(self.owners.let_go, story, attempt))
                return

    async def _reveal(self, item: OutboxItem, provider_message_id: str) -> None:
        """The answer came after somebody had declared it lost: a search may have given its message away."""
        owner = Owner(item.source, item.notification_id, item.attempt)
        await self.owners.reveal(provider_message_id, owner)

    async def _read_until_there(self, item: OutboxItem) -> Story:
        while True:
            try:
                return await self.ledger.read(item.source, item.notification_id)
            except StoreError:
                await asyncio.sleep(_HOLD)

    def _outcome(
        self, item: OutboxItem, story: Story, attempt: Attempt, outcome: SendReceipt | SendError, *, crashed: bool
    ) -> tuple[Happening, Attempt]:
        if isinstance(outcome, SendReceipt):
            status = DeliveryStatus.SENT if outcome.last_word else DeliveryStatus.ACCEPTED
            happening = self._happening(item, status, outcome)
            # An earlier attempt may have arrived late meanwhile: that was the end already.
            happening = replace(happening, final=False) if story.snapshot.closed else happening
            return happening, attempt.moved(status, outcome.provider_message_id)
        error = outcome.as_provider_error()
        if isinstance(outcome, OutcomeUnknownError):
            reason = Reason.CRASHED if crashed else Reason.OUTCOME_UNKNOWN
            happening = replace(self._happening(item, "unknown"), reason=reason, error=error)
            return happening, attempt.moved(DeliveryStatus.UNKNOWN, None)
        move = self.mover.after_error(outcome, story.snapshot, item.step, item.notification.expires_at)
        happening = replace(self._happening(item, "failed"), reason=outcome.reason, error=error)
        moved = attempt.moved(DeliveryStatus.FAILED, None, move)
        return happening, replace(moved, in_vain=outcome.in_vain and not outcome.slow)

    def _happening(self, item: OutboxItem, status: str, receipt: SendReceipt | None = None) -> Happening:
        step = item.chosen
        channel = self.channels.of(step)
        return Happening(
            status,
            self.clock(),
            channel=step.channel,
            form=step.form,
            attempt=item.attempt,
            sender=step.sender,
            provider=channel.provider if channel else None,
            provider_message_id=receipt.provider_message_id if receipt else None,
            provider_status=receipt.provider_status if receipt else None,
            final=receipt.last_word if receipt else False,
            reason=Reason.NO_RECEIPT if receipt and receipt.last_word else None,
        )

    @staticmethod
    async def _until_stored(store: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await store()
            except StoreError:
                await asyncio.sleep(_HOLD)
            else:
                return


def _keys(item: OutboxItem) -> dict[str, object]:
    return {
        "source": item.source,
        "notification_id": item.notification_id,
        "attempt": item.attempt,
        "channel": item.chosen.channel,
        "sender": item.chosen.sender,
    }


def _words(outcome: SendReceipt | SendError) -> dict[str, object]:
    if isinstance(outcome, SendReceipt):
        return {"status": "accepted", "provider_message_id": outcome.provider_message_id}
    status = "unknown" if isinstance(outcome, OutcomeUnknownError) else "failed"
    return {"status": status, "reason": outcome.reason, "code": outcome.provider_code}
