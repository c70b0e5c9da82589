"""What holds for every policy, request and set of facts that can be made up."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from channels.model import MMS, SMS, WHATSAPP, Category, ChannelName, Form, Lane, SenderKind
from policies.document import Action, PolicyDocument, SessionState, shipped
from policies.engine import Policy, compile_policy, decide
from policies.explain import decision_as_dict
from policies.model import OptIn, OptOut, RecipientFacts, RoutingPlan, RoutingRequest, Step, TemplateRequest
from policies.retry import MOVES_ON
from policies.world import TemplateEntry, World
from tests.factories import (
    NOW,
    NUMBERS,
    ORDER_SHIPPED,
    US_MAIN,
    WA_MAIN,
    WORLD_SMS,
    a_handle,
    a_recipient,
    a_sender,
    a_world,
)

CHANNELS = (SMS, MMS, WHATSAPP, ChannelName("fax"))
SENDERS = ("one", "two", "three")
SCOPES = st.sampled_from(
    ["all", "nonsense", ""]
    + [f"channel:{channel}" for channel in CHANNELS]
    + [f"sender:{sender}" for sender in SENDERS]
    + [f"category:{category}" for category in Category]
)
#: A little before and after the present, where everything happens.
MOMENTS = st.integers(-200_000, 200_000).map(lambda seconds: NOW + timedelta(seconds=seconds))
COUNTRIES = st.sampled_from(sorted(NUMBERS))
ZONES = st.sampled_from(["America/New_York", "Europe/Madrid", "Asia/Kolkata", "Pacific/Honolulu", "Europe", "No/Zone"])


def some(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(values, min_size=1, max_size=3, unique=True)


def maybe(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A table with any of these keys."""
    return st.fixed_dictionaries({}, optional=keys)


CONDITIONS = maybe(
    country=some(COUNTRIES | st.just("americas")),
    session=some(st.sampled_from(SessionState)),
    media=st.booleans(),
    text=st.booleans(),
    template=some(st.sampled_from(["given", "approved", "none"])),
    language=some(st.sampled_from(["en", "pt", "xx"])),
    category=some(st.sampled_from(Category)),
    lane=some(st.sampled_from(Lane)),
    source=some(st.sampled_from(["shop", "crm"])),
    pinned=st.booleans(),
    scheme=some(st.sampled_from(["tel", "whatsapp", "mailto"])),
    reachable=some(st.sampled_from(CHANNELS)),
    sender_kind=some(st.sampled_from(SenderKind)),
    local_time=st.fixed_dictionaries({"from": st.just("09:00"), "until": st.sampled_from(["08:00", "18:00"])}),
)
STEPS = st.fixed_dictionaries(
    {"channel": st.sampled_from([*CHANNELS, "pinned"])},
    optional={
        "form": some(st.sampled_from(Form)),
        "sender": some(st.sampled_from([*SENDERS, "gone"])),
        "sender_kind": some(st.sampled_from(SenderKind)),
        "within": st.floats(1, 3600),
        "on": some(st.sampled_from(MOVES_ON)),
    },
)


def _named(routes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"name": f"r{index}", **route} for index, route in enumerate(routes)]


ROUTES = st.lists(
    st.fixed_dictionaries(
        {"plan": st.lists(STEPS, min_size=1, max_size=3)},
        optional={"when": CONDITIONS, "unless": CONDITIONS.filter(bool)},
    ),
    min_size=1,
    max_size=4,
).map(_named)
QUIET_HOURS = st.fixed_dictionaries(
    {"from": st.just("21:00"), "until": st.sampled_from(["08:00", "20:59", "22:00"])},
    optional={"exempt": some(st.sampled_from(Category)), "action": st.sampled_from(Action)},
)
FREQUENCY = st.fixed_dictionaries(
    {"limit": st.integers(1, 2), "window": st.integers(1, 200_000)}, optional={"action": st.sampled_from(Action)}
)
GUARDS = maybe(
    paused=maybe(
        channels=some(st.sampled_from(CHANNELS)),
        categories=some(st.sampled_from(Category)),
        sources=some(st.sampled_from(["shop", "crm"])),
    ),
    countries=maybe(allowed=some(COUNTRIES), blocked=some(COUNTRIES)),
    opt_in=some(st.just("IN")).map(lambda countries: [{"country": countries}]),
    quiet_hours=st.lists(QUIET_HOURS, min_size=1, max_size=2),
    frequency=st.lists(FREQUENCY, min_size=1, max_size=2),
    segments=st.fixed_dictionaries({"max": st.integers(1, 3)}),
)


def _document(tables: dict[str, Any]) -> PolicyDocument:
    return PolicyDocument.model_validate({"version": "test", "groups": {"americas": ["US", "JM"]}, **tables})


