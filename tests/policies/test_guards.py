"""Each guard: what it stops, what it lets pass beside it, and what it says."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from channels.address import parse_recipient
from channels.model import MMS, SMS, WHATSAPP, Category, Form
from channels.reasons import Reason
from policies.document import shipped
from policies.engine import Policy, compile_policy, decide
from policies.model import (
    Deferred,
    Outcome,
    RecipientFacts,
    Rejected,
    RoutingPlan,
    RoutingRequest,
    Suppressed,
    TemplateRequest,
    TraceEntry,
)
from policies.world import TemplateEntry
from tests.factories import NOW, WORLD_SMS, a_handle, a_request, a_world, facts
from tests.policies.policy import a_policy

MARKETING = {"category": Category.MARKETING}
OPEN = {"wa-main": NOW + timedelta(hours=1)}


def outcome(
    policy: Policy, request: RoutingRequest, known: RecipientFacts | None = None, now: datetime = NOW
) -> Outcome:
    return decide(request, known or facts(), policy, now).outcome


def channels(policy: Policy, request: RoutingRequest, known: RecipientFacts | None = None) -> list[str]:
    decided = outcome(policy, request, known)
    assert isinstance(decided, RoutingPlan), decided
    return [step.channel for step in decided.steps]


def entry(policy: Policy, rule: str, request: RoutingRequest, known: RecipientFacts | None = None) -> TraceEntry:
    return next(e for e in decide(request, known or facts(), policy, NOW).trace if e.rule == rule)


class TestSuppression:
    @pytest.mark.parametrize(
        ("scopes", "stopped"),
        [
            (("all",), True),
            (("category:transactional",), True),
            (("category:marketing",), False),
            (("channel:mms",), False),
            (("sender:us-main",), False),
            (("a record nobody can read",), True),
            (("",), True),
            (("channel:sms", "all"), True),
        ],
    )
    def test_a_scope_that_covers_everything_stops_everything(self, scopes: tuple[str, ...], stopped: bool) -> None:
        decided = outcome(a_policy(), a_request("IN"), facts(scopes))
        assert isinstance(decided, Suppressed) is stopped

    def test_stop_comes_before_every_other_reason(self) -> None:
        request = a_request("IN", expires_at=NOW, template=TemplateRequest("nobody knows"), **MARKETING)
        policy = a_policy('[guards.countries]\nblocked = ["IN"]\n[guards.paused]\ncategories = "marketing"')
        decision = decide(request, facts(("all",)), policy, NOW)
        assert decision.outcome == Suppressed(Reason.OPTED_OUT)
        assert [e.rule for e in decision.trace] == ["guard.suppression"]

    def test_an_opt_out_of_the_winning_route_does_not_lead_to_another_route(self) -> None:
        routes = """
        [[routes]]
        name = "first"
        plan = { channel = "sms" }
        [[routes]]
        name = "second"
        plan = { channel = "whatsapp" }
        """
        request = a_request("IN", template=TemplateRequest("order_shipped"))
        policy = a_policy(routes=routes)
        assert channels(policy, request) == ["sms"]
        assert outcome(policy, request, facts(("channel:sms",))) == Suppressed(Reason.OPTED_OUT)

    def test_another_sender_takes_over_where_only_one_was_stopped(self) -> None:
        spare = replace(WORLD_SMS, name="gb-spare")
        policy = a_policy(world=a_world(WORLD_SMS, spare))
        decided = outcome(policy, a_request("IN"), facts(("sender:gb-sms",)))
        assert isinstance(decided, RoutingPlan)
        assert [step.sender for step in decided.steps] == ["gb-spare"]
        assert outcome(policy, a_request("IN"), facts(("sender:gb-sms", "sender:gb-spare"))) == Suppressed(
            Reason.OPTED_OUT
        )

    def test_narrow_scopes_are_named_in_the_trace(self) -> None:
        found = entry(a_policy(), "guard.suppression", a_request("IN"), facts(("channel:whatsapp", "channel:mms")))
        assert found == TraceEntry(
            "guard.suppression",
            False,
            "the recipient opted out of channel:mms, channel:whatsapp: this takes away those steps only",
        )


class TestTime:
    @pytest.mark.parametrize(
        ("request_", "expected"),
        [
            (a_request(expires_at=NOW), Suppressed(Reason.EXPIRED)),
            (a_request(expires_at=NOW - timedelta(days=1)), Suppressed(Reason.EXPIRED)),
            (a_request(send_at=NOW + timedelta(seconds=1)), Deferred(NOW + timedelta(seconds=1), Reason.SCHEDULED)),
            (
                a_request(send_at=NOW + timedelta(hours=1), expires_at=NOW + timedelta(hours=1)),
                Suppressed(Reason.EXPIRED),
            ),
            (
                a_request(send_at=NOW + timedelta(hours=1), expires_at=NOW + timedelta(hours=2)),
                Deferred(NOW + timedelta(hours=1), Reason.SCHEDULED),
            ),
        ],
    )
    def test_too_late_and_too_early(self, request_: RoutingRequest, expected: Outcome) -> None:
        assert outcome(compile_policy(shipped(), a_world()), request_) == expected

    @pytest.mark.parametrize(
        "request_", [a_request(expires_at=NOW + timedelta(microseconds=1)), a_request(send_at=NOW)]
    )
    def test_just_in_time_is_sent(self, request_: RoutingRequest) -> None:
        assert channels(compile_policy(shipped(), a_world()), request_) == ["sms"]


class TestPaused:
    POLICY = a_policy('[guards.paused]\ncategories = ["marketing"]\nchannels = "whatsapp"\nsources = ["crm"]')

    def test_category_and_source_stop_the_notification(self) -> None:
        assert outcome(self.POLICY, a_request(**MARKETING)) == Suppressed(Reason.PAUSED)
        assert outcome(self.POLICY, a_request(source="crm")) == Suppressed(Reason.PAUSED)

    def test_a_paused_channel_leaves_the_others(self) -> None:
        known = facts(sessions=OPEN)
        assert channels(a_policy(), a_request("IN"), known) == ["whatsapp", "sms"]
        assert channels(self.POLICY, a_request("IN"), known) == ["sms"]

    def test_nothing_left_because_of_the_pause(self) -> None:
        known = facts(sessions=OPEN)
        assert outcome(self.POLICY, a_request("IN", pin=WHATSAPP), known) == Suppressed(Reason.PAUSED)

    def test_a_pause_is_not_blamed_for_what_would_not_work_anyway(self) -> None:
        decided = outcome(self.POLICY, a_request("IN", pin=WHATSAPP))
        assert isinstance(decided, Rejected)
        assert decided.reason is Reason.SESSION_CLOSED


class TestCountries:
    @pytest.mark.parametrize(
        ("table", "country", "passes"),
        [
            ('allowed = ["islands"]', "JM", True),
            ('allowed = ["islands"]', "US", False),
            ('blocked = ["islands", "IN"]', "IN", False),
            ('blocked = ["islands", "IN"]', "DO", False),
            ('blocked = ["islands", "IN"]', "US", True),
            ('allowed = ["islands"]\nblocked = "DO"', "DO", False),
        ],
    )
    def test_allowed_and_blocked(self, table: str, country: str, passes: bool) -> None:
        policy = a_policy(f'[groups]\nislands = ["JM", "DO"]\n[guards.countries]\n{table}')
        decided = outcome(policy, a_request(country))
        assert isinstance(decided, RoutingPlan) is passes
        assert passes or decided == Suppressed(Reason.COUNTRY_BLOCKED)

    # Satellite telephones and global networks, of which +881 and +979 are what toll fraud likes best.
    @pytest.mark.parametrize(
        "number", ["+870773111632", "+881612345678", "+882161234567", "+883510012345", "+979123456789"]
    )
    def test_numbers_of_no_country_can_be_blocked(self, number: str) -> None:
        request = a_request(recipient=parse_recipient(number))
        for table in (
            'blocked = "001"',
            'allowed = ["US", "GB"]',
            '[groups]\nfar = ["001"]\n[guards.countries]\nblocked = "far"',
        ):
            policy = a_policy(table if "[groups]" in table else f"[guards.countries]\n{table}")
            assert outcome(policy, request) == Suppressed(Reason.COUNTRY_BLOCKED)
        for table in ('blocked = "FR"', 'allowed = ["US", "001"]'):
            assert isinstance(outcome(a_policy(f"[guards.countries]\n{table}"), request), RoutingPlan)

    def test_an_address_without_country_passes(self) -> None:
        policy = a_policy('[guards.countries]\nallowed = ["US"]')
        found = entry(policy, "guard.countries", a_request(recipient=a_handle(None, "mailto")))
        assert not found.matched


class TestOptIn:
    POLICY = a_policy('[groups]\neu = ["DE"]\n[[guards.opt_in]]\ncategory = "marketing"\ncountry = ["eu", "IN"]')

    @pytest.mark.parametrize(
        ("country", "category", "opt_ins", "expected"),
        [
            ("US", Category.MARKETING, (), ["whatsapp", "sms"]),
            ("DE", Category.TRANSACTIONAL, (), ["whatsapp", "sms"]),
            ("DE", Category.MARKETING, ("all",), ["whatsapp", "sms"]),
            ("DE", Category.MARKETING, ("category:marketing",), ["whatsapp", "sms"]),
            ("IN", Category.MARKETING, ("channel:whatsapp",), ["whatsapp"]),
            ("IN", Category.MARKETING, ("sender:gb-sms",), ["sms"]),
        ],
    )
    def test_what_is_left(
        self, country: str, category: Category, opt_ins: tuple[str, ...], expected: list[str]
    ) -> None:
        known = facts(opt_ins=opt_ins, sessions=OPEN)
        assert channels(self.POLICY, a_request(country, category=category), known) == expected

    @pytest.mark.parametrize("opt_ins", [(), ("category:otp",), ("channel:mms",), ("sender:us-main",)])
    def test_without_an_opt_in_that_covers_a_step_nothing_is_sent(self, opt_ins: tuple[str, ...]) -> None:
        decided = outcome(self.POLICY, a_request("DE", **MARKETING), facts(opt_ins=opt_ins, sessions=OPEN))
        assert decided == Suppressed(Reason.NO_CONSENT)

    def test_an_opt_out_counts_more_than_an_opt_in(self) -> None:
        known = facts(("all",), ("all",), sessions=OPEN)
        assert outcome(self.POLICY, a_request("DE", **MARKETING), known) == Suppressed(Reason.OPTED_OUT)


class TestQuietHours:
    """At 12:00 UTC it is 17:30 in Kolkata, 07:00 in New York, 02:00 in Honolulu."""

    POLICY = a_policy('[[guards.quiet_hours]]\nfrom = "21:00"\nuntil = "08:00"\nexempt = ["otp"]')

    @pytest.mark.parametrize(
        ("timezone", "candidates", "expected"),
        [
            ("Asia/Kolkata", (), None),
            ("America/New_York", (), NOW + timedelta(hours=1)),
            (None, ("America/New_York",), NOW + timedelta(hours=1)),
            (None, ("America/New_York", "Pacific/Honolulu"), NOW + timedelta(hours=6)),
            ("Asia/Kolkata", ("America/New_York",), None),  # the notification knows better
            ("Not/AZone", ("America/New_York",), NOW + timedelta(hours=1)),
            (None, (), None),  # nothing is known
        ],
    )
    def test_held_until_it_is_open_in_every_zone(
        self, timezone: str | None, candidates: tuple[str, ...], expected: datetime | None
    ) -> None:
        decided = outcome(self.POLICY, a_request("US", timezone=timezone), facts(timezones=candidates))
        if expected is None:
            assert isinstance(decided, RoutingPlan)
        else:
            assert decided == Deferred(expected, Reason.QUIET_HOURS)

    def test_exempt_categories_pass(self) -> None:
        assert channels(self.POLICY, a_request(category=Category.OTP, timezone="America/New_York")) == ["sms"]

    def test_asked_again_when_it_opens_it_passes(self) -> None:
        request = a_request(timezone="America/New_York")
        assert isinstance(outcome(self.POLICY, request, now=NOW + timedelta(hours=1)), RoutingPlan)

    def test_it_expires_before_the_window_opens(self) -> None:
        request = a_request(timezone="America/New_York", expires_at=NOW + timedelta(minutes=59))
        assert outcome(self.POLICY, request) == Suppressed(Reason.EXPIRED)

    def test_suppress_and_countries_and_the_assumed_zone(self) -> None:
        table = (
            '[[guards.quiet_hours]]\nfrom = 12:00:00\nuntil = "14:00"\naction = "suppress"\ncountry = "IN"\n'
            'timezone = "Etc/UTC"'
        )
        assert outcome(a_policy(table), a_request("IN")) == Suppressed(Reason.QUIET_HOURS)
        assert channels(a_policy(table), a_request("US")) == ["sms"]

    def test_zones_that_never_agree_suppress(self) -> None:
        policy = a_policy('[[guards.quiet_hours]]\nfrom = "12:00"\nuntil = "06:00"')
        decided = outcome(policy, a_request(), facts(timezones=("Europe/Madrid", "Pacific/Honolulu")))
        assert decided == Suppressed(Reason.QUIET_HOURS)


class TestFrequency:
    POLICY = a_policy('[[guards.frequency]]\ncategory = "marketing"\nlimit = 2\nwindow = 3600')

    @pytest.mark.parametrize(
        ("minutes_ago", "free_in"),
        [
            ((), None),
            ((10,), None),
            ((10, 60), None),  # the older one left the window this instant
            ((10, 59), 1),
            ((59, 10), 1),  # in any order
            ((10, 20, 30), 40),  # three sent: the second oldest has to leave, 20 minutes ago
        ],
    )
    def test_held_until_enough_have_left_the_window(self, minutes_ago: tuple[int, ...], free_in: int | None) -> None:
        sent = tuple(NOW - timedelta(minutes=minutes) for minutes in minutes_ago)
        decided = outcome(self.POLICY, a_request(**MARKETING), facts(recent={Category.MARKETING: sent}))
        if free_in is None:
            assert isinstance(decided, RoutingPlan)
        else:
            assert decided == Deferred(NOW + timedelta(minutes=free_in), Reason.FREQUENCY_CAP)

    def test_other_categories_are_neither_counted_nor_held(self) -> None:
        sent = (NOW, NOW, NOW)
        assert channels(self.POLICY, a_request(), facts(recent={Category.MARKETING: sent})) == ["sms"]
        assert channels(self.POLICY, a_request(**MARKETING), facts(recent={Category.OTP: sent})) == ["sms"]

    def test_a_cap_over_all_categories_that_suppresses(self) -> None:
        policy = a_policy('[[guards.frequency]]\nlimit = 2\nwindow = 60\naction = "suppress"')
        known = facts(recent={Category.MARKETING: (NOW,), Category.OTP: (NOW,)})
        assert outcome(policy, a_request(), known) == Suppressed(Reason.FREQUENCY_CAP)


class TestSegments:
    POLICY = a_policy("[guards.segments]\nmax = 2")

    def test_longer_texts_are_not_sent_as_sms(self) -> None:
        assert channels(self.POLICY, a_request(text="x" * 306)) == ["sms"]  # 2 x 153
        decided = outcome(self.POLICY, a_request(text="x" * 307))
        assert decided == Rejected(
            Reason.TOO_LONG,
            "content.text is too long: shorten it (the text has 3 segments and the policy allows 2; "
            "no template is given)",
        )

    def test_whatsapp_knows_no_segments(self) -> None:
        known = facts(sessions=OPEN)
        assert channels(self.POLICY, a_request("IN", text="x" * 307), known) == ["whatsapp"]


class TestTemplate:
    POLICY = a_policy(
        world=a_world(
            templates={
                "order_shipped": TemplateEntry(
                    "order_shipped", "utility", {"en": "HXen"}, variables=frozenset({"name", "day"})
                ),
                "unapproved": TemplateEntry("unapproved", "utility", {}),
            }
        )
    )

    @pytest.mark.parametrize(
        ("variables", "message"),
        [
            ({"name": "Ana"}, "content.template.variables.day is missing: template 'order_shipped' needs it"),
            ({"name": "Ana", "day": ""}, "content.template.variables.day is empty"),
            ({"name": "Ana", "day": "  "}, "content.template.variables.day is empty"),
            ({"name": "Ana", "day": None}, "content.template.variables.day is no string"),
            ({"name": "A\nna", "day": "x"}, "content.template.variables.name holds a line break"),
            ({"name": "A\rna", "day": "x"}, "content.template.variables.name holds a line break"),
            ({"name": "A\tna", "day": "x"}, "content.template.variables.name holds a tab"),
            ({"name": "A     b", "day": "x"}, "content.template.variables.name holds more than four spaces in a row"),
            ({"name": "x" * 1601, "day": "x"}, "content.template.variables.name is longer than 1600 characters"),
            (
                {"name": "x", "day": "x", **{str(n): "x" for n in range(99)}},
                "content.template.variables has 101 variables; a template takes 100 at most",
            ),
        ],
    )
    def test_variables_that_the_provider_would_refuse_are_named(self, variables: dict[str, Any], message: str) -> None:
        decided = outcome(self.POLICY, a_request(template=TemplateRequest("order_shipped", variables=variables)))
        assert isinstance(decided, Rejected)
        assert decided.reason is Reason.TEMPLATE_VARIABLES
        assert decided.message.startswith(message)
        assert "Ana" not in decided.message

    def test_four_spaces_and_whole_variables_are_sent(self) -> None:
        variables = {"name": "A    b", "day": "x" * 1600}
        request = a_request("IN", template=TemplateRequest("order_shipped", variables=variables))
        assert channels(self.POLICY, request) == ["whatsapp", "sms"]

    def test_an_unknown_name_is_refused_even_where_text_would_do(self) -> None:
        decided = outcome(self.POLICY, a_request(template=TemplateRequest("order_shiped")))
        assert decided == Rejected(
            Reason.TEMPLATE_UNKNOWN,
            "content.template.name: no template 'order_shiped' is configured under [templates]",
        )

    def test_a_content_sid_needs_no_configuration(self) -> None:
        decided = outcome(self.POLICY, a_request("IN", text=None, template=TemplateRequest(content_sid="HX1")))
        assert isinstance(decided, RoutingPlan)
        assert [(s.channel, s.form, s.content_sid, s.language) for s in decided.steps] == [
            (WHATSAPP, Form.TEMPLATE, "HX1", None),
            (SMS, Form.TEMPLATE, "HX1", None),
        ]

    def test_a_template_without_any_approved_language_leaves_the_text(self) -> None:
        template = TemplateRequest("unapproved")
        assert channels(self.POLICY, a_request("IN", template=template)) == ["sms"]
        decided = outcome(self.POLICY, a_request("IN", text=None, template=template))
        assert isinstance(decided, Rejected)
        assert decided.reason is Reason.TEMPLATE_UNKNOWN

    def test_it_is_checked_before_a_deferral_hides_the_mistake(self) -> None:
        request = a_request(send_at=NOW + timedelta(days=3), template=TemplateRequest("order_shiped"))
        assert isinstance(outcome(self.POLICY, request), Rejected)


def test_an_unreachable_channel_is_left_out() -> None:
    known = facts(sessions=OPEN, unreachable={WHATSAPP: "63003"})
    assert channels(a_policy(), a_request("IN"), known) == ["sms"]
    american = compile_policy(shipped(), a_world())
    picture = a_request("US", media=("https://cdn.example.com/1.jpg",))
    assert channels(american, picture, facts(unreachable={MMS: "30003"})) == ["sms"]
