"""The vocabulary that adapters, policies and the router share: frozen values, each field with its unit and meaning.

Nothing here knows a provider, NATS or a clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from enum import StrEnum
from typing import NewType

from channels.status import DeliveryStatus
from channels.values import value

ChannelName = NewType("ChannelName", str)
NotificationId = NewType("NotificationId", str)
ProviderMessageId = NewType("ProviderMessageId", str)

SMS = ChannelName("sms")
MMS = ChannelName("mms")
WHATSAPP = ChannelName("whatsapp")
#: Stands in a subject or an event where no channel was chosen.
NO_CHANNEL = ChannelName("none")


class Lane(StrEnum):
    """How urgent a notification is; the publisher names it in the subject."""

    URGENT = "urgent"  #: overtakes everything else on its sender
    NORMAL = "normal"  #: the everyday lane
    BULK = "bulk"  #: campaigns; keeps a small guaranteed share


class Category(StrEnum):
    """What a notification is for: guards and templates depend on it."""

    OTP = "otp"  #: one-time passwords and sign-in links
    TRANSACTIONAL = "transactional"  #: something the recipient did or bought
    SERVICE = "service"  #: an answer in a conversation the recipient started
    MARKETING = "marketing"  #: everything that promotes


class Form(StrEnum):
    """How the content is expressed on the channel."""

    TEXT = "text"  #: free-form text
    MEDIA = "media"  #: media, with the text as caption
    LINK = "link"  #: media sent as links in the text
    TEMPLATE = "template"  #: an approved template with variables


class OnUnknown(StrEnum):
    """What to do when nobody can say whether an attempt was sent."""

    RETRY = "retry"  #: send again: a double is better than nothing
    HOLD = "hold"  #: send nothing, ask a person
    FAILOVER = "failover"  #: go on to the next step of the plan


class SenderKind(StrEnum):
    """The kinds of origin a provider sends from; the rate and the reach depend on it."""

    LONG_CODE = "long-code"
    TEN_DLC = "10dlc"
    TOLL_FREE = "toll-free"
    SHORT_CODE = "short-code"
    ALPHANUMERIC = "alphanumeric"
    MESSAGING_SERVICE = "messaging-service"
    WHATSAPP = "whatsapp"
    ADDRESS = "address"  #: of a plugin's channel: an email address, an account


@value(frozen=True, slots=True)
class PhoneNumber:
    """A phone number, normalised once at the edge."""

    e164: str  #: "+15017122661"
    country: str  #: ISO 3166-1 alpha-2; +1 alone says nothing, so it comes from the area code

    @property
    def scheme(self) -> str:
        """The address space this belongs to, compared with `ChannelCapabilities.schemes`."""
        return "tel"

    @property
    def address(self) -> str:
        """The recipient as the contract writes it."""
        return self.e164


@value(frozen=True, slots=True)
class Handle:
    """An address that is no phone number: a WhatsApp business-scoped user id, or a plugin's own."""

    scheme: str  #: "whatsapp", or what a plugin declares ("mailto")
    value: str  #: "GB.13491208655302741918"
    country: str | None  #: ISO 3166-1 alpha-2 where the address tells it

    @property
    def address(self) -> str:
        """The recipient as the contract writes it."""
        return f"{self.scheme}:{self.value}"


Recipient = PhoneNumber | Handle


@value(frozen=True, slots=True)
class FromNumber:
    """A sender with an address of its own: E.164, a short code or an alphanumeric id."""

    value: str


@value(frozen=True, slots=True)
class MessagingService:
    """A pool of numbers at the provider, which picks one of them."""

    sid: str


@value(frozen=True, slots=True)
class DailyCap:
    """The most that a sender may send in a day."""

    messages: int | None  #: None: any number
    segments: int | None  #: None: any number
    timezone: str  #: IANA name: a day is a calendar day there
    reserve: float  #: share of it that only urgent messages may use


@value(frozen=True, slots=True)
class Sender:
    """What messages are sent from, as configured."""

    name: str  #: the configured name: a token of NATS subjects
    kind: SenderKind
    channels: frozenset[ChannelName]  #: what it may carry
    origin: FromNumber | MessagingService
    country: str | None  #: where the number itself lives; None for services and alphanumeric ids
    countries: frozenset[str]  #: recipients' countries it may serve; empty: any that its kind can reach
    rate: float  #: segments a second; messages a second on WhatsApp
    registered: bool = True  #: False: its 10DLC campaign or toll-free verification is not approved yet
    weight: int = 1  #: share among equal senders
    cap: DailyCap | None = None  #: None: no limit by day
    provider: str | None = None  #: whose it is; None: that of the only, or the default, provider of its channels

    @property
    def address(self) -> str:
        """The number, id or service that the provider knows this sender by."""
        return self.origin.value if isinstance(self.origin, FromNumber) else self.origin.sid


