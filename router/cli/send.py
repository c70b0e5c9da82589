"""`pointsman send`: one notification, or a file of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from router.cli import options
from router.cli.errors import CommandError
from router.cli.notification import NotificationOptions, takes_notification
from router.subjects import DELIVERIES, NOTIFICATIONS, delivery, notification, story

if TYPE_CHECKING:
    from router.cli.publishing import Endings, Tally
    from router.cli.rows import NotificationFile, Row
    from router.jetstream import JetStream
    from router.settings import NatsSettings


@takes_notification
def send(
    given: NotificationOptions,
    file: Annotated[Path | None, typer.Option(help="Send each row of a .csv or .jsonl file; each needs an id.")] = None,
    check_only: Annotated[bool, typer.Option("--check-only", help="Check, and publish nothing.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Follow what becomes of it to the end.")] = False,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds that --wait waits.")] = 60.0,
    show_recipients: options.ShowRecipients = False,
    as_json: options.Json = False,
    config: options.Config = None,
    nats: options.Nats = None,
) -> None:
    """Publish a notification, and say so when NATS has it."""
    settings, _ = options.load_settings(config, nats)
    sending = _Sending(settings.nats, given, check_only, timeout if wait else None, show_recipients, as_json)
    if file is None:
        sending.one()
    elif given.to is not None:
        raise typer.BadParameter("give either --to or --file")
    else:
        sending.many(file)


@dataclass(frozen=True)
class _Sending:
    """One run of the command."""

    settings: NatsSettings
    given: NotificationOptions
    check_only: bool
    wait: float | None  #: seconds; None: not at all
    show_recipients: bool
    as_json: bool

    @property
    def subject(self) -> str:
        return notification(self.given.lane, self.given.source)

    def one(self) -> None:
        """The notification of the options. Its id is printed, for it may have been made up here."""
        from router.cli.rows import checked_row

        row = checked_row(1, json.dumps(self.given.document(), ensure_ascii=False).encode())
        if row.notification is None:
            raise CommandError(row.problem)
        identity = row.notification.id
        if not self.check_only:
            asyncio.run(self._publish_one(row, identity))
        elif self.as_json:
            self._print({"source": self.given.source, "id": identity, "published": False})
        else:
            typer.echo(f"{self.given.source}/{identity} is as the contract wants it")

    async def _publish_one(self, row: Row, identity: str) -> None:
        from router.cli.client import require_stream
        from router.cli.publishing import publish
        from router.jetstream import StoreError

        async with self._connected() as (js, position):
            try:
                sequence = await publish(js, self.subject, row.body)
            except StoreError as exc:
                await require_stream(js, NOTIFICATIONS)
                raise CommandError(f"not acknowledged, so nobody knows whether it was published: {exc}") from None
            source = self.given.source
            if self.as_json:
                self._print({"source": source, "id": identity, "published": True, "sequence": sequence})
            else:
                typer.echo(f"published {source}/{identity} as number {sequence} of {NOTIFICATIONS}")
            await self._wait(js, story(source, identity), {identity}, position)

    def many(self, path: Path) -> None:
        """Each row of a file: the bad ones are named, the good ones published."""
        from router.cli.publishing import check_all
        from router.cli.rows import NotificationFile

        def problem(line: int, what: str) -> None:
            typer.echo(f"{path}:{line}: {what}", err=True)

        with NotificationFile(path) as file:
            if self.check_only:
                tally = check_all(file.rows(), problem)
                self._tell(tally)
                _judge(tally)
            else:
                asyncio.run(self._publish_many(file, problem))

    async def _publish_many(self, file: NotificationFile, problem: Any) -> None:
        from router.cli.client import require_stream
        from router.cli.publishing import publish_all

        async with self._connected() as (js, position):
            rows = _with_progress(file)
            tally = await publish_all(js, self.subject, rows, problem, remember=self.wait is not None)
            if tally.unacknowledged and not tally.published:
                await require_stream(js, NOTIFICATIONS)
            self._tell(tally)
            await self._wait(js, delivery(self.given.source, "*", "*", "*"), tally.ids, position)
        _judge(tally)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[tuple[JetStream, int]]:
        """With the place in the log behind which the events of what is published now will stand."""
        from router.cli.client import connected, require_stream
        from router.cli.publishing import log_position

        async with connected(self.settings) as js:
            if self.wait is None:
                yield js, 0
                return
            await require_stream(js, DELIVERIES)
            yield js, await log_position(js)

    async def _wait(self, js: JetStream, subject: str, ids: set[str], position: int) -> None:
        if self.wait is None:
            return
        from router.cli.publishing import wait_for_ends

        ends = await wait_for_ends(js, subject, ids, after=position, within=self.wait, show=self._shower())
        if not ends.good:
            raise CommandError(self._disappointment(ends))

    def _shower(self) -> Any:
        from router.cli import output

        screen = output.console()

        def show(event: Mapping[str, Any]) -> None:
            if self.as_json:
                output.print_json_line(event)
            else:
                screen.print(output.event_line(event, show_recipient=self.show_recipients))

        return show

    def _disappointment(self, ends: Endings) -> str:
        if not ends.pending:
            told = ", ".join(f"{count} {status}" for status, count in sorted(ends.statuses.items()))
            return f"not everything arrived: {told}"
        one = min(ends.pending)
        return (
            f"without a final event after {self.wait:g} s: {len(ends.pending)}, among them {one}; an id that was "
            f"published before has no news, so look at: pointsman trace {self.given.source} {one}"
        )

    def _tell(self, tally: Tally) -> None:
        counts = tally.as_dict()
        if self.as_json:
            self._print(counts)
        else:
            typer.echo(", ".join(f"{count} {name}" for name, count in counts.items()))

    def _print(self, value: Mapping[str, Any]) -> None:
        typer.echo(json.dumps(value))


def _judge(tally: Tally) -> None:
    """What was wrong with single rows has been said; what ended the reading has not."""
    if tally.stopped:
        raise CommandError(tally.stopped)
    if not tally.good:
        raise typer.Exit(1)


def _with_progress(file: NotificationFile) -> Iterator[Row]:
    """The rows of a file, with a bar on the terminal that shows how much of it has been taken."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    from router.cli import output

    screen = output.console(stderr=True)
    columns = (TextColumn("sending"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as progress:
        task = progress.add_task("sending", total=file.size)
        for row in file.rows():
            yield row
            progress.update(task, completed=file.position)
