"""What Twilio says of an account and its senders before anything is sent, and whether its webhooks would reach us.

Only what the API shows is asked. Geo permissions for messaging are set in Twilio's console and shown by no API.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

import aiohttp
from twilio.base.exceptions import TwilioException, TwilioRestException
from twilio.request_validator import RequestValidator
from twilio.rest import Client

from channels.errors import SendError
from channels.model import MMS, SMS, Sender, SenderKind
from channels.port import Finding, Level
from channels.twilio.payload import CALLBACK_RETRIES

#: https://www.twilio.com/docs/messaging/api/tollfree-verification-resource
_TOLL_FREE_APPROVED = "TWILIO_APPROVED"
#: https://www.twilio.com/docs/messaging/api/usapptoperson-resource
_CAMPAIGN_VERIFIED = "VERIFIED"
#: https://www.twilio.com/docs/whatsapp/api/senders
_WHATSAPP_ONLINE = "ONLINE"
_PATIENCE = 10.0  #: seconds that the round trip of a webhook may take


class Inspection:
    """Asks one account."""

    def __init__(self, client: Client, public_url: str | None, auth_token: str | None) -> None:
        self._client = client
        self._public_url = public_url
        self._auth_token = auth_token

    async def findings(self, senders: Sequence[Sender]) -> AsyncIterator[Finding]:
        """One after the other, as they are found."""
        account = await self._asked("account", self._account)
        yield account
        if account.level is not Level.FAILURE:
            for sender in senders:
                for what, ask in self._about(sender):
                    yield await self._asked(f"sender {sender.name}: {what}", partial(ask, sender))
        yield await self._round_trip()

    async def _asked(self, what: str, ask: Callable[[], Awaitable[Finding]]) -> Finding:
        try:
            return await ask()
        except TwilioException as exc:
            return _refused(what, _status_of(exc))
        except (SendError, aiohttp.ClientError, TimeoutError) as exc:
            why = exc.message if isinstance(exc, SendError) else type(exc).__name__
            return Finding(
                what, Level.FAILURE, f"Twilio could not be asked: {why}", "check the network and the address"
            )

    def _about(self, sender: Sender) -> Sequence[tuple[str, Callable[[Sender], Awaitable[Finding]]]]:
        """What there is to ask of a sender of this kind."""
        match sender.kind:
            case SenderKind.TEN_DLC:
                return (("number", self._number), ("inbound webhook", self._inbound), ("campaign", self._campaign))
            case SenderKind.TOLL_FREE:
                return (("number", self._number), ("inbound webhook", self._inbound), ("verification", self._toll_free))
            case SenderKind.LONG_CODE:
                return (("number", self._number), ("inbound webhook", self._inbound))
            case SenderKind.MESSAGING_SERVICE:
                return (("service", self._service),)
            case SenderKind.WHATSAPP:
                return (("WhatsApp", self._whatsapp),)
            case _:
                return ()

    async def _account(self) -> Finding:
        account = await self._client.api.accounts(self._client.account_sid).fetch_async()
        status, kind = str(account.status), str(account.type or "")
        if status != "active":
            return Finding("account", Level.FAILURE, f"the account is {status}", "settle it in Twilio's console")
        if kind.lower() == "trial":
            says = "a trial account sends to verified numbers only, with a text of Twilio's before each message"
            return Finding("account", Level.WARNING, says, "upgrade it before production")
        return Finding("account", Level.OK, "the credentials are accepted and the account is active")

    async def _number(self, sender: Sender) -> Finding:
        what, number = f"sender {sender.name}: number", await self._owned(sender)
        if number is None:
            todo = "buy the number or correct senders.from"
            return Finding(what, Level.FAILURE, "this account does not own the number", todo)
        capabilities: Mapping[str, Any] = {
            key.lower(): value for key, value in _as_mapping(number.capabilities).items()
        }
        lacks = [name for name in (SMS, MMS) if name in sender.channels and not capabilities.get(name)]
        if lacks:
            todo = f"take {' and '.join(lacks)} out of its channels, or use another number"
            return Finding(what, Level.FAILURE, f"the number carries no {' and no '.join(lacks)}", todo)
        return Finding(what, Level.OK, f"owned, and carries {', '.join(sorted(sender.channels))}")

    async def _inbound(self, sender: Sender) -> Finding:
        what, number = f"sender {sender.name}: inbound webhook", await self._owned(sender)
        wanted = f"{(self._public_url or '').rstrip('/')}/twilio/inbound"
        configured = str(number.sms_url or "") if number else ""
        if not self._public_url:
            return Finding(what, Level.WARNING, "http.public_url is not set, so no message comes in", "set it")
        if configured.partition("#")[0] != wanted:
            says = (
                "messages to this number go elsewhere, so STOP is not heard here" if configured else "no webhook is set"
            )
            return Finding(
                what, Level.WARNING, says, f"enter {wanted}#{CALLBACK_RETRIES} for incoming messages (HTTP POST)"
            )
        if "#" not in configured:
            says = "Twilio tries an inbound message once more at most when we cannot store it"
            return Finding(what, Level.WARNING, says, f"enter {wanted}#{CALLBACK_RETRIES} instead")
        return Finding(what, Level.OK, "incoming messages come here, and are repeated when they cannot be stored")

    async def _campaign(self, sender: Sender) -> Finding:
        what = f"sender {sender.name}: campaign"
        service = await self._service_of(sender)
        if service is None:
            says = "the number is in no Messaging Service, so no A2P campaign is known for it"
            return _registration(what, sender, approved=False, says=says)
        campaigns = await self._client.messaging.v1.services(service).us_app_to_person.list_async(limit=20)
        states = sorted({str(each.campaign_status) for each in campaigns})
        approved = _CAMPAIGN_VERIFIED in states
        says = "its A2P campaign is verified" if approved else f"its A2P campaign is {', '.join(states) or 'missing'}"
        return _registration(what, sender, approved=approved, says=says)

    async def _toll_free(self, sender: Sender) -> Finding:
        what, number = f"sender {sender.name}: verification", await self._owned(sender)
        if number is None:
            return _registration(what, sender, approved=False, says="the number is not in this account")
        verifications = await self._client.messaging.v1.tollfree_verifications.list_async(
            tollfree_phone_number_sid=number.sid, limit=20
        )
        states = sorted({str(each.status) for each in verifications})
        approved = _TOLL_FREE_APPROVED in states
        says = "its verification is approved" if approved else f"its verification is {', '.join(states) or 'missing'}"
        return _registration(what, sender, approved=approved, says=says)

    async def _service(self, sender: Sender) -> Finding:
        what = f"sender {sender.name}: service"
        service = self._client.messaging.v1.services(sender.address)
        fetched = await service.fetch_async()
        numbers = await service.phone_numbers.list_async(limit=400)
        if not numbers:
            return Finding(what, Level.FAILURE, "the Messaging Service has no numbers", "add senders to it")
        wanted = f"{(self._public_url or '').rstrip('/')}/twilio/inbound"
        if self._public_url and str(fetched.inbound_request_url or "").partition("#")[0] != wanted:
            todo = f"enter {wanted}#{CALLBACK_RETRIES} under Integration"
            return Finding(what, Level.WARNING, "messages to its numbers go elsewhere, so STOP is not heard here", todo)
        return Finding(what, Level.OK, f"has {len(numbers)} numbers, and incoming messages come here")

    async def _whatsapp(self, sender: Sender) -> Finding:
        what = f"sender {sender.name}: WhatsApp"
        address = f"whatsapp:{sender.address}"
        senders = await self._client.messaging.v2.channels_senders.list_async(channel="whatsapp", limit=200)
        found = next((each for each in senders if str(each.sender_id) == address), None)
        if found is None:
            todo = "register it as a WhatsApp sender, or correct senders.from"
            return Finding(what, Level.FAILURE, "this account has no such WhatsApp sender", todo)
        status = str(found.status)
        if not status.startswith(_WHATSAPP_ONLINE):
            return Finding(
                what, Level.FAILURE, f"the sender is {status}", "finish its registration in Twilio's console"
            )
        return Finding(what, Level.OK, "registered and online")

    async def _owned(self, sender: Sender) -> Any:
        owned = await self._client.incoming_phone_numbers.list_async(phone_number=sender.address, limit=2)
        return owned[0] if owned else None

    async def _service_of(self, sender: Sender) -> str | None:
        """The Messaging Service that the number belongs to."""
        for service in await self._client.messaging.v1.services.list_async(limit=50):
            numbers = await self._client.messaging.v1.services(service.sid).phone_numbers.list_async(limit=400)
            if any(str(each.phone_number) == sender.address for each in numbers):
                return str(service.sid)
        return None

    async def _round_trip(self) -> Finding:
        """A request signed as Twilio signs them, through the public address: an answer of ours that is not 403."""
        what = "webhooks: round trip"
        if self._public_url is None:
            todo = "set http.public_url to the address under which Twilio reaches us"
            return Finding(what, Level.WARNING, "http.public_url is not set: nothing comes back from Twilio", todo)
        if not self._auth_token:
            return Finding(what, Level.FAILURE, "without TWILIO_AUTH_TOKEN no signature can be checked", "set it")
        url = f"{self._public_url.rstrip('/')}/twilio/status"
        fields = {"AccountSid": str(self._client.account_sid)}
        signature = RequestValidator(self._auth_token).compute_signature(url, fields)
        try:
            status = await _post(url, fields, {"X-Twilio-Signature": signature})
        except (aiohttp.ClientError, TimeoutError, ValueError) as exc:
            todo = "start a router with the role webhooks, and let the public address lead to its http.listen"
            return Finding(what, Level.FAILURE, f"{url} does not answer ({type(exc).__name__})", todo)
        return _answered(what, url, status)


def _refused(what: str, status: int | None) -> Finding:
    match status:
        case 401 | 403:
            todo = "check TWILIO_ACCOUNT_SID and the API key or auth token"
            return Finding(what, Level.FAILURE, "Twilio refuses the credentials", todo)
        case 404:
            return Finding(what, Level.WARNING, "the API does not show it", "look it up in Twilio's console")
        case _:
            return Finding(
                what, Level.WARNING, f"Twilio answered {status or 'what nobody can read'}", "try again later"
            )


def _status_of(exc: TwilioException) -> int | None:
    """The SDK's pages say it in a text only."""
    if isinstance(exc, TwilioRestException):
        return int(exc.status)
    found = re.search(r"HTTP (\d{3})", str(exc))
    return int(found[1]) if found else None


