"""Reading notifications: whatever comes in is a notification, or an error that names the field."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.model import Category
from router.wire import InvalidNotificationError, Notification, parse_notification
from tests.router.bodies import GOOD, bodies


@given(bodies())
def test_any_body_is_a_notification_or_is_refused_with_a_sentence(body: bytes) -> None:
    assert _address_or_sentence(body)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_without_another_error(body: bytes) -> None:
    with pytest.raises(InvalidNotificationError):
        parse_notification(body)


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"id":' * 50_000, b"9" * 100_000], ids=["arrays", "objects", "digits"]
)
def test_bodies_made_to_hurt_are_refused(body: bytes) -> None:
    with pytest.raises(InvalidNotificationError):
        parse_notification(body)


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"to": None}, "to", "to: Input should be a valid string"),
        ({"id": "a b"}, "id", "id: must match [A-Za-z0-9_-]{1,64}"),
        ({"id": "x" * 65}, "id", "id: must match [A-Za-z0-9_-]{1,64}"),
        ({"contnt": 1}, "contnt", "contnt: unknown field"),
        ({"content": {}}, "content", "content: give at least one of text, media and template"),
        ({"content": {"text": "  "}}, "content", "content: give at least one of text, media and template"),
        ({"content": {"text": "a\x00"}}, "content.text", "content.text: must not hold a NUL character"),
        (
            {"content": {"media": ["ftp://x.example/a"]}},
            "content.media.0",
            "content.media.0: media must be https URLs that the provider can fetch",
        ),
        ({"content": {"media": ["https://x.example/a"] * 11}}, "content.media", None),
        ({"content": {"template": {}}}, "content.template", "content.template: give either name or content_sid"),
        (
            {"content": {"template": {"name": "a", "content_sid": "HX" + "0" * 32}}},
            "content.template",
            "content.template: give either name or content_sid",
        ),
        ({"category": "spam"}, "category", None),
        ({"timezone": "Mars/Base"}, "timezone", "timezone: not an IANA time zone; write for example Europe/Berlin"),
        (
            {"send_at": "2026-12-01 09:30"},
            "send_at",
            "send_at: write RFC 3339 with an offset, for example 2026-12-01T09:30:00Z",
        ),
        ({"send_at": 1_800_000_000}, "send_at", None),
        (
            {"send_at": "2026-12-01T09:30:00Z", "expires_at": "2026-12-01T09:30:00Z"},
            None,
            "expires_at must lie after send_at",
        ),
        ({"metadata": {"a": 1}}, "metadata.a", None),
        ({"metadata": {"a": "x" * 2100}}, None, "metadata must be 2048 bytes at most as JSON"),
        ({"on_unknown": "pray"}, "on_unknown", None),
        ({"region": "United States"}, "region", None),
    ],
)
def test_what_breaks_the_contract_is_named(changes: dict[str, Any], field: str | None, words: str | None) -> None:
    with pytest.raises(InvalidNotificationError) as failure:
        parse_notification(json.dumps(GOOD | changes).encode())

    assert failure.value.field == field
    assert words is None or failure.value.message == words


@pytest.mark.parametrize(
    ("to", "region", "words"),
    [
        ("99 88 77", None, "not a phone number in E.164"),
        ("202 555 0123", "XX", "is no ISO 3166-1 alpha-2 country"),
        ("whatsapp:+12025550123", None, "business-scoped user id"),
    ],
)
def test_a_recipient_that_is_none_is_refused_without_repeating_it(to: str, region: str | None, words: str) -> None:
    notification = parse_notification(json.dumps(GOOD | {"to": to, "region": region}).encode())

    with pytest.raises(InvalidNotificationError, match=words) as failure:
        notification.recipient()
    assert to not in failure.value.message


def test_every_mistake_is_named_at_once() -> None:
    with pytest.raises(InvalidNotificationError) as failure:
        parse_notification(b'{"id": "n-1", "tto": "x"}')

    assert failure.value.message == "to: Field required; content: Field required; tto: unknown field"


def test_equal_content_has_one_fingerprint_however_it_is_written() -> None:
    first = parse_notification(b'{"id":"a","to":"+12025550123","content":{"text":"hi"},"metadata":{"x":"1","y":"2"}}')
    second = parse_notification(
        b'{"metadata":{"y":"2","x":"1"}, "content":{"text":"hi","media":[]}, "to":"+12025550123", "id":"a"}'
    )
    other = parse_notification(b'{"id":"a","to":"+12025550123","content":{"text":"ho"},"metadata":{"x":"1","y":"2"}}')

    assert first.fingerprint() == second.fingerprint()
    assert first.fingerprint() != other.fingerprint()


def _address_or_sentence(body: bytes) -> str:
    """What reading it comes to; any other error is the test's failure."""
    try:
        return parse_notification(body).recipient().address
    except InvalidNotificationError as error:
        return error.message


def form_one(notification: Notification) -> str:
    """How fingerprints were first made; those in the log must stay equal to what is made today."""
    said = notification.model_dump(exclude_defaults=True, exclude={"to", "region"})
    said = {key: value.astimezone(UTC) if isinstance(value, datetime) else value for key, value in said.items()}
    said["recipient"] = notification.recipient().address
    canonical = json.dumps(said, sort_keys=True, separators=(",", ":"), default=str)
    return "1:" + hashlib.sha256(canonical.encode()).hexdigest()[:32]


WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=12)
TEMPLATES = st.one_of(
    st.fixed_dictionaries(
        {"name": WORDS}, optional={"language": st.just("en"), "variables": st.dictionaries(WORDS, st.none() | WORDS)}
    ),
    st.just({"content_sid": "HX" + "0" * 32}),
)
NOTIFICATIONS = st.fixed_dictionaries(
    {
        "id": st.just("a-1"),
        "to": st.sampled_from(["+12025550123", "+447911123456", "whatsapp:GB.123"]),
        "content": st.fixed_dictionaries(
            {"text": WORDS.filter(str.strip)},
            optional={"media": st.lists(st.just("https://a/b"), max_size=2), "template": TEMPLATES},
        ),
    },
    optional={
        "region": st.just("US"),
        "category": st.sampled_from([each.value for each in Category]),
        "channel": st.sampled_from(["sms", None]),
        "send_at": st.just("2026-12-01T09:30:00.123456Z"),
        "expires_at": st.just("2027-01-01T00:00:00+02:00"),
        "timezone": st.just("Europe/Berlin"),
        "on_unknown": st.sampled_from(["retry", "hold", None]),
        "metadata": st.dictionaries(WORDS, WORDS, max_size=3),
    },
)


@given(NOTIFICATIONS)
def test_a_fingerprint_is_the_same_for_ever(given_fields: dict[str, object]) -> None:
    notification = parse_notification(json.dumps(given_fields).encode())
    assert notification.fingerprint() == form_one(notification)


def test_no_field_is_left_out_of_the_fingerprint() -> None:
    """A new field belongs into `router.fingerprints`, and then into the strategy above."""
    assert set(Notification.model_fields) == {
        "id",
        "to",
        "region",
        "content",
        "category",
        "channel",
        "send_at",
        "expires_at",
        "timezone",
        "on_unknown",
        "metadata",
    }
