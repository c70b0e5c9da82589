"""Frequency caps: who was sent how much lately, counted strictly however many routers decide at once.

Only a policy with `guards.frequency` for the notification's category comes here; all others cost nothing. Before a
notification is `routed`, it is written into the recipient's row of the bucket `recent` by compare-and-set on what the
decision was made from. Of two that are decided at the same moment, one loses, reads what the other wrote and is decided
again.

A notification counts once, under its own name: a redelivery, or a crash between counting and routing, finds its name
there and leaves one of it. What ends without having reached the provider gives its place back (`Returns`), driven by
the log's own events, so that a process that dies leaves nothing undone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from nats.aio.msg import Msg

from channels.address import parse_recipient
from channels.model import Category, Recipient
from channels.status import DeliveryStatus
from policies.engine import Policy
from policies.model import Decision, RoutingPlan
from router import topology
from router.buckets import Bucket
from router.clock import Clock
from router.crashpoints import CrashPoint, reached
from router.hashing import Hasher
from router.jetstream import JetStream, WrongSequenceError
from router.story import SNAPSHOT, Attempt, Snapshot

log = structlog.get_logger(__name__)

Recent = Mapping[Category, tuple[datetime, ...]]


@dataclass(frozen=True, slots=True)
class Sent:
    """One notification that was routed."""

    name: str  #: "<source>.<id>"
    category: Category
    at: datetime

    def row(self) -> list[object]:
        """As stored; the time in seconds since 1970."""
        return [self.name, self.category.value, round(self.at.timestamp(), 3)]


class Caps:
    """The bucket `recent`: for each recipient, what was routed to them within the policy's longest window."""

    def __init__(self, js: JetStream, prefix: str, hasher: Hasher, clock: Clock) -> None:
        self._hasher = hasher
        self._clock = clock
        self._bucket = Bucket(js, prefix + topology.RECENT)

    async def recent(self, recipient: Recipient, policy: Policy) -> Recent:
        """What a decision about one more notification to this recipient has to know."""
        _, rows = await self._read(self._hasher.recipient(recipient))
        return _by_category(self._within(rows, policy))

    async def decided(
        self, name: str, recipient: Recipient, category: Category, policy: Policy, decide: Callable[[Recent], Decision]
    ) -> Decision:
        """Decide with what the recipient was sent lately; what is routed is counted when this returns."""
        key = self._hasher.recipient(recipient)
        while True:
            revision, rows = await self._read(key)
            others = [each for each in self._within(rows, policy) if each.name != name]
            decision = decide(_by_category(others))
            if not isinstance(decision.outcome, RoutingPlan):
                return decision
            try:
                await self._write(key, [*others, Sent(name, category, self._clock())], revision, policy.remembers)
            except WrongSequenceError:
                continue
            reached(CrashPoint.INTAKE_COUNTED)
            return decision

    async def give_back(self, name: str, recipient: Recipient, policy: Policy) -> bool:
        """It was not sent: it counts no more. Returns whether it did; repeating it is harmless."""
        key = self._hasher.recipient(recipient)
        while True:
            revision, rows = await self._read(key)
            others = [each for each in self._within(rows, policy) if each.name != name]
            if not any(each.name == name for each in rows):
                return False
            try:
                await self._write(key, others, revision, policy.remembers)
            except WrongSequenceError:
                continue
            return True

    def _within(self, rows: Iterable[Sent], policy: Policy) -> list[Sent]:
        since = self._clock() - timedelta(seconds=policy.remembers)
        return [each for each in rows if each.at > since]

    async def _read(self, key: str) -> tuple[int, list[Sent]]:
        entry = await self._bucket.get(key)
        if entry is None:
            return 0, []
        return entry.revision, [Sent(name, Category(kind), _moment(at)) for name, kind, at in json.loads(entry.value)]

    async def _write(self, key: str, rows: Iterable[Sent], revision: int, ttl: float) -> None:
        value = json.dumps([each.row() for each in rows], separators=(",", ":")).encode()
        await self._bucket.put(key, value, ttl=ttl, expect=revision)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _by_category(rows: Iterable[Sent]) -> Recent:
    recent: dict[Category, tuple[datetime, ...]] = {}
    for each in rows:
        recent[each.category] = (*recent.get(each.category, ()), each.at)
    return recent


@dataclass(frozen=True, slots=True)
class Returns:
    """Takes ends out of the log and gives back what was not sent."""

    caps: Caps
    policy: Callable[[], Policy]

    async def on_message(self, msg: Msg) -> None:
        """An event of the stream DELIVERIES that may be the end of a notification."""
        await self.on_event(msg.data, msg.headers or {})

    async def on_event(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Done when it returns."""
        event, policy = json.loads(body), self.policy()
        snapshot = Snapshot.load(headers[SNAPSHOT])
        if event["category"] not in policy.capped or event["recipient"] is None:
            return
        if not snapshot.closed or any(_may_have_arrived(attempt) for attempt in snapshot.attempts):
            return
        reached(CrashPoint.RETURN_TAKEN)
        name = f"{event['source']}.{event['notification_id']}"
        if await self.caps.give_back(name, parse_recipient(event["recipient"]), policy):
            log.info("caps.given_back", source=event["source"], notification_id=event["notification_id"])


def _may_have_arrived(attempt: Attempt) -> bool:
    """Whatever the provider accepted counts, and so does what nobody knows; what was taken back does not."""
    if attempt.status is DeliveryStatus.CANCELED:
        return False
    return attempt.provider_message_id is not None or attempt.status is not DeliveryStatus.FAILED or attempt.settled
