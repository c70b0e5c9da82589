"""Streams, buckets and consumers: declared here and nowhere else, created or updated at start.

What an operator tuned by hand (limits, placement) is left alone; what the router depends on is enforced where the
server can change it, and stops the start with a sentence where it cannot.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from channels.model import Lane
from router import subjects
from router.jetstream import STREAM_NOT_FOUND, JetStream, StoreError, StoreRefusedError, StoreUnavailableError
from router.pulling import Handler, Puller
from router.settings import Settings
from router.timers import Kind

#: Message schedules came with 2.12; 2.12.3 and 2.12.4 could lose messages of replicated work queues.
MINIMUM_SERVER = (2, 12, 5)

INTAKE, FOLLOW_UP, WAKE, STUCK, RETURNS = "intake", "follow-up", "wake", "stuck", "returns"
#: Later looks at stuck messages, and searches for unknown ones.
STUCK_AGAIN, SEARCH = "stuck-again", "search"
#: Each has a consumer of its own: a provider that does not answer must not hold up what else wakes.
_ASKING = {Kind.STUCK: STUCK_AGAIN, Kind.RECONCILE: SEARCH}
SESSIONS, CONSENT, REACH, RECENT, SENDERS = "sessions", "consent", "reach", "recent", "senders"
LAST_SENDERS = "last-senders"
META, POLICY, ATTRIBUTIONS, DEADLETTERS = "pointsman", "policy", "attributions", "deadletters"
BUCKETS = (SESSIONS, CONSENT, REACH, RECENT, LAST_SENDERS, SENDERS, META, POLICY, ATTRIBUTIONS, DEADLETTERS)

#: Statuses after which something has to be done: the next attempt, the search for an unknown one, the end.
FOLLOWED = ("failed", "undelivered", "unknown", "canceled")

#: Statuses of events that end a notification which the provider may never have accepted.
ENDED = ("suppressed", "rejected", "expired", "exhausted", "canceled")

_DAY = 86_400 * 10**9  # nanoseconds
_SECOND = 10**9
_REPEATS = 6 * 3600 * _SECOND
#: The server cannot change these on an existing stream.
_FIXED = ("retention", "storage")
#: For so many seconds a cluster is asked again, as often as this: an election takes 4 to 9.
_SETTLES_WITHIN, _ASKED_AGAIN = 20.0, 0.25


class TopologyError(Exception):
    """The NATS server or something on it does not fit; the message says what differs and what to do."""


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """One stream as the router needs it."""

    name: str
    subjects: tuple[str, ...]
    extra: Mapping[str, Any] = field(default_factory=dict)

    def config(self, replicas: int) -> dict[str, Any]:
        """As the JetStream API takes it."""
        base = {
            "name": self.name,
            "subjects": list(self.subjects),
            "retention": "limits",
            "storage": "file",
            "num_replicas": replicas,
            "allow_direct": True,
        }
        return {**base, **self.extra}


def streams(settings: Settings) -> list[StreamPlan]:
    """Every stream of the contract."""
    ages = settings.streams
    return [
        StreamPlan(subjects.NOTIFICATIONS, ("notifications.>",), {"max_age": int(ages.notifications_max_age * _DAY)}),
        StreamPlan(subjects.OUTBOX, ("outbox.>",), {"retention": "workqueue"}),
        StreamPlan(subjects.DELIVERIES, ("deliveries.>",), {"max_age": int(ages.deliveries_max_age * _DAY)}),
        StreamPlan(
            subjects.TIMERS,
            ("timers.>", "wake.>"),
            {"retention": "workqueue", "allow_msg_schedules": True, "allow_msg_ttl": True, "allow_rollup_hdrs": True},
        ),
        _kept_once(subjects.INBOUND, "inbound.>", ages.inbound_max_age),
        _kept_once(subjects.DEADLETTERS, "deadletters.>", ages.deadletters_max_age),
        *(bucket_stream(settings.streams.bucket_prefix + name) for name in BUCKETS),
    ]


def _kept_once(name: str, subject: str, days: float) -> StreamPlan:
    """A stream whose messages carry an id; whoever repeats one may be hours late."""
    age = int(days * _DAY)
    return StreamPlan(name, (subject,), {"max_age": age, "duplicate_window": min(age, _REPEATS)})


def bucket_stream(bucket: str) -> StreamPlan:
    """A key-value bucket is a stream that keeps the last message of each subject."""
    return StreamPlan(
        f"KV_{bucket}",
        (f"$KV.{bucket}.>",),
        {
            "max_msgs_per_subject": 1,
            "discard": "new",
            "deny_delete": True,
            "allow_rollup_hdrs": True,
            "allow_msg_ttl": True,
        },
    )


def consumers(settings: Settings) -> list[tuple[str, dict[str, Any]]]:
    """Every durable consumer, with its stream."""
    wait = settings.dispatch.ack_wait
    followed = tuple(f"deliveries.*.{status}.>" for status in FOLLOWED)
    return [
        *((subjects.NOTIFICATIONS, _taking_in(lane, wait)) for lane in Lane),
        (subjects.DELIVERIES, _consumer(FOLLOW_UP, wait, followed)),
        (subjects.DELIVERIES, _consumer(STUCK, wait, ("deliveries.*.accepted.>",))),
        # What asks providers has consumers of its own, made after the one that gives their subjects up.
        (subjects.TIMERS, _consumer(WAKE, wait, tuple(f"wake.{kind}.>" for kind in Kind if kind not in _ASKING))),
        *((subjects.TIMERS, _consumer(name, wait, (f"wake.{kind}.>",))) for kind, name in _ASKING.items()),
        *((subjects.OUTBOX, dispatching(sender.name, lane, wait)) for sender in settings.senders for lane in Lane),
    ]


def intake(lane: Lane) -> str:
    """Each lane has a consumer of its own: a campaign that is published holds up nothing more urgent."""
    return f"{INTAKE}-{lane}"


def _taking_in(lane: Lane, wait: float) -> dict[str, Any]:
    return _consumer(intake(lane), wait, (f"notifications.{lane}.>",), max_ack_pending=5_000)


def consumer(settings: Settings, name: str) -> tuple[str, dict[str, Any]]:
    """One of them, with its stream."""
    return next((stream, config) for stream, config in consumers(settings) if config["durable_name"] == name)


def dispatching(sender: str, lane: Lane, ack_wait: float) -> dict[str, Any]:
    """The consumer of one sender's lane."""
    return _consumer(f"dispatch-{sender}-{lane}", ack_wait, (subjects.outbox_lane(sender, lane),))


