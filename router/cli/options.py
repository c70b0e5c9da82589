"""Options that several commands share, written the same everywhere."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Configuration file (default: $POINTSMAN_CONFIG, else pointsman.toml)."),
]
Nats = Annotated[str | None, typer.Option("--nats", metavar="URL", help="NATS server, in place of the configured one.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, as on the wire.")]
ShowRecipients = Annotated[bool, typer.Option("--show-recipients", help="Show recipients in full.")]


def matching(pattern: re.Pattern[str]) -> Callable[[str | None], str | None]:
    """For options that become tokens of subjects: anything else would be another subject."""

    def check(value: str | None) -> str | None:
        if value is not None and not pattern.fullmatch(value):
            raise typer.BadParameter(f"must match {pattern.pattern}")
        return value

    return check


def moment(text: str) -> datetime:
    """`2026-12-01T09:30:00Z`."""
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        read = None
    if read is None or read.tzinfo is None:
        raise typer.BadParameter("write RFC 3339 with an offset, for example 2026-12-01T09:30:00Z")
    return read


def duration(text: str) -> timedelta:
    """`30s`, `10m`, `2h`, `1d`."""
    if not (match := re.fullmatch(r"(\d{1,6})([smhd])", text)):
        raise typer.BadParameter("write a number and s, m, h or d, for example 10m")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})
