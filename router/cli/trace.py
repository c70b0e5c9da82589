"""`pointsman trace`: one notification's story."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from router.cli import options
from router.cli.errors import CommandError
from router.cli.notification import checked
from router.subjects import DELIVERIES, NOTIFICATION_ID, SOURCE, story

if TYPE_CHECKING:
    from rich.text import Text

    from router.jetstream import JetStream
    from router.settings import NatsSettings

_UNKNOWN = "404"


def trace(
    source: Annotated[str, typer.Argument(callback=checked(SOURCE), help="The publishing service.")],
    identity: Annotated[
        str, typer.Argument(metavar="ID", callback=checked(NOTIFICATION_ID), help="The notification's id.")
    ],
    show_recipients: options.ShowRecipients = False,
    as_json: options.Json = False,
    config: options.Config = None,
    nats: options.Nats = None,
) -> None:
    """Tell what became of one notification, and why."""
    from router.cli import output

    settings, _ = options.load_settings(config, nats)
    events = asyncio.run(_story(settings.nats, source, identity))
    if as_json:
        output.print_json(events)
        return
    screen = output.console()
    for line in _lines(events, show_recipients=show_recipients):
        screen.print(line)


async def _story(settings: NatsSettings, source: str, identity: str) -> Sequence[Mapping[str, Any]]:
    """Every event in order: as a router tells it, else as it stands in the log."""
    from router.cli.client import ServiceError, ask, connected

    unknown = CommandError(f"no notification {identity!r} of {source!r} is in the log")
    async with connected(settings) as js:
        try:
            answer = await ask(js, "trace", {"source": source, "id": identity})
        except ServiceError as exc:
            raise (unknown if exc.code == _UNKNOWN else exc) from None
        events: list[dict[str, Any]] = answer["events"] if answer else await _read(js, source, identity)
    if not events:
        raise unknown
    return events


async def _read(js: JetStream, source: str, identity: str) -> list[dict[str, Any]]:
    from router.cli.client import require_stream

    await require_stream(js, DELIVERIES)
    return [json.loads(stored.body) for stored in await js.history(DELIVERIES, story(source, identity))]


def _lines(events: Sequence[Mapping[str, Any]], *, show_recipients: bool) -> Iterator[Text]:
    """A head, then each event with what was decided in it."""
    from rich.text import Text

    from router.cli import output

    first = events[0]
    recipient = output.recipient_of(first, full=show_recipients)
    head = [f"{first['source']}/{first['notification_id']}", first["category"], f"{first['lane']} lane", recipient]
    yield Text("  ".join(part for part in head if part), "bold")
    if first["metadata"]:
        yield Text("metadata: " + ", ".join(f"{name}={value}" for name, value in first["metadata"].items()), "dim")
    day = None
    for event in events:
        if (today := output.local_time(event["occurred_at"]).date()) != day:
            day = today
            yield Text(f"{day:%Y-%m-%d}", "dim")
        yield output.story_line(event)
        for line in output.decision_lines(event["decision"]) if event["decision"] else ():
            yield Text("    ").append_text(line)
