"""Short versions of long measurements: the full ones are run by hand, their figures are in docs/reliability.md."""

from __future__ import annotations

import pytest

from bench import deferred, lanes, recovery, soak

pytestmark = [pytest.mark.nats, pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(240)]


async def test_what_a_dead_router_held_goes_on_within_the_promised_time() -> None:
    report = await recovery.run("short", notifications=100, rate=40)
    assert report.kept, report.as_dict()


async def test_a_minute_of_steady_load_leaves_nothing_behind() -> None:
    report = await soak.run(minutes=1.0, rate=30, every=2)
    assert report.growing() == [], report.as_dict()["growth"]
    assert report.ended == report.published
    assert report.flat


async def test_urgent_messages_overtake_a_campaign_and_no_window_exceeds_the_rate() -> None:
    report = await lanes.run(rate=50, bulk=3_000, every=0.2, seconds=10)
    assert report.kept, report.as_dict()


async def test_deferred_notifications_survive_a_killed_server() -> None:
    found = await deferred.run(count=5_000, wave=500)
    assert found["there_after_restart"] == 5_000
    assert found["late"]["p99"] < 1.0
