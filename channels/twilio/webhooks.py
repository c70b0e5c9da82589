"""Twilio's callbacks: the signature first, then the fields.

Twilio signs the URL it was given plus all form fields, so the URL is rebuilt from the configured `public_url` and the
raw path and query, never from a Host header. What Twilio's back end does to ports is not consistent, and a bare "?" is
lost on the way to us: every spelling of the same URL is tried.
https://www.twilio.com/docs/usage/security#validating-requests
"""

from __future__ import annotations

import hmac
import json
import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from urllib.parse import parse_qs, parse_qsl, urlsplit

from twilio.request_validator import RequestValidator
from twilio.twiml.messaging_response import MessagingResponse

from channels.address import AddressError, is_e164, parse_handle, parse_phone
from channels.errors import ChannelConfigError, PayloadError, SignatureError
from channels.keywords import carrier_keyword, keyword_in, keyword_on_button
from channels.model import (
    MMS,
    SMS,
    AttemptRef,
    Button,
    ChannelName,
    Handle,
    InboundMedia,
    InboundMessage,
    Keyword,
    Location,
    NotificationId,
    ProviderError,
    ProviderMessageId,
    Recipient,
    StatusReport,
)
from channels.port import ProviderContext, WebhookReply, WebhookRequest
from channels.status import DeliveryStatus
from channels.twilio import PROVIDER
from channels.twilio.addresses import channel_of, split_address
from channels.twilio.errors import error_class_for_callback
from channels.twilio.statuses import delivery_status

Fields = Mapping[str, str]

#: Bytes, and fields: far above what Twilio sends, far below what hurts.
MAX_BODY = 256 * 1024
MAX_FIELDS = 1000
#: Twilio takes ten media, WhatsApp sends one.
MAX_INBOUND_MEDIA = 10

