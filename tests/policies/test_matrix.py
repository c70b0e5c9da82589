"""The shipped policy over country x session x media x template x pin x consent, against tables written by hand."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from itertools import product

import pytest

from channels.model import ChannelName
from policies.document import shipped
from policies.engine import compile_policy, decide
from policies.model import Outcome, RoutingPlan, TemplateRequest
from tests.factories import NOW, NUMBERS, a_request, a_world, facts

POLICY = compile_policy(shipped(), a_world())

SESSIONS: dict[str, dict[str, datetime]] = {
    "open": {"wa-main": NOW + timedelta(seconds=1)},
    "ended": {"wa-main": NOW},
    "with another sender only": {"wa-other": NOW + timedelta(hours=5)},
    "none": {},
}
MEDIA = {n: tuple(f"https://cdn.example.com/{i}.jpg" for i in range(n)) for n in (0, 1, 10, 11)}
TEMPLATES = {"given": TemplateRequest("order_shipped", variables={"name": "Ana"}), "none": None}
PINS = (None, "sms", "mms", "whatsapp")
CONSENT: dict[str, tuple[str, ...]] = {
    "nothing said": (),
    "stopped all": ("all",),
    "stopped this category": ("category:transactional",),
    "stopped another category": ("category:marketing",),
    "stopped sms": ("channel:sms",),
    "stopped mms": ("channel:mms",),
    "stopped whatsapp": ("channel:whatsapp",),
    "stopped the american sender": ("sender:us-main",),
    "stopped sms and whatsapp": ("channel:sms", "channel:whatsapp"),
}

#: United States and Canada, by number of media: session and template change nothing.
US_AND_CANADA = {0: "sms text", 1: "mms media, sms link", 10: "mms media, sms link", 11: "sms link"}
#: Everywhere else, by session open or not, media and template.
ELSEWHERE = {
    ("open", 0): "whatsapp text, sms text",
    ("open", 1): "whatsapp media, sms link",
    ("open", 10): "whatsapp link, sms link",
    ("open", 11): "whatsapp link, sms link",
    ("shut", 0, "given"): "whatsapp template, sms text",
    ("shut", 1, "given"): "whatsapp template, sms link",
    ("shut", 10, "given"): "whatsapp template, sms link",
    ("shut", 11, "given"): "whatsapp template, sms link",
    ("shut", 0, "none"): "sms text",
    ("shut", 1, "none"): "sms link",
    ("shut", 10, "none"): "sms link",
    ("shut", 11, "none"): "sms link",
}
PINNED_SMS = {0: "sms text", 1: "sms link", 10: "sms link", 11: "sms link"}
#: By media, and by template where there is more than one MMS takes: the template is the notification's other form.
PINNED_MMS_US_AND_CANADA = {
    (0, "none"): "rejected no_route",
    (0, "given"): "rejected no_route",
    (1, "none"): "mms media",
    (1, "given"): "mms media",
    (10, "none"): "mms media",
    (10, "given"): "mms media",
    (11, "none"): "rejected no_route",
    (11, "given"): "mms template",
}
PINNED_WHATSAPP = {
    ("open", 0): "whatsapp text",
    ("open", 1): "whatsapp media",
    ("open", 10): "whatsapp link",
    ("open", 11): "whatsapp link",
    ("shut", "given"): "whatsapp template",
    ("shut", "none"): "rejected session_closed",
}


def expected_without_opt_outs(country: str, session: str, media: int, template: str, pin: str | None) -> str:
    """Look it up."""
    state = "open" if session == "open" else "shut"
    american = country in ("US", "CA")
    if pin == "sms":
        return PINNED_SMS[media]
    if pin == "mms":
        return PINNED_MMS_US_AND_CANADA[media, template] if american else "rejected not_on_channel"
    if pin == "whatsapp":
        return PINNED_WHATSAPP[("open", media) if state == "open" else ("shut", template)]
    if american:
        return US_AND_CANADA[media]
    return ELSEWHERE[("open", media) if state == "open" else ("shut", media, template)]


def expected(country: str, session: str, media: int, template: str, pin: str | None, consent: str) -> str:
    """The table's plan without what the recipient stopped."""
    scopes = CONSENT[consent]
    if "all" in scopes or "category:transactional" in scopes:
        return "suppressed opted_out"
    plan = expected_without_opt_outs(country, session, media, template, pin)
    if plan.startswith("rejected"):
        return plan
    stopped = {scope.removeprefix("channel:") for scope in scopes if scope.startswith("channel:")}
    if "sender:us-main" in scopes and country in ("US", "CA"):
        stopped |= {"sms", "mms"}
    if session == "open" and template == "given":
        plan = re.sub("whatsapp (text|media|link)", r"\g<0>, whatsapp template rescue", plan)
    left = [step for step in plan.split(", ") if step.split()[0] not in stopped]
    return ", ".join(left) or "suppressed opted_out"


def shown(outcome: Outcome) -> str:
    if isinstance(outcome, RoutingPlan):
        return ", ".join(f"{step.channel} {step.form}{' rescue' * step.rescue}" for step in outcome.steps)
    return f"{type(outcome).__name__.lower()} {outcome.reason}"


@pytest.mark.parametrize("pin", PINS)
@pytest.mark.parametrize("country", NUMBERS)
def test_every_situation_has_the_outcome_of_the_table(country: str, pin: str | None) -> None:
    wrong = []
    for session, media, template, consent in product(SESSIONS, MEDIA, TEMPLATES, CONSENT):
        request = a_request(
            country, media=MEDIA[media], template=TEMPLATES[template], pin=ChannelName(pin) if pin else None
        )
        known = facts(CONSENT[consent], sessions=SESSIONS[session])
        decided = shown(decide(request, known, POLICY, NOW).outcome)
        if decided != (wanted := expected(country, session, media, template, pin, consent)):
            wrong.append(((session, media, template, consent), decided, wanted))
    assert wrong == []


TEMPLATE_ONLY = [
    ("US", "none", None, "sms template"),
    ("CA", "open", None, "sms template"),
    ("JM", "none", None, "whatsapp template, sms template"),
    ("IN", "open", None, "whatsapp template, sms template"),
    ("US", "none", "mms", "rejected no_route"),
    ("US", "none", "whatsapp", "whatsapp template"),
    ("IN", "none", "sms", "sms template"),
    ("IN", "none", "mms", "rejected not_on_channel"),
]


@pytest.mark.parametrize(("country", "session", "pin", "plan"), TEMPLATE_ONLY)
def test_a_template_without_text_is_sent_as_template_on_every_channel(
    country: str, session: str, pin: str | None, plan: str
) -> None:
    request = a_request(
        country, text=None, template=TEMPLATES["given"], pin=ChannelName(pin) if pin is not None else None
    )
    assert shown(decide(request, facts(sessions=SESSIONS[session]), POLICY, NOW).outcome) == plan


MEDIA_ONLY = [
    ("US", "none", 1, "mms media, sms link"),
    ("US", "none", 11, "sms link"),
    ("DO", "open", 1, "whatsapp media, sms link"),
    ("DO", "none", 1, "sms link"),
]


@pytest.mark.parametrize(("country", "session", "media", "plan"), MEDIA_ONLY)
def test_media_without_text_arrives_as_media_or_as_links(country: str, session: str, media: int, plan: str) -> None:
    request = a_request(country, text=None, media=MEDIA[media])
    assert shown(decide(request, facts(sessions=SESSIONS[session]), POLICY, NOW).outcome) == plan
