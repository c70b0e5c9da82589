"""The check: broken policies are reported at the right line and nowhere else, good ones not at all."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, example, given, settings

from channels.address import parse_recipient, zones_of
from channels.model import SMS, WHATSAPP, ChannelCapabilities, ChannelName, SenderKind
from channels.registry import discover
from policies import document as doc
from policies.check import Finding, Severity, check
from policies.document import PolicyDocument, load, shipped
from policies.engine import compile_policy, decide
from policies.model import RecipientFacts, RoutingPlan, RoutingRequest, TemplateRequest
from policies.space import MOST_MEDIA, space_of
from policies.world import TemplateEntry, World
from router.policy import world_of
from router.settings import load as load_settings
from tests.factories import CAPABILITIES, NOW, US_MAIN, a_request, a_sender, a_world, facts
from tests.policies.test_engine_properties import DOCUMENTS, FACTS, REQUESTS, WORLDS

BROKEN = Path(__file__).parent / "broken"
EXAMPLES = Path(__file__).parents[2] / "docs" / "policies"
NAMES = sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir())
ROUTE = re.compile(r"route\.[^.]+")
DEFAULT = Path(doc.__file__).with_name("default.toml").read_text("utf-8")


def documented(name: str) -> tuple[PolicyDocument, World, str]:
    """A documented policy with the configuration beside it."""
    configuration, _ = load_settings(EXAMPLES / name / "pointsman.toml", {})
    text = (EXAMPLES / name / "policy.toml").read_text("utf-8")
    return load(text, name), world_of(configuration, discover()), text


def expected(text: str) -> list[tuple[int, str]]:
    """What a broken policy says of itself: the words after "#!" are in a finding at their line."""
    lines = enumerate(text.splitlines(), start=1)
    return [(number, line.partition("#! ")[2]) for number, line in lines if "#! " in line]


@pytest.mark.parametrize("name", sorted(path.stem for path in BROKEN.glob("*.toml")))
def test_each_mistake_is_found_at_its_line_and_nothing_else(name: str) -> None:
    text = (BROKEN / f"{name}.toml").read_text("utf-8")
    findings = check(load(text, name), a_world(), text)
    marks = expected(text)
    assert marks
    assert [finding.line for finding in findings] == [line for line, _ in marks], findings
    assert [f.message for f, (_, words) in zip(findings, marks, strict=True) if words not in f.message] == []


def test_the_shipped_policy_has_nothing_to_find() -> None:
    assert check(shipped(), a_world(), DEFAULT) == []


@pytest.mark.parametrize("name", NAMES)
def test_the_documented_policies_have_nothing_to_find(name: str) -> None:
    assert check(*documented(name)) == []


def messages(text: str, world: World) -> list[str]:
    return [finding.message for finding in check(load(text, "policy.toml"), world, text)]


EVERYTHING = 'version = "1"\n[[routes]]\nname = "all"\nplan = [{ channel = "whatsapp" }, { channel = "sms" }]\n'


def test_a_finding_names_line_place_and_how_sure_it_is() -> None:
    text = EVERYTHING.replace('{ channel = "sms" }', '{ channel = "sms", form = ["text", "template", "media"] }')
    assert check(load(text, "policy.toml"), a_world(), text) == [
        Finding(
            2,
            "routes",
            Severity.WARNING,
            "no step of the routes works, although a channel could carry it: no session, "
            "1 media or 2 media or 10 media, no template (for example: a phone number, in US, no session, 1 media, "
            "a text, no template, category 'transactional')",
        ),
        Finding(
            4,
            "routes[0].plan[1].form[2]",
            Severity.WARNING,
            "the form 'media' is never used: there are 1 media and sms takes none",
        ),
    ]


def test_a_template_that_is_approved_in_no_language_makes_its_step_vain() -> None:
    text = (
        EVERYTHING + '[[routes]]\nname = "last"\nwhen = { text = false }\nplan = { channel = "sms", form = "template" }'
    )
    world = a_world(templates={"new": TemplateEntry("new", "utility")})
    assert messages(text, world) == ["this step can never work: template 'new' is approved in no language"]


def test_each_template_is_named_that_goes_to_a_country_in_a_language_of_others() -> None:
    text = """version = "1"