_DEFAULT_PORTS = {"https": 443, "http": 80}
_ATTEMPT = re.compile(r"[1-9][0-9]{0,5}")
#: XML 1.0 has no way to write these at all, not even escaped.
_NO_XML = re.compile(r"[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ENDED_BADLY = frozenset({DeliveryStatus.FAILED, DeliveryStatus.UNDELIVERED})


class _Form(dict[str, list[str]]):
    """Form fields with all their values, as `RequestValidator` asks for repeated ones."""

    def getlist(self, name: str) -> list[str]:
        return self[name]


class TwilioWebhooks:
    """Callbacks signed with the account's auth token."""

    def __init__(self, *, auth_token: str, public_url: str) -> None:
        self._validator = RequestValidator(auth_token)
        self._public_urls = tuple(_spellings(public_url))

    def status(self, request: WebhookRequest) -> StatusReport:
        """Check the signature and read a status callback. Raises `CallbackError`."""
        fields = self._signed_fields(request)
        provider_status = _required(fields, "MessageStatus", "SmsStatus")
        status = delivery_status(provider_status)
        if fields.get("EventType", "").upper() == "READ":
            status = DeliveryStatus.READ
        return StatusReport(
            ref=_attempt_ref(request.query),
            provider=PROVIDER,
            provider_message_id=ProviderMessageId(_required(fields, "MessageSid", "SmsSid")),
            status=status,
            provider_status=provider_status,
            error=_error(fields, status),
            channel=_reported_channel(fields),
            reported_at=_done_date(fields.get("RawDlrDoneDate", "")),
            raw=fields,
        )

    def inbound(self, request: WebhookRequest) -> InboundMessage:
        """Check the signature and read an inbound message. Raises `CallbackError`."""
        fields = self._signed_fields(request)
        message_id = _required(fields, "MessageSid", "SmsMessageSid", "SmsSid")
        to, media = _required(fields, "To"), tuple(_media(fields))
        is_mms = bool(media) or message_id.startswith("MM")
        channel = channel_of(to) or (MMS if is_mms else SMS)
        keyword = _keyword(fields)
        return InboundMessage(
            message_id=ProviderMessageId(message_id),
            channel=channel,
            from_=_sender(fields),
            to=split_address(to)[1],
            messaging_service_sid=fields.get("MessagingServiceSid") or None,
            text=fields.get("Body", ""),
            media=media,
            button=_button(fields),
            location=_location(fields),
            profile_name=fields.get("ProfileName") or None,
            keyword=keyword,
            handled_by_provider=keyword is not None and _answered_by_twilio(fields, channel),
            raw=fields,
        )

    def reply(self, text: str | None) -> WebhookReply:
        """TwiML: nothing, or a text back to the recipient."""
        response = MessagingResponse()
        if text:
            response.message(_NO_XML.sub("", text))
        return WebhookReply(200, "text/xml", str(response).encode())

    def _signed_fields(self, request: WebhookRequest) -> Fields:
        """The fields, first value each, of a request that Twilio has signed."""
        signature = request.headers.get("x-twilio-signature")
        if not signature:
            raise SignatureError("X-Twilio-Signature is missing")
        body = _text(request.body)
        if _is_json(request):
            self._check_json(request, body, signature)
            return _json_fields(body)
        form = _form(body)
        self._check(request, form, signature)
        return {name: values[0] for name, values in form.items()}

    def _check_json(self, request: WebhookRequest, body: str, signature: str) -> None:
        """The signature covers the URL, and the URL holds the body's hash."""
        promised = parse_qs(request.query).get("bodySHA256", [""])[0]
        if not _same(self._validator.compute_hash(body), promised):
            raise SignatureError("bodySHA256 is missing or is not the body's")
        self._check(request, _Form(), signature)

    def _check(self, request: WebhookRequest, form: _Form, signature: str) -> None:
        suffixes = [f"{request.path}?{request.query}"] if request.query else [request.path, f"{request.path}?"]
        for public_url in self._public_urls:
            for suffix in suffixes:
                if _same(self._computed(public_url + suffix, form), signature):
                    return
        raise SignatureError("X-Twilio-Signature does not match: is http.public_url the address that Twilio calls?")

    def _computed(self, url: str, form: _Form) -> str:
        try:
            return str(self._validator.compute_signature(url, form))
        except UnicodeEncodeError:
            raise PayloadError("body or address: no Unicode text") from None


def open_webhooks(context: ProviderContext) -> TwilioWebhooks:
    """Webhooks of the configured account. Raises `ChannelConfigError` where something is missing."""
    token = context.environ.get("TWILIO_AUTH_TOKEN")
    if not token:
        raise ChannelConfigError("TWILIO_AUTH_TOKEN is not set: webhook signatures are checked with it, API key or not")
    if not context.public_url:
        raise ChannelConfigError("http.public_url is not set: webhook signatures cover it")
    return TwilioWebhooks(auth_token=token, public_url=context.public_url)


def _spellings(public_url: str) -> Iterator[str]:
    """The URL without its last slash as configured, then with and without its port."""
    parts = urlsplit(public_url.rstrip("/"))
    bare = parts.netloc.removesuffix(f":{parts.port}") if parts.port else parts.netloc
    port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    netlocs = dict.fromkeys((parts.netloc, bare, f"{bare}:{port}"))
    yield from (f"{parts.scheme}://{netloc}{parts.path}" for netloc in netlocs)


def _same(computed: str, given: str) -> bool:
    return hmac.compare_digest(computed.encode(), given.encode("utf-8", "replace"))


def _is_json(request: WebhookRequest) -> bool:
    return request.headers.get("content-type", "").lower().startswith("application/json")


def _text(body: bytes) -> str:
    if len(body) > MAX_BODY:
        raise PayloadError(f"body: larger than {MAX_BODY} bytes")
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise PayloadError("body: not UTF-8") from None


def _form(body: str) -> _Form:
    """All fields with all their values. Empty ones are signed too, so they are kept."""
    form = _Form()
    try:
        pairs = parse_qsl(body, keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        raise PayloadError(f"body: more than {MAX_FIELDS} fields") from None
    for name, value in pairs:
        form.setdefault(name, []).append(value)
    return form


def _json_fields(body: str) -> Fields:
    try:
        value = json.loads(body)
        if not isinstance(value, dict):
            raise PayloadError("body: not a JSON object")
        json.dumps(value, ensure_ascii=False).encode()  # ValueError at half a surrogate pair, which no UTF-8 can hold
        return {name: field if isinstance(field, str) else json.dumps(field) for name, field in value.items()}
    except (ValueError, RecursionError):
        raise PayloadError("body: not JSON") from None


def _required(fields: Fields, *names: str) -> str:
    for name in names:
        if value := fields.get(name):
            return value
    raise PayloadError(f"{names[0]} is missing")


def _attempt_ref(query: str) -> AttemptRef | None:
    """What our own callback address carried. Neither a source nor an id holds a dot."""
    try:
        values = {name: found[0] for name, found in parse_qs(query, max_num_fields=MAX_FIELDS).items()}
    except ValueError:
        return None
    source, _, notification_id = values.get("n", "").partition(".")
    attempt, token = values.get("a", ""), values.get("t", "")
    if not (source and notification_id and token and _ATTEMPT.fullmatch(attempt)):
        return None
    return AttemptRef(source, NotificationId(notification_id), int(attempt), token)


def _error(fields: Fields, status: DeliveryStatus | None) -> ProviderError | None:
    code, text = fields.get("ErrorCode", ""), fields.get("ChannelStatusMessage")
    if code in ("", "0") and status not in _ENDED_BADLY:
        return None
    return error_class_for_callback(code, text)


def _reported_channel(fields: Fields) -> ChannelName | None:
    """SMS and MMS cannot be told apart in a callback."""
    return channel_of(f"{fields.get('ChannelPrefix', '')}:", fields.get("From"), fields.get("To"))


def _done_date(text: str) -> datetime | None:
    """The carrier's YYMMDDhhmm; taken as UTC, since no zone is documented."""
    if not re.fullmatch(r"[0-9]{10}", text):
        return None
    try:
        return datetime.strptime(text, "%y%m%d%H%M").replace(tzinfo=UTC)
    except ValueError:
        return None


def _sender(fields: Fields) -> Recipient:
    """Who wrote: a number, a WhatsApp user id (also where the number is withheld), a short code or a name."""
    scheme, value = split_address(fields.get("From", ""))
    if not value:
        scheme, value = "whatsapp", split_address(fields.get("ExternalUserId", ""))[1]
    if not value:
        raise PayloadError("From is missing")
    try:
        if is_e164(value):
            return parse_phone(value, None)
        return parse_handle(scheme, value) if scheme else Handle("tel", value, None)
    except AddressError:
        raise PayloadError("From: neither a phone number nor a user id") from None


def _media(fields: Fields) -> Iterator[InboundMedia]:
    count = fields.get("NumMedia") or "0"
    if not re.fullmatch(r"[0-9]{1,3}", count):
        raise PayloadError("NumMedia: not a number")
    for index in range(min(int(count), MAX_INBOUND_MEDIA)):
        if url := fields.get(f"MediaUrl{index}"):
            yield InboundMedia(url, fields.get(f"MediaContentType{index}") or None)


def _button(fields: Fields) -> Button | None:
    text, payload = fields.get("ButtonText") or None, fields.get("ButtonPayload") or None
    return Button(text, payload) if text or payload else None


def _location(fields: Fields) -> Location | None:
    if not fields.get("Latitude") or not fields.get("Longitude"):
        return None
    return Location(
        _degrees(fields, "Latitude", 90),
        _degrees(fields, "Longitude", 180),
        label=fields.get("Label") or None,
        address=fields.get("Address") or None,
    )


def _degrees(fields: Fields, name: str, limit: int) -> float:
    try:
        degrees = float(fields[name])
    except ValueError:
        degrees = math.nan
    if not abs(degrees) <= limit:  # also refuses what is no number
        raise PayloadError(f"{name}: not in degrees")
    return degrees


def _keyword(fields: Fields) -> Keyword | None:
    """Twilio's own finding wins: with Advanced Opt-Out the words are the account's."""
    named = fields.get("OptOutType", "").lower()
    if named in set(Keyword):
        return Keyword(named)
    body = fields.get("Body", "")
    return keyword_on_button(body) if _button(fields) else keyword_in(body)


def _answered_by_twilio(fields: Fields, channel: ChannelName) -> bool:
    """By default on long codes, toll-free numbers and services; elsewhere only with Advanced Opt-Out.

    https://help.twilio.com/articles/223134027-Twilio-support-for-opt-out-keywords-SMS-STOP-filtering-
    """
    if fields.get("OptOutType"):
        return True
    if carrier_keyword(fields.get("Body", "")) is None:
        return False  # "Stop." is a stop to us; that Twilio takes it for one is nowhere promised
    return channel in (SMS, MMS) and (bool(fields.get("MessagingServiceSid")) or is_e164(fields.get("To", "")))
