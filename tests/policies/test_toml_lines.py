"""Positions in every shape of TOML that a document can have."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.toml_lines import Path, line_at, lines_of

TEXT = '''# a comment with [brackets] = and "quotes"
version = "1" # another
"quoted.key" = 1
dotted . key = 'x'

[groups]
eu = [
  "AT", # Austria ]
  "BE", "DE",
]
[ a . "b c" ]
long = """
[not.a.table]
x = 1 """"
literal = \'\'\'
y = [\'\'\'
after = { one = 1, two = ["x", { three = 3 }] }
[[routes]]
name = "first"
[routes.when]
media = true
[[routes]]
name = "sec\\"ond"
plan = [ { channel = "sms" },
         { channel = "mms" } ]
[[routes.extra]]
z = 12:00:00
[[routes.extra]]
z = 2026-01-01 12:00:00
'''

EXPECTED: list[tuple[Path, int]] = [
    (("version",), 2),
    (("quoted.key",), 3),
    (("dotted",), 4),
    (("dotted", "key"), 4),
    (("groups",), 6),
    (("groups", "eu"), 7),
    (("groups", "eu", 0), 8),
    (("groups", "eu", 2), 9),
    (("a",), 11),
    (("a", "b c"), 11),
    (("a", "b c", "long"), 12),
    (("a", "b c", "literal"), 15),
    (("a", "b c", "after", "two", 1, "three"), 17),
    (("routes",), 18),
    (("routes", 0), 18),
    (("routes", 0, "when", "media"), 21),
    (("routes", 1), 22),
    (("routes", 1, "name"), 23),
    (("routes", 1, "plan", 0, "channel"), 24),
    (("routes", 1, "plan", 1, "channel"), 25),
    (("routes", 1, "extra", 0, "z"), 27),
    (("routes", 1, "extra", 1, "z"), 29),
]


def test_the_text_is_toml() -> None:
    assert tomllib.loads(TEXT)["routes"][1]["extra"]


@pytest.mark.parametrize(("path", "line"), EXPECTED)
def test_every_key_and_element_has_its_line(path: Path, line: int) -> None:
    assert lines_of(TEXT)[path] == line


def test_every_path_of_the_parsed_text_is_found() -> None:
    assert set(_paths(tomllib.loads(TEXT))) == set(lines_of(TEXT))


def _paths(value: Any, path: Path = ()) -> list[Path]:
    members: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        members = list(value.items())
    elif isinstance(value, list):
        members = list(enumerate(value))
    return [found for key, member in members for found in ((*path, key), *_paths(member, (*path, key)))]


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("groups", "eu", 7), 7),  # no such element: its list
        (("routes", 1, "missing"), 22),  # no such key: its table
        (("version", 0), 2),  # a lone value in place of a list
        (("routes", 0, "when", 0, "media"), 21),  # a lone table in place of a list
        (("nowhere", "at", "all"), 1),
    ],
)
def test_what_has_no_line_gets_the_nearest(path: Path, line: int) -> None:
    assert line_at(lines_of(TEXT), path) == line


@given(st.text(alphabet="ab=[]{}\"'#.,\n \\1", max_size=60))
def test_whatever_toml_accepts_is_read_to_its_end(text: str) -> None:
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert set(_paths(tables)) <= set(lines_of(text))
