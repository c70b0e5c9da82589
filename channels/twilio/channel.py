"""Sending, searching, asking and taking back through Twilio's Messages resource, by way of the SDK.

The SDK's exceptions end here: `_vendor_errors` turns each into the `SendError` that says what is known of the message.
They are not chained, because Twilio's texts repeat phone numbers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

from twilio.base.exceptions import TwilioException, TwilioRestException, TwilioServiceException
from twilio.base.version import Version
from twilio.rest import Client

from channels.errors import (
    ChannelConfigError,
    OutcomeUnknownError,
    ProviderRejectedError,
    ProviderUnavailableError,
    SendError,
)
from channels.model import (
    ChannelName,
    Media,
    OutboundMessage,
    ProviderMessageId,
    SendReceipt,
    StatusReport,
    Template,
    Text,
)
from channels.port import FoundMessage, ProviderContext, TemplateReport
from channels.segments import smart_encode
from channels.twilio import PROVIDER
from channels.twilio.addresses import channel_of, origin, recipient_address
from channels.twilio.errors import error_class_for_callback, error_from, lenient_code, redact, seconds_to_wait
from channels.twilio.http import CONNECT_TIMEOUT, CONNECTIONS, TwilioHttpClient, forget_answer, last_answer
from channels.twilio.payload import create_form, private_values
from channels.twilio.statuses import delivery_status
from channels.twilio.templates import read_templates

#: Messages in one page of a search, and in all its pages.
PAGE_SIZE = 100
SEARCH_LIMIT = 1000

#: What answers to "cancel" when it came too late, or the message is not there any more.
_TOO_LATE = frozenset({20404, 30404, 30409})

#: What events may keep of the API's answer: neither words nor numbers of people.
_KEPT = ("status", "num_segments", "num_media", "messaging_service_sid", "error_code", "price", "price_unit")


class TwilioChannel:
    """One channel over the client that all Twilio channels share."""

    def __init__(
        self,
        name: ChannelName,
        client: Client,
        *,
        public_url: str | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._name = name
        self._client = client
        self._public_url = public_url
        self._now = now
        self._messages_url = f"https://api.twilio.com/2010-04-01/Accounts/{client.account_sid}/Messages.json"

    @property
    def name(self) -> ChannelName:
        """The channel's name."""
        return self._name

    @property
    def provider(self) -> str:
        """Always "twilio"."""
        return PROVIDER

    async def send(self, message: OutboundMessage) -> SendReceipt:
        """One POST, never repeated. Raises the `SendError` that says what is known."""
        form = create_form(message, public_url=self._public_url, now=self._now())
        with _vendor_errors(private_values(message)):
            created = await self._create(form)
        if not _is_sid(created.get("sid")):
            raise OutcomeUnknownError("Twilio answered with success and named no message")
        return SendReceipt(
            ProviderMessageId(created["sid"]),
            provider_status=str(created.get("status") or ""),
            segments=_segments(created.get("num_segments")),
            raw=_kept(created.get),
        )

    async def _create(self, form: Mapping[str, object]) -> Mapping[str, Any]:
        """What `client.messages.create_async` does, without the record that it makes of the answer.

        The record costs as much as the rest of the SDK together (docs/decisions/0008-what-a-notification-costs.md).
        """
        response = await self._client.request_async("POST", self._messages_url, data=form)
        if not 200 <= response.status_code < 300:
            raise Version.exception("POST", self._messages_url, response, "Unable to create record")
        created = json.loads(response.text)
        return created if isinstance(created, dict) else {}

    async def find(self, message: OutboundMessage, since: datetime) -> Sequence[FoundMessage]:
        """Messages created since then (to the second) that equal this one as far as Twilio's list tells, oldest first.

        The list shows a template's rendered text, which is not known here: templates are compared by recipient, sender
        and time alone. Raises `OutcomeUnknownError` when the list is too long to be read to the end.
        """
        # RFC 2822 dates have no fractions.
        listed = await self._listed(message, since.replace(microsecond=0))
        found = [
            FoundMessage(ProviderMessageId(record.sid), str(record.status), record.date_created)
            for record in listed
            if _equals(record, message)
        ]
        return sorted(found, key=lambda one: one.created_at)

    async def fetch(self, provider_message_id: ProviderMessageId) -> StatusReport:
        """Where this message stands now."""
        with _reading(), _vendor_errors():
            record = await self._client.messages(provider_message_id).fetch_async()
        provider_status = str(record.status)
        code = lenient_code(record.error_code)
        return StatusReport(
            ref=None,
            provider=PROVIDER,
            provider_message_id=provider_message_id,
            status=delivery_status(provider_status),
            provider_status=provider_status,
            error=error_class_for_callback(code, record.error_message) if code else None,
            channel=channel_of(record.from_, record.to),
            reported_at=record.date_updated,
            raw={name: str(value) for name, value in _kept(partial(getattr, record)).items()},
        )

    async def cancel(self, provider_message_id: ProviderMessageId) -> bool:
        """Whether Twilio took it back before it went out."""
        try:
            with _vendor_errors():
                record = await self._client.messages(provider_message_id).update_async(status="canceled")
        except SendError as exc:
            if exc.provider_code in _TOO_LATE:
                return False
            raise
        return bool(record.status == "canceled")

    async def templates(self, sids: Collection[str]) -> Sequence[TemplateReport]:
        """Which of these contents WhatsApp has approved."""
        with _reading(), _vendor_errors():
            return await read_templates(self._client, sids)

    async def _listed(self, message: OutboundMessage, since: datetime) -> list[Any]:
        """What the list holds for this recipient and sender since then.

        Not filtered by Twilio's `DateSent`: it is empty while a message waits, and those are the ones looked for. The
        list is newest first, more or less, so a whole page of older messages in a row ends the search.
        """
        criteria = {"to": recipient_address(message.channel, message.recipient)}
        sender = origin(message.channel, message.sender)
        criteria |= {"from_": sender["from_"]} if "from_" in sender else {}
        recent: list[Any] = []
        older_in_a_row = read = 0
        with _reading(), _vendor_errors(private_values(message)):
            stream = await self._client.messages.stream_async(**criteria, page_size=PAGE_SIZE, limit=SEARCH_LIMIT)
            async for record in stream:
                read += 1
                is_recent = record.date_created is not None and record.date_created >= since
                older_in_a_row = 0 if is_recent else older_in_a_row + 1
                if is_recent:
                    recent.append(record)
                if older_in_a_row == PAGE_SIZE:
                    return recent
        if read >= SEARCH_LIMIT:
            raise OutcomeUnknownError(
                f"more than {SEARCH_LIMIT} recent messages to this recipient: search is incomplete"
            )
        return recent


