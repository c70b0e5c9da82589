"""Why a message that is routed would not go at once: what its sender waits for, in sentences for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from channels.model import Sender
from router.buckets import Bucket
from router.budget import KEY, Spent, limits_of, next_day, today
from router.clock import Clock
from router.jetstream import JetStream
from router.resting import Rests


@dataclass(frozen=True, slots=True)
class Waits:
    """Asked by whoever explains a decision."""

    js: JetStream
    bucket: str  #: where rests and budgets stand
    senders: Mapping[str, Sender]
    rests: Rests
    clock: Clock

    async def of(self, name: str) -> list[str]:
        """Nothing where this sender may send now."""
        said = []
        if (seconds := self.rests.left(name)) > 0:
            said.append(f"sender '{name}' rests for {seconds:.0f} s more, because the provider refused for the rate")
        sender = self.senders.get(name)
        if sender is not None and sender.cap is not None:
            said += await self._used_up(sender)
        return said

    async def _used_up(self, sender: Sender) -> list[str]:
        assert sender.cap is not None
        entry = await Bucket(self.js, self.bucket).get(f"{KEY}.{sender.name}")
        spent, now = Spent.load(entry.value if entry else None), self.clock()
        if spent.day != today(sender.cap, now):
            return []
        until = next_day(sender.cap, now).isoformat()
        return [
            f"sender '{sender.name}' has used its {limit} {unit} of today, and goes on at {until}"
            for unit, limit in limits_of(sender.cap).items()
            if spent.booked.get(unit, 0) >= limit
        ]
