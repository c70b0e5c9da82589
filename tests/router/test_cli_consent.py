"""`pointsman consent`: statements are shown, recorded, imported and exported as people do it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from tests.integration.harness import US, US_2, US_SENDER, Harness
from tests.router.cli_runner import NOWHERE, pointsman

pytestmark = pytest.mark.nats

COMMANDS = ["consent show", "consent set", "consent import", "consent export"]
HEAD = "recipient,region,state,scope,at,proof,who,how,text\n"
FORM = "Yes, send me offers by SMS."
GOOD = f"""\
{US},,opted_in,category:marketing,2026-01-02T10:00:00Z,form 17,Ada's shop,web form,"{FORM}"
(202) 555-0124,US,opted_out,,2026-02-03T10:00:00+01:00,,,,
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    # The router runs in this process, where what it logs would be taken for what the command prints.
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    async with Harness() as harness:
        await harness.start_router()
        (tmp_path / "pointsman.toml").write_text(f'[nats]\nurl = "{harness.server.url}"\n')
        yield harness


async def run(*arguments: str, status: int = 0) -> str:
    result = await pointsman("consent", *arguments)
    assert result.exit_code == status, result.output
    return result.stdout


async def imported(text: str, *options: str, status: int = 0) -> dict[str, Any]:
    Path("list.csv").write_text(text)
    return dict(json.loads(await run("import", "list.csv", "--json", *options, status=status)))


async def exported(*options: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(await run("export", *options))))


@pytest.mark.parametrize("command", COMMANDS)
async def test_every_command_has_help_with_an_example(command: str) -> None:
    result = await pointsman(*command.split(), "--help")
    assert result.exit_code == 0
    assert f"Example: pointsman {command}" in result.output


async def test_a_list_is_imported_once_however_often_it_is_imported(harness: Harness) -> None:
    assert await imported(HEAD + GOOD, "--check-only") == {"rows": 2, "recorded": 2, "known": 0, "problems": []}
    assert await imported(HEAD + GOOD) == {"rows": 2, "recorded": 2, "known": 0, "problems": []}
    assert await imported(HEAD + GOOD) == {"rows": 2, "recorded": 0, "known": 2, "problems": []}

    await harness.publish("n-1", US_2)
    assert (await harness.wait_for_final("n-1")).body["reason"] == "opted_out"
    shown = json.loads(await run("show", US, "--json"))
    (statement,) = shown["history"]
    assert {name: statement[name] for name in ("who", "how", "text", "proof", "via", "at", "holds")} == {
        "who": "Ada's shop",
        "how": "web form",
        "text": FORM,
        "proof": "form 17",
        "via": "import",
        "at": "2026-01-02T10:00:00.000Z",
        "holds": True,
    }


async def test_bad_rows_are_named_by_line_and_keep_no_other_from_being_recorded(harness: Harness) -> None:
    bad = """\
12,,opted_out,,2026-01-01T00:00:00Z,,,,
+12025550125,,maybe,,2026-01-01T00:00:00Z,,,,
+12025550126,,opted_out,,yesterday,,,,
+12025550127,,opted_out,channel:fax,2026-01-01T00:00:00Z,,,,
+12025550128,,opted_in,,2026-01-01T00:00:00Z,,,,
+12025550129,,opted_out,,2999-01-01T00:00:00Z,,,,
+12025550130,,opted_out,,2026-01-01T00:00:00Z,,,,,one cell more
"""
    answer = await imported(HEAD + bad + GOOD, status=1)

    assert (answer["rows"], answer["recorded"]) == (9, 2)
    fields = [(each["line"], each["problem"].split(":")[0]) for each in answer["problems"]]
    names = ["recipient", "state", "at", "scope", "proof", "at", "cells beyond the last column"]
    assert fields == list(enumerate(names, 2))
    result = await pointsman("consent", "import", "list.csv")
    assert "list.csv:2: recipient: " in result.stderr
    assert "9 rows: 0 recorded, 2 known before, 7 cannot be taken" in result.stdout