def open_channel(name: ChannelName, context: ProviderContext) -> TwilioChannel:
    """A channel over the shared client. Raises `ChannelConfigError` where credentials are missing."""
    return TwilioChannel(name, shared_client(context), public_url=context.public_url)


def shared_client(context: ProviderContext) -> Client:
    """One client for everything that is asked of Twilio. Raises `ChannelConfigError` where credentials are missing."""
    return context.shared("twilio.client", lambda: _make_client(context))


def _make_client(context: ProviderContext) -> Client:
    username, password, account_sid = _credentials(context.environ)
    http = TwilioHttpClient(
        timeout=context.timeout,
        connect_timeout=float(context.options.get("connect_timeout", CONNECT_TIMEOUT)),
        connections=int(context.options.get("connections", CONNECTIONS)),
        base_url=_base_url(context.environ),
    )
    context.on_close(http.close)
    # Region and edge come from our own environment, not from the process's behind our back.
    client = Client(username, password, account_sid, http_client=http, environment=dict(context.environ))
    # The first use imports for half a second: now, not in the middle of the first send.
    _ = client.messages
    return client


def _credentials(environ: Mapping[str, str]) -> tuple[str, str, str]:
    """User name, password and account; an API key is preferred because it can be revoked alone."""
    account_sid = environ.get("TWILIO_ACCOUNT_SID")
    if not account_sid:
        raise ChannelConfigError("TWILIO_ACCOUNT_SID is not set")
    key, secret = environ.get("TWILIO_API_KEY_SID"), environ.get("TWILIO_API_KEY_SECRET")
    if key and secret:
        return key, secret, account_sid
    if key or secret:
        missing = "TWILIO_API_KEY_SECRET" if key else "TWILIO_API_KEY_SID"
        raise ChannelConfigError(f"{missing} is not set although the other half of the API key is")
    token = environ.get("TWILIO_AUTH_TOKEN")
    if not token:
        raise ChannelConfigError("set TWILIO_API_KEY_SID and TWILIO_API_KEY_SECRET, or TWILIO_AUTH_TOKEN")
    return account_sid, token, account_sid


