"""Routes: from the conditions of the document to the plan.

The first route that applies and has a step that can work wins. A recipient's opt-out does not move the choice to
another route: it only takes steps away from the one that would have won, so that saying STOP never adds a channel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from operator import attrgetter
from typing import Any

from channels.model import ChannelName, Form, Sender
from channels.reasons import Reason
from policies import document as doc
from policies.conditions import Condition, Vocabulary
from policies.guards import held
from policies.model import Outcome, Rejected, RoutingPlan, Step, Suppressed, TraceEntry
from policies.senders import chosen_from, sender_table
from policies.situation import Situation
from policies.steps import Fit, Obstacle, Option, fits_of, most_helpful, resolve

#: Combinations of values that each route remembers its sentence for.
_REMEMBERED = 1024


@dataclass(frozen=True, slots=True)
class CompiledStep:
    """A step of a route's plan."""

    channel: ChannelName | None  #: None: the pinned one
    forms: tuple[Form, ...]
    fits: tuple[Fit, ...]  #: of the forms
    options: Mapping[ChannelName, Option]  #: the installed channels, with the senders that this step may use
    moves: Mapping[str, Any]  #: what the step says of moving on: members of `Step` that are not worked out

    def resolve(self, channel: ChannelName, situation: Situation) -> Step | Obstacle:
        """The step as it would be sent over this channel, or what is in its way."""
        option = self.options.get(channel)
        if option is None:
            installed = ", ".join(sorted(self.options)) or "none"
            return Obstacle(Reason.NOT_ON_CHANNEL, f"no channel '{channel}' is installed (installed: {installed})")
        found = resolve(option, self.fits, situation)
        return replace(found, **self.moves) if self.moves and isinstance(found, Step) else found

    def rescue(self, chosen: Step, situation: Situation) -> Step | None:
        """The same step as a template, should the session that its free form needs close while it is on its way."""
        option = self.options[chosen.channel]
        if not option.capabilities.needs_session or chosen.form is Form.TEMPLATE or Form.TEMPLATE not in self.forms:
            return None
        found = resolve(option, fits_of((Form.TEMPLATE,)), situation)
        if isinstance(found, Obstacle):
            return None
        because = f"should the session close while the message is on its way: {found.because}"
        return replace(found, sender=chosen.sender, because=because, rescue=True, **self.moves)


@dataclass(frozen=True, slots=True)
class CompiledRoute:
    """A route, ready to be asked."""

    rule: str
    when: tuple[Condition, ...]
    unless: tuple[Condition, ...] | None
    steps: tuple[CompiledStep, ...]
    applies: Callable[[Situation], TraceEntry]  #: `matched` where it does, with the sentence that says why


@dataclass(frozen=True, slots=True)
class Routes:
    """All routes in their order."""

    routes: tuple[CompiledRoute, ...]

    def plan(self, situation: Situation, trace: list[TraceEntry]) -> Outcome:
        """The plan, or the most helpful refusal; every route looked at leaves its entries in the trace."""
        obstacles: list[Obstacle] = []
        for route in self.routes:
            entry = route.applies(situation)
            trace.append(entry)
            if not entry.matched:
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
            found = step.resolve(channel, situation)
            if isinstance(found, Step):
                steps.append(found)
                if situation.request.template is not None and (rescue := step.rescue(found, situation)):
                    steps.append(rescue)
            else:
                obstacles.append(found)
            trace.append(_tried(route.rule, channel, isinstance(found, Step), found.because))
        return steps, obstacles


def compile_route(
    route: doc.Route, vocabulary: Vocabulary, options: Mapping[ChannelName, Option], senders: Sequence[Sender]
) -> CompiledRoute:
    """Conditions as sets, channels as names, steps with the senders that they may use."""
    rule = f"route.{route.name}"
    when = vocabulary.compile(route.when)
    unless = vocabulary.compile(route.unless) if route.unless else None
    return CompiledRoute(
        rule=rule,
        when=when,
        unless=unless,
        steps=tuple(_compile_step(step, options, senders) for step in route.plan),
        applies=_judge(rule, when, unless),
    )


