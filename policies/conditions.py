"""Conditions: the closed vocabulary of `when` and `unless`, compiled into lookups.

Each reads one value of the situation and tells whether it is one that the document wants, and what it is in words. The
words follow from the value alone, so a route remembers what it said of the same values before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from channels.model import SenderKind
from policies import document as doc
from policies.senders import ByCountry, kind_table
from policies.situation import Situation, recipient_zones
from policies.templates import ChosenTemplate, Templates, matches
from policies.world import World
from policies.zones import is_inside

Read = Callable[[Situation], Any]


@dataclass(frozen=True, slots=True)
class Condition:
    """One key of `when` or `unless`."""

    key: str
    read: Read  #: the value looked at, hashable; an attrgetter is one of the attribute called `key`
    holds: Callable[[Any], bool]  #: whether this value is wanted
    seen: Callable[[Any], str]  #: this value in words
    others: str = ""  #: the wanted values, where the value alone does not tell them: ", not US or CA"


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What conditions need to know of the document and the configuration."""

    document: doc.PolicyDocument
    templates: Templates
    kinds: ByCountry[frozenset[SenderKind]]

    @classmethod
    def of(cls, document: doc.PolicyDocument, world: World, templates: Templates) -> Vocabulary:
        """Of a policy that is being compiled."""
        return cls(document, templates, kind_table(world.senders))

    def compile(self, table: doc.Conditions) -> tuple[Condition, ...]:
        """In the order of the vocabulary, which is from what is read fastest."""
        keys = [key for key in doc.Conditions.model_fields if key in table.model_fields_set]
        return tuple(self._condition(key, getattr(table, key)) for key in keys)

    def _condition(self, key: str, value: Any) -> Condition:
        match key:
            case "country":
                return _plain(key, self.document.countries(value), value)
            case "language":
                return self._language(value)
            case "template":
                return self._template(value)
            case "reachable":
                return _reachable(value)
            case "sender_kind":
                return self._sender_kind(value)
            case "local_time":
                return _local_time(value)
            case "session":
                return _phrased(key, attrgetter(key), value)
            case "media" | "text" | "pinned":
                return _phrased(key, attrgetter(key), (value,))
            case _:
                return _plain(key, value, value)

    def _language(self, wanted: tuple[str, ...]) -> Condition:
        known = self.templates.languages
        fitting = frozenset(language for language in known if any(matches(language, asked) for asked in wanted))

        def read(situation: Situation) -> str | None:
            chosen = self._chosen(situation)
            return chosen.language if chosen else None

        def seen(language: str | None) -> str:
            return f"the template would be sent in {language or 'no known language'}"

        return Condition("language", read, fitting.__contains__, seen, f", not {' or '.join(wanted)}")

    def _template(self, wanted: tuple[doc.TemplateState, ...]) -> Condition:
        def read(situation: Situation) -> str:
            if situation.template == "none":
                return "none"
            return "approved" if self._chosen(situation) else "unapproved"

        return _phrased("template", read, _with_members(wanted, _TEMPLATE_MEMBERS))

    def _chosen(self, situation: Situation) -> ChosenTemplate | None:
        request = situation.request.template
        usual = self.document.languages.get(situation.country or "")
        return self.templates.choose(request, usual) if request else None

    def _sender_kind(self, wanted: tuple[SenderKind, ...]) -> Condition:
        names = " or ".join(wanted)

        def read(situation: Situation) -> bool:
            return not self.kinds.of(situation.country).isdisjoint(wanted)

        def seen(can_serve: bool) -> str:
            return f"{'a' if can_serve else 'no'} sender of kind {names} can serve the recipient's country"

        return Condition("sender_kind", read, bool, seen)


#: Values that read badly as "the <key> is <value>".
_PHRASES: Mapping[str, Mapping[Any, str]] = {
    "media": {True: "there is media", False: "there is no media"},
    "text": {True: "there is text", False: "there is no text"},
    "pinned": {True: "a channel is pinned", False: "no channel is pinned"},
    "template": {
        "approved": "a template is given",
        "unapproved": "the template given is approved in no language",
        "none": "no template is given",
    },
    "session": {"open": "a session is open", "closed": "no session is open"},
}

#: Values that stand for others besides themselves.
_TEMPLATE_MEMBERS: Mapping[str, tuple[str, ...]] = {"given": ("approved", "unapproved")}


def _with_members(values: tuple[str, ...], members: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(member for value in values for member in members.get(value, (str(value),)))


def _plain(key: str, wanted: Any, names: tuple[str, ...]) -> Condition:
    others = f", not {' or '.join(names)}"
    return Condition(
        key,
        attrgetter(key),
        frozenset(wanted).__contains__,
        lambda value: f"the {key} is {value or 'not known'}",
        others,
    )


def _phrased(key: str, read: Read, wanted: tuple[Any, ...]) -> Condition:
    phrases = _PHRASES[key]
    return Condition(key, read, frozenset(wanted).__contains__, phrases.__getitem__)


def _reachable(channels: tuple[str, ...]) -> Condition:
    names = " or ".join(channels)

    def read(situation: Situation) -> bool:
        return any(channel not in situation.facts.unreachable for channel in channels)

    def seen(reachable: bool) -> str:
        return f"nothing learnt speaks against {names}" if reachable else f"the recipient is unreachable on {names}"

    return Condition("reachable", read, bool, seen)


def _local_time(span: doc.Span) -> Condition:
    hours = f"{span.start:%H:%M}-{span.end:%H:%M}"

    def read(situation: Situation) -> tuple[bool, str]:
        zones = recipient_zones(situation, span.timezone)
        clocks = ", ".join(f"{situation.now.astimezone(zone):%H:%M} in {zone.key}" for zone in zones)
        return bool(zones) and all(is_inside(situation.now, zone, span.start, span.end) for zone in zones), clocks

    def holds(value: tuple[bool, str]) -> bool:
        return value[0]

    def seen(value: tuple[bool, str]) -> str:
        return f"it is {value[1]}" if value[1] else "the recipient's time zone is not known"

    return Condition("local_time", read, holds, seen, f", not in {hours}")
