"""Routes: from the conditions of the document to the plan.

The first route that applies and has a step that can work wins. A recipient's opt-out does not move the choice to
another route: it only takes steps away from the one that would have won, so that saying STOP never adds a channel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from channels.model import ChannelName, Form
from channels.reasons import Reason
from policies import document as doc
from policies.model import Outcome, Rejected, RoutingPlan, Step, Suppressed, TraceEntry
from policies.situation import Situation
from policies.steps import Obstacle, Option, most_helpful, resolve


@dataclass(frozen=True, slots=True)
class Condition:
    """One key of `when` or `unless`."""

    key: str
    read: Callable[[Situation], Any]
    wanted: frozenset[Any]
    phrases: Mapping[Any, str]  #: how the trace says a value; without one: "the <key> is <value>"
    others: str  #: the wanted values, where the value alone does not tell them: ", not US or CA"

    def seen(self, situation: Situation) -> str:
        """The value looked at, in words."""
        value = self.read(situation)
        return self.phrases.get(value) or f"the {self.key} is {value or 'not known'}"


#: Values that read badly as "the <key> is <value>".
_PHRASES: Mapping[str, Mapping[Any, str]] = {
    "media": {True: "there is media", False: "there is no media"},
    "text": {True: "there is text", False: "there is no text"},
    "pinned": {True: "a channel is pinned", False: "no channel is pinned"},
    "template": {"given": "a template is given", "none": "no template is given"},
    "session": {"open": "a session is open", "closed": "the session has ended", "none": "there is no session"},
}


@dataclass(frozen=True, slots=True)
class CompiledStep:
    """A step of a route's plan."""

    channel: ChannelName | None  #: None: the pinned one
    forms: tuple[Form, ...]


@dataclass(frozen=True, slots=True)
class CompiledRoute:
    """A route, ready to be asked."""

    rule: str
    when: tuple[Condition, ...]
    unless: tuple[Condition, ...] | None
    steps: tuple[CompiledStep, ...]


@dataclass(frozen=True, slots=True)
class Routes:
    """All routes with the channels they can use."""

    routes: tuple[CompiledRoute, ...]
    options: Mapping[ChannelName, Option]

    def plan(self, situation: Situation, trace: list[TraceEntry]) -> Outcome:
        """The plan, or the most helpful refusal; every route looked at leaves its entries in the trace."""
        obstacles: list[Obstacle] = []
        for route in self.routes:
            because, applies = _applies(route, situation)
            trace.append(TraceEntry(route.rule, applies, because))
            if not applies:
                continue
            steps, in_the_way = self._steps(route, situation, trace)
            if steps:
                return RoutingPlan(tuple(steps))
            obstacles += in_the_way
            if any(obstacle.reason is Reason.OPTED_OUT for obstacle in in_the_way):
                return Suppressed(Reason.OPTED_OUT)
        return _refusal(obstacles, situation)

    def _steps(
        self, route: CompiledRoute, situation: Situation, trace: list[TraceEntry]
    ) -> tuple[list[Step], list[Obstacle]]:
        """The steps that can work, and what is in the way of the others."""
        steps: list[Step] = []
        obstacles: list[Obstacle] = []
        pin = situation.request.pin
        for step in route.steps:
            channel = step.channel or pin
            if channel is None or (pin is not None and channel != pin):
                trace.append(_not_pinned(route.rule, step.channel, pin))
                continue
            found = self._resolve(channel, step.forms, situation)
            if isinstance(found, Step):
                steps.append(found)
            else:
                obstacles.append(found)
            trace.append(TraceEntry(f"{route.rule}.{channel}", isinstance(found, Step), found.because))
        return steps, obstacles

    def _resolve(self, channel: ChannelName, forms: tuple[Form, ...], situation: Situation) -> Step | Obstacle:
        option = self.options.get(channel)
        if option is None:
            installed = ", ".join(sorted(self.options)) or "none"
            return Obstacle(Reason.NOT_ON_CHANNEL, f"no channel '{channel}' is installed (installed: {installed})")
        return resolve(option, forms, situation)


