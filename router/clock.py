"""Time as an input: the one place that reads the clock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Now, aware."""
    return datetime.now(UTC)


@lru_cache(maxsize=8)  # an event says the same moment in its body and in its headers
def rfc3339(moment: datetime) -> str:
    """UTC with milliseconds: "2026-12-01T09:30:00.123Z"."""
    utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    text = utc.isoformat()
    # Asked for milliseconds, it takes longer than cutting them out.
    return f"{text[:23]}Z" if text[19] == "." else f"{text[:19]}.000Z"


def parse_time(text: str) -> datetime:
    """RFC 3339 as the server writes it: with nanoseconds, which Python's datetime cannot hold."""
    head, _, fraction = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{head}.{fraction[:6]:0<6}+00:00")
