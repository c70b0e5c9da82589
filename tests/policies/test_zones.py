"""Clock tests: midnight, daylight saving, zones off the hour, leap days."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from policies.zones import is_inside, open_in_all, zone_named

NIGHT = (time(21), time(8))
MADRID, NEW_YORK, KOLKATA = ZoneInfo("Europe/Madrid"), ZoneInfo("America/New_York"), ZoneInfo("Asia/Kolkata")
HONOLULU, AUCKLAND = ZoneInfo("Pacific/Honolulu"), ZoneInfo("Pacific/Auckland")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("moment", "quiet"),
    [
        ("2026-01-15 19:59:59", False),  # 20:59:59 in Madrid, CET = UTC+1
        ("2026-01-15 20:00:00", True),  # 21:00: the start is included
        ("2026-01-15 23:30:00", True),  # 00:30, after midnight
        ("2026-01-16 06:59:59", True),  # 07:59:59
        ("2026-01-16 07:00:00", False),  # 08:00: the end is not
        ("2026-07-15 19:00:00", True),  # 21:00 in summer, CEST = UTC+2
    ],
)
def test_hours_across_midnight_include_their_start_and_not_their_end(moment: str, quiet: bool) -> None:
    assert is_inside(utc(moment), MADRID, *NIGHT) is quiet


def test_hours_within_one_day() -> None:
    lunch = (time(12), time(14))
    assert [is_inside(utc(f"2026-01-15 {hour}:00"), MADRID, *lunch) for hour in (10, 11, 12, 13)] == [
        False,  # 11:00 in Madrid
        True,
        True,
        False,  # 14:00
    ]


@pytest.mark.parametrize(
    ("zones", "hours", "moment", "opens"),
    [
        # outside already
        ([MADRID], NIGHT, "2026-01-15 12:00", "2026-01-15 12:00"),
        # 23:00 CET: 08:00 CET next day
        ([MADRID], NIGHT, "2026-01-15 22:00", "2026-01-16 07:00"),
        # the night of 29 March 2026 loses an hour: 08:00 is CEST = 06:00 UTC
        ([MADRID], NIGHT, "2026-03-28 22:00", "2026-03-29 06:00"),
        # the night of 25 October 2026 gains one: 08:00 is CET = 07:00 UTC
        ([MADRID], NIGHT, "2026-10-24 21:00", "2026-10-25 07:00"),
        # half an hour off: 08:00 IST = 02:30 UTC
        ([KOLKATA], NIGHT, "2026-01-15 20:00", "2026-01-16 02:30"),
        # a leap day: 23:00 on 28 February 2028 in Madrid opens on the 29th
        ([MADRID], NIGHT, "2028-02-28 22:00", "2028-02-29 07:00"),
        # ends at a time that spring skips: on 8 March 2026 clocks go from 02:00 EST to 03:00 EDT at 07:00 UTC
        ([NEW_YORK], (time(21), time(2, 30)), "2026-03-08 05:00", "2026-03-08 07:00"),
        ([MADRID, NEW_YORK], (time(21), time(2, 30)), "2026-03-08 05:00", "2026-03-08 07:00"),
        # a change of half an hour: on 4 October 2026 Lord Howe goes from 02:00 +10:30 to 02:30 +11:00 at 15:30 UTC
        ([LORD_HOWE], (time(21), time(2, 10)), "2026-10-03 12:00", "2026-10-03 15:30"),
        # begins at a time that spring skips: quiet from the change on, until 04:00 EDT = 08:00 UTC
        ([NEW_YORK], (time(2, 30), time(4)), "2026-03-08 07:00", "2026-03-08 08:00"),
        ([NEW_YORK], (time(2, 30), time(4)), "2026-03-08 06:59:59", "2026-03-08 06:59:59"),
        # ends at a time that comes twice on 1 November 2026: from 00:30 EDT the first, 01:30 EDT = 05:30 UTC
        ([NEW_YORK], (time(21), time(1, 30)), "2026-11-01 04:30", "2026-11-01 05:30"),
        # ... and from 01:10 EST (the hour repeated) the second, 01:30 EST = 06:30 UTC
        ([NEW_YORK], (time(21), time(1, 30)), "2026-11-01 06:10", "2026-11-01 06:30"),
        # open in New York at 13:00 UTC (08:00 EST), in Honolulu only at 18:00 UTC (08:00 HST)
        ([NEW_YORK, HONOLULU], NIGHT, "2026-01-15 13:00", "2026-01-15 18:00"),
        # Madrid sleeps from 20:00 UTC, Honolulu wakes at 18:00 UTC: two hours a day are left
        ([MADRID, HONOLULU], NIGHT, "2026-01-15 20:30", "2026-01-16 18:00"),
    ],
)
def test_it_opens_when_no_zone_is_inside(
    zones: list[ZoneInfo], hours: tuple[time, time], moment: str, opens: str
) -> None:
    assert open_in_all(utc(moment), zones, *hours) == utc(opens)


def test_zones_that_are_never_open_together_have_no_such_moment() -> None:
    # Quiet from 12:00 to 06:00 on clocks that are eleven or twelve hours apart.
    assert open_in_all(utc("2026-06-15 12:00"), [MADRID, HONOLULU], time(12), time(6)) is None


@pytest.mark.parametrize("name", ["", "Europe", "Nowhere/At_All", "../etc/passwd", "/etc/passwd", "a\0b", "x" * 300])
def test_a_name_that_is_no_zone_is_none(name: str) -> None:
    assert zone_named(name) is None


#: Any second of 2026.
MOMENTS = st.integers(0, 365 * 86_400).map(lambda seconds: utc("2026-01-01 00:00") + timedelta(seconds=seconds))
CLOCKS = st.times().map(lambda clock: clock.replace(microsecond=0))


@given(
    zone=st.sampled_from([MADRID, NEW_YORK, AUCKLAND, LORD_HOWE]),
    moment=MOMENTS,
    start=CLOCKS,
    end=CLOCKS,
)
def test_it_opens_at_the_end_of_the_quiet_and_not_later(
    zone: ZoneInfo, moment: datetime, start: time, end: time
) -> None:
    assume(start != end)
    opens = open_in_all(moment, [zone], start, end)
    assert opens is not None
    assert opens >= moment
    assert not is_inside(opens, zone, start, end)
    if opens > moment:
        assert is_inside(opens - timedelta(microseconds=1), zone, start, end)


@given(zone=st.sampled_from([KOLKATA, HONOLULU]), moment=MOMENTS, start=CLOCKS, end=CLOCKS)
def test_where_clocks_never_change_everything_before_the_moment_is_inside(
    zone: ZoneInfo, moment: datetime, start: time, end: time
) -> None:
    assume(start != end)
    opens = open_in_all(moment, [zone], start, end)
    assert opens is not None
    if opens > moment:
        assert is_inside(moment, zone, start, end)
        assert is_inside(opens - timedelta(microseconds=1), zone, start, end)
        assert opens - moment <= timedelta(days=1)
