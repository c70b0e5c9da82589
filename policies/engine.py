"""The decision: guards first, then the first route with a step that can work. Pure: the same values, the same answer.

A policy is compiled once per document and configuration, so that a decision looks things up instead of working them
out. Whatever comes in, a decision comes out, with a trace of everything that was looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from channels.model import Category, ChannelName, OnUnknown
from policies.conditions import Vocabulary
from policies.document import OptInRule, PolicyDocument
from policies.guards import Guard, compile_guards, compile_late
from policies.model import Decision, Deferred, Outcome, RecipientFacts, RoutingRequest, Suppressed, TraceEntry
from policies.pauses import Kind, Pause, Pauses, mark_of
from policies.routes import Routes, compile_route
from policies.senders import sender_table
from policies.situation import Situation, as_facts, situation
from policies.steps import Option
from policies.templates import TemplateLanguages, Templates, texts_of
from policies.world import World


@dataclass(frozen=True, slots=True)
class OptInNeed:
    """Whose consent must be on record; an empty set means all."""

    categories: frozenset[str]
    countries: frozenset[str]

    def holds(self, request: RoutingRequest) -> bool:
        """Whether this request needs an opt-in."""
        return (not self.categories or request.category in self.categories) and (
            not self.countries or request.recipient.country in self.countries
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """A document compiled against a configuration."""

    version: str
    guards: Sequence[Guard]
    late: Sequence[Guard]  #: those of them that are asked once more before each attempt
    routes: Routes
    session_senders: frozenset[str]  #: whose sessions count
    opt_in_needs: Sequence[OptInNeed]
    options: Mapping[ChannelName, Option]  #: the installed channels
    unknown: Mapping[Category, OnUnknown]
    pauses: Pauses  #: of the document and of operators
    capped: frozenset[Category]  #: the categories under a frequency cap: `RecipientFacts.recent` matters to them alone
    remembers: float  #: the longest window of a cap, in seconds

    def on_unknown(self, category: Category) -> OnUnknown:
        """What to do with an unknown outcome where the notification itself says nothing."""
        return self.unknown.get(category, OnUnknown.RETRY)


def compile_policy(document: PolicyDocument, world: World, switches: Iterable[Pause] = ()) -> Policy:
    """Work out everything that does not depend on a request; `switches` are the pauses that operators laid over it."""
    switches = tuple(switches)
    pauses = Pauses.of(document.guards.paused, switches)
    templates = Templates(world.templates.values())
    options = {channel: _option(channel, document, world, pauses) for channel in world.channels}
    vocabulary = Vocabulary.of(document, world, templates)
    sessions = {channel for channel, capabilities in world.channels.items() if capabilities.needs_session}
    return Policy(
        version=document.version + mark_of(switches),
        guards=compile_guards(document, templates, pauses),
        late=compile_late(document, pauses),
        routes=Routes(tuple(compile_route(each, vocabulary, options, world.senders) for each in document.routes)),
        options=options,
        session_senders=frozenset(sender.name for sender in world.senders if sender.channels & sessions),
        unknown=document.on_unknown,
        pauses=pauses,
        capped=frozenset(each for cap in document.guards.frequency for each in cap.category or Category),
        remembers=max((cap.window for cap in document.guards.frequency), default=0),
        opt_in_needs=tuple(_need(rule, document) for rule in document.guards.opt_in),
    )


def decide(request: RoutingRequest, facts: RecipientFacts, policy: Policy, now: datetime) -> Decision:
    """What becomes of this request, and why. `now` and all datetimes are aware."""
    seen = situation(
        request,
        facts,
        now,
        session_senders=policy.session_senders,
        opt_in_needed=bool(policy.opt_in_needs) and any(need.holds(request) for need in policy.opt_in_needs),
    )
    trace: list[TraceEntry] = []
    outcome = _guarded(policy, seen, trace) or policy.routes.plan(seen, trace)
    return Decision(outcome, policy.version, as_facts(seen), tuple(trace))


def look_again(
    request: RoutingRequest, timezones: Sequence[str], policy: Policy, now: datetime
) -> tuple[TraceEntry, Deferred | Suppressed] | None:
    """What stops, at the moment of sending, a request that was routed before; None: it may go.

    `timezones` are those that the recipient's number tells.
    """
    facts = RecipientFacts(timezones=tuple(timezones))
    seen = situation(request, facts, now, session_senders=policy.session_senders, opt_in_needed=False)
    for guard in policy.late:
        entry, outcome = guard(seen)
        if isinstance(outcome, Deferred | Suppressed):
            return entry, outcome
    return None


def _guarded(policy: Policy, seen: Situation, trace: list[TraceEntry]) -> Outcome | None:
    """The outcome of the first guard that stops it."""
    for guard in policy.guards:
        entry, outcome = guard(seen)
        trace.append(entry)
        if outcome is not None:
            return outcome
    return None


def _option(
    channel: ChannelName,
    document: PolicyDocument,
    world: World,
    pauses: Pauses,
) -> Option:
    segments, capabilities = document.guards.segments, world.channels[channel]
    return Option(
        channel=channel,
        capabilities=capabilities,
        senders=sender_table(world.senders, channel),
        templates=Templates(world.templates.values(), approval=capabilities.approves_templates),
        texts=_texts(world) if capabilities.text and not capabilities.needs_session else {},
        languages=document.languages,
        pauses=pauses.of_one(Kind.CHANNEL, channel),
        max_segments=segments.max if segments else None,
    )


def _texts(world: World) -> Mapping[str, TemplateLanguages]:
    return {name: texts_of(entry) for name, entry in world.templates.items() if entry.text}


def _need(rule: OptInRule, document: PolicyDocument) -> OptInNeed:
    return OptInNeed(frozenset(rule.category), document.countries(rule.country))
