"""`pointsman pause`, `resume`, `paused`: stop a category, a channel or a source at once, and let it go again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import typer

from channels.model import Category
from channels.registry import PluginError, discover
from policies.document import Action
from policies.pauses import Kind
from router.cli.client import connected, require_stream
from router.cli.configuration import load_settings
from router.cli.errors import CommandError
from router.cli.output import console, print_json, table
from router.clock import utc_now
from router.settings import Settings
from router.switches import Switch, Switches
from router.topology import POLICY


def pause(
    what: tuple[Kind, str],
    config: Path | None,
    nats: str | None,
    *,
    lasting: timedelta | None,
    defer: bool,
    again: timedelta,
    note: str,
    as_json: bool,
) -> None:
    """Throw a switch. Every router heeds it within a second."""
    kind, name = _checked(what)
    now = utc_now()
    switch = Switch(
        kind,
        name,
        now,
        action=Action.DEFER if defer else Action.SUPPRESS,
        until=now + lasting if lasting else None,
        again=again.total_seconds(),
        note=note,
    )
    settings, _ = load_settings(config, nats)
    asyncio.run(_throw(settings, switch))
    if as_json:
        print_json(switch.as_dict())
    else:
        what_becomes = "deferred" if defer else "suppressed"
        typer.echo(f"{switch.as_pause().because}; what it stops is {what_becomes}")


def resume(what: tuple[Kind, str], config: Path | None, nats: str | None) -> None:
    """Lift a switch. Raises `CommandError` where none is."""
    kind, name = _checked(what)
    settings, _ = load_settings(config, nats)
    if not asyncio.run(_lift(settings, kind, name)):
        raise CommandError(f"no switch has paused {kind} {name!r}; what the policy itself pauses is changed there")
    typer.echo(f"{kind} '{name}' goes on")


def show(config: Path | None, nats: str | None, *, as_json: bool) -> None:
    """Every switch that has not ended."""
    settings, _ = load_settings(config, nats)
    now = utc_now()
    switches = [each for each in asyncio.run(_all(settings)) if each.as_pause().holds(now)]
    if as_json:
        print_json({"paused": [each.as_dict() for each in switches]})
    elif not switches:
        typer.echo("no switch pauses anything")
    else:
        head = ("what", "name", "action", "since", "until", "note")
        for line in table(head, map(_row, switches)):
            console().print(line)


def _row(switch: Switch) -> tuple[str, ...]:
    until = f"{switch.until:%Y-%m-%d %H:%M}" if switch.until else "resumed"
    return switch.kind, switch.name, switch.action, f"{switch.at:%Y-%m-%d %H:%M}", until, switch.note


def _checked(what: tuple[Kind, str]) -> tuple[Kind, str]:
    kind, name = what
    if kind is Kind.CATEGORY and name not in set(Category):
        raise CommandError(f"no category {name!r}: there are {', '.join(Category)}")
    channels = sorted(_installed()) if kind is Kind.CHANNEL else [name]
    if name not in channels:
        raise CommandError(f"no channel {name!r} is installed: there are {', '.join(channels)}")
    return what


def _installed() -> Iterable[str]:
    try:
        return discover().names
    except PluginError as exc:
        raise CommandError(str(exc)) from None


@asynccontextmanager
async def _switches(settings: Settings) -> AsyncIterator[Switches]:
    prefix = settings.streams.bucket_prefix
    async with connected(settings.nats) as js:
        await require_stream(js, f"KV_{prefix}{POLICY}")
        yield Switches(js, prefix)


async def _throw(settings: Settings, switch: Switch) -> None:
    async with _switches(settings) as switches:
        await switches.throw(switch)


async def _lift(settings: Settings, kind: Kind, name: str) -> bool:
    async with _switches(settings) as switches:
        return await switches.lift(kind, name)


async def _all(settings: Settings) -> list[Switch]:
    async with _switches(settings) as switches:
        return await switches.all()
