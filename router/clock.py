"""Time as an input: the one place that reads the clock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import lru_cache

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Now, aware."""
    return datetime.now(UTC)


def rfc3339(moment: datetime) -> str:
    """UTC with milliseconds: "2026-12-01T09:30:00.123Z"."""
    return f"{to_the_second(moment)}.{moment.microsecond // 1000:03d}Z"


def to_the_second(moment: datetime) -> str:
    """UTC without a zone: "2026-12-01T09:30:00". Nearly always the same as a moment ago, so it is written once."""
    utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return _written(utc.toordinal(), utc.hour, utc.minute, utc.second)


@lru_cache(maxsize=64)
def _written(day: int, hour: int, minute: int, second: int) -> str:
    return f"{date.fromordinal(day).isoformat()}T{hour:02d}:{minute:02d}:{second:02d}"


def parse_time(text: str) -> datetime:
    """RFC 3339 as the server writes it: with nanoseconds, which Python's datetime cannot hold."""
    head, _, fraction = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{head}.{fraction[:6]:0<6}+00:00")
