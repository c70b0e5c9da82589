"""Proves a policy against a configuration before it runs, by going through every situation the two can tell apart.

Found are situations that no route covers, routes that can never match, steps and forms that can never work, senders
that a step names in vain, and languages that no template has. Each finding stands at the line where an author would
begin to mend it. Nothing found means that every notification which no guard stops has a route.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from itertools import islice

from policies.document import CountryGuard, PlanStep, PolicyDocument, Route, dotted
from policies.numbers import zones_of_one_number
from policies.regions import Point, regions
from policies.senders import can_serve
from policies.space import country_classes, likeness
from policies.survey import RouteRecord, StepRecord, Survey, survey
from policies.templates import matches
from policies.toml_lines import Path, line_at, lines_of
from policies.world import World
from policies.zones import open_in_all, places


class Severity(StrEnum):
    """How sure it is that something is wrong."""

    ERROR = "error"  #: something is written that can have no effect, or something has no route
    WARNING = "warning"  #: it may be meant, but probably is not


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that an author should look at."""

    line: int  #: from 1
    where: str  #: "routes[2].plan[0]"
    severity: Severity
    message: str  #: a sentence


@dataclass(frozen=True, slots=True)
class _Found:
    path: Path
    message: str
    severity: Severity = Severity.ERROR


#: Gaps of one kind that are told one by one.
_TOLD = 8
#: Zones differ alike on every day, but for an hour.
_ANY_DAY = datetime(2026, 1, 15, tzinfo=UTC)


def check(document: PolicyDocument, world: World, text: str) -> list[Finding]:
    """Everything found, in the order of its lines; `text` is what the document was read from."""
    seen = survey(document, world)
    lines = lines_of(text)
    found = [
        *_languages(document, world, seen),
        *_strangers(document, world),
        *_never_open(document, world),
        *_gaps(seen),
    ]
    for index, route in enumerate(document.routes):
        found += _route(document, index, seen)
        if seen.routes[index].tried:
            found += _steps(route, index, seen.routes[index], world)
    findings = [Finding(line_at(lines, each.path), dotted(each.path), each.severity, each.message) for each in found]
    return sorted(findings, key=lambda finding: finding.line)


def _gaps(seen: Survey) -> Iterator[_Found]:
    in_vain = "no step of the routes works, although a channel could carry it: {}"
    kinds: tuple[tuple[Mapping[Point, int], Mapping[Point, int], str, Severity], ...] = (
        (seen.without_route, seen.alive, "no route covers: {}", Severity.ERROR),
        (seen.without_step, seen.carried, in_vain, Severity.WARNING),
    )
    for meant, among, sentence, severity in kinds:
        told = list(islice(regions(meant, among, seen.space), _TOLD + 1))
        for region in told[:_TOLD]:
            what = sentence.format(region.words or "everything")
            yield _Found(("routes",), f"{what} (for example: {region.example})", severity)
        if len(told) > _TOLD:
            yield _Found(("routes",), "there are more gaps of this kind: close these first", severity)


def _route(document: PolicyDocument, index: int, seen: Survey) -> Iterator[_Found]:
    """Why a route can never match, if it cannot."""
    record, path = seen.routes[index], ("routes", index)
    if not record.applies:
        yield _never_applies(index, record, seen)
    elif not record.alive:
        guards = " and ".join(sorted(record.alone or record.guards))
        yield _Found(path, f"this route can never match: what it is for never passes {guards}")
    elif not record.tried:
        earlier = ", ".join(f"'{document.routes[other].name}'" for other in sorted(record.shadows))
        yield _Found(path, f"this route can never match: earlier routes take all that it could carry: {earlier}")


def _never_applies(index: int, record: RouteRecord, seen: Survey) -> _Found:
    if record.let_in:
        return _Found(("routes", index, "unless"), "this route can never match: 'unless' takes away all 'when' lets in")
    if key := seen.impossible(index):
        return _Found(("routes", index, "when", key), f"this route can never match: '{key}' never has such a value")
    return _Found(("routes", index, "when"), "this route can never match: its conditions exclude each other")


def _steps(route: Route, index: int, record: RouteRecord, world: World) -> Iterator[_Found]:
    for place, (step, seen) in enumerate(zip(route.plan, record.steps, strict=True)):
        path = ("routes", index, "plan", place)
        vain = list(_senders(step, seen, world, path))
        yield from vain
        if not seen.whole.works:
            yield from () if vain else [_Found(path, _never_works(seen))]
        elif "form" in step.model_fields_set:
            yield from _forms(step, seen, path)
    if route.plan[-1].within is not None or route.plan[-1].on:
        path = ("routes", index, "plan", len(route.plan) - 1)
        yield _Found(path, "'within' and 'on' lead to a next step, and there is none", Severity.WARNING)


