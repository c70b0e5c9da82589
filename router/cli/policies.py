"""`pointsman policy`: a policy checked before it runs, and compared with what was decided."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import asdict
from datetime import timedelta
from importlib.resources import files
from pathlib import Path

import typer
from rich.text import Text

from channels.port import TemplateReport
from channels.registry import PluginError, discover
from policies import document
from policies.check import Finding, Severity, check
from policies.diff import Change, DiffReport, Recorded, diff, recorded_from_event
from policies.engine import compile_policy
from policies.world import World
from router.approvals import kept_reports
from router.cli.client import connected, require_stream
from router.cli.configuration import load_settings
from router.cli.errors import CommandError
from router.cli.following import follow, since
from router.cli.output import console, print_json, table
from router.clock import utc_now
from router.jetstream import JetStream
from router.policy import world_of
from router.settings import Settings
from router.subjects import DELIVERIES, delivery

#: Statuses of the events that carry a decision.
_DECIDED = ("routed", "deferred", "suppressed", "rejected")
_BATCH = 256  #: decisions that are read at a time


def check_policy(file: Path | None, config: Path | None, *, as_json: bool) -> None:
    """Print what is found. Exit status 1 when anything is."""
    settings, _ = load_settings(config)
    if file is None and settings.policy.bucket:
        raise CommandError("give a file: the policy in force is in NATS (pointsman policy show)")
    name, text = read(file or settings.policy.file)
    version, found = findings(text, name, settings)
    if as_json:
        print_json({"file": name, "policy": version, "findings": [asdict(each) for each in found]})
    elif found:
        print_findings(name, found)
    else:
        typer.echo(f"{name}: nothing to mend in policy {version}")
    if found:
        raise typer.Exit(1)


def print_findings(name: str, found: list[Finding]) -> None:
    """A line for each, as compilers write them."""
    for each in found:
        where = f"{each.where}: " if each.where else ""
        typer.echo(f"{name}:{each.line}: {each.severity}: {where}{each.message}")


def findings(text: str, name: str, settings: Settings) -> tuple[str | None, list[Finding]]:
    """The policy's version, None when it is not even a policy, and what an author should look at."""
    try:
        policy = document.load(text, name)
    except document.PolicyError as exc:
        return None, [Finding(each.line, each.where, Severity.ERROR, each.message) for each in exc.problems]
    return policy.version, check(policy, _world(settings), text)


def read(file: Path | None) -> tuple[str, str]:
    """Name and text of a policy; without a file, of the shipped one."""
    if file is None:
        return "default.toml", files("policies").joinpath("default.toml").read_text("utf-8")
    try:
        return str(file), file.read_text("utf-8")
    except OSError as exc:
        raise CommandError(f"{file}: cannot be read: {exc.strerror}") from None
    except UnicodeDecodeError:
        raise CommandError(f"{file}: not UTF-8") from None


def _world(settings: Settings, reports: Mapping[str, TemplateReport] | None = None) -> World:
    if not settings.senders:
        raise CommandError("the configuration has no senders, so no step of a policy can work: give --config")
    try:
        return world_of(settings, discover(), reports or {})
    except PluginError as exc:
        raise CommandError(str(exc)) from None


def diff_policy(
    other: Path, back: timedelta, limit: int, config: Path | None, nats: str | None, *, as_json: bool
) -> None:
    """Print what would have been decided differently. Exit status 1 when anything would."""
    settings, _ = load_settings(config, nats)
    name, text = read(other)
    try:
        loaded = document.load(text, name)
    except document.PolicyError as exc:
        raise CommandError(str(exc)) from None
    _world(settings)  # whether there can be one, before anything is connected to
    report = asyncio.run(_compare(settings, loaded, back, limit))
    if report.decided == limit:
        typer.echo(f"there may be more than these {limit} decisions: see --limit", err=True)
    if as_json:
        print_json(report.as_dict())
    else:
        screen = console()
        for line in _lines(report):
            screen.print(line)
    if report.changed:
        raise typer.Exit(1)


async def _compare(settings: Settings, other: document.PolicyDocument, back: timedelta, limit: int) -> DiffReport:
    """Decide in a thread what the loop reads, so that only so much of it is in memory at a time."""
    async with connected(settings.nats) as js:
        await require_stream(js, DELIVERIES)
        policy = compile_policy(other, _world(settings, await kept_reports(js, settings.streams.bucket_prefix)))
        async with aclosing(_batches(js, back, limit)) as batches:
            loop = asyncio.get_running_loop()
            return await asyncio.to_thread(lambda: diff(_drawn(batches, loop), policy))


async def _batches(js: JetStream, back: timedelta, limit: int) -> AsyncGenerator[list[Recorded], None]:
    """Decisions that can be made again, oldest first and `limit` at most."""
    batch: list[Recorded] = []
    subjects = [delivery("*", status, "*", "*") for status in _DECIDED]
    async with aclosing(follow(js, DELIVERIES, subjects, since(utc_now() - back), to_end=True)) as messages:
        async for msg in messages:
            if recorded := recorded_from_event(json.loads(msg.data)):
                batch.append(recorded)
                limit -= 1
            if not limit:
                break
            if len(batch) == _BATCH:
                yield batch
                batch = []
    yield batch


def _drawn(batches: AsyncGenerator[list[Recorded], None], loop: asyncio.AbstractEventLoop) -> Iterator[Recorded]:
    async def following() -> list[Recorded] | None:
        return await anext(batches, None)

    while batch := asyncio.run_coroutine_threadsafe(following(), loop).result():
        yield from batch


def _lines(report: DiffReport) -> Iterator[Text]:
    yield Text(f"decided {report.decided} again under policy {report.policy}: {report.changed} change")
    yield from (Text(f"not compared: {each}") for each in report.not_compared)
    if not report.changed:
        return
    yield Text()
    yield from table(("changed", "country"), ((str(count), country) for country, count in report.by_country.items()))
    for what, tallies in (("channel", report.by_channel), ("form", report.by_form)):
        yield Text()
        rows = ((name, str(tally.was), str(tally.becomes)) for name, tally in tallies.items())
        yield from table((what, "was", "becomes"), rows)
    yield Text()
    yield from table(("changed", "country", "was", "becomes", "for example"), map(_change, report.changes))


def _change(change: Change) -> tuple[str, ...]:
    examples = ", ".join(f"{each['source']}/{each['notification_id']}" for each in change.examples)
    return str(change.count), change.country, change.was, change.becomes, examples
