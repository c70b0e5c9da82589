"""`pointsman policy publish`, `show`, `history`: the document that all routers of a deployment decide by."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import typer

from policies.check import Severity
from router.cli.client import connected, require_stream
from router.cli.configuration import load_settings
from router.cli.errors import CommandError
from router.cli.output import ago, console, print_json, table
from router.cli.policies import findings, print_findings, read
from router.clock import rfc3339, utc_now
from router.published import Publications, PublishedPolicy
from router.settings import Settings
from router.topology import POLICY


def publish(file: Path, config: Path | None, nats: str | None, *, note: str, force: bool, as_json: bool) -> None:
    """Check it and put it in force. Exit status 1, and nothing published, where an error is found."""
    settings, _ = load_settings(config, nats)
    name, text = read(file)
    version, found = findings(text, name, settings)
    if not as_json:
        print_findings(name, found)
    is_wrong = any(each.severity is Severity.ERROR for each in found)
    if version is None or (is_wrong and not force):
        raise CommandError(f"{name} is not published: mend it" + (", or --force it" if version else ""))
    published = asyncio.run(_publish(settings, text, version, note))
    if as_json:
        print_json(_summary(published))
    else:
        typer.echo(f"published as number {published.number}: {published.version}")
    if not settings.policy.bucket:
        typer.echo("this configuration does not read it: set bucket = true under [policy]", err=True)


def show(number: int | None, config: Path | None, nats: str | None, *, as_json: bool) -> None:
    """The text of the current one, or of the one with this number."""
    settings, _ = load_settings(config, nats)
    published = asyncio.run(_one(settings, number))
    if published is None:
        which = f"number {number} is not kept, or never was" if number else "none is published yet"
        raise CommandError(f"no such policy: {which}")
    if as_json:
        print_json(published.as_dict())
    else:
        typer.echo(published.text, nl=not published.text.endswith("\n"))


def history(config: Path | None, nats: str | None, *, as_json: bool) -> None:
    """What was published, newest first."""
    settings, _ = load_settings(config, nats)
    kept = asyncio.run(_history(settings))
    if as_json:
        print_json({"published": [_summary(each) for each in kept]})
    elif not kept:
        typer.echo("none is published yet")
    else:
        rows = ((str(each.number), each.version, ago(rfc3339(each.at)), each.note) for each in kept)
        for line in table(("number", "version", "ago", "note"), rows):
            console().print(line)


def _summary(published: PublishedPolicy) -> dict[str, Any]:
    row = published.as_dict()
    del row["text"]
    return row


@asynccontextmanager
async def _publications(settings: Settings) -> AsyncIterator[Publications]:
    prefix = settings.streams.bucket_prefix
    async with connected(settings.nats) as js:
        await require_stream(js, f"KV_{prefix}{POLICY}")
        yield Publications(js, prefix)


async def _publish(settings: Settings, text: str, version: str, note: str) -> PublishedPolicy:
    async with _publications(settings) as publications:
        return await publications.publish(text, version, utc_now(), note)


async def _one(settings: Settings, number: int | None) -> PublishedPolicy | None:
    async with _publications(settings) as publications:
        return await publications.current() if number is None else await publications.numbered(number)


async def _history(settings: Settings) -> list[PublishedPolicy]:
    async with _publications(settings) as publications:
        return await publications.history()