def _compile_step(step: doc.PlanStep, options: Mapping[ChannelName, Option], senders: Sequence[Sender]) -> CompiledStep:
    if step.sender or step.sender_kind:
        left = chosen_from(senders, step.sender, step.sender_kind)
        options = {
            channel: replace(option, senders=sender_table(left, channel), narrowed=True)
            for channel, option in options.items()
        }
    moves = {key: value for key, value in (("silence", step.within), ("on", step.on)) if value}
    channel = None if step.channel == doc.PINNED else ChannelName(step.channel)
    return CompiledStep(channel, step.form, fits_of(step.form), options, moves)


def _judge(
    rule: str, when: tuple[Condition, ...], unless: tuple[Condition, ...] | None
) -> Callable[[Situation], TraceEntry]:
    """Whether the route applies. The same values have the same answer, so the sentence is made once for each."""

    @lru_cache(maxsize=_REMEMBERED)
    def entry(*values: Any) -> TraceEntry:
        within, without = values[: len(when)], values[len(when) :]
        applies, because = _applies(list(zip(when, within, strict=True)), list(zip(unless or (), without, strict=True)))
        return TraceEntry(rule, applies, because)

    return _asking((*when, *(unless or ())), entry)


def _asking(conditions: Sequence[Condition], entry: Callable[..., TraceEntry]) -> Callable[[Situation], TraceEntry]:
    """Read the values and look the sentence up; in one step where all of them just stand in the situation."""
    reads = [condition.read for condition in conditions]
    match reads:
        case []:
            always = entry()
            return lambda _situation: always
        case [read]:
            return lambda situation: entry(read(situation))
        case _ if all(isinstance(read, attrgetter) for read in reads):
            together = attrgetter(*(condition.key for condition in conditions))
            return lambda situation: entry(*together(situation))
        case _:
            return lambda situation: entry(*[read(situation) for read in reads])


_Looked = list[tuple[Condition, Any]]  # conditions with the values that they read


def _applies(when: _Looked, unless: _Looked) -> tuple[bool, str]:
    for condition, value in when:
        if not condition.holds(value):
            return False, f"it does not apply: {condition.seen(value)}{condition.others}"
    for condition, value in unless:
        if not condition.holds(value):
            return True, f"it applies: {_seen([*when, (condition, value)])}{condition.others}"
    if unless:
        return False, f"it is not for this: {_seen(unless)}"
    return True, f"it applies: {_seen(when)}" if when else "it applies always"


def _seen(looked: _Looked) -> str:
    """The values looked at: "the country is US, there is media"."""
    return ", ".join([condition.seen(value) for condition, value in looked])


@lru_cache(maxsize=_REMEMBERED)
def _tried(rule: str, channel: ChannelName, works: bool, because: str) -> TraceEntry:
    return TraceEntry(f"{rule}.{channel}", works, because)


@lru_cache(maxsize=_REMEMBERED)
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
    reasons = [obstacle.reason for obstacle in obstacles]
    for reason in _ON_PURPOSE:
        if reason in reasons:
            return held(min((o.until for o in obstacles if o.until), default=None), reason, situation)
    if not obstacles:
        pin = situation.request.pin
        what = f"a notification pinned to '{pin}'" if pin else f"a recipient in {situation.country or 'no country'}"
        return Rejected(Reason.NO_ROUTE, f"no route of the policy is for {what}")
    reason = most_helpful(obstacles)
    if reason is Reason.NOT_ON_CHANNEL and any(other is not reason for other in reasons):
        reason = Reason.NO_ROUTE  # another channel would reach the address, and fails for something else
    details = "; ".join(dict.fromkeys(o.because for o in obstacles if reason in (o.reason, Reason.NO_ROUTE)))
    return Rejected(reason, f"{_ADVICE[reason]} ({details})")
