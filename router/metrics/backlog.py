"""What waits, and how far everybody who reads has come: asked of JetStream when somebody wants to know.

One reading serves everybody for a few seconds, and has to be done in two: who asks for metrics must get an answer while
NATS gives none.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from channels.model import Lane
from router import subjects, topology
from router.clock import Clock, parse_time, utc_now
from router.deadletters import DeadLetters
from router.jetstream import JetStream, StoreError
from router.timers import Kind

STREAMS = (
    subjects.NOTIFICATIONS,
    subjects.OUTBOX,
    subjects.DELIVERIES,
    subjects.TIMERS,
    subjects.INBOUND,
    subjects.DEADLETTERS,
)
_FRESH = 5.0  #: seconds that a reading serves
_PATIENCE = 2.0  #: seconds that it may take
_RECOUNT = 30.0  #: seconds between counts of dead letters, which read what was done about each
_BEHIND = 10**9
#: Durable consumers of one stream that are shown beside the router's own; subscribers make theirs as they like.
_CONSUMERS = 200
_OURS = {
    *(topology.intake(lane) for lane in Lane),
    topology.FOLLOW_UP,
    topology.STUCK,
    topology.STUCK_AGAIN,
    topology.SEARCH,
    topology.RETURNS,
    topology.WAKE,
}


@dataclass(frozen=True, slots=True)
class StreamState:
    """How much a stream holds."""

    messages: int
    bytes: int
    first: int  #: sequence
    last: int  #: sequence


@dataclass(frozen=True, slots=True)
class ConsumerState:
    """How far a durable consumer has come."""

    stream: str
    name: str
    pending: int  #: not delivered to it yet
    unsettled: int  #: delivered and not acknowledged
    redelivered: int  #: of those, more than once


@dataclass(frozen=True, slots=True)
class QueueState:
    """What waits for one sender in one lane."""

    sender: str
    lane: str
    messages: int
    oldest: float  #: seconds that the oldest of them has been waiting; 0 where none waits


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything at one moment."""

    at: float = 0.0  #: monotonic; 0: never read
    complete: bool = False  #: NATS answered everything in time
    streams: Mapping[str, StreamState] | None = None
    consumers: Sequence[ConsumerState] = ()
    queues: Sequence[QueueState] = ()
    open_letters: int | None = None  #: dead letters that nobody has dealt with
    unknown: int | None = None  #: attempts of unknown outcome that are to be looked into


class Backlog:
    """Reads it, once for all who ask within a few seconds."""

    def __init__(
        self,
        js: JetStream,
        dead_letters: DeadLetters,
        letters_bucket: str,
        senders: Sequence[str],
        *,
        clock: Clock = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._js = js
        self._letters = _OpenLetters(js, dead_letters, f"KV_{letters_bucket}", monotonic)
        self._senders = senders
        self._clock = clock
        self._monotonic = monotonic
        self._reading = Reading()
        self._lock = asyncio.Lock()

    async def read(self) -> Reading:
        """The newest reading; an old one, marked incomplete, while NATS does not answer."""
        async with self._lock:
            if not self._reading.at or self._monotonic() - self._reading.at > _FRESH:
                self._reading = await self._renewed()
            return self._reading

    async def _renewed(self) -> Reading:
        try:
            async with asyncio.timeout(_PATIENCE):
                reading = await self._read()
        except (StoreError, TimeoutError):
            reading = replace(self._reading, complete=False)
        return replace(reading, at=self._monotonic())

    async def _read(self) -> Reading:
        streams = dict(zip(STREAMS, await asyncio.gather(*map(self._stream, STREAMS)), strict=True))
        consumers = [each for name in STREAMS for each in await self._consumers(name)]
        queues = await asyncio.gather(*(self._queue(*place) for place in self._places(consumers)))
        letters = await self._letters.count(streams[subjects.DEADLETTERS])
        return Reading(0.0, True, streams, consumers, queues, letters, await self._unknown())

    async def _unknown(self) -> int:
        """Each has one timer; from behind the last of them on, the server counts and lists none."""
        asked = {"subjects_filter": subjects.timer(Kind.RECONCILE, "*", "*"), "offset": _BEHIND}
        return int((await self._js.api(f"STREAM.INFO.{subjects.TIMERS}", asked)).get("total", 0))

    async def _stream(self, name: str) -> StreamState:
        return await stream_state(self._js, name)

    async def _consumers(self, stream: str) -> list[ConsumerState]:
        """The router's own, all of them, and of the others as many as are shown."""
        found = [_consumer(stream, row) for row in await topology.listed(self._js, stream) if _is_durable(row)]
        if stream == subjects.OUTBOX:  # nobody else reads it
            return found
        others = [each for each in found if each.name not in _OURS]
        return [each for each in found if each.name in _OURS] + others[:_CONSUMERS]

    def _places(self, consumers: Sequence[ConsumerState]) -> list[tuple[str, Lane, int]]:
        waiting = {each.name: each.pending + each.unsettled for each in consumers if each.stream == subjects.OUTBOX}
        return [
            (sender, lane, waiting.get(f"dispatch-{sender}-{lane}", 0)) for sender in self._senders for lane in Lane
        ]

    async def _queue(self, sender: str, lane: Lane, waiting: int) -> QueueState:
        oldest = await self._js.first(subjects.OUTBOX, subjects.outbox_lane(sender, lane)) if waiting else None
        age = (self._clock() - parse_time(oldest.time)).total_seconds() if oldest else 0.0
        return QueueState(sender, lane.value, waiting, max(0.0, age))


async def stream_state(js: JetStream, name: str) -> StreamState:
    """How much this stream holds now."""
    state = (await js.api(f"STREAM.INFO.{name}"))["state"]
    return StreamState(state["messages"], state["bytes"], state["first_seq"], state["last_seq"])


def _is_durable(row: Mapping[str, Any]) -> bool:
    """The others have a name that lives for a minute: no label for a time series."""
    return bool(row["config"].get("durable_name"))


def _consumer(stream: str, row: Mapping[str, Any]) -> ConsumerState:
    return ConsumerState(
        stream, row["name"], row.get("num_pending", 0), row.get("num_ack_pending", 0), row.get("num_redelivered", 0)
    )


class _OpenLetters:
    """How many dead letters are open: counted anew when one came or was dealt with, and not all the time."""

    def __init__(self, js: JetStream, dead_letters: DeadLetters, marks: str, monotonic: Callable[[], float]) -> None:
        self._js = js
        self._dead_letters = dead_letters
        self._marks = marks  #: the stream of the bucket that says what was dealt with
        self._monotonic = monotonic
        self._seen: tuple[int, ...] = ()
        self._counted = 0.0
        self._open = 0

    async def count(self, letters: StreamState) -> int:
        now_at = (letters.first, letters.last, (await stream_state(self._js, self._marks)).last)
        if now_at != self._seen and (not self._seen or self._monotonic() - self._counted > _RECOUNT):
            self._open = max(0, letters.messages - await self._dead_letters.dealt_with(letters.first))
            self._seen, self._counted = now_at, self._monotonic()
        return self._open
