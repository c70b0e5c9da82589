"""`pointsman consent import`: a list of statements from a CSV file, each recorded once however often it is imported.

Rows go to the routers in batches, several under way at a time. A row that cannot be taken is named with its line and
keeps no other from being recorded. What is recorded stays when the command is ended in the middle: run again, it finds
what is there and adds the rest.
"""

from __future__ import annotations

import asyncio
import csv
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from router.cli.client import NoAnswerError, asked, connected
from router.cli.configuration import load_settings
from router.cli.errors import CommandError
from router.cli.output import console, print_json
from router.jetstream import JetStream
from router.settings import NatsSettings

COLUMNS = ("recipient", "region", "state", "scope", "at", "proof", "who", "how", "text")
_BATCH, _UNDER_WAY = 250, 6
_TRIES, _PAUSE = 6, 1.0  #: recording twice what was recorded changes nothing, so an answer may be lost
_BOM = "\ufeff"  # what spreadsheets put before UTF-8
_TOO_MANY = "cells beyond the last column"

Problem = tuple[int, str]  #: line, from 1, and what is wrong with it
Row = tuple[int, Mapping[str, str]]  #: where it begins, and its cells that are not empty


@dataclass
class Tally:
    """What became of the rows."""

    rows: int = 0
    recorded: int = 0  #: new, and on record now; with `check_only`, new
    known: int = 0  #: on record before
    problems: list[Problem] = field(default_factory=list)
    stopped: str = ""  #: why the rest of the file was not taken

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        problems = [{"line": line, "problem": what} for line, what in sorted(self.problems)]
        return {"rows": self.rows, "recorded": self.recorded, "known": self.known, "problems": problems}


@dataclass(frozen=True, slots=True)
class How:
    """What holds for every row of one run."""

    defaults: Mapping[str, str]  #: for the cells that a row leaves empty
    check_only: bool
    as_json: bool


def import_file(path: Path, how: How, config: Path | None, nats: str | None) -> None:
    """Record every row. Raises `CommandError` for what ends the import early; exit status 1 where a row is bad."""
    settings, _ = load_settings(config, nats)
    with _opened(path) as file:
        tally = asyncio.run(_import(settings.nats, path, file, how))
    if how.as_json:
        print_json(tally.as_dict())
    else:
        new = "would be recorded" if how.check_only else "recorded"
        counts = (f"{tally.recorded} {new}", f"{tally.known} known before", f"{len(tally.problems)} cannot be taken")
        typer.echo(f"{tally.rows} rows: {', '.join(counts)}")
    if tally.stopped:
        raise CommandError(f"{tally.stopped}; what is recorded stays: import the file again to go on")
    if tally.problems:
        raise typer.Exit(1)


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as exc:
        raise CommandError(f"{path}: cannot be read: {exc.strerror}") from None


async def _import(settings: NatsSettings, path: Path, file: BinaryIO, how: How) -> Tally:
    tally = Tally()
    async with connected(settings) as js:
        with _bar(os.fstat(file.fileno()).st_size) as progress:
            source = _Source(path, file, how.defaults, progress)
            batches = source.batches(tally)

            async def work() -> None:
                for batch in batches:  # shared: each worker takes the next batch
                    if not tally.stopped:
                        await _record(js, batch, how, tally)

            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(_UNDER_WAY):
                        group.create_task(work())
            except* CommandError as failures:
                tally.stopped = str(failures.exceptions[0])
    if not how.as_json:
        for line, what in sorted(tally.problems):
            typer.echo(f"{path}:{line}: {what}", err=True)
    return tally


async def _record(js: JetStream, batch: list[Row], how: How, tally: Tally) -> None:
    request = {"statements": [cells for _, cells in batch], "check_only": how.check_only}
    for left in reversed(range(_TRIES)):
        try:
            results = (await asked(js, "consent.import", request))["results"]
            break
        except NoAnswerError as exc:
            if not left:
                raise CommandError(f"stopped at line {batch[0][0]}: {exc}") from None
            await asyncio.sleep(_PAUSE)
    for (line, _), result in zip(batch, results, strict=True):
        tally.rows += 1
        if error := result.get("error"):
            tally.problems.append((line, str(error)))
        elif result["recorded"]:
            tally.recorded += 1
        else:
            tally.known += 1


class _Source:
    """The rows of the file, with a bar on the terminal that shows how much of it has been taken."""

    def __init__(self, path: Path, file: BinaryIO, defaults: Mapping[str, str], progress: Progress) -> None:
        self._path = path
        self._file = file
        self._defaults = defaults
        self._progress = progress
        self._task = progress.tasks[0].id
        self._position = 0

    def batches(self, tally: Tally) -> Iterator[list[Row]]:
        """What is no row of this file is a problem of its line at once."""
        rows = self._rows(tally)
        while batch := list(islice(rows, _BATCH)):
            self._progress.update(self._task, completed=self._position)
            yield batch

    def _rows(self, tally: Tally) -> Iterator[Row]:
        reader = csv.DictReader(self._lines(), restkey=_TOO_MANY, strict=True)
        began = 1
        try:
            self._check(reader.fieldnames or ())
            began = reader.line_num + 1
            for cells in reader:
                if _TOO_MANY in cells:
                    tally.rows += 1
                    tally.problems.append((began, f"{_TOO_MANY}: is a comma in a text that is not in quotes?"))
                else:
                    yield began, {**self._defaults, **{name: cell for name, cell in cells.items() if cell}}
                began = reader.line_num + 1
        except csv.Error as exc:
            raise CommandError(f"{self._path}:{began}: not CSV: {exc}") from None

    def _lines(self) -> Iterator[str]:
        for number, raw in enumerate(self._file, 1):
            self._position += len(raw)
            try:
                line = raw.decode()
            except UnicodeDecodeError:
                raise CommandError(f"{self._path}:{number}: not UTF-8") from None
            yield line.removeprefix(_BOM) if number == 1 else line

    def _check(self, names: Iterable[str]) -> None:
        columns = ", ".join(COLUMNS)
        if unknown := [name for name in names if name not in COLUMNS]:
            raise CommandError(f"{self._path}:1: there is no column {unknown[0]!r}; the columns are {columns}")
        if missing := {"recipient", "state", "at"} - {*names, *self._defaults}:
            first = sorted(missing)[0]
            hint = "" if first == "recipient" else f"; give --{first} to say the same of every row"
            raise CommandError(f"{self._path}:1: the column {first!r} is missing{hint}")


def _bar(total: int) -> Progress:
    screen = console(stderr=True)
    columns = (TextColumn("importing"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal)
    progress.add_task("importing", total=total)
    return progress
