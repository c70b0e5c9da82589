"""Three servers, three copies of everything, and the one that leads dies under load."""

from __future__ import annotations

import pytest

from bench.leader import run

pytestmark = [pytest.mark.nats, pytest.mark.e2e, pytest.mark.slow]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("stream", ["NOTIFICATIONS", "DELIVERIES"])
async def test_the_death_of_a_streams_leader_loses_nothing_and_doubles_nothing(stream: str) -> None:
    report = await run(stream, notifications=200, rate=25)
    assert report.clean, report.as_dict()
    # An election takes 4 to 9 seconds, whatever we do: what is checked is that we notice when it is over.
    assert report.as_dict()["longest_without_acceptance"] < 20


@pytest.mark.timeout(180)
async def test_a_leader_that_is_stopped_in_order_hands_over_without_an_election() -> None:
    report = await run("DELIVERIES", notifications=200, rate=25, how="stop")
    assert report.clean, report.as_dict()
    assert report.as_dict()["longest_without_acceptance"] < 6
