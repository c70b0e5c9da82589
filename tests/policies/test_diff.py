"""Recorded decisions decided again: the same policy changes nothing, another one changes what it should."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.model import SMS, WHATSAPP, Category, Lane, PhoneNumber
from channels.segments import count_segments
from policies.content import segments_of
from policies.diff import Change, DiffReport, Recorded, Tally, diff, recorded_from_event
from policies.document import PolicyDocument, load, shipped
from policies.engine import Policy, compile_policy, decide
from policies.explain import decision_as_dict
from policies.model import RecipientFacts, RoutingRequest, TemplateRequest
from policies.world import TemplateEntry, World
from tests.factories import NOW, WORLD_SMS, a_request, a_world, facts
from tests.policies.policy import a_policy
from tests.policies.test_engine_properties import DOCUMENTS, FACTS, REQUESTS, WORLDS

#: A notification names its template by one of the two, which is checked where it comes in.
READABLE = REQUESTS.filter(
    lambda request: not request.template or request.template.name or request.template.content_sid
)
SHIPPED = compile_policy(shipped(), a_world())
OPEN = {"wa-main": NOW + timedelta(hours=1)}
ID = "order-1"


def event(policy: Policy, request: RoutingRequest, known: RecipientFacts, identity: str = ID) -> dict[str, Any]:
    """As it stands in the log, after its journey through JSON."""
    decision = decision_as_dict(decide(request, known, policy, NOW))
    stored: dict[str, Any] = json.loads(
        json.dumps({"source": request.source, "notification_id": identity, "decision": decision})
    )
    return stored


def recorded(policy: Policy, request: RoutingRequest, known: RecipientFacts | None = None) -> Recorded:
    found = recorded_from_event(event(policy, request, known or facts()))
    assert found is not None
    return found


@given(READABLE, FACTS, DOCUMENTS, WORLDS)
def test_the_same_policy_would_have_decided_the_same(
    request: RoutingRequest, known: RecipientFacts, document: PolicyDocument, world: World
) -> None:
    policy = compile_policy(document, world)
    report = diff([recorded(policy, request, known)], policy)
    assert (report.decided, report.changed, report.changes) == (1, 0, ())


@given(READABLE, FACTS)
def test_the_facts_hold_neither_address_nor_content(request: RoutingRequest, known: RecipientFacts) -> None:
    found = json.dumps(decision_as_dict(decide(request, known, SHIPPED, NOW)))
    assert request.recipient.address not in found
    assert not request.text or len(request.text) < 3 or request.text not in found
    assert "https://cdn.example.com" not in found


def test_everything_that_a_policy_asks_for_comes_back() -> None:
    known = facts(
        ("channel:mms",),
        ("category:marketing",),
        sessions={"wa-main": NOW - timedelta(microseconds=1), "wa-2": NOW + timedelta(hours=3)},
        unreachable={WHATSAPP: "63003"},
        timezones=("America/New_York", "America/Chicago"),
        recent={Category.MARKETING: (NOW - timedelta(hours=2),)},
        last_sender={SMS: "us-main"},
    )
    request = a_request(
        "CA",
        lane=Lane.BULK,
        category=Category.MARKETING,
        media=("https://cdn.example.com/a.png", "https://cdn.example.com/b.png"),
        template=TemplateRequest("order_shipped", language="es-MX", variables={"name": "Ana", "day": "Monday"}),
        pin=SMS,
        send_at=NOW - timedelta(minutes=1),
        expires_at=NOW + timedelta(days=1),
        timezone="America/Toronto",
    )
    found = recorded(SHIPPED, request, known)
    again = found.request
    assert (again.source, again.lane, again.category, again.pin) == ("shop", "bulk", "marketing", "sms")
    assert (again.recipient.country, again.recipient.scheme, again.recipient.address) == ("CA", "tel", "tel:")
    assert (again.send_at, again.expires_at, again.timezone) == (
        request.send_at,
        request.expires_at,
        "America/Toronto",
    )
    assert again.template == TemplateRequest("order_shipped", None, "es-MX", {"day": "x" * 6, "name": "x" * 3})
    assert (len(again.text or ""), len(again.media), len("\n".join(again.media))) == (25, 2, 59)
    assert (found.facts.sessions, found.facts.recent, found.facts.timezones) == (
        known.sessions,
        known.recent,
        known.timezones,
    )
    assert [opt_out.scope for opt_out in found.facts.opt_outs] == ["channel:mms"]
    assert [opt_in.scope for opt_in in found.facts.opt_ins] == ["category:marketing"]
    assert (set(found.facts.unreachable), found.facts.last_sender) == ({WHATSAPP}, {SMS: "us-main"})
    assert (found.now, found.source, found.notification_id) == (NOW, "shop", ID)


@given(st.text("x€ж😀 ", min_size=1, max_size=400))
def test_a_text_comes_back_as_long_and_nearly_as_dear(text: str) -> None:
    again = recorded(SHIPPED, a_request(text=text)).request.text or ""
    assert len(again) == len(text)
    assert abs(segments_of(again) - segments_of(text)) <= 2


@given(st.text(max_size=400) | st.text("abc ?Z\n_", max_size=400))
def test_segments_are_counted_as_everywhere(text: str) -> None:
    assert segments_of(text) == count_segments(text)


@pytest.mark.parametrize(
    ("text", "segments"), [("x" * 160, 1), ("x" * 161, 2), ("ж" * 70, 1), ("ж" * 71, 2), ("€" * 81, 2), ("😀" * 36, 2)]
)
def test_plain_texts_cost_the_same(text: str, segments: int) -> None:
    again = recorded(SHIPPED, a_request(text=text)).request.text
    assert segments_of(again or "") == segments


@pytest.mark.parametrize(
    "other",
    [
        {"status": "delivered", "decision": None},
        {"status": "delivered"},
        {"decision": {"outcome": "rejected", "reason": "invalid", "plan": [], "facts": {}}},
        {"decision": {"outcome": "routed", "reason": "routed", "plan": [], "facts": {"country": "US"}}},
    ],
)
def test_what_cannot_be_decided_again_is_passed_over(other: dict[str, Any]) -> None:
    assert recorded_from_event(other) is None


def test_a_refusal_for_variables_is_a_refusal_again() -> None:
    request = a_request("IN", template=TemplateRequest("order_shipped", variables={"name": "Ana", "day": "a\nb"}))
    assert diff([recorded(SHIPPED, request)], SHIPPED).changed == 0


def test_what_changes_is_counted_by_country_channel_and_form_with_examples() -> None:
    other = a_policy(
        '[guards.countries]\nblocked = ["JM"]', '[[routes]]\nname = "sms"\nplan = [{ channel = "sms", form = "text" }]'
    )
    traffic = [
        *(event(SHIPPED, a_request("IN"), facts(sessions=OPEN), f"in-{number}") for number in range(5)),
        event(SHIPPED, a_request("JM"), facts(), "jm"),
        event(SHIPPED, a_request("US"), facts(), "us"),
    ]
    report = diff([found for each in traffic if (found := recorded_from_event(each))], other)
    examples = tuple({"source": "shop", "notification_id": f"in-{number}"} for number in range(3))
    assert report == DiffReport(
        policy=other.version,
        decided=7,
        changed=6,
        changes=(
            Change("IN", "whatsapp text from wa-main, sms text from gb-sms", "sms text from gb-sms", 5, examples),
            Change(
                "JM",
                "sms text from gb-sms",
                "suppressed country_blocked",
                1,
                ({"source": "shop", "notification_id": "jm"},),
            ),
        ),
        by_country={"IN": 5, "JM": 1},
        by_channel={"none": Tally(0, 1), "sms": Tally(2, 6), "whatsapp": Tally(5, 0)},
        by_form={"none": Tally(0, 1), "text": Tally(7, 6)},
    )
    told = report.as_dict()
    assert json.loads(json.dumps(told)) == told
    assert told["changes"][1] == {
        "country": "JM",
        "was": "sms text from gb-sms",
        "becomes": "suppressed country_blocked",
        "count": 1,
        "examples": [{"source": "shop", "notification_id": "jm"}],
    }


@pytest.mark.parametrize(("until", "shift"), [("08:00", ""), ("09:30", ", later"), ("07:30", ", earlier")])
def test_a_deferral_that_ends_at_another_time_is_a_change(until: str, shift: str) -> None:
    # 12:00 UTC is 07:00 in New York
    quiet = '[[guards.quiet_hours]]\nfrom = "21:00"\nuntil = "{}"'
    was, becomes = a_policy(quiet.format("08:00")), a_policy(quiet.format(until))
    report = diff([recorded(was, a_request(timezone="America/New_York"))], becomes)
    assert [change.becomes for change in report.changes] == ([f"deferred quiet_hours{shift}"] if shift else [])


def test_of_equal_senders_the_one_that_was_used_is_kept() -> None:
    policy = compile_policy(shipped(), a_world(*(replace(WORLD_SMS, name=name) for name in ("a", "b", "c", "d"))))
    requests = [a_request(recipient=PhoneNumber(f"+9198765432{number:02}", "IN")) for number in range(30)]
    used = {recorded(policy, request).was["plan"][0]["sender"] for request in requests}
    assert used == {"a", "b", "c", "d"}
    assert diff([recorded(policy, request) for request in requests], policy).changed == 0


def test_variables_count_as_long_as_they_were() -> None:
    world = a_world(templates={"order": TemplateEntry("order", "utility", {}, text={"en": "Dear {{name}}, hello."})})
    document = load(
        'version = "t"\n[guards.segments]\nmax = 1\n[[routes]]\nname = "text"\nplan = [{ channel = "sms" }]\n', "t"
    )
    policy = compile_policy(document, world)
    for length in (10, 200):
        request = a_request("US", text=None, template=TemplateRequest("order", variables={"name": "A" * length}))
        assert diff([recorded(policy, request)], policy).changed == 0


def test_what_leads_from_step_to_step_is_compared() -> None:
    route = '[[routes]]\nname = "all"\nplan = [{{ channel = "whatsapp", form = "text"{} }}, {{ channel = "sms" }}]'
    traffic = [recorded(a_policy(route.format(", within = 600")), a_request("IN"), facts(sessions=OPEN))]

    report = diff(traffic, a_policy(route.format(', within = 5, on = ["failed"]')))

    assert [(change.was.split(",")[0], change.becomes.split(",")[0]) for change in report.changes] == [
        ("whatsapp text from wa-main within 600 s", "whatsapp text from wa-main within 5 s on failed")
    ]


def test_what_cannot_be_compared_is_said() -> None:
    route = '[[routes]]\nname = "all"\nplan = [{ channel = "sms" }]'
    other = a_policy('[on_unknown]\notp = "hold"\n[[guards.frequency]]\nlimit = 1\nwindow = 60', route)

    said = diff([recorded(a_policy(route), a_request("IN"))], other).not_compared

    assert [each.split(":")[0] for each in said] == ["[on_unknown]", "[[guards.frequency]]"]
    assert diff([recorded(other, a_request("IN"))], a_policy(route)).not_compared == ()
