"""How another policy would have decided traffic that has been decided already.

The facts in a decision are enough to decide it again: they hold what routing depends on and neither the address nor
the text. Both are replaced by others that are alike to a policy: an address of the same kind and country, a text of
the same length and segments, variables likewise. Of senders that are equal, the one that was used counts as the
recipient's own, because the address that would tell is not known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from channels.model import Category, ChannelName, Handle, Lane
from channels.reasons import Reason
from policies.content import segments_of
from policies.engine import Policy, decide
from policies.explain import decision_as_dict
from policies.model import OptIn, OptOut, RecipientFacts, RoutingRequest, TemplateRequest

#: Examples kept of each kind of change.
_EXAMPLES = 3
#: Characters that cost one unit and two units of an SMS, in the GSM alphabet and outside of it.
_FILLERS = (("x", "€"), ("ж", "😀"))
_RECORDED = "recorded"


@dataclass(frozen=True, slots=True)
class Recorded:
    """A decision that was made, with what it was made from."""

    request: RoutingRequest
    facts: RecipientFacts
    now: datetime
    was: Mapping[str, Any]  #: the decision object
    source: str = ""  #: of the notification
    notification_id: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """Decisions that change in the same way in the same country."""

    country: str  #: "none" for addresses without one
    was: str  #: "whatsapp text, sms text" or "suppressed quiet_hours"
    becomes: str
    count: int
    examples: tuple[Mapping[str, str], ...]  #: a few, by source and id

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "country": self.country,
            "was": self.was,
            "becomes": self.becomes,
            "count": self.count,
            "examples": [dict(example) for example in self.examples],
        }


@dataclass(frozen=True, slots=True)
class Tally:
    """How many decisions came to something, before and after."""

    was: int
    becomes: int


@dataclass(frozen=True, slots=True)
class DiffReport:
    """What would change."""

    policy: str  #: version of the other policy
    decided: int
    changed: int
    changes: tuple[Change, ...] = ()  #: the most frequent first
    by_country: Mapping[str, int] = field(default_factory=dict)  #: changed decisions
    by_channel: Mapping[str, Tally] = field(default_factory=dict)  #: all decisions by the channel of the first step
    by_form: Mapping[str, Tally] = field(default_factory=dict)  #: likewise by its form
    not_compared: tuple[str, ...] = ()  #: what may change as well and cannot be told from the log, in sentences

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "policy": self.policy,
            "decided": self.decided,
            "changed": self.changed,
            "by_country": dict(self.by_country),
            "by_channel": {name: {"was": t.was, "becomes": t.becomes} for name, t in self.by_channel.items()},
            "by_form": {name: {"was": t.was, "becomes": t.becomes} for name, t in self.by_form.items()},
            "changes": [change.as_dict() for change in self.changes],
            "not_compared": list(self.not_compared),
        }


def diff(recorded: Iterable[Recorded], other: Policy) -> DiffReport:
    """Decide it all again; `recorded` is read once and not kept."""
    counts = _Counts()
    for each in recorded:
        counts.add(each, decision_as_dict(decide(each.request, each.facts, other, each.now)))
    return counts.report(other)


def recorded_from_event(event: Mapping[str, Any]) -> Recorded | None:
    """From a delivery event with a decision; None where it has none, or not all that is needed to decide again."""
    decision: Mapping[str, Any] = event.get("decision") or {}
    facts: Mapping[str, Any] = decision.get("facts") or {}
    if "at" not in facts:
        return None
    return Recorded(
        request=_request(facts, decision["reason"]),
        facts=_facts(facts, decision["plan"]),
        now=datetime.fromisoformat(facts["at"]),
        was=decision,
        source=str(event.get("source", "")),
        notification_id=str(event.get("notification_id", "")),
    )


class _Counts:
    def __init__(self) -> None:
        self._decided = 0
        self._uncounted = 0  #: of those under no cap when they were decided, so that nobody had counted
        self._kinds: Counter[tuple[str, str, str]] = Counter()
        self._examples: dict[tuple[str, str, str], list[Mapping[str, str]]] = {}
        self._channels: dict[str, Counter[str]] = {"was": Counter(), "becomes": Counter()}
        self._forms: dict[str, Counter[str]] = {"was": Counter(), "becomes": Counter()}

    def add(self, recorded: Recorded, becomes: Mapping[str, Any]) -> None:
        self._decided += 1
        self._uncounted += not any(entry["rule"] == "guard.frequency" for entry in recorded.was["trace"])
        for when, decision in (("was", recorded.was), ("becomes", becomes)):
            first = decision["plan"][0] if decision["plan"] else {}
            self._channels[when][first.get("channel", "none")] += 1
            self._forms[when][first.get("form", "none")] += 1
        was, now = _summary(recorded.was), _summary(becomes) + _shift(recorded.was, becomes)
        if was != now:
            kind = (recorded.request.recipient.country or "none", was, now)
            self._kinds[kind] += 1
            examples = self._examples.setdefault(kind, [])
            if len(examples) < _EXAMPLES:
                examples.append({"source": recorded.source, "notification_id": recorded.notification_id})

    def report(self, other: Policy) -> DiffReport:
        by_country: Counter[str] = Counter()
        for (country, _, _), count in self._kinds.items():
            by_country[country] += count
        return DiffReport(
            policy=other.version,
            decided=self._decided,
            changed=self._kinds.total(),
            changes=tuple(
                Change(*kind, count, tuple(self._examples[kind])) for kind, count in self._kinds.most_common()
            ),
            by_country=dict(by_country.most_common()),
            by_channel=_tallies(self._channels),
            by_form=_tallies(self._forms),
            not_compared=tuple(self._not_compared(other)),
        )

    def _not_compared(self, other: Policy) -> Iterator[str]:
        if other.unknown:
            yield "[on_unknown]: what it was when these were decided stands in no decision"
        if other.capped and self._uncounted:
            yield (
                f"[[guards.frequency]]: {self._uncounted} of these were decided without a cap, so what their "
                "recipients had lately was not counted and is taken to be nothing"
            )


def _tallies(counts: Mapping[str, Counter[str]]) -> dict[str, Tally]:
    names = sorted(counts["was"] | counts["becomes"])
    return {name: Tally(counts["was"][name], counts["becomes"][name]) for name in names}


def _summary(decision: Mapping[str, Any]) -> str:
    """What a decision comes to, in a few words: its steps, or its outcome and reason."""
    if decision["plan"]:
        return ", ".join(map(_step, decision["plan"]))
    return f"{decision['outcome']} {decision['reason']}"


def _step(step: Mapping[str, Any]) -> str:
    words = [step["channel"], step["form"]]
    words += [step[name] for name in ("content_sid", "language") if step.get(name)]
    words += ["from", step["sender"]]
    words += [f"within {step['silence']:g} s"] if step.get("silence") else []
    words += [f"on {' or '.join(step['on'])}"] if step.get("on") else []
    return " ".join(words)


def _shift(was: Mapping[str, Any], becomes: Mapping[str, Any]) -> str:
    """Whether a deferral ends at another time."""
    if not was["until"] or not becomes["until"] or was["until"] == becomes["until"]:
        return ""
    is_later = datetime.fromisoformat(becomes["until"]) > datetime.fromisoformat(was["until"])
    return ", later" if is_later else ", earlier"


def _request(facts: Mapping[str, Any], reason: str) -> RoutingRequest:
    return RoutingRequest(
        source=facts["source"],
        lane=Lane(facts["lane"]),
        recipient=Handle(facts["scheme"], "", facts["country"]),
        category=Category(facts["category"]),
        text=_text(facts["text"], facts["segments"]),
        media=_media(facts["media"], facts["links"]),
        template=_template(facts, reason),
        pin=ChannelName(facts["pinned"]) if facts["pinned"] else None,
        send_at=_moment(facts["send_at"]),
        expires_at=_moment(facts["expires_at"]),
        timezone=facts["timezone"],
    )


def _facts(facts: Mapping[str, Any], plan: Sequence[Mapping[str, Any]]) -> RecipientFacts:
    at = datetime.fromisoformat(facts["at"])
    used = {ChannelName(step["channel"]): step["sender"] for step in plan}
    return RecipientFacts(
        opt_outs=tuple(OptOut(scope, at, _RECORDED) for scope in facts["opt_outs"]),
        opt_ins=tuple(OptIn(scope, at) for scope in facts["opt_ins"]),
        sessions={sender: datetime.fromisoformat(end) for sender, end in facts["sessions"].items()},
        unreachable={ChannelName(channel): _RECORDED for channel in facts["unreachable"]},
        timezones=tuple(facts["timezones"]),
        recent={
            Category(category): tuple(map(datetime.fromisoformat, sent)) for category, sent in facts["recent"].items()
        },
        last_sender={**{ChannelName(channel): name for channel, name in facts["last_sender"].items()}, **used},
    )


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _template(facts: Mapping[str, Any], reason: str) -> TemplateRequest | None:
    """With variables that the provider takes, unless it was refused for them."""
    if facts["template"] is None:
        return None
    named = facts["template"] != facts["content_sid"]
    sizes = facts.get("values", {})  # decisions of earlier releases have none
    return TemplateRequest(
        name=facts["template"] if named else None,
        content_sid=facts["content_sid"],
        language=facts["language"],
        variables={name: _value(sizes.get(name, (1, 1)), reason) for name in facts["variables"]},
    )


def _value(size: Sequence[int], reason: str) -> str:
    length, segments = size
    return "" if reason == Reason.TEMPLATE_VARIABLES else _text(length, segments) or "x"


def _text(length: int, segments: int) -> str | None:
    """A text of this length and, as nearly as such a text can be, of these segments."""
    if not length:
        return None
    return min(_texts(length), key=lambda text: abs(segments_of(text) - segments))


def _texts(length: int) -> Iterator[str]:
    """From the cheapest in segments to the dearest."""
    for single, double in _FILLERS:
        yield single * length
        yield single * (length // 2) + double * (length - length // 2)
        yield double * length


def _media(count: int, links: int) -> tuple[str, ...]:
    """Addresses that are as long, all together and on lines of their own, as those were."""
    if not count:
        return ()
    characters = links - (count - 1)
    return ("x" * (characters - (count - 1)), *("x" for _ in range(count - 1)))
