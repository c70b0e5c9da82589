"""`pointsman deadletters`: what needs a person, and what a person can do about it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
from rich.text import Text

from router.cli.client import told
from router.cli.configuration import load_settings
from router.cli.output import ago, console, print_json, printable, table
from router.cli.tracing import story_lines
from router.logs import HIDDEN, Redactor
from router.wire import DeliveryEvent, Notification

_HEAD = ("id", "state", "age", "stage", "notification", "reason", "message")
#: Fields that a body may be expected to have. What stands under any other name can be anything, a text among it.
_KNOWN = Notification.model_fields.keys() | DeliveryEvent.model_fields.keys()

Given = Mapping[str, str | None]  #: fields of a request; None: not given


def show_all(given: Given, config: Path | None, nats: str | None, *, as_json: bool) -> None:
    """Print a line for each, oldest first."""
    answer = _told("list", given, config, nats)
    letters = answer["dead_letters"]
    if as_json:
        print_json(letters)
    elif letters:
        screen = console()
        for line in table(_HEAD, map(_row, letters)):
            screen.print(line)
        if answer["older"]:
            typer.echo(f"{answer['older']} older ones: --before {letters[0]['dead_letter_id']}", err=True)
    else:
        typer.echo("nothing needs a person")


def show(identity: str, config: Path | None, nats: str | None, *, as_json: bool, show_recipients: bool) -> None:
    """Print the whole of one, and the story of its notification."""
    letter = _told("show", {"id": identity}, config, nats)
    if as_json:
        print_json(letter)
        return
    screen = console()
    for line in _lines(letter, show_recipients=show_recipients):
        screen.print(line)


def act(what: str, given: Given, config: Path | None, nats: str | None, *, as_json: bool) -> None:
    """`replay` or `resolve` one, and print what that did."""
    answer = _told(what, given, config, nats)
    if as_json:
        print_json(answer)
    else:
        typer.echo(answer["done"])


def _told(what: str, given: Given, config: Path | None, nats: str | None) -> dict[str, Any]:
    settings, _ = load_settings(config, nats)
    request = {name: value for name, value in given.items() if value is not None}
    return asyncio.run(told(settings.nats, f"deadletters.{what}", request))


def _row(letter: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        letter["dead_letter_id"],
        letter["state"],
        ago(letter["recorded_at"]),
        letter["stage"],
        _about(letter),
        letter["reason"],
        printable(letter["message"]),
    )


def _about(letter: Mapping[str, Any]) -> str:
    """Source and notification, as far as that can be told."""
    return "/".join(part for part in (letter["source"], letter["notification_id"]) if part)


def _lines(letter: Mapping[str, Any], *, show_recipients: bool) -> Iterator[Text]:
    yield Text(f"{_about(letter)}  {letter['stage']}  {letter['reason']}  {letter['state']}", "bold")
    yield Text(printable(letter["message"]))
    for name, value in _details(letter, show_recipients=show_recipients):
        if value:
            yield Text.assemble((f"{name}: ", "dim"), printable(value))
    if letter["events"]:
        yield Text()
        yield from story_lines(letter["events"], show_recipients=show_recipients)


def _details(letter: Mapping[str, Any], *, show_recipients: bool) -> Iterator[tuple[str, str]]:
    """What there may be to say, in the order in which it helps."""
    yield "id", letter["dead_letter_id"]
    yield "recorded", f"{letter['recorded_at']}, {ago(letter['recorded_at'])} ago"
    yield "field", letter["field"] or ""
    yield "note", letter["note"] or ""
    yield "subject", f"{letter['subject']}, number {letter['sequence']}"
    yield "headers", _headers(letter["headers"], show_recipients=show_recipients)
    yield "body", letter["body"] if show_recipients else _masked(letter["body"])
    yield "truncated", "only the beginning of the body was kept" if letter["truncated"] else ""


def _headers(headers: Mapping[str, str], *, show_recipients: bool) -> str:
    shown = headers if show_recipients else Redactor().value(headers)
    return ", ".join(f"{name}={value}" for name, value in shown.items())


def _masked(body: str) -> str:
    """A body without what is personal in it; the names of its fields stay, for one of them is often the mistake."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return HIDDEN
    if not isinstance(document, dict):
        return HIDDEN
    expected = {name: value if name in _KNOWN else HIDDEN for name, value in document.items()}
    return json.dumps(Redactor().value(expected), ensure_ascii=False)
