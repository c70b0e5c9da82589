"""`pointsman consent`: what recipients agreed to and objected to, for those who record it and those who audit it."""

from __future__ import annotations

import asyncio
import csv
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

import typer
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from router.cli.client import asked, connected, told
from router.cli.configuration import load_settings
from router.cli.errors import CommandError
from router.cli.output import console, masked, print_json, print_json_line, printable, table
from router.settings import NatsSettings

_HEAD = ("holds", "state", "scope", "said", "recorded", "via", "proof")
#: Columns of an export, the same for one recipient and for all.
COLUMNS = (
    *("key", "recipient", "scope", "state", "at", "recorded_at"),
    *("via", "proof", "who", "how", "text", "holds"),
)

Given = Mapping[str, str | None]  #: fields of a request; None: not given


def show(given: Given, config: Path | None, nats: str | None, *, as_json: bool, show_recipients: bool) -> None:
    """Print what holds, or held at a time, and every statement that led to it."""
    answer = _told("get", given, config, nats)
    if as_json:
        print_json(answer)
        return
    screen = console()
    recipient = answer["recipient"] if show_recipients else masked(answer["recipient"])
    screen.print(Text(f"{recipient}  key {answer['key']}", "bold"))
    if not answer["history"]:
        screen.print("nothing is on record")
    for line in table(_HEAD, map(_row, answer["history"])) if answer["history"] else ():
        screen.print(line)


def record(given: Given, config: Path | None, nats: str | None, *, as_json: bool, show_recipients: bool) -> None:
    """Record a statement, and print what holds then."""
    answer = _told("set", given, config, nats)
    if as_json:
        print_json(answer)
        return
    recipient = answer["recipient"] if show_recipients else masked(answer["recipient"])
    holds = ", ".join(f"{each['state']} for {each['scope']}" for each in answer["consent"])
    typer.echo(f"recorded; {recipient}: {holds}")


def export(
    given: Given, since: datetime | None, out: Path | None, config: Path | None, nats: str | None, *, as_json: bool
) -> None:
    """Write statements with their proof: CSV, or a line of JSON each."""
    settings, _ = load_settings(config, nats)
    count = asyncio.run(_export(settings.nats, given, since, out, as_json=as_json))
    typer.echo(f"{count['records']} recipients, {count['statements']} statements", err=True)


def _told(what: str, given: Given, config: Path | None, nats: str | None) -> dict[str, Any]:
    settings, _ = load_settings(config, nats)
    return asyncio.run(told(settings.nats, f"consent.{what}", _said(given)))


def _said(given: Given) -> dict[str, str]:
    return {name: value for name, value in given.items() if value is not None}


def _row(entry: Mapping[str, Any]) -> tuple[str, ...]:
    words = (entry["proof"], entry["who"], entry["how"], entry["text"])
    return (
        "yes" if entry["holds"] else "no",
        entry["state"],
        entry["scope"],
        entry["at"],
        entry["recorded_at"] or "",
        entry["via"],
        printable("; ".join(each for each in words if each)),
    )


async def _export(
    settings: NatsSettings, given: Given, since: datetime | None, out: Path | None, *, as_json: bool
) -> Mapping[str, int]:
    count = {"records": 0, "statements": 0}
    with _output(out) as file, _bar() as progress:
        write = _writer(file, as_json=as_json)
        task = progress.add_task("exporting", total=None)
        async for record in _records(settings, given):
            statements = [each for each in record["history"] if since is None or _later(each, since)]
            count["records"] += bool(statements)
            count["statements"] += len(statements)
            for statement in statements:
                write({"key": record["key"], "recipient": record.get("recipient"), **statement})
            progress.update(task, completed=count["records"])
    return count


async def _records(settings: NatsSettings, given: Given) -> AsyncIterator[Mapping[str, Any]]:
    """One recipient's, or all of them, each once: what changes while it is read comes again at the end."""
    if said := _said(given):
        yield await told(settings, "consent.get", said)
        return
    after: int | None = 0
    seen: set[str] = set()
    async with connected(settings) as js:
        while after is not None:
            page = await asked(js, "consent.export", {"after": after})
            for record in page["records"]:
                if record["key"] not in seen:
                    seen.add(record["key"])
                    yield record
            after = page["next"]


def _later(statement: Mapping[str, Any], since: datetime) -> bool:
    """Said, or written down here, at that time or later: an old statement that was imported lately is news."""
    times = (statement["at"], statement["recorded_at"])
    return any(datetime.fromisoformat(each) >= since for each in times if each)


def _output(out: Path | None) -> AbstractContextManager[TextIO]:
    if out is None:
        return nullcontext(sys.stdout)
    try:
        return out.open("x", encoding="utf-8", newline="")
    except OSError as exc:
        raise CommandError(f"{out}: cannot be written: {exc.strerror}") from None


def _writer(file: TextIO, *, as_json: bool) -> Callable[[Mapping[str, Any]], None]:
    if as_json:
        return lambda row: print_json_line(row, file)
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    return lambda row: writer.writerow({**row, "holds": "yes" if row["holds"] else "no"})


def _bar() -> Progress:
    screen = console(stderr=True)
    columns = (TextColumn("exporting"), BarColumn(), TextColumn("{task.completed} recipients"))
    return Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal)
