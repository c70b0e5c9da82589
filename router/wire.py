"""The contract in code: what services publish and what subscribers read, field by field.

Pydantic lives here and in the settings; inside, values are frozen dataclasses. JSON Schemas and the AsyncAPI document
are generated from these models, so a description here is a description there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from channels.address import AddressError, parse_recipient
from channels.model import Category, ChannelName, Lane, OnUnknown, Recipient
from channels.reasons import Reason
from policies.model import RoutingRequest, TemplateRequest
from router.fingerprints import fingerprint_of
from router.subjects import NAME, NOTIFICATION_ID

MAX_METADATA_BYTES = 2048
MAX_MEDIA = 10
MAX_VARIABLES = 100
#: Entries of metadata: no more fit into its bytes, and whoever gives thousands is told before they are looked at.
_MAX_METADATA = 512
#: Mistakes that are looked at one by one: a body of nothing but mistakes would take half a second of everybody's time.
_MOST_MISTAKES = 1_000
MAX_TEXT = 32_000  #: characters; a guard of the router's memory, far above what any channel takes
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?([Zz]|[+-]\d\d:\d\d)")
_CONTENT_SID = re.compile(r"HX[0-9a-fA-F]{32}")


class InvalidNotificationError(Exception):
    """A notification that breaks the contract; the message names each field and what to do."""

    def __init__(self, message: str, field: str | None = None, notification_id: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.notification_id = notification_id  #: where the body names a usable one

    @property
    def reason(self) -> Reason:
        """For the dead letter and the event."""
        return Reason.INVALID if self.notification_id else Reason.UNREADABLE


class TooLargeError(InvalidNotificationError):
    """More bytes than the router can pass on."""

    @property
    def reason(self) -> Reason:
        """Whatever else may be wrong with it."""
        return Reason.TOO_LARGE


def _rfc3339(value: Any) -> Any:
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        raise ValueError("write RFC 3339 with an offset, for example 2026-12-01T09:30:00Z")
    return value


_NO_MEDIA = "media must be https URLs that the provider can fetch"


def _https(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:  # whose words repeat the address
        raise ValueError(_NO_MEDIA) from None
    if parts.scheme != "https" or not parts.hostname or any(ord(c) <= 32 or ord(c) == 127 for c in url):
        raise ValueError(_NO_MEDIA)
    return url


@cache
def _zones() -> frozenset[str]:
    """Every IANA name: read from the disk once, not for each notification."""
    return frozenset(available_timezones())


def _zone(name: str) -> str:
    if name not in _zones():
        raise ValueError("not an IANA time zone; write for example Europe/Berlin")
    return name


def _channel(name: str) -> str:
    if not NAME.fullmatch(name):
        raise ValueError("not a channel's name")
    return name


def _id(value: str) -> str:
    if not NOTIFICATION_ID.fullmatch(value):
        raise ValueError("must match [A-Za-z0-9_-]{1,64}")
    return value


def _content_sid(value: str) -> str:
    if not _CONTENT_SID.fullmatch(value):
        raise ValueError("must be HX followed by 32 hexadecimal digits")
    return value


def _shown_as(pattern: re.Pattern[str]) -> WithJsonSchema:
    """A validator's sentence says more than a pattern; the schema shows the pattern."""
    return WithJsonSchema({"type": "string", "pattern": f"^{pattern.pattern}$"})


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


def _no_nul(value: str) -> str:
    if "\x00" in value:
        raise ValueError("must not hold a NUL character")
    return value


Timestamp = Annotated[AwareDatetime, BeforeValidator(_rfc3339)]
MediaUrl = Annotated[str, Field(max_length=2048), AfterValidator(_https)]
Plain = Annotated[str, AfterValidator(_no_nul)]


Id = Annotated[str, AfterValidator(_id), _shown_as(NOTIFICATION_ID)]
ContentSid = Annotated[str, AfterValidator(_content_sid), _shown_as(_CONTENT_SID)]


class Strict(BaseModel):
    """Unknown fields are refused by name, so that a typo is seen."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_max_length=MAX_TEXT)


class TemplateContent(Strict):
    """An approved template: by the name configured under `[templates]`, or by the provider's content SID."""

    name: Annotated[str, Field(min_length=1, max_length=128)] | None = Field(None, description="configured name")
    language: Annotated[str, Field(min_length=2, max_length=35)] | None = Field(None, description="BCP 47, with a name")
    content_sid: ContentSid | None = Field(None, description="Twilio's content SID")
    variables: dict[str, str | None] = Field(
        default_factory=dict, max_length=MAX_VARIABLES, description="values of the template's variables, 100 at most"
    )

    @model_validator(mode="after")
    def _one_of_two(self) -> TemplateContent:
        if (self.name is None) == (self.content_sid is None):
            raise ValueError("give either name or content_sid")
        if self.language is not None and self.name is None:
            raise ValueError("language goes with name")
        return self


