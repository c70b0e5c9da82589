"""Messages to send through Twilio, with good defaults."""

from __future__ import annotations

from typing import Any

from channels.model import (
    SMS,
    AttemptRef,
    FromNumber,
    MessagingService,
    NotificationId,
    OutboundMessage,
    PhoneNumber,
    Sender,
    SenderKind,
    Text,
)

NUMBER = FromNumber("+15558675310")
SERVICE = MessagingService("MG00000000000000000000000000000001")


def a_sender(origin: FromNumber | MessagingService = NUMBER) -> Sender:
    return Sender(
        name="us-main",
        kind=SenderKind.LONG_CODE,
        channels=frozenset({SMS}),
        origin=origin,
        country="US",
        countries=frozenset(),
        rate=1.0,
    )


def a_message(**fields: Any) -> OutboundMessage:
    values: dict[str, Any] = {
        "ref": AttemptRef("shop", NotificationId("order-1"), 2, "t0k_en-"),
        "channel": SMS,
        "sender": a_sender(),
        "recipient": PhoneNumber("+15017122661", "US"),
        "content": Text("Hello"),
    }
    return OutboundMessage(**(values | fields))
