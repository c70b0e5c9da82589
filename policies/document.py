"""The policy document: TOML over a closed vocabulary, checked as a whole before it is in force.

A document is guards, which may stop a notification, and ordered routes, which give the plan. Whatever is not in the
vocabulary is refused with the line it stands on, because a typo in a guard must not open it. docs/policy.md is the
reference for authors.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import time
from enum import StrEnum
from functools import cache, cached_property
from importlib.resources import files
from typing import Annotated, Any, Self, TypeVar, get_args

from phonenumbers import SUPPORTED_REGIONS
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    StrictBool,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, ErrorDetails
from pydantic_core.core_schema import no_info_before_validator_function

from channels.model import Category, Form, Lane, OnUnknown, SenderKind
from policies.retry import MOVES_ON
from policies.toml_lines import Path, line_at, lines_of
from policies.zones import zone_named

#: What numbers of no country have for one: satellite telephones and global networks (+870, +881, +882, +883, +979).
#: The region of the world in UN M.49, by which phonenumbers calls them too.
NO_COUNTRY = "001"
#: Stands in a step for the channel that the notification pins.
PINNED = "pinned"
#: Most faithful first: the order in which a step without a form tries them.
ALL_FORMS = (Form.MEDIA, Form.LINK, Form.TEXT, Form.TEMPLATE)

T = TypeVar("T")


class Action(StrEnum):
    """What a guard of time or number does with a notification that it stops."""

    DEFER = "defer"  #: ask again when the guard would let it pass
    SUPPRESS = "suppress"  #: do not send it at all


class SessionState(StrEnum):
    """Whether the recipient may be written to free-form on a channel that needs a session."""

    OPEN = "open"  #: with at least one of our senders
    CLOSED = "closed"  #: with none: what has ended is forgotten, so it is the same as if there never was one


class TemplateState(StrEnum):
    """What a notification brings for channels that take templates."""

    GIVEN = "given"  #: a template, approved or not
    APPROVED = "approved"  #: approved in some language; a content SID that is not configured is taken to be
    NONE = "none"  #: none


class _OneOrMany:
    """At least one value; a lone one stands for a list of one, in documents and in their schema."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return no_info_before_validator_function(_as_list, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        many = handler(schema)
        return {"anyOf": [many["items"], {**many, "minItems": 1}]}


def _as_list(value: Any) -> Any:
    values = value if isinstance(value, list | tuple) else [value]
    if not values:
        raise ValueError("is an empty list: leave the key out instead")
    return values


def _country(code: str) -> str:
    if code not in SUPPORTED_REGIONS and code != NO_COUNTRY:
        raise ValueError(f"{code!r} is no ISO 3166-1 alpha-2 country (the United Kingdom is 'GB')")
    return code


def _country_or_group(name: str) -> str:
    """Countries are written in capitals, groups are not: whether a group exists is checked with the whole document."""
    return _country(name) if _is_country(name) else name


def _is_country(name: str) -> bool:
    return name.isupper() or name == NO_COUNTRY


def _zone(name: str) -> str:
    if zone_named(name) is None:
        raise ValueError(f"{name!r} is no IANA time zone (such as 'Europe/Madrid')")
    return name


def _failure(name: str) -> str:
    if name not in MOVES_ON:
        raise ValueError(f"{name!r} does not lead to a next step; what may is {', '.join(MOVES_ON)}")
    return name


Many = Annotated[tuple[T, ...], _OneOrMany()]
Country = Annotated[str, AfterValidator(_country), Field(json_schema_extra={"pattern": f"^([A-Z]{{2}}|{NO_COUNTRY})$"})]
CountryOrGroup = Annotated[str, AfterValidator(_country_or_group)]
GroupName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
RouteName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
ChannelToken = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
Source = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,32}$")]
Scheme = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9+.-]{0,31}$")]
Language = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*$")]
Zone = Annotated[str, AfterValidator(_zone)]
SenderName = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Failed = Annotated[str, AfterValidator(_failure), Field(json_schema_extra={"enum": list(MOVES_ON)})]
Clock = Annotated[time, WithJsonSchema({"type": "string", "pattern": r"^([01]\d|2[0-3]):[0-5]\d(:[0-5]\d)?$"})]
Count = Annotated[int, Field(strict=True, ge=1)]
Seconds = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]