DOCUMENTS = st.fixed_dictionaries({"routes": ROUTES}, optional={"guards": GUARDS}).map(_document)
TEMPLATES = {"order_shipped": ORDER_SHIPPED, "unapproved": TemplateEntry("unapproved", "utility")}
ANY_SENDER = st.builds(
    lambda kind, channels, country, countries, registered: a_sender(
        "unnamed", kind, *channels, country=country, countries=frozenset(countries), registered=registered
    ),
    st.sampled_from(SenderKind),
    some(st.sampled_from(CHANNELS)),
    st.sampled_from(["US", "CA", "GB", None]),
    st.lists(COUNTRIES, max_size=3),
    st.booleans(),
)
#: A well-made configuration, of which any sender may be something else.
WORLDS = st.tuples(st.just(US_MAIN) | ANY_SENDER, st.just(WORLD_SMS) | ANY_SENDER, st.just(WA_MAIN) | ANY_SENDER).map(
    lambda senders: a_world(
        *(replace(sender, name=name) for sender, name in zip(senders, SENDERS, strict=True)), templates=TEMPLATES
    )
)
REQUESTS = st.builds(
    RoutingRequest,
    source=st.sampled_from(["shop", "crm"]),
    lane=st.sampled_from(Lane),
    recipient=COUNTRIES.map(a_recipient) | st.sampled_from([a_handle("GB"), a_handle(None, "mailto")]),
    category=st.sampled_from(Category),
    text=st.none() | st.sampled_from(["", "Hello", "x" * 400, "x" * 1601]),
    media=st.integers(0, 12).map(lambda count: tuple(f"https://cdn.example.com/{n}" for n in range(count))),
    template=st.none()
    | st.builds(
        TemplateRequest,
        name=st.sampled_from(["order_shipped", "unapproved", "unknown", None]),
        content_sid=st.none() | st.just("HX1"),
        language=st.none() | st.sampled_from(["en", "es-MX", "pt", "xx", ""]),
        variables=st.dictionaries(st.text(max_size=3), st.text(max_size=8), max_size=2),
    ),
    pin=st.none() | st.sampled_from([*CHANNELS, ChannelName("unheard-of")]),
    send_at=st.none() | MOMENTS,
    expires_at=st.none() | MOMENTS,
    timezone=st.none() | ZONES,
)
FACTS = st.builds(
    RecipientFacts,
    opt_outs=st.lists(st.builds(OptOut, SCOPES, st.just(NOW), st.just("keyword")), max_size=2).map(tuple),
    opt_ins=st.lists(st.builds(OptIn, SCOPES, st.just(NOW)), max_size=2).map(tuple),
    sessions=st.dictionaries(st.sampled_from([*SENDERS, "gone"]), MOMENTS, max_size=3),
    unreachable=st.dictionaries(st.sampled_from(CHANNELS), st.just("63003"), max_size=1),
    timezones=st.lists(ZONES, max_size=3).map(tuple),
    recent=st.dictionaries(st.sampled_from(Category), st.lists(MOMENTS, max_size=3).map(tuple), max_size=2),
    last_sender=st.dictionaries(st.sampled_from(CHANNELS), st.sampled_from([*SENDERS, "gone"]), max_size=2),
)


# What usually leads to a plan: guards that stop everything, mistakes and moments gone by are left out, so that what is
# said about plans is said of many of them.
GOOD_TEMPLATE = TemplateRequest("order_shipped", variables={"name": "Ana"})
PLANNABLE = st.builds(
    RoutingRequest,
    source=st.just("shop"),
    lane=st.sampled_from(Lane),
    recipient=st.sampled_from([*NUMBERS, "US", "CA"]).map(a_recipient) | st.just(a_handle("GB")),
    category=st.sampled_from(Category),
    text=st.sampled_from(["Hello", "x" * 400, None]),
    media=st.sampled_from([0, 1, 2, 11]).map(lambda count: tuple(f"https://cdn.example.com/{n}" for n in range(count))),
    template=st.sampled_from([None, GOOD_TEMPLATE]),
    pin=st.none() | st.none() | st.sampled_from([None, *CHANNELS]),
)
NARROW_SCOPES = SCOPES.filter(lambda scope: scope.startswith(("channel:", "sender:")))
PLANNABLE_FACTS = st.builds(
    RecipientFacts,
    opt_outs=st.just(())
    | st.lists(st.builds(OptOut, NARROW_SCOPES, st.just(NOW), st.just("keyword")), max_size=2).map(tuple),
    opt_ins=st.lists(st.builds(OptIn, SCOPES, st.just(NOW)), max_size=2).map(tuple),
    sessions=st.dictionaries(st.sampled_from(SENDERS), MOMENTS, min_size=1, max_size=3),
    unreachable=st.just({}) | st.dictionaries(st.sampled_from(CHANNELS), st.just("63003"), max_size=1),
    last_sender=st.dictionaries(st.sampled_from(CHANNELS), st.sampled_from([*SENDERS, "gone"]), max_size=2),
)
SHIPPED_ROUTES = shipped().model_dump(by_alias=True, exclude_unset=True)["routes"]
PLANNING_STEPS = st.fixed_dictionaries({"channel": st.sampled_from([SMS, MMS, WHATSAPP])})
PLANNING_ROUTES = st.lists(
    st.fixed_dictionaries({"plan": st.lists(PLANNING_STEPS | STEPS, min_size=1, max_size=2)}), min_size=1, max_size=3
).map(_named)
PLANNING = st.fixed_dictionaries(
    {"routes": st.just(SHIPPED_ROUTES) | PLANNING_ROUTES | ROUTES},
    optional={
        "guards": maybe(
            paused=maybe(channels=some(st.sampled_from(CHANNELS))),
            opt_in=some(COUNTRIES).map(lambda countries: [{"country": countries}]),
            segments=st.fixed_dictionaries({"max": st.integers(1, 3)}),
        )
    },
).map(_document)


