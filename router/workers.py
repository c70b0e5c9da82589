"""Taking messages from a durable consumer and telling JetStream what became of each: decided here and nowhere else.

done                      acknowledged
the store is away         given back, again in a moment
a fault of ours           given back with growing pauses, in the end to a person; never dropped
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from channels.reasons import Reason
from router import topology
from router.deadletters import DeadLetters
from router.jetstream import JetStream, StoreError, TooLargeForStoreError
from router.pulling import acknowledge, give_back, still_working
from router.subjects import SOURCE, UNKNOWN_SOURCE

log = structlog.get_logger(__name__)

#: A message whose handling failed by a fault of ours is tried so often before it goes to a person. Each process counts
#: for itself: JetStream counts deliveries, and most of those are no faults.
FAULTS = 5
_COUNTED = 10_000  #: messages whose faults are remembered
_LONGEST_PAUSE = 60.0  #: seconds


class LaterError(Exception):
    """Not now: deliver it again after so many seconds."""

    def __init__(self, why: str, seconds: float) -> None:
        super().__init__(why)
        self.seconds = seconds


Handler = Callable[[Msg], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Settler:
    """Runs a handler on one message and settles it."""

    js: JetStream
    dead_letters: DeadLetters
    stage: str  #: names the dead letters
    faults: dict[int, int] = field(default_factory=dict)  #: sequence -> how often its handling failed; of one stream

    async def handle(self, handler: Handler, msg: Msg) -> None:
        """Never raises, but for cancellation: then the message stays unsettled and is delivered again."""
        try:
            await handler(msg)
        except LaterError as exc:
            await self.give_back(msg, exc.seconds)
        except TooLargeForStoreError as exc:
            log.error(f"{self.stage}.too_large", subject=msg.subject, why=str(exc))
            await self._after_fault(msg)
        except StoreError as exc:
            log.warning(f"{self.stage}.store_unavailable", why=str(exc))
            await self.give_back(msg, 1.0)
        except Exception:
            log.exception(f"{self.stage}.fault", subject=msg.subject)
            await self._after_fault(msg)
        else:
            await self._tell(partial(acknowledge, self.js, msg))

    async def give_back(self, msg: Msg, seconds: float) -> None:
        """Deliver it again, after so many seconds."""
        await self._tell(partial(give_back, self.js, msg, seconds))

    async def still_working(self, msg: Msg) -> None:
        """Keep it from being given to somebody else."""
        await self._tell(partial(still_working, self.js, msg))

    async def _after_fault(self, msg: Msg) -> None:
        faults = self._one_more(msg)
        if faults < FAULTS:
            await self.give_back(msg, min(_LONGEST_PAUSE, 2.0**faults))
            return
        try:
            await self._bury(msg, faults)
        except StoreError:
            await self.give_back(msg, _LONGEST_PAUSE)
        else:
            self.faults.pop(msg.metadata.sequence.stream, None)
            await self._tell(partial(acknowledge, self.js, msg))

    def _one_more(self, msg: Msg) -> int:
        """How often its handling has failed here; beyond so many messages, the one that failed first is forgotten."""
        sequence = msg.metadata.sequence.stream
        faults = self.faults[sequence] = self.faults.get(sequence, 0) + 1
        if len(self.faults) > _COUNTED:
            del self.faults[next(iter(self.faults))]
        return faults

    async def _bury(self, msg: Msg, faults: int) -> None:
        source, notification_id = owner_of(msg.subject)
        await self.dead_letters.keep(
            self.stage,
            source,
            sequence=msg.metadata.sequence.stream,
            subject=msg.subject,
            body=msg.data,
            headers=msg.headers or {},
            reason=Reason.INTERNAL,
            message=f"its handling failed {faults} times; the router's log says where",
            notification_id=notification_id,
        )

    async def _tell(self, tell: Callable[[], Awaitable[None]]) -> None:
        """When JetStream cannot be told, the message comes again, and the log of deliveries says what was done."""
        try:
            await tell()
        except (NatsError, OSError) as exc:
            log.debug(f"{self.stage}.not_settled", why=type(exc).__name__)


def owner_of(subject: str) -> tuple[str, str | None]:
    """Source and id, which end every subject of the router but that of notifications."""
    tokens = subject.split(".")
    if tokens[0] == "notifications" or len(tokens) < 4:
        source, notification_id = tokens[-1], None
    else:
        source, notification_id = (tokens[1] if tokens[0] == "deliveries" else tokens[-2]), tokens[-1]
    return (source if SOURCE.fullmatch(source) else UNKNOWN_SOURCE), notification_id


class Worker:
    """One durable consumer, a bounded number of its messages handled at a time."""

    def __init__(
        self,
        settler: Settler,
        stream: str,
        config: dict[str, Any],
        handler: Handler,
        *,
        concurrency: int,
        ack_wait: float,
        least: int = 1,
    ) -> None:
        """`least`: so many have to be free before more are asked for."""
        self._settler = settler
        self._handler = handler
        self._concurrency = concurrency
        self._least = least
        self._ack_wait = ack_wait
        self._running: dict[asyncio.Task[None], Msg] = {}
        self._puller = topology.puller(settler.js, stream, config, self._take, self._room)
        self._alive: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to take messages."""
        await self._puller.start()
        self._alive = asyncio.create_task(self._stay_alive(), name=f"alive-{self._puller.name}")

    async def pause(self) -> None:
        """Take nothing new."""
        await self._puller.stop()

    async def stop(self, within: float) -> None:
        """Take nothing new and let what is under way end, for so many seconds."""
        await self.pause()
        if self._running:
            await asyncio.wait(list(self._running), timeout=within)
        if self._alive:
            self._alive.cancel()

    @property
    def in_flight(self) -> int:
        """Messages being handled."""
        return len(self._running)

    def _room(self) -> int:
        free = self._concurrency - len(self._running)
        return free if free >= self._least else 0

    def _take(self, msg: Msg) -> None:
        task = asyncio.create_task(self._settler.handle(self._handler, msg))
        self._running[task] = msg
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.pop(task, None)
        self._puller.more_room()

    async def _stay_alive(self) -> None:
        while True:
            await asyncio.sleep(self._ack_wait / 3)
            for msg in list(self._running.values()):
                await self._settler.still_working(msg)
