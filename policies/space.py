"""The finite space of situations that a policy can tell apart, for going through all of it.

A situation is a point with one value in each dimension. Values stand for classes that neither the document nor the
configuration distinguishes: one country for all that are in the same lists, one moment for each stretch between two
times that are written somewhere. What steps depend on (where, session, content) spans the *settings*, which are gone
through one by one. The rest spans the *circumstances*; sets of them are bits of an integer, so that a whole set is
handled at once.

Opt-outs and opt-ins are no dimensions: they take steps away and lead nowhere else (`policies.routes`). So a situation
in which one channel has no consent is like one in which the recipient was found unreachable there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from functools import cached_property
from itertools import combinations, product
from typing import Any

from phonenumbers import SUPPORTED_REGIONS

from channels.model import Category, ChannelName, Handle, Lane, Sender
from policies import document as doc
from policies.model import RecipientFacts, RoutingRequest, TemplateRequest
from policies.numbers import zones_of_one_number
from policies.senders import US_AND_CANADA
from policies.situation import Situation, situation
from policies.steps import MUST_BE
from policies.templates import matches
from policies.world import TemplateEntry, World
from policies.zones import is_inside, places

_Answers = tuple[bool, ...]  # of each span of the day that is written

#: Media in one notification, at most (the contract).
MOST_MEDIA = 10
_DAY = datetime(2026, 1, 15, tzinfo=UTC)
#: More channels than these are not combined in all ways as unreachable.
_FEW_CHANNELS = 4
#: Countries that readers recognise, for naming a class by one of them.
_WELL_KNOWN = ("US", "CA", "GB", "DE", "FR", "ES", "IT", "BR", "MX", "IN", "JP", "AU")


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a dimension."""

    words: str
    request: Mapping[str, Any] = field(default_factory=dict)  #: what a request of this value has
    facts: Mapping[str, Any] = field(default_factory=dict)  #: what is known then
    now: datetime = _DAY
    members: frozenset[str] = frozenset()  #: the countries of the class, or the channels
    only_in: frozenset[str] | None = None  #: of a clock: the countries whose numbers it can be of; None: any address
    categories: frozenset[Category] = frozenset(Category)  #: of a setting: those that it is for


@dataclass(frozen=True, slots=True)
class Dimension:
    """What situations differ in."""

    name: str
    keys: frozenset[str]  #: the conditions that read it
    values: tuple[Value, ...]  #: the ordinary one first


@dataclass(frozen=True)
class Space:
    """All situations of one document in one configuration."""

    settings: tuple[Dimension, ...]
    circumstances: tuple[Dimension, ...]
    session_senders: frozenset[str]

    @cached_property
    def everything(self) -> int:
        """The set of all circumstances."""
        size = 1
        for dimension in self.circumstances:
            size *= len(dimension.values)
        return (1 << size) - 1

    @cached_property
    def masks(self) -> Mapping[str, tuple[int, ...]]:
        """Dimension of the circumstances -> for each of its values the set of circumstances that have it."""
        masks = {dimension.name: [0] * len(dimension.values) for dimension in self.circumstances}
        indices = product(*(range(len(dimension.values)) for dimension in self.circumstances))
        for bit, point in enumerate(indices):
            for dimension, index in zip(self.circumstances, point, strict=True):
                masks[dimension.name][index] |= 1 << bit
        return {name: tuple(sets) for name, sets in masks.items()}

    def where(self, dimension: str, holds: Callable[[Value], bool]) -> int:
        """The circumstances whose value in this dimension is such."""
        values = next(each.values for each in self.circumstances if each.name == dimension)
        return sum(mask for mask, value in zip(self.masks[dimension], values, strict=True) if holds(value))

    def points(self) -> Iterator[tuple[int, ...]]:
        """Every setting that there can be, as the indices of its values."""
        for point in product(*(range(len(dimension.values)) for dimension in self.settings)):
            if _can_be(self._merged(self.values(point)).request):
                yield point

    def values(self, point: tuple[int, ...]) -> tuple[Value, ...]:
        """The values of a setting."""
        return tuple(dimension.values[index] for dimension, index in zip(self.settings, point, strict=True))

    def possible(self, values: Sequence[Value]) -> int:
        """The circumstances that there can be in this setting."""
        is_number = self._merged(values).request["scheme"] == "tel"
        countries = frozenset[str]().union(*(value.members for value in values)) if is_number else frozenset[str]()
        categories = frozenset.intersection(*(value.categories for value in values))
        clocks = self.where("clock", lambda clock: clock.only_in is None or not clock.only_in.isdisjoint(countries))
        return clocks & self.where("category", lambda value: value.request["category"] in categories)

    def situation(self, values: Iterable[Value]) -> Situation:
        """A situation of these values, ordinary in every other dimension."""
        merged = self._merged(values)
        parts = {"scheme": "tel", "country": "US", "source": "another", "lane": Lane.NORMAL, **merged.request}
        recipient = Handle(parts.pop("scheme"), "", parts.pop("country"))
        return situation(
            RoutingRequest(recipient=recipient, **parts),
            RecipientFacts(**merged.facts),
            merged.now,
            session_senders=self.session_senders,
            opt_in_needed=False,
        )

    def _merged(self, values: Iterable[Value]) -> Value:
        request: dict[str, Any] = {}
        facts: dict[str, Any] = {}
        now = _DAY
        for value in values:
            request.update(value.request)
            facts.update(value.facts)
            now = max(now, value.now)
        return Value("", request, facts, now)