def _base_url(environ: Mapping[str, str]) -> str | None:
    base_url = environ.get("TWILIO_API_BASE_URL")
    if base_url and not base_url.startswith(("http://", "https://")):
        raise ChannelConfigError("TWILIO_API_BASE_URL does not start with http:// or https://")
    return base_url or None


@contextmanager
def _vendor_errors(private: Iterable[str] = ()) -> Iterator[None]:
    """Turn what the SDK raises into a `SendError` without the `private` values."""
    forget_answer()
    try:
        yield
    except SendError:
        raise
    except TwilioException as exc:
        raise _translated(exc, private) from None
    except Exception as exc:
        if last_answer() is None:
            raise
        # A success that the SDK could not read: the message may well be on its way.
        raise OutcomeUnknownError(f"Twilio's answer cannot be read ({type(exc).__name__})") from None


@contextmanager
def _reading() -> Iterator[None]:
    """A question without an answer changed nothing: it can be asked again."""
    try:
        yield
    except OutcomeUnknownError as exc:
        raise ProviderUnavailableError(exc.message, code=exc.provider_code) from None
    except ChannelConfigError as exc:
        if exc.provider_code != 20404:
            raise
        raise ProviderRejectedError("Twilio does not know this message", code=20404) from None


def _translated(exc: TwilioException, private: Iterable[str]) -> SendError:
    answer = last_answer()
    if answer is None:
        return OutcomeUnknownError(f"the SDK failed ({type(exc).__name__})")
    if answer.status < 300:
        return OutcomeUnknownError(f"Twilio's answer cannot be read ({type(exc).__name__})")
    code, text = _code_and_text(exc)
    wait = seconds_to_wait(answer.headers.get("retry-after"), datetime.now(UTC))
    return error_from(answer.status, lenient_code(code), redact(text, private), wait)


def _code_and_text(exc: TwilioException) -> tuple[object, str]:
    """Twilio's code and words, out of whichever shape the SDK gave them."""
    if isinstance(exc, TwilioRestException):
        return exc.code, str(exc.msg)
    if isinstance(exc, TwilioServiceException):
        return exc.code, f"{exc.title}: {exc.detail}" if exc.detail else str(exc.title)
    # A page of a list that failed: the answer itself is the second argument.
    try:
        body = json.loads(exc.args[1].text)
        return body["code"], str(body.get("message", ""))
    except (IndexError, AttributeError, KeyError, TypeError, ValueError):
        return None, ""


def _is_sid(sid: object) -> bool:
    return isinstance(sid, str) and bool(sid)


def _segments(num_segments: object) -> int | None:
    """Twilio says "0" while a messaging service has not chosen a number yet."""
    text = str(num_segments)
    return int(text) or None if text.isascii() and text.isdigit() else None


def _kept(read: Callable[[str], object]) -> dict[str, object]:
    kept = {name: read(name) for name in _KEPT}
    answer = last_answer()
    if answer is not None:
        kept["request_id"] = answer.headers.get("twilio-request-id")
    return {name: value for name, value in kept.items() if value is not None}


def _equals(record: Any, message: OutboundMessage) -> bool:
    """Whether a listed message can be this one: same service, text and number of media."""
    sender = origin(message.channel, message.sender)
    if sender.get("messaging_service_sid") not in (None, record.messaging_service_sid):
        return False
    if record.direction == "inbound" or not _is_sid(record.sid):
        return False
    match message.content:
        case Text(body):
            return _has_media(record, 0) and _same_text(record.body, body)
        case Media(urls, caption):
            return _has_media(record, len(urls)) and _same_text(record.body, caption)
        case Template():
            return True


def _has_media(record: Any, count: int) -> bool:
    """Twilio writes the number as a string."""
    return str(record.num_media or 0) == str(count)


def _same_text(listed: object, sent: str | None) -> bool:
    """Smart encoding may have made the listed text plainer than the one that was sent."""
    return smart_encode(str(listed or "")).strip() == smart_encode(sent or "").strip()
