"""What others write against our types: checked by mypy, never run."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

from channels.model import (
    ChannelCapabilities,
    ChannelName,
    OutboundMessage,
    ProviderMessageId,
    SendReceipt,
    StatusReport,
)
from channels.port import Canceler, Channel, ChannelPlugin, Fetcher, Finder, FoundMessage, ProviderContext
from policies.engine import Policy, decide
from policies.model import Deferred, RecipientFacts, Rejected, RoutingPlan, RoutingRequest, Suppressed
from router.app import Router
from router.client import Pointsman
from router.settings import Settings


class Pigeon:
    """The least that a channel is."""

    name = ChannelName("pigeon")
    provider = "loft"

    async def send(self, message: OutboundMessage) -> SendReceipt:
        return SendReceipt(ProviderMessageId(message.ref.token), "released")


class HomingPigeon(Pigeon):
    """A channel with everything that is optional."""

    async def find(self, message: OutboundMessage, since: datetime) -> Sequence[FoundMessage]:
        return [FoundMessage(ProviderMessageId(message.ref.token), "seen", since)]

    async def fetch(self, provider_message_id: ProviderMessageId) -> StatusReport:
        return StatusReport(None, self.provider, provider_message_id, None, "seen")

    async def cancel(self, provider_message_id: ProviderMessageId) -> bool:
        return bool(provider_message_id)


def open_pigeon(context: ProviderContext) -> Channel:
    return context.shared("pigeon", Pigeon)


PIGEON = ChannelPlugin(ChannelName("pigeon"), "loft", ChannelCapabilities(frozenset({"tel"})), open=open_pigeon)

channel: Channel = Pigeon()
finder: Finder = HomingPigeon()
fetcher: Fetcher = HomingPigeon()
canceler: Canceler = HomingPigeon()


def outcome_in_words(request: RoutingRequest, facts: RecipientFacts, policy: Policy, now: datetime) -> str:
    """Every outcome is handled: mypy sees when one is missing."""
    match decide(request, facts, policy, now).outcome:
        case RoutingPlan(steps):
            return ", ".join(step.channel for step in steps)
        case Suppressed(reason) | Deferred(_, reason) | Rejected(reason):
            return reason.value


async def explained(pointsman: Pointsman) -> tuple[str, list[str], list[str]]:
    explanation = await pointsman.explain({"id": "x", "to": "+12025550123", "content": {"text": "hello"}})
    return explanation.outcome, [step.channel for step in explanation.plan], explanation.waits


async def embedded_in_another_program(stop: asyncio.Event) -> None:
    router = Router(Settings(), {}, frozenset({"intake"}))
    await router.run(stop)
