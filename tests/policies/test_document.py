"""Documents: what is read, and that every mistake is reported at its line."""

from __future__ import annotations

import pytest

from channels.model import Form
from policies.document import ALL_FORMS, PolicyError, Problem, load, shipped
from policies.retry import MOVES_ON
from tests.policies.policy import ROUTES, a_document

GOOD = 'version = "1"\n[[routes]]\nname = "a"\nplan = { channel = "sms", form = "text" }\n'


def problems(text: str) -> list[Problem]:
    with pytest.raises(PolicyError) as caught:
        load(text, "policy.toml")
    return list(caught.value.problems)


def test_the_shipped_policy_is_valid_and_has_these_routes() -> None:
    assert [route.name for route in shipped().routes] == ["pinned", "picture-us-ca", "text-us-ca", "elsewhere"]
    assert shipped().version.startswith("2026-11-01+")


def test_the_version_follows_the_meaning_and_not_the_layout() -> None:
    version = load(GOOD, "a").version
    assert load(f"# a comment\n\n{GOOD}", "b").version == version
    assert load(GOOD.replace('"text"', '"link"'), "c").version != version
    assert load(GOOD, "d").version == version


def test_a_lone_value_stands_for_a_list_of_one() -> None:
    document = load(GOOD, "a")
    assert document.routes[0].plan[0].form == (Form.TEXT,)
    assert a_document().routes[0].plan[0].form == ALL_FORMS


def test_groups_stand_for_their_countries() -> None:
    document = a_document('[groups]\nislands = ["JM", "DO"]')
    assert document.countries(("US", "islands")) == {"US", "JM", "DO"}


