"""On which line of a TOML text each key and each element stands.

`tomllib` gives values without positions, and a person who made a mistake wants the line. This reads only the skeleton
(headers, keys, brackets, commas) of a text that `tomllib` has already accepted, so it need not refuse anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

Path = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"""+'  # up to two quotes may stand right before the closing three
    r"|'''.*?'''+"
    r'|"(?:\\.|[^"\\])*"'
    r"|'[^']*'",
    re.DOTALL,
)
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BARE_VALUE = re.compile(r"[^,\]}#\n]+")


def lines_of(text: str) -> Mapping[Path, int]:
    """Line, from 1, of every table, key and array element by its path."""
    return _Skeleton(text).read()


def line_at(lines: Mapping[Path, int], path: Path) -> int:
    """The line of the path, or of the nearest thing around it that has one.

    An index that is not there is passed over: a lone value may stand for a list of one.
    """
    known: Path = ()
    for part in path:
        if (*known, part) in lines:
            known = (*known, part)
        elif not isinstance(part, int):
            break
    return lines.get(known, 1)


class _Skeleton:
    """One pass over the text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._lines: dict[Path, int] = {}
        self._last_element: dict[Path, int] = {}  # array of tables -> index of its last element

    def read(self) -> Mapping[Path, int]:
        table: Path = ()
        while self._skip(_BLANK):
            if self._peek() == "[":
                table = self._header()
            else:
                self._key_and_value(table)
        return self._lines

    def _skip(self, pattern: re.Pattern[str]) -> bool:
        """Pass what matches; whether anything is left."""
        match = pattern.match(self._text, self._at)
        self._at = match.end() if match else self._at
        return self._at < len(self._text)

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _mark(self, path: Path) -> None:
        self._lines.setdefault(path, self._text.count("\n", 0, self._at) + 1)

    def _header(self) -> Path:
        """`[table]` or `[[array of tables]]`."""
        is_array = self._text.startswith("[[", self._at)
        self._at += 2 if is_array else 1
        *parents, name = self._dotted()
        table: Path = ()
        for parent in parents:
            self._mark((*table, parent))
            table = self._enter((*table, parent))
        table = (*table, name)
        self._mark(table)
        if is_array:
            self._last_element[table] = self._last_element.get(table, -1) + 1
            table = self._enter(table)
            self._mark(table)
        self._at += 2 if is_array else 1
        return table

    def _enter(self, table: Path) -> Path:
        return (*table, self._last_element[table]) if table in self._last_element else table

    def _dotted(self) -> list[str]:
        parts = [self._key()]
        while self._skip(_SPACE) and self._peek() == ".":
            self._at += 1
            parts.append(self._key())
        return parts

    def _key(self) -> str:
        self._skip(_SPACE)
        start = self._at
        quoted = self._peek() in ("'", '"')
        self._skip(_STRING if quoted else _BARE_KEY)
        return self._text[start + quoted : self._at - quoted]

    def _key_and_value(self, table: Path) -> None:
        self._skip(_SPACE)
        start = self._at
        path = (*table, *self._dotted())
        after, self._at = self._at, start
        for length in range(len(table) + 1, len(path) + 1):
            self._mark(path[:length])
        self._at = after + 1  # the equals sign
        self._value(path)

    def _value(self, path: Path) -> None:
        self._skip(_SPACE)
        match self._peek():
            case "[":
                self._array(path)
            case "{":
                self._inline_table(path)
            case '"' | "'":
                self._skip(_STRING)
            case _:
                self._skip(_BARE_VALUE)

    def _array(self, path: Path) -> None:
        self._at += 1
        index = 0
        while self._skip(_BLANK) and self._peek() != "]":
            self._mark((*path, index))
            self._value((*path, index))
            self._skip(_BLANK)
            self._at += self._peek() == ","
            index += 1
        self._at += 1

    def _inline_table(self, path: Path) -> None:
        self._at += 1
        while self._skip(_BLANK) and self._peek() != "}":
            self._key_and_value(path)
            self._skip(_BLANK)
            self._at += self._peek() == ","
        self._at += 1
