"""A walk through every situation that a policy can tell apart, and what each route and step came to there.

The policy's own conditions, guards and steps are asked, so that what is found holds for decisions as they are made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from channels.model import ChannelName, Form
from channels.reasons import Reason
from policies.conditions import Condition
from policies.document import ALL_FORMS, PolicyDocument
from policies.engine import Policy, compile_policy
from policies.model import Step
from policies.routes import CompiledRoute, CompiledStep
from policies.situation import Situation
from policies.space import Space, Value, space_of
from policies.steps import Obstacle, fits_of, resolve
from policies.world import World

Point = tuple[int, ...]
#: The first dimensions of settings, which are all that guards look at: the kind of address and its country.
_PLACE = 2
#: Obstacles of a step that never works, the most telling first: from what nearly works to what never could.
_TELLING = (
    Reason.PAUSED,
    Reason.SESSION_CLOSED,
    Reason.TEMPLATE_UNKNOWN,
    Reason.NO_ROUTE,
    Reason.NOT_ON_CHANNEL,
    Reason.TOO_LONG,
)


@dataclass(slots=True)
class Seen:
    """What was found in the way of a form or a step, how often."""

    works: bool = False
    obstacles: Counter[Obstacle] = field(default_factory=Counter)

    def why(self) -> str | None:
        """The most telling obstacle in words, of equally telling ones the commonest; None: nothing was tried."""
        commonest = [obstacle for obstacle, _ in self.obstacles.most_common()]
        return min(commonest, key=lambda each: _TELLING.index(each.reason)).because if commonest else None


@dataclass(slots=True)
class StepRecord:
    """What one step of a plan came to."""

    forms: dict[Form, Seen]  #: of those that its turn came to
    channels: set[ChannelName] = field(default_factory=set)  #: on which its turn came
    countries: set[str | None] = field(default_factory=set)  #: where its turn came
    could: bool = False  #: it works where its route applies, although earlier routes may take all of that

    @property
    def whole(self) -> Seen:
        """All its forms as one."""
        obstacles = sum((seen.obstacles for seen in self.forms.values()), Counter[Obstacle]())
        return Seen(any(seen.works for seen in self.forms.values()), obstacles)


@dataclass(slots=True)
class RouteRecord:
    """What one route came to."""

    steps: list[StepRecord]
    let_in: bool = False  #: `when` holds somewhere
    applies: bool = False  #: and `unless` does not
    alive: bool = False  #: where no guard stops it
    reached: bool = False  #: and no earlier route has taken it
    guards: set[str] = field(default_factory=set)  #: those that stop something it applies to
    alone: set[str] | None = None  #: those that would each stop everything it applies to
    shadows: set[int] = field(default_factory=set)  #: earlier routes that take what it applies to

    @property
    def tried(self) -> bool:
        """Whether it is worth a look at its steps: they can work, or could not even if no other route were there."""
        could = any(step.could for step in self.steps)
        return self.reached and (not could or any(step.whole.works for step in self.steps))


@dataclass(slots=True)
class Survey:
    """Everything found."""

    space: Space
    policy: Policy
    routes: list[RouteRecord]
    alive: dict[Point, int] = field(default_factory=dict)  #: what no guard stops, with content of usual length
    without_route: dict[Point, int] = field(default_factory=dict)  #: what of it no route applies to
    #: What of it some channel could carry, where none is pinned and nothing learnt.
    carried: dict[Point, int] = field(default_factory=dict)
    without_step: dict[Point, int] = field(default_factory=dict)  #: what of this routes apply to, and no step works
    #: Country, template and language in which it goes there where the notification asks for none.
    languages: set[tuple[str | None, str, str]] = field(default_factory=set)

    def impossible(self, route: int) -> str | None:
        """The first condition of this route's `when` that holds nowhere even by itself, by its key."""
        by_key = {key: dimension for dimension in self.space.circumstances for key in dimension.keys}
        for condition in self.policy.routes.routes[route].when:
            dimension = by_key.get(condition.key)
            single = (
                [[value] for value in dimension.values] if dimension else map(self.space.values, self.space.points())
            )
            if not any(condition.holds(condition.read(self.space.situation(values))) for values in single):
                return condition.key
        return None


@dataclass(frozen=True, slots=True)
class _Gate:
    """A route's conditions, split into those on settings and a set of circumstances."""

    settings: tuple[Condition, ...]
    circumstances: int

    def open(self, situation: Situation) -> int:
        """The circumstances in which the conditions hold in this setting."""
        holds = all(condition.holds(condition.read(situation)) for condition in self.settings)
        return self.circumstances if holds else 0


