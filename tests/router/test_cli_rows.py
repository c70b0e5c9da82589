"""Files of notifications: what is read, and what is said about a row that cannot be."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.cli.errors import CommandError
from router.cli.fields import from_cells
from router.cli.rows import NotificationFile, Row, checked_row

CSV_OK = "id,to,content.text\na1,+12025550143,hello\na2,+12025550144,bye\n"


def rows_of(path: Path, text: str | bytes) -> list[Row]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with NotificationFile(path) as file:
        return list(file.rows())


def bodies(rows: list[Row]) -> list[dict[str, Any]]:
    return [json.loads(row.body) for row in rows]


def problems(rows: list[Row]) -> list[tuple[int, str]]:
    return [(row.line, row.problem) for row in rows if row.notification is None]


def test_a_table_becomes_notifications(tmp_path: Path) -> None:
    rows = rows_of(tmp_path / "a.csv", CSV_OK)
    assert problems(rows) == []
    assert bodies(rows) == [
        {"id": "a1", "to": "+12025550143", "content": {"text": "hello"}},
        {"id": "a2", "to": "+12025550144", "content": {"text": "bye"}},
    ]


def test_every_field_has_a_column() -> None:
    assert from_cells(
        {
            "id": "a1",
            "content.media": "https://x.test/1.png | https://x.test/2.png",
            "content.template.name": "order",
            "content.template.variables.first.name": "Ada",
            "metadata.order.number": "7",
            "category": "",
        }
    ) == {
        "id": "a1",
        "content": {
            "media": ["https://x.test/1.png", "https://x.test/2.png"],
            "template": {"name": "order", "variables": {"first.name": "Ada"}},
        },
        "metadata": {"order.number": "7"},
    }


def test_json_lines_are_published_as_they_are_written(tmp_path: Path) -> None:
    line = '{"id": "a1",  "to": "+12025550143", "content": {"text": "héllo"}}'
    rows = rows_of(tmp_path / "a.jsonl", f"{line}\n\n  {line}  \n")
    assert [(row.line, row.body.decode()) for row in rows] == [(1, line), (3, line)]


def test_each_bad_row_is_named_by_line_and_field(tmp_path: Path) -> None:
    rows = rows_of(
        tmp_path / "a.csv",
        "id,to,content.text\n"
        "a1,+12025550143,hello\n"
        'a2,+12025550143,"two\nlines"\n'
        "a3,12,hello\n"
        ",+12025550143,hello\n"
        "a5,+12025550143,\n"
        "a6,+12025550143,hello,again\n"
        "a7,+12025550143\n",
    )
    told = dict(problems(rows))
    assert list(told) == [5, 6, 7, 8, 9]
    assert told[5].startswith("to: not a phone number")
    assert told[6] == "id: Field required"
    assert told[7] == "content: give at least one of text, media and template"
    assert told[8] == "cells beyond the last column: is a comma in a text that is not in quotes?"
    assert told[9] == "content: give at least one of text, media and template"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "Invalid JSON"),
        ("[]", "Input should be"),
        ('{"id": "a1", "to": "+12025550143", "content": {"text": "x"}, "chanel": "sms"}', "chanel: unknown field"),
        ('{"id": "a1", "to": "12", "content": {"text": "x"}}', "to: not a phone number"),
    ],
)
def test_a_bad_line_says_what_is_wrong_with_it(tmp_path: Path, line: str, problem: str) -> None:
    [row] = rows_of(tmp_path / "a.jsonl", line)
    assert row.notification is None
    assert problem in row.problem


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.csv", "id,too\na1,x\n", "a.csv:1: no notification has a field 'too'; the columns are id, to,"),
        ("a.csv", "id,metadata.\na1,x\n", "a.csv:1: no notification has a field 'metadata.'"),
        ("a.csv", "id,id\na1,x\n", "a.csv:1: a column stands there twice"),
        ("a.csv", 'id,to\na1,"x\n', "a.csv:2: not CSV"),
        ("a.jsonl", b"{}\n\xff\n", "a.jsonl:2: not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_understood_says_where(
    tmp_path: Path, name: str, text: str | bytes, sentence: str
) -> None:
    with pytest.raises(CommandError) as caught:
        rows_of(tmp_path / name, text)
    assert sentence in str(caught.value)


def test_what_spreadsheets_put_before_the_first_name_is_no_part_of_it(tmp_path: Path) -> None:
    assert problems(rows_of(tmp_path / "a.csv", b"\xef\xbb\xbf" + CSV_OK.encode())) == []


def test_an_empty_file_has_no_rows(tmp_path: Path) -> None:
    assert rows_of(tmp_path / "a.csv", "") == []
    assert rows_of(tmp_path / "a.jsonl", "") == []


def test_the_file_knows_how_much_of_it_was_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(CSV_OK)
    with NotificationFile(path) as file:
        assert file.position == 0
        assert len(list(file.rows())) == 2
        assert file.position == file.size == len(CSV_OK)


@given(text=st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1).filter(str.strip))
def test_any_text_survives_a_table(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("rows") / "a.csv"
    written = io.StringIO(newline="")
    csv.writer(written).writerows([["id", "to", "content.text"], ["a1", "+12025550143", text]])
    [row] = rows_of(path, written.getvalue())
    assert row.notification is not None
    assert row.notification.content.text == text


@given(body=st.binary(max_size=200))
def test_whatever_a_row_holds_it_is_good_or_says_why(body: bytes) -> None:
    row = checked_row(1, body)
    assert (row.notification is None) == bool(row.problem)
