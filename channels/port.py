"""The port: what the router asks of a channel, and what a provider package offers to be found.

A distribution adds channels by the entry-point group `pointsman.channels`; each entry is a `ChannelPlugin`.
`Channel` is all that sending needs. `Finder`, `Fetcher`, `Canceler` and `TemplateCatalog` are optional: a channel
that has them lets the router resolve unknown outcomes, recover lost callbacks, take messages back and know which
templates are approved.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol, TypeVar, runtime_checkable

from channels.model import (
    ChannelCapabilities,
    ChannelName,
    InboundMessage,
    OutboundMessage,
    ProviderMessageId,
    Sender,
    SendReceipt,
    StatusReport,
)

T = TypeVar("T")


@runtime_checkable
class Channel(Protocol):
    """One channel of one provider."""

    @property
    def name(self) -> ChannelName:
        """The channel's name in subjects, events and policies."""

    @property
    def provider(self) -> str:
        """The provider's name in events."""

    async def send(self, message: OutboundMessage) -> SendReceipt:
        """Hand one message to the provider, once: no hidden retries.

        Raises the `SendError` that says what is known: see the table in `channels.errors`. Anything else that escapes
        counts as an unknown outcome.
        """


@dataclass(frozen=True, slots=True)
class FoundMessage:
    """A message in the provider's list that equals an attempt in recipient, sender and content."""

    provider_message_id: ProviderMessageId
    provider_status: str
    created_at: datetime  #: aware


@runtime_checkable
class Finder(Protocol):
    """A channel whose provider can be asked what it has accepted."""

    async def find(self, message: OutboundMessage, since: datetime) -> Sequence[FoundMessage]:
        """All messages accepted since then that equal this one, oldest first."""


@runtime_checkable
class Fetcher(Protocol):
    """A channel whose provider can be asked about one message."""

    async def fetch(self, provider_message_id: ProviderMessageId) -> StatusReport:
        """Where this message stands now."""


@runtime_checkable
class Canceler(Protocol):
    """A channel whose provider can take back what it has not sent yet."""

    async def cancel(self, provider_message_id: ProviderMessageId) -> bool:
        """Whether it was taken back in time."""


@dataclass(frozen=True, slots=True)
class TemplateReport:
    """What a provider says of one of its templates."""

    content_sid: str
    approved: bool  #: it can be sent on this channel now
    state: str  #: in the provider's words: "approved", "paused", "rejected", "missing"
    variables: frozenset[str] = frozenset()  #: names that it declares or holds


@runtime_checkable
class TemplateCatalog(Protocol):
    """A channel whose provider can be asked which templates are approved."""

    async def templates(self, sids: Collection[str]) -> Sequence[TemplateReport]:
        """One report for each of these. Raises the `SendError` that says why it could not be asked."""


class Level(StrEnum):
    """How a finding has to be taken."""

    OK = "ok"  #: as it should be
    WARNING = "warning"  #: works, and will disappoint somebody
    FAILURE = "failure"  #: does not work


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at before anything is sent, for the person who runs it."""

    what: str  #: "sender us-main: capabilities"
    level: Level
    says: str  #: what was found, in a sentence
    todo: str = ""  #: the one thing to do; empty where nothing is


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """A request as it came in, before anything in it is trusted."""

    path: str  #: raw path below the listener's root, percent-encoding kept: "/twilio/status"
    query: str  #: raw query string, without the "?"
    headers: Mapping[str, str]  #: names in lower case
    body: bytes


@dataclass(frozen=True, slots=True)
class WebhookReply:
    """What a provider wants to hear."""

    status: int
    content_type: str | None = None
    body: bytes = b""


class Webhooks(Protocol):
    """A provider's callbacks, mounted at `/<provider>/status` and `/<provider>/inbound`."""

    def status(self, request: WebhookRequest) -> StatusReport:
        """Check the signature and read a status callback. Raises `CallbackError`."""

    def inbound(self, request: WebhookRequest) -> InboundMessage:
        """Check the signature and read an inbound message. Raises `CallbackError`."""

    def reply(self, text: str | None) -> WebhookReply:
        """The answer to an inbound message: empty, or a text to the recipient."""


@dataclass(slots=True)
class ProviderContext:
    """What a provider package gets to build itself from; everything comes from the composition root."""

    environ: Mapping[str, str] = field(repr=False)  #: secrets: environment variables and `.env`
    public_url: str | None  #: where the provider reaches our webhooks; None: no callbacks
    timeout: float = 10.0  #: seconds for the provider's answer
    options: Mapping[str, Any] = field(default_factory=dict)  #: the table `[providers.<name>]` of the configuration
    _shared: dict[str, Any] = field(default_factory=dict, repr=False)
    _closers: list[Callable[[], Any]] = field(default_factory=list, repr=False)

    def shared(self, key: str, make: Callable[[], T]) -> T:
        """One object for all channels of a provider: its HTTP session, say."""
        if key not in self._shared:
            self._shared[key] = make()
        value: T = self._shared[key]
        return value

    def on_close(self, closer: Callable[[], Any]) -> None:
        """Register a coroutine function to await when the router stops."""
        self._closers.append(closer)

    async def aclose(self) -> None:
        """Close what was opened, last first."""
        while self._closers:
            await self._closers.pop()()
        self._shared.clear()


@dataclass(frozen=True, slots=True)
class ChannelPlugin:
    """An entry of the group `pointsman.channels`."""

    name: ChannelName
    provider: str
    capabilities: ChannelCapabilities
    open: Callable[[ProviderContext], Channel]
    webhooks: Callable[[ProviderContext], Webhooks] | None = None
    #: Asks the provider, before anything is sent, whether sending would work: account, senders, webhooks, a finding
    #: each; once for all senders of the provider. What cannot be asked is a finding too: nothing is raised.
    inspect: Callable[[ProviderContext, Sequence[Sender]], AsyncIterator[Finding]] | None = None