def space_of(document: doc.PolicyDocument, world: World) -> Space:
    """The space that this document and configuration span."""
    needs_session = {name for name, capabilities in world.channels.items() if capabilities.needs_session}
    session_senders = [sender for sender in world.senders if sender.channels & needs_session]
    return Space(
        settings=(
            Dimension("address", frozenset({"scheme"}), tuple(_addresses(document, world))),
            Dimension("country", frozenset({"country", "sender_kind"}), tuple(_countries(document, world))),
            Dimension("session", frozenset({"session"}), tuple(_sessions(document, session_senders))),
            Dimension("media", frozenset({"media"}), tuple(_media(world))),
            Dimension("text", frozenset({"text"}), tuple(_texts(document, world))),
            Dimension("template", frozenset({"template", "language"}), tuple(_templates(document, world))),
        ),
        circumstances=(
            Dimension("category", frozenset({"category"}), tuple(_categories())),
            Dimension("lane", frozenset({"lane"}), tuple(Value(f"lane '{lane}'", {"lane": lane}) for lane in Lane)),
            Dimension("source", frozenset({"source"}), tuple(_sources(document))),
            Dimension("clock", frozenset({"local_time"}), tuple(_clocks(document))),
            Dimension("pin", frozenset({"pinned"}), tuple(_pins(world))),
            Dimension("reach", frozenset({"reachable"}), tuple(_reaches(world))),
        ),
        session_senders=frozenset(sender.name for sender in session_senders),
    )


def conditions_of(document: doc.PolicyDocument) -> Iterator[doc.Conditions]:
    """Every table of conditions."""
    for route in document.routes:
        yield route.when
        if route.unless:
            yield route.unless


def country_classes(document: doc.PolicyDocument, world: World) -> list[tuple[str, frozenset[str]]]:
    """Countries that nothing tells apart, each class under the name of its best known member."""
    lists = [document.countries(names) for _, names in doc.named_countries(document)]
    lists += [sender.countries for sender in world.senders]
    lists += [capabilities.media_countries or frozenset() for capabilities in world.channels.values()]
    classes: dict[tuple[Any, ...], set[str]] = {}
    for country in sorted({*SUPPORTED_REGIONS, doc.NO_COUNTRY}):
        alone = country if country in US_AND_CANADA else None
        signature = (alone, document.languages.get(country), *(country in names for names in lists))
        classes.setdefault(signature, set()).add(country)
    return [(_best_known(members), frozenset(members)) for members in classes.values()]


def _best_known(countries: set[str]) -> str:
    known = next((country for country in _WELL_KNOWN if country in countries), None)
    return known or min(countries, key=lambda each: (each == doc.NO_COUNTRY, each))


def _can_be(request: Mapping[str, Any]) -> bool:
    """Something is said, and addresses have a country where they are of a kind that tells it."""
    told = request["country"] is not None
    has_content = bool(request.get("text") or request.get("media") or request.get("template"))
    return has_content and told == (request["scheme"] in _TELLING_COUNTRY)


#: Kinds of addresses with what they are called. Those of plugins tell no country.
_TELLING_COUNTRY = {"tel": "a phone number", "whatsapp": "a WhatsApp user id"}


