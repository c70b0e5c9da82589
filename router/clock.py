"""Time as an input: the one place that reads the clock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Now, aware."""
    return datetime.now(UTC)


def rfc3339(moment: datetime) -> str:
    """UTC with milliseconds: "2026-12-01T09:30:00.123Z"."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_time(text: str) -> datetime:
    """RFC 3339 as the server writes it: with nanoseconds, which Python's datetime cannot hold."""
    head, _, fraction = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{head}.{fraction[:6]:0<6}+00:00")
