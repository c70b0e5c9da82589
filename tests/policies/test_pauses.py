"""Pauses: what the document says, what operators lay over it, and what becomes of what they stop."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from channels.model import SMS, WHATSAPP, Category
from channels.reasons import Reason
from policies.document import Action, load, shipped
from policies.engine import Policy, compile_policy, decide
from policies.model import Deferred, Outcome, RoutingPlan, RoutingRequest, Suppressed
from policies.pauses import AGAIN, LAST_CALL, Kind, Pause
from tests.factories import NOW, a_request, a_world, facts

MARKETING = a_request(category=Category.MARKETING)
OPEN = facts(sessions={"wa-main": NOW + timedelta(hours=1)})
LATER = NOW + timedelta(seconds=AGAIN)
DOCUMENT = """
version = "1"
[guards.paused]
categories = "marketing"
{}
[[routes]]
name = "all"
plan = [{{ channel = "whatsapp" }}, {{ channel = "sms" }}]
"""


def switched(*switches: Pause) -> Policy:
    return compile_policy(shipped(), a_world(), switches)


def a_pause(kind: Kind, name: str, **changes: Any) -> Pause:
    return Pause(kind, name, **{"by": "by an operator", **changes})


def outcome(policy: Policy, request: RoutingRequest) -> Outcome:
    return decide(request, OPEN, policy, NOW).outcome


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("", Suppressed(Reason.PAUSED)),
        ('action = "suppress"', Suppressed(Reason.PAUSED)),
        ('action = "defer"', Deferred(NOW + timedelta(seconds=300), Reason.PAUSED)),
        ('action = "defer"\nagain = 60.5', Deferred(NOW + timedelta(seconds=60.5), Reason.PAUSED)),
    ],
)
def test_a_document_says_what_becomes_of_what_it_pauses(table: str, expected: Outcome) -> None:
    assert outcome(compile_policy(load(DOCUMENT.format(table), ""), a_world()), MARKETING) == expected


DEFER: dict[str, Any] = {"action": Action.DEFER}
SWITCHES: list[tuple[str, Pause, RoutingRequest, Outcome]] = [
    ("a category", a_pause(Kind.CATEGORY, "marketing"), MARKETING, Suppressed(Reason.PAUSED)),
    ("a source", a_pause(Kind.SOURCE, "shop"), a_request(), Suppressed(Reason.PAUSED)),
    ("waits", a_pause(Kind.SOURCE, "shop", **DEFER), a_request(), Deferred(LATER, Reason.PAUSED)),
    (
        "waits no longer than it lasts",
        a_pause(Kind.SOURCE, "shop", until=NOW + timedelta(seconds=20), **DEFER),
        a_request(),
        Deferred(NOW + timedelta(seconds=20), Reason.PAUSED),
    ),
    (
        "is asked once more before it expires: the pause may be over by then",
        a_pause(Kind.SOURCE, "shop", **DEFER),
        a_request(expires_at=NOW + timedelta(seconds=240)),
        Deferred(NOW + timedelta(seconds=230), Reason.PAUSED),
    ),
    (
        "has no time left to be asked again",
        a_pause(Kind.SOURCE, "shop", **DEFER),
        a_request(expires_at=NOW + LAST_CALL),
        Suppressed(Reason.EXPIRED),
    ),
    (
        "expires before a pause that ends for certain",
        a_pause(Kind.SOURCE, "shop", until=NOW + timedelta(seconds=250), **DEFER),
        a_request(expires_at=NOW + timedelta(seconds=240)),
        Suppressed(Reason.EXPIRED),
    ),
    ("the only channel", a_pause(Kind.CHANNEL, "whatsapp"), a_request("IN", pin=WHATSAPP), Suppressed(Reason.PAUSED)),
    (
        "waits for the only channel",
        a_pause(Kind.CHANNEL, "whatsapp", **DEFER),
        a_request("IN", pin=WHATSAPP),
        Deferred(LATER, Reason.PAUSED),
    ),
    (
        "is asked about its only channel once more before it expires",
        a_pause(Kind.CHANNEL, "whatsapp", **DEFER),
        a_request("IN", pin=WHATSAPP, expires_at=LATER),
        Deferred(LATER - LAST_CALL, Reason.PAUSED),
    ),
    (
        "expires before the only channel is back",
        a_pause(Kind.CHANNEL, "whatsapp", **DEFER),
        a_request("IN", pin=WHATSAPP, expires_at=NOW + timedelta(seconds=1)),
        Suppressed(Reason.EXPIRED),
    ),
]


@pytest.mark.parametrize(("pause", "request_", "expected"), [row[1:] for row in SWITCHES], ids=[r[0] for r in SWITCHES])
def test_a_switch_stops(pause: Pause, request_: RoutingRequest, expected: Outcome) -> None:
    assert outcome(switched(pause), request_) == expected


@pytest.mark.parametrize(
    "pause",
    [
        a_pause(Kind.CATEGORY, "marketing"),
        a_pause(Kind.SOURCE, "crm"),
        a_pause(Kind.CHANNEL, "mms"),
        a_pause(Kind.CATEGORY, "transactional", until=NOW),
        a_pause(Kind.CHANNEL, "whatsapp", until=NOW),
    ],
    ids=lambda pause: f"{pause.kind} {pause.name}",
)
def test_what_a_switch_does_not_name_or_no_longer_stops_goes_on(pause: Pause) -> None:
    decided = outcome(switched(pause), a_request("IN"))
    assert isinstance(decided, RoutingPlan)
    assert [step.channel for step in decided.steps] == [WHATSAPP, SMS]


def test_another_channel_takes_over_from_one_that_is_paused() -> None:
    decided = outcome(switched(a_pause(Kind.CHANNEL, "whatsapp", **DEFER)), a_request("IN"))
    assert isinstance(decided, RoutingPlan)
    assert [step.channel for step in decided.steps] == [SMS]


def test_the_trace_says_who_paused_what() -> None:
    pause = a_pause(Kind.CHANNEL, "whatsapp", by="by an operator since 12:00: Meta is down")
    trace = decide(a_request("IN"), OPEN, switched(pause), NOW).trace
    assert [(entry.rule, entry.matched) for entry in trace if entry.because == pause.because] == [
        ("route.elsewhere.whatsapp", False)
    ]
    assert pause.because == "channel 'whatsapp' is paused by an operator since 12:00: Meta is down"


def test_where_both_pause_the_same_the_document_counts_and_the_switch_outlives_it() -> None:
    switch = a_pause(Kind.CATEGORY, "marketing")
    deferring = load(DOCUMENT.format('action = "defer"'), "")
    assert outcome(compile_policy(deferring, a_world(), [switch]), MARKETING) == Deferred(LATER, Reason.PAUSED)
    assert outcome(switched(switch), MARKETING) == Suppressed(Reason.PAUSED)


def test_the_version_tells_switches_apart_and_nothing_else() -> None:
    one, other = a_pause(Kind.CATEGORY, "otp"), a_pause(Kind.SOURCE, "crm")
    versions = [switched().version, switched(one).version, switched(other).version, switched(one, other).version]
    assert len(set(versions)) == 4
    assert all(version.partition("~")[0] == shipped().version for version in versions)
    assert switched(other, one).version == versions[-1]
    assert switched(a_pause(Kind.CATEGORY, "otp", by="by somebody else")).version == versions[1]
