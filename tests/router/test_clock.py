"""Moments as events and logs write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from router.clock import parse_time, rfc3339, to_the_second

ZONES = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45)), timezone(-timedelta(hours=12))])
#: Hypothesis wants its bounds without zones; no zone makes them leave the calendar.
MOMENTS = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=ZONES)  # noqa: DTZ001


@given(MOMENTS)
def test_a_moment_is_written_in_utc_with_milliseconds(moment: datetime) -> None:
    assert rfc3339(moment) == moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@given(MOMENTS)
def test_the_second_is_that_of_utc(moment: datetime) -> None:
    assert to_the_second(moment) == moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds")


@given(MOMENTS)
def test_it_is_read_back_to_the_millisecond(moment: datetime) -> None:
    assert parse_time(rfc3339(moment)) == moment.replace(microsecond=moment.microsecond // 1000 * 1000)
