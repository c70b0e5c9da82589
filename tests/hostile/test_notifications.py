"""Notifications spoilt in every way: taken, or refused with a sentence that repeats nothing of what they say."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.wire import InvalidNotificationError, parse_notification
from tests.router.parts import MAX_BODY, Parts, received

SECRET = "Zq7kanarienvogel"
NUMBER = "+12025550143"
WHOLE: dict[str, Any] = {
    "id": "n-1",
    "to": NUMBER,
    "region": "US",
    "content": {
        "text": SECRET,
        "media": [f"https://x.example/{SECRET}"],
        "template": {"name": "order_shipped", "language": "en", "variables": {"1": SECRET}},
    },
    "category": "otp",
    "send_at": "2026-11-20T12:00:00Z",
    "expires_at": "2026-11-21T12:00:00Z",
    "timezone": "Europe/Berlin",
    "on_unknown": "hold",
    "metadata": {"order": SECRET},
}
#: As JSON is written by those who do not keep to it.
RAW = [
    "NaN",
    "-Infinity",
    "1e999",
    "9" * 5_000,
    '"\\ud800"',
    '"\\u0000"',
    "[" * 300,
    '{"a":1,"a":2}',
    "tru",
    "''",
    "",
    "\x00",
]
WRONG: list[Any] = [
    *(None, True, 0, -1, 2**70, 0.5, [], {}, [SECRET], {SECRET: SECRET}, SECRET, SECRET + "\x00", f"https://[{SECRET}"),
    *(f"https://{SECRET}\u2100.example/", f"ftp://{SECRET}", f"{NUMBER}0000000{SECRET}", [[SECRET]] * 3, "x" * 33_000),
]


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Where something stands in a document."""
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else []
    return [path, *(place for key, each in below for place in places(each, (*path, key)))]


def put(value: Any, path: tuple[str | int, ...], new: Any) -> Any:
    """The document with something else there."""
    if not path:
        return new
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = put(value[path[0]], path[1:], new)
    return copy


HOLE = "a-hole-to-fill"


def spoilt() -> list[bytes]:
    """Every wrong value in every place."""
    documents = [json.dumps(put(WHOLE, path, value)) for path in places(WHOLE)[1:] for value in WRONG]
    holed = [json.dumps(put(WHOLE, path, HOLE)) for path in places(WHOLE)[1:]]
    documents += [text.replace(f'"{HOLE}"', raw) for text in holed for raw in RAW]
    return [document.encode() for document in documents]


def refusal(body: bytes) -> InvalidNotificationError | None:
    try:
        parse_notification(body).recipient()
    except InvalidNotificationError as exc:
        return exc
    return None


def test_a_refusal_repeats_no_text_and_no_number() -> None:
    refused = [error for body in spoilt() if (error := refusal(body))]
    assert len(refused) > 300
    for error in refused:
        # What a field is called is named, so that a typo is seen.
        said = error.message.replace(f"{SECRET}: ", "")
        assert SECRET not in said, said
        assert NUMBER[1:] not in said, said
        assert len(error.message) < 4_000


@settings(max_examples=300)
@given(st.sampled_from(spoilt()))
async def test_each_ends_as_exactly_one_of_routed_rejected_or_put_aside(body: bytes) -> None:
    parts = Parts()
    await parts.intake().take(received(body))
    await parts.intake().take(received(body))

    statuses = Counter(parts.store.statuses())
    letters = parts.store.bodies("DEADLETTERS")
    assert len(letters) <= 1
    assert sum(statuses.values()) <= 1
    assert letters or statuses
    if letters:
        assert set(statuses) <= {"rejected"}
        assert bool(statuses) == (letters[0]["notification_id"] is not None)
        assert parts.store.stream("OUTBOX") == []


@pytest.mark.parametrize("size", [MAX_BODY - 1, MAX_BODY, MAX_BODY + 1])
async def test_what_is_too_large_by_one_byte_is_put_aside(size: int) -> None:
    parts = Parts()
    body = json.dumps({"id": "n-1", "to": NUMBER, "content": {"text": "x"}}).encode().ljust(size)
    await parts.intake().take(received(body))

    assert parts.store.statuses() == (["routed"] if size <= MAX_BODY else ["rejected"])
