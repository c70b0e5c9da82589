"""What an operator should look at: each situation with its problem, and none where all is well."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from router.console.feed import Line
from router.console.trouble import Situation, duration, problems
from router.metrics.backlog import QueueState, Reading

NOW = 1_000_000_000.0
QUEUE = {"in_flight": 0, "breaker": "closed", "why": ""}
SIGN: dict[str, Any] = {"policy": "1", "queues": {"us": QUEUE}}
WELL = Situation(
    now=NOW,
    connected=True,
    reading=Reading(complete=True, queues=[QueueState("us", "urgent", 3, 2.0)], open_letters=0),
    signs={"r1": SIGN},
    lines=[Line("shop", "n1", "delivered", "sms", NOW - 9999, True, "US", 1)],
    senders=["us"],
    stuck_after=3600,
    notes={"policy": "1"},
)


def a_line(status: str, age: float, *, final: bool = False) -> Line:
    return Line("shop", "n1", status, "sms", NOW - age, final, "US", 1)


def waiting(lane: str, seconds: float) -> Reading:
    return replace(WELL.reading, queues=[QueueState("us", lane, 3, seconds)])


CASES: list[tuple[str, dict[str, Any], str, bool]] = [
    ("nats", {"connected": False}, "This router has no connection to NATS", True),
    ("jetstream", {"reading": Reading(complete=False)}, "JetStream does not answer in time", True),
    (
        "breaker",
        {"signs": {"r1": {**SIGN, "queues": {"us": {**QUEUE, "breaker": "open", "why": "refused"}}}}},
        "Sender us is stopped: refused",
        True,
    ),
    (
        "cap",
        {"signs": {"r1": {**SIGN, "queues": {"us": {**QUEUE, "left_today": {"messages": 0, "segments": 9}}}}}},
        "Sender us has sent its messages of today",
        False,
    ),
    ("unpaced", {"senders": ["us", "uk"]}, "No router sends for uk", True),
    ("urgent", {"reading": waiting("urgent", 31)}, "The urgent queue of us is 31 s behind", True),
    ("bulk", {"reading": waiting("bulk", 7300)}, "The bulk queue of us is 2 h behind", False),
    ("letters", {"reading": replace(WELL.reading, open_letters=2)}, "2 dead letters to decide about", False),
    ("letter", {"reading": replace(WELL.reading, open_letters=1)}, "1 dead letter to decide about", False),
    ("unknown", {"lines": [a_line("unknown", 5)]}, "shop/n1 may or may not have been sent", False),
    ("sending", {"lines": [a_line("sending", 300)]}, "shop/n1 has been under way for 5 min", False),
    (
        "stuck",
        {"lines": [a_line("accepted", 4000)]},
        "shop/n1 has had no word from the provider for 67 min",
        False,
    ),
    ("refused", {"notes": {"policy_refused": "line 3"}}, "A newer policy is refused: line 3", False),
    (
        "policies",
        {"signs": {"r1": SIGN, "r2": {"policy": "2", "queues": {}}}},
        "Routers decide by different policies: 1, 2",
        False,
    ),
    ("template", {"templates": ["order_shipped (en)"]}, "The template order_shipped (en) is not approved", False),
]


@pytest.mark.parametrize(("change", "what", "severe"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_what_is_wrong_is_named_with_what_to_do(change: dict[str, Any], what: str, severe: bool) -> None:
    (problem,) = problems(replace(WELL, **change))
    assert (problem.what, problem.severe) == (what, severe)
    assert problem.do


@pytest.mark.parametrize(("case", "do"), [("breaker", "Mend what it says"), ("unknown", "Wait for the search to end")])
def test_what_to_do_is_something_that_can_be_done(case: str, do: str) -> None:
    (change,) = (change for name, change, _, _ in CASES if name == case)
    assert problems(replace(WELL, **change))[0].do.startswith(do)


def test_where_all_is_well_nothing_is_said() -> None:
    assert problems(WELL) == []


@pytest.mark.parametrize(
    "line", [a_line("unknown", 5, final=True), a_line("sending", 60), a_line("accepted", 3000), a_line("sent", 9999)]
)
def test_what_goes_its_way_is_no_problem(line: Line) -> None:
    assert problems(replace(WELL, lines=[line])) == []


def test_the_worst_comes_first() -> None:
    found = problems(replace(WELL, connected=False, lines=[a_line("unknown", 5)]))
    assert [each.severe for each in found] == [True, False]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2 h"), (86_400, "1 d"), (200_000, "2 d")],
)
def test_a_duration_is_short(seconds: float, words: str) -> None:
    assert duration(seconds) == words
