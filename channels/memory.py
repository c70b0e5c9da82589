"""A channel that keeps what it is given: for tests of the router, and as a second provider to try failover with."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from uuid import uuid4

import structlog

from channels.errors import OutcomeUnknownError, ProviderRejectedError, SendError
from channels.model import (
    SMS,
    ChannelCapabilities,
    ChannelName,
    OutboundMessage,
    ProviderMessageId,
    Sender,
    SendReceipt,
    StatusReport,
)
from channels.port import ChannelPlugin, Finding, FoundMessage, Level, ProviderContext
from channels.status import TERMINAL, DeliveryStatus

log = structlog.get_logger(__name__)

MEMORY = ChannelName("memory")
_KEPT = 10_000  #: messages; of one that is used for long, the latest


class Outcome(Enum):
    """How a send ends when it raises no error of its own."""

    TAKEN = "taken"  #: accepted, and the answer arrives
    ANSWER_LOST = "answer_lost"  #: accepted, and no answer comes within the channel's timeout


@dataclass(slots=True)
class _Taken:
    message: OutboundMessage
    created_at: datetime
    status: DeliveryStatus = DeliveryStatus.ACCEPTED


class MemoryChannel:
    """Takes every message, or does what is next in `outcomes`: an error is raised and nothing is taken."""

    provider = "memory"

    def __init__(
        self,
        name: ChannelName = MEMORY,
        *,
        outcomes: Iterable[Outcome | SendError] = (),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        timeout: float = 0.0,  #: seconds
        last_word: bool = False,
    ) -> None:
        """`last_word`: nothing more is reported of what was taken."""
        self.name = name
        self.outcomes = deque(outcomes)
        self.calls = 0  #: how often `send` was called
        self._now = now
        self._timeout = timeout
        self._last_word = last_word
        self._taken: dict[ProviderMessageId, _Taken] = {}

    @property
    def sent(self) -> list[OutboundMessage]:
        """What was taken, in order, answer or no answer."""
        return [taken.message for taken in self._taken.values()]

    @property
    def ids(self) -> list[ProviderMessageId]:
        """Of what was taken, in the same order."""
        return list(self._taken)

    async def send(self, message: OutboundMessage) -> SendReceipt:
        """Take it, or raise what is next in `outcomes`."""
        self.calls += 1
        outcome = self.outcomes.popleft() if self.outcomes else Outcome.TAKEN
        if isinstance(outcome, SendError):
            raise outcome
        message_id = ProviderMessageId(f"{self.name}-{uuid4().hex}")
        self._taken[message_id] = _Taken(message, self._now())
        if len(self._taken) > _KEPT:
            del self._taken[next(iter(self._taken))]
        if outcome is Outcome.ANSWER_LOST:
            await asyncio.sleep(self._timeout)
            raise OutcomeUnknownError("no answer in time")
        return SendReceipt(message_id, DeliveryStatus.ACCEPTED.value, segments=1, last_word=self._last_word)

    async def find(self, message: OutboundMessage, since: datetime) -> Sequence[FoundMessage]:
        """All taken since then that equal this one in recipient, sender and content, oldest first."""
        return [
            FoundMessage(message_id, taken.status.value, taken.created_at)
            for message_id, taken in self._taken.items()
            if taken.created_at >= since and _essence(taken.message) == _essence(message)
        ]

    async def fetch(self, provider_message_id: ProviderMessageId) -> StatusReport:
        """Where it stands, as `set_status` left it."""
        status = self._get(provider_message_id).status
        return StatusReport(None, self.provider, provider_message_id, status, status.value, channel=self.name)

    async def cancel(self, provider_message_id: ProviderMessageId) -> bool:
        """Whether it was still waiting."""
        taken = self._get(provider_message_id)
        if taken.status in TERMINAL | {DeliveryStatus.SENT}:
            return False
        taken.status = DeliveryStatus.CANCELED
        return True

    def set_status(self, provider_message_id: ProviderMessageId, status: DeliveryStatus) -> None:
        """What `fetch` and `find` say from now on."""
        self._get(provider_message_id).status = status

    def status_of(self, provider_message_id: ProviderMessageId) -> DeliveryStatus:
        """What `fetch` says now."""
        return self._get(provider_message_id).status

    def _get(self, provider_message_id: ProviderMessageId) -> _Taken:
        if provider_message_id not in self._taken:
            raise ProviderRejectedError("no such message", code=404)
        return self._taken[provider_message_id]


def memory_plugin(channel: MemoryChannel, capabilities: ChannelCapabilities | None = None) -> ChannelPlugin:
    """A plugin that opens this very channel; by default it reaches phone numbers with text and templates."""
    return ChannelPlugin(
        channel.name,
        MemoryChannel.provider,
        capabilities or ChannelCapabilities(schemes=frozenset({"tel"}), template=True),
        open=lambda _context: channel,
    )


def _essence(message: OutboundMessage) -> tuple[object, ...]:
    return message.recipient, message.sender.address, message.content


def _open_sms(_context: ProviderContext) -> MemoryChannel:
    log.warning("memory.open", why="what is sent through it is kept in this process and goes nowhere")
    return MemoryChannel(SMS, last_word=True)


async def _inspect(_context: ProviderContext, senders: Sequence[Sender]) -> AsyncIterator[Finding]:
    for sender in senders:
        says = "what it takes is kept in the router's memory and reaches nobody"
        yield Finding(f"sender {sender.name}", Level.WARNING, says, "give it another provider, unless this is a trial")


#: SMS once more, from a second provider.
MEMORY_SMS = ChannelPlugin(
    SMS,
    MemoryChannel.provider,
    ChannelCapabilities(schemes=frozenset({"tel"})),
    open=_open_sms,
    inspect=_inspect,
)
