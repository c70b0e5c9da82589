"""The channel in memory keeps the same contract as those that cross a network."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from channels.errors import OutcomeUnknownError, ProviderRejectedError, ProviderUnavailableError, SendError
from channels.memory import MEMORY, MemoryChannel, Outcome, memory_plugin
from channels.model import ProviderMessageId, Text
from channels.port import Canceler, Fetcher, Finder, ProviderContext
from channels.status import DeliveryStatus
from channels.testing import EXPECTED, ChannelContract, Rig, Situation, a_message

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def outcome(situation: Situation) -> Outcome | SendError:
    if situation is Situation.NO_ANSWER:
        return Outcome.ANSWER_LOST
    if situation not in EXPECTED:
        return Outcome.TAKEN
    return EXPECTED[situation](situation.value, code="rejected", retry_after=7.0, alert=True)


class TestMemoryChannel(ChannelContract):
    @asynccontextmanager
    async def make_adapter(self, situation: Situation) -> AsyncIterator[Rig]:
        channel = MemoryChannel(outcomes=[outcome(situation)], timeout=0.1)
        reached = situation is not Situation.CONNECTION_REFUSED
        yield Rig(channel, lambda: channel.calls if reached else 0)


async def test_what_is_sent_can_be_found_fetched_and_canceled() -> None:
    channel = MemoryChannel(now=lambda: NOW)
    assert isinstance(channel, Finder)
    assert isinstance(channel, Fetcher)
    assert isinstance(channel, Canceler)
    receipt = await channel.send(a_message())
    (found,) = await channel.find(a_message(), NOW)
    assert found.provider_message_id == receipt.provider_message_id
    assert await channel.cancel(receipt.provider_message_id)
    assert (await channel.fetch(receipt.provider_message_id)).status is DeliveryStatus.CANCELED


async def test_a_lost_answer_leaves_a_message_that_can_be_found() -> None:
    channel = MemoryChannel(outcomes=[Outcome.ANSWER_LOST])
    with pytest.raises(OutcomeUnknownError):
        await channel.send(a_message())
    assert channel.sent == [a_message()]
    assert len(await channel.find(a_message(), NOW - timedelta(days=36500))) == 1


async def test_an_error_leaves_nothing_and_the_next_send_is_taken() -> None:
    channel = MemoryChannel(outcomes=[ProviderUnavailableError("down")])
    with pytest.raises(ProviderUnavailableError):
        await channel.send(a_message())
    assert channel.sent == []
    await channel.send(a_message())
    assert channel.sent == [a_message()]


async def test_neither_other_messages_nor_older_ones_are_found() -> None:
    channel = MemoryChannel(now=lambda: NOW)
    await channel.send(replace(a_message(), content=Text("another")))
    assert await channel.find(a_message(), NOW) == []
    assert await channel.find(channel.sent[0], NOW + timedelta(seconds=1)) == []


async def test_what_is_sent_cannot_be_taken_back() -> None:
    channel = MemoryChannel()
    receipt = await channel.send(a_message())
    channel.set_status(receipt.provider_message_id, DeliveryStatus.SENT)
    assert not await channel.cancel(receipt.provider_message_id)


async def test_what_was_never_taken_is_not_known() -> None:
    with pytest.raises(ProviderRejectedError):
        await MemoryChannel().fetch(ProviderMessageId("nothing"))


def test_the_plugin_opens_this_very_channel() -> None:
    channel = MemoryChannel()
    plugin = memory_plugin(channel)
    assert plugin.open(ProviderContext({}, None)) is channel
    assert (plugin.name, plugin.provider, plugin.webhooks) == (MEMORY, "memory", None)
