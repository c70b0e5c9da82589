"""What messages are sent from, and with: the tables `[[senders]]` and `[templates]`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from channels.address import country_of_e164, is_e164
from channels.model import ChannelName, DailyCap, FromNumber, MessagingService, Sender, SenderKind
from router.sections import Name, Section, Zone

#: Messages (segments) per second that a sender of this kind may send when the configuration names no rate.
#: Twilio's "Understanding Twilio Rate Limits and Message Queues": long codes 1, toll-free 3, short codes 100,
#: alphanumeric 10, WhatsApp 80; 10DLC depends on the campaign's trust score, so the lowest tier is assumed.
#: What a plugin's address may send nobody here knows.
DEFAULT_RATES: Mapping[SenderKind, float] = {
    SenderKind.LONG_CODE: 1,
    SenderKind.TEN_DLC: 1,
    SenderKind.TOLL_FREE: 3,
    SenderKind.SHORT_CODE: 100,
    SenderKind.ALPHANUMERIC: 10,
    SenderKind.MESSAGING_SERVICE: 10,
    SenderKind.WHATSAPP: 80,
    SenderKind.ADDRESS: 10,
}


class SenderSettings(Section):
    """Something messages are sent from."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    name: Name
    kind: SenderKind
    channels: Annotated[list[Name], Field(min_length=1)]
    from_: str | None = Field(None, alias="from", description="E.164, short code or alphanumeric id")
    messaging_service_sid: Annotated[str, Field(pattern="^MG[0-9a-fA-F]{32}$")] | None = None
    provider: Name | None = Field(None, description="whose it is, where several offer its channels")
    countries: list[Annotated[str, Field(pattern="^([A-Z]{2}|001)$")]] = Field(
        default_factory=list, description="recipients' countries it serves; empty: any that its kind reaches"
    )
    rate: Annotated[float, Field(gt=0)] | None = Field(None, description="segments a second; messages on WhatsApp")
    registered: bool = Field(True, description="its campaign or verification is approved")
    weight: Annotated[int, Field(ge=0)] = Field(1, description="share among equal senders")
    daily_messages: Annotated[int, Field(ge=1)] | None = Field(None, description="the most in a day")
    daily_segments: Annotated[int, Field(ge=1)] | None = Field(None, description="the most in a day")
    daily_timezone: Zone = Field("UTC", description="whose calendar day it is")
    daily_reserve: float = Field(0.05, ge=0, lt=1, description="share of a day's budget that is kept for urgent")

    @model_validator(mode="after")
    def _one_origin(self) -> SenderSettings:
        if (self.from_ is None) == (self.messaging_service_sid is None):
            raise ValueError("give either from or messaging_service_sid")
        if self.kind in _NEEDS_E164 and self.from_ is not None and not is_e164(self.from_):
            raise ValueError(f"from of a {self.kind} sender must be E.164, for example +15017122661")
        return self

    def as_sender(self) -> Sender:
        """The value that policies choose from."""
        origin = MessagingService(self.messaging_service_sid) if self.messaging_service_sid else None
        return Sender(
            name=self.name,
            kind=self.kind,
            channels=frozenset(ChannelName(channel) for channel in self.channels),
            origin=origin or FromNumber(self.from_ or ""),
            country=country_of_e164(self.from_) if self.from_ else None,
            countries=frozenset(self.countries),
            rate=self.rate or DEFAULT_RATES[self.kind],
            registered=self.registered,
            weight=self.weight,
            cap=self._cap(),
            provider=self.provider,
        )

    def _cap(self) -> DailyCap | None:
        if self.daily_messages is None and self.daily_segments is None:
            return None
        return DailyCap(self.daily_messages, self.daily_segments, self.daily_timezone, self.daily_reserve)


_NEEDS_E164 = {SenderKind.LONG_CODE, SenderKind.TEN_DLC, SenderKind.TOLL_FREE, SenderKind.WHATSAPP}


class TemplateSettings(Section):
    """A template by its logical name: its other keys are languages, each with a content SID, in fallback order."""

    model_config = ConfigDict(extra="allow", frozen=True)

    category: Literal["utility", "marketing", "authentication"] = Field("utility", description="the provider's")
    text: dict[str, Annotated[str, Field(min_length=1, max_length=1600)]] = Field(
        default_factory=dict, description="what stands for it where no template can go, by language"
    )

    @model_validator(mode="after")
    def _usable(self) -> TemplateSettings:
        for language, sid in self.languages.items():
            if not isinstance(sid, str) or not _CONTENT_SID.fullmatch(sid):
                raise ValueError(f"{language} must be a content SID: HX and 32 hexadecimal digits")
        if not self.languages and not self.text:
            raise ValueError("give a content SID for a language, or a text")
        if odd := [language for language in (*self.languages, *self.text) if not _LANGUAGE.fullmatch(language)]:
            raise ValueError(f"{odd[0]!r} is no language (such as en or pt_BR)")
        return self

    @property
    def languages(self) -> dict[str, str]:
        """Content SIDs by language, in fallback order."""
        return dict(self.model_extra or {})


_CONTENT_SID = re.compile(r"HX[0-9a-fA-F]{32}")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*")
