"""Gates: every step of a router towards the world outside waits until a test lets it pass, in whatever order it likes.

Between two gates a coroutine runs without interruption, as it does in one process. So a test that chooses which gate
opens next chooses how the work of several processes interleaves; one that cancels a task at its gate kills it there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from channels.errors import OutcomeUnknownError, ProviderRejectedError, ProviderThrottledError, SendError
from channels.memory import MemoryChannel, Outcome
from channels.model import ChannelName, OutboundMessage, ProviderMessageId, SendReceipt
from router.clock import rfc3339
from router.jetstream import Stored
from tests.router.store import MemoryStore


class Kind(Enum):
    """What waits."""

    STORE = "store"  #: a request to the event store
    LEAVE = "leave"  #: a request to the provider to send
    ANSWER = "answer"  #: the provider's answer, on its way


class Fate(Enum):
    """What the provider does with a request to send."""

    TAKEN = "taken"
    ANSWER_LOST = "answer_lost"  #: taken, and no answer comes
    DROPPED = "dropped"  #: not taken, and no answer comes
    REFUSED = "refused"
    THROTTLED = "throttled"


def _as_outcome(fate: Fate) -> Outcome | SendError:
    outcomes: dict[Fate, Outcome | SendError] = {
        Fate.TAKEN: Outcome.TAKEN,
        Fate.ANSWER_LOST: Outcome.ANSWER_LOST,
        Fate.DROPPED: OutcomeUnknownError("the connection broke"),
        Fate.REFUSED: ProviderRejectedError("refused", code=63024),
        Fate.THROTTLED: ProviderThrottledError("too fast", retry_after=1),
    }
    return outcomes[fate]


@dataclass(eq=False)
class Gate:
    """One step that waits."""

    kind: Kind
    since: datetime
    opened: asyncio.Future[Fate]


class Gates:
    """All that wait, longest first."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self.waiting: list[Gate] = []

    async def wait(self, kind: Kind) -> Fate:
        """Until it is opened; for a request to send, what becomes of it."""
        gate = Gate(kind, self._clock(), asyncio.get_running_loop().create_future())
        self.waiting.append(gate)
        try:
            return await gate.opened
        finally:
            self.waiting.remove(gate)

    def open(self, gate: Gate, fate: Fate) -> None:
        """Let it pass when the loop runs next."""
        gate.opened.set_result(fate)


class GatedStore(MemoryStore):
    """An event store that answers when its gate is opened, and knows what time it is."""

    def __init__(self, gates: Gates, clock: Callable[[], datetime]) -> None:
        super().__init__()
        self._gates = gates
        self._clock = clock
        self._times: dict[int, str] = {}

    def when(self, stored: Stored) -> datetime:
        """When this was stored."""
        return datetime.fromisoformat(self._times[stored.sequence])

    async def seed(self, subject: str, body: bytes) -> int:
        """Store something at once, as a publisher outside the router."""
        return self._stamped(await super().publish(subject, body))

    async def publish(
        self,
        subject: str,
        body: bytes,
        headers: dict[str, str] | None = None,
        *,
        expect: int | None = None,
        expect_on: str | None = None,
    ) -> int:
        await self._gates.wait(Kind.STORE)
        return self._stamped(await super().publish(subject, body, headers, expect=expect, expect_on=expect_on))

    async def last(self, stream: str, subject: str) -> Stored | None:
        await self._gates.wait(Kind.STORE)
        return self._dated(await super().last(stream, subject))

    async def at(self, stream: str, sequence: int) -> Stored | None:
        await self._gates.wait(Kind.STORE)
        return self._dated(await super().at(stream, sequence))

    def _stamped(self, sequence: int) -> int:
        self._times.setdefault(sequence, rfc3339(self._clock()))
        return sequence

    def _dated(self, stored: Stored | None) -> Stored | None:
        if stored is None:
            return None
        return Stored(stored.subject, stored.sequence, self._times[stored.sequence], stored.headers, stored.body)


class GatedChannel(MemoryChannel):
    """A provider that does with each request what its gate is opened with; both ways take their time."""

    def __init__(self, name: ChannelName, gates: Gates, clock: Callable[[], datetime]) -> None:
        super().__init__(name, now=clock)
        self._gates = gates

    async def send(self, message: OutboundMessage) -> SendReceipt:
        self.outcomes.append(_as_outcome(await self._gates.wait(Kind.LEAVE)))
        receipt = await super().send(message)
        if await self._gates.wait(Kind.ANSWER) is not Fate.TAKEN:
            raise OutcomeUnknownError("no answer in time")
        return receipt

    async def cancel(self, provider_message_id: ProviderMessageId) -> bool:
        await self._gates.wait(Kind.STORE)
        return await super().cancel(provider_message_id)

    async def find(self, message: OutboundMessage, since: datetime) -> Any:
        await self._gates.wait(Kind.STORE)
        return await super().find(message, since)
