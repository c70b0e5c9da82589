"""What a decision is made from and what it is: plain values, to be computed, compared, stored and explained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from typing import Any

from channels.model import Category, ChannelName, Form, Lane, Recipient
from channels.reasons import Reason
from channels.values import value


@value(frozen=True, slots=True)
class TemplateRequest:
    """The template a notification asks for: by configured name, or by the provider's id."""

    name: str | None = None
    content_sid: str | None = None
    language: str | None = None  #: BCP 47; only with a name
    variables: Mapping[str, str] = field(default_factory=dict)


@value(frozen=True, slots=True)
class RoutingRequest:
    """What a service asked for, as far as routing depends on it."""

    source: str
    lane: Lane
    recipient: Recipient
    category: Category = Category.TRANSACTIONAL
    text: str | None = None
    media: tuple[str, ...] = ()
    template: TemplateRequest | None = None
    pin: ChannelName | None = None  #: this channel or none at all
    send_at: datetime | None = None  #: aware
    expires_at: datetime | None = None  #: aware
    timezone: str | None = None  #: IANA name


@value(frozen=True, slots=True)
class OptOut:
    """A recipient's stop, and how far it reaches."""

    scope: str  #: "all", "channel:<name>", "sender:<name>" or "category:<name>"
    at: datetime
    via: str  #: how it came: "keyword", "provider", "api", "import"


@value(frozen=True, slots=True)
class OptIn:
    """A recipient's consent on record, and what it is for."""

    scope: str  #: as `OptOut.scope`
    at: datetime


@value(frozen=True, slots=True)
class RecipientFacts:
    """Everything known about the recipient at this moment."""

    opt_outs: tuple[OptOut, ...] = ()
    opt_ins: tuple[OptIn, ...] = ()
    #: WhatsApp sender's name -> when its open session with this recipient ends (margin already taken off)
    sessions: Mapping[str, datetime] = field(default_factory=dict)
    #: channel -> why this recipient was found unreachable on it, as learnt from earlier attempts
    unreachable: Mapping[ChannelName, str] = field(default_factory=dict)
    #: IANA zones the recipient may be in, as the number tells; the request's own zone goes before them
    timezones: tuple[str, ...] = ()
    #: category -> when this recipient was sent messages of it lately (aware, in any order), for frequency caps
    recent: Mapping[Category, tuple[datetime, ...]] = field(default_factory=dict)
    #: channel -> name of the sender that the last message to this recipient on it came from
    last_sender: Mapping[ChannelName, str] = field(default_factory=dict)


@value(frozen=True, slots=True)
class Step:
    """One way to reach the recipient."""

    channel: ChannelName
    form: Form
    sender: str  #: the configured name
    content_sid: str | None = None  #: of the template to use; only with form `template`
    language: str | None = None  #: the language that template, or the text that stands for it, is in
    because: str = ""  #: why this channel, form and sender, in a sentence
    silence: float | None = None  #: seconds without a delivery after which the next step runs; None: it waits for ever
    on: tuple[str, ...] | None = None  #: failures that lead to the next step (`policies.retry`); None: all that may
    text: str | None = None  #: what stands for the template, variables not filled in; only with form `text`
    #: It runs only where the session of the free-form step before it had closed when that reached the provider.
    rescue: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The step as events show it; empty members are left out."""
        row: dict[str, Any] = {"channel": self.channel, "form": str(self.form), "sender": self.sender}
        if self.content_sid:
            row["content_sid"] = self.content_sid
        if self.language:
            row["language"] = self.language
        if self.text:
            row["text"] = self.text
        if self.because:
            row["because"] = self.because
        if self.silence:
            row["silence"] = self.silence
        if self.on:
            row["on"] = list(self.on)
        if self.rescue:
            row["rescue"] = True
        return row


@value(frozen=True, slots=True)
class TraceEntry:
    """One guard or route that was looked at."""

    rule: str  #: its name in the policy: "guard.suppression", "route.whatsapp-session"
    matched: bool
    because: str  #: a sentence


@value(frozen=True, slots=True)
class RoutingPlan:
    """Ordered steps to try."""

    steps: tuple[Step, ...]


@value(frozen=True, slots=True)
class Suppressed:
    """Not sent, on purpose; with `Reason.EXPIRED` it was too late."""

    reason: Reason


@value(frozen=True, slots=True)
class Deferred:
    """Not now: asked again at `until`."""

    until: datetime
    reason: Reason


@value(frozen=True, slots=True)
class Rejected:
    """Cannot be sent as asked."""

    reason: Reason
    message: str = ""  #: a sentence that names the field and what to do


Outcome = RoutingPlan | Suppressed | Deferred | Rejected


@value(frozen=True, slots=True)
class Decision:
    """An outcome with everything needed to understand it."""

    outcome: Outcome
    policy: str  #: version of the policy that decided
    facts: Mapping[str, Any]  #: what was known: country, session, media, template, ...
    trace: tuple[TraceEntry, ...]

    def asked(self, rule: str) -> bool:
        """Whether this guard or route was looked at."""
        return any(entry.rule == rule for entry in self.trace)
