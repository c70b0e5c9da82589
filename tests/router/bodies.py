"""Bodies of notifications as hypothesis invents them: noise, any JSON, and nearly right ones."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

GOOD: dict[str, Any] = {"id": "n-1", "to": "+12025550123", "content": {"text": "hi"}}

_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.sampled_from(["", "\x00", "\ud800"])
)
JSON = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=10) | st.sampled_from([*GOOD]), inner, max_size=4)
    ),
    max_leaves=8,
)

#: Values that are plausible for each field, right or wrong.
_PLAUSIBLE: dict[str, st.SearchStrategy[Any]] = {
    "id": st.sampled_from(["n-1", "n-2", "", "a b", "x" * 65, "ü", "a.b", "a\n"]),
    "to": st.sampled_from(
        [
            "+12025550123",
            "+18765550100",
            "+919812345678",
            "2025550123",
            "+1",
            "whatsapp:GB.1",
            "mailto:a@b.example",
            " ",
        ]
    )
    | st.text(max_size=30),
    "region": st.sampled_from(["US", "us", "ZZ", "usa", ""]),
    "content": st.fixed_dictionaries(
        {},
        optional={
            "text": st.text(max_size=2000),
            "media": st.lists(st.sampled_from(["https://x.example/a", "http://x", "https://", "https://[", "x"])),
            "template": st.fixed_dictionaries(
                {},
                optional={
                    "name": st.sampled_from(["order_shipped", "nobody", ""]),
                    "content_sid": st.just("HX" + "0" * 32),
                    "language": st.sampled_from(["en", "pt-BR", "x" * 40]),
                    "variables": st.dictionaries(st.text(max_size=3), st.text(max_size=9) | st.none(), max_size=3),
                },
            ),
        },
    ),
    "category": st.sampled_from(["otp", "transactional", "service", "marketing", "spam"]),
    "channel": st.sampled_from(["sms", "mms", "whatsapp", "pigeon", "a.b", ""]),
    "send_at": st.sampled_from(["2026-11-20T11:00:00Z", "2027-01-01T00:00:00+01:00", "9999-12-31T23:59:59Z", "now"]),
    "expires_at": st.sampled_from(["2026-11-20T11:00:00Z", "2027-01-01T00:00:01+01:00", "0001-01-01T00:00:00Z"]),
    "timezone": st.sampled_from(["Europe/Berlin", "Mars/Base", "../etc"]),
    "on_unknown": st.sampled_from(["retry", "hold", "failover", "pray"]),
    "metadata": st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=3),
}

NEARLY_RIGHT = st.builds(
    lambda chosen, noise: GOOD | chosen | noise,
    st.fixed_dictionaries({}, optional=_PLAUSIBLE),
    st.dictionaries(st.sampled_from([*_PLAUSIBLE, "typo"]), JSON, max_size=1),
)


def bodies() -> st.SearchStrategy[bytes]:
    """Everything that may stand in the stream."""
    return st.one_of(
        st.binary(max_size=100),
        JSON.map(lambda value: json.dumps(value).encode()),
        NEARLY_RIGHT.map(lambda value: json.dumps(value).encode()),
    )
