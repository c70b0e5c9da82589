"""What the crash campaign finds in a log: it must be able to fail."""

from __future__ import annotations

import pytest

from bench.crash import Report, ended_again


@pytest.mark.parametrize(
    ("ends", "wrong"),
    [
        ([("delivered", False)], False),
        ([("exhausted", False)], False),
        ([("delivered", False), ("read", False)], False),
        ([("read", False)], False),
        ([("delivered", True)], False),  # an attempt that was given up arrived before the next one ended
        ([("delivered", True), ("read", False)], False),
        ([("delivered", False), ("delivered", False)], True),
        ([("exhausted", False), ("delivered", True)], True),
        ([("delivered", False), ("exhausted", False)], True),
        ([("delivered", False), ("read", True)], True),
        ([("read", False), ("read", False)], True),
        ([("delivered", False), ("read", False), ("read", False)], True),
    ],
)
def test_a_second_end_of_a_notification_fails_the_campaign(ends: list[tuple[str, bool]], wrong: bool) -> None:
    final = [{"notification_id": "n1", "status": status, "late": late, "final": True} for status, late in ends]
    others = [
        {"notification_id": "n1", "status": "accepted", "late": False, "final": False},
        {"notification_id": "n1", "status": "delivered", "late": True, "final": False},
        {"notification_id": "n2", "status": "delivered", "late": False, "final": True},
    ]
    found = ended_again([*final, *others])

    assert (set(found) == {"n1"}) is wrong
    assert Report(1, 2, ended_again=found).clean is not wrong
