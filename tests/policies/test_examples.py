"""The documented policies do what their comments and docs/policies/README.md say of them."""

from __future__ import annotations

from datetime import timedelta
from itertools import product
from typing import Any

import pytest

from channels.address import zones_of
from channels.model import MMS, SMS, WHATSAPP, Category, ChannelName, OnUnknown, PhoneNumber
from channels.reasons import Reason
from policies.engine import Policy, compile_policy, decide
from policies.model import Deferred, Outcome, RoutingPlan, Step, Suppressed, TemplateRequest
from tests.factories import NOW, NUMBERS, a_request, facts
from tests.policies.test_check import documented

ORDERS = {"us-orders", "us-orders-2"}
#: Everybody has said yes to offers.
ASKED = ("category:marketing",)
NIGHT = NOW.replace(hour=4)
SPAIN = PhoneNumber("+34612345678", "ES")
PICTURE = ("https://example.com/1.jpg",)


def policy(name: str) -> Policy:
    document, world, _ = documented(name)
    return compile_policy(document, world)


def outcome(policy: Policy, *args: Any, now: Any = NOW, known: Any = None, **changes: Any) -> Outcome:
    request = a_request(*args, **changes)
    known = known or facts(opt_ins=ASKED, timezones=zones_of(request.recipient))
    return decide(request, known, policy, now).outcome


def steps(policy: Policy, *args: Any, **changes: Any) -> tuple[Step, ...]:
    found = outcome(policy, *args, **changes)
    assert isinstance(found, RoutingPlan), found
    return found.steps


class TestMarketplace:
    policy = policy("marketplace")

    def test_it_is_in_twelve_countries(self) -> None:
        document, _, _ = documented("marketplace")
        guard = document.guards.countries
        assert guard
        assert len(document.countries(guard.allowed)) == 12
        assert outcome(self.policy, "JM") == Suppressed(Reason.COUNTRY_BLOCKED)

    # Whatever was sent last, and from whichever number.
    @pytest.mark.parametrize("last", [None, "us-orders", "us-offers"])
    @pytest.mark.parametrize("pin", [None, SMS])
    @pytest.mark.parametrize("media", [(), PICTURE])
    def test_offers_to_the_united_states_come_from_the_short_code_and_nothing_else_does(
        self, media: tuple[str, ...], pin: ChannelName | None, last: str | None
    ) -> None:
        session = {"chat-americas": NOW + timedelta(hours=1)}
        for category, open_ in product(Category, (False, True)):
            known = facts(
                opt_ins=ASKED,
                sessions=session if open_ else {},
                timezones=("America/Los_Angeles",),
                last_sender=dict.fromkeys((SMS, MMS), last) if last else {},
            )
            plan = steps(
                self.policy, "US", category=category, media=media, pin=pin, known=known, now=NOW + timedelta(hours=8)
            )
            texts = {step.sender for step in plan if step.channel in (SMS, MMS)}
            assert texts
            assert texts <= ({"us-offers"} if category is Category.MARKETING else ORDERS), (category, plan)

    def test_offers_go_to_those_who_asked_for_them_and_not_at_night(self) -> None:
        offer = {"country": "DE", "category": Category.MARKETING}
        assert outcome(self.policy, **offer, known=facts()) == Suppressed(Reason.NO_CONSENT)
        waits = outcome(self.policy, **offer, now=NIGHT)
        assert isinstance(waits, Deferred)
        assert waits.reason is Reason.QUIET_HOURS
        assert steps(self.policy, "DE", now=NIGHT)

    def test_an_offer_that_whatsapp_can_carry_is_not_worth_an_sms(self) -> None:
        offer = {"category": Category.MARKETING, "text": None, "template": TemplateRequest("offer")}
        assert [step.channel for step in steps(self.policy, "DE", **offer)] == [WHATSAPP]

    def test_who_has_written_is_answered_there(self) -> None:
        known = facts(sessions={"chat": NOW + timedelta(hours=1)})
        (first, *_) = steps(self.policy, "GB", category=Category.SERVICE, media=PICTURE, known=known)
        assert (first.channel, first.form) == (WHATSAPP, "media")

    @pytest.mark.parametrize("country", ["DE", "IN"])
    def test_a_purchase_is_confirmed_on_whatsapp_or_after_ten_minutes_by_sms(self, country: str) -> None:
        order = {"text": "Your order is confirmed.", "template": TemplateRequest("order_update")}
        plan = [(step.channel, step.silence) for step in steps(self.policy, country, **order)]
        assert plan == [(WHATSAPP, 600), (SMS, None)]


class TestOtp:
    policy = policy("otp")

    def test_a_code_to_the_united_states_has_another_sender_behind_the_short_code(self) -> None:
        plan = steps(self.policy, "US", category=Category.OTP)
        assert [(step.sender, step.silence) for step in plan] == [("us-short", 20), ("us-toll-free", None)]

    def test_codes_go_to_five_countries_and_nothing_else_goes_anywhere(self) -> None:
        sent = {
            country
            for country in NUMBERS
            if outcome(self.policy, country, category=Category.OTP) != Suppressed(Reason.COUNTRY_BLOCKED)
        }
        assert sent == {"US", "CA", "GB"}
        for category in set(Category) - {Category.OTP}:
            assert outcome(self.policy, "US", category=category) == Suppressed(Reason.PAUSED)

    def test_more_codes_than_a_person_asks_for_are_not_sent(self) -> None:
        recent = {Category.OTP: tuple(NOW - timedelta(minutes=n) for n in range(5))}
        assert outcome(self.policy, category=Category.OTP, known=facts(recent=recent)) == Suppressed(
            Reason.FREQUENCY_CAP
        )


class TestHospital:
    policy = policy("hospital")

    def test_consent_is_that_of_the_channel(self) -> None:
        appointment = {"recipient": SPAIN, "text": "x", "template": TemplateRequest("appointment")}
        assert outcome(self.policy, **appointment, known=facts()) == Suppressed(Reason.NO_CONSENT)
        for channel in (SMS, WHATSAPP):
            known = facts(opt_ins=(f"channel:{channel}",))
            assert [step.channel for step in steps(self.policy, **appointment, known=known)] == [channel]

    def test_nothing_but_codes_at_night_and_nothing_is_sent_twice(self) -> None:
        known = facts(opt_ins=("all",), timezones=zones_of(SPAIN))
        assert isinstance(outcome(self.policy, recipient=SPAIN, known=known, now=NIGHT), Deferred)
        assert steps(self.policy, recipient=SPAIN, known=known, now=NIGHT, category=Category.OTP)
        assert self.policy.on_unknown(Category.TRANSACTIONAL) is self.policy.on_unknown(Category.SERVICE)
        assert self.policy.on_unknown(Category.SERVICE) is OnUnknown.HOLD

    def test_the_plan_depends_on_the_time_of_day(self) -> None:
        known = facts(opt_ins=("all",), timezones=zones_of(SPAIN))
        message = {"recipient": SPAIN, "text": "x", "template": TemplateRequest("appointment"), "known": known}
        channels = {hour: steps(self.policy, **message, now=NOW.replace(hour=hour))[0].channel for hour in (10, 19)}
        assert channels == {10: WHATSAPP, 19: SMS}
