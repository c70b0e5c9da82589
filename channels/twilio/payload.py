"""From an `OutboundMessage` to the arguments of the SDK's `messages.create`, and nothing else.

https://www.twilio.com/docs/messaging/api/message-resource#create-a-message-resource
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from channels.errors import MessageExpiredError, MessageInvalidError
from channels.http import quoted
from channels.model import (
    MMS,
    SMS,
    WHATSAPP,
    AttemptRef,
    ChannelName,
    Media,
    OutboundMessage,
    PhoneNumber,
    Template,
    Text,
)
from channels.twilio import MAX_MEDIA, MAX_TEXT
from channels.twilio.addresses import origin, recipient_address

#: Seconds: how long Twilio may keep a message in its queue. It refuses more with 30045.
MAX_VALIDITY = 36_000

#: How often Twilio calls back, and after which failures. Its default forgets an event after one 5xx of ours.
#: https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides
CALLBACK_RETRIES = "rc=5&rp=all"

_MEDIA_LIMITS: Mapping[ChannelName, int] = {SMS: 0, MMS: MAX_MEDIA, WHATSAPP: 1}

Arguments = dict[str, Any]

#: The API's names of the SDK's arguments, those that are used here.
_FORM_NAMES: Mapping[str, str] = {
    "to": "To",
    "from_": "From",
    "messaging_service_sid": "MessagingServiceSid",
    "body": "Body",
    "media_url": "MediaUrl",
    "content_sid": "ContentSid",
    "content_variables": "ContentVariables",
    "validity_period": "ValidityPeriod",
    "status_callback": "StatusCallback",
}


def create_arguments(message: OutboundMessage, *, public_url: str | None, now: datetime) -> Arguments:
    """What to call `messages.create` with. Raises `MessageInvalidError` for what the channel cannot express."""
    arguments: Arguments = {"to": recipient_address(message.channel, message.recipient)}
    arguments |= origin(message.channel, message.sender)
    arguments |= _content(message)
    if message.expires_at is not None:
        arguments["validity_period"] = validity_period(message.expires_at, now)
    if public_url is not None:
        arguments["status_callback"] = status_callback(public_url, message.ref)
    _check_encodable(arguments)
    return arguments


def create_form(message: OutboundMessage, *, public_url: str | None, now: datetime) -> dict[str, Any]:
    """The same as the API's form has it."""
    return {
        _FORM_NAMES[name]: value for name, value in create_arguments(message, public_url=public_url, now=now).items()
    }


def validity_period(expires_at: datetime, now: datetime) -> int:
    """Whole seconds until then, rounded down so that nothing is delivered later, within Twilio's limit."""
    seconds = int((expires_at - now).total_seconds())
    if seconds < 1:
        raise MessageExpiredError("the message expired before it could be sent")
    return min(seconds, MAX_VALIDITY)


def status_callback(public_url: str, ref: AttemptRef) -> str:
    """Where Twilio reports on this attempt: the address names it, because Twilio takes no idempotency key.

    The fragment tells Twilio how to retry and is neither sent nor signed.
    """
    name = quoted(f"{ref.source}.{ref.notification_id}")
    return f"{public_url.rstrip('/')}/twilio/status?n={name}&a={ref.attempt}&t={quoted(ref.token)}#{CALLBACK_RETRIES}"


def private_values(message: OutboundMessage) -> Iterable[str]:
    """What an error about this message must not repeat: its words, its links and its addresses."""
    content = message.content
    if isinstance(content, Text):
        yield content.body
    elif isinstance(content, Media):
        yield from (content.caption or "", *content.urls)
    else:
        # Shorter values are as likely a part of Twilio's own words.
        yield from (value for value in content.variables.values() if len(value) > 3)
    recipient = message.recipient
    yield recipient.e164 if isinstance(recipient, PhoneNumber) else recipient.value
    yield message.sender.address


def _content(message: OutboundMessage) -> Arguments:
    match message.content:
        case Text() as text:
            return _text(text)
        case Media() as media:
            return _media(message.channel, media)
        case Template() as template:
            return _template(template)


def _text(content: Text) -> Arguments:
    if not content.body:
        raise MessageInvalidError("the text is empty")
    return {"body": _short_enough(content.body)}


def _media(channel: ChannelName, content: Media) -> Arguments:
    limit = _MEDIA_LIMITS[channel]
    if not 1 <= len(content.urls) <= limit:
        raise MessageInvalidError(f"{len(content.urls)} media in one message; {channel} takes 1 to {limit}")
    arguments: Arguments = {"media_url": list(content.urls)}
    if content.caption:
        arguments["body"] = _short_enough(content.caption)
    return arguments


def _template(content: Template) -> Arguments:
    """Never a body beside it: Twilio would refuse or ignore one of the two."""
    arguments: Arguments = {"content_sid": content.content_sid}
    if content.variables:
        arguments["content_variables"] = json.dumps(dict(content.variables), ensure_ascii=False)
    return arguments


def _short_enough(text: str) -> str:
    if len(text) > MAX_TEXT:
        raise MessageInvalidError(f"the text has {len(text)} characters; Twilio takes {MAX_TEXT}")
    return text


def _check_encodable(arguments: Arguments) -> None:
    """JSON can smuggle half a surrogate pair into a string; no request can carry it."""
    for name, value in arguments.items():
        try:
            "".join(value if isinstance(value, list) else [str(value)]).encode()
        except UnicodeEncodeError:
            raise MessageInvalidError(f"{name} holds characters that are no Unicode text") from None