class Table(BaseModel):
    """A table of the document: what it does not know, it refuses."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Span(Table):
    """A part of the day on the recipient's clock; may cross midnight."""

    start: Clock = Field(alias="from")  #: from this time on
    end: Clock = Field(alias="until")  #: up to this time, which is outside again
    timezone: Zone | None = None  #: where neither notification nor number tells the zone

    @model_validator(mode="after")
    def _is_a_span(self) -> Self:
        if self.start == self.end:
            raise ValueError("'from' and 'until' are the same time, which is no span of the day")
        if self.start.tzinfo or self.end.tzinfo:
            raise ValueError("'from' and 'until' are on the recipient's own clock: write them without an offset")
        return self


class Conditions(Table):
    """All that are given must hold; of several values, one suffices."""

    country: Many[CountryOrGroup] = ()  #: of the recipient
    session: Many[SessionState] = ()
    media: StrictBool | None = None  #: whether the notification has media
    text: StrictBool | None = None  #: whether it has text
    template: Many[TemplateState] = ()
    language: Many[Language] = ()  #: in which the template would be sent
    category: Many[Category] = ()
    lane: Many[Lane] = ()
    source: Many[Source] = ()  #: the publishing service
    pinned: StrictBool | None = None  #: whether the notification pins a channel
    scheme: Many[Scheme] = ()  #: of the recipient's address: "tel", "whatsapp" or a plugin's
    reachable: Many[ChannelToken] = ()  #: no earlier attempt taught that the recipient is not on this channel
    sender_kind: Many[SenderKind] = ()  #: a sender of ours of this kind can serve the recipient's country
    local_time: Span | None = None  #: on the recipient's clock, in every zone they may be in


class PlanStep(Table):
    """One way to try: the first of its forms that fits the content is used."""

    channel: ChannelToken  #: or "pinned": the channel that the notification pins
    form: Many[Form] = ALL_FORMS
    sender: Many[SenderName] = ()  #: only these; absent: any that can serve
    sender_kind: Many[SenderKind] = ()  #: only of these kinds
    within: Seconds | None = None  #: without a delivery after so long, the next step runs
    on: Many[Failed] = ()  #: the failures that lead to the next step; absent: all that may


class Route(Table):
    """A plan, and when it is for."""

    name: RouteName
    when: Conditions = Conditions()  #: absent: always
    unless: Conditions | None = None  #: where these hold, the route does not apply
    plan: Many[PlanStep]

    @model_validator(mode="after")
    def _can_apply(self) -> Route:
        if self.unless is not None and not self.unless.model_fields_set:
            raise ValueError("'unless' without a condition holds always, so this route could never apply")
        return self


class Paused(Table):
    """What an operator has stopped for the time being."""

    categories: Many[Category] = ()
    channels: Many[ChannelToken] = ()
    sources: Many[Source] = ()
    action: Action = Action.SUPPRESS
    again: Seconds = 300.0  #: after which what is deferred is asked again


class CountryGuard(Table):
    """Where nothing is sent: the guard against toll fraud."""

    allowed: Many[CountryOrGroup] = ()  #: absent: everywhere
    blocked: Many[CountryOrGroup] = ()


class OptInRule(Table):
    """What needs an opt-in on record; an absent condition means all."""

    category: Many[Category] = ()
    country: Many[CountryOrGroup] = ()


class QuietHours(Span):
    """When nothing is sent."""

    country: Many[CountryOrGroup] = ()  #: absent: everywhere
    exempt: Many[Category] = ()
    action: Action = Action.DEFER


class FrequencyCap(Table):
    """How many messages one recipient may get."""

    limit: Count  #: messages
    window: Count  #: seconds
    category: Many[Category] = ()  #: which are counted and which are held back; absent: all
    action: Action = Action.DEFER


class Segments(Table):
    """How much one text may cost."""

    max: Count  #: SMS segments of one message


class Guards(Table):
    """Asked before any route; opt-outs, expiry and `send_at` are always honoured and have no switch."""

    paused: Paused | None = None
    countries: CountryGuard | None = None
    opt_in: Many[OptInRule] = ()
    quiet_hours: Many[QuietHours] = ()
    frequency: Many[FrequencyCap] = ()
    segments: Segments | None = None


