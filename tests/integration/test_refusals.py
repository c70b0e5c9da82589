"""What cannot be taken is never lost: an event for its publisher, a dead letter for a person, and nothing sent."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from channels.testing import until
from tests.integration.harness import US, US_2, Event, Harness

pytestmark = pytest.mark.nats


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("to", {"to": "12"}),
        ("contnt", {"contnt": {"text": "x"}}),
        ("content.media.0", {"content": {"media": ["http://shop.example/a.png"]}}),
        ("channel", {"channel": "pigeon"}),
        ("send_at", {"send_at": "tomorrow"}),
    ],
)
async def test_a_bad_field_is_named_in_an_event_and_in_a_dead_letter(
    harness: Harness, field: str, changes: dict[str, Any]
) -> None:
    await harness.publish("n-1", **changes)

    event = await harness.wait_for_final("n-1")
    assert (event.status, event.body["reason"], event.body["channel"]) == ("rejected", "invalid", "none")
    assert field in event.body["decision"]["message"]
    letter = await _dead_letter(harness)
    assert (letter.body["reason"], letter.body["field"], letter.body["notification_id"]) == ("invalid", field, "n-1")
    assert letter.subject == "deadletters.intake.shop"
    assert json.loads(letter.body["body"])["id"] == "n-1"
    assert harness.sent == []


@pytest.mark.parametrize(
    ("body", "kept", "encoding"),
    [
        (b"{", "{", "utf-8"),
        (b"", "", "utf-8"),
        (b"[1]", "[1]", "utf-8"),
        (b'{"to": "+12025550123"}', '{"to": "+12025550123"}', "utf-8"),
        (b'{"id": "no id", "to": "x"}', '{"id": "no id", "to": "x"}', "utf-8"),
        (b"\xff\x00", base64.b64encode(b"\xff\x00").decode(), "base64"),
    ],
)
async def test_a_body_that_names_no_usable_id_is_kept_whole(
    harness: Harness, body: bytes, kept: str, encoding: str
) -> None:
    await harness.publish_raw("notifications.normal.shop", body)

    letter = (await _dead_letter(harness)).body
    assert (letter["reason"], letter["body"], letter["body_encoding"]) == ("unreadable", kept, encoding)
    assert letter["notification_id"] is None
    await harness.idle()
    assert harness.deliveries == []


@pytest.mark.parametrize(
    ("subject", "dead_letter", "word"),
    [
        ("notifications.slow.shop", "deadletters.intake.shop", "lane"),
        ("notifications.normal.SHOP", "deadletters.intake.unknown", "source"),
        ("notifications.normal", "deadletters.intake.normal", "notifications.<lane>.<source>"),
        ("notifications.normal.shop.eu", "deadletters.intake.eu", "notifications.<lane>.<source>"),
    ],
)
async def test_a_subject_outside_the_contract_leads_to_a_dead_letter(
    harness: Harness, subject: str, dead_letter: str, word: str
) -> None:
    await harness.publish_raw(subject, json.dumps({"id": "n-1", "to": US, "content": {"text": "hi"}}).encode())

    letter = await _dead_letter(harness)
    assert (letter.subject, letter.body["reason"], letter.body["subject"]) == (dead_letter, "bad_subject", subject)
    assert word in letter.body["message"]
    await harness.idle()
    assert harness.deliveries == []


async def test_an_id_that_is_reused_for_other_content_is_refused_and_nothing_more_is_sent(harness: Harness) -> None:
    await harness.publish("n-1", metadata={"order": "1"})
    await harness.wait_for("n-1", "delivered")

    await harness.publish("n-1", US_2, metadata={"order": "2"})

    event = await harness.wait_for("n-1", "rejected")
    assert (event.body["reason"], event.body["final"]) == ("id_reused", True)
    # The story stays about the notification that owns the id.
    assert (event.body["recipient"], event.body["metadata"]) == (US, {"order": "1"})
    await harness.idle()
    assert [message.to for message in harness.sent] == [US]


async def test_every_reuse_of_an_id_is_answered_once(harness: Harness) -> None:
    await harness.publish("n-1")
    await harness.wait_for("n-1", "delivered")
    await harness.publish("n-1", content={"text": "second"})
    await harness.publish("n-1", content={"text": "third"})

    await harness.idle()
    assert harness.statuses("n-1").count("rejected") == 2
    assert len(harness.sent) == 1


async def test_an_id_reused_while_its_owner_is_on_its_way_does_not_stop_it(harness: Harness) -> None:
    await harness.publish("n-1")
    await harness.publish("n-1", US_2)

    await harness.wait_for("n-1", "delivered")
    await harness.wait_for("n-1", "rejected")
    await harness.idle()
    assert len(harness.sent) == 1


async def test_what_was_corrected_may_be_published_under_the_same_id(harness: Harness) -> None:
    await harness.publish("n-1", to="12")
    await harness.wait_for("n-1", "rejected")

    await harness.publish("n-1")

    await harness.wait_for("n-1", "delivered")
    assert [message.to for message in harness.sent] == [US]


async def test_a_malformed_body_under_an_id_in_use_leaves_the_notification_alone(harness: Harness) -> None:
    await harness.publish("n-1")
    await harness.wait_for("n-1", "delivered")
    await harness.publish("n-1", colour="blue")

    event = await harness.wait_for("n-1", "rejected")
    assert event.body["reason"] == "invalid"
    await harness.idle()
    assert len(harness.sent) == 1


async def _dead_letter(harness: Harness) -> Event:
    await until(lambda: bool(harness.dead_letters))
    (letter,) = harness.dead_letters
    return letter
