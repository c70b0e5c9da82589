"""The pace of a sender and the order of its lanes, with time as an argument."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.model import Lane
from router.pacing import LaneChooser, Pacer

RATES = st.sampled_from([0.5, 1.0, 3.0, 10.0, 80.0, 400.0])
#: Segments of each message, and how long nothing came before it.
TRAFFIC = st.lists(st.tuples(st.integers(1, 10), st.sampled_from([0.0, 0.0, 0.0, 0.01, 0.3, 5.0])), max_size=60)


def _departures(rate: float, traffic: list[tuple[int, float]]) -> list[tuple[float, int]]:
    """When each message leaves when it goes as soon as the pacer lets it, and what it costs."""
    now, departures = 0.0, []
    pacer = Pacer(rate, now)
    for cost, idle in traffic:
        now += idle
        while (seconds := pacer.wait(now)) > 0:
            now += seconds + 1e-9
        pacer.charge(cost, now)
        departures.append((now, cost))
    return departures


@given(RATES, TRAFFIC)
def test_no_window_holds_more_than_the_rate_the_burst_and_one_message(
    rate: float, traffic: list[tuple[int, float]]
) -> None:
    departures = _departures(rate, traffic)
    burst = max(1.0, rate * 0.1)
    for index, (first, _) in enumerate(departures):
        for (moment, cost), total in zip(
            departures[index:], accumulate(cost for _, cost in departures[index:]), strict=True
        ):
            assert total <= rate * (moment - first) + burst + cost + 1e-6


@given(RATES, st.integers(1, 50))
def test_a_busy_sender_uses_its_whole_rate(rate: float, count: int) -> None:
    departures = _departures(rate, [(1, 0.0)] * count)

    assert departures[-1][0] == pytest.approx((count - 1) / rate, rel=1e-3, abs=1e-5)


def test_a_pause_holds_everything_back_and_a_shorter_one_does_not_end_it() -> None:
    pacer = Pacer(100.0, now=0.0)
    pacer.pause(10.0)
    pacer.pause(4.0)

    assert pacer.wait(3.0) == 7.0
    assert pacer.wait(10.0) == 0.0


SHARES = st.sampled_from([0.01, 0.05, 0.2])


@given(SHARES, st.integers(200, 2000))
def test_no_lane_starves_and_urgent_goes_first(share: float, picks: int) -> None:
    chooser = LaneChooser(share)
    everything = dict.fromkeys(Lane, 1)
    chosen = [chooser.choose(everything) for _ in range(picks)]

    assert chosen[0] is Lane.URGENT
    for lane in (Lane.NORMAL, Lane.BULK):
        assert chosen.count(lane) >= picks * share / (1 + 2 * share) - 2
    assert chosen.count(Lane.URGENT) >= picks / (1 + 2 * share) - 2


@given(SHARES, st.lists(st.fixed_dictionaries({lane: st.integers(0, 3) for lane in Lane}), max_size=200))
def test_only_a_lane_that_has_something_is_chosen(share: float, states: list[dict[Lane, int]]) -> None:
    chooser = LaneChooser(share)
    for waiting in states:
        lane = chooser.choose(waiting)
        if lane is None:
            assert not any(waiting.values())
        else:
            assert waiting[lane]