def survey(document: PolicyDocument, world: World) -> Survey:
    """Go through all of it."""
    space = space_of(document, world)
    policy = compile_policy(document, world)
    return _Surveyor(space, policy, any_sid=not world.templates).walk()


class _Surveyor:
    """One walk.

    Without `any_sid` a form that only templates with content SIDs of no configuration could use does not count as used:
    what is configured is what an author means.
    """

    def __init__(self, space: Space, policy: Policy, *, any_sid: bool) -> None:
        self._any_sid = any_sid
        self._space = space
        self._policy = policy
        self._gates = [
            (self._gate(route.when), self._gate(route.unless) if route.unless else None)
            for route in policy.routes.routes
        ]
        self._reach = {channel: self._reaching(channel) for channel in policy.options}
        self._pinned = {channel: self._pinning(channel) for channel in policy.options}
        self._ordinary = space.masks["reach"][0] & space.masks["pin"][0]
        self._stopped: dict[str | None, Mapping[str, int]] = {}
        self._found = Survey(space, policy, [_record(route) for route in policy.routes.routes])

    def walk(self) -> Survey:
        for point in self._space.points():
            values = self._space.values(point)
            self._visit(point, values, self._space.situation(values))
        return self._found

    def _gate(self, conditions: Iterable[Condition]) -> _Gate:
        settings, circumstances = [], self._space.everything
        by_key = {key: dimension for dimension in self._space.circumstances for key in dimension.keys}
        for condition in conditions:
            if dimension := by_key.get(condition.key):
                circumstances &= self._space.where(dimension.name, partial(self._holds, condition))
            else:
                settings.append(condition)
        return _Gate(tuple(settings), circumstances)

    def _holds(self, condition: Condition, value: Value) -> bool:
        return condition.holds(condition.read(self._space.situation([value])))

    def _reaching(self, channel: ChannelName) -> int:
        """The circumstances in which this channel may be tried: not lost, and no other is pinned."""
        kept = self._space.where("reach", lambda value: channel not in value.members)
        return kept & self._space.where("pin", lambda value: not value.members or channel in value.members)

    def _pinning(self, channel: ChannelName) -> int:
        return self._space.where("pin", lambda value: channel in value.members)

    def _visit(self, point: Point, values: tuple[Value, ...], situation: Situation) -> None:
        stopped = self._stopped_by(values, situation.country)
        possible = alive = self._space.possible(values)
        for mask in stopped.values():
            alive &= ~mask
        left, applied = alive, 0
        taken: list[tuple[int, int]] = []
        forms: dict[tuple[int, Form], Step | Obstacle] = {}
        for index, route in enumerate(self._policy.routes.routes):
            record = self._found.routes[index]
            mask = self._applying(index, record, situation) & possible
            applied |= mask
            if mask:
                _note_guards(record, mask, stopped)
            record.alive |= bool(mask & alive)
            self._note_what_could(route, record, situation, mask & alive, forms)
            record.shadows |= {earlier for earlier, took in taken if mask & took}
            if reached := mask & left:
                record.reached = True
                won = self._try_steps(route, record, situation, reached, forms)
                taken.append((index, won))
                left &= ~won
        if not any("long" in value.members for value in values):
            self._note_gaps(point, situation, alive, applied, left)

    def _applying(self, index: int, record: RouteRecord, situation: Situation) -> int:
        when, unless = self._gates[index]
        mask = when.open(situation)
        record.let_in |= bool(mask)
        if mask and unless:
            mask &= ~unless.open(situation)
        record.applies |= bool(mask)
        return mask

    def _try_steps(
        self,
        route: CompiledRoute,
        record: RouteRecord,
        situation: Situation,
        reached: int,
        forms: dict[tuple[int, Form], Step | Obstacle],
    ) -> int:
        """The circumstances in which some step works."""
        won = 0
        for step, seen in zip(route.steps, record.steps, strict=True):
            for channel in self._channels(step):
                turn = reached & self._turn(step, channel)
                if turn:
                    seen.channels.add(channel)
                    seen.countries.add(situation.country)
                    if found := self._works(step, seen, channel, situation, forms):
                        won |= turn
                        self._note_language(found, situation)
            if step.channel and step.channel not in self._policy.options:
                missing = step.resolve(step.channel, situation)
                assert isinstance(missing, Obstacle)
                for form in step.forms:
                    seen.forms[form].obstacles[missing] += 1
        return won

    def _turn(self, step: CompiledStep, channel: ChannelName) -> int:
        """The circumstances in which this step comes to this channel."""
        return self._reach[channel] & (self._space.everything if step.channel else self._pinned[channel])

    def _channels(self, step: CompiledStep) -> Iterator[ChannelName]:
        if step.channel is None:
            yield from self._policy.options
        elif step.channel in self._policy.options:
            yield step.channel

    def _works(
        self,
        step: CompiledStep,
        seen: StepRecord,
        channel: ChannelName,
        situation: Situation,
        forms: dict[tuple[int, Form], Step | Obstacle],
    ) -> Step | None:
        """The first of the step's forms that does, noting each that was looked at."""
        option = step.options[channel]
        for form in step.forms:
            key = (id(option), form)
            if key not in forms:
                forms[key] = resolve(option, fits_of((form,)), situation)
            found = forms[key]
            if isinstance(found, Step):
                seen.forms[form].works |= self._any_sid or not _is_by_sid(situation)
                return found
            seen.forms[form].obstacles[found] += 1
        return None

    def _note_language(self, step: Step, situation: Situation) -> None:
        template = situation.request.template
        if template and template.name and not template.language and step.language:
            self._found.languages.add((situation.country, template.name, step.language))

    def _note_what_could(
        self,
        route: CompiledRoute,
        record: RouteRecord,
        situation: Situation,
        applies: int,
        forms: dict[tuple[int, Form], Step | Obstacle],
    ) -> None:
        """Steps that would work here, whether or not an earlier route leaves them anything."""
        for step, seen in zip(route.steps, record.steps, strict=True):
            for channel in () if seen.could else self._channels(step):
                if applies & self._turn(step, channel):
                    alone = _unheeded(step)
                    self._works(step, alone, channel, situation, forms)
                    seen.could |= alone.whole.works

    def _stopped_by(self, values: tuple[Value, ...], country: str | None) -> Mapping[str, int]:
        """Guard -> the circumstances in which it stops whatever goes to this country; asked once for each."""
        if country not in self._stopped:
            self._stopped[country] = self._ask_guards(values[:_PLACE])
        return self._stopped[country]

    def _ask_guards(self, place: tuple[Value, ...]) -> Mapping[str, int]:
        stops: dict[str, int] = {}
        asked = {name: self._dimension(name) for name in ("category", "source", "clock")}
        for category, in_category in asked["category"]:
            for source, from_source in asked["source"]:
                for clock, at_clock in asked["clock"]:
                    situation = self._space.situation([*place, category, source, clock])
                    for guard in self._policy.guards:
                        entry, outcome = guard(situation)
                        if outcome is not None:
                            mask = in_category & from_source & at_clock
                            stops[entry.rule] = stops.get(entry.rule, 0) | mask
        return stops

    def _dimension(self, name: str) -> list[tuple[Value, int]]:
        values = next(each.values for each in self._space.circumstances if each.name == name)
        return list(zip(values, self._space.masks[name], strict=True))

    def _note_gaps(self, point: Point, situation: Situation, alive: int, applied: int, left: int) -> None:
        self._found.alive[point] = alive
        if without_route := alive & ~applied:
            self._found.without_route[point] = without_route
        self._found.carried[point] = carried = alive & self._ordinary & self._carried(situation)
        if without_step := left & applied & carried:
            self._found.without_step[point] = without_step

    def _carried(self, situation: Situation) -> int:
        """The circumstances in which some installed channel could carry this, whatever the routes say."""
        carried = 0
        for channel, option in self._policy.options.items():
            if isinstance(resolve(option, fits_of(ALL_FORMS), situation), Step):
                carried |= self._reach[channel]
        return carried


def _is_by_sid(situation: Situation) -> bool:
    template = situation.request.template
    return template is not None and template.content_sid is not None


def _note_guards(record: RouteRecord, mask: int, stopped: Mapping[str, int]) -> None:
    record.guards |= {rule for rule, stops in stopped.items() if mask & stops}
    whole = {rule for rule, stops in stopped.items() if not mask & ~stops}
    record.alone = whole if record.alone is None else record.alone & whole


def _record(route: CompiledRoute) -> RouteRecord:
    return RouteRecord([_unheeded(step) for step in route.steps])


def _unheeded(step: CompiledStep) -> StepRecord:
    return StepRecord({form: Seen() for form in step.forms})
