"""Stickiness: a recipient keeps their sender where senders are equal, and it costs nothing anywhere else."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from channels.model import MMS, SMS, WHATSAPP, ChannelName, PhoneNumber, Sender, SenderKind
from policies.senders import channels_with_equals
from router.settings import StickinessSettings
from router.stickiness import Stickiness
from tests.factories import NOW, US_MAIN, WA_MAIN, WORLD_SMS, a_sender
from tests.router.parts import HASHER
from tests.router.store import MemoryStore

ADA = PhoneNumber("+12025550123", "US")
OTHER_US = a_sender("us-other", SenderKind.TEN_DLC, SMS, countries=frozenset({"US", "CA"}))
FRANCE = a_sender("france", SenderKind.LONG_CODE, SMS, countries=frozenset({"FR"}), country="FR")


class SendingStore(MemoryStore):
    """Also takes what is sent without waiting for an answer."""

    async def send(self, subject: str, body: bytes, *, reply: str = "", headers: dict[str, str] | None = None) -> None:
        assert not reply
        await self.publish(subject, body, headers)

    def heard(self, stickiness: Stickiness) -> None:
        """The mirror catches up."""
        for stored in self.stream("KV_last-senders"):
            stickiness.mirror.note(stored.subject.removeprefix("$KV.last-senders."), stored.body, stored.sequence)


@pytest.mark.parametrize(
    ("senders", "channels"),
    [
        ((US_MAIN, WORLD_SMS, WA_MAIN), set()),
        ((US_MAIN, OTHER_US, WA_MAIN), {SMS}),
        ((US_MAIN, FRANCE), set()),
        ((WA_MAIN, a_sender("wa-2", SenderKind.WHATSAPP, WHATSAPP)), {WHATSAPP}),
        ((), set()),
    ],
)
def test_it_matters_where_two_senders_are_equal_for_some_country(
    senders: tuple[Sender, ...], channels: set[ChannelName]
) -> None:
    assert channels_with_equals(senders, (SMS, MMS, WHATSAPP)) == channels


async def test_the_last_sender_is_a_fact_of_that_channel_until_it_is_forgotten() -> None:
    moment = NOW

    def clock() -> datetime:
        return moment

    store = SendingStore()
    stickiness = Stickiness(store, "", HASHER, (SMS,), StickinessSettings(ttl=100), clock)
    await stickiness.used(ADA, SMS, "us-other")
    await stickiness.used(ADA, WHATSAPP, "wa-main")
    store.heard(stickiness)

    assert stickiness.known(ADA) == {SMS: "us-other"}
    (stored,) = store.stream("KV_last-senders")
    assert stored.headers["Nats-TTL"] == "100s"
    assert "2025550123" not in stored.subject
    moment = NOW + timedelta(seconds=100)
    assert stickiness.known(ADA) == {}


async def test_it_is_written_when_it_changes_and_before_it_is_forgotten_and_not_each_time() -> None:
    moment = NOW

    def clock() -> datetime:
        return moment

    store = SendingStore()
    stickiness = Stickiness(store, "", HASHER, (SMS,), StickinessSettings(ttl=100), clock)

    async def writes(seconds: float, sender: str) -> int:
        nonlocal moment
        moment = NOW + timedelta(seconds=seconds)
        before = len(store.stream("KV_last-senders"))
        await stickiness.used(ADA, SMS, sender)
        store.heard(stickiness)
        return len(store.stream("KV_last-senders")) - before

    assert [await writes(0, "us-main"), await writes(1, "us-main"), await writes(49, "us-main")] == [1, 0, 0]
    assert [await writes(50, "us-main"), await writes(51, "us-other")] == [1, 1]
    assert stickiness.known(ADA) == {SMS: "us-other"}


async def test_a_write_that_fails_and_a_ttl_of_nothing_hold_nobody_up() -> None:
    # The real port: it is not connected to anything.
    unconnected = Stickiness(MemoryStore(), "", HASHER, (SMS,), StickinessSettings(), lambda: NOW)
    await unconnected.used(ADA, SMS, "us-main")
    switched_off = Stickiness(MemoryStore(), "", HASHER, (SMS,), StickinessSettings(ttl=0), lambda: NOW)
    await switched_off.used(ADA, SMS, "us-main")

    assert not unconnected.known(ADA)
    assert not switched_off.channels
