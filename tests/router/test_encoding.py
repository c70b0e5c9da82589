"""JSON of the log and the outbox: one form, whoever writes it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import to_json

from channels.model import Category, Form
from channels.reasons import Reason
from router.encoding import as_json

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
MEMBERS = st.sampled_from([Form.TEXT, Category.OTP, Reason.ROUTED])
VALUES = st.recursive(
    SCALARS | MEMBERS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS | MEMBERS, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_it_is_written_as_pydantic_writes_it(value: Any) -> None:
    assert as_json(value) == to_json(value)


@pytest.mark.parametrize("value", [2**70, {Category.OTP: 1}, {1: 2}, {1}])
def test_what_the_fast_writer_refuses_is_written_all_the_same(value: Any) -> None:
    assert as_json(value) == to_json(value)


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        as_json("\ud83d")
