"""What people read: a line for each event, and recipients that can be recognised and not called."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.cli.output import decision_lines, event_line, masked, outcome_line, story_line

AT = "2026-11-20T12:00:00.250Z"


def an_event(**changes: Any) -> dict[str, Any]:
    return {
        "source": "shop",
        "notification_id": "order-1",
        "status": "delivered",
        "channel": "sms",
        "form": "text",
        "sender": "us-main",
        "attempt": 1,
        "recipient": "+15017122661",
        "reason": None,
        "error": None,
        "recorded_at": AT,
        **changes,
    }


def clock() -> str:
    return f"{datetime.fromisoformat(AT).astimezone():%H:%M:%S}.250"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("+15017122661", "+1501***2661"),
        ("+4915112345678", "+4915***5678"),
        ("+2901234", "+29***34"),
        ("whatsapp:GB.13491208655302741918", "whatsapp:GB.13***1918"),
        (None, ""),
    ],
)
def test_recipients_are_masked(address: str | None, shown: str) -> None:
    assert masked(address) == shown


@given(number=st.from_regex(r"\+[1-9][0-9]{6,14}", fullmatch=True))
def test_a_masked_number_cannot_be_called(number: str) -> None:
    hidden = len(number) - len(masked(number).replace("***", ""))
    assert hidden >= 2
    assert number not in masked(number)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "shop/order-1  delivered   sms/text  us-main  +1501***2661"),
        ({"attempt": 2}, "shop/order-1  delivered   sms/text  us-main  attempt 2  +1501***2661"),
        (
            {
                "status": "failed",
                "reason": "provider_rejected",
                "error": {"class": "recipient_unreachable", "code": 21211, "message": "Invalid 'To' number"},
            },
            "shop/order-1  failed      sms/text  us-main  +1501***2661  "
            "provider_rejected: recipient_unreachable 21211 Invalid 'To' number",
        ),
        (
            {"status": "suppressed", "channel": "none", "form": None, "sender": None, "reason": "opted_out"},
            "shop/order-1  suppressed  +1501***2661  opted_out",
        ),
        ({"recipient": None}, "shop/order-1  delivered   sms/text  us-main"),
    ],
)
def test_an_event_is_one_line(changes: dict[str, Any], line: str) -> None:
    assert event_line(an_event(**changes), show_recipient=False).plain == f"{clock()}  {line}"


def test_recipients_are_shown_in_full_on_request() -> None:
    assert "+15017122661" in event_line(an_event(), show_recipient=True).plain


def test_within_a_story_nobody_needs_to_be_told_whose_it_is() -> None:
    assert story_line(an_event()).plain == f"{clock()}  delivered   sms/text  us-main"


DECISION = {
    "outcome": "routed",
    "reason": "routed",
    "until": None,
    "policy": "2026-11-01+abc",
    "plan": [{"channel": "sms", "form": "text", "sender": "us-main", "because": "the country is US"}],
    "facts": {
        "country": "US",
        "session": None,
        "media": 0,
        "sessions": {"wa": "2026-11-20T12:00:00Z"},
        "variables": ["1", "2"],
    },
    "trace": [
        {"rule": "guard.suppression", "matched": False, "because": "no opt-out is on record"},
        {"rule": "route.text-us-ca", "matched": True, "because": "it applies"},
    ],
}


def test_a_decision_is_told_in_sentences() -> None:
    assert [line.plain for line in decision_lines(DECISION)] == [
        "1. sms/text from us-main: the country is US",
        "known: country US, sessions wa 2026-11-20T12:00:00Z, variables 1 2",
        "○ guard.suppression: no opt-out is on record",
        "● route.text-us-ca: it applies",
    ]


def test_a_plan_says_what_leads_from_step_to_step() -> None:
    first = {"channel": "whatsapp", "form": "text", "sender": "wa", "silence": 120.0, "on": ["undelivered", "failed"]}
    last = {"channel": "sms", "form": "text", "sender": "us-main", "silence": 60.0}
    lines = decision_lines({**DECISION, "plan": [first, last], "facts": {}, "trace": []})
    assert [line.plain for line in lines] == [
        "1. whatsapp/text from wa",
        "   then after 120 s without a delivery or after undelivered, failed",
        "2. sms/text from us-main",
    ]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "routed, policy 2026-11-01+abc: to be sent at once"),
        (
            {"outcome": "suppressed", "reason": "opted_out", "plan": []},
            "suppressed (opted_out), policy 2026-11-01+abc",
        ),
        (
            {"outcome": "deferred", "reason": "scheduled", "until": AT, "plan": []},
            f"deferred (scheduled, until {AT}), policy 2026-11-01+abc",
        ),
        (
            {"outcome": "rejected", "reason": "no_route", "message": "no step can work", "plan": []},
            "rejected (no_route), policy 2026-11-01+abc: no step can work",
        ),
    ],
)
def test_an_outcome_is_one_line(changes: dict[str, Any], line: str) -> None:
    assert outcome_line({**DECISION, **changes}).plain == line


@pytest.mark.parametrize(
    ("zones", "words"),
    [
        (["America/New_York"], "America/New_York"),
        ([f"America/{letter}" for letter in "ABCD"], "America/A, America/B, America/C, America/D"),
        ([f"America/{letter}" for letter in "ABCDE"], "5 zones, from America/A to America/E"),
    ],
)
def test_a_number_that_is_nowhere_in_particular_does_not_list_every_time_zone(zones: list[str], words: str) -> None:
    (line,) = decision_lines({**DECISION, "plan": [], "facts": {"timezones": zones}, "trace": []})
    assert line.plain == f"known: timezones {words}"