@value(frozen=True, slots=True)
class Text:
    """Free-form text."""

    body: str


@value(frozen=True, slots=True)
class Media:
    """Media by URL; the provider fetches them."""

    urls: tuple[str, ...]  #: https, in order
    caption: str | None = None


@value(frozen=True, slots=True)
class Template:
    """A template that the provider has approved."""

    content_sid: str  #: the provider's id of the template
    variables: Mapping[str, str] = field(default_factory=dict)


Content = Text | Media | Template


@value(frozen=True, slots=True)
class AttemptRef:
    """Names one attempt outside this process; travels in the status-callback URL and comes back with it."""

    source: str
    notification_id: NotificationId
    attempt: int  #: from 1
    token: str  #: unguessable, made for this attempt alone


@value(frozen=True, slots=True)
class OutboundMessage:
    """Routed and rendered: one channel, one sender, one content."""

    ref: AttemptRef
    channel: ChannelName
    sender: Sender
    recipient: Recipient
    content: Content
    category: Category = Category.TRANSACTIONAL
    expires_at: datetime | None = None  #: aware; the provider must not deliver later


@value(frozen=True, slots=True)
class SendReceipt:
    """The provider took the message; it is not delivered yet."""

    provider_message_id: ProviderMessageId
    provider_status: str  #: the provider's own word
    segments: int | None = None  #: where the provider says it
    last_word: bool = False  #: the provider will report nothing more: being taken is all that is ever known
    raw: Mapping[str, object] = field(default_factory=dict, repr=False)


@value(frozen=True, slots=True)
class ProviderError:
    """A refusal in the provider's words."""

    error_class: str  #: snake-case name from the error tree (`channels.errors`)
    code: int | str | None
    message: str | None
    slow: bool = False  #: the trouble is the carrier's and takes a while: retry at long intervals
    lasting: bool = False  #: the address will not get this channel for days: worth remembering
    retry_after: float | None = None  #: seconds for which the sender has to rest before anything of it is sent again


@value(frozen=True, slots=True)
class StatusReport:
    """A provider's callback about one attempt, normalised; the provider's words are kept beside."""

    ref: AttemptRef | None  #: what our own callback URL carried; None when it was lost on the way
    provider: str
    provider_message_id: ProviderMessageId
    status: DeliveryStatus | None  #: None: a word we do not know
    provider_status: str
    error: ProviderError | None = None
    channel: ChannelName | None = None  #: the channel really used, where the callback tells it
    reported_at: datetime | None = None  #: when the provider says it happened
    raw: Mapping[str, str] = field(default_factory=dict, repr=False)


class Keyword(StrEnum):
    """What a recipient's one-word message asks for."""

    STOP = "stop"
    START = "start"
    HELP = "help"


@value(frozen=True, slots=True)
class InboundMedia:
    """One attachment of an inbound message."""

    url: str
    content_type: str | None


@value(frozen=True, slots=True)
class Button:
    """A quick reply that the recipient pressed."""

    text: str | None
    payload: str | None


@value(frozen=True, slots=True)
class Location:
    """A place that the recipient shared."""

    latitude: float
    longitude: float
    label: str | None = None
    address: str | None = None


@value(frozen=True, slots=True)
class InboundMessage:
    """From the recipient to a sender of ours; on WhatsApp it opens the 24-hour session."""

    message_id: ProviderMessageId
    channel: ChannelName
    from_: Recipient
    to: str  #: our address, as the provider writes it without a channel prefix
    messaging_service_sid: str | None = None
    text: str = ""
    media: tuple[InboundMedia, ...] = ()
    button: Button | None = None
    location: Location | None = None
    profile_name: str | None = None
    keyword: Keyword | None = None
    handled_by_provider: bool = False  #: the provider already answered STOP, START or HELP by itself
    raw: Mapping[str, str] = field(default_factory=dict, repr=False)


@value(frozen=True, slots=True)
class ChannelCapabilities:
    """What a channel can express; what it cannot is never sent to it."""

    schemes: frozenset[str]  #: address spaces it reaches: "tel", "whatsapp", ...
    text: bool = True
    template: bool = False
    max_media: int = 0  #: media in one message; 0: none
    max_text: int = 1600  #: characters
    approves_templates: bool = False  #: sends only those that its operator has approved
    needs_session: bool = False  #: free-form only while the recipient's 24-hour session is open
    media_countries: frozenset[str] | None = None  #: where media arrives as media; None: everywhere
    read_receipts: bool = False
