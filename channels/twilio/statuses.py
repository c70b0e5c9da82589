"""Twilio's words for where a message stands, in ours.

https://www.twilio.com/docs/messaging/guides/outbound-message-status-in-status-callbacks
"""

from __future__ import annotations

from collections.abc import Mapping

from channels.status import DeliveryStatus

#: Every status of the SDK's `MessageInstance.Status`. None: not about an outbound message.
STATUSES: Mapping[str, DeliveryStatus | None] = {
    "accepted": DeliveryStatus.ACCEPTED,
    "scheduled": DeliveryStatus.ACCEPTED,
    "queued": DeliveryStatus.QUEUED,
    # Rarely seen, between queued and sent. Our own `sending` is the claim, which comes before all of Twilio's.
    "sending": DeliveryStatus.QUEUED,
    "sent": DeliveryStatus.SENT,
    "delivered": DeliveryStatus.DELIVERED,
    # Listed by the SDK and described nowhere: taken as the weaker claim, so that a later word can still correct it.
    "partially_delivered": DeliveryStatus.SENT,
    "read": DeliveryStatus.READ,
    "undelivered": DeliveryStatus.UNDELIVERED,
    "failed": DeliveryStatus.FAILED,
    "canceled": DeliveryStatus.CANCELED,
    "receiving": None,
    "received": None,
}


def delivery_status(provider_status: str) -> DeliveryStatus | None:
    """Our status for Twilio's word; None for inbound statuses and for words that are not known."""
    return STATUSES.get(provider_status)