[languages]
MX = "es"
FR = "fr"
US = "es"
BR = "pt"
[guards.countries]
blocked = "BR"
[[routes]]
name = "us"
when = { country = "US", scheme = "tel" }
plan = { channel = "sms", form = "text" }
[[routes]]
name = "mexico"
when = { country = "MX" }
plan = [{ channel = "whatsapp" }, { channel = "sms" }]
[[routes]]
name = "any"
unless = { country = "US" }
plan = [{ channel = "whatsapp" }, { channel = "sms" }]
"""
    templates = {
        "a": TemplateEntry("a", "utility", {"en": "HX1", "fr_CA": "HX2"}),
        "b": TemplateEntry("b", "utility", {"en": "HX3", "fr_CA": "HX4"}),
        "c": TemplateEntry("c", "utility", {"es": "HX5"}),
        "d": TemplateEntry("d", "utility", text={"es": "by SMS alone", "fr": "par SMS"}),
        "pt": TemplateEntry("pt", "utility", {"pt": "HX6", "es": "HX7", "fr": "HX8"}),
    }
    findings = check(load(text, "policy.toml"), a_world(templates=templates), text)
    told = [(f.line, f.where, f.severity, f.message) for f in findings if f.where.startswith("languages")]
    assert told == [
        (3, "languages.MX", Severity.WARNING, f"template '{n}' has no 'es', the language of MX: it goes there in 'en'")
        for n in "ab"
    ] + [
        (4, "languages.FR", Severity.WARNING, "template 'c' has no 'fr', the language of FR: it goes there in 'es'"),
    ]


def test_a_sender_that_waits_for_its_registration_is_named() -> None:
    text = 'version = "1"\n[[routes]]\nname = "all"\nplan = { channel = "sms" }\nwhen = { country = "US" }'
    world = a_world(a_sender("new", SenderKind.TEN_DLC, SMS, registered=False))
    assert (
        "this step can never work: no configured sender can serve US on sms "
        "('new' is not used before the registration for US is approved)"
    ) in messages(text, world)


def test_addresses_of_a_plugin_are_covered_too() -> None:
    email = ChannelName("email")
    channels = {**CAPABILITIES, email: ChannelCapabilities(schemes=frozenset({"mailto"}))}
    mailer = a_sender("mailer", SenderKind.LONG_CODE, email, country=None)
    world = a_world(*a_world().senders, mailer, channels=channels)
    assert any("a 'mailto' address" in message for message in messages(EVERYTHING, world))
    routes = EVERYTHING.replace('{ channel = "sms" }', '{ channel = "sms" }, { channel = "email" }')
    assert not any("mailto" in message for message in messages(routes, world))


def test_the_space_has_a_dimension_for_every_condition() -> None:
    space = space_of(shipped(), a_world())
    read = [key for dimension in (*space.settings, *space.circumstances) for key in dimension.keys]
    assert sorted(read) == sorted(doc.Conditions.model_fields)


def text_of(document: PolicyDocument) -> str:
    """Any text will do where lines do not matter."""
    return f"version = '{document.label}'"


def broken(name: str) -> PolicyDocument:
    return load((BROKEN / f"{name}.toml").read_text("utf-8"), name)


#: A mobile number that may be in sixteen zones, and recipients whose zone nobody knows.
RUSSIA, NOWHERE, UNASSIGNED = map(
    parse_recipient, ("+79161234567", "whatsapp:GB.13491208655302741918", "+441111111111")
)


# Every example goes through a whole space, so there are few of them.
@settings(max_examples=15)
@given(REQUESTS, FACTS, DOCUMENTS, WORLDS)
@example(a_request(recipient=RUSSIA), facts(), broken("day-and-night"), a_world())
@example(a_request(recipient=NOWHERE), facts(), broken("day-and-night"), a_world())
@example(a_request(recipient=UNASSIGNED), facts(), broken("day-and-night"), a_world())
@example(
    a_request(text=None, template=TemplateRequest(content_sid="HX1")),
    facts(),
    broken("templates-by-name-alone"),
    a_world(),
)
@example(a_request(recipient=RUSSIA), facts(), broken("never-out-of-quiet-hours"), a_world())
def test_what_the_check_says_holds_for_every_decision(
    request: RoutingRequest, facts: RecipientFacts, document: PolicyDocument, world: World
) -> None:
    assume(request.pin is None or request.pin in world.channels)
    assume(len(request.media) <= MOST_MEDIA)
    facts = replace(facts, timezones=zones_of(request.recipient))
    findings = check(document, world, text_of(document))
    decision = decide(request, facts, compile_policy(document, world), NOW)
    routes = [entry.rule.removeprefix("route.") for entry in decision.trace if ROUTE.fullmatch(entry.rule)]
    applied = [
        entry.rule.removeprefix("route.") for entry in decision.trace if entry.matched and ROUTE.fullmatch(entry.rule)
    ]
    if isinstance(decision.outcome, RoutingPlan):
        dead = {finding.where for finding in findings if "this route can never match" in finding.message}
        assert not {f"routes[{index}]" for index, name in enumerate(routes) if name == applied[-1]} & dead
    if routes and not applied and request.recipient.scheme in ("tel", "whatsapp"):
        assert any(finding.message.startswith("no route covers") for finding in findings)
    if "no hour of the day is outside" in decision.trace[-1].because:
        assert any(finding.message.startswith("some numbers never leave these hours") for finding in findings)


@pytest.mark.parametrize("name", NAMES)
def test_without_their_last_route_the_documented_policies_have_gaps(name: str) -> None:
    document, world, text = documented(name)
    shorter = document.model_copy(update={"routes": document.routes[:-1]})
    assert any(finding.where == "routes" for finding in check(shorter, world, text))


def test_a_large_configuration_is_gone_through_in_seconds() -> None:
    languages = {language: f"HX{language}" for language in ("en", "es", "pt", "de", "fr", "it", "nl", "hi", "ar", "ja")}
    templates = {f"t{n}": TemplateEntry(f"t{n}", "utility", languages) for n in range(40)}
    numbers = [a_sender(f"sms-{n}", SenderKind.LONG_CODE, SMS, country="GB") for n in range(20)]
    chats = [a_sender(f"wa-{n}", SenderKind.WHATSAPP, WHATSAPP) for n in range(20)]
    routes = "".join(
        f'[[routes]]\nname = "r{n}"\nwhen = {{ language = "{language}", category = "otp" }}\n'
        'plan = [{ channel = "whatsapp" }, { channel = "sms" }]\n'
        for n, language in enumerate(languages)
    )
    text = EVERYTHING.replace("[[routes]]", f"{routes}[[routes]]")
    world = a_world(US_MAIN, *numbers, *chats, templates=templates)
    began = time.process_time()
    assert messages(text, world) == []
    assert time.process_time() - began < 20