def steps(request: RoutingRequest, facts: RecipientFacts, policy: Policy) -> tuple[Step, ...]:
    outcome = decide(request, facts, policy, NOW).outcome
    return outcome.steps if isinstance(outcome, RoutingPlan) else ()


@given(REQUESTS, FACTS, DOCUMENTS, WORLDS)
def test_every_question_has_an_answer_that_can_be_told(
    request: RoutingRequest, facts: RecipientFacts, document: PolicyDocument, world: World
) -> None:
    decision = decide(request, facts, compile_policy(document, world), NOW)
    assert decision.trace
    assert all(entry.because for entry in decision.trace)
    told = decision_as_dict(decision)
    assert json.loads(json.dumps(told)) == told
    assert isinstance(decision.outcome, RoutingPlan) == bool(told["plan"])
    assert request.recipient.address not in json.dumps(told)
    assert not told["until"] or datetime.fromisoformat(told["until"]) > NOW


@given(REQUESTS, FACTS, DOCUMENTS, WORLDS)
def test_the_same_question_has_the_same_answer(
    request: RoutingRequest, facts: RecipientFacts, document: PolicyDocument, world: World
) -> None:
    first, second = compile_policy(document, world), compile_policy(document, world)
    assert decide(request, facts, first, NOW) == decide(request, facts, second, NOW)


@settings(max_examples=400)
@given(PLANNABLE, PLANNABLE_FACTS, PLANNING, WORLDS)
def test_a_plan_holds_only_what_is_allowed(
    request: RoutingRequest, facts: RecipientFacts, document: PolicyDocument, world: World
) -> None:
    senders = {sender.name: sender for sender in world.senders}
    stopped = {opt_out.scope for opt_out in facts.opt_outs}
    paused = document.guards.paused.channels if document.guards.paused else ()
    country = request.recipient.country
    for step in steps(request, facts, compile_policy(document, world)):
        sender = senders[step.sender]
        assert step.channel in sender.channels
        assert not sender.countries or country in sender.countries
        assert not stopped & {"all", f"channel:{step.channel}", f"sender:{step.sender}", f"category:{request.category}"}
        assert step.channel not in facts.unreachable
        assert step.channel not in paused
        assert request.pin in (None, step.channel)
        assert request.recipient.scheme in world.channels[step.channel].schemes
        if step.channel == MMS:
            assert country in ("US", "CA")
            assert request.media
        if step.channel in (SMS, MMS) and country in ("US", "CA"):
            assert sender.kind is not SenderKind.ALPHANUMERIC
            assert sender.country in ("US", "CA", None)
            assert sender.registered or country != "US" or sender.kind not in (SenderKind.TEN_DLC, SenderKind.TOLL_FREE)
        if step.channel == WHATSAPP and step.form is not Form.TEMPLATE:
            assert facts.sessions[step.sender] > NOW
        if step.form is Form.TEXT:
            assert not request.media


@settings(max_examples=400)
@given(PLANNABLE, PLANNABLE_FACTS, PLANNING, WORLDS, SCOPES)
def test_an_opt_out_more_never_adds_a_channel(
    request: RoutingRequest, facts: RecipientFacts, document: PolicyDocument, world: World, scope: str
) -> None:
    policy = compile_policy(document, world)
    more = replace(facts, opt_outs=(*facts.opt_outs, OptOut(scope, NOW, "keyword")))
    before = {step.channel for step in steps(request, facts, policy)}
    after = {step.channel for step in steps(request, more, policy)}
    assert after <= before


@given(REQUESTS, FACTS, DOCUMENTS, WORLDS)
def test_asked_again_when_it_said_it_is_not_deferred_for_the_same_reason_for_ever(
    request: RoutingRequest, facts: RecipientFacts, document: PolicyDocument, world: World
) -> None:
    policy = compile_policy(document, world)
    now = NOW
    moments: list[datetime] = []
    while len(moments) < 12 and (until := getattr(decide(request, facts, policy, now).outcome, "until", None)):
        assert until > now
        moments.append(until)
        now = until
    assert len(moments) < 12
