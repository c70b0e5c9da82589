"""`pointsman doctor`: each line ok, or what to do."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path

import typer
from rich.text import Text

from channels.port import Finding, Level
from router.cli.configuration import load_settings
from router.cli.output import console, print_json
from router.doctor import examine
from router.settings import Settings

_MARKS: Mapping[Level, tuple[str, str]] = {
    Level.OK: ("ok", "green"),
    Level.WARNING: ("warning", "yellow"),
    Level.FAILURE: ("failure", "bold red"),
}
_WIDTH = max(len(mark) for mark, _ in _MARKS.values())


def examine_all(config: Path | None, nats: str | None, *, as_json: bool) -> None:
    """Print what is found while it is found. Exit status 1 when something does not work."""
    settings, environ = load_settings(config, nats)
    found = asyncio.run(_found(settings, environ, show=not as_json))
    if as_json:
        print_json([asdict(each) for each in found])
    else:
        typer.echo(_summary(found))
    if any(each.level is Level.FAILURE for each in found):
        raise typer.Exit(1)


async def _found(settings: Settings, environ: Mapping[str, str], *, show: bool) -> list[Finding]:
    found, screen = [], console()
    async with aclosing(examine(settings, environ)) as findings:
        async for each in findings:
            found.append(each)
            if show:
                for line in lines_of(each):
                    screen.print(line)
    return found


def lines_of(finding: Finding) -> list[Text]:
    """What was found, and below it the one thing to do."""
    mark, style = _MARKS[finding.level]
    head = Text.assemble((mark.ljust(_WIDTH), style), "  ", (finding.what, "bold"), f"  {finding.says}")
    return [head, Text(f"{'':{_WIDTH}}    {finding.todo}", "italic")] if finding.todo else [head]


def _summary(found: list[Finding]) -> str:
    count = Counter(each.level for each in found)
    return f"{len(found)} looked at: {count[Level.FAILURE]} failures, {count[Level.WARNING]} warnings"
