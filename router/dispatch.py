"""Dispatch: one paced queue for each sender that this router owns."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from channels.model import Lane, Sender
from router.attempts import Attempts
from router.budget import Budget
from router.clock import utc_now
from router.jetstream import JetStream
from router.leases import Leases, Presence
from router.outbox import OutboxItem
from router.places import Places
from router.resting import Rests
from router.sending import SenderQueue
from router.settings import DispatchSettings
from router.workers import Settler

#: Notifications of each lane that may be sent from within intake at a time. Fewer than intake takes of it, so that a
#: provider that does not answer leaves it room for everybody else; and fewer than a sender has slots, as shipped.
AT_ONCE = {Lane.URGENT: 48, Lane.NORMAL: 48, Lane.BULK: 24}


@dataclass
class Dispatch:
    """Starts a queue when a sender's lease is gained and stops it when it is lost."""

    js: JetStream
    senders: Mapping[str, Sender]
    attempts: Attempts
    settler: Settler
    settings: DispatchSettings
    bucket: str  #: where leases live
    instance: str
    presence: Presence
    rests: Rests
    queues: dict[str, SenderQueue] = field(default_factory=dict)
    _leases: Leases | None = None
    _places: Mapping[str, Places] = field(
        default_factory=lambda: {lane.value: Places(count) for lane, count in AT_ONCE.items()}
    )

    async def start(self) -> None:
        """Compete for senders."""
        self._leases = Leases(
            self.js,
            self.bucket,
            self.instance,
            self.presence,
            sorted(self.senders),
            self.settings.lease,
            gained=self._gained,
            lost=self._lost,
        )
        await self._leases.start()

    async def at_once(self, item: OutboxItem) -> bool:
        """Make this attempt now, without the outbox, where its sender is paced here and nothing waits for it.

        False: it has to be put into the outbox. Raises what `Attempts.make` raises. Until it returns, the caller must
        not let go of the notification: nobody else would know that its attempt has begun.
        """
        queue, places = self.queues.get(item.chosen.sender), self._places[item.lane]
        if queue is None or (places.full and not queue.takes(item)) or not await places.take_soon():
            return False
        try:
            return await queue.at_once(item)
        finally:
            places.give_back()

    async def pause(self) -> None:
        """Begin no new attempt, and take no more senders."""
        if self._leases:
            self._leases.hold()
        for queue in self.queues.values():
            await queue.pause()

    async def stop(self) -> None:
        """Let what is in flight end, then give the senders up."""
        await self.pause()
        await asyncio.gather(*(self._lost(sender) for sender in list(self.queues)))
        if self._leases:
            await self._leases.stop()

    async def _gained(self, sender: str) -> None:
        queue = SenderQueue(
            self.js, self.senders[sender], self.attempts, self.settler, self.settings, self.rests, self._budget(sender)
        )
        self.queues[sender] = queue
        await queue.start()

    def _budget(self, name: str) -> Budget | None:
        sender = self.senders[name]
        if sender.cap is None:
            return None
        return Budget(self.js, self.bucket, name, sender.rate, sender.cap, utc_now)

    async def _lost(self, sender: str) -> None:
        if queue := self.queues.pop(sender, None):
            await queue.stop(self.settings.drain)
