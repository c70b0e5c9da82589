"""What a mail server's answers mean for a message: one table, and one function that reads it.

Codes and enhanced codes: RFC 5321 section 4.2.3, RFC 3463. Before the end of the data nothing has been taken, so every
refusal up to there is definite; after it, only a reply says what became of the message. Who is refused matters as much
as the code: where it is the sender, the next message would be too; where it is one recipient, the others are not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import aiosmtplib

from channels.errors import (
    OutcomeUnknownError,
    ProviderRejectedError,
    ProviderResponseError,
    ProviderThrottledError,
    ProviderUnavailableError,
    RecipientUnreachableError,
    SenderConfigError,
    SendError,
)

#: Enhanced code -> what it says. Those that are not here are read by their first digit.
ENHANCED: Mapping[str, tuple[type[SendError], str]] = {
    "5.1.1": (RecipientUnreachableError, "no such mailbox"),
    "5.1.2": (RecipientUnreachableError, "no such domain"),
    "5.1.10": (RecipientUnreachableError, "the domain takes no mail"),
    "5.2.1": (RecipientUnreachableError, "the mailbox is disabled"),
    "5.1.8": (SenderConfigError, "the sender's domain is refused"),
    "5.7.0": (SenderConfigError, "authentication is required"),
    "5.7.1": (ProviderRejectedError, "refused by the server's rules"),
    "5.7.8": (SenderConfigError, "the credentials are refused"),
}
#: RFC 5321: the server closes the connection.
_CLOSING = 421
_ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")


def as_send_error(exc: Exception, *, data_left: bool) -> SendError:
    """`data_left`: the whole message was on its way when it failed."""
    match exc:
        case aiosmtplib.SMTPAuthenticationError():
            return SenderConfigError("the credentials are refused", code=exc.code)
        case aiosmtplib.SMTPSenderRefused() if exc.code >= 500:
            # In answer to MAIL FROM, before any recipient was named: whatever the reason, it is about the sender.
            return SenderConfigError("the sender is refused", code=_enhanced(exc.message) or exc.code)
        case aiosmtplib.SMTPRecipientsRefused() if exc.recipients:
            first = exc.recipients[0]
            return _refusal(first.code, first.message)
        case aiosmtplib.SMTPResponseException() if 400 <= exc.code < 600:
            return _refusal(exc.code, exc.message)
        case _ if data_left:
            return OutcomeUnknownError("the message was handed over and no readable answer came")
        case aiosmtplib.SMTPResponseException():
            return ProviderResponseError("what answers is no mail server", code=exc.code)
        case _:
            return ProviderUnavailableError("the mail server was not reached")


def _refusal(code: int, text: str) -> SendError:
    """A definite no. The server's text may repeat addresses, so it is not kept."""
    enhanced = _enhanced(text)
    if code < 500:
        return _not_now(code, enhanced)
    if enhanced in ENHANCED:
        error, words = ENHANCED[enhanced]
        return error(words, code=enhanced)
    return ProviderRejectedError("refused for good", code=enhanced or code, alert=True)


def _not_now(code: int, enhanced: str) -> SendError:
    """Only a server that goes away (421) or defends itself (4.7.x) means all messages of the sender."""
    if code == _CLOSING or enhanced.startswith("4.7."):
        return ProviderThrottledError("not now", code=enhanced or code, slow=True)
    # 4.3.x is about the server itself: its disk is full, it takes no mail. The rest is about one mailbox or its route.
    return ProviderUnavailableError("not now", code=enhanced or code, slow=not enhanced.startswith("4.3."))


def _enhanced(text: str) -> str:
    return found[0] if (found := _ENHANCED.search(text)) else ""