def compile_route(route: doc.Route, document: doc.PolicyDocument) -> CompiledRoute:
    """Conditions as sets, channels as names."""
    return CompiledRoute(
        rule=f"route.{route.name}",
        when=_conditions(route.when, document),
        unless=_conditions(route.unless, document) if route.unless else None,
        steps=tuple(
            CompiledStep(None if step.channel == doc.PINNED else ChannelName(step.channel), step.form)
            for step in route.plan
        ),
    )


def _conditions(table: doc.Conditions, document: doc.PolicyDocument) -> tuple[Condition, ...]:
    keys = [key for key in doc.Conditions.model_fields if key in table.model_fields_set]
    return tuple(_condition(key, getattr(table, key), document) for key in keys)


def _condition(key: str, value: Any, document: doc.PolicyDocument) -> Condition:
    values = value if isinstance(value, tuple) else (value,)
    phrases = _PHRASES.get(key, {})
    others = "" if phrases else f", not {' or '.join(values)}"
    if key == "country":
        values = tuple(document.countries(values))
    if key == "session" and doc.SessionState.CLOSED in values:
        values = (*values, doc.SessionState.NONE)  # where there never was a session, none is open
    return Condition(key, attrgetter(key), frozenset(values), phrases, others)


def _applies(route: CompiledRoute, situation: Situation) -> tuple[str, bool]:
    """Whether the route applies, after the sentence that says why."""
    for condition in route.when:
        if condition.read(situation) not in condition.wanted:
            return f"it does not apply: {condition.seen(situation)}{condition.others}", False
    for condition in route.unless or ():
        if condition.read(situation) not in condition.wanted:
            return f"it applies: {_seen((*route.when, condition), situation)}{condition.others}", True
    if route.unless:
        return f"it is not for this: {_seen(route.unless, situation)}", False
    return f"it applies: {_seen(route.when, situation)}" if route.when else "it applies always", True


def _seen(conditions: tuple[Condition, ...], situation: Situation) -> str:
    """The values looked at: "the country is US, there is media"."""
    return ", ".join([condition.seen(situation) for condition in conditions])


def _not_pinned(rule: str, channel: ChannelName | None, pin: ChannelName | None) -> TraceEntry:
    if channel is None:
        return TraceEntry(f"{rule}.{doc.PINNED}", False, "the notification pins no channel")
    return TraceEntry(f"{rule}.{channel}", False, f"the notification is pinned to '{pin}'")


#: Refusals that are nobody's mistake, in the order in which they count.
_ON_PURPOSE = (Reason.PAUSED, Reason.NO_CONSENT)

_ADVICE: Mapping[Reason, str] = {
    Reason.TOO_LONG: "content.text is too long: shorten it",
    Reason.TEMPLATE_UNKNOWN: "content.template cannot be used: have it approved in a language of this recipient",
    Reason.SESSION_CLOSED: "no session is open and no template can be used: give content.template, "
    "or wait until the recipient writes",
    Reason.NOT_ON_CHANNEL: "the recipient cannot be reached on this channel: pin another one, or none",
    Reason.NO_ROUTE: "no step of the policy can work",
}


def _refusal(obstacles: list[Obstacle], situation: Situation) -> Outcome:
    reasons = {obstacle.reason for obstacle in obstacles}
    for reason in _ON_PURPOSE:
        if reason in reasons:
            return Suppressed(reason)
    if not obstacles:
        pin = situation.request.pin
        what = f"a notification pinned to '{pin}'" if pin else f"a recipient in {situation.country or 'no country'}"
        return Rejected(Reason.NO_ROUTE, f"no route of the policy is for {what}")
    reason = most_helpful(obstacles)
    if reason is Reason.NOT_ON_CHANNEL and reasons != {reason}:
        reason = Reason.NO_ROUTE  # another channel would reach the address, and fails for something else
    details = "; ".join(dict.fromkeys(o.because for o in obstacles if reason in (o.reason, Reason.NO_ROUTE)))
    return Rejected(reason, f"{_ADVICE[reason]} ({details})")
