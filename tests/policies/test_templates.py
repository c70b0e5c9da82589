"""Templates: which language goes where, what is not approved, and the text that stands for one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from channels.model import SMS, WHATSAPP, Category, Form, Recipient
from channels.reasons import Reason
from policies.content import filled, placeholders_in
from policies.document import load, shipped
from policies.engine import compile_policy, decide
from policies.model import Decision, Rejected, RoutingPlan, TemplateRequest
from policies.world import TemplateEntry
from tests.factories import CAPABILITIES, NOW, ORDER_SHIPPED, a_handle, a_recipient, a_request, a_world, facts

CHANNELS = {**CAPABILITIES, WHATSAPP: replace(CAPABILITIES[WHATSAPP], approves_templates=True)}
TEXTS = {"en": "Your parcel {{1}} is on its way.", "es": "Su paquete {{1}} está en camino."}
SHORT = "[guards.segments]\nmax = 1\n"


def decided(
    entry: TemplateEntry, country: str = "IN", guards: str = "", language: str | None = None, **variables: str
) -> Decision:
    document = load(f'version = "1"\n{guards}[[routes]]\n{ROUTE}', "") if guards else shipped()
    world = a_world(channels=CHANNELS, templates={entry.name: entry})
    template = TemplateRequest(entry.name, language=language, variables=variables)
    return decide(a_request(country, text=None, template=template), facts(), compile_policy(document, world), NOW)


ROUTE = 'name = "all"\nplan = [{ channel = "whatsapp" }, { channel = "sms", form = ["text", "template"] }]'


def steps(decision: Decision) -> list[tuple[str, Form, str | None, str | None, str | None]]:
    assert isinstance(decision.outcome, RoutingPlan), decision.outcome
    return [(s.channel, s.form, s.content_sid, s.language, s.text) for s in decision.outcome.steps]


def entry(**changes: Any) -> TemplateEntry:
    return replace(ORDER_SHIPPED, **changes)


APPROVALS: list[tuple[str, dict[str, str], str | None, str]] = [
    ("all are approved", {}, "es", "HXes"),
    ("another one is not", {"en": "paused"}, "es", "HXes"),
    ("the one asked for is not", {"es": "rejected"}, "es", "HXen"),
    ("the first in the order is not", {"en": "pending"}, None, "HXes"),
    ("a region of it is left", {"en": "paused", "es": "missing"}, "pt", "HXptBR"),
]


@pytest.mark.parametrize(
    ("unapproved", "asked", "expected"), [row[1:] for row in APPROVALS], ids=[row[0] for row in APPROVALS]
)
def test_a_language_that_is_not_approved_counts_as_absent_on_whatsapp(
    unapproved: dict[str, str], asked: str | None, expected: str
) -> None:
    decision = decided(entry(unapproved=unapproved), language=asked)
    (first, _) = steps(decision)
    assert first[:3] == (WHATSAPP, Form.TEMPLATE, expected)
    said = " ".join(each.because for each in decision.trace)
    assert all(f"{language} is {state}" in said for language, state in unapproved.items())


def test_sms_needs_no_approval() -> None:
    nothing = dict.fromkeys(ORDER_SHIPPED.languages, "paused")
    assert steps(decided(entry(unapproved=nothing))) == [(SMS, Form.TEMPLATE, "HXen", "en", None)]


def test_approved_nowhere_is_said_language_by_language() -> None:
    document = 'version = "1"\n[[routes]]\nname = "all"\nplan = { channel = "whatsapp" }'
    unapproved = {"en": "paused", "es": "rejected", "pt_BR": "missing"}
    world = a_world(channels=CHANNELS, templates={"order_shipped": entry(unapproved=unapproved)})
    request = a_request("IN", text=None, template=TemplateRequest("order_shipped"))
    outcome = decide(request, facts(), compile_policy(load(document, ""), world), NOW).outcome
    assert isinstance(outcome, Rejected)
    assert outcome.reason is Reason.TEMPLATE_UNKNOWN
    assert "approved in no language (en is paused, es is rejected, pt_BR is missing)" in outcome.message


def test_the_condition_approved_means_in_some_language() -> None:
    document = (
        'version = "1"\n[[routes]]\nname = "a"\nwhen = { template = "approved" }\nplan = { channel = "whatsapp" }\n'
        '[[routes]]\nname = "b"\nplan = { channel = "sms" }'
    )
    for unapproved, channel in (({"en": "paused"}, WHATSAPP), (dict.fromkeys(ORDER_SHIPPED.languages, "x"), SMS)):
        world = a_world(channels=CHANNELS, templates={"order_shipped": entry(unapproved=unapproved)})
        request = a_request("IN", text=None, template=TemplateRequest("order_shipped"))
        outcome = decide(request, facts(), compile_policy(load(document, ""), world), NOW).outcome
        assert isinstance(outcome, RoutingPlan)
        assert outcome.steps[0].channel == channel


@pytest.mark.parametrize(
    ("country", "language", "expected"),
    [
        ("IN", None, [(WHATSAPP, Form.TEMPLATE, "HXen", "en", None), (SMS, Form.TEXT, None, "en", TEXTS["en"])]),
        ("IN", "es-MX", [(WHATSAPP, Form.TEMPLATE, "HXes", "es", None), (SMS, Form.TEXT, None, "es", TEXTS["es"])]),
        ("IN", "pt", [(WHATSAPP, Form.TEMPLATE, "HXptBR", "pt_BR", None), (SMS, Form.TEXT, None, "en", TEXTS["en"])]),
        ("US", "es", [(SMS, Form.TEXT, None, "es", TEXTS["es"])]),
    ],
)
def test_the_shipped_policy_falls_back_to_the_text_of_a_template(
    country: str, language: str | None, expected: list[Any]
) -> None:
    assert steps(decided(entry(text=TEXTS), country, language=language, **{"1": "AB"})) == expected


def test_a_template_may_be_a_text_and_nothing_else() -> None:
    only = entry(languages={}, text=TEXTS)
    assert steps(decided(only, **{"1": "AB"})) == [(SMS, Form.TEXT, None, "en", TEXTS["en"])]


def test_a_text_of_the_notification_itself_counts_more() -> None:
    world = a_world(channels=CHANNELS, templates={"order_shipped": entry(text=TEXTS)})
    request = a_request("US", text="mine", template=TemplateRequest("order_shipped", variables={"1": "AB"}))
    assert steps(decide(request, facts(), compile_policy(shipped(), world), NOW))[0] == (
        SMS,
        Form.TEXT,
        None,
        None,
        None,
    )


@pytest.mark.parametrize(("size", "forms"), [(133, [Form.TEMPLATE, Form.TEXT]), (134, [Form.TEMPLATE, Form.TEMPLATE])])
def test_it_is_measured_with_its_variables(size: int, forms: list[Form]) -> None:
    """The English text has 27 characters beside its variable, and 160 fit one segment."""
    assert len(filled(TEXTS["en"], {"1": ""})) == 27
    decision = decided(entry(text=TEXTS), guards=SHORT, **{"1": "x" * size})
    assert [step[1] for step in steps(decision)] == forms


def test_what_a_variable_says_is_not_read_again() -> None:
    assert filled("{{1}} and {{ name }}, {{2}}", {"1": "{{2}}", "name": "\\1", "2": "b"}) == "{{2}} and \\1, b"
    assert filled("{{3}} {x} {{}}", {}) == "{{3}} {x} {{}}"
    assert placeholders_in("{{1}} {{ name }} {{1}} {x}") == {"1", "name"}


VALUES: list[tuple[str, dict[str, Any], str | None]] = [
    ("all there", {"1": "a", "2": "b"}, None),
    ("one missing", {"1": "a"}, "content.template.variables.2 is missing: template 'order_shipped' needs it"),
    ("all missing", {}, "content.template.variables.1 is missing"),
    ("null", {"1": None, "2": "b"}, "content.template.variables.1 is no string"),
    ("empty", {"1": "", "2": "b"}, "content.template.variables.1 is empty"),
    ("spaces only", {"1": "a", "2": "  "}, "content.template.variables.2 is empty"),
    ("a line break", {"1": "a\nb", "2": "b"}, "content.template.variables.1 holds a line break"),
    ("a carriage return", {"1": "a\rb", "2": "b"}, "content.template.variables.1 holds a line break"),
    ("a tab", {"1": "a\tb", "2": "b"}, "content.template.variables.1 holds a tab"),
    ("four spaces", {"1": "a    b", "2": "b"}, None),
    ("five spaces", {"1": "a     b", "2": "b"}, "content.template.variables.1 holds more than four spaces in a row"),
    ("as long as it may be", {"1": "a" * 1600, "2": "b"}, None),
    ("too long", {"1": "a" * 1601, "2": "b"}, "content.template.variables.1 is longer than 1600 characters"),
    ("one more than it has", {"1": "a", "2": "b", "3": "c"}, None),
]


@pytest.mark.parametrize(("variables", "fault"), [row[1:] for row in VALUES], ids=[row[0] for row in VALUES])
def test_what_the_provider_would_refuse_is_refused_by_name(variables: dict[str, Any], fault: str | None) -> None:
    decision = decided(entry(variables=frozenset({"1", "2"})), **variables)
    if fault is None:
        assert isinstance(decision.outcome, RoutingPlan)
    else:
        assert isinstance(decision.outcome, Rejected)
        assert decision.outcome.reason is Reason.TEMPLATE_VARIABLES
        assert decision.outcome.message.startswith(fault)


def test_authentication_templates_need_a_phone_number() -> None:
    world = a_world(channels=CHANNELS, templates={"order_shipped": entry(category="authentication")})

    request = a_request(text=None, template=TemplateRequest("order_shipped"), recipient=a_handle("GB"))
    outcome = decide(request, facts(), compile_policy(shipped(), world), NOW).outcome
    assert isinstance(outcome, Rejected)
    assert "phone numbers only" in outcome.message


def by_sid(sid: str, configured: TemplateEntry, routes: str = ROUTE, **changes: Any) -> Decision:
    """Whatever the template's content SID is found to mean."""
    document = load(f'version = "1"\n[[routes]]\n{routes}', "")
    world = a_world(channels=CHANNELS, templates={configured.name: configured})
    template = TemplateRequest(content_sid=sid, variables=changes.pop("variables", {}))
    request = a_request(**{"country": "IN", "text": None, "template": template, **changes})
    return decide(request, facts(), compile_policy(document, world), NOW)


