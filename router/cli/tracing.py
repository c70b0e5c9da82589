"""`pointsman trace`: one notification's story."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.text import Text

from router.cli.client import ServiceError, ask, connected, require_stream
from router.cli.configuration import load_settings
from router.cli.errors import CommandError
from router.cli.output import console, decision_lines, local_time, print_json, recipient_of, story_line
from router.jetstream import JetStream
from router.settings import NatsSettings
from router.subjects import DELIVERIES, story

_NOT_FOUND = "404"


def trace(
    source: str, identity: str, config: Path | None, nats: str | None, *, as_json: bool, show_recipients: bool
) -> None:
    """Print every event in order. Raises `CommandError` when there is none."""
    settings, _ = load_settings(config, nats)
    events = asyncio.run(_story(settings.nats, source, identity))
    if not events:
        raise CommandError(f"no notification {identity!r} of {source!r} is in the log")
    if as_json:
        print_json(events)
        return
    screen = console()
    for line in story_lines(events, show_recipients=show_recipients):
        screen.print(line)


async def _story(settings: NatsSettings, source: str, identity: str) -> Sequence[Mapping[str, Any]]:
    """As a router tells it, else as it stands in the log."""
    async with connected(settings) as js:
        try:
            answer = await ask(js, "trace", {"source": source, "id": identity})
        except ServiceError as exc:
            if exc.code == _NOT_FOUND:
                return []
            raise
        return await _read(js, source, identity) if answer is None else answer["events"]


async def _read(js: JetStream, source: str, identity: str) -> Sequence[Mapping[str, Any]]:
    await require_stream(js, DELIVERIES)
    return [json.loads(stored.body) for stored in await js.history(DELIVERIES, story(source, identity))]


def story_lines(events: Sequence[Mapping[str, Any]], *, show_recipients: bool) -> Iterator[Text]:
    """What it is about, then each event with what was decided in it, under the day on which it happened."""
    yield from _head(events[0], show_recipients=show_recipients)
    day = None
    for event in events:
        if (today := local_time(event["recorded_at"]).date()) != day:
            day = today
            yield Text(f"{day:%Y-%m-%d}", "dim")
        yield story_line(event)
        for line in decision_lines(event["decision"]) if event["decision"] else ():
            yield Text("    ").append_text(line)


def _head(event: Mapping[str, Any], *, show_recipients: bool) -> Iterator[Text]:
    recipient = recipient_of(event, full=show_recipients)
    parts = (f"{event['source']}/{event['notification_id']}", event["category"], f"{event['lane']} lane", recipient)
    yield Text("  ".join(part for part in parts if part), "bold")
    if event["metadata"]:
        yield Text("metadata: " + ", ".join(f"{name}={value}" for name, value in event["metadata"].items()), "dim")