class ContentModel(Strict):
    """What to say: at least one of text, media and template."""

    text: Plain | None = Field(None, description="free-form text")
    media: Annotated[list[MediaUrl], Field(max_length=MAX_MEDIA)] = Field(
        default_factory=list, description="https URLs of media, 10 at most"
    )
    template: TemplateContent | None = Field(None, description="an approved template")

    @model_validator(mode="after")
    def _something(self) -> ContentModel:
        if not (self.text or "").strip() and not self.media and self.template is None:
            raise ValueError("give at least one of text, media and template")
        return self


class Notification(Strict):
    """What a service asks to tell somebody, published to `notifications.<lane>.<source>`."""

    id: Annotated[str, AfterValidator(_id), _shown_as(NOTIFICATION_ID)] = Field(
        description="idempotency key, unique per source"
    )
    to: Annotated[str, Field(min_length=1, max_length=300)] = Field(
        description="E.164, any writing of a phone number when region is given, or whatsapp:<user id>"
    )
    region: Annotated[str, BeforeValidator(_upper), Field(pattern="^[A-Z]{2}$")] | None = Field(
        None, description="ISO 3166-1 alpha-2: how to read a national number"
    )
    content: ContentModel
    category: Category = Field(Category.TRANSACTIONAL, description="what guards and templates depend on")
    channel: Annotated[str, AfterValidator(_channel)] | None = Field(None, description="this channel or none at all")
    send_at: Timestamp | None = Field(None, description="not before; RFC 3339 with offset")
    expires_at: Timestamp | None = Field(None, description="not after; RFC 3339 with offset")
    timezone: Annotated[str, AfterValidator(_zone)] | None = Field(None, description="recipient's IANA time zone")
    on_unknown: OnUnknown | None = Field(
        None,
        description="when nobody can say whether an attempt was sent; default: retry",
    )
    metadata: dict[str, str] = Field(
        default_factory=dict, max_length=_MAX_METADATA, description="comes back on every event; 2 kB at most"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Notification:
        if self.send_at and self.expires_at and self.expires_at <= self.send_at:
            raise ValueError("expires_at must lie after send_at")
        if not _surely_small(self.metadata) and _json_size(self.metadata) > MAX_METADATA_BYTES:
            raise ValueError(f"metadata must be {MAX_METADATA_BYTES} bytes at most as JSON")
        return self

    def fingerprint(self) -> str:
        """Equal for equal content, however it was written; stored for as long as the log, so its form is versioned."""
        return fingerprint_of(self)

    def recipient(self) -> Recipient:
        """Who it goes to. Raises `InvalidNotificationError` that names `to`."""
        try:
            return parse_recipient(self.to, self.region)
        except AddressError as exc:
            raise InvalidNotificationError(f"to: {exc}", "to", self.id) from None

    def as_request(self, source: str, lane: Lane) -> RoutingRequest:
        """What routing depends on."""
        return RoutingRequest(
            source=source,
            lane=lane,
            recipient=self.recipient(),
            category=self.category,
            text=self.content.text or None,
            media=tuple(self.content.media),
            template=self._template(),
            pin=ChannelName(self.channel) if self.channel else None,
            send_at=self.send_at,
            expires_at=self.expires_at,
            timezone=self.timezone,
        )

    def _template(self) -> TemplateRequest | None:
        given = self.content.template
        if given is None:
            return None
        # An absent value is as bad as an empty one, and the engine names both.
        variables = {name: value or "" for name, value in given.variables.items()}
        return TemplateRequest(given.name, given.content_sid, given.language, variables)


def _surely_small(metadata: Mapping[str, str]) -> bool:
    """Whether it fits however it is written: six bytes of JSON for a character, eight for the marks around an entry."""
    characters = len("".join([*metadata, *metadata.values()]))
    return 2 + 6 * characters + 8 * len(metadata) <= MAX_METADATA_BYTES


def _json_size(metadata: Mapping[str, str]) -> int:
    return len(json.dumps(metadata, ensure_ascii=False).encode())


def parse_notification(body: bytes) -> Notification:
    """Read a notification from the wire; whatever is wrong becomes an `InvalidNotificationError`."""
    try:
        return Notification.model_validate_json(body)
    except ValidationError as exc:
        raise _explain(exc, body) from None
    except (ValueError, RecursionError):
        raise InvalidNotificationError("the body is no JSON that can be read") from None


def too_large(body: bytes, limit: int) -> TooLargeError:
    """A notification that cannot be passed on."""
    message = f"the notification has {len(body)} bytes and {limit} are the most that can be passed on"
    return TooLargeError(message, None, _usable_id(body))


def _explain(exc: ValidationError, body: bytes) -> InvalidNotificationError:
    if (count := exc.error_count()) > _MOST_MISTAKES:
        return InvalidNotificationError(f"it has {count} mistakes, too many to name one", None, _usable_id(body))
    errors = exc.errors(include_url=False, include_context=False, include_input=False)
    sentences = [_sentence(error) for error in errors[:10]]
    field = ".".join(str(part)[:64] for part in errors[0]["loc"]) or None
    return InvalidNotificationError("; ".join(sentences), field, _usable_id(body))


def _sentence(error: Any) -> str:
    where = ".".join(str(part)[:64] for part in error["loc"])
    what = "unknown field" if error["type"] == "extra_forbidden" else str(error["msg"]).removeprefix("Value error, ")
    return f"{where}: {what}" if where else what


def _usable_id(body: bytes) -> str | None:
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        return None
    candidate = given.get("id") if isinstance(given, dict) else None
    return candidate if isinstance(candidate, str) and NOTIFICATION_ID.fullmatch(candidate) else None


NotificationStatus = Literal["routed", "deferred", "suppressed", "rejected", "expired", "exhausted"]
AttemptStatus = Literal[
    "sending", "accepted", "queued", "sent", "delivered", "read", "undelivered", "failed", "canceled", "unknown"
]


class ErrorModel(BaseModel):
    """A refusal in the provider's words."""

    error_class: str = Field(alias="class", description="stable name from the table of error classes")
    code: int | str | None = Field(description="the provider's code")
    message: str | None = Field(description="the provider's text, without personal data")


class StepModel(BaseModel):
    """One step of the plan."""

    model_config = ConfigDict(extra="allow")

    channel: str
    form: Literal["text", "media", "link", "template"]
    sender: str
    content_sid: str | None = Field(None, description="of the template, with form template")
    language: str | None = Field(None, description="the template's, or that of the text which stands for it")
    text: str | None = Field(None, description="what stands for the template; its variables are not filled in")


class TraceModel(BaseModel):
    """One guard or route that was looked at."""

    rule: str
    matched: bool
    because: str = Field(description="a sentence")


class DecisionModel(BaseModel):
    """What was decided, and why: the same object in events, `pointsman.explain` and `explain --json`."""

    model_config = ConfigDict(extra="allow")

    outcome: Literal["routed", "deferred", "suppressed", "rejected"]
    reason: str
    until: datetime | None = None
    policy: str = Field(description="version of the policy that decided")
    plan: list[StepModel] = Field(description="ordered steps to try")
    facts: dict[str, Any]
    trace: list[TraceModel]


class DeliveryEvent(BaseModel):
    """What became of a notification, on `deliveries.<source>.<status>.<channel>.<id>`."""

    event_id: str = Field(description="unique and stable: the same event is never appended twice")
    notification_id: str
    source: str
    lane: Lane
    category: Category | None = Field(description="null where the notification could not be read")
    metadata: dict[str, str]
    status: NotificationStatus | AttemptStatus
    final: bool = Field(description="nothing more will be attempted; a read may still follow a final delivered")
    late: bool = Field(False, description="it arrived after it had been given up: another attempt may arrive too")
    channel: str = Field(description="none where no channel was chosen")
    form: Literal["text", "media", "link", "template"] | None
    attempt: int = Field(ge=0, description="0 before the first")
    recipient: str | None = Field(description="E.164 or user id; null where it could not be read")
    sender: str | None = Field(description="the configured name")
    provider: str | None
    provider_message_id: str | None
    provider_status: str | None
    reason: Reason | None
    error: ErrorModel | None
    decision: DecisionModel | None = Field(description="on routed, suppressed, deferred and rejected")
    occurred_at: datetime
    recorded_at: datetime


class MediaModel(BaseModel):
    """An attachment."""

    url: str
    content_type: str | None


class ButtonModel(BaseModel):
    """A quick reply that was pressed."""

    text: str | None
    payload: str | None


class LocationModel(BaseModel):
    """A shared place."""

    latitude: float
    longitude: float
    label: str | None
    address: str | None


class InboundEvent(BaseModel):
    """What a recipient wrote, on `inbound.<channel>.<sender>`."""

    message_id: str
    channel: str
    from_: str = Field(alias="from", description="E.164 or user id")
    to: str
    sender: str = Field(description="configured name of the sender it was written to; unknown where none matches")
    text: str
    media: list[MediaModel]
    button: ButtonModel | None
    location: LocationModel | None
    profile_name: str | None
    keyword: Literal["stop", "start", "help"] | None
    received_at: datetime
    session_expires_at: datetime | None = Field(description="WhatsApp: free-form answers are possible until then")
    raw: dict[str, str] = Field(description="the provider's fields")


class DeadLetterEvent(BaseModel):
    """What needs a person, on `deadletters.<stage>.<source>`."""

    dead_letter_id: str
    stage: str = Field(description="where it was given up: intake, dispatch, reconcile")
    source: str
    notification_id: str | None
    reason: Reason
    message: str = Field(description="what is wrong and what to do")
    field: str | None = Field(description="the field at fault")
    subject: str = Field(description="where it was published")
    sequence: int = Field(description="its place in that stream")
    body: str = Field(description="the whole body, as text where it is UTF-8")
    body_encoding: Literal["utf-8", "base64"]
    truncated: bool = Field(description="the body was too large to repeat; it stands whole at subject and sequence")
    headers: dict[str, str]
    recorded_at: datetime
