"""Quiet hours on the recipient's clock, across midnight and through changes of daylight saving."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

#: A window that has not opened in every zone within two days never will: the zones' quiet hours cover the day.
_HORIZON = timedelta(days=2)


@lru_cache(maxsize=1024)
def zone_named(name: str) -> ZoneInfo | None:
    """The IANA zone of this name; None if there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: names of directories, such as "Europe"
        return None


def is_quiet(moment: datetime, zone: ZoneInfo, start: time, end: time) -> bool:
    """Whether the clocks of the zone stand between start (included) and end (not included)."""
    clock = moment.astimezone(zone).time()
    if start < end:
        return start <= clock < end
    return clock >= start or clock < end


def open_in_all(moment: datetime, zones: Sequence[ZoneInfo], start: time, end: time) -> datetime | None:
    """The first moment from this one on that is quiet in none of the zones; None if they never agree."""
    horizon = moment + _HORIZON
    while moment < horizon:
        quiet = [zone for zone in zones if is_quiet(moment, zone, start, end)]
        if not quiet:
            return moment
        moment = max(_next(end, zone, moment) for zone in quiet)
    return None


def _next(clock: time, zone: ZoneInfo, after: datetime) -> datetime:
    """When the clocks of the zone next show this time, in UTC.

    A time that is skipped in spring counts as the same distance after the change; one that comes twice in autumn
    counts both times.
    """
    today = after.astimezone(zone).date()
    candidates = (
        datetime.combine(today + timedelta(days=days), clock.replace(fold=fold), tzinfo=zone).astimezone(UTC)
        for days in (0, 1, 2)
        for fold in (0, 1)
    )
    return next(moment for moment in candidates if moment > after)
