"""Intake: read a notification, decide, append the decision to the log, hand the routed message to its sender.

Where the sender is paced in this process and nothing waits for it, the message is sent at once; otherwise it goes into
the sender's outbox. Every step may be repeated after a crash: the first event of a notification is appended by
compare-and-set, so whoever comes second finds the story begun and only completes what is missing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cached_property

import structlog
from nats.aio.msg import Msg

from channels.model import NO_CHANNEL, ChannelName, Lane
from channels.reasons import Reason
from channels.status import DeliveryStatus
from channels.values import value
from policies.engine import Policy, decide
from policies.explain import decision_as_dict
from policies.model import Decision, Deferred, Outcome, Rejected, RoutingPlan, RoutingRequest, Suppressed
from router import subjects
from router.caps import Caps, Recent
from router.clock import Clock, rfc3339
from router.crashpoints import CrashPoint, reached
from router.deadletters import DeadLetters
from router.events import Happening
from router.lately import Lately
from router.ledger import ConflictError, Ledger
from router.outbox import TRACEPARENT, Outbox, OutboxItem, about, traceparent_in
from router.pulling import place_of
from router.received import Received, as_published
from router.recipients import Recipients
from router.refusals import Refusals
from router.story import About, Snapshot, Story
from router.timers import Kind, Timers
from router.wire import InvalidNotificationError, Notification, parse_notification, too_large

log = structlog.get_logger(__name__)

_REMEMBERED = 50_000  #: ids
#: Seconds of the time for which a notification is kept that are left to its attempts, where that is ten days or more.
_FOR_ATTEMPTS = 86_400.0
#: Bytes that headers may add to a notification on its way, the story of many attempts included.
HEADROOM = 32 * 1024

#: Makes an attempt now, if it can be made now. False: it has to wait in the outbox.
AtOnce = Callable[[OutboxItem], Awaitable[bool]]


def request_of(
    notification: Notification, source: str, lane: Lane, channels: Collection[ChannelName]
) -> RoutingRequest:
    """What routing depends on. Raises `InvalidNotificationError` for a pinned channel that is not among these."""
    if notification.channel is not None and notification.channel not in channels:
        known = ", ".join(sorted(channels))
        raise InvalidNotificationError(
            f"channel: no channel {notification.channel!r} is installed (there are {known})", "channel", notification.id
        )
    return notification.as_request(source, lane)


def check_wait(notification: Notification, kept: float, now: datetime) -> None:
    """Every attempt is made of the notification as it was published, which must still be there for the last one.

    `kept`: seconds for which the streams keep it. Raises `InvalidNotificationError` that names `send_at`.
    """
    longest = kept - min(_FOR_ATTEMPTS, kept / 10)
    if notification.send_at is not None and (notification.send_at - now).total_seconds() > longest:
        days, latest = f"{round(kept / 86_400, 1):g} days", now + timedelta(seconds=longest)
        raise InvalidNotificationError(
            f"send_at: lies too far ahead: notifications are kept for {days} (streams.notifications_max_age and "
            f"streams.deliveries_max_age), so {rfc3339(latest)} is the latest now",
            "send_at",
            notification.id,
        )


class Intake:
    """From NOTIFICATIONS to DELIVERIES and OUTBOX."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        outbox: Outbox,
        timers: Timers,
        dead_letters: DeadLetters,
        recipients: Recipients,
        caps: Caps,
        policy: Callable[[], Policy],
        channels: Collection[ChannelName],
        clock: Clock,
        max_body: int,
        kept: float = 30 * 86_400.0,
        at_once: AtOnce | None = None,
    ) -> None:
        self._max_body = max_body  #: bytes of a notification
        self._kept = kept  #: seconds for which the streams keep a notification and its story
        self._ledger = ledger
        self._outbox = outbox
        self._at_once = at_once  #: None: all of it waits in the outbox
        self._timers = timers
        self._recipients = recipients
        self._caps = caps
        self._policy = policy
        self._channels = channels
        self._clock = clock
        self._lately = Lately(_REMEMBERED)
        self._refusals = Refusals(ledger, dead_letters, policy, clock)

    async def on_message(self, msg: Msg) -> None:
        """A message of the stream NOTIFICATIONS."""
        place = place_of(msg)
        again, at = place.deliveries > 1, place.stored_at
        await self.take(
            Received(msg.subject, place.sequence, msg.data, msg.headers or {}, redelivered=again, published=at)
        )

    async def take(self, received: Received) -> None:
        """One notification, from the wire to its outbox. Done when it returns: it may then be acknowledged."""
        reached(CrashPoint.INTAKE_RECEIVED)
        try:
            origin = subjects.read_notification(received.subject)
        except subjects.SubjectError as exc:
            await self._refusals.misplaced(received, str(exc))
            return
        try:
            self._check_size(received.body)
            notification = parse_notification(received.body)
            check_wait(notification, self._kept, self._clock())
            request = request_of(notification, origin.source, origin.lane, self._channels)
        except InvalidNotificationError as exc:
            await self._refusals.malformed(received, origin, exc)
            return
        incoming = _Incoming(received, origin, notification, request)
        await self._follow(incoming, await self._story_so_far(incoming))

    async def route_again(self, item: OutboxItem, senders: Collection[str]) -> bool:
        """Its sender is configured no more and nothing was attempted: decide anew, or go on where that was done.

        `senders` are those that there are. False: it asks for what is not there any more, so it cannot be decided anew,
        or its attempt was begun and has no outcome.
        """
        origin = subjects.Origin(Lane(item.lane), item.source)
        headers = {TRACEPARENT: item.traceparent} if item.traceparent else {}
        subject = subjects.notification(item.lane, item.source)
        received = Received(subject, item.snapshot.notification_sequence, item.body, headers, redelivered=True)
        try:
            incoming = _Incoming(
                received,
                origin,
                item.notification,
                request_of(item.notification, origin.source, origin.lane, self._channels),
            )
        except InvalidNotificationError:
            return False
        while True:
            story = await self._ledger.read(item.source, item.notification_id)
            if story.snapshot.closed or story.snapshot.attempts or not story.snapshot.plan:
                return not _has_open_attempt(story.snapshot)  # the story has gone on
            if story.snapshot.plan[0].sender in senders:
                await self._hand_over(incoming, story)
                return True
            try:
                await self._decide(incoming, story)
            except ConflictError:
                continue
            return True

    def _check_size(self, body: bytes) -> None:
        """What is published once with few headers must fit once more, with ours."""
        if len(body) > self._max_body:
            raise too_large(body, self._max_body)

    async def _story_so_far(self, incoming: _Incoming) -> Story:
        """Nearly always there is none, and compare-and-set finds out: only what is likely known already is looked up.

        It would be right without looking, too. But who listens on the subject without JetStream also hears an append
        that the stream then refuses, so as few as possible are tried.
        """
        source, identity = incoming.origin.source, incoming.notification.id
        if incoming.received.redelivered or self._lately.seen((source, identity)):
            return await self._ledger.read(source, identity)
        return Story(source, identity)

    async def _follow(self, incoming: _Incoming, story: Story) -> None:
        """Begin the story, or go on from where it stands."""
        while True:
            if story.begun:
                await self._go_on(incoming, story)
                return
            try:
                await self._decide(incoming, story)
                return
            except ConflictError:
                story = await self._ledger.read(story.source, story.notification_id)

    async def _go_on(self, incoming: _Incoming, story: Story) -> None:
        """The id is known: a repeated publication, a redelivery after a crash, or a timer that fired."""
        if story.snapshot.fingerprint != incoming.notification.fingerprint():
            await self._refusals.reused(incoming.received, story, incoming.about)
        elif story.snapshot.closed or story.snapshot.attempts:
            log.debug("intake.duplicate", **incoming.keys)
            await self._see_to_its_outcome(incoming, story)
        elif story.snapshot.plan:
            await self._hand_over(incoming, story)
        elif story.snapshot.wakes_after(self._clock()):
            await self._wait(incoming, story.snapshot)
        else:
            await self._decide_again(incoming, story)

    async def _see_to_its_outcome(self, incoming: _Incoming, story: Story) -> None:
        """An attempt under way may have been made at once, by a process that died: this was its only trace but the log.

        Dispatch knows how to find out; where its owner lives it only looks again later.
        """
        latest = story.snapshot.latest
        if latest is not None and _has_open_attempt(story.snapshot):
            await self._outbox.put(self._item(incoming, story, latest.step, latest.number))

    async def _decide_again(self, incoming: _Incoming, story: Story) -> None:
        try:
            await self._decide(incoming, story)
        except ConflictError:
            await self._follow(incoming, await self._ledger.read(story.source, story.notification_id))

    async def _decide(self, incoming: _Incoming, story: Story) -> None:
        """Ask the policy, append what it says, act on it. Raises `ConflictError` when the story moved on meanwhile."""
        decision = await self._decision(incoming)
        happening, snapshot = self._as_event(incoming, story, decision)
        story = await self._ledger.append(incoming.about, happening, snapshot, after=story.sequence)
        reached(CrashPoint.INTAKE_APPENDED)
        # What is routed is heard of again when its attempt is done: one line for each notification is enough.
        tell = log.debug if snapshot.plan else log.info
        tell(
            "intake.decided",
            source=story.source,
            notification_id=story.notification_id,
            status=happening.status,
            reason=happening.reason,
            channel=happening.channel,
        )
        log.debug("intake.trace", **incoming.keys, decision=happening.decision)
        if snapshot.plan:
            await self._hand_over(incoming, story, first=not incoming.received.redelivered)
        elif snapshot.until is not None:
            await self._wait(incoming, snapshot)

    async def _decision(self, incoming: _Incoming) -> Decision:
        """What the policy says. Where a cap matters, what it lets through is counted already."""
        request, policy = incoming.request, self._policy()
        if not self._recipients.is_current:
            await self._recipients.refresh(request.recipient)
        facts = self._recipients.facts(request.recipient)
        decision = decide(request, facts, policy, self._clock())
        # What is stopped before anybody asks for what was sent lately needs no look at it.
        if request.category not in policy.capped or not decision.asked("guard.frequency"):
            return decision

        def again(recent: Recent) -> Decision:
            return decide(request, replace(facts, recent=recent), policy, self._clock())

        return await self._caps.decided(incoming.name, request.recipient, request.category, policy, again)

    def _as_event(self, incoming: _Incoming, story: Story, decision: Decision) -> tuple[Happening, Snapshot]:
        outcome = decision.outcome
        plan = outcome.steps if isinstance(outcome, RoutingPlan) else ()
        until = outcome.until if isinstance(outcome, Deferred) else None
        snapshot = Snapshot(
            fingerprint=incoming.notification.fingerprint(),
            notification_sequence=incoming.received.sequence,
            plan=plan,
            closed=not plan and until is None,
            events=story.snapshot.events + 1,
            until=until,
            refused=story.snapshot.refused,
            published=round(incoming.received.published or self._clock().timestamp(), 3),
            expires_at=incoming.notification.expires_at,
        )
        happening = Happening(
            _status(outcome),
            self._clock(),
            final=snapshot.closed,
            channel=plan[0].channel if plan else NO_CHANNEL,
            form=plan[0].form if plan else None,
            sender=plan[0].sender if plan else None,
            reason=None if isinstance(outcome, RoutingPlan) else outcome.reason,
            decision=decision_as_dict(decision),
        )
        return happening, snapshot

    async def _hand_over(self, incoming: _Incoming, story: Story, *, first: bool = False) -> None:
        """`first`: it comes from its stream for the first time, which delivers it once more if this process dies."""
        item = self._item(incoming, story, step=0, attempt=1)
        if not (first and self._at_once and await self._at_once(item)):
            await self._outbox.put(item)
        reached(CrashPoint.INTAKE_HANDED_OVER)

    def _item(self, incoming: _Incoming, story: Story, step: int, attempt: int) -> OutboxItem:
        return OutboxItem(
            source=story.source,
            notification_id=story.notification_id,
            lane=incoming.origin.lane,
            body=incoming.received.body,
            snapshot=story.snapshot,
            revision=story.sequence,
            step=step,
            attempt=attempt,
            traceparent=incoming.traceparent,
        ).knowing(incoming.notification, incoming.about)

    async def _wait(self, incoming: _Incoming, snapshot: Snapshot) -> None:
        assert snapshot.until is not None
        received, request, policy = incoming.received, incoming.request, self._policy()
        if received.redelivered and request.category in policy.capped:
            # Somebody may have counted it and died before it was routed; now it waits.
            await self._caps.give_back(incoming.name, request.recipient, policy)
        headers = as_published(received.subject, received.sequence, incoming.traceparent)
        origin, identity = incoming.origin, incoming.notification.id
        await self._timers.schedule(Kind.DEFER, origin.source, identity, snapshot.until, received.body, headers)


@value(frozen=True)
class _Incoming:
    """A readable notification with what was read from it."""

    received: Received
    origin: subjects.Origin
    notification: Notification
    request: RoutingRequest

    @property
    def traceparent(self) -> str | None:
        return traceparent_in(self.received.headers)

    @property
    def name(self) -> str:
        """Unique among all notifications."""
        return f"{self.origin.source}.{self.notification.id}"

    @cached_property
    def about(self) -> About:
        return about(self.origin.source, self.origin.lane, self.notification, self.traceparent)

    @property
    def keys(self) -> dict[str, str]:
        """What every log line about it says."""
        return {"source": self.origin.source, "notification_id": self.notification.id}


def _has_open_attempt(snapshot: Snapshot) -> bool:
    """Whether an attempt was begun of which nothing is known yet."""
    latest = snapshot.latest
    return latest is not None and latest.status is DeliveryStatus.SENDING and not snapshot.closed


def _status(outcome: Outcome) -> str:
    match outcome:
        case RoutingPlan():
            return "routed"
        case Deferred():
            return "deferred"
        case Suppressed(reason):
            return "expired" if reason is Reason.EXPIRED else "suppressed"
        case Rejected():
            return "rejected"
