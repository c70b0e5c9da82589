"""Why something was decided or refused: stable codes, the same in events, logs and services."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Stable reason codes. Members are added, never renamed."""

    # decisions
    ROUTED = "routed"  #: a plan was made
    OPTED_OUT = "opted_out"  #: the recipient said STOP, or the provider says so
    NO_CONSENT = "no_consent"  #: the policy asks for an opt-in that is not on record
    EXPIRED = "expired"  #: `expires_at` passed before it could be sent
    SCHEDULED = "scheduled"  #: `send_at` lies ahead
    QUIET_HOURS = "quiet_hours"  #: the recipient's local time is inside the quiet hours
    FREQUENCY_CAP = "frequency_cap"  #: the recipient had enough messages of this kind
    COUNTRY_BLOCKED = "country_blocked"  #: the policy does not send to this country
    PAUSED = "paused"  #: an operator paused this category, channel or source
    NO_ROUTE = "no_route"  #: no route of the policy gives a step that can work
    SESSION_CLOSED = "session_closed"  #: free-form on WhatsApp with no open 24-hour session
    NOT_ON_CHANNEL = "not_on_channel"  #: the recipient cannot be reached on this channel
    TOO_LONG = "too_long"  #: the text is longer than any channel of the plan takes
    TEMPLATE_UNKNOWN = "template_unknown"  #: no template of that name, or in no language that fits
    TEMPLATE_VARIABLES = "template_variables"  #: a variable is missing, empty or not allowed by the provider

    # intake
    INVALID = "invalid"  #: a field is missing, unknown or malformed; the message names it
    ID_REUSED = "id_reused"  #: this id was published before with other content
    UNREADABLE = "unreadable"  #: the body is no JSON object, or names no usable id
    BAD_SUBJECT = "bad_subject"  #: the subject is not `notifications.<lane>.<source>`
    TOO_LARGE = "too_large"  #: the body is larger than the router takes

    # attempts
    PROVIDER_UNAVAILABLE = "provider_unavailable"  #: not reached; nothing was sent
    PROVIDER_THROTTLED = "provider_throttled"  #: refused for the rate; nothing was sent
    PROVIDER_REJECTED = "provider_rejected"  #: refused for good
    PROVIDER_RESPONSE = "provider_response"  #: an answer that makes no sense
    CHANNEL_CONFIG = "channel_config"  #: our account, credentials or sender are wrong
    MESSAGE_INVALID = "message_invalid"  #: the provider cannot take this content
    OUTCOME_UNKNOWN = "outcome_unknown"  #: the request left and no answer came
    CRASHED = "crashed"  #: a process died between the claim and its record
    UNDELIVERABLE = "undeliverable"  #: the carrier could not deliver
    CANCELED = "canceled"  #: taken back before it was sent
    RESOLVED_BY_CALLBACK = "resolved_by_callback"  #: an unknown outcome, revealed by the attempt's own callback
    RESOLVED_BY_SEARCH = "resolved_by_search"  #: an unknown outcome, found in the provider's list
    NOT_FOUND = "not_found"  #: an unknown outcome that neither a callback nor the provider's list confirms
    MISATTRIBUTED = "misattributed"  #: a message that a search had found proved to be another attempt's
    RESOLVED_BY_PERSON = "resolved_by_person"  #: what neither we nor the provider could tell, looked up
    HELD = "held"  #: an unknown outcome that only a person may resolve
    NO_RECEIPT = "no_receipt"  #: `sent` is the last word of a carrier without receipts
    AGED_OUT = "aged_out"  #: the notification is kept no more, so nothing more can be sent
    INTERNAL = "internal"  #: a fault of the router's own; its log says where
    STRANDED = "stranded"  #: JetStream delivers it no more
    SILENT = "silent"  #: no delivery was reported within the step's time; it may arrive all the same
    SENDER_UNKNOWN = "sender_unknown"  #: the configuration no longer has this sender
