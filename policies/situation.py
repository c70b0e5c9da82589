"""One request with its facts, in the terms that guards and routes ask about; read once, looked at many times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from channels.reasons import Reason
from policies.content import segments_of, text_with_links
from policies.model import RecipientFacts, RoutingRequest
from policies.zones import zone_named

#: Scopes of an opt-out or opt-in that name one candidate instead of deciding for all of them.
_NARROW = ("channel:", "sender:")
_EVERYTHING = "all"


# Not frozen, although nothing changes it: a frozen one takes three times as long to make, once per decision.
@dataclass(slots=True)
class Situation:
    """What is known at this moment."""

    request: RoutingRequest
    facts: RecipientFacts
    now: datetime
    country: str | None
    session: str  #: "open" or "closed"
    media: bool
    text: bool
    template: str  #: "given" or "none"
    category: str
    lane: str
    source: str
    pinned: bool
    scheme: str
    stops: frozenset[str]  #: scopes of the recipient's opt-outs
    permits: frozenset[str] | None  #: scopes of the opt-ins on record where one is needed; None: none is needed

    def forbidden(self, candidate: frozenset[str]) -> Reason | None:
        """Why the recipient's consent rules out the candidate that these scopes name, if it does."""
        if not self.stops.isdisjoint(candidate):
            return Reason.OPTED_OUT
        if self.permits is None or covers_all(self.permits, self.category) or not self.permits.isdisjoint(candidate):
            return None
        return Reason.NO_CONSENT


def situation(
    request: RoutingRequest,
    facts: RecipientFacts,
    now: datetime,
    *,
    session_senders: frozenset[str],
    opt_in_needed: bool,
) -> Situation:
    """Read a request and its facts."""
    return Situation(
        request=request,
        facts=facts,
        now=now,
        country=request.recipient.country,
        session=_session(facts.sessions, session_senders, now) if facts.sessions else "closed",
        media=bool(request.media),
        text=bool(request.text),
        template="given" if request.template else "none",
        category=request.category,
        lane=request.lane,
        source=request.source,
        pinned=request.pin is not None,
        scheme=request.recipient.scheme,
        stops=frozenset(opt_out.scope for opt_out in facts.opt_outs) if facts.opt_outs else frozenset(),
        permits=frozenset(opt_in.scope for opt_in in facts.opt_ins) if opt_in_needed else None,
    )


def _session(sessions: Mapping[str, datetime], senders: frozenset[str], now: datetime) -> str:
    """Only sessions with a sender that the configuration still has count."""
    return "open" if any(end > now for sender, end in sessions.items() if sender in senders) else "closed"


def recipient_zones(situation: Situation, otherwise: str | None) -> tuple[ZoneInfo, ...]:
    """Where the recipient may be: as the notification says, else as the number tells, else as the document assumes."""
    asked = situation.request.timezone
    for names in ((asked,) if asked else (), situation.facts.timezones, (otherwise,) if otherwise else ()):
        if zones := tuple(zone for name in names if (zone := zone_named(name))):
            return zones
    return ()


def covers_all(scopes: Iterable[str], category: str) -> bool:
    """Whether these scopes of opt-ins cover every candidate for a notification of this category."""
    return any(scope in (_EVERYTHING, f"category:{category}") for scope in scopes)


def stopping_scope(scopes: Iterable[str], category: str) -> str | None:
    """The scope that stops the whole notification, if one does.

    One that nobody can read counts as everything: STOP is honoured, whatever became of its record.
    """
    for scope in sorted(scopes):
        if scope.startswith("category:"):
            if scope == f"category:{category}":
                return scope
        elif not scope.startswith(_NARROW):
            return scope
    return None


def rfc3339(moment: datetime) -> str:
    """A moment as events write it, to the microsecond."""
    utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return f"{utc.isoformat()[:-6]}Z"  # all but "+00:00"


def _size(value: object) -> list[int]:
    """Characters and segments; of what is no string, and is refused for it, nothing."""
    return [len(value), segments_of(value)] if isinstance(value, str) else [0, 0]


def as_facts(situation: Situation) -> dict[str, Any]:
    """What was known, as the decision shows it: no address and no text.

    It is all that another policy needs to decide the same again (`policies.diff`).
    """
    request = situation.request
    template = request.template
    facts = situation.facts
    return {
        "at": rfc3339(situation.now),
        "country": situation.country,
        "scheme": situation.scheme,
        "session": situation.session,
        "sessions": {sender: rfc3339(end) for sender, end in facts.sessions.items()} if facts.sessions else {},
        "media": len(request.media),
        "links": len(text_with_links(None, request.media)) if request.media else 0,
        "text": len(request.text) if request.text else 0,
        "segments": segments_of(request.text) if request.text else 0,
        "template": (template.name or template.content_sid) if template else None,
        "content_sid": template.content_sid if template else None,
        "language": template.language if template else None,
        "variables": sorted(template.variables) if template else [],
        # of each value: characters and segments
        "values": {name: _size(value) for name, value in template.variables.items()} if template else {},
        "category": str(situation.category),
        "lane": str(situation.lane),
        "source": situation.source,
        "pinned": request.pin,
        "opt_outs": sorted(situation.stops) if situation.stops else [],
        "opt_ins": [opt_in.scope for opt_in in facts.opt_ins] if facts.opt_ins else [],
        "unreachable": sorted(facts.unreachable) if facts.unreachable else [],
        "send_at": rfc3339(request.send_at) if request.send_at else None,
        "expires_at": rfc3339(request.expires_at) if request.expires_at else None,
        "timezone": request.timezone,
        "timezones": list(facts.timezones),
        "recent": {key: [rfc3339(moment) for moment in sent] for key, sent in facts.recent.items()}
        if facts.recent
        else {},
        "last_sender": dict(facts.last_sender),
    }
