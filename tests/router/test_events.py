"""The delivery event, word for word: what stands in the golden files is what subscribers parse."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from channels.model import MMS, SMS, Form, ProviderError
from channels.reasons import Reason
from policies.model import Step
from router.events import Happening, body_of, event_id, headers_of, subject_of
from router.story import About, Snapshot
from router.wire import DeliveryEvent
from tests.factories import NOW

DATA = Path(__file__).parent / "data"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ABOUT = About("shop", "order-4711", "normal", "transactional", "+12025550123", {"order": "4711"}, TRACEPARENT)
NOBODY = About("shop", "order-4711", "normal", None, None, {})

ROUTED = Happening(
    "routed",
    NOW,
    channel=MMS,
    form="media",
    sender="us-main",
    decision={
        "outcome": "routed",
        "reason": "routed",
        "until": None,
        "policy": "2026-11-01",
        "plan": [{"channel": "mms", "form": "media", "sender": "us-main", "because": "media to the United States"}],
        "facts": {"country": "US"},
        "trace": [{"rule": "route.picture-us-ca", "matched": True, "because": "media to the United States"}],
    },
)
DELIVERED = Happening(
    "delivered",
    NOW + timedelta(seconds=1),
    final=True,
    channel=MMS,
    form="media",
    attempt=1,
    sender="us-main",
    provider="twilio",
    provider_message_id="MM0123456789abcdef0123456789abcdef",
    provider_status="delivered",
)
FAILED = Happening(
    "failed",
    NOW,
    channel=SMS,
    form="text",
    attempt=2,
    sender="us-main",
    provider="twilio",
    reason=Reason.NOT_ON_CHANNEL,
    error=ProviderError("recipient_unreachable", 21211, "recipient's number is not valid"),
)
REJECTED = Happening("rejected", NOW, final=True, reason=Reason.INVALID)


@pytest.mark.parametrize(
    ("name", "about", "happening"),
    [
        ("routed", ABOUT, ROUTED),
        ("delivered", ABOUT, DELIVERED),
        ("failed", ABOUT, FAILED),
        ("rejected", NOBODY, REJECTED),
    ],
)
def test_events_are_as_in_their_golden_files(name: str, about: About, happening: Happening) -> None:
    identity = event_id(about, happening, 3)
    body = json.loads(body_of(about, happening, identity, NOW + timedelta(seconds=2)))

    assert body == json.loads((DATA / f"{name}.json").read_text())
    assert list(body) == list(DeliveryEvent.model_fields)


def test_headers_are_a_cloud_event_with_the_callers_trace() -> None:
    identity = event_id(ABOUT, DELIVERED, 3)
    snapshot = Snapshot("1:x", 7, plan=(Step(MMS, Form.MEDIA, "us-main"),))

    headers = headers_of(ABOUT, DELIVERED, identity, snapshot, "router-1.1")

    assert headers == {
        "ce-specversion": "1.0",
        "ce-id": identity,
        "ce-type": "pointsman.delivery.delivered",
        "ce-source": "/pointsman/shop",
        "ce-subject": "order-4711",
        "ce-time": "2026-11-20T12:00:01.000Z",
        "content-type": "application/json",
        "traceparent": TRACEPARENT,
        "Pointsman-Story": snapshot.dump(),
        "Pointsman-Owner": "router-1.1",
        "Pointsman-Provider-Message-Id": "MM0123456789abcdef0123456789abcdef",
    }
    assert "traceparent" not in headers_of(NOBODY, REJECTED, identity, snapshot, "router-1.1")


def test_the_subject_says_source_status_channel_and_id() -> None:
    assert subject_of(ABOUT, DELIVERED) == "deliveries.shop.delivered.mms.order-4711"
    assert subject_of(NOBODY, REJECTED) == "deliveries.shop.rejected.none.order-4711"


def test_an_events_id_is_stable_and_its_own() -> None:
    assert event_id(ABOUT, DELIVERED, 3) == event_id(NOBODY, replace(DELIVERED, occurred_at=NOW), 3)
    identities = [
        event_id(ABOUT, DELIVERED, 3),
        event_id(ABOUT, DELIVERED, 4),
        event_id(ABOUT, FAILED, 3),
        event_id(replace(ABOUT, source="bank"), DELIVERED, 3),
        event_id(replace(ABOUT, notification_id="other"), DELIVERED, 3),
    ]
    assert len(set(identities)) == len(identities)
