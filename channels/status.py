"""The statuses of one attempt, and the one rule about them: a status never moves backwards.

Providers report late, twice and out of order (Twilio warns of it on "Track the Message Status of Outbound Messages"),
so a report is applied by rank, never by arrival. `unknown` is not a provider's word: it is ours, for an attempt of
which nobody can say yet whether it was sent, and every report of the provider resolves it.
"""

from __future__ import annotations

from enum import StrEnum


class DeliveryStatus(StrEnum):
    """Where one attempt stands."""

    SENDING = "sending"  #: claimed: the provider is about to be called
    UNKNOWN = "unknown"  #: called, and nobody can say whether it was accepted
    ACCEPTED = "accepted"  #: the provider took it
    QUEUED = "queued"  #: waiting at the provider
    SENT = "sent"  #: handed to the carrier
    DELIVERED = "delivered"  #: on the recipient's device
    READ = "read"  #: seen by the recipient
    UNDELIVERED = "undelivered"  #: the carrier could not deliver it
    FAILED = "failed"  #: refused, before or after it was accepted
    CANCELED = "canceled"  #: taken back before it was sent


#: The order in which reports count. Statuses of one rank exclude each other: the first one stays.
RANK: dict[DeliveryStatus, int] = {
    DeliveryStatus.SENDING: 0,
    DeliveryStatus.UNKNOWN: 1,
    DeliveryStatus.ACCEPTED: 2,
    DeliveryStatus.QUEUED: 3,
    DeliveryStatus.SENT: 4,
    DeliveryStatus.DELIVERED: 5,
    DeliveryStatus.UNDELIVERED: 5,
    DeliveryStatus.FAILED: 5,
    DeliveryStatus.CANCELED: 5,
    DeliveryStatus.READ: 6,
}

#: Reached the recipient: no further attempt is made.
ARRIVED = frozenset({DeliveryStatus.DELIVERED, DeliveryStatus.READ})
#: Ended without reaching the recipient: the next step may run.
ENDED_BADLY = frozenset({DeliveryStatus.UNDELIVERED, DeliveryStatus.FAILED, DeliveryStatus.CANCELED})
TERMINAL = ARRIVED | ENDED_BADLY


def advances(current: DeliveryStatus | None, reported: DeliveryStatus) -> bool:
    """Whether `reported` is news for an attempt that stands at `current` (None: not begun)."""
    if current is None:
        return True
    if current in ENDED_BADLY:
        return False
    return RANK[reported] > RANK[current]
