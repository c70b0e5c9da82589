"""`pointsman cancel`: take back what has not been sent."""

from __future__ import annotations

import asyncio
from pathlib import Path

import typer

from router.cli.client import told
from router.cli.configuration import load_settings
from router.cli.errors import CommandError
from router.cli.output import print_json


def cancel(source: str, identity: str, config: Path | None, nats: str | None, *, as_json: bool) -> None:
    """Take a notification back. Raises `CommandError` when it came too late."""
    settings, _ = load_settings(config, nats)
    answer = asyncio.run(told(settings.nats, "cancel", {"source": source, "id": identity}))
    if as_json:
        print_json(answer)
    if not answer["canceled"]:
        raise CommandError(f"too late for {source}/{identity}: {answer['because']}")
    if not as_json:
        typer.echo(f"{source}/{identity} is taken back: {answer['because']}")
