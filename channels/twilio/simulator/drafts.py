"""A request to create a message, read from its form. Reading never fails: `validation` judges what was read."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qs

from channels.twilio.simulator.messages import WHATSAPP_PREFIX, Form


@dataclass(frozen=True, slots=True)
class Draft:
    """What the caller asks for; absent parameters are None."""

    to: str
    from_: str | None
    service_sid: str | None
    body: str | None
    media: tuple[str, ...]
    content_sid: str | None
    content_variables: str | None
    callback: str | None
    validity: str | None
    send_at: str | None  #: only where Twilio honours it: with a Messaging Service and ScheduleType=fixed
    form: Form

    @property
    def is_whatsapp(self) -> bool:
        """Whether it asks for WhatsApp."""
        return self.to.startswith(WHATSAPP_PREFIX)


def parse_form(body: bytes) -> dict[str, list[str]]:
    """Form fields; what is not UTF-8 becomes U+FFFD, empty values stay."""
    return parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)


def draft_of(form: Form) -> Draft:
    """The request that a form makes; of a repeated scalar the last one counts."""

    def last(name: str) -> str | None:
        values = form.get(name)
        return values[-1] if values else None

    service_sid = last("MessagingServiceSid") or None
    # With a From number alone Twilio drops the schedule and sends at once.
    is_scheduled = service_sid is not None and last("ScheduleType") == "fixed"
    return Draft(
        to=(last("To") or "").strip(),
        from_=(last("From") or "").strip() or None,
        service_sid=service_sid,
        body=last("Body"),
        media=tuple(form.get("MediaUrl", ())),
        content_sid=last("ContentSid") or None,
        content_variables=last("ContentVariables"),
        callback=last("StatusCallback") or None,
        validity=last("ValidityPeriod") or None,
        send_at=last("SendAt") if is_scheduled else None,
        form=form,
    )