def _addresses(document: doc.PolicyDocument, world: World) -> Iterator[Value]:
    schemes = {scheme for capabilities in world.channels.values() for scheme in capabilities.schemes}
    schemes |= {scheme for table in conditions_of(document) for scheme in table.scheme}
    for scheme in sorted({"tel"} | schemes, key=lambda each: (each != "tel", each)):
        yield Value(_TELLING_COUNTRY.get(scheme, f"a '{scheme}' address"), {"scheme": scheme})


def _countries(document: doc.PolicyDocument, world: World) -> Iterator[Value]:
    """One of each class, and none where some address has none."""
    classes = country_classes(document, world)
    for country, members in sorted(classes, key=lambda each: (each[0] != "US", each[0] != "CA")):
        others = f" (or {len(members) - 1} countries like it)" if len(members) > 1 else ""
        yield Value(f"in {country}{others}", {"country": country}, members=members)
    if any(address.request["scheme"] not in _TELLING_COUNTRY for address in _addresses(document, world)):
        yield Value("in no country", {"country": None})


def _sessions(document: doc.PolicyDocument, senders: Sequence[Sender]) -> Iterator[Value]:
    """None, and one with each sender; of senders that are alike and not named, with one."""
    yield Value("no session")
    named = {name for route in document.routes for step in route.plan for name in step.sender}
    alike: dict[Any, str] = {}
    for sender in senders:
        name = sender.name if sender.name in named else None
        alike.setdefault((name, sender.kind, sender.channels, sender.countries, sender.country), sender.name)
    for sender_name in alike.values():
        end = _DAY + timedelta(days=2)
        yield Value(f"a session open with '{sender_name}'", facts={"sessions": {sender_name: end}})


def _media(world: World) -> Iterator[Value]:
    limits = {capabilities.max_media for capabilities in world.channels.values()}
    counts = {0, 1} | {count for limit in limits for count in (limit, limit + 1) if count <= MOST_MEDIA}
    for count in sorted(counts):
        media = tuple(f"https://example.com/{n}" for n in range(count))
        yield Value(f"{count} media" if count else "no media", {"media": media})


def _texts(document: doc.PolicyDocument, world: World) -> Iterator[Value]:
    """A short one, none, and one just too long for each limit."""
    yield Value("a text", {"text": "x"})
    yield Value("no text")
    limits = {capabilities.max_text for capabilities in world.channels.values()}
    if segments := document.guards.segments:
        limits.add(153 * segments.max if segments.max > 1 else 160)
    for limit in sorted(limits):
        yield Value(f"a text of {limit + 1} characters", {"text": "x" * (limit + 1)}, members=frozenset({"long"}))


def _templates(document: doc.PolicyDocument, world: World) -> Iterator[Value]:
    """None, and one of each set of languages, asked for in each language that a condition tells from the others."""
    yield Value("no template")
    yield from _by_sid()
    wanted = {language for table in conditions_of(document) for language in table.language}
    alike: dict[Hashable, TemplateEntry] = {}
    for entry in world.templates.values():
        alike.setdefault(likeness(entry), entry)
    for entry in alike.values():
        state = "" if entry.languages else ", which is approved in no language"
        yield Value(f"template '{entry.name}'{state}", {"template": TemplateRequest(entry.name)})
        for language in _told_apart(entry.languages, wanted):
            words = f"template '{entry.name}' in '{language}'"
            yield Value(words, {"template": TemplateRequest(entry.name, language=language)})


def likeness(entry: TemplateEntry) -> Hashable:
    """What a policy can tell templates apart by."""
    return (entry.category, tuple(entry.languages), tuple(entry.text))


def _by_sid() -> Iterator[Value]:
    """Templates by content SIDs that stand nowhere under [templates]; what those must be depends on the category."""
    template = {"template": TemplateRequest(content_sid="HX")}
    yield Value(
        "a template by its content SID",
        template,
        categories=frozenset(each for each in Category if each not in MUST_BE),
    )
    for category in filter(MUST_BE.__contains__, Category):
        words = f"a template for {MUST_BE[category]} by its content SID"
        yield Value(words, {**template, "category": category}, categories=frozenset({category}))


def _told_apart(languages: Iterable[str], wanted: Collection[str]) -> Iterable[str]:
    """One language for each set of wanted ones that it is."""
    alike: dict[frozenset[str], str] = {}
    for language in languages:
        alike.setdefault(frozenset(each for each in wanted if matches(language, each)), language)
    return alike.values() if wanted else ()


