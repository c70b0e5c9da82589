"""Who sends: registration, what a step names, shares among equals, and that recipients keep their sender."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest

from channels.model import SMS, WHATSAPP, FromNumber, PhoneNumber, Recipient, Sender, SenderKind
from channels.reasons import Reason
from policies.engine import Policy, decide
from policies.model import RecipientFacts, Rejected, RoutingPlan, Step, Suppressed
from tests.factories import NOW, US_MAIN, WORLD_SMS, a_request, a_sender, a_world, facts
from tests.policies.policy import a_policy

SMS_ONLY = '[[routes]]\nname = "sms"\nplan = { channel = "sms" }'
A, B, C = (a_sender(name, SenderKind.LONG_CODE, SMS) for name in ("a", "b", "c"))
ALONE = "the only one that can serve this country on sms"


def policy(*senders: Sender, routes: str = SMS_ONLY) -> Policy:
    return a_policy(routes=routes, world=a_world(*senders))


def first(policy: Policy, country: str = "US", known: RecipientFacts | None = None, **changes: object) -> Step:
    decided = decide(a_request(country, **changes), known or facts(), policy, NOW).outcome
    assert isinstance(decided, RoutingPlan), decided
    return decided.steps[0]


def recipients(count: int) -> list[Recipient]:
    return [PhoneNumber(f"+1202555{number:04}", "US") for number in range(count)]


def chosen(policy: Policy, many: list[Recipient]) -> dict[Recipient, str]:
    return {recipient: first(policy, recipient=recipient).sender for recipient in many}


class TestRegistration:
    @pytest.mark.parametrize(
        ("kind", "serves"),
        [
            (SenderKind.TEN_DLC, {"CA", "IN"}),
            (SenderKind.TOLL_FREE, {"IN"}),
            (SenderKind.LONG_CODE, {"US", "CA", "IN"}),  # nothing to register
        ],
    )
    def test_what_waits_for_it_is_not_used_where_it_is_needed(self, kind: SenderKind, serves: set[str]) -> None:
        waiting = policy(a_sender("new", kind, SMS, registered=False))
        served = {
            country
            for country in ("US", "CA", "IN")
            if isinstance(decide(a_request(country), facts(), waiting, NOW).outcome, RoutingPlan)
        }
        assert served == serves

    def test_the_refusal_says_why(self) -> None:
        waiting = policy(a_sender("new", SenderKind.TEN_DLC, SMS, registered=False))
        decided = decide(a_request("US"), facts(), waiting, NOW).outcome
        assert decided == Rejected(
            Reason.NO_ROUTE,
            "no step of the policy can work (no configured sender can serve US on sms "
            "('new' is not used before the registration for US is approved))",
        )

    def test_the_step_of_another_sender_says_why(self) -> None:
        step = first(policy(a_sender("new", SenderKind.TOLL_FREE, SMS, registered=False, weight=9), US_MAIN))
        assert step.sender == "us-main"
        assert step.because == (
            f"the text fits; sender 'us-main': {ALONE} ('new' is not used before the registration for US is approved)"
        )


class TestEquals:
    def test_a_recipient_always_gets_the_same_sender_whatever_the_order_of_the_configuration(self) -> None:
        many = recipients(50)
        assert chosen(policy(A, B, C), many) == chosen(policy(C, A, B), many)

    def test_each_gets_its_share_by_weight(self) -> None:
        heavy = a_sender("b", SenderKind.LONG_CODE, SMS, weight=3)
        counts = Counter(chosen(policy(A, heavy), recipients(2000)).values())
        # 1500 of 2000 expected, standard deviation 19; the draws are fixed, so this never changes by itself
        assert 1400 < counts["b"] < 1600
        assert counts.total() == 2000

    def test_one_more_takes_its_share_and_moves_nobody_between_the_others(self) -> None:
        many = recipients(300)
        before, after = chosen(policy(A, B), many), chosen(policy(A, B, C), many)
        assert {after[recipient] for recipient in many if after[recipient] != before[recipient]} == {"c"}

    def test_a_weight_of_nothing_is_for_when_nobody_else_is_left(self) -> None:
        spare = a_sender("spare", SenderKind.LONG_CODE, SMS, weight=0)
        pool = policy(spare, A)
        assert set(chosen(pool, recipients(50)).values()) == {"a"}
        assert first(pool, known=facts(("sender:a",))).sender == "spare"

    def test_it_is_said_that_it_is_a_share(self) -> None:
        assert "of the equals a, b the one that falls to this recipient" in first(policy(A, B)).because

    def test_a_more_specific_list_comes_before_any_share(self) -> None:
        narrow = a_sender("narrow", SenderKind.LONG_CODE, SMS, countries=frozenset({"US"}), weight=0)
        assert set(chosen(policy(A, B, narrow), recipients(50)).values()) == {"narrow"}


class TestKeeping:
    def test_a_recipient_keeps_the_sender_of_the_last_message(self) -> None:
        because = {first(policy(A, B), known=facts(last_sender={SMS: name})).because for name in ("a", "b")}
        assert because == {
            f"the text fits; sender '{name}': the last message to this recipient on sms came from it"
            for name in ("a", "b")
        }

    def test_a_more_specific_list_counts_more(self) -> None:
        narrow = a_sender("narrow", SenderKind.LONG_CODE, SMS, countries=frozenset({"US"}))
        assert first(policy(narrow, A, B), known=facts(last_sender={SMS: "b"})).sender == "narrow"

    def test_it_counts_among_equals_that_come_later_too(self) -> None:
        narrow = a_sender("narrow", SenderKind.LONG_CODE, SMS, countries=frozenset({"US"}))
        for last in ("a", "b"):
            known = facts(("sender:narrow",), last_sender={SMS: last})
            assert first(policy(narrow, A, B), known=known).sender == last

    def test_a_weight_of_nothing_takes_recipients_away(self) -> None:
        spare = a_sender("spare", SenderKind.LONG_CODE, SMS, weight=0)
        assert first(policy(spare, A), known=facts(last_sender={SMS: "spare"})).sender == "a"

    @pytest.mark.parametrize(
        ("known", "sender"),
        [
            (facts(last_sender={SMS: "gone"}), "narrow"),
            (facts(last_sender={WHATSAPP: "b"}), "narrow"),
            (facts(("sender:b",), last_sender={SMS: "b"}), "narrow"),
            (facts(last_sender={SMS: "gb-sms"}), "narrow"),  # cannot serve the United States
        ],
    )
    def test_unless_it_cannot_serve(self, known: RecipientFacts, sender: str) -> None:
        narrow = a_sender("narrow", SenderKind.LONG_CODE, SMS, countries=frozenset({"US"}))
        assert first(policy(narrow, B, WORLD_SMS), known=known).sender == sender

    def test_an_open_session_counts_more(self) -> None:
        senders = [a_sender(name, SenderKind.WHATSAPP, WHATSAPP) for name in ("wa-1", "wa-2")]
        chat = policy(*senders, routes='[[routes]]\nname = "chat"\nplan = { channel = "whatsapp" }')
        known = facts(last_sender={WHATSAPP: "wa-1"}, sessions={"wa-2": NOW + timedelta(seconds=1)})
        assert first(chat, "IN", known).sender == "wa-2"


SHORT = a_sender("short", SenderKind.SHORT_CODE, SMS, origin=FromNumber("12345"), country=None)


def naming(keys: str) -> str:
    return f'[[routes]]\nname = "sms"\nplan = {{ channel = "sms", {keys} }}'


class TestNamedBySteps:
    @pytest.mark.parametrize(
        ("keys", "sender"),
        [
            ('sender = "a"', "a"),
            ('sender = ["gone", "b"]', "b"),
            ('sender_kind = "short-code"', "short"),
            ('sender = ["a", "short"], sender_kind = "short-code"', "short"),
        ],
    )
    def test_only_these_are_used(self, keys: str, sender: str) -> None:
        assert first(policy(A, B, SHORT, routes=naming(keys))).sender == sender

    def test_stickiness_does_not_lead_outside(self) -> None:
        assert first(policy(A, B, routes=naming('sender = "a"')), known=facts(last_sender={SMS: "b"})).sender == "a"

    def test_where_none_of_them_can_serve_it_is_said(self) -> None:
        decided = decide(
            a_request("US"), facts(), policy(A, WORLD_SMS, routes=naming('sender = "gb-sms"')), NOW
        ).outcome
        assert isinstance(decided, Rejected)
        assert "none of the senders that this step names can serve US on sms" in decided.message

    def test_an_opt_out_of_the_named_one_does_not_lead_to_another(self) -> None:
        stopped = facts(("sender:a",))
        decided = decide(a_request("US"), stopped, policy(A, B, routes=naming('sender = "a"')), NOW).outcome
        assert decided == Suppressed(Reason.OPTED_OUT)
