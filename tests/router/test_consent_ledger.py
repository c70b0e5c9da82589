"""The consent ledger: statements are added once, in the order in which they were made, by however many routers."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta
from itertools import count, permutations

import pytest

from channels.model import (
    SMS,
    WHATSAPP,
    ChannelName,
    Form,
    FromNumber,
    InboundMessage,
    Keyword,
    MessagingService,
    PhoneNumber,
    SenderKind,
)
from policies.model import Step
from router.consent import ConsentKeeper
from router.consent_ledger import OPTED_IN, OPTED_OUT, Consent, ConsentEntry, current
from router.inbound import Inbound
from router.jetstream import Stored
from router.settings import ConsentSettings, InboundSettings
from tests.factories import NOW, a_sender
from tests.router.parts import HASHER, Parts, now
from tests.router.store import MemoryStore

ADA = PhoneNumber("+12025550123", "US")
SERVICE_SID = "MG" + "0" * 32
NUMBER = a_sender("number", SenderKind.LONG_CODE, SMS, origin=FromNumber("+15017122661"))
SERVICE = a_sender("service", SenderKind.MESSAGING_SERVICE, SMS, origin=MessagingService(SERVICE_SID))


def said(state: str, minutes: float, scope: str = "all", via: str = "api", proof: str = "a note") -> ConsentEntry:
    return ConsentEntry(scope, state, NOW + timedelta(minutes=minutes), via, proof)


class InterleavedStore(MemoryStore):
    """Others get a turn before every write."""

    async def publish(self, subject: str, body: bytes, *args: object, **kwargs: object) -> int:
        await asyncio.sleep(0)
        return await super().publish(subject, body, *args, **kwargs)  # type: ignore[arg-type]  # as it was given

    async def last(self, stream: str, subject: str) -> Stored | None:
        await asyncio.sleep(0)
        return await super().last(stream, subject)


STATEMENTS = [said(OPTED_OUT, 1), said(OPTED_IN, 2, "category:otp"), said(OPTED_OUT, 3, "channel:sms")]


@pytest.mark.parametrize("order", list(permutations(range(3))))
async def test_several_routers_lead_to_one_history_in_the_order_of_what_was_said(order: tuple[int, ...]) -> None:
    store = InterleavedStore()
    routers = [Consent(store, "", HASHER, now) for _ in range(3)]

    recorded = await asyncio.gather(*(router.record(ADA, STATEMENTS[index]) for router in routers for index in order))

    rows = json.loads(store.stream("KV_consent")[-1].body)
    assert [row["at"] for row in rows] == sorted(row["at"] for row in rows)
    assert [(row["state"], row["scope"]) for row in rows] == [(each.state, each.scope) for each in STATEMENTS]
    assert sum(recorded) == 3
    assert {row["recorded_at"] for row in rows} == {"2026-11-20T12:00:00.000Z"}


@pytest.mark.parametrize("states", [(OPTED_OUT, OPTED_IN), (OPTED_IN, OPTED_OUT)])
def test_of_two_statements_of_one_moment_the_opt_out_holds(states: tuple[str, str]) -> None:
    assert current([said(state, 0) for state in states])["all"].state == OPTED_OUT


async def test_what_is_recorded_late_does_not_overrule_what_was_said_later() -> None:
    parts = Parts()
    await parts.consent.record(ADA, said(OPTED_IN, 0, via="keyword", proof="START"))
    await parts.consent.record(ADA, said(OPTED_OUT, -1000, via="import"))

    assert parts.recipients.stopped_by(ADA, channel=SMS, sender="us-main", category="otp") is None
    assert [each.state for each in parts.consent.known(ADA)] == [OPTED_OUT, OPTED_IN]


async def test_a_repeated_statement_costs_no_write_and_a_webhook_that_comes_again_is_a_repetition() -> None:
    parts = Parts()
    first = said(OPTED_OUT, 0, via="keyword", proof="stop in message SM1")
    again = said(OPTED_OUT, 5, via="keyword", proof="stop in message SM1")
    other = said(OPTED_OUT, 5, via="keyword", proof="stop in message SM2")

    assert [await parts.consent.record(ADA, each) for each in (first, again, other)] == [True, False, True]

    assert len(parts.store.stream("KV_consent")) == 2
    imported = [await parts.consent.record(ADA, said(OPTED_IN, m, via="import")) for m in (1.00000001, 1.00000001, 2)]
    assert imported == [True, False, True]


async def test_the_newest_hundred_are_kept_and_whatever_holds_however_old() -> None:
    parts = Parts()
    await parts.consent.record(ADA, said(OPTED_OUT, 0, "sender:us-main"))
    for minute in range(1, 130):
        await parts.consent.record(ADA, said((OPTED_IN, OPTED_OUT)[minute % 2], minute, "channel:sms"))

    history = parts.consent.known(ADA)
    assert len(history) == 101
    assert history[0].scope == "sender:us-main"
    assert current(history).keys() == {"sender:us-main", "channel:sms"}


async def test_a_start_is_no_consent_and_takes_back_no_objection_to_a_category() -> None:
    parts = Parts()
    await parts.consent.record(ADA, said(OPTED_OUT, 0, "category:marketing", via="api", proof="preferences page"))
    await parts.consent.record(ADA, said(OPTED_IN, 1, via="keyword", proof="'Yes' in message SM1"))

    facts = parts.recipients.facts(ADA)
    assert [opt_out.scope for opt_out in facts.opt_outs] == ["category:marketing"]
    assert facts.opt_ins == ()


async def test_a_start_brings_back_what_the_stop_before_it_had_replaced() -> None:
    parts = Parts()
    await parts.consent.record(ADA, said(OPTED_IN, 0, "category:marketing", via="api", proof="form 17"))
    await parts.consent.record(ADA, said(OPTED_OUT, 1, via="keyword", proof="stop in message SM1"))
    assert parts.recipients.facts(ADA).opt_ins == ()

    await parts.consent.record(ADA, said(OPTED_IN, 2, via="keyword", proof="start in message SM2"))

    facts = parts.recipients.facts(ADA)
    assert ([each.scope for each in facts.opt_ins], facts.opt_outs) == (["category:marketing"], ())


@pytest.mark.parametrize(
    ("start", "left"), [("all", set()), ("sender:us-main", {"channel:sms"}), ("channel:sms", {"sender:us-main"})]
)
def test_a_start_lifts_the_stops_of_what_it_was_sent_to(start: str, left: set[str]) -> None:
    stops = [said(OPTED_OUT, 0, "sender:us-main", via="keyword"), said(OPTED_OUT, 1, "channel:sms", via="provider")]

    holding = current([*stops, said(OPTED_IN, 2, start, via="keyword")])

    assert {scope for scope, entry in holding.items() if entry.state == OPTED_OUT} == left
    assert holding[start].is_start


@pytest.mark.parametrize(
    ("scope", "to", "service", "recorded"),
    [
        ("sender", "+15017122661", SERVICE_SID, {"sender:number", "sender:service"}),
        ("sender", "+15017129999", SERVICE_SID, {"sender:service"}),
        ("sender", "+15017122661", None, {"sender:number"}),
        ("sender", "+15017129999", None, {"all"}),
        ("channel", "+15017122661", SERVICE_SID, {"channel:sms"}),
        ("all", "+15017122661", SERVICE_SID, {"all"}),
    ],
)
async def test_a_stop_to_a_number_of_a_messaging_service_covers_the_service(
    scope: str, to: str, service: str | None, recorded: set[str]
) -> None:
    parts = Parts()
    senders = (NUMBER, SERVICE)
    settings = ConsentSettings.model_validate({"stop_scope": scope})
    moments = count()

    def ticking() -> datetime:
        return NOW + timedelta(seconds=next(moments))

    keeper = ConsentKeeper(parts.consent, settings, {sender.name for sender in senders}, ticking)
    # Everything but the stream of inbound messages stands on the store in memory.
    inbound = Inbound(parts.store, senders, keeper, parts.sessions, parts.reach, InboundSettings(), now)

    async def keyword(word: Keyword) -> set[str]:
        message = InboundMessage("SM1", SMS, ADA, to, service, text=word.value, keyword=word)  # type: ignore[arg-type]
        await inbound.take("twilio", message)
        return {scope for scope, entry in current(parts.consent.known(ADA)).items() if entry.state == _STATES[word]}

    assert await keyword(Keyword.STOP) == recorded
    assert await keyword(Keyword.START) == recorded


_STATES = {Keyword.STOP: OPTED_OUT, Keyword.START: OPTED_IN}


async def test_a_record_written_before_proofs_had_parts_is_read() -> None:
    parts = Parts()
    old = [{"scope": "all", "state": OPTED_OUT, "at": "2026-01-01T00:00:00Z", "via": "api", "proof": None}]
    parts.consent.mirror.note(HASHER.recipient(ADA), json.dumps(old).encode(), 1)

    (entry,) = parts.consent.known(ADA)
    assert (entry.at, entry.recorded_at) == (datetime.fromisoformat("2026-01-01T00:00:00Z"), None)
    assert entry.as_dict()["text"] is None


@pytest.mark.parametrize(
    ("stop_scope", "channel", "recorded"),
    [
        ("all", SMS, "all"),
        ("all", WHATSAPP, "channel:whatsapp"),
        ("channel", WHATSAPP, "channel:whatsapp"),
        ("sender", WHATSAPP, "sender:number"),
    ],
)
async def test_who_blocks_a_business_on_whatsapp_says_nothing_about_texts(
    stop_scope: str, channel: ChannelName, recorded: str
) -> None:
    parts = Parts()
    settings = ConsentSettings.model_validate({"stop_scope": stop_scope})
    keeper = ConsentKeeper(parts.consent, settings, {"number"}, now)

    await keeper.refused(ADA, Step(channel, Form.TEXT, "number"), "the provider refused attempt 1")

    assert set(current(parts.consent.known(ADA))) == {recorded}
