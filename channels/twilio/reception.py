"""Where Twilio takes what recipients write, and whether that is here: STOP is heard nowhere else.

A number in a Messaging Service is answered by the service's webhook, unless the service leaves it to its numbers; a
number with a TwiML application is answered by that one. https://www.twilio.com/docs/messaging/services
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from twilio.rest import Client

from channels.port import Finding, Level
from channels.twilio.payload import CALLBACK_RETRIES


@dataclass(frozen=True, slots=True)
class Hook:
    """One webhook for incoming messages, as it is entered at Twilio."""

    place: str  #: where somebody would correct it: "the number", "the Messaging Service MG..."
    url: str  #: with its fragment; "" where none is set
    method: str  #: "POST" is the only one taken here


@dataclass(frozen=True, slots=True)
class Members:
    """What a Messaging Service sends from."""

    numbers: Mapping[str, str]  #: E.164 -> SID
    short_codes: Sequence[str]
    alphanumeric: Sequence[str]
    channels: Sequence[str]  #: "whatsapp:+15017122661"

    def __str__(self) -> str:
        counted = (
            (len(self.numbers), "number", "numbers"),
            (len(self.short_codes), "short code", "short codes"),
            (len(self.alphanumeric), "alphanumeric id", "alphanumeric ids"),
            (len(self.channels), "channel sender", "channel senders"),
        )
        return ", ".join(f"{count} {one if count == 1 else many}" for count, one, many in counted if count)


class Reception:
    """Asks one account, and each thing once."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._members: dict[str, Members] = {}
        self._services: Sequence[Any] | None = None

    async def number(self, address: str) -> Any | None:
        """The number as the account owns it; None: it does not."""
        owned = await self._client.incoming_phone_numbers.list_async(phone_number=address, limit=2)
        return owned[0] if owned else None

    async def short_code(self, code: str) -> Any | None:
        """The short code as the account owns it; None: it does not."""
        owned = await self._client.short_codes.list_async(short_code=code, limit=2)
        return next((each for each in owned if str(each.short_code) == code), None)

    async def members(self, service: str) -> Members:
        """Everything that a Messaging Service sends from."""
        if service not in self._members:
            of_it = self._client.messaging.v1.services(service)
            self._members[service] = Members(
                numbers={str(each.phone_number): str(each.sid) for each in await of_it.phone_numbers.list_async()},
                short_codes=[str(each.short_code) for each in await of_it.short_codes.list_async()],
                alphanumeric=[str(each.alpha_sender) for each in await of_it.alpha_senders.list_async()],
                channels=[str(each.sender) for each in await of_it.channel_senders.list_async()],
            )
        return self._members[service]

    async def service_of(self, address: str) -> Any | None:
        """The Messaging Service that a number, a short code or "whatsapp:+15017122661" belongs to."""
        if self._services is None:
            self._services = await self._client.messaging.v1.services.list_async()
        for service in self._services:
            members = await self.members(str(service.sid))
            if address in {*members.numbers, *members.short_codes, *members.channels}:
                return service
        return None

    async def hook_of(self, address: str) -> Hook | None:
        """The one that counts for a number or short code; None: the account does not own it."""
        service = await self.service_of(address)
        if service is not None and not service.use_inbound_webhook_on_number:
            return _service_hook(service)
        return await self._own_hook(address)

    async def hooks_of_whatsapp(self, sender: Any) -> Sequence[Hook]:
        """The sender's own, and that of the Messaging Service it is in: no page says which of the two counts."""
        webhook = as_mapping(sender.webhook or {})
        url, method = webhook.get("callback_url"), webhook.get("callback_method")
        own = Hook("the WhatsApp sender", str(url or ""), str(method or "POST"))
        service = await self.service_of(str(sender.sender_id))
        return [own] if service is None or service.use_inbound_webhook_on_number else [own, _service_hook(service)]

    async def hooks_of_service(self, sid: str) -> Sequence[Hook]:
        """Those that count for what can be written to in a Messaging Service: its own, or those of its members."""
        service = await self._client.messaging.v1.services(sid).fetch_async()
        members = await self.members(sid)
        writable = [*members.numbers, *members.short_codes]
        if not service.use_inbound_webhook_on_number:
            return [_service_hook(service)] if writable else []
        hooks = [await self._own_hook(each) for each in writable]
        return [each for each in hooks if each is not None]

    async def _own_hook(self, address: str) -> Hook | None:
        if not address.startswith("+"):
            code = await self.short_code(address)
            return code and Hook(f"the short code {address}", str(code.sms_url or ""), str(code.sms_method or "POST"))
        number = await self.number(address)
        if number is None:
            return None
        if not number.sms_application_sid:
            return Hook(f"the number {address}", str(number.sms_url or ""), str(number.sms_method or "POST"))
        application = await self._client.applications(number.sms_application_sid).fetch_async()
        place = f"the TwiML application {application.sid} of the number {address}"
        return Hook(place, str(application.sms_url or ""), str(application.sms_method or "POST"))


def received(what: str, hooks: Sequence[Hook], public_url: str | None) -> Finding:
    """Whether what is written to a sender comes here by all of its webhooks, and comes again when it was not stored."""
    if not public_url:
        return Finding(what, Level.WARNING, "http.public_url is not set, so no message comes in", "set it")
    wanted = f"{public_url.rstrip('/')}/twilio/inbound"
    for hook in hooks:
        if says := _amiss(hook, wanted):
            todo = f"enter {wanted}#{CALLBACK_RETRIES} (HTTP POST) for incoming messages at {hook.place}"
            return Finding(what, Level.WARNING, says, todo)
    return Finding(what, Level.OK, "incoming messages come here, and are repeated when they cannot be stored")


def as_mapping(part: Any) -> Mapping[str, Any]:
    """A part of a resource, which the SDK leaves as it came or makes an object of."""
    return part if isinstance(part, Mapping) else vars(part)


def _amiss(hook: Hook, wanted: str) -> str | None:
    bare, _, fragment = hook.url.partition("#")
    if not bare:
        return f"no webhook is set at {hook.place}"
    if bare != wanted:
        return f"by {hook.place} messages go elsewhere, so STOP is not heard here"
    if hook.method.upper() != "POST":
        return f"{hook.place} calls the webhook by {hook.method.upper()}, which is not taken here"
    if not _repeats(fragment):
        return "Twilio does not repeat an inbound message that we could not store"
    return None


def _repeats(overrides: str) -> bool:
    """After a 5xx, which is our answer while NATS does not take it, and after none in time; by default after neither.

    https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides
    """
    given = parse_qs(overrides)
    retries, policy = given.get("rc", ["1"])[-1], given.get("rp", ["ct"])[-1].split(",")
    return retries != "0" and ("all" in policy or {"5xx", "rt"} <= set(policy))


def _service_hook(service: Any) -> Hook:
    place = f"the Messaging Service {service.sid} (Integration)"
    return Hook(place, str(service.inbound_request_url or ""), str(service.inbound_method or "POST"))
