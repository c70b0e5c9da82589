"""What the demo publishes, and how each of it has to end. Every sample has a recipient of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: Seconds; how far ahead the `send_at` of the deferred sample lies.
LATER = 2.0

_PICTURE = "https://shop.example/parcel.jpg"
_US_NUMBER, _WHATSAPP_NUMBER = "+15017122661", "+14155238886"
#: Reserved for fiction, or assigned to nobody; nothing leaves this machine anyway.
_JAMAICAN, _INDIAN, _BRITISH = "+18765550100", "+911234567890", "+447700900123"


@dataclass(frozen=True, slots=True)
class Written:
    """What the recipient writes to one of our senders first."""

    to: str
    body: str
    whatsapp: bool = False


@dataclass(frozen=True, slots=True)
class Expected:
    """How a sample has to end."""

    path: tuple[str, ...]  #: statuses in this order, others may stand between; the last one is the end
    carried: str = "none"  #: "channel/form" of the last event; "none" where no channel was chosen
    sent: int = 1  #: messages that the provider may have accepted for this recipient


@dataclass(frozen=True, slots=True)
class Sample:
    """One notification of the demo."""

    id: str
    asked: str  #: what is asked for, to somebody who knows nothing of the fields
    to: str
    content: Mapping[str, Any]
    expected: Expected
    first: Written | None = None
    publications: int = 1
    later: float = 0.0  #: seconds from now, as `send_at`; 0: at once
    note: str = ""  #: what the decision's own sentence cannot say
    extra: Mapping[str, Any] = field(default_factory=dict)  #: further fields


SAMPLES = (
    Sample(
        "us-text",
        "a text to the United States",
        "+12025550101",
        {"text": "Your parcel is on its way."},
        Expected(("routed", "accepted", "delivered"), "sms/text"),
    ),
    Sample(
        "us-picture",
        "a picture to the United States",
        "+12025550102",
        {"text": "Your parcel", "media": [_PICTURE]},
        Expected(("routed", "accepted", "delivered"), "mms/media"),
    ),
    Sample(
        "jamaica-picture",
        "a picture to Jamaica, +1 too",
        _JAMAICAN,
        {"text": "Your parcel", "media": [_PICTURE]},
        Expected(("routed", "accepted", "delivered"), "sms/link"),
    ),
    Sample(
        "india-template",
        "a template to India",
        _INDIAN,
        {"template": {"name": "order_shipped", "variables": {"1": "Asha", "2": "tomorrow"}}},
        Expected(("routed", "accepted", "delivered", "read"), "whatsapp/template"),
    ),
    Sample(
        "whatsapp-answer",
        "an answer to a WhatsApp message from the United Kingdom",
        _BRITISH,
        {"text": "It arrives tomorrow at ten."},
        Expected(("routed", "accepted", "delivered", "read"), "whatsapp/text"),
        first=Written(_WHATSAPP_NUMBER, "Where is my parcel?", whatsapp=True),
        extra={"category": "service"},
    ),
    Sample(
        "after-stop",
        "a text to somebody who wrote STOP",
        "+12025550103",
        {"text": "Our offers of the week"},
        Expected(("suppressed",), sent=0),
        first=Written(_US_NUMBER, "STOP"),
        extra={"category": "marketing"},
    ),
    Sample(
        "bad-number",
        "a text to a number that the provider calls invalid",
        "+15005550001",  # one of Twilio's magic numbers: https://www.twilio.com/docs/iam/test-credentials
        {"text": "Are you there?"},
        Expected(("routed", "failed", "exhausted"), "sms/text", sent=0),
    ),
    Sample(
        "published-twice",
        "one text, published twice",
        "+12025550104",
        {"text": "Your code is 123456."},
        Expected(("routed", "accepted", "delivered"), "sms/text"),
        publications=2,
        note="the same id with the same content is one notification",
    ),
    Sample(
        "later",
        f"a text that is to go in {LATER:.0f} seconds",
        "+12025550105",
        {"text": "Your parcel comes in ten minutes."},
        Expected(("deferred", "routed", "accepted", "delivered"), "sms/text"),
        later=LATER,
    ),
)