def returning(ack_wait: float, since: datetime) -> dict[str, Any]:
    """The consumer of ends that may give a place under a cap back; made when a policy first has a cap."""
    filters = tuple(f"deliveries.*.{status}.>" for status in ENDED)
    return {
        **_consumer(RETURNS, ack_wait, filters),
        "deliver_policy": "by_start_time",
        "opt_start_time": since.astimezone(UTC).isoformat().replace("+00:00", "Z"),
    }


async def has_consumer(js: JetStream, stream: str, name: str) -> bool:
    """Whether a durable consumer is there."""
    try:
        await js.api(f"CONSUMER.INFO.{stream}.{name}")
    except StoreRefusedError:
        return False
    return True


async def listed(js: JetStream, stream: str) -> list[dict[str, Any]]:
    """Every consumer of a stream, as the server tells of it: 256 to a page."""
    found: list[dict[str, Any]] = []
    while True:
        page = await js.api(f"CONSUMER.LIST.{stream}", {"offset": len(found)})
        rows = page.get("consumers") or []
        found += rows
        if not rows or len(found) >= page["total"]:
            return found


def _consumer(name: str, ack_wait: float, filters: tuple[str, ...], *, max_ack_pending: int = 1_000) -> dict[str, Any]:
    config: dict[str, Any] = {
        "durable_name": name,
        "ack_policy": "explicit",
        "ack_wait": int(ack_wait * _SECOND),
        "max_deliver": -1,  # giving up is a decision of the router, with a dead letter, never of the server
        "max_ack_pending": max_ack_pending,
        "deliver_policy": "all",
    }
    if len(filters) == 1:
        return {**config, "filter_subject": filters[0]}
    return {**config, "filter_subjects": list(filters)}