def _never_works(seen: StepRecord) -> str:
    if seen.could:
        return "this step can never work: earlier routes take all that it could carry"
    return f"this step can never work: {seen.whole.why() or 'what reaches its route never comes to its channel'}"


def _forms(step: PlanStep, seen: StepRecord, path: Path) -> Iterator[_Found]:
    for place, form in enumerate(step.form):
        if not seen.forms[form].works:
            why = seen.forms[form].why() or "a form before it always fits"
            yield _Found((*path, "form", place), f"the form '{form}' is never used: {why}", Severity.WARNING)


def _senders(step: PlanStep, seen: StepRecord, world: World, path: Path) -> Iterator[_Found]:
    senders = {sender.name: sender for sender in world.senders}
    for place, name in enumerate(step.sender):
        sender = senders.get(name)
        if sender is None:
            yield _Found((*path, "sender", place), f"no sender '{name}' is configured")
        elif seen.countries and not any(
            can_serve(sender, channel, to) for channel in seen.channels for to in seen.countries
        ):
            countries = ", ".join(sorted(country or "no country" for country in seen.countries))
            yield _Found(
                (*path, "sender", place), f"'{name}' can serve none of this step's recipients (such as in {countries})"
            )


def _languages(document: PolicyDocument, world: World, seen: Survey) -> Iterator[_Found]:
    """Countries whose language no template has, or not each that is sent there."""
    approved = {language for each in world.templates.values() for language in (*each.languages, *each.text)}
    class_of = {country: name for name, members in country_classes(document, world) for country in members}
    for country, language in document.languages.items():
        path = ("languages", country)
        if approved and not _has(approved, language):
            yield _Found(path, f"no template is approved in '{language}', the language of {country}")
            continue
        sent_there = sorted((name, sent) for where, name, sent in seen.languages if where == class_of[country])
        alike = {likeness(world.templates[name]): sent for name, sent in sent_there if not _has([sent], language)}
        for entry in world.templates.values():
            if sent := alike.get(likeness(entry)):
                lacks = f"template '{entry.name}' has no '{language}', the language of {country}"
                yield _Found(path, f"{lacks}: it goes there in '{sent}'", Severity.WARNING)


def _strangers(document: PolicyDocument, world: World) -> Iterator[_Found]:
    """Channels that are named outside of plans, and are not there."""
    named: list[tuple[Path, Sequence[str]]] = []
    if document.guards.paused:
        named.append((("guards", "paused", "channels"), document.guards.paused.channels))
    for index, route in enumerate(document.routes):
        named.append((("routes", index, "when", "reachable"), route.when.reachable))
        if route.unless:
            named.append((("routes", index, "unless", "reachable"), route.unless.reachable))
    installed = ", ".join(sorted(world.channels)) or "none"
    for path, channels in named:
        for place, channel in enumerate(channels):
            if channel not in world.channels:
                message = f"no channel '{channel}' is installed, so this has no effect (installed: {installed})"
                yield _Found((*path, place), message)


def _never_open(document: PolicyDocument, world: World) -> Iterator[_Found]:
    """Quiet hours that numbers of several zones never leave."""
    for index, quiet in enumerate(document.guards.quiet_hours):
        held = document.countries(quiet.country)
        shut = []
        for zones, numbers_of in zones_of_one_number().items():
            countries = [each for each in sorted(numbers_of) if not held or each in held]
            reached = [each for each in countries if _reached(each, document, world)]
            if reached and open_in_all(_ANY_DAY, places(zones), quiet.start, quiet.end) is None:
                shut.append((len(zones), reached))
        if shut:
            count, countries = max(shut)
            which = f"in {' and '.join(countries)}, where one number may be in {count} zones"
            message = (
                f"some numbers never leave these hours in all of their time zones, so they are never sent to: {which}"
            )
            yield _Found(("guards", "quiet_hours", index), message, Severity.WARNING)


def _reached(country: str, document: PolicyDocument, world: World) -> bool:
    """Whether anything can be sent to numbers of this country."""
    guard = document.guards.countries or CountryGuard()
    allowed = document.countries(guard.allowed)
    if country in document.countries(guard.blocked) or (allowed and country not in allowed):
        return False
    return any(can_serve(sender, channel, country) for sender in world.senders for channel in sender.channels)


def _has(approved: Iterable[str], wanted: str) -> bool:
    return any(matches(language, wanted) or matches(wanted, language) for language in approved)