def _categories() -> Iterator[Value]:
    for category in sorted(Category, key=lambda each: each is not Category.TRANSACTIONAL):
        yield Value(f"category '{category}'", {"category": category})


def _sources(document: doc.PolicyDocument) -> Iterator[Value]:
    named = {source for table in conditions_of(document) for source in table.source}
    if document.guards.paused:
        named |= set(document.guards.paused.sources)
    yield Value("any other source" if named else "any source", {"source": "another"})
    for source in sorted(named):
        yield Value(f"source '{source}'", {"source": source})


def _clocks(document: doc.PolicyDocument) -> Iterator[Value]:
    """The beginning of each stretch of the day in which nothing that is written changes; what no one clock shows."""
    spans: list[doc.Span] = [*document.guards.quiet_hours]
    spans += [table.local_time for table in conditions_of(document) if table.local_time]
    clocks = sorted({clock for span in spans for clock in (span.start, span.end)} or {time(12)})
    told = set()
    for clock in clocks:
        words = f"at {clock:%H:%M} there" if spans else "at any time"
        value = Value(words, {"timezone": "Etc/UTC"}, now=datetime.combine(_DAY, clock, tzinfo=UTC))
        told.add(_answers(spans, ("Etc/UTC",), value.now))
        yield value
    yield from _unknown_zone(spans, clocks, told)
    yield from _disagreeing(spans, clocks, told)


def _unknown_zone(spans: Sequence[doc.Span], clocks: Sequence[time], told: Set[_Answers]) -> Iterable[Value]:
    """Where neither notification nor address tells the zone: as far as that is told from every clock."""
    found: dict[_Answers, Value] = {}
    assumed = sorted({span.timezone for span in spans if span.timezone})
    for now in _moments(clocks, assumed) or [_DAY]:
        words = f"where no time zone is known{f', at {now:%H:%M} UTC' if assumed else ''}"
        found.setdefault(_answers(spans, (), now), Value(words, now=now))
    return [value for answers, value in found.items() if answers not in told]


def _disagreeing(spans: Sequence[doc.Span], clocks: Sequence[time], told: Set[_Answers]) -> Iterable[Value]:
    """Where one number may be in several zones: each moment that is told from every clock."""
    found: dict[_Answers, Value] = {}
    for zones, countries in zones_of_one_number().items():
        for now in _moments(clocks, zones):
            answers = _answers(spans, zones, now)
            if answers not in told:
                words = f"where a number may be in {len(zones)} time zones, at {now:%H:%M} UTC"
                value = found.get(answers) or Value(words, facts={"timezones": zones}, now=now, only_in=frozenset())
                found[answers] = replace(value, only_in=(value.only_in or frozenset()) | countries)
    return found.values()


def _moments(clocks: Iterable[time], zones: Iterable[str]) -> list[datetime]:
    """When the clocks of these zones come to these times, in one day of UTC."""
    shown = {datetime.combine(_DAY, clock, tzinfo=zone) for clock in clocks for zone in places(zones)}
    return sorted({_DAY + (moment - _DAY) % timedelta(days=1) for moment in shown})


def _answers(spans: Iterable[doc.Span], zones: Sequence[str], now: datetime) -> _Answers:
    """What each span says of a recipient in these zones."""
    answers = []
    for span in spans:
        names = zones or ([span.timezone] if span.timezone else [])
        inside = [is_inside(now, zone, span.start, span.end) for zone in places(names)]
        answers.append(any(inside) if isinstance(span, doc.QuietHours) else bool(inside) and all(inside))
    return tuple(answers)


def _pins(world: World) -> Iterator[Value]:
    yield Value("not pinned")
    for channel in world.channels:
        yield Value(f"pinned to '{channel}'", {"pin": channel}, members=frozenset({channel}))


def _reaches(world: World) -> Iterator[Value]:
    """Every set of channels on which the recipient may have been found unreachable."""
    yield Value("nothing learnt about the recipient")
    channels = list(world.channels)
    many = len(channels) > _FEW_CHANNELS
    sizes = sorted({1, len(channels) - 1, len(channels)}) if many else range(1, len(channels) + 1)
    for size in sizes:
        for lost in combinations(channels, size):
            yield Value(
                f"found unreachable on {' and '.join(lost)}",
                facts={"unreachable": dict.fromkeys(map(ChannelName, lost), "learnt")},
                members=frozenset(lost),
            )