async def test_a_bare_list_of_numbers_needs_its_state_and_time_said_once(harness: Harness) -> None:
    numbers = "recipient\n" + "".join(f"+1202555{number:04}\n" for number in range(1000, 2000))
    Path("list.csv").write_text(numbers)
    result = await pointsman("consent", "import", "list.csv", "--state", "opted_out")
    assert result.exit_code == 1
    assert "list.csv:1: the column 'at' is missing; give --at" in result.stderr

    told = ("--state", "opted_out", "--at", "2026-01-01T00:00:00Z", "--scope", "channel:sms")
    assert await imported(numbers, *told) == {"rows": 1000, "recorded": 1000, "known": 0, "problems": []}

    rows = await exported()
    assert len(rows) == 1000
    assert len({row["key"] for row in rows}) == 1000
    assert {(row["scope"], row["state"], row["via"], row["holds"]) for row in rows} == {
        ("channel:sms", "opted_out", "import", "yes")
    }
    assert not any("202555" in row["key"] + row["recipient"] for row in rows)


async def test_an_auditor_finds_one_recipient_in_the_whole_and_what_held_when(harness: Harness) -> None:
    await imported(HEAD + GOOD)
    await harness.receive(US, US_SENDER, "STOP")
    said = await run("set", US, "opted_in", "--proof", "call of today", "--who", "Bob", "--at", "2026-03-01T00:00:00Z")
    assert said == "recorded; +1202***0123: opted_out for all\n"

    everything = await exported()
    (of_one,) = [{row["key"] for row in await exported("--recipient", US)}]
    mine = [row for row in everything if {row["key"]} == of_one]
    assert [(row["state"], row["scope"], row["via"], row["holds"]) for row in mine] == [
        ("opted_in", "category:marketing", "import", "no"),
        ("opted_in", "all", "api", "no"),
        ("opted_out", "all", "keyword", "yes"),
    ]
    assert mine[2]["proof"].startswith("stop to us in message SM")
    assert len(everything) == 4
    shown = json.loads(await run("show", US, "--at", "2026-02-01T00:00:00Z", "--json"))
    assert [(each["scope"], each["text"]) for each in shown["consent"]] == [("category:marketing", FORM)]
    table = await run("show", US)
    assert f"key {next(iter(of_one))}" in table
    assert US not in table
    assert await run("show", "+12025550199") != ""
    # What was said long ago and recorded lately is news to whoever asks since when.
    assert len(await exported("--since", "2026-11-01T00:00:00Z")) == 4


async def test_an_export_goes_to_a_new_file_as_csv_or_json(harness: Harness) -> None:
    await imported(HEAD + GOOD)
    result = await pointsman("consent", "export", "--out", "audit.jsonl", "--json")
    assert result.exit_code == 0
    assert result.stderr == "2 recipients, 2 statements\n"
    lines = [json.loads(line) for line in Path("audit.jsonl").read_text().splitlines()]
    assert {line["text"] for line in lines} == {FORM, None}

    again = await pointsman("consent", "export", "--out", "audit.jsonl")
    assert again.exit_code == 1
    assert "audit.jsonl: cannot be written" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["import", "nothing.csv", "--nats", NOWHERE], 1, "nothing.csv: cannot be read"),
        (["export", "--since", "yesterday"], 2, "RFC 3339"),
        (["show", US, "--nats", NOWHERE], 1, "no NATS server answers"),
        (["set", US, "maybe", "--proof", "x"], 2, "opted_in"),
    ],
)
async def test_what_cannot_be_done_is_said_in_a_line(arguments: list[str], status: int, words: str) -> None:
    result = await pointsman("consent", *arguments)
    assert result.exit_code == status
    assert words in result.stderr


async def test_a_file_that_is_no_list_is_refused_by_line(harness: Harness) -> None:
    cases = {
        "phone,state,at\n": "list.csv:1: there is no column 'phone'",
        'recipient,state,at\n"': "list.csv:2: not CSV",
    }
    for text, words in cases.items():
        Path("list.csv").write_text(text)
        result = await pointsman("consent", "import", "list.csv")
        assert result.exit_code == 1
        assert words in result.stderr