class PolicyDocument(Table):
    """A whole policy."""

    label: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,32}$")] = Field(alias="version")
    groups: dict[GroupName, Many[Country]] = {}
    languages: dict[Country, Language] = {}  #: country -> language of templates where the notification's is not there
    on_unknown: dict[Category, OnUnknown] = {}  #: where the notification itself says nothing; absent: retry
    guards: Guards = Guards()
    routes: Many[Route]

    @cached_property
    def version(self) -> str:
        """The author's label and a hash of what the document says: comments and layout do not change it."""
        content = self.model_dump_json(by_alias=True, exclude_unset=True)
        return f"{self.label}+{hashlib.sha256(content.encode()).hexdigest()[:8]}"

    def countries(self, names: tuple[str, ...]) -> frozenset[str]:
        """The countries that these codes and groups name."""
        return frozenset(code for name in names for code in self.groups.get(name, (name,)))


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a document."""

    line: int  #: from 1
    where: str  #: "routes[2].when.session"; empty: the text as a whole
    message: str


class PolicyError(Exception):
    """A document that cannot be in force; every problem names its line and field."""

    def __init__(self, problems: Sequence[Problem], name: str = "policy") -> None:
        super().__init__("\n".join(f"{name}:{p.line}: {p.where}{': ' if p.where else ''}{p.message}" for p in problems))
        self.problems = tuple(problems)
        self.name = name


def load(text: str, name: str) -> PolicyDocument:
    """Read a document; `name` stands before each problem. Raises `PolicyError` with everything that is wrong."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise PolicyError([_syntax_problem(text, str(exc))], name) from None
    lines = lines_of(text)
    try:
        document = PolicyDocument.model_validate(tables)
    except ValidationError as exc:
        found = [(error["loc"], _sentence(error)) for error in exc.errors(include_url=False, include_input=False)]
    else:
        found = [*_undeclared_groups(document), *_repeated_names(document)]
        if not found:
            return document
    problems = [Problem(line_at(lines, path), dotted(path), message) for path, message in found]
    raise PolicyError(sorted(problems, key=lambda problem: problem.line), name)


def json_schema() -> dict[str, Any]:
    """The published JSON Schema of the document, for editors and for checks before a deployment."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:pointsman:schema:policy",
        **PolicyDocument.model_json_schema(by_alias=True),
        "title": "Pointsman policy",
    }


@cache
def shipped() -> PolicyDocument:
    """The policy that is in force where none is configured."""
    name = "default.toml"
    return load(files("policies").joinpath(name).read_text("utf-8"), name)


def _syntax_problem(text: str, message: str) -> Problem:
    """`tomllib` puts the place into its sentence: "... (at line 3, column 5)"."""
    place = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", message)
    line = int(place[1]) if place and place[1] else text.count("\n") + 1
    return Problem(line, "", f"not TOML: {message[: place.start()] if place else message}")


def dotted(path: Path) -> str:
    """("routes", 2, "when") as "routes[2].when"; what is wrong with a key itself is said of the key."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in path if part != "[key]")
    return "".join(parts).removeprefix(".")


def _sentence(error: ErrorDetails) -> str:
    match error["type"]:
        case "extra_forbidden":
            return f"there is no such key; the keys here are {', '.join(_keys_beside(error['loc']))}"
        case "missing":
            return "is required"
        case _:
            return error["msg"].removeprefix("Value error, ").replace("Input should", "should")


def _keys_beside(path: Path) -> list[str]:
    """The keys that the table around the last part of the path may have."""
    table: type[Table] = PolicyDocument
    for part in path[:-1]:
        if isinstance(part, str):
            fields = {field.alias or name: field for name, field in table.model_fields.items()}
            table = _table_in(fields[part].annotation) or table
    return sorted(field.alias or name for name, field in table.model_fields.items())


def _table_in(annotation: Any) -> type[Table] | None:
    """The table inside a list or an option of it."""
    if isinstance(annotation, type) and issubclass(annotation, Table):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _table_in(inner))), None)


def _undeclared_groups(document: PolicyDocument) -> Iterator[tuple[Path, str]]:
    for path, names in named_countries(document):
        for index, name in enumerate(names):
            if not _is_country(name) and name not in document.groups:
                declared = ", ".join(document.groups) or "none"
                yield (*path, index), f"no group {name!r} is declared under [groups] (declared: {declared})"


def named_countries(document: PolicyDocument) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Every list of countries and groups with its path."""
    guards = document.guards
    if guards.countries:
        yield ("guards", "countries", "allowed"), guards.countries.allowed
        yield ("guards", "countries", "blocked"), guards.countries.blocked
    for index, rule in enumerate(guards.opt_in):
        yield ("guards", "opt_in", index, "country"), rule.country
    for index, quiet in enumerate(guards.quiet_hours):
        yield ("guards", "quiet_hours", index, "country"), quiet.country
    for index, route in enumerate(document.routes):
        yield ("routes", index, "when", "country"), route.when.country
        if route.unless:
            yield ("routes", index, "unless", "country"), route.unless.country


def _repeated_names(document: PolicyDocument) -> Iterator[tuple[Path, str]]:
    names = [route.name for route in document.routes]
    for index, name in enumerate(names):
        if name in names[:index]:
            yield ("routes", index, "name"), f"another route is called {name!r} too: decisions name the route"
