"""Messages from recipients: they open WhatsApp windows, say STOP, and are posted to the inbound webhook.

https://www.twilio.com/docs/messaging/guides/webhook-request
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from channels.address import country_of_e164
from channels.model import Keyword
from channels.twilio.simulator.core import Core
from channels.twilio.simulator.hooks import HookAnswer, HookClient, hook_request
from channels.twilio.simulator.messages import (
    API_VERSION,
    WHATSAPP_PREFIX,
    MessageStore,
    TwilioMessage,
    segments_of,
)
from channels.twilio.simulator.world import World


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("holds half of a surrogate pair, which no form can carry") from None
    return text


WireText = Annotated[str, AfterValidator(_encodable)]
Address = Annotated[WireText, Field(min_length=1, max_length=256)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class MediaItem(_Model):
    """One attachment."""

    url: WireText
    content_type: WireText = "image/jpeg"


class ButtonPress(_Model):
    """A quick reply that the recipient pressed."""

    text: WireText
    payload: WireText = ""


class Inbound(_Model):
    """A message from a recipient to one of our senders."""

    from_: Address = Field(alias="from")  #: E.164, or `whatsapp:` and a number or a user id
    to: Address  #: one of our senders, as `From` writes it
    body: WireText = ""
    media: tuple[MediaItem, ...] = ()
    button: ButtonPress | None = None
    latitude: float | None = Field(None, ge=-90, le=90)
    longitude: float | None = Field(None, ge=-180, le=180)
    address: WireText | None = None
    label: WireText | None = None
    profile_name: WireText | None = None


class InboundAnswer(_Model):
    """What became of an inbound message."""

    message_sid: str
    keyword: Keyword | None  #: handled by the provider itself
    status: int | None  #: the webhook's HTTP answer; None: it was not reached, or there is none
    failure: str | None  #: ct, rt, 4xx, 5xx; None: taken, or no webhook configured
    content_type: str | None = None
    body: str = ""  #: the TwiML


class Inbox:
    """Takes inbound messages."""

    def __init__(self, core: Core, world: World, store: MessageStore, client: HookClient) -> None:
        self._core = core
        self._world = world
        self._store = store
        self._client = client

    async def receive(self, inbound: Inbound) -> InboundAnswer:
        """Note it, act on its keyword, and post it to the webhook of the sender it went to."""
        now = self._core.clock.now()
        if inbound.to.startswith(WHATSAPP_PREFIX):
            self._world.open_window(inbound.to, inbound.from_, now)
        keyword = self._world.hear_keyword(inbound.body, inbound.from_, inbound.to)
        message = self._keep(inbound, now)
        answer = await self._post(inbound, message, keyword)
        return InboundAnswer(
            message_sid=message.sid,
            keyword=keyword,
            status=answer.status,
            failure=answer.failure,
            content_type=answer.content_type,
            body=answer.body,
        )

    def _keep(self, inbound: Inbound, now: float) -> TwilioMessage:
        media = tuple(item.url for item in inbound.media)
        message = TwilioMessage(
            sid=self._core.new_sid("MM" if media else "SM"),
            ordinal=self._store.next_ordinal(),
            direction="inbound",
            to=inbound.to,
            from_=inbound.from_,
            service_sid=self._world.service_of(inbound.to),
            body=inbound.body,
            media=media,
            segments=segments_of(inbound.to, inbound.body, media),
            created=now,
            updated=now,
        )
        message.enter("received", now)
        self._store.add(message)
        self._core.counts["inbound"] += 1
        return message

    async def _post(self, inbound: Inbound, message: TwilioMessage, keyword: Keyword | None) -> HookAnswer:
        settings = self._core.settings
        url = self._world.inbound_url(inbound.to)
        if url is None:
            return HookAnswer(None)
        opt_out = keyword if settings.advanced_opt_out else None
        fields = inbound_fields(inbound, message, settings.account_sid, opt_out)
        request = hook_request(url, tuple(fields.items()), self._core.new_sid(""), method=settings.inbound_method)
        return await self._client.post_with_retries(request)


def inbound_fields(
    inbound: Inbound, message: TwilioMessage, account_sid: str, opt_out: Keyword | None
) -> dict[str, str]:
    """The form of an inbound webhook."""
    fields = {
        "AccountSid": account_sid,
        "ApiVersion": API_VERSION,
        "MessageSid": message.sid,
        "SmsSid": message.sid,
        "SmsMessageSid": message.sid,
        "SmsStatus": "received",
        "From": inbound.from_,
        "To": inbound.to,
        "Body": inbound.body,
        "NumMedia": str(len(inbound.media)),
        "NumSegments": str(message.segments),
    }
    for index, item in enumerate(inbound.media):
        fields[f"MediaUrl{index}"] = item.url
        fields[f"MediaContentType{index}"] = item.content_type
    specific = _whatsapp_fields(inbound) if message.is_whatsapp else _carrier_fields(inbound)
    optional = {
        "MessagingServiceSid": message.service_sid,
        "OptOutType": opt_out.upper() if opt_out else None,
        **specific,
    }
    return fields | {name: value for name, value in optional.items() if value is not None}


def _carrier_fields(inbound: Inbound) -> dict[str, str | None]:
    return {"FromCountry": country_of_e164(inbound.from_), "ToCountry": country_of_e164(inbound.to)}


def _whatsapp_fields(inbound: Inbound) -> dict[str, Any]:
    """WaId names a phone number, ExternalUserId a business-scoped user id."""
    writer = inbound.from_.removeprefix(WHATSAPP_PREFIX)
    is_phone = writer.startswith("+")
    button = inbound.button
    return {
        "ProfileName": inbound.profile_name,
        "WaId": writer.removeprefix("+") if is_phone else None,
        "ExternalUserId": None if is_phone else writer,
        "ButtonText": button and button.text,
        "ButtonPayload": button and button.payload,
        "ButtonType": button and "REPLY",
        "Latitude": _decimal(inbound.latitude),
        "Longitude": _decimal(inbound.longitude),
        "Address": inbound.address,
        "Label": inbound.label,
    }


def _decimal(value: float | None) -> str | None:
    return None if value is None else repr(value)