def check_server(version: tuple[int, int, int]) -> None:
    """Stop at a server that lacks what the router is built on."""
    if version < MINIMUM_SERVER:
        raise TopologyError(
            f"The NATS server is {'.'.join(map(str, version))}; Pointsman needs 2.12.5 or later "
            "(message schedules; earlier 2.12 could lose messages of replicated work queues)."
        )


async def provision(js: JetStream, settings: Settings) -> None:
    """Create or update everything. Safe to run from several routers at once."""
    replicas = settings.nats.replicas
    steps = [partial(_ensure_stream, js, plan.config(replicas)) for plan in streams(settings)]
    steps += [partial(ensure_consumer, js, stream, config) for stream, config in consumers(settings)]
    for step in steps:
        await _when_settled(step, elects=replicas > 1)


async def _when_settled(step: Callable[[], Awaitable[None]], *, elects: bool) -> None:
    """What one server of a cluster has made, for another is not there yet; it is asked again for a while."""
    deadline = time.monotonic() + _SETTLES_WITHIN
    while True:
        try:
            return await step()
        except (TopologyError, StoreError) as exc:
            if time.monotonic() > deadline or not _passes(exc, elects=elects):
                raise
        await asyncio.sleep(_ASKED_AGAIN)


def _passes(exc: BaseException | None, *, elects: bool) -> bool:
    """Whether NATS may answer otherwise in a moment. Silence is an election, or a permission that is missing."""
    if isinstance(exc, TopologyError):
        return _passes(exc.__cause__, elects=elects)
    if isinstance(exc, StoreUnavailableError) and not elects:
        return False
    return isinstance(exc, StoreError) and exc.passes


async def missing(js: JetStream, settings: Settings) -> list[str]:
    """Streams that are not there: what readiness reports."""
    present = await _names(js)
    return [plan.name for plan in streams(settings) if plan.name not in present]


async def _names(js: JetStream) -> set[str]:
    names: set[str] = set()
    while True:
        page = await js.api("STREAM.NAMES", {"offset": len(names)})
        names |= set(page.get("streams") or [])
        if len(names) >= page["total"] or not page.get("streams"):
            return names


async def _ensure_stream(js: JetStream, wanted: dict[str, Any]) -> None:
    name = wanted["name"]
    if (current := await _stream_config(js, name)) is None:
        await _apply(js, f"STREAM.CREATE.{name}", wanted, f"stream {name}")
        return
    if differing := [key for key in _FIXED if current.get(key) != wanted[key]]:
        what = ", ".join(f"{key} is {current.get(key)!r} and must be {wanted[key]!r}" for key in differing)
        raise TopologyError(f"stream {name} exists and conflicts: {what}. Rename or remove it, then start again.")
    if any(current.get(key) != value for key, value in wanted.items()):
        await _apply(js, f"STREAM.UPDATE.{name}", {**current, **wanted}, f"stream {name}")


async def _stream_config(js: JetStream, name: str) -> dict[str, Any] | None:
    try:
        config: dict[str, Any] = (await js.api(f"STREAM.INFO.{name}"))["config"]
    except StoreRefusedError as exc:
        if exc.code == STREAM_NOT_FOUND:
            return None
        raise
    return config


async def ensure_consumer(js: JetStream, stream: str, config: dict[str, Any]) -> None:
    """Create a durable consumer, or bring it up to date; its position is kept."""
    subject = f"CONSUMER.CREATE.{stream}.{config['durable_name']}"
    what = f"consumer {config['durable_name']} of stream {stream}"
    await _apply(js, subject, {"stream_name": stream, "config": config}, what)


def puller(js: JetStream, stream: str, config: dict[str, Any], handler: Handler, room: Callable[[], int]) -> Puller:
    """Pulls from a durable consumer, and makes it again should somebody delete it."""

    async def restore() -> None:
        try:
            await ensure_consumer(js, stream, config)
        except TopologyError as exc:
            raise StoreRefusedError(str(exc)) from exc

    return Puller(js, stream, config["durable_name"], handler, room, restore)


async def _apply(js: JetStream, subject: str, request: dict[str, Any], what: str) -> None:
    try:
        await js.api(subject, request)
    except StoreRefusedError as exc:
        raise TopologyError(f"{what} cannot be made as the router needs it: {exc}") from exc
