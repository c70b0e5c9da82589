"""Reachability: lasting refusals are remembered for a recipient and channel, and forgotten in time."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from channels.model import MMS, SMS, WHATSAPP, PhoneNumber, ProviderError
from router.reach import Reach
from router.settings import ReachSettings
from tests.factories import NOW
from tests.router.parts import HASHER, Parts, now
from tests.router.store import LOST, MemoryStore

ADA = PhoneNumber("+12025550123", "US")
BOB = PhoneNumber("+12025550124", "US")
NOT_ON_WHATSAPP = ProviderError("recipient_unreachable", 63024, "recipient is not on the channel", lasting=True)
WHY = "recipient is not on the channel (63024), learnt 2026-11-20 12:00 UTC"


async def test_a_lasting_refusal_is_a_fact_of_that_recipient_and_channel_at_once() -> None:
    parts = Parts()
    await parts.reach.learn(ADA, WHATSAPP, NOT_ON_WHATSAPP)

    assert parts.recipients.facts(ADA).unreachable == {WHATSAPP: WHY}
    assert parts.recipients.facts(BOB).unreachable == {}


@pytest.mark.parametrize(
    "error",
    [
        None,
        ProviderError("recipient_unreachable", 63032, "an experiment"),
        ProviderError("provider_unavailable", 30003, "handset is off", slow=True),
    ],
)
async def test_what_may_be_over_at_the_next_try_teaches_nothing(error: ProviderError | None) -> None:
    parts = Parts()
    await parts.reach.learn(ADA, WHATSAPP, error)

    assert parts.store.stream("KV_reach") == []


async def test_no_key_holds_a_phone_number_and_every_key_expires() -> None:
    parts = Parts()
    await parts.reach.learn(ADA, MMS, NOT_ON_WHATSAPP)

    (stored,) = parts.store.stream("KV_reach")
    assert stored.subject == f"$KV.reach.mms.{HASHER.recipient(ADA)}"
    assert stored.headers["Nats-TTL"] == "259200s"
    assert b"2025550123" not in stored.body


async def test_it_is_forgotten_after_its_time_even_if_the_mirror_has_not_heard_so() -> None:
    moment = NOW

    def clock() -> datetime:
        return moment

    reach = Reach(MemoryStore(), "", HASHER, (SMS, WHATSAPP), ReachSettings(ttl=60), clock)
    await reach.learn(ADA, WHATSAPP, NOT_ON_WHATSAPP)
    moment = NOW + timedelta(seconds=59)
    assert list(reach.known(ADA)) == [WHATSAPP]
    moment = NOW + timedelta(seconds=60)
    assert reach.known(ADA) == {}


async def test_it_is_forgotten_at_once_for_that_channel_alone() -> None:
    parts = Parts()
    for channel in (SMS, WHATSAPP):
        await parts.reach.learn(ADA, channel, NOT_ON_WHATSAPP)

    assert await parts.reach.forget(ADA, WHATSAPP)

    assert list(parts.reach.known(ADA)) == [SMS]
    assert parts.store.stream("KV_reach")[-1].headers["KV-Operation"] == "DEL"
    assert not await parts.reach.forget(ADA, WHATSAPP)
    assert not await parts.reach.forget(BOB, SMS)
    assert len(parts.store.stream("KV_reach")) == 3


async def test_nothing_is_learnt_where_it_is_switched_off() -> None:
    store = MemoryStore()
    await Reach(store, "", HASHER, (WHATSAPP,), ReachSettings(ttl=0), now).learn(ADA, WHATSAPP, NOT_ON_WHATSAPP)

    assert store.stream("KV_reach") == []


async def test_what_cannot_be_stored_holds_nobody_up() -> None:
    store = MemoryStore([LOST])
    reach = Reach(store, "", HASHER, (WHATSAPP,), ReachSettings(), now)
    await reach.learn(ADA, WHATSAPP, NOT_ON_WHATSAPP)

    assert reach.known(ADA) == {}
    await reach.learn(ADA, WHATSAPP, NOT_ON_WHATSAPP)
    assert list(reach.known(ADA)) == [WHATSAPP]