def _answered(what: str, url: str, status: int) -> Finding:
    if status == 400:  # signed, and without the fields of a callback: as far as this request can come
        return Finding(what, Level.OK, f"{url} is reached, and the signature is accepted")
    if status == 403:
        todo = "http.public_url must be exactly what Twilio calls, and TWILIO_AUTH_TOKEN the account's primary token"
        return Finding(what, Level.FAILURE, "the router refuses the signature", todo)
    todo = "let the public address lead to the router's http.listen, path and query unchanged"
    return Finding(what, Level.FAILURE, f"something else answers there, with {status}", todo)


def _registration(what: str, sender: Sender, *, approved: bool, says: str) -> Finding:
    """Whether what Twilio says and what the configuration says agree."""
    if approved:
        todo = "" if sender.registered else "set registered = true for it, so that it is used for the US"
        return Finding(what, Level.OK if sender.registered else Level.WARNING, says, todo)
    if not sender.registered:
        return Finding(what, Level.OK, f"{says}; registered = false keeps it from being used for the US")
    todo = "finish it at Twilio, or set registered = false until it is approved"
    return Finding(what, Level.FAILURE, f"{says}: carriers refuse its traffic to the US", todo)


def _as_mapping(capabilities: Any) -> Mapping[str, Any]:
    return capabilities if isinstance(capabilities, Mapping) else vars(capabilities)


async def _post(url: str, fields: Mapping[str, str], headers: Mapping[str, str]) -> int:
    async with (
        asyncio.timeout(_PATIENCE),
        aiohttp.ClientSession() as session,
        session.post(url, data=fields, headers=headers, allow_redirects=False) as answer,
    ):
        return answer.status
