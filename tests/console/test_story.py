"""A story in sentences, for every status there is."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from router.console.story import facts_in_words, reasons, told, tone_of
from router.wire import AttemptStatus, NotificationStatus

STATUSES = [*get_args(NotificationStatus), *get_args(AttemptStatus)]
DECISION = {
    "outcome": "routed",
    "plan": [
        {"channel": "whatsapp", "sender": "wa", "form": "template"},
        {"channel": "sms", "sender": "us", "form": "text"},
    ],
    "policy": "1",
    "facts": {"country": "JM", "session": None, "media": False, "opt_ins": [], "pinned": True, "at": {"wa": "noon"}},
    "trace": [{"rule": "guard.consent", "matched": False, "because": "no opt-out is on record"}],
    "until": "2026-12-01T09:00:00Z",
}


def an_event(status: str, **fields: Any) -> dict[str, Any]:
    base: dict[str, Any] = dict.fromkeys(
        ("reason", "error", "decision", "provider", "provider_message_id", "provider_status"), None
    )
    base |= {"status": status, "final": False, "channel": "sms", "sender": "us", "attempt": 1}
    return {**base, "occurred_at": "2026-11-20T12:00:00.000Z", **fields}


@pytest.mark.parametrize("status", STATUSES)
def test_every_status_has_a_sentence_of_its_own(status: str) -> None:
    (chapter,) = told([an_event(status)])
    assert chapter.title != status
    assert chapter.title[0].isupper()


TITLES = [
    (an_event("routed", decision=DECISION), "Routed: whatsapp from wa (template), then sms from us (text)"),
    (an_event("deferred", decision=DECISION), "Put off until 2026-12-01T09:00:00Z"),
    (an_event("sending", attempt=2), "Attempt 2 begins: sms from us"),
    (an_event("accepted", provider="twilio"), "Twilio accepted it"),
    (an_event("accepted"), "The provider accepted it"),
]


@pytest.mark.parametrize(("event", "title"), TITLES)
def test_a_sentence_names_what_matters(event: dict[str, Any], title: str) -> None:
    assert told([event])[0].title == title


def test_details_name_the_reason_the_error_and_the_providers_words() -> None:
    error = {"class": "recipient_unreachable", "code": 30003, "message": "Unreachable destination handset"}
    event = an_event("undelivered", reason="undeliverable", error=error, provider_status="undelivered", final=True)
    (chapter,) = told([event])
    assert chapter.details == [
        "Reason: undeliverable",
        "recipient_unreachable 30003: Unreachable destination handset",
        "In the provider's words: undelivered",
    ]
    assert (chapter.tone, chapter.final) == ("bad", True)


def test_an_unknown_status_is_shown_as_it_is() -> None:
    assert told([an_event("teleported")])[0].title == "teleported"
    assert tone_of("teleported") == "plain"


def test_a_decision_is_told_rule_by_rule() -> None:
    assert reasons(DECISION) == [(False, "guard.consent: no opt-out is on record")]
    assert facts_in_words(DECISION) == ["country: JM", "pinned: yes", "at: wa noon"]
    far = {"facts": {"timezones": [f"America/{letter}" for letter in "ABCDE"]}}
    assert facts_in_words(far) == ["timezones: 5 zones, from America/A to America/E"]
