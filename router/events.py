"""Building delivery events: the JSON that subscribers read, its headers and its subject."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from channels.model import NO_CHANNEL, ProviderError
from channels.reasons import Reason
from channels.values import value
from router import subjects
from router.clock import rfc3339
from router.encoding import as_json
from router.story import SNAPSHOT, About, Snapshot

OWNER = "Pointsman-Owner"
#: The provider's id in a header too, so that the log can be searched for it without reading bodies.
PROVIDER_MESSAGE_ID = "Pointsman-Provider-Message-Id"


@value(frozen=True, slots=True)
class Happening:
    """What happened: the part of an event that differs from one to the next."""

    status: str
    occurred_at: datetime
    final: bool = False
    late: bool = False  #: it arrived after it had been given up
    channel: str = NO_CHANNEL
    form: str | None = None
    attempt: int = 0
    sender: str | None = None
    provider: str | None = None
    provider_message_id: str | None = None
    provider_status: str | None = None
    reason: Reason | None = None
    error: ProviderError | None = None
    decision: Mapping[str, Any] | None = None


def event_id(about: About, happening: Happening, index: int) -> str:
    """Stable: the n-th event of a notification has one id, whoever appends it."""
    name = f"{about.source}.{about.notification_id}.{happening.attempt}.{happening.status}.{index}"
    return hashlib.blake2b(name.encode(), digest_size=16).hexdigest()


def subject_of(about: About, happening: Happening) -> str:
    """`deliveries.<source>.<status>.<channel>.<id>`."""
    return subjects.delivery(about.source, happening.status, happening.channel, about.notification_id)


def body_of(about: About, happening: Happening, identity: str, recorded_at: datetime) -> bytes:
    """The event as JSON; every field is there, null where there is nothing to say."""
    error = happening.error
    return as_json(
        {
            "event_id": identity,
            "notification_id": about.notification_id,
            "source": about.source,
            "lane": about.lane,
            "category": about.category,
            "metadata": about.metadata,
            "status": happening.status,
            "final": happening.final,
            "late": happening.late,
            "channel": happening.channel,
            "form": happening.form,
            "attempt": happening.attempt,
            "recipient": about.recipient,
            "sender": happening.sender,
            "provider": happening.provider,
            "provider_message_id": happening.provider_message_id,
            "provider_status": happening.provider_status,
            "reason": happening.reason,
            "error": {"class": error.error_class, "code": error.code, "message": error.message} if error else None,
            "decision": happening.decision,
            "occurred_at": rfc3339(happening.occurred_at),
            "recorded_at": rfc3339(recorded_at),
        }
    )


def headers_of(about: About, happening: Happening, identity: str, snapshot: Snapshot, owner: str) -> dict[str, str]:
    """CloudEvents 1.0 in NATS binary mode, the caller's trace, and what the router needs to go on from here."""
    headers = {
        "ce-specversion": "1.0",
        "ce-id": identity,
        "ce-type": f"pointsman.delivery.{happening.status}",
        "ce-source": f"/pointsman/{about.source}",
        "ce-subject": about.notification_id,
        "ce-time": rfc3339(happening.occurred_at),
        "content-type": "application/json",
        SNAPSHOT: snapshot.dump(),
        OWNER: owner,
    }
    if happening.provider_message_id:
        headers[PROVIDER_MESSAGE_ID] = happening.provider_message_id
    if about.traceparent:
        headers["traceparent"] = about.traceparent
    return headers
