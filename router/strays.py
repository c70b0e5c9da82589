"""What was published outside of the lanes: `notifications.slow.shop`, `notifications.normal`. It goes to a person.

Each lane has a consumer of its own, and no filter says "everything else". So one more consumer looks at the subject of
everything, in large batches: what belongs to a lane is passed over, the rest is read again and given to intake, which
refuses it by name. One acknowledgement covers all before it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog
from nats.aio.msg import Msg

from channels.reasons import Reason
from router import subjects, topology
from router.deadletters import DeadLetters
from router.intake import Intake, Received
from router.jetstream import JetStream, StoreError, TooLargeForStoreError
from router.pulling import Puller, acknowledge
from router.workers import Handler

log = structlog.get_logger(__name__)

_AT_ONCE = 1_000  #: messages asked for
_HOLD = 1.0  #: seconds between tries while the store is away
_COVERED = 500  #: messages that one acknowledgement covers at most


class Strays:
    """Finds what no lane's consumer reads."""

    def __init__(self, js: JetStream, intake: Intake, dead_letters: DeadLetters, ack_wait: float) -> None:
        self._js = js
        self._intake = intake
        self._dead_letters = dead_letters
        self._refusing = 0  #: that are being refused now
        self._passed = 0  #: since the last acknowledgement
        self._tasks: set[asyncio.Task[None]] = set()
        config = topology.straying(ack_wait)
        self._puller: Puller = topology.puller(js, subjects.NOTIFICATIONS, config, self._take, lambda: _AT_ONCE)

    async def start(self) -> None:
        """Begin to look."""
        await self._puller.start()

    async def pause(self) -> None:
        """Look at nothing new; what was not acknowledged is looked at again by somebody else."""
        await self._puller.stop()

    def _take(self, msg: Msg) -> None:
        self._puller.more_room()
        if not _belongs_to_a_lane(msg.subject):
            self._refusing += 1
            self._run(self._refuse(msg))
            return
        self._passed += 1
        # An acknowledgement would cover what is being refused, too.
        if not self._refusing and (self._passed >= _COVERED or msg.metadata.num_pending == 0):
            self._passed = 0
            self._run(acknowledge(self._js, msg))

    async def _refuse(self, msg: Msg) -> None:
        """Until it is kept for a person; what dies meanwhile is looked at again, and kept once."""
        try:
            await self._until_stored(self._keep, msg)
        except Exception:
            # It must not hold up those behind it, which no acknowledgement would cover any more.
            log.exception("strays.fault", subject=msg.subject)
            await self._until_stored(self._bury, msg)
        finally:
            self._refusing -= 1
        if not self._refusing:
            await acknowledge(self._js, msg)

    async def _until_stored(self, store: Handler, msg: Msg) -> None:
        while True:
            try:
                await store(msg)
            except TooLargeForStoreError:
                raise
            except StoreError:
                await asyncio.sleep(_HOLD)
            else:
                return

    async def _keep(self, msg: Msg) -> None:
        sequence = msg.metadata.sequence.stream
        stored = await self._js.at(subjects.NOTIFICATIONS, sequence)
        if stored is not None:
            await self._intake.take(Received(stored.subject, sequence, stored.body, stored.headers, redelivered=True))

    async def _bury(self, msg: Msg) -> None:
        await self._dead_letters.keep(
            "intake",
            subjects.source_of(msg.subject),
            sequence=msg.metadata.sequence.stream,
            subject=msg.subject,
            body=msg.data,
            headers=msg.headers or {},
            reason=Reason.INTERNAL,
            message="its handling failed; the router's log says where",
        )

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _belongs_to_a_lane(subject: str) -> bool:
    _, _, rest = subject.partition(".")
    lane, dot, _ = rest.partition(".")
    return bool(dot) and lane in subjects.LANES
