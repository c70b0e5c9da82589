"""Twilio's error codes as a table: what each one means for the message, the sender and the operator.

From https://www.twilio.com/docs/api/errors and the pages of the single codes. Codes whose meaning could not be verified
are not in the table: they get the safe default of a code that is not known. The kinds of row:

- over a rate, never processed: ProviderThrottledError;
- passing trouble, definitely not sent: ProviderUnavailableError, `slow` where it is a carrier's and takes a while;
- nobody knows: OutcomeUnknownError;
- our content or parameters at fault: MessageInvalidError;
- our account, sender or template at fault: ChannelConfigError;
- refused for good: ProviderRejectedError and its subclasses, `alert` where an operator should look, `lasting` where
  the same is to be expected of this address on this channel for days.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from channels.errors import (
    ChannelConfigError,
    MessageInvalidError,
    OutcomeUnknownError,
    ProviderRejectedError,
    ProviderResponseError,
    ProviderThrottledError,
    ProviderUnavailableError,
    RecipientOptedOutError,
    RecipientUnreachableError,
    SenderConfigError,
    SendError,
    ServiceWindowClosedError,
)
from channels.model import ProviderError


@dataclass(frozen=True, slots=True)
class Meaning:
    """One row: what a code says of a message."""

    error: type[SendError]
    text: str  #: ours, so that it holds no number and no body
    slow: bool = False  #: retry at long intervals
    alert: bool = False  #: an operator should look, although the error is not ours by class
    pause: float | None = None  #: seconds for which the sender rests, where Twilio does not say for how long
    lasting: bool = False  #: this address will not get this channel for days; else it may at the next try


_CONFIG, _INVALID, _REJECTED = ChannelConfigError, MessageInvalidError, ProviderRejectedError
#: Refused at once whatever the message is: trying the next one would only burn it.
_SENDER = SenderConfigError
_UNREACHABLE, _THROTTLED, _UNAVAILABLE = RecipientUnreachableError, ProviderThrottledError, ProviderUnavailableError

CODES: Final[Mapping[int, Meaning]] = {
    # The API's answers.
    14107: Meaning(_THROTTLED, "too many replies in a short time: the loop guard"),
    14109: Meaning(_CONFIG, "more than ten TwiML replies to one inbound message"),
    20001: Meaning(_CONFIG, "unknown parameter"),
    20002: Meaning(_CONFIG, "friendly name is not valid"),
    20003: Meaning(_SENDER, "authentication failed or permission denied"),
    20004: Meaning(_CONFIG, "method not allowed"),
    20005: Meaning(_SENDER, "account is not active"),
    20006: Meaning(_SENDER, "access denied"),
    20007: Meaning(_CONFIG, "page size is too large"),
    20008: Meaning(_CONFIG, "test credentials cannot use this resource"),
    20403: Meaning(_SENDER, "account may not use this resource"),
    20404: Meaning(_CONFIG, "resource not found: a SID is wrong"),
    20409: Meaning(_UNAVAILABLE, "conflict with another request"),
    # "Never processed, always safe to retry". https://www.twilio.com/docs/api/errors/20429
    20429: Meaning(_THROTTLED, "too many concurrent requests"),
    # "Not idempotent": a retry may send twice. https://www.twilio.com/docs/api/errors/20500
    20500: Meaning(OutcomeUnknownError, "internal error at Twilio"),
    20503: Meaning(OutcomeUnknownError, "Twilio's service is unavailable"),
    21210: Meaning(_CONFIG, "sender's number is not verified"),
    21211: Meaning(_UNREACHABLE, "recipient's number is not valid", lasting=True),
    21212: Meaning(_SENDER, "sender's number is not valid"),
    21219: Meaning(_CONFIG, "recipient's number is not verified (trial account)"),
    21265: Meaning(_UNREACHABLE, "recipient is a short code", lasting=True),
    21266: Meaning(_REJECTED, "recipient and sender are the same number"),
    21408: Meaning(_CONFIG, "account has no permission for the recipient's region"),
    21470: Meaning(_SENDER, "account is not valid"),
    21471: Meaning(_SENDER, "account does not exist"),
    21472: Meaning(_SENDER, "account is not active"),
    21481: Meaning(_CONFIG, "page token is not valid"),
    21601: Meaning(_SENDER, "sender's number cannot send messages"),
    21602: Meaning(_INVALID, "message has no body"),
    21603: Meaning(_INVALID, "message has no sender"),
    21604: Meaning(_INVALID, "message has no recipient"),
    21606: Meaning(_SENDER, "sender's number is not this account's or cannot send messages"),
    21608: Meaning(_CONFIG, "recipient's number is not verified (trial account)"),
    21609: Meaning(_CONFIG, "status callback URL is not valid"),
    21610: Meaning(RecipientOptedOutError, "recipient has unsubscribed"),
    21611: Meaning(_THROTTLED, "sender's queue is full", pause=60),
    21612: Meaning(_REJECTED, "recipient cannot be reached from this sender"),
    21614: Meaning(_UNREACHABLE, "recipient's number is not a mobile number", lasting=True),
    21616: Meaning(_CONFIG, "sender matches several numbers"),
    21617: Meaning(_INVALID, "body is longer than 1600 characters"),
    21618: Meaning(_INVALID, "body cannot be sent"),
    21619: Meaning(_INVALID, "message has neither body nor media"),
    21620: Meaning(_INVALID, "media URL is not valid"),
    21621: Meaning(_CONFIG, "sender's number cannot send MMS"),
    21622: Meaning(_CONFIG, "account cannot send MMS"),
    21623: Meaning(_INVALID, "message has more than ten media"),
    21624: Meaning(_INVALID, "validity period is not valid"),
    21627: Meaning(_INVALID, "maximum price is not valid"),
    21635: Meaning(_UNREACHABLE, "recipient's number is a landline", lasting=True),
    21653: Meaning(_INVALID, "message has too many recipients"),
    21654: Meaning(_CONFIG, "content SID is required"),
    21655: Meaning(_CONFIG, "content SID is not valid"),
    21656: Meaning(_INVALID, "content variables are not valid"),
    21657: Meaning(_CONFIG, "sender id is not valid for the recipient's country"),
    21658: Meaning(_INVALID, "a parameter is too long"),
    21659: Meaning(_CONFIG, "sender's number is of the wrong country or not this account's"),
    21701: Meaning(_SENDER, "messaging service does not exist"),
    21702: Meaning(_UNAVAILABLE, "messaging service is not available"),
    21703: Meaning(_CONFIG, "messaging service has no sender that reaches the recipient"),
    21704: Meaning(_SENDER, "messaging service has no senders"),
    21705: Meaning(_SENDER, "messaging service is not valid"),
    21708: Meaning(_CONFIG, "sender pool: number is not valid"),
    21709: Meaning(_CONFIG, "sender pool: country is not valid"),
    21711: Meaning(_CONFIG, "sender pool: number is in another service"),
    21712: Meaning(_CONFIG, "sender pool: number is of another service"),
    21730: Meaning(_UNAVAILABLE, "maintenance"),
    30400: Meaning(_REJECTED, "update: parameters are not valid"),
    30404: Meaning(_REJECTED, "update: message not found"),
    30409: Meaning(_REJECTED, "message can no longer be canceled"),
    57012: Meaning(_CONFIG, "signature is not valid"),
    90007: Meaning(_INVALID, "validity period is not valid"),
    92005: Meaning(_CONFIG, "content SID is required"),
    92006: Meaning(_CONFIG, "content SID is not valid"),
    92007: Meaning(_INVALID, "content variables are not valid"),
    # Delivery of SMS and MMS.
    30001: Meaning(_THROTTLED, "queue overflow", pause=60),
    30002: Meaning(_CONFIG, "account is suspended"),
    30003: Meaning(_UNAVAILABLE, "handset is unreachable: off, without signal or a landline", slow=True),
    30004: Meaning(_REJECTED, "message was blocked"),
    30005: Meaning(_UNREACHABLE, "handset is unknown", lasting=True),
    30006: Meaning(_UNREACHABLE, "landline or unreachable carrier", lasting=True),
    30007: Meaning(_REJECTED, "message was filtered", alert=True),
    30008: Meaning(_UNAVAILABLE, "unknown error at the carrier", slow=True),
    30009: Meaning(_REJECTED, "a segment of an inbound message is missing"),
    30010: Meaning(_INVALID, "price is above the maximum"),
    30011: Meaning(_UNREACHABLE, "recipient's network takes no MMS", lasting=True),
    30012: Meaning(_INVALID, "validity period is too short"),
    30013: Meaning(_INVALID, "validity period is too long"),
    30014: Meaning(_INVALID, "recipient's attributes are not valid"),
    30015: Meaning(_INVALID, "recipient's channel types are not valid"),
    30016: Meaning(_INVALID, "recipient's channel types are mixed"),
    30017: Meaning(_UNAVAILABLE, "carrier is congested", slow=True),
    30018: Meaning(_CONFIG, "recipient's country asks for a registered sender id"),
    30019: Meaning(_REJECTED, "content is too large for the carrier"),
    30020: Meaning(_UNAVAILABLE, "internal error of scheduling", slow=True),
    30021: Meaning(_UNAVAILABLE, "internal error of sending", slow=True),
    30022: Meaning(_THROTTLED, "10DLC rate exceeded", pause=10),
    # The cap is lifted at midnight, Pacific time. https://www.twilio.com/docs/api/errors/30023
    30023: Meaning(_THROTTLED, "10DLC daily cap reached", slow=True),
    30024: Meaning(_CONFIG, "sender's number is not provisioned at the carrier"),
    30025: Meaning(_THROTTLED, "half of T-Mobile's daily cap is used", alert=True),
    30026: Meaning(_THROTTLED, "70 percent of T-Mobile's daily cap is used", alert=True),
    30027: Meaning(_THROTTLED, "T-Mobile's daily cap is reached", slow=True, alert=True),
    30028: Meaning(_CONFIG, "API version is not valid"),
    30029: Meaning(_CONFIG, "content retention is not valid"),
    30030: Meaning(_CONFIG, "address retention is not valid"),
    30031: Meaning(_CONFIG, "maximum rate is not valid"),
    30032: Meaning(_CONFIG, "toll-free number is not verified"),
    30033: Meaning(_CONFIG, "10DLC campaign is suspended"),
    30034: Meaning(_CONFIG, "number is in no registered 10DLC campaign"),
    30035: Meaning(_CONFIG, "number is still being set up for 10DLC"),
    30036: Meaning(_UNAVAILABLE, "validity period expired before delivery", slow=True),
    30039: Meaning(_REJECTED, "machine-made inbound message: a loop"),
    30045: Meaning(_INVALID, "validity period is not valid"),
    30109: Meaning(_CONFIG, "callback URL of link shortening is not valid"),
    # "Failed and not retried to avoid duplicates": it may have arrived. https://www.twilio.com/docs/api/errors/30410
    30410: Meaning(OutcomeUnknownError, "carrier did not answer in time"),
    30450: Meaning(_REJECTED, "blocked by the protection against SMS pumping", alert=True),
    30453: Meaning(_REJECTED, "blocked by the protection against SMS pumping", alert=True),
    30454: Meaning(_CONFIG, "trial account's limit is reached"),
    # WhatsApp and other channels.
    63001: Meaning(_CONFIG, "channel refused our authentication"),
    63002: Meaning(_CONFIG, "channel does not know the sender"),
    63003: Meaning(_UNREACHABLE, "channel does not know the recipient", lasting=True),
    63005: Meaning(_INVALID, "channel refused the content"),
    63006: Meaning(_INVALID, "content has the wrong format for the channel"),
    63007: Meaning(_SENDER, "account has no channel with this sender"),
    63008: Meaning(_CONFIG, "channel is misconfigured"),
    63009: Meaning(_UNAVAILABLE, "channel's provider had an internal error"),
    63010: Meaning(_UNAVAILABLE, "internal error at Twilio's channel"),
    63011: Meaning(_INVALID, "channel refused the request"),
    63012: Meaning(_UNAVAILABLE, "channel's provider is unavailable"),
    63013: Meaning(_REJECTED, "message violates the channel's policy", alert=True),
    # Blocking the sender is a stop on this channel alone, and lasts until the recipient writes again.
    63014: Meaning(_UNREACHABLE, "recipient has blocked the sender", lasting=True),
    63015: Meaning(_CONFIG, "recipient has not joined the sandbox"),
    63016: Meaning(ServiceWindowClosedError, "free-form message outside the 24-hour window"),
    63017: Meaning(_THROTTLED, "account's rate exceeded", pause=10),
    63018: Meaning(_THROTTLED, "channel's rate exceeded", pause=10),
    63019: Meaning(_INVALID, "media could not be downloaded"),
    63020: Meaning(_CONFIG, "business manager account is not set up"),
    63021: Meaning(_INVALID, "channel found the content not valid"),
    63022: Meaning(_CONFIG, "sender's name certificate is not valid"),
    63023: Meaning(_UNAVAILABLE, "unspecified error of the channel", slow=True),
    63024: Meaning(_UNREACHABLE, "recipient is not on the channel", lasting=True),
    63025: Meaning(_REJECTED, "media already exists"),
    63026: Meaning(_REJECTED, "message was flagged as spam", alert=True),
    63027: Meaning(_CONFIG, "template does not exist in this language"),
    63028: Meaning(_INVALID, "number of template variables does not match"),
    63029: Meaning(_REJECTED, "recipient's device could not download the template"),
    63030: Meaning(_INVALID, "a parameter is not supported by the channel"),
    63031: Meaning(_REJECTED, "recipient and sender are the same"),
    # "Limitations and experiments" of WhatsApp's, which end when it pleases.
    63032: Meaning(_UNREACHABLE, "WhatsApp limits messages to this recipient"),
    # "Recipient opted out to receive message". https://www.twilio.com/docs/api/errors/63033
    63033: Meaning(RecipientOptedOutError, "recipient has opted out"),
    63034: Meaning(_INVALID, "media is too large"),
    63035: Meaning(_CONFIG, "RCS agent is not launched"),
    63036: Meaning(_UNREACHABLE, "recipient is not on RCS", lasting=True),
    63037: Meaning(_REJECTED, "media could not be uploaded to the channel"),
    63038: Meaning(_THROTTLED, "account's daily limit is reached", slow=True),
    63040: Meaning(_CONFIG, "template was rejected"),
    63041: Meaning(_CONFIG, "template is paused"),
    63042: Meaning(_CONFIG, "template is disabled"),
    # Marketing to US numbers is never delivered. https://www.twilio.com/docs/api/errors/63049
    63049: Meaning(_REJECTED, "Meta chose not to deliver this marketing message"),
    63051: Meaning(_CONFIG, "WhatsApp business account is locked"),
    63054: Meaning(_CONFIG, "template cannot be used with the marketing messages API"),
    63062: Meaning(_CONFIG, "terms of the marketing messages API are not accepted"),
}

#: What an HTTP status says by itself when its code is not known.
_STATUSES: Final[Mapping[int, Meaning]] = {
    401: Meaning(_SENDER, "authentication failed"),
    403: Meaning(_SENDER, "access denied"),
    404: Meaning(_CONFIG, "not found: the account's SID is wrong"),
    # Said by what stands between, about a request that it may have passed on in part.
    408: Meaning(OutcomeUnknownError, "the request took too long"),
    429: Meaning(_THROTTLED, "too many requests"),
}

#: No pause is longer, whatever a header says: seconds.
MAX_RETRY_AFTER = 3600.0
_MAX_TEXT = 200
_NUMBER = re.compile(r"\+?\d(?:[\s().-]{0,2}\d){6,}")


def error_from(
    status: int, code: int | str | None, message: str | None = None, retry_after: float | None = None
) -> SendError:
    """What an answer of the API that is no success says of the message.

    `code` is Twilio's, or the HTTP status where the answer named none. `retry_after` is in seconds.
    """
    if status >= 500:
        # The request may have been carried out before Twilio failed, whatever the code.
        return OutcomeUnknownError(f"HTTP {status} from Twilio", code=code)
    own = code if code != status else None
    meaning = CODES.get(own) if isinstance(own, int) else None
    if meaning is None or (status == 429 and meaning.error is not ProviderThrottledError):
        meaning = _STATUSES.get(status)
    if meaning is not None:
        return meaning.error(
            meaning.text,
            code=code,
            retry_after=meaning.pause if retry_after is None else retry_after,
            slow=meaning.slow,
            alert=meaning.alert,
            lasting=meaning.lasting,
        )
    if own is None:
        return ProviderResponseError(f"HTTP {status} without an error code", code=code, alert=True)
    return ProviderRejectedError(redact(message) or f"HTTP {status}", code=code, alert=True)


def error_class_for_callback(code: str | int | None, message: str | None = None) -> ProviderError:
    """What the error of a status callback says; `message` is the provider's and is used where the code is not known."""
    number = lenient_code(code)
    meaning = CODES.get(number) if isinstance(number, int) else None
    if meaning is None:
        return ProviderError(ProviderRejectedError.error_class, number, redact(message) or None)
    return ProviderError(meaning.error.error_class, number, meaning.text, meaning.slow, meaning.lasting, meaning.pause)


def lenient_code(code: object) -> int | str | None:
    """A number where it is one; a word as it stands ("InvalidSandboxRequest" was seen); None for nothing usable."""
    if isinstance(code, int) and not isinstance(code, bool):
        return code
    if not isinstance(code, str) or not code:
        return None
    return int(code) if re.fullmatch(r"[0-9]{1,9}", code) else redact(code)[:64]


def redact(text: str | None, private: Iterable[str] = ()) -> str:
    """Twilio's text without phone numbers, without any of the `private` values, and not too long."""
    text = text or ""
    for value in private:
        if value:
            text = text.replace(value, "[redacted]")
    return _NUMBER.sub("[number]", text)[:_MAX_TEXT]


def seconds_to_wait(retry_after: str | None, now: datetime) -> float | None:
    """A `Retry-After` header in seconds, from a count or an HTTP date (RFC 9110 section 10.2.3); None if unreadable."""
    if not retry_after:
        return None
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", retry_after.strip()):
        return min(float(retry_after), MAX_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    # "-0000" gives a naive value that is UTC all the same.
    wait = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now
    return min(max(wait.total_seconds(), 0.0), MAX_RETRY_AFTER)
