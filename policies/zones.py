"""Quiet hours on the recipient's clock, across midnight and through changes of daylight saving."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

#: A window that has not opened in every zone within two days never will: the zones' quiet hours cover the day.
_HORIZON = timedelta(days=2)
_TICK = timedelta(milliseconds=500)


@lru_cache(maxsize=1024)
def zone_named(name: str) -> ZoneInfo | None:
    """The IANA zone of this name; None if there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: names of directories, such as "Europe"
        return None


def places(names: Iterable[str]) -> list[ZoneInfo]:
    """The zones of these names, without those that there are none of."""
    return [zone for name in names if (zone := zone_named(name))]


def is_inside(moment: datetime, zone: ZoneInfo, start: time, end: time) -> bool:
    """Whether the clocks of the zone stand between start (included) and end (not included)."""
    clock = moment.astimezone(zone).time()
    if start < end:
        return start <= clock < end
    return clock >= start or clock < end


def open_in_all(moment: datetime, zones: Sequence[ZoneInfo], start: time, end: time) -> datetime | None:
    """The first moment from this one on that is quiet in none of the zones; None if they never agree."""
    horizon = moment + _HORIZON
    while moment < horizon:
        quiet = [zone for zone in zones if is_inside(moment, zone, start, end)]
        if not quiet:
            return moment
        moment = max(_next(end, zone, moment) for zone in quiet)
    return None


def _next(clock: time, zone: ZoneInfo, after: datetime) -> datetime:
    """When the clocks of the zone next show this time or, in spring, jump over it; in UTC.

    A time that comes twice in autumn counts both times.
    """
    today = after.astimezone(zone).date()
    shown = (moment for days in (0, 1, 2) for moment in _shown(today + timedelta(days=days), clock, zone))
    return next(moment for moment in shown if moment > after)


def _shown(day: date, clock: time, zone: ZoneInfo) -> Iterable[datetime]:
    """The moments of this day at which the clocks show this time, in UTC; where they skip it, the moment they do."""
    wall = datetime.combine(day, clock, tzinfo=zone)
    first, second = (wall.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
    if second >= first:
        return (first, second)
    # Only a skipped time reads earlier by the offset that is valid after the change than by the one before it.
    return (_change(second, first, zone),)


def _change(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """The moment between these two at which the zone's offset changes; changes fall on whole seconds."""
    offset = before.astimezone(zone).utcoffset()
    while after - before > _TICK:
        middle = before + (after - before) / 2
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return after.replace(microsecond=0)
