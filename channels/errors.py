"""Every way a send can fail, as a table of classes: whether to try again, and whose fault it is.

SendError
├─ ChannelConfigError           something of ours at the provider is wrong  no retry, alert
│   ├─ SenderConfigError           nothing of this sender can go           the sender stops; retry when it is mended
│   └─ SenderUnknownError          the sender is configured no more         next step
├─ MessageInvalidError          our message is wrong                       no retry
│   └─ MessageExpiredError         too little of its time is left           no retry
├─ ProviderUnavailableError     not reached, before a byte of it left      retry
│   └─ ProviderDownError           not asked: it has not answered lately       next step, by another provider
├─ ProviderThrottledError       refused for the rate                       retry after a while; the sender pauses
├─ OutcomeUnknownError          the request left and no answer came        never blindly sent again
├─ ProviderRejectedError        refused for good                           next step
│   ├─ RecipientOptedOutError      the recipient said stop                 records an opt-out, no next step
│   ├─ RecipientUnreachableError   this address cannot get this channel    next step
│   └─ ServiceWindowClosedError    free-form outside the 24-hour window    template step
└─ ProviderResponseError        an answer that makes no sense              alert, never sent again

A plugin may raise classes of its own below these; each counts as the nearest above it. A plain `SendError` says nothing
of whether it was sent, and counts as unknown.

No error carries the body or a phone number: what is kept of the provider's text is redacted by the adapter.
"""

from __future__ import annotations

from typing import ClassVar

from channels.model import ProviderError
from channels.reasons import Reason


class SendError(Exception):
    """A message was not, or may not have been, taken by the provider."""

    #: Stable name in events (`error.class`).
    error_class: ClassVar[str] = "send_error"
    reason: ClassVar[Reason] = Reason.PROVIDER_REJECTED
    #: The same message may be tried again on the same step.
    retryable: ClassVar[bool] = False
    #: Our configuration or our code is at fault: an operator should look.
    our_fault: ClassVar[bool] = False
    #: The next step of the plan may run.
    next_step: ClassVar[bool] = False
    #: It says nothing of the message: any other of this sender would have failed, so it is no try of this one. Not
    #: where it is `slow`: that was told by a provider that works.
    in_vain: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        code: int | str | None = None,
        retry_after: float | None = None,
        slow: bool = False,
        alert: bool = False,
        lasting: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.provider_code = code
        self.retry_after = retry_after  #: seconds the provider asked to wait
        self.slow = slow  #: retry at long intervals: the trouble is the carrier's and takes a while
        self.alert = alert  #: an operator should look although the message may go on
        self.lasting = lasting  #: the address will not get this channel for days: worth remembering

    def as_provider_error(self) -> ProviderError:
        """What events say of it."""
        return ProviderError(
            self.error_class, self.provider_code, self.message, self.slow, self.lasting, self.retry_after
        )


class ChannelConfigError(SendError):
    """Our account, credentials, sender or template are wrong."""

    error_class = "channel_config"
    reason = Reason.CHANNEL_CONFIG
    our_fault = True
    next_step = True


class SenderConfigError(ChannelConfigError):
    """The account or the sender itself is refused: every message of it would be, so it stops and its messages wait."""

    error_class = "sender_config"
    retryable = True
    in_vain = True


class SenderUnknownError(ChannelConfigError):
    """The plan names a sender or a channel that the configuration no longer has; nothing was sent."""

    error_class = "sender_unknown"
    reason = Reason.SENDER_UNKNOWN


class MessageInvalidError(SendError):
    """The provider cannot take this content as we built it."""

    error_class = "message_invalid"
    reason = Reason.MESSAGE_INVALID
    our_fault = True


class MessageExpiredError(MessageInvalidError):
    """So little is left until it expires that the provider cannot be told; nothing was sent."""

    error_class = "message_expired"
    reason = Reason.EXPIRED
    our_fault = False


class ProviderUnavailableError(SendError):
    """The provider was not reached; nothing was sent."""

    error_class = "provider_unavailable"
    reason = Reason.PROVIDER_UNAVAILABLE
    retryable = True
    next_step = True
    in_vain = True


class ProviderDownError(ProviderUnavailableError):
    """Not asked, because the provider did not answer lately, and another provider can take the message."""

    error_class = "provider_down"
    retryable = False


class ProviderThrottledError(SendError):
    """The provider refused for the rate; nothing was sent."""

    error_class = "provider_throttled"
    reason = Reason.PROVIDER_THROTTLED
    retryable = True
    next_step = True


class OutcomeUnknownError(SendError):
    """The request left and nobody can say whether it was accepted."""

    error_class = "outcome_unknown"
    reason = Reason.OUTCOME_UNKNOWN


class ProviderRejectedError(SendError):
    """The provider refused this message for good."""

    error_class = "provider_rejected"
    reason = Reason.PROVIDER_REJECTED
    next_step = True


class RecipientOptedOutError(ProviderRejectedError):
    """The recipient said stop: recorded, and no channel is tried instead."""

    error_class = "recipient_opted_out"
    reason = Reason.OPTED_OUT
    next_step = False


class RecipientUnreachableError(ProviderRejectedError):
    """This address cannot get this channel."""

    error_class = "recipient_unreachable"
    reason = Reason.NOT_ON_CHANNEL


class ServiceWindowClosedError(ProviderRejectedError):
    """Free-form outside the 24-hour window."""

    error_class = "service_window_closed"
    reason = Reason.SESSION_CLOSED


class ProviderResponseError(SendError):
    """A definite answer that makes no sense: a changed API, or something in between that is not the provider."""

    error_class = "provider_response"
    reason = Reason.PROVIDER_RESPONSE
    our_fault = True
    next_step = True


#: Every class by its stable name: what a stored event says can be acted on again.
BY_CLASS: dict[str, type[SendError]] = {
    cls.error_class: cls
    for cls in (
        ChannelConfigError,
        SenderConfigError,
        SenderUnknownError,
        MessageInvalidError,
        MessageExpiredError,
        ProviderUnavailableError,
        ProviderDownError,
        ProviderThrottledError,
        OutcomeUnknownError,
        ProviderRejectedError,
        RecipientOptedOutError,
        RecipientUnreachableError,
        ServiceWindowClosedError,
        ProviderResponseError,
    )
}


def nearest_class(error: SendError) -> type[SendError] | None:
    """What an error counts as: its own class, or the first above it that stands in the table.

    A plugin may have classes of its own below those of the table. None: nothing is known of it.
    """
    return next((cls for cls in type(error).__mro__ if cls in BY_CLASS.values()), None)


class CallbackError(Exception):
    """A webhook request that is not taken; `status` is the HTTP answer and the message names what is wrong."""

    status: ClassVar[int] = 400


class SignatureError(CallbackError):
    """Not signed by the provider, or not over this URL."""

    status = 403


class PayloadError(CallbackError):
    """Signed, but a field is missing or malformed; the message names it."""
