"""What Twilio says of an account and its senders before anything is sent, and whether its webhooks would reach us.

Only what the API shows is asked, and what it does not show is said.
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
from channels.twilio.reception import Reception, as_mapping, received

#: https://www.twilio.com/docs/messaging/api/tollfree-verification-resource
_TOLL_FREE_APPROVED = "TWILIO_APPROVED"
#: https://www.twilio.com/docs/messaging/api/usapptoperson-resource
_CAMPAIGN_VERIFIED = "VERIFIED"
#: https://www.twilio.com/docs/whatsapp/api/senders
_WHATSAPP_ONLINE = "ONLINE"
#: Numbers of the North American plan that need a verification instead of an A2P campaign.
_TOLL_FREE = re.compile(r"\+18(00|33|44|55|66|77|88)\d{7}")
_PATIENCE = 10.0  #: seconds that the round trip of a webhook may take


class Inspection:
    """Asks one account."""

    def __init__(self, client: Client, public_url: str | None, auth_token: str | None) -> None:
        self._client = client
        self._public_url = public_url
        self._auth_token = auth_token
        self._reception = Reception(client)

    async def findings(self, senders: Sequence[Sender]) -> AsyncIterator[Finding]:
        """One after the other, as they are found."""
        account = await self._asked("account", self._account)
        yield account
        if account.level is not Level.FAILURE:
            for sender in senders:
                for what, ask in self._about(sender):
                    yield await self._asked(f"sender {sender.name}: {what}", partial(ask, sender))
            for country in _countries(senders):
                yield await self._asked(f"geo permissions: {country}", partial(self._geo_permission, country))
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
                return (*self._about_number(), ("campaign", self._campaign))
            case SenderKind.TOLL_FREE:
                return (*self._about_number(), ("verification", self._toll_free))
            case SenderKind.LONG_CODE:
                return self._about_number()
            case SenderKind.SHORT_CODE:
                return (("short code", self._short_code), ("inbound webhook", self._inbound))
            case SenderKind.ALPHANUMERIC:
                return (("alphanumeric id", self._alphanumeric),)
            case SenderKind.MESSAGING_SERVICE:
                return (
                    ("service", self._service),
                    ("inbound webhook", self._inbound_of_service),
                    ("campaign", self._campaign_of_service),
                    ("verification", self._toll_free_of_service),
                )
            case SenderKind.WHATSAPP:
                return (("WhatsApp", self._whatsapp), ("inbound webhook", self._inbound_of_whatsapp))
            case _:
                return ()

    def _about_number(self) -> Sequence[tuple[str, Callable[[Sender], Awaitable[Finding]]]]:
        return (("number", self._number), ("inbound webhook", self._inbound))

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
        what, number = f"sender {sender.name}: number", await self._reception.number(sender.address)
        if number is None:
            todo = "buy the number or correct senders.from"
            return Finding(what, Level.FAILURE, "this account does not own the number", todo)
        capabilities: Mapping[str, Any] = {key.lower(): value for key, value in as_mapping(number.capabilities).items()}
        lacks = [name for name in (SMS, MMS) if name in sender.channels and not capabilities.get(name)]
        if lacks:
            todo = f"take {' and '.join(lacks)} out of its channels, or use another number"
            return Finding(what, Level.FAILURE, f"the number carries no {' and no '.join(lacks)}", todo)
        return Finding(what, Level.OK, f"owned, and carries {', '.join(sorted(sender.channels))}")

    async def _short_code(self, sender: Sender) -> Finding:
        what = f"sender {sender.name}: short code"
        if await self._reception.short_code(sender.address) is None:
            todo = "lease the short code or correct senders.from"
            return Finding(what, Level.FAILURE, "this account does not own the short code", todo)
        return Finding(what, Level.OK, "owned; what its carriers approved it for is shown by no API")

    async def _alphanumeric(self, sender: Sender) -> Finding:
        says = "no API tells in which countries it is registered, and nobody can answer it, STOP neither"
        todo = "register it where Twilio's guidelines of the country ask for it, and offer another way to opt out"
        return Finding(f"sender {sender.name}: alphanumeric id", Level.WARNING, says, todo)

    async def _inbound(self, sender: Sender) -> Finding:
        what, hook = f"sender {sender.name}: inbound webhook", await self._reception.hook_of(sender.address)
        if hook is None:
            return Finding(
                what, Level.WARNING, "this account does not own it, so nothing comes in", "see the line above"
            )
        return received(what, [hook], self._public_url)

    async def _inbound_of_service(self, sender: Sender) -> Finding:
        what, hooks = f"sender {sender.name}: inbound webhook", await self._reception.hooks_of_service(sender.address)
        if not hooks:
            return Finding(what, Level.WARNING, "nothing in it can be written to", "offer another way to opt out")
        return received(what, hooks, self._public_url)

    async def _inbound_of_whatsapp(self, sender: Sender) -> Finding:
        """The sender's status callback does not matter: each message names its own."""
        what, found = f"sender {sender.name}: inbound webhook", await self._whatsapp_sender(sender)
        if found is None:
            return Finding(
                what, Level.WARNING, "this account does not own it, so nothing comes in", "see the line above"
            )
        return received(what, await self._reception.hooks_of_whatsapp(found), self._public_url)

    async def _campaign(self, sender: Sender) -> Finding:
        service = await self._reception.service_of(sender.address)
        if service is None:
            says = "the number is in no Messaging Service, so no A2P campaign is known for it"
            return _registration(f"sender {sender.name}: campaign", sender, approved=False, says=says)
        return await self._campaign_in(str(service.sid), sender)

    async def _campaign_of_service(self, sender: Sender) -> Finding:
        members = await self._reception.members(sender.address)
        if any(each.startswith("+1") and not _TOLL_FREE.fullmatch(each) for each in members.numbers):
            return await self._campaign_in(sender.address, sender)
        return Finding(f"sender {sender.name}: campaign", Level.OK, "none of its senders needs one")

    async def _campaign_in(self, service: str, sender: Sender) -> Finding:
        campaigns = await self._client.messaging.v1.services(service).us_app_to_person.list_async(limit=20)
        states = sorted({str(each.campaign_status) for each in campaigns})
        approved = _CAMPAIGN_VERIFIED in states
        says = "its A2P campaign is verified" if approved else f"its A2P campaign is {', '.join(states) or 'missing'}"
        return _registration(f"sender {sender.name}: campaign", sender, approved=approved, says=says)

    async def _toll_free(self, sender: Sender) -> Finding:
        what, number = f"sender {sender.name}: verification", await self._reception.number(sender.address)
        if number is None:
            return _registration(what, sender, approved=False, says="the number is not in this account")
        states = await self._verifications(str(number.sid))
        approved = _TOLL_FREE_APPROVED in states
        says = "its verification is approved" if approved else f"its verification is {', '.join(states) or 'missing'}"
        return _registration(what, sender, approved=approved, says=says)

    async def _toll_free_of_service(self, sender: Sender) -> Finding:
        what, members = f"sender {sender.name}: verification", await self._reception.members(sender.address)
        toll_free = {number: sid for number, sid in members.numbers.items() if _TOLL_FREE.fullmatch(number)}
        if not toll_free:
            return Finding(what, Level.OK, "none of its senders needs one")
        for number, sid in toll_free.items():
            states = await self._verifications(sid)
            if _TOLL_FREE_APPROVED not in states:
                says = f"that of {number} is {', '.join(states) or 'missing'}"
                return _registration(what, sender, approved=False, says=says)
        return _registration(what, sender, approved=True, says="those of its toll-free numbers are approved")

    async def _verifications(self, number: str) -> Sequence[str]:
        """The states of a toll-free number's, by the number's SID."""
        verifications = await self._client.messaging.v1.tollfree_verifications.list_async(
            tollfree_phone_number_sid=number, limit=20
        )
        return sorted({str(each.status) for each in verifications})

    async def _service(self, sender: Sender) -> Finding:
        what, members = f"sender {sender.name}: service", str(await self._reception.members(sender.address))
        if not members:
            return Finding(what, Level.FAILURE, "the Messaging Service has no senders", "add senders to it")
        return Finding(what, Level.OK, f"has {members}")

    async def _geo_permission(self, country: str) -> Finding:
        what, todo = f"geo permissions: {country}", "look at Messaging > Geo permissions in Twilio's console"
        try:
            asked = await self._client.accounts.v1.messaging_geopermissions.fetch_async(country_code=country)
        except TwilioRestException as exc:
            if exc.status not in {403, 404}:
                raise
            return Finding(what, Level.WARNING, "the API does not show it to these credentials", todo)
        permissions = [as_mapping(each) for each in asked.permissions or ()]
        enabled = [each.get("enabled") for each in permissions if each.get("country_code") == country]
        if not enabled:
            return Finding(what, Level.WARNING, "the API says nothing of this country", todo)
        if not all(enabled):
            todo = f"switch {country} on under Messaging > Geo permissions, or take it out of senders.countries"
            return Finding(what, Level.FAILURE, "messages to this country are refused", todo)
        return Finding(what, Level.OK, "messages to this country are allowed")

    async def _whatsapp(self, sender: Sender) -> Finding:
        what, found = f"sender {sender.name}: WhatsApp", await self._whatsapp_sender(sender)
        if found is None:
            todo = "register it as a WhatsApp sender, or correct senders.from"
            return Finding(what, Level.FAILURE, "this account has no such WhatsApp sender", todo)
        status = str(found.status)
        if not status.startswith(_WHATSAPP_ONLINE):
            return Finding(
                what, Level.FAILURE, f"the sender is {status}", "finish its registration in Twilio's console"
            )
        return Finding(what, Level.OK, "registered and online")

    async def _whatsapp_sender(self, sender: Sender) -> Any | None:
        senders = await self._client.messaging.v2.channels_senders.list_async(channel="whatsapp")
        return next((each for each in senders if str(each.sender_id) == f"whatsapp:{sender.address}"), None)

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


def _countries(senders: Sequence[Sender]) -> Sequence[str]:
    """Where something is to be sent by SMS or MMS; a sender that names no country serves its own at least."""
    carriers = [each for each in senders if not each.channels.isdisjoint({SMS, MMS})]
    named = {country for each in carriers for country in each.countries or {each.country}}
    return sorted(country for country in named if country)


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


async def _post(url: str, fields: Mapping[str, str], headers: Mapping[str, str]) -> int:
    async with (
        asyncio.timeout(_PATIENCE),
        aiohttp.ClientSession() as session,
        session.post(url, data=fields, headers=headers, allow_redirects=False) as answer,
    ):
        return answer.status
