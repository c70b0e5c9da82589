from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.segments import count_segments, is_gsm7, smart_encode

GSM7 = st.text(st.sampled_from("abc xyz019@£ÅåΔÉ\n"))


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("", 0),
        ("a", 1),
        ("a" * 160, 1),
        ("a" * 161, 2),  # 153 + 8
        ("a" * 306, 2),  # 2 x 153
        ("a" * 307, 3),
        ("€" * 80, 1),  # 160 septets
        ("€" * 81, 2),  # 76 in a part of 153: the escape and its character stay together
        ("€" * 152, 2),
        ("€" * 153, 3),
        ("a" * 152 + "€" + "a" * 152, 3),  # 306 septets, but the euro sign does not fit the first part's last one
        ("ж" * 70, 1),
        ("ж" * 71, 2),  # 67 + 4
        ("ж" * 134, 2),
        ("ж" * 135, 3),
        ("🙂" * 35, 1),  # 70 units
        ("🙂" * 36, 2),  # 33 in a part of 67: a pair stays together
        ("🙂" * 67, 3),
        ("a" * 70 + "ж", 2),
    ],
)
def test_segments(text: str, segments: int) -> None:
    assert count_segments(text) == segments


@pytest.mark.parametrize("char", "`ç\tê\u0430\u00a0\u201c")
def test_what_looks_like_gsm7_and_is_not(char: str) -> None:
    assert not is_gsm7(char)


@given(GSM7)
def test_plain_septets_need_what_the_arithmetic_says(text: str) -> None:
    parts = 1 if len(text) <= 160 else -(-len(text) // 153)
    assert count_segments(text) == (parts if text else 0)


@given(st.text(), st.text())
def test_more_text_never_needs_fewer_segments(text: str, more: str) -> None:
    assert count_segments(text) <= count_segments(text + more)


@given(st.text(max_size=400), st.text(max_size=400))
def test_joining_two_texts_saves_no_room_but_headers(one: str, other: str) -> None:
    assert count_segments(one + other) <= 3 * (count_segments(one) + count_segments(other)) + 1


@given(st.text())
def test_smart_encoding_twice_is_once(text: str) -> None:
    assert smart_encode(smart_encode(text)) == smart_encode(text)


@given(GSM7)
def test_smart_encoding_leaves_plain_text_alone(text: str) -> None:
    assert smart_encode(text) == text


def test_smart_encoding_makes_typography_plain() -> None:
    fancy = "\u201cIt\u2019s \u00bd done\u201d \u2013 wait\u2026\u00a0ok\u200b"
    assert smart_encode(fancy) == '"It\'s 1/2 done" - wait... ok'
    assert is_gsm7(smart_encode(fancy))
