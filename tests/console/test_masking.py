"""Enough to recognise, too little to read."""

from __future__ import annotations

from typing import Any

import pytest

from router.console.masking import content_summary, masked, shown


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("+12025550123", "+120•••23"),
        ("+18765550100", "+187•••00"),
        ("whatsapp:US.13491208655302741918", "whatsapp:US.1•••18"),
        ("mailto:ada@example.com", "mailto:ada@•••om"),
        ("+1202", "•••"),
        ("", "—"),
        (None, "—"),
    ],
)
def test_an_address_is_masked(address: str | None, expected: str) -> None:
    assert masked(address) == expected
    assert shown(address, revealed=False) == expected


def test_an_address_is_whole_where_it_was_asked_for() -> None:
    assert shown("+12025550123", revealed=True) == "+12025550123"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"text": "a secret"}, "a text of 8 characters"),
        ({"text": "x", "media": ["https://x/a.png"]}, "a text of 1 characters and 1 media"),
        ({"template": {"name": "order_shipped", "variables": {"1": "Ada"}}}, "the template order_shipped"),
        ({"template": {"content_sid": "HX1"}}, "the template HX1"),
        ({}, "no content that can be read"),
        ("text", "no content that can be read"),
    ],
)
def test_what_is_said_is_told_by_its_kind(content: Any, expected: str) -> None:
    assert content_summary({"content": content}) == expected


def test_a_summary_of_nothing_is_possible() -> None:
    assert content_summary({}) == "no content that can be read"
