"""What recipients write: their word on consent, the session it opens, the event for subscribers, the answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import structlog
from pydantic_core import to_json

from channels.keywords import bare
from channels.model import WHATSAPP, FromNumber, InboundMessage, Keyword, Sender
from router import subjects
from router.clock import Clock, rfc3339
from router.consent import ConsentKeeper
from router.jetstream import MESSAGE_ID, JetStream
from router.metrics import INBOUND
from router.reach import Reach
from router.recipients import Sessions
from router.settings import InboundSettings

log = structlog.get_logger(__name__)

#: Stands where no configured sender has the address that was written to.
UNKNOWN_SENDER = "unknown"


class Inbound:
    """From a provider's webhook to consent, sessions and the stream INBOUND."""

    def __init__(
        self,
        js: JetStream,
        senders: Iterable[Sender],
        consent: ConsentKeeper,
        sessions: Sessions,
        reach: Reach,
        settings: InboundSettings,
        clock: Clock,
        words: Mapping[str, Keyword] | None = None,
    ) -> None:
        self._js = js
        self._by_address = {address: sender.name for sender in senders for address in _addresses(sender)}
        self._consent = consent
        self._sessions = sessions
        self._reach = reach
        self._settings = settings
        self._clock = clock
        self._words = words or {}  #: of the configuration, bare

    async def take(self, provider: str, message: InboundMessage) -> str | None:
        """Record everything and return the answer for the recipient.

        Every part may be repeated: a provider that got no answer sends the message again. Raises
        `StoreUnavailableError` when something could not be stored.
        """
        message = self._heard(message)
        received_at, senders = self._clock(), self._senders_of(message)
        sender = senders[0]
        await self._consent.heard(message, senders)
        await self._reach.forget(message.from_, message.channel)  # who writes from there can be reached there
        session = None
        if message.channel == WHATSAPP and sender != UNKNOWN_SENDER:
            session = await self._sessions.open(sender, message.from_, received_at)
        await self._publish(provider, message, sender, received_at, session)
        INBOUND.inc(message.channel, message.keyword or "")
        log.info(
            "inbound.taken",
            channel=message.channel,
            sender=sender,
            keyword=message.keyword,
            message_id=message.message_id,
        )
        return self._answer(message)

    def _heard(self, message: InboundMessage) -> InboundMessage:
        """With the keyword that one of the configured words means; a button means no more than a stop by them."""
        keyword = self._words.get(bare(message.text)) if message.keyword is None else None
        if keyword is None or (message.button and keyword is not Keyword.STOP):
            return message
        return replace(message, keyword=keyword)

    def _senders_of(self, message: InboundMessage) -> list[str]:
        """The sender that owns the address, and the Messaging Service that the message came through."""
        addresses = (message.to, message.messaging_service_sid or "")
        found = [self._by_address.get((message.channel == WHATSAPP, address)) for address in addresses]
        return [name for name in found if name] or [UNKNOWN_SENDER]

    async def _publish(
        self, provider: str, message: InboundMessage, sender: str, received_at: datetime, session: datetime | None
    ) -> None:
        identity = f"{provider}:{message.message_id}"
        headers = {
            "ce-specversion": "1.0",
            "ce-id": identity,
            "ce-type": "pointsman.inbound",
            "ce-source": f"/{provider}",
            "ce-subject": message.message_id,
            "ce-time": rfc3339(received_at),
            "content-type": "application/json",
            MESSAGE_ID: identity,
        }
        body = to_json(inbound_event(message, sender, received_at, session))
        await self._js.publish(subjects.inbound(message.channel, sender), body, headers)

    def _answer(self, message: InboundMessage) -> str | None:
        if message.keyword is None:
            return self._settings.reply or None
        if message.handled_by_provider:
            return None
        texts = {
            Keyword.STOP: self._settings.stop_reply,
            Keyword.START: self._settings.start_reply,
            Keyword.HELP: self._settings.help_reply,
        }
        return texts[message.keyword] or None


def _addresses(sender: Sender) -> Iterator[tuple[bool, str]]:
    """WhatsApp and the phone network may share a number, so the address space belongs to the address."""
    address = sender.origin.value if isinstance(sender.origin, FromNumber) else sender.origin.sid
    if WHATSAPP in sender.channels:
        yield True, address
    if sender.channels - {WHATSAPP}:
        yield False, address


def inbound_event(
    message: InboundMessage, sender: str, received_at: datetime, session: datetime | None
) -> dict[str, Any]:
    """The event as subscribers read it."""
    button, place = message.button, message.location
    return {
        "message_id": message.message_id,
        "channel": message.channel,
        "from": message.from_.address,
        "to": message.to,
        "sender": sender,
        "text": message.text,
        "media": [{"url": each.url, "content_type": each.content_type} for each in message.media],
        "button": {"text": button.text, "payload": button.payload} if button else None,
        "location": {
            "latitude": place.latitude,
            "longitude": place.longitude,
            "label": place.label,
            "address": place.address,
        }
        if place
        else None,
        "profile_name": message.profile_name,
        "keyword": message.keyword,
        "received_at": rfc3339(received_at),
        "session_expires_at": rfc3339(session) if session else None,
        "raw": dict(message.raw),
    }