def refusal(decision: Decision) -> tuple[Reason, str]:
    assert isinstance(decision.outcome, Rejected), decision.outcome
    return decision.outcome.reason, decision.outcome.message


CHAT = 'name = "chat"\nplan = { channel = "whatsapp", form = "template" }'
CODES = entry(category="authentication")
OFFERS = entry(category="marketing")


class TestByContentSid:
    def test_it_is_the_language_that_it_stands_under(self) -> None:
        decision = by_sid("HXes", entry(text=TEXTS), country="BR", variables={"1": "AB"})
        assert steps(decision) == [
            (WHATSAPP, Form.TEMPLATE, "HXes", "es", None),
            (SMS, Form.TEXT, None, "es", TEXTS["es"]),
        ]
        assert any(
            "template 'order_shipped' in es (given by its content SID)" in each.because for each in decision.trace
        )

    def test_its_language_is_known_to_conditions(self) -> None:
        routes = f'name = "spanish"\nwhen = {{ language = "es" }}\nplan = {{ channel = "sms" }}\n[[routes]]\n{CHAT}'
        channels = [steps(by_sid(sid, entry(), routes))[0][0] for sid in ("HXes", "HXen", "HXother")]
        assert channels == [SMS, WHATSAPP, WHATSAPP]

    def test_its_variables_must_be_given(self) -> None:
        reason, message = refusal(by_sid("HXes", entry(variables=frozenset({"1"}))))
        assert reason is Reason.TEMPLATE_VARIABLES
        assert message == "content.template.variables.1 is missing: template 'order_shipped' needs it"

    def test_it_must_be_approved(self) -> None:
        rejected = entry(unapproved={"es": "rejected"})
        reason, message = refusal(by_sid("HXes", rejected, CHAT))
        assert reason is Reason.TEMPLATE_UNKNOWN
        assert "template 'order_shipped' in es, given by its content SID, is rejected" in message
        assert steps(by_sid("HXen", rejected, CHAT))[0][2] == "HXen"
        only_approved = f'name = "a"\nwhen = {{ template = "approved" }}\n{CHAT.partition(chr(10))[2]}'
        assert refusal(by_sid("HXes", rejected, only_approved))[0] is Reason.NO_ROUTE

    # An unknown content SID is what its category must be; what is configured is what it is.
    @pytest.mark.parametrize(
        ("sid", "configured", "recipient", "category", "in_the_way"),
        [
            ("HXen", CODES, a_handle("GB"), Category.TRANSACTIONAL, "phone numbers only"),
            ("HXother", CODES, a_handle("GB"), Category.OTP, "phone numbers only"),
            ("HXother", CODES, a_handle("GB"), Category.TRANSACTIONAL, None),
            ("HXen", ORDER_SHIPPED, a_handle("GB"), Category.OTP, None),
            ("HXen", CODES, a_recipient("GB"), Category.OTP, None),
            ("HXen", OFFERS, a_recipient("US"), Category.TRANSACTIONAL, "no marketing templates"),
            ("HXother", OFFERS, a_recipient("US"), Category.MARKETING, "no marketing templates"),
            ("HXother", OFFERS, a_recipient("US"), Category.TRANSACTIONAL, None),
            ("HXen", ORDER_SHIPPED, a_recipient("US"), Category.MARKETING, None),
        ],
    )
    def test_whatsapp_delivers_the_same_as_by_name(
        self, sid: str, configured: TemplateEntry, recipient: Recipient, category: Category, in_the_way: str | None
    ) -> None:
        decision = by_sid(sid, configured, CHAT, recipient=recipient, category=category)
        if in_the_way is None:
            assert steps(decision)[0][2] == sid
        else:
            reason, message = refusal(decision)
            assert reason is Reason.NOT_ON_CHANNEL
            assert in_the_way in message
