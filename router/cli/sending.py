"""`pointsman send`: one notification, or a file of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from channels.model import Lane
from router.cli.client import connected, require_stream
from router.cli.configuration import load_settings
from router.cli.errors import CommandError
from router.cli.output import console, event_printer, print_json_line
from router.cli.publishing import Endings, Problem, Tally, check_all, log_position, publish, publish_all, wait_for_ends
from router.cli.rows import NotificationFile, Row, checked_row
from router.jetstream import JetStream, StoreError
from router.settings import NatsSettings
from router.subjects import DELIVERIES, NOTIFICATIONS, delivery, notification, story


@dataclass(frozen=True, slots=True)
class How:
    """What holds for every notification of one run."""

    source: str
    lane: Lane
    wait: float | None  #: seconds for what becomes of it; None: not at all
    as_json: bool
    show_recipients: bool

    @property
    def subject(self) -> str:
        """Where they are published."""
        return notification(self.lane, self.source)

    def say(self, words: str, value: Mapping[str, Any]) -> None:
        """The same, for people or for programs."""
        if self.as_json:
            print_json_line(value)
        else:
            typer.echo(words)


def send_one(document: Mapping[str, Any], how: How, config: Path | None, nats: str | None, *, check_only: bool) -> None:
    """Publish one notification. Its id is printed, for it may have been made up."""
    settings, _ = load_settings(config, nats)
    row = checked_row(1, json.dumps(document, ensure_ascii=False).encode())
    if row.notification is None:
        raise CommandError(row.problem)
    identity = row.notification.id
    if check_only:
        known = {"source": how.source, "id": identity, "published": False}
        how.say(f"{how.source}/{identity} is as the contract wants it", known)
    else:
        asyncio.run(_publish_one(settings.nats, row.body, identity, how))


async def _publish_one(settings: NatsSettings, body: bytes, identity: str, how: How) -> None:
    async with _connected(settings, how) as (js, position):
        try:
            sequence = await publish(js, how.subject, body)
        except StoreError as exc:
            await require_stream(js, NOTIFICATIONS)
            raise CommandError(f"not acknowledged, so nobody knows whether it was published: {exc}") from None
        known = {"source": how.source, "id": identity, "published": True, "sequence": sequence}
        how.say(f"published {how.source}/{identity} as number {sequence} of {NOTIFICATIONS}", known)
        await _wait(js, how, story(how.source, identity), {identity}, position)


def send_file(path: Path, how: How, config: Path | None, nats: str | None, *, check_only: bool) -> None:
    """Publish each row: the bad ones are named on stderr, the good ones published."""
    settings, _ = load_settings(config, nats)

    def problem(line: int, what: str) -> None:
        typer.echo(f"{path}:{line}: {what}", err=True)

    with NotificationFile(path) as file:
        if check_only:
            tally = check_all(file.rows(), problem)
            _tell(how, tally)
        else:
            tally = asyncio.run(_publish_file(settings.nats, file, how, problem))
    if tally.stopped:
        raise CommandError(tally.stopped)
    if not tally.good:  # what was wrong with each row has been said
        raise typer.Exit(1)


async def _publish_file(settings: NatsSettings, file: NotificationFile, how: How, problem: Problem) -> Tally:
    async with _connected(settings, how) as (js, position):
        tally = await publish_all(js, how.subject, _with_progress(file), problem, remember=how.wait is not None)
        if tally.unacknowledged and not tally.published:
            await require_stream(js, NOTIFICATIONS)
        _tell(how, tally)
        await _wait(js, how, delivery(how.source, "*", "*", "*"), tally.ids, position)
    return tally


def _tell(how: How, tally: Tally) -> None:
    counts = tally.as_dict()
    how.say(", ".join(f"{count} {name}" for name, count in counts.items()), counts)


def _with_progress(file: NotificationFile) -> Iterator[Row]:
    """The rows of a file, with a bar on the terminal that shows how much of it has been taken."""
    screen = console(stderr=True)
    columns = (TextColumn("sending"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as progress:
        task = progress.add_task("sending", total=file.size)
        for row in file.rows():
            yield row
            progress.update(task, completed=file.position)


@asynccontextmanager
async def _connected(settings: NatsSettings, how: How) -> AsyncIterator[tuple[JetStream, int]]:
    """With the place in the log behind which the events of what is published now will stand."""
    async with connected(settings) as js:
        if how.wait is None:
            yield js, 0
            return
        await require_stream(js, DELIVERIES)
        yield js, await log_position(js)


async def _wait(js: JetStream, how: How, subject: str, ids: set[str], position: int) -> None:
    """Show events until all have their final one. Raises `CommandError` when not every one arrived."""
    if how.wait is None:
        return
    show = event_printer(as_json=how.as_json, show_recipients=how.show_recipients)
    ends = await wait_for_ends(js, subject, ids, after=position, within=how.wait, show=show)
    if not ends.good:
        raise CommandError(_disappointment(ends, how))


def _disappointment(ends: Endings, how: How) -> str:
    if not ends.pending:
        told = ", ".join(f"{count} {status}" for status, count in sorted(ends.statuses.items()))
        return f"not everything arrived: {told}"
    one = min(ends.pending)
    return (
        f"without a final event after {how.wait:g} s: {len(ends.pending)}, among them {one}; an id that was published "
        f"before has no news, so look at: pointsman trace {how.source} {one}"
    )
