"""What NATS says of a user, compared with what the router needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from channels.port import Level
from router import permissions
from router.doctor.permissions import covers, finding, missing, overlap
from router.settings import Settings

NEEDED = permissions.Permissions(("outbox.>", "$JS.API.INFO"), ("pointsman.>",), responses=True)


def granted(
    publish: Mapping[str, Sequence[str]], subscribe: Sequence[str] = (">",), *, responses: bool = True
) -> dict[str, Any]:
    answers = {"responses": {"max": 1, "ttl": 1}} if responses else {}
    return {"publish": publish, "subscribe": {"allow": subscribe}, **answers}


@pytest.mark.parametrize(
    ("rule", "subject", "within"),
    [
        (">", "outbox.>", True),
        ("outbox.>", "outbox.>", True),
        ("outbox.*", "outbox.us", True),
        ("outbox.*", "outbox.>", False),
        ("outbox.us", "outbox.*", False),
        ("outbox.*", "outbox.*", True),
        ("outbox.>", "outbox", False),
        ("outbox.us.>", "outbox.>", False),
        ("outbox.>", "outbox.us.*", True),
        ("outbox", "outbox.us", False),
        ("$JS.API.>", "$JS.API.INFO", True),
        ("pointsman.> workers", "pointsman.>", False),  # only as one of a group of queues
    ],
)
def test_a_rule_covers_what_all_of_is_within_it(rule: str, subject: str, within: bool) -> None:
    assert covers(rule, subject) is within


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ("outbox.us", "outbox.>", True),
        ("outbox.*", "outbox.us", True),
        ("*.us", "outbox.*", True),
        ("timers.>", "outbox.>", False),
        ("outbox.us.a", "outbox.us", False),
        (">", "a", True),
    ],
)
def test_what_is_denied_may_be_a_part_of_what_is_needed(one: str, other: str, both: bool) -> None:
    assert overlap(one, other) is overlap(other, one) is both


@pytest.mark.parametrize(
    ("given", "lacks"),
    [
        (granted({"allow": [">"]}), []),
        (granted({"allow": ["outbox.>", "$JS.API.>"]}), []),
        (granted({"deny": ["else.>"]}), []),
        (granted({"allow": ["outbox.>"]}), ["publish $JS.API.INFO"]),
        (granted({"allow": [">"], "deny": ["outbox.us.>"]}), ["publish outbox.>"]),
        (granted({"allow": [">"]}, ["deliveries.>"]), ["subscribe to pointsman.>"]),
        (granted({"allow": ["outbox.>", "$JS.>"]}, responses=False), ["answer requests (allow_responses)"]),
        (granted({"allow": ["outbox.>", "$JS.>", "_INBOX.>"]}, responses=False), []),
    ],
)
def test_what_is_missing_is_named(given: Mapping[str, Any], lacks: list[str]) -> None:
    assert list(missing(NEEDED, given)) == lacks


def test_a_user_without_limits_may_do_everything() -> None:
    assert finding(Settings(), {"data": {"user": "", "account": "$G"}}).level is Level.OK


def test_the_first_of_what_is_missing_is_named_and_the_rest_is_counted() -> None:
    answer = {"data": {"permissions": granted({"allow": ["deliveries.>"]})}}
    told = finding(Settings(), answer)
    assert told.level is Level.FAILURE
    assert told.says.startswith("this user may not publish outbox.>, publish timers.>, publish wake.>, and ")


@pytest.mark.parametrize("answer", [None, {}, {"error": {"code": 403}}])
def test_a_server_that_does_not_say_is_no_server_that_allows(answer: Mapping[str, Any] | None) -> None:
    assert finding(Settings(), answer).level is Level.WARNING
