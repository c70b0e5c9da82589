"""What the provider knows besides messages: opt-outs, WhatsApp windows, templates, pools and the senders' queues.

Plain state and plain rules: time is an argument, nothing here does I/O.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from zlib import crc32

from channels.keywords import carrier_keyword
from channels.model import Keyword
from channels.twilio.simulator.content import CONTENT_SID, ContentTemplate
from channels.twilio.simulator.messages import WHATSAPP_PREFIX
from channels.twilio.simulator.settings import SimulatorSettings

#: From the last message of the recipient: https://www.twilio.com/docs/whatsapp/key-concepts#the-24-hour-window
WINDOW_SECONDS = 24 * 3600
MAX_WINDOWS = 1_000_000
SHORT_CODE = re.compile(r"\d{3,8}")


class SenderQueues:
    """How long each sender's queue is. A queue needs no list: it is the moment at which the sender will be idle."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self._settings = settings
        self._idle_at: dict[str, float] = {}

    def _rate(self, sender: str) -> float | None:
        return self._settings.rates.get(sender, self._settings.default_rate)

    def is_full(self, sender: str, units: int, now: float) -> bool:
        """Whether `units` more (segments, messages on WhatsApp) do not fit."""
        rate = self._rate(sender)
        if rate is None:
            return False
        waiting = max(0.0, self._idle_at.get(sender, now) - now)
        return waiting + units / rate > self._settings.queue_seconds

    def join(self, sender: str, units: int, now: float) -> float:
        """Put `units` in the queue; when they leave it."""
        rate = self._rate(sender)
        if rate is None:
            return now
        leaves_at = max(now, self._idle_at.get(sender, now))
        self._idle_at[sender] = leaves_at + units / rate
        return leaves_at


class World:
    """The account's surroundings, which requests and inbound messages change."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self.settings = settings
        self.queues = SenderQueues(settings)
        self.templates: dict[str, ContentTemplate] = {template.sid: template for template in settings.templates}
        self._opt_outs: set[tuple[str, str]] = set()
        self._windows: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._service_of = {sender: sid for sid, pool in settings.services.items() for sender in pool}

    # --- templates

    def template(self, sid: str) -> ContentTemplate | None:
        """The template with this SID; without any configured every well-formed SID is one that is approved."""
        if self.templates or not CONTENT_SID.fullmatch(sid):
            return self.templates.get(sid)
        return ContentTemplate(sid=sid)

    # --- Messaging Services

    def service_of(self, sender: str) -> str | None:
        """The Messaging Service whose pool this sender is in."""
        return self._service_of.get(sender)

    def inbound_url(self, sender: str) -> str | None:
        """Where what is written to this sender goes; None: nowhere."""
        settings = self.settings
        service = self.service_of(sender)
        if service is not None and service in settings.service_urls:
            return settings.service_urls[service]
        return settings.applications.get(sender) or settings.inbound_urls.get(sender, settings.inbound_url)

    def knows_service(self, sid: str) -> bool:
        """Whether the account has this service; without any configured it has every one."""
        return not self.settings.services or sid in self.settings.services

    def pick_sender(self, service_sid: str, to: str) -> str | None:
        """The pool's sender for this recipient, always the same one; None when the pool has none for the channel."""
        pool = self.settings.services.get(service_sid, self.settings.default_pool)
        on_whatsapp = to.startswith(WHATSAPP_PREFIX)
        fitting = [sender for sender in pool if sender.startswith(WHATSAPP_PREFIX) == on_whatsapp]
        return fitting[crc32(to.encode()) % len(fitting)] if fitting else None

    # --- opt-outs: of a sender alone, or of the whole service it belongs to

    def set_opt_out(self, sender_or_service: str, recipient: str, opted_out: bool = True) -> None:
        """The recipient wants no more, or wants it again."""
        pair = (self._scope(sender_or_service), recipient)
        if opted_out:
            self._opt_outs.add(pair)
        else:
            self._opt_outs.discard(pair)

    def has_opted_out(self, sender_or_service: str, recipient: str) -> bool:
        """Whether messages to this recipient are refused with 21610."""
        return (self._scope(sender_or_service), recipient) in self._opt_outs

    def hear_keyword(self, text: str, from_: str, to: str) -> Keyword | None:
        """Act on STOP and START sent to one of our SMS senders; the keyword that was handled.

        WhatsApp and stand-alone short codes handle none: https://www.twilio.com/docs/messaging/tutorials/advanced-opt-out
        """
        if to.startswith(WHATSAPP_PREFIX) or (SHORT_CODE.fullmatch(to) and self.service_of(to) is None):
            return None
        keyword = carrier_keyword(text)
        if keyword in (Keyword.STOP, Keyword.START):
            self.set_opt_out(to, from_, keyword is Keyword.STOP)
        return keyword

    def _scope(self, sender_or_service: str) -> str:
        return self._service_of.get(sender_or_service, sender_or_service)

    # --- WhatsApp windows, one for each sender and recipient

    def open_window(self, sender: str, recipient: str, now: float) -> None:
        """The recipient wrote: free-form is allowed for 24 hours."""
        self._windows[sender, recipient] = now
        self._windows.move_to_end((sender, recipient))
        if len(self._windows) > MAX_WINDOWS:
            self._windows.popitem(last=False)

    def close_window(self, sender: str, recipient: str) -> None:
        """As if the 24 hours were over."""
        self._windows.pop((sender, recipient), None)

    def is_window_open(self, sender: str, recipient: str, now: float) -> bool:
        """Whether free-form is allowed now."""
        opened = self._windows.get((sender, recipient))
        return opened is not None and now - opened < WINDOW_SECONDS