MISTAKES: list[tuple[str, str, list[Problem]]] = [
    (
        "a key that is not known",
        f"{GOOD}[guards.paused]\nchanels = 'sms'",
        [
            Problem(
                6,
                "guards.paused.chanels",
                "there is no such key; the keys here are action, again, categories, channels, sources",
            )
        ],
    ),
    (
        "a condition that is not known, in an inline table over several lines",
        'version = "1"\n[[routes]]\nname = "a"\nplan = [\n'
        '  { channel = "sms" },\n  { channel = "sms", frm = "text" },\n]',
        [
            Problem(
                6,
                "routes[0].plan[1].frm",
                "there is no such key; the keys here are channel, form, on, sender, sender_kind, within",
            )
        ],
    ),
    (
        "a table that is not known",
        f"{GOOD}[guard]\n",
        [
            Problem(
                5,
                "guard",
                "there is no such key; the keys here are groups, guards, languages, on_unknown, routes, version",
            )
        ],
    ),
    (
        "a value outside the vocabulary",
        f'{GOOD}when = {{ session = ["open",\n"opne"] }}',
        [Problem(6, "routes[0].when.session[1]", "should be 'open' or 'closed'")],
    ),
    (
        "no country",
        f'{GOOD}[[guards.opt_in]]\n[[guards.opt_in]]\ncountry = "UK"',
        [
            Problem(
                7,
                "guards.opt_in[1].country[0]",
                "'UK' is no ISO 3166-1 alpha-2 country (the United Kingdom is 'GB')",
            )
        ],
    ),
    (
        "a group that nobody declared",
        f'{GOOD}unless = {{ country = ["US", "eu"] }}\n[groups]\nislands = ["JM"]',
        [Problem(5, "routes[0].unless.country[1]", "no group 'eu' is declared under [groups] (declared: islands)")],
    ),
    (
        "groups named in guards are looked up too",
        f'{GOOD}[guards.countries]\nallowed = "a"\nblocked = "b"\n'
        '[guards.quiet_hours]\nfrom = "21:00"\nuntil = "08:00"\ncountry = "c"\n[guards.opt_in]\ncountry = "d"',
        [
            Problem(6, "guards.countries.allowed[0]", "no group 'a' is declared under [groups] (declared: none)"),
            Problem(7, "guards.countries.blocked[0]", "no group 'b' is declared under [groups] (declared: none)"),
            Problem(11, "guards.quiet_hours[0].country[0]", "no group 'c' is declared under [groups] (declared: none)"),
            Problem(13, "guards.opt_in[0].country[0]", "no group 'd' is declared under [groups] (declared: none)"),
        ],
    ),
    (
        "two routes of one name",
        f'{GOOD}[[routes]]\nname = "a"\nplan = {{ channel = "sms" }}',
        [Problem(6, "routes[1].name", "another route is called 'a' too: decisions name the route")],
    ),
    (
        "an unless that always holds",
        f"{GOOD}unless = {{}}",
        [Problem(2, "routes[0]", "'unless' without a condition holds always, so this route could never apply")],
    ),
    (
        "no hours at all",
        f'{GOOD}[[guards.quiet_hours]]\nfrom = "21:00"\nuntil = 21:00:00',
        [
            Problem(
                5,
                "guards.quiet_hours[0]",
                "'from' and 'until' are the same time, which is no span of the day",
            )
        ],
    ),
    (
        "hours with an offset",
        f'{GOOD}[[guards.quiet_hours]]\nfrom = "21:00Z"\nuntil = 08:00:00',
        [
            Problem(
                5,
                "guards.quiet_hours[0]",
                "'from' and 'until' are on the recipient's own clock: write them without an offset",
            )
        ],
    ),
    (
        "no such zone",
        f'{GOOD}[[guards.quiet_hours]]\nfrom = "21:00"\nuntil = "08:00"\ntimezone = "Madrid"',
        [
            Problem(
                8,
                "guards.quiet_hours[0].timezone",
                "'Madrid' is no IANA time zone (such as 'Europe/Madrid')",
            )
        ],
    ),
    (
        "an empty group",
        f"{GOOD}[groups]\nnone = []",
        [Problem(6, "groups.none", "is an empty list: leave the key out instead")],
    ),
    (
        "a failure after which nothing follows",
        f'{GOOD[:-3]}, on = ["undelivered", "recipient_opted_out"] }}',
        [
            Problem(
                4,
                "routes[0].plan[0].on[1]",
                "'recipient_opted_out' does not lead to a next step; what may is " + ", ".join(MOVES_ON),
            )
        ],
    ),
    (
        "a category that is not known",
        f'{GOOD}[on_unknown]\notp = "retry"\npayment = "hold"',
        [Problem(7, "on_unknown.payment", "should be 'otp', 'transactional', 'service' or 'marketing'")],
    ),
    (
        "a span of the day inside a condition",
        f'{GOOD}when = {{ local_time = {{ from = "08:00", until = "8 pm" }} }}',
        [Problem(5, "routes[0].when.local_time.until", "should be in a valid time format, input is too short")],
    ),
    ("what is required", 'version = "1"', [Problem(1, "routes", "is required")]),
    (
        "two mistakes at once, in the order of their lines",
        'version = "a b"\n[[routes]]\nname = "A"\nplan = []',
        [
            Problem(1, "version", "String should match pattern '^[A-Za-z0-9._-]{1,32}$'"),
            Problem(3, "routes[0].name", "String should match pattern '^[a-z0-9][a-z0-9-]{0,39}$'"),
            Problem(4, "routes[0].plan", "is an empty list: leave the key out instead"),
        ],
    ),
    (
        "true is no number and a word is no truth",
        f'{GOOD}when = {{ media = "yes" }}\n[[guards.frequency]]\nlimit = true\nwindow = 60',
        [
            Problem(5, "routes[0].when.media", "should be a valid boolean"),
            Problem(7, "guards.frequency[0].limit", "should be a valid integer"),
        ],
    ),
    ("no TOML", f"{GOOD}when = {{ media = yes }}", [Problem(5, "", "not TOML: Invalid value")]),
    ("no end", 'version = "1"\nplan = [', [Problem(2, "", "not TOML: Invalid value")]),
    ("the same key twice", 'version = "1"\nversion = "2"', [Problem(2, "", "not TOML: Cannot overwrite a value")]),
]


@pytest.mark.parametrize(("text", "expected"), [row[1:] for row in MISTAKES], ids=[row[0] for row in MISTAKES])
def test_each_mistake_is_named_with_its_line_and_field(text: str, expected: list[Problem]) -> None:
    assert problems(text) == expected


def test_the_error_reads_as_one_line_per_problem() -> None:
    with pytest.raises(PolicyError) as caught:
        load('[[routes]]\nname = "a"\nplan = { channel = "sms", form = "fax" }', "policy.toml")
    assert str(caught.value) == (
        "policy.toml:1: version: is required\n"
        "policy.toml:3: routes[0].plan[0].form[0]: should be 'text', 'media', 'link' or 'template'"
    )


def test_an_author_sees_the_routes_of_tests_as_valid() -> None:
    assert a_document("", ROUTES).routes[0].name == "any"
