"""Orphans: what waits for a sender that the configuration no longer has.

Every sender's lanes have durable consumers, which stay when the sender is taken out of the configuration; what still
waits there would wait for ever. A router that does not know the sender, and has seen for a while that no other router
paces it either, takes those messages over: one that was never attempted is routed anew, as the policy says now; the
attempt of any other one fails with the reason `sender_unknown`, and what follows is what follows any failure.

Claims decide here as everywhere, so it does no harm when several routers do this, or when one that still has the sender
comes back in the middle of it.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import structlog
from nats.aio.msg import Msg

from channels.model import Lane
from router import subjects, topology
from router.attempts import Attempts
from router.crashpoints import CrashPoint, reached
from router.intake import Intake
from router.jetstream import JetStream, StoreError
from router.leases import has_owner
from router.outbox import item_of
from router.settings import DispatchSettings
from router.tasks import keep_running
from router.workers import Settler, Worker

log = structlog.get_logger(__name__)

_CONSUMER = re.compile(rf"dispatch-(.+)-({'|'.join(lane.value for lane in Lane)})")
_CONCURRENCY = 16  #: messages of one lane at a time


@dataclass
class Orphans:
    """Looks for senders that are gone, and takes over what waits for them."""

    js: JetStream
    senders: Collection[str]  #: that this router has
    intake: Intake
    attempts: Attempts
    settler: Settler
    settings: DispatchSettings
    bucket: str  #: where leases live
    clock: Callable[[], float] = time.monotonic
    _missing_since: dict[str, float] = field(default_factory=dict)  #: sender -> when nobody was first seen to have it
    _workers: dict[str, list[Worker]] = field(default_factory=dict)
    _task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to look."""
        self._task = keep_running("orphans", self._watch)

    async def pause(self) -> None:
        """Take nothing new."""
        if self._task:
            self._task.cancel()
        for workers in self._workers.values():
            for worker in workers:
                await worker.pause()

    async def stop(self) -> None:
        """Let what is under way end."""
        await self.pause()
        for sender in list(self._workers):
            await self._leave(sender)

    async def _watch(self) -> None:
        while True:
            try:
                await self._look()
            except StoreError as exc:
                log.debug("orphans.unavailable", why=str(exc))
            await asyncio.sleep(self.settings.orphaned_after / 4)

    async def _look(self) -> None:
        waiting = {sender for sender, count in (await self._waiting()).items() if count and sender not in self.senders}
        for sender in sorted(waiting | set(self._workers)):
            if await has_owner(self.js, self.bucket, sender):
                self._missing_since.pop(sender, None)
                await self._leave(sender)
            elif self._gone_for_long(sender) and sender not in self._workers:
                await self._adopt(sender)

    def _gone_for_long(self, sender: str) -> bool:
        since = self._missing_since.setdefault(sender, self.clock())
        return self.clock() - since >= self.settings.orphaned_after

    async def _waiting(self) -> Mapping[str, int]:
        """Sender -> messages that wait or are being handled, from what the server knows of the lanes' consumers."""
        count: dict[str, int] = {}
        for info in await topology.listed(self.js, subjects.OUTBOX):
            if found := _CONSUMER.fullmatch(info["name"]):
                count[found[1]] = count.get(found[1], 0) + info["num_pending"] + info["num_ack_pending"]
        return count

    async def _adopt(self, sender: str) -> None:
        log.warning("orphans.adopted", sender=sender, why="the configuration no longer has this sender")
        self._workers[sender] = [self._worker(sender, lane) for lane in Lane]
        for worker in self._workers[sender]:
            await worker.start()

    async def _leave(self, sender: str) -> None:
        for worker in self._workers.pop(sender, []):
            await worker.stop(self.settings.drain)

    def _worker(self, sender: str, lane: Lane) -> Worker:
        config = topology.dispatching(sender, lane, self.settings.ack_wait)
        return Worker(
            self.settler,
            subjects.OUTBOX,
            config,
            self._take,
            concurrency=_CONCURRENCY,
            ack_wait=self.settings.ack_wait,
        )

    async def _take(self, msg: Msg) -> None:
        reached(CrashPoint.ORPHAN_TAKEN)
        item = item_of(msg)
        if item.attempt > 1 or not await self.intake.route_again(item, self.senders):
            await self.attempts.make(item)
        reached(CrashPoint.ORPHAN_DONE)
