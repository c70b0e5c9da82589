"""Routes, senders and refusals: what wins, and what is said when nothing can."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from channels.model import (
    SMS,
    WHATSAPP,
    Category,
    ChannelCapabilities,
    ChannelName,
    FromNumber,
    Lane,
    OnUnknown,
    Sender,
    SenderKind,
)
from channels.reasons import Reason
from policies.document import shipped
from policies.engine import compile_policy, decide
from policies.explain import decision_as_dict
from policies.model import RecipientFacts, Rejected, RoutingPlan, RoutingRequest, TemplateRequest, TraceEntry
from policies.world import TemplateEntry, World
from tests.factories import (
    CAPABILITIES,
    NOW,
    ORDER_SHIPPED,
    US_MAIN,
    WA_MAIN,
    WORLD_SMS,
    a_handle,
    a_request,
    a_sender,
    a_world,
    facts,
)
from tests.policies.policy import a_policy

OPEN = {"wa-main": NOW + timedelta(hours=1)}
LONG = "x" * 1601
EMAIL = ChannelName("email")


def rejected(request: RoutingRequest, known: RecipientFacts | None = None, world: World | None = None) -> Rejected:
    decided = decide(request, known or facts(), compile_policy(shipped(), world or a_world()), NOW).outcome
    assert isinstance(decided, Rejected), decided
    return decided


REFUSALS: list[tuple[str, RoutingRequest, RecipientFacts, World, Reason, str]] = [
    (
        "pinned to WhatsApp, no session",
        a_request("IN", pin=WHATSAPP),
        facts(),
        a_world(),
        Reason.SESSION_CLOSED,
        "give content.template",
    ),
    (
        "WhatsApp is all there is",
        a_request("IN"),
        facts(),
        a_world(WA_MAIN),
        Reason.SESSION_CLOSED,
        "give content.template",
    ),
    (
        "only WhatsApp reaches a user id",
        a_request(recipient=a_handle()),
        facts(),
        a_world(),
        Reason.SESSION_CLOSED,
        "give content.template",
    ),
    (
        "SMS does not reach a user id",
        a_request(recipient=a_handle(), pin=SMS),
        facts(),
        a_world(),
        Reason.NOT_ON_CHANNEL,
        "'whatsapp'",
    ),
    (
        "learnt to be unreachable",
        a_request("IN", pin=WHATSAPP),
        facts(unreachable={WHATSAPP: "63003"}),
        a_world(),
        Reason.NOT_ON_CHANNEL,
        "63003",
    ),
    ("MMS abroad", a_request("JM", pin=ChannelName("mms")), facts(), a_world(), Reason.NOT_ON_CHANNEL, "not JM"),
    ("not installed", a_request("IN", pin=EMAIL), facts(), a_world(), Reason.NOT_ON_CHANNEL, "mms, sms, whatsapp"),
    ("too long", a_request("US", text=LONG), facts(), a_world(), Reason.TOO_LONG, "1601 characters and sms takes 1600"),
    ("too long on both", a_request("IN", text=LONG), facts(sessions=OPEN), a_world(), Reason.TOO_LONG, "1601"),
    (
        "too long with its links",
        a_request("IN", text="x" * 1599, media=("https://x",)),
        facts(),
        a_world(),
        Reason.TOO_LONG,
        "1609",
    ),
    (
        "no sender for the country",
        a_request("US"),
        facts(),
        a_world(WORLD_SMS, WA_MAIN),
        Reason.NO_ROUTE,
        "serve US on sms",
    ),
    (
        "no channel for the scheme",
        a_request(recipient=a_handle(None, "mailto")),
        facts(),
        a_world(),
        Reason.NOT_ON_CHANNEL,
        "mailto",
    ),
]


@pytest.mark.parametrize(
    ("request_", "known", "world", "reason", "words"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS]
)
def test_a_refusal_gives_the_most_helpful_reason(
    request_: RoutingRequest, known: RecipientFacts, world: World, reason: Reason, words: str
) -> None:
    decided = rejected(request_, known, world)
    assert decided.reason is reason
    assert words in decided.message


def test_no_route_for_this_is_said_as_such() -> None:
    routes = '[[routes]]\nname = "bulk"\nwhen = { lane = "bulk" }\nplan = { channel = "sms" }'
    decision = decide(a_request("US"), facts(), a_policy(routes=routes), NOW)
    assert decision.outcome == Rejected(Reason.NO_ROUTE, "no route of the policy is for a recipient in US")
    assert decision.trace[-1].because == "it does not apply: the lane is normal, not bulk"


LUNCH = 'local_time = { from = "12:00", until = "14:00" }'
WITH_UNAPPROVED = a_world(
    templates={"order_shipped": ORDER_SHIPPED, "unapproved": TemplateEntry("unapproved", "utility")}
)
CONDITIONS = [
    ('country = "US"', a_request("US"), {}, True),
    ('country = ["US", "CA"]', a_request("JM"), {}, False),
    ('country = ["islands"]', a_request("DO"), {}, True),
    ('country = ["islands"]', a_request(recipient=a_handle(None)), {}, False),
    ('session = "open"', a_request("IN"), OPEN, True),
    ('session = "open"', a_request("IN"), {"wa-main": NOW}, False),
    ('session = "closed"', a_request("IN"), {"wa-main": NOW}, True),
    ('session = "closed"', a_request("IN"), {}, True),
    ('session = "closed"', a_request("IN"), OPEN, False),
    ('session = "closed"', a_request("IN"), {"wa-gone": NOW + timedelta(hours=1)}, True),
    ("media = true", a_request("US", media=("https://x",)), {}, True),
    ("media = true", a_request("US"), {}, False),
    ("text = false", a_request("US", text=""), {}, True),
    ('template = "none"', a_request("US"), {}, True),
    ('template = "given"', a_request("US", template=TemplateRequest("order_shipped")), {}, True),
    ('template = "given"', a_request("US", template=TemplateRequest("unapproved")), {}, True),
    ('template = "approved"', a_request("US", template=TemplateRequest("order_shipped")), {}, True),
    ('template = "approved"', a_request("US", template=TemplateRequest(content_sid="HX1")), {}, True),
    ('template = "approved"', a_request("US", template=TemplateRequest("unapproved")), {}, False),
    ('template = ["approved", "none"]', a_request("US"), {}, True),
    ('language = "es"', a_request("US", template=TemplateRequest("order_shipped", language="es-MX")), {}, True),
    ('language = "pt"', a_request("US", template=TemplateRequest("order_shipped", language="pt-BR")), {}, True),
    ('language = "pt-PT"', a_request("US", template=TemplateRequest("order_shipped", language="pt-BR")), {}, False),
    ('language = "es"', a_request("US", template=TemplateRequest("order_shipped", language="hi")), {}, False),
    ('language = "en"', a_request("US", template=TemplateRequest("order_shipped", language="hi")), {}, True),
    ('language = "en"', a_request("US"), {}, False),
    ('sender_kind = "10dlc"', a_request("US"), {}, True),
    ('sender_kind = "10dlc"', a_request("IN"), {}, False),
    ('sender_kind = ["short-code", "long-code"]', a_request("IN"), {}, True),
    ('sender_kind = "long-code"', a_request("US"), {}, False),  # a British one, which cannot serve there
    (LUNCH, a_request("US", timezone="Asia/Kolkata"), {}, False),  # 12:00 UTC is 17:30 there
    (LUNCH, a_request("US", timezone="Europe/London"), {}, True),
    (LUNCH, a_request("US"), {}, False),  # nobody knows where they are
    ('category = ["otp", "service"]', a_request("US"), {}, False),
    ('lane = "urgent"', a_request("US", lane=Lane.URGENT), {}, True),
    ('source = "shop"', a_request("US"), {}, True),
    ("pinned = false", a_request("US", pin=SMS), {}, False),
    ('scheme = "tel"', a_request("US"), {}, True),
    ('country = "US", lane = "bulk"', a_request("US"), {}, False),
]


@pytest.mark.parametrize(("condition", "request_", "sessions", "holds"), CONDITIONS)
def test_conditions_and_their_opposites(
    condition: str, request_: RoutingRequest, sessions: dict[str, object], holds: bool
) -> None:
    for keyword in ("when", "unless"):
        routes = f'[[routes]]\nname = "it"\n{keyword} = {{ {condition} }}\nplan = {{ channel = "sms" }}'
        policy = a_policy('[groups]\nislands = ["JM", "DO"]', routes, WITH_UNAPPROVED)
        trace = decide(request_, facts(sessions=sessions), policy, NOW).trace
        applied = next(entry.matched for entry in trace if entry.rule == "route.it")
        assert applied is (holds if keyword == "when" else not holds)


@pytest.mark.parametrize(
    ("channels", "learnt", "holds"),
    [
        ('"whatsapp"', {}, True),
        ('"whatsapp"', {WHATSAPP: "63003"}, False),
        ('["whatsapp", "sms"]', {WHATSAPP: "63003"}, True),
        ('["whatsapp", "sms"]', {WHATSAPP: "63003", SMS: "30006"}, False),
    ],
)
def test_what_was_learnt_about_the_recipient_is_a_condition(
    channels: str, learnt: dict[ChannelName, str], holds: bool
) -> None:
    routes = f'[[routes]]\nname = "it"\nwhen = {{ reachable = {channels} }}\nplan = {{ channel = "sms" }}'
    trace = decide(a_request("IN"), facts(unreachable=learnt), a_policy(routes=routes), NOW).trace
    assert next(entry.matched for entry in trace if entry.rule == "route.it") is holds


@pytest.mark.parametrize(
    ("zones", "matched", "because"),
    [
        # 12:00 UTC: 13:00 in Madrid, 07:00 in New York
        (("Europe/Madrid",), True, "it applies: it is 13:00 in Europe/Madrid"),
        (
            ("Europe/Madrid", "America/New_York"),
            False,
            "it does not apply: it is 13:00 in Europe/Madrid, 07:00 in America/New_York, not in 12:00-14:00",
        ),
        ((), False, "it does not apply: the recipient's time zone is not known, not in 12:00-14:00"),
    ],
)
def test_local_time_holds_in_every_zone_the_number_may_be_in(
    zones: tuple[str, ...], matched: bool, because: str
) -> None:
    routes = f'[[routes]]\nname = "it"\nwhen = {{ {LUNCH} }}\nplan = {{ channel = "sms" }}'
    trace = decide(a_request("IN"), facts(timezones=zones), a_policy(routes=routes), NOW).trace
    assert TraceEntry("route.it", matched, because) in trace


def test_a_zone_may_be_assumed_where_none_is_known() -> None:
    span = '{ from = "12:00", until = "14:00", timezone = "Europe/Madrid" }'
    routes = f'[[routes]]\nname = "it"\nwhen = {{ local_time = {span} }}\nplan = {{ channel = "sms" }}'
    assert isinstance(decide(a_request("IN"), facts(), a_policy(routes=routes), NOW).outcome, RoutingPlan)


def test_a_step_says_when_and_after_what_the_next_one_runs() -> None:
    routes = """
    [[routes]]
    name = "codes"
    plan = [
      { channel = "whatsapp", form = "template", within = 45, on = ["undelivered", "recipient_unreachable"] },
      { channel = "sms" },
    ]
    """
    request = a_request("IN", template=TemplateRequest("order_shipped"))
    decision = decide(request, facts(), a_policy(routes=routes), NOW)
    assert isinstance(decision.outcome, RoutingPlan)
    assert [(step.channel, step.silence, step.on) for step in decision.outcome.steps] == [
        (WHATSAPP, 45.0, ("undelivered", "recipient_unreachable")),
        (SMS, None, None),
    ]
    plan = decision_as_dict(decision)["plan"]
    assert (plan[0]["silence"], plan[0]["on"]) == (45.0, ["undelivered", "recipient_unreachable"])
    assert "silence" not in plan[1]
    assert "on" not in plan[1]


def test_an_unknown_outcome_is_tried_again_unless_the_policy_says_otherwise() -> None:
    policy = a_policy('[on_unknown]\ntransactional = "hold"\nmarketing = "failover"')
    assert [policy.on_unknown(category) for category in Category] == [
        OnUnknown.RETRY,
        OnUnknown.HOLD,
        OnUnknown.RETRY,
        OnUnknown.FAILOVER,
    ]


@pytest.mark.parametrize(
    ("entry", "request_", "works"),
    [
        ("marketing", a_request("US", pin=WHATSAPP), False),
        ("marketing", a_request("CA", pin=WHATSAPP), True),
        ("utility", a_request("US", pin=WHATSAPP), True),
        ("authentication", a_request("US", pin=WHATSAPP), True),
        ("authentication", a_request(recipient=a_handle("GB")), False),
        ("utility", a_request(recipient=a_handle("GB")), True),
        (None, a_request("US", pin=WHATSAPP, category=Category.MARKETING), False),
        (None, a_request("US", pin=WHATSAPP), True),
    ],
)
def test_templates_that_whatsapp_does_not_deliver_are_not_sent_there(
    entry: str | None, request_: RoutingRequest, works: bool
) -> None:
    templates = {"it": TemplateEntry("it", entry, {"en": "HXen"})} if entry else {}
    template = TemplateRequest("it") if entry else TemplateRequest(content_sid="HX1")
    policy = compile_policy(shipped(), a_world(templates=templates))
    outcome = decide(replace(request_, text=None, template=template), facts(), policy, NOW).outcome
    assert isinstance(outcome, RoutingPlan) is works
    assert works or (isinstance(outcome, Rejected) and outcome.reason is Reason.NOT_ON_CHANNEL)


def test_a_whatsapp_id_gets_whatsapp_wherever_it_is_from() -> None:
    known = facts(sessions=OPEN)
    policy = compile_policy(shipped(), a_world())
    for country in ("US", "CA", "GB"):
        outcome = decide(a_request(recipient=a_handle(country)), known, policy, NOW).outcome
        assert isinstance(outcome, RoutingPlan)
        assert [step.channel for step in outcome.steps] == [WHATSAPP]


def test_the_first_route_with_a_step_that_can_work_wins() -> None:
    routes = """
    [[routes]]
    name = "chat"
    plan = { channel = "whatsapp", form = "text" }
    [[routes]]
    name = "text"
    plan = { channel = "sms" }
    """
    decision = decide(a_request("IN"), facts(), a_policy(routes=routes), NOW)
    assert [(entry.rule, entry.matched) for entry in decision.trace[-4:]] == [
        ("route.chat", True),
        ("route.chat.whatsapp", False),
        ("route.text", True),
        ("route.text.sms", True),
    ]


def test_a_plugin_channel_is_reached_by_a_pin_without_any_route_of_its_own() -> None:
    mailer = a_sender("mailer", SenderKind.LONG_CODE, EMAIL, country=None)
    email = ChannelCapabilities(schemes=frozenset({"mailto"}))
    world = a_world(mailer, channels={**CAPABILITIES, EMAIL: email})
    request = a_request(recipient=a_handle(None, "mailto"), pin=EMAIL)
    decided = decide(request, facts(), compile_policy(shipped(), world), NOW).outcome
    assert isinstance(decided, RoutingPlan)
    assert [(step.channel, step.sender) for step in decided.steps] == [(EMAIL, "mailer")]


TOLL_FREE = a_sender("toll-free", SenderKind.TOLL_FREE, SMS)
SHORT = a_sender("short", SenderKind.SHORT_CODE, SMS, origin=FromNumber("12345"), country=None)
ALPHA = a_sender("alpha", SenderKind.ALPHANUMERIC, SMS, origin=FromNumber("ACME"), country=None)
SERVICE = a_sender("service", SenderKind.MESSAGING_SERVICE, SMS, country=None)
US_LONG = a_sender("us-long", SenderKind.LONG_CODE, SMS)


def only_for(sender: Sender, *countries: str) -> Sender:
    return a_sender(
        f"{sender.name}-only", sender.kind, *sender.channels, country=sender.country, countries=frozenset(countries)
    )


@pytest.mark.parametrize(
    ("sender", "serves"),
    [
        (US_LONG, {"US", "CA", "JM", "IN"}),
        (WORLD_SMS, {"JM", "IN"}),
        (US_MAIN, {"US", "CA"}),  # listed
        (TOLL_FREE, {"US", "CA", "JM", "IN"}),
        (SHORT, {"US", "CA"}),
        (only_for(SHORT, "IN"), {"IN"}),
        (ALPHA, {"JM", "IN"}),
        (only_for(ALPHA, "US", "IN"), {"IN"}),  # whatever the configuration says
        (only_for(WORLD_SMS, "US", "IN"), {"IN"}),
        (SERVICE, {"US", "CA", "JM", "IN"}),
        (only_for(SERVICE, "JM"), {"JM"}),
        (a_sender("wa", SenderKind.WHATSAPP, SMS, WHATSAPP), set()),  # no SMS from a WhatsApp sender
    ],
)
def test_who_may_be_sent_sms_from_this_sender(sender: Sender, serves: set[str]) -> None:
    policy = a_policy(routes='[[routes]]\nname = "sms"\nplan = { channel = "sms" }', world=a_world(sender))
    served = {
        country
        for country in ("US", "CA", "JM", "IN")
        if isinstance(decide(a_request(country), facts(), policy, NOW).outcome, RoutingPlan)
    }
    assert served == serves


@pytest.mark.parametrize(
    ("country", "senders", "chosen", "because"),
    [
        ("IN", (WORLD_SMS, only_for(SERVICE, "IN", "JM")), "service-only", "its country list is more specific"),
        (
            "IN",
            (only_for(SERVICE, "IN", "JM"), only_for(US_LONG, "IN")),
            "us-long-only",
            "its country list is more specific",
        ),
        ("IN", (WORLD_SMS,), "gb-sms", "the only one that can serve this country on sms"),
    ],
)
def test_which_sender_is_chosen_and_why(country: str, senders: tuple[Sender, ...], chosen: str, because: str) -> None:
    decided = decide(a_request(country), facts(), compile_policy(shipped(), a_world(*senders)), NOW).outcome
    assert isinstance(decided, RoutingPlan)
    assert decided.steps[0].sender == chosen
    assert because in decided.steps[0].because


def test_free_form_comes_from_the_sender_that_the_recipient_wrote_to() -> None:
    second = a_sender("wa-second", SenderKind.WHATSAPP, WHATSAPP)
    policy = compile_policy(shipped(), a_world(WA_MAIN, second))
    known = facts(sessions={"wa-second": NOW + timedelta(hours=3)})
    decided = decide(a_request("IN"), known, policy, NOW).outcome
    assert isinstance(decided, RoutingPlan)
    assert (decided.steps[0].sender, decided.steps[0].because) == (
        "wa-second",
        "the text fits; the session with sender 'wa-second' is open until 2026-11-20 15:00+00:00",
    )


@pytest.mark.parametrize(
    ("asked", "country", "sid", "language"),
    [
        ("es", "IN", "HXes", "es"),
        ("es-MX", "IN", "HXes", "es"),  # its base
        ("pt-BR", "IN", "HXptBR", "pt_BR"),  # the same tag, as the provider writes it
        ("pt", "IN", "HXptBR", "pt_BR"),  # a region of it
        ("hi", "BR", "HXptBR", "pt_BR"),  # the country's usual language
        (None, "BR", "HXptBR", "pt_BR"),
        ("hi", "IN", "HXen", "en"),  # the first in fallback order
        (None, "IN", "HXen", "en"),
    ],
)
def test_the_language_of_a_template_falls_back(asked: str | None, country: str, sid: str, language: str) -> None:
    policy = a_policy('[languages]\nBR = "pt"')
    request = a_request(country, template=TemplateRequest("order_shipped", language=asked))
    decided = decide(request, facts(), policy, NOW).outcome
    assert isinstance(decided, RoutingPlan)
    assert (decided.steps[0].content_sid, decided.steps[0].language) == (sid, language)


def test_the_decision_object_is_the_contracts() -> None:
    decision = decide(a_request("US"), facts(), compile_policy(shipped(), a_world()), NOW)
    assert decision_as_dict(decision) == {
        "outcome": "routed",
        "reason": "routed",
        "until": None,
        "plan": [
            {
                "channel": "sms",
                "form": "text",
                "sender": "us-main",
                "because": "the text fits; sender 'us-main': the only one that can serve this country on sms",
            }
        ],
        "policy": shipped().version,
        "facts": {
            "at": "2026-11-20T12:00:00Z",
            "country": "US",
            "scheme": "tel",
            "session": "closed",
            "sessions": {},
            "media": 0,
            "links": 0,
            "text": 25,
            "segments": 1,
            "template": None,
            "content_sid": None,
            "language": None,
            "variables": [],
            "values": {},
            "category": "transactional",
            "lane": "normal",
            "source": "shop",
            "pinned": None,
            "opt_outs": [],
            "opt_ins": [],
            "unreachable": [],
            "send_at": None,
            "expires_at": None,
            "timezone": None,
            "timezones": [],
            "recent": {},
            "last_sender": {},
        },
        "trace": [
            {"rule": "guard.suppression", "matched": False, "because": "no opt-out is on record"},
            {"rule": "guard.expiry", "matched": False, "because": "it has no 'expires_at'"},
            {"rule": "guard.template", "matched": False, "because": "no template is given"},
            {"rule": "guard.schedule", "matched": False, "because": "it has no 'send_at': it may go now"},
            {"rule": "route.pinned", "matched": False, "because": "it does not apply: no channel is pinned"},
            {"rule": "route.picture-us-ca", "matched": False, "because": "it does not apply: there is no media"},
            {
                "rule": "route.text-us-ca",
                "matched": True,
                "because": "it applies: the country is US, the scheme is tel",
            },
            {
                "rule": "route.text-us-ca.sms",
                "matched": True,
                "because": "the text fits; sender 'us-main': the only one that can serve this country on sms",
            },
        ],
    }


def test_other_outcomes_as_the_contract_writes_them() -> None:
    policy = compile_policy(shipped(), a_world())
    later = a_request("US", send_at=NOW + timedelta(minutes=90))
    wrong = a_request("IN", pin=WHATSAPP)
    rows = [
        decision_as_dict(decide(request, known, policy, NOW))
        for request, known in ((later, facts()), (later, facts(("all",))), (wrong, facts()))
    ]
    assert [(row["outcome"], row["reason"], row["until"], row["plan"]) for row in rows] == [
        ("deferred", "scheduled", "2026-11-20T13:30:00Z", []),
        ("suppressed", "opted_out", None, []),
        ("rejected", "session_closed", None, []),
    ]
    assert ["message" in row for row in rows] == [False, False, True]
    assert json.loads(json.dumps(rows)) == rows
