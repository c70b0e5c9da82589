"""Messages as the provider keeps them. `status` is Twilio's own word here: this is the other side of the wire."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from channels.segments import count_segments
from channels.twilio.simulator.clock import rfc2822
from channels.twilio.simulator.codes import meaning
from channels.twilio.simulator.faults import Ending

API_VERSION = "2010-04-01"
WHATSAPP_PREFIX = "whatsapp:"
#: No transition leads out of these, except from `delivered` to `read`.
FINAL = frozenset({"delivered", "read", "undelivered", "failed", "canceled", "received"})
#: What can still be taken back.
CANCELABLE = frozenset({"accepted", "scheduled", "queued"})

Form = Mapping[str, list[str]]


@dataclass(slots=True, eq=False)
class TwilioMessage:
    """One message, sent or received; times are seconds since the epoch."""

    sid: str
    ordinal: int  #: 1, 2, ... in the order of acceptance
    direction: str  #: outbound-api or inbound
    to: str
    from_: str | None  #: None until a Messaging Service has picked a sender
    service_sid: str | None
    body: str
    media: tuple[str, ...]
    segments: int  #: what it counts as in its sender's queue
    created: float
    updated: float
    status: str = ""
    content_sid: str | None = None
    callback: str | None = None  #: StatusCallback as given, fragment included
    validity: int = 36_000  #: seconds that it may wait in the sender's queue
    ending: Ending | None = None  #: how a fault makes it end
    params: Form = field(default_factory=dict)  #: what the request said, word for word
    sent: float | None = None
    error_code: int | None = None
    history: list[tuple[str, float]] = field(default_factory=list)  #: (status, when)

    @property
    def is_whatsapp(self) -> bool:
        """Whether the recipient's address is one of WhatsApp's."""
        return self.to.startswith(WHATSAPP_PREFIX)

    def enter(self, status: str, at: float, code: int | None = None) -> None:
        """Take this status."""
        self.status = status
        self.updated = at
        self.error_code = code
        self.history.append((status, at))
        if status == "sent":
            self.sent = at

    def resource(self, account_sid: str) -> dict[str, Any]:
        """The Messages resource: https://www.twilio.com/docs/messaging/api/message-resource."""
        uri = f"/{API_VERSION}/Accounts/{account_sid}/Messages/{self.sid}"
        # A Messaging Service does not know the segments before it has picked a sender.
        segments = 0 if self.from_ is None else self.segments
        return {
            "account_sid": account_sid,
            "api_version": API_VERSION,
            "body": self.body,
            "date_created": rfc2822(self.created),
            "date_sent": None if self.sent is None else rfc2822(self.sent),
            "date_updated": rfc2822(self.updated),
            "direction": self.direction,
            "error_code": self.error_code,
            "error_message": None if self.error_code is None else meaning(self.error_code),
            "from": self.from_,
            "messaging_service_sid": self.service_sid,
            "num_media": str(len(self.media)),
            "num_segments": str(segments),
            "price": None,
            "price_unit": "USD",
            "sid": self.sid,
            "status": self.status,
            "subresource_uris": {"media": f"{uri}/Media.json"},
            "to": self.to,
            "uri": f"{uri}.json",
        }

    def inspect(self) -> dict[str, Any]:
        """Everything about it, for whoever checks what was accepted."""
        return {
            "sid": self.sid,
            "ordinal": self.ordinal,
            "direction": self.direction,
            "from": self.from_,
            "to": self.to,
            "messaging_service_sid": self.service_sid,
            "body": self.body,
            "media": list(self.media),
            "content_sid": self.content_sid,
            "status": self.status,
            "error_code": self.error_code,
            "status_callback": self.callback,
            "created": self.created,
            "updated": self.updated,
            "history": [{"status": status, "at": at} for status, at in self.history],
            "params": dict(self.params),
        }


def segments_of(to: str, body: str, media: tuple[str, ...]) -> int:
    """Segments that a message counts as; one on WhatsApp and for MMS."""
    return 1 if media or to.startswith(WHATSAPP_PREFIX) else max(1, count_segments(body))


class MessageStore:
    """Messages by SID and by recipient, oldest first; beyond `limit` the oldest are forgotten."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._by_sid: OrderedDict[str, TwilioMessage] = OrderedDict()
        self._by_recipient: dict[str, deque[TwilioMessage]] = {}
        self._ordinals = count(1)

    def __len__(self) -> int:
        return len(self._by_sid)

    def __iter__(self) -> Iterator[TwilioMessage]:
        return iter(self._by_sid.values())

    def next_ordinal(self) -> int:
        """The place in line of the next message."""
        return next(self._ordinals)

    def get(self, sid: str) -> TwilioMessage | None:
        """The message of this SID, unless deleted or forgotten."""
        return self._by_sid.get(sid)

    def add(self, message: TwilioMessage) -> None:
        """Keep one more."""
        self._by_sid[message.sid] = message
        self._by_recipient.setdefault(message.to, deque()).append(message)
        if len(self._by_sid) > self._limit:
            self.remove(next(iter(self._by_sid.values())))

    def remove(self, message: TwilioMessage) -> None:
        """Forget one."""
        del self._by_sid[message.sid]
        same_recipient = self._by_recipient[message.to]
        same_recipient.remove(message)
        if not same_recipient:
            del self._by_recipient[message.to]

    def newest_first(self, to: str | None = None) -> Iterator[TwilioMessage]:
        """All, or those to one recipient."""
        return reversed(self._by_sid.values() if to is None else self._by_recipient.get(to, ()))
