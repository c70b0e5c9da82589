"""`pointsman watch`: delivery events as they come."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from router.cli import options
from router.cli.notification import checked
from router.subjects import DELIVERIES, NAME, NOTIFICATION_ID, SOURCE, delivery

if TYPE_CHECKING:
    from router.settings import NatsSettings

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_ANY = "*"
_STATUS = re.compile(r"[a-z]+")


def duration(text: str) -> timedelta:
    """`30s`, `10m`, `2h`, `1d`."""
    if not (match := re.fullmatch(r"(\d{1,6})([smhd])", text)):
        raise typer.BadParameter("write a number and s, m, h or d, for example 10m")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def watch(
    source: Annotated[str | None, typer.Option(callback=checked(SOURCE), help="Events of this service alone.")] = None,
    status: Annotated[str | None, typer.Option(callback=checked(_STATUS), help="Of this status alone.")] = None,
    channel: Annotated[str | None, typer.Option(callback=checked(NAME), help="Of this channel alone.")] = None,
    identity: Annotated[
        str | None, typer.Option("--id", callback=checked(NOTIFICATION_ID), help="Of this notification alone.")
    ] = None,
    since: Annotated[str | None, typer.Option(metavar="10m", help="Begin so long ago (s, m, h, d).")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many events.")] = None,
    show_recipients: options.ShowRecipients = False,
    as_json: options.Json = False,
    config: options.Config = None,
    nats: options.Nats = None,
) -> None:
    """Follow delivery events until Ctrl-C."""
    from router.cli import output

    back = duration(since) if since else None
    settings, _ = options.load_settings(config, nats)
    screen = output.console()

    def show(event: Mapping[str, Any]) -> None:
        if as_json:
            output.print_json_line(event)
        else:
            screen.print(output.event_line(event, show_recipient=show_recipients))

    async def follow() -> None:
        left = count
        subject = delivery(source or _ANY, status or _ANY, channel or _ANY, identity or _ANY)
        async with aclosing(_events(settings.nats, subject, back)) as events:
            async for event in events:
                show(event)
                left = left and left - 1
                if left == 0:
                    return

    asyncio.run(follow())


async def _events(settings: NatsSettings, subject: str, back: timedelta | None) -> AsyncIterator[dict[str, Any]]:
    from router.cli.client import connected, require_stream
    from router.cli.following import ONLY_NEW, follow, since
    from router.clock import utc_now

    start = ONLY_NEW if back is None else since(utc_now() - back)
    async with connected(settings) as js:
        await require_stream(js, DELIVERIES)
        async with aclosing(follow(js, DELIVERIES, subject, start)) as messages:
            async for msg in messages:
                yield json.loads(msg.data)
