"""Decisions at the edges of time: the session's end, expiry, changes of clocks, leap days, numbers of many zones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from channels.address import parse_recipient, zones_of
from channels.model import Category, Recipient
from channels.reasons import Reason
from policies.document import shipped
from policies.engine import Policy, compile_policy, decide
from policies.model import Deferred, Outcome, RoutingPlan, Suppressed
from tests.factories import a_request, a_world, facts
from tests.policies.policy import a_policy

SHIPPED = compile_policy(shipped(), a_world())
NIGHT = '[[guards.quiet_hours]]\nfrom = "21:00"\nuntil = "{}"'
TICK = timedelta(microseconds=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def channels(outcome: Outcome) -> list[str]:
    assert isinstance(outcome, RoutingPlan), outcome
    return [step.channel for step in outcome.steps]


@pytest.mark.parametrize(
    ("before_end", "plan"),
    [
        (timedelta(hours=24), ["whatsapp", "sms"]),
        (TICK, ["whatsapp", "sms"]),
        (timedelta(0), ["sms"]),
        (-TICK, ["sms"]),
    ],
)
def test_a_session_is_open_up_to_its_last_moment(before_end: timedelta, plan: list[str]) -> None:
    end = utc("2026-11-20 12:00")
    outcome = decide(a_request("IN"), facts(sessions={"wa-main": end}), SHIPPED, end - before_end).outcome
    assert channels(outcome) == plan


def test_a_session_ends_by_the_clock_of_the_world_and_not_of_a_country() -> None:
    # Clocks in Madrid go back at 01:00 UTC on 25 October 2026: the 24 hours stay 24 hours.
    wrote = utc("2026-10-24 22:30")
    end = wrote + timedelta(hours=24)
    known = facts(sessions={"wa-main": end}, timezones=("Europe/Madrid",))
    assert channels(decide(a_request("IN"), known, SHIPPED, utc("2026-10-25 22:29:59")).outcome) == ["whatsapp", "sms"]
    assert channels(decide(a_request("IN"), known, SHIPPED, utc("2026-10-25 22:30")).outcome) == ["sms"]


@pytest.mark.parametrize(
    ("zone", "until", "now", "opens"),
    [
        # spring in New York, 8 March 2026: 02:00 EST is 03:00 EDT, at 07:00 UTC
        ("America/New_York", "08:00", "2026-03-08 06:30", "2026-03-08 12:00"),  # 08:00 EDT
        ("America/New_York", "08:00", "2026-03-07 06:30", "2026-03-07 13:00"),  # 08:00 EST the day before
        ("America/New_York", "02:30", "2026-03-08 06:30", "2026-03-08 07:00"),  # skipped: open when clocks jump over it
        ("America/New_York", "02:00", "2026-03-08 06:30", "2026-03-08 07:00"),
        ("America/New_York", "03:00", "2026-03-08 06:30", "2026-03-08 07:00"),
        # autumn in New York, 1 November 2026: 02:00 EDT is 01:00 EST, at 06:00 UTC
        ("America/New_York", "08:00", "2026-11-01 05:30", "2026-11-01 13:00"),  # 08:00 EST
        ("America/New_York", "01:30", "2026-11-01 05:00", "2026-11-01 05:30"),  # the first 01:30
        # leap days
        ("Europe/Madrid", "08:00", "2028-02-28 23:30", "2028-02-29 07:00"),
        ("Europe/Madrid", "08:00", "2028-02-29 22:00", "2028-03-01 07:00"),
        ("Europe/Madrid", "08:00", "2027-02-28 22:00", "2027-03-01 07:00"),
        # across the date line: 21:30 on New Year's Eve in Auckland
        ("Pacific/Auckland", "08:00", "2026-12-31 08:30", "2026-12-31 19:00"),
    ],
)
def test_quiet_hours_end_on_the_recipients_clock(zone: str, until: str, now: str, opens: str) -> None:
    policy = a_policy(NIGHT.format(until))
    outcome = decide(a_request(timezone=zone), facts(), policy, utc(now)).outcome
    assert outcome == Deferred(utc(opens), Reason.QUIET_HOURS)
    assert isinstance(decide(a_request(timezone=zone), facts(), policy, utc(opens)).outcome, RoutingPlan)


def of_number(policy: Policy, number: str, now: str) -> Outcome:
    recipient: Recipient = parse_recipient(number)
    request = a_request(recipient=recipient)
    return decide(request, facts(timezones=zones_of(recipient)), policy, utc(now)).outcome


class TestNumbersOfSeveralZones:
    POLICY = a_policy(NIGHT.format("08:00"))

    def test_an_area_code_has_one(self) -> None:
        assert zones_of(parse_recipient("+12025550143")) == ("America/New_York",)
        assert of_number(self.POLICY, "+12025550143", "2026-01-15 13:00").__class__ is RoutingPlan  # 08:00 EST

    def test_an_area_code_across_a_border_of_zones_opens_with_the_last(self) -> None:
        # +1 605 is South Dakota, partly on Central and partly on Mountain time: 08:00 is 14:00 UTC and 15:00 UTC
        zones = zones_of(parse_recipient("+16055550143"))
        assert zones == ("America/Denver", "America/North_Dakota/Center")
        assert of_number(self.POLICY, "+16055550143", "2026-01-15 14:00") == Deferred(
            utc("2026-01-15 15:00"), Reason.QUIET_HOURS
        )

    def test_a_number_that_may_be_anywhere_waits_for_everywhere(self) -> None:
        # A toll-free number may be in any zone of its plan. It is 08:00 in Guam at 22:00 UTC and 21:00 in Newfoundland
        # at 00:30 UTC: for two hours and a half a day nobody sleeps anywhere.
        toll_free = "+18002345678"
        assert {"Pacific/Guam", "America/St_Johns", "Pacific/Pago_Pago"} <= set(zones_of(parse_recipient(toll_free)))
        opens = Deferred(utc("2026-01-15 22:00"), Reason.QUIET_HOURS)
        assert of_number(self.POLICY, toll_free, "2026-01-15 12:00") == opens
        assert isinstance(of_number(self.POLICY, toll_free, "2026-01-16 00:29"), RoutingPlan)
        assert isinstance(of_number(self.POLICY, toll_free, "2026-01-16 00:30"), Deferred)


def test_a_cap_of_a_day_is_24_hours_whatever_clocks_and_calendars_do() -> None:
    policy = a_policy("[[guards.frequency]]\nlimit = 1\nwindow = 86400")
    for sent in ("2028-02-28 12:00", "2026-03-08 06:30", "2026-12-31 23:59:59"):
        known = facts(recent={Category.TRANSACTIONAL: (utc(sent),)}, timezones=("America/New_York",))
        free = utc(sent) + timedelta(days=1)
        assert decide(a_request(), known, policy, free - TICK).outcome == Deferred(free, Reason.FREQUENCY_CAP)
        assert channels(decide(a_request(), known, policy, free).outcome) == ["sms"]


def test_a_notification_for_a_leap_day_waits_for_it() -> None:
    leap = utc("2028-02-29 00:00")
    request = a_request(send_at=leap, expires_at=leap + timedelta(days=1))
    assert decide(request, facts(), SHIPPED, utc("2028-02-28 23:59:59")).outcome == Deferred(leap, Reason.SCHEDULED)
    assert channels(decide(request, facts(), SHIPPED, leap).outcome) == ["sms"]
    assert decide(request, facts(), SHIPPED, utc("2028-03-01 00:00")).outcome == Suppressed(Reason.EXPIRED)


@pytest.mark.parametrize(
    ("now", "plan"),
    [
        # 8 March 2026 in New York has no hour from 02:00 to 03:00: 06:59 UTC is 01:59 EST, 07:00 UTC is 03:00 EDT
        ("2026-03-08 06:59", ["whatsapp", "sms"]),
        ("2026-03-08 07:00", ["sms"]),
        # 1 November 2026: the hour from 01:00 to 02:00 comes twice, and both are inside
        ("2026-11-01 05:30", ["whatsapp", "sms"]),
        ("2026-11-01 06:30", ["whatsapp", "sms"]),
        ("2026-11-01 07:30", ["sms"]),
    ],
)
def test_a_condition_on_local_time_follows_the_clocks(now: str, plan: list[str]) -> None:
    policy = a_policy(
        routes="""
        [[routes]]
        name = "small-hours"
        when = { local_time = { from = "01:00", until = "02:30" } }
        plan = [{ channel = "whatsapp" }, { channel = "sms" }]
        [[routes]]
        name = "else"
        plan = { channel = "sms" }
        """
    )
    known = facts(sessions={"wa-main": utc("2027-01-01 00:00")})
    assert channels(decide(a_request("IN", timezone="America/New_York"), known, policy, utc(now)).outcome) == plan
