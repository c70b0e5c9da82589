"""Live: how much goes out, by which channel, to which countries, and what becomes of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from router.console.feed import SLOT, Point, delivered_share
from router.console.masking import masked
from router.console.office import Office
from router.console.pages.draw import LIVE, Cell, Column, Plot, Table, Tiles, card, every, inside, local, to, toned
from router.console.story import tone_of
from router.console.trouble import duration
from router.metrics import DECISIONS

_NEWEST = 12  #: events in the table
_NAMES = 8  #: in a plot
_PLOTTED = {
    "delivered": "#3aa76d",
    "read": "#1f7a4c",
    "sent": "#2f7fd1",
    "under way": "#8fa3b5",
    "failed": "#d2586c",
    "not sent": "#e08a1e",
    "unknown": "#9a6bd0",
}
_LOW = 0.8  #: share of deliveries below which it is marked
_NOTHING = "Nothing in a quarter of an hour."


def draw(office: Office) -> None:
    """The page."""
    tiles = Tiles()
    with inside("div", "cards"):
        with card("Handed over, by channel"):
            throughput = Plot({"xAxis": _time_axis()})
        with card("Where they stand, by channel"):
            outcomes = Plot({"xAxis": {"type": "category", "data": []}})
        with card("Where they stand, by country"):
            countries = Plot({"xAxis": {"type": "category", "data": []}})
    with card("Newest events"):
        table = _events_table()

    async def refresh() -> None:
        await _show_tiles(office, tiles)
        _show_throughput(throughput, office.feed.points())
        standing = office.feed.standing()
        _show_standing(outcomes, _folded(standing, 0))
        _show_standing(countries, _folded(standing, 1))
        table.show(_event_rows(office))

    every(office, LIVE, refresh)


async def _show_tiles(office: Office, tiles: Tiles) -> None:
    feed, reading = office.feed, await office.backlog.read()
    points = feed.points()[-6:]
    tiles.show("Decisions a minute", f"{decided(points):,}")
    share = delivered_share(feed.by_channel())
    low = share is not None and share < _LOW
    tiles.show("Delivered", "—" if share is None else f"{share:.1%}", "bad" if low else "plain")
    tiles.show("Waiting", f"{sum(queue.messages for queue in reading.queues):,}")
    oldest = max((queue.oldest for queue in reading.queues), default=0.0)
    tiles.show("Oldest waiting", duration(oldest), "bad" if oldest > 3600 else "plain")
    problems = await office.problems()
    tiles.show("Problems", str(len(problems)), "bad" if problems else "good")
    tiles.show("Open sessions", f"{len(office.sessions.mirror):,}")
    opt_outs = office.opt_outs()
    tiles.show("Opted out", "many" if opt_outs is None else f"{opt_outs:,}")
    tiles.show("Routers", str(len(await office.signs())))


def decided(points: Sequence[Point]) -> int:
    """Decisions of every kind, also those not to send."""
    return _sum(points, DECISIONS)


def _sum(points: Sequence[Point], statuses: Collection[str]) -> int:
    return sum(count for point in points for (each, _), count in point.counts.items() if each in statuses)


def _time_axis(times: Sequence[str] = ()) -> dict[str, Any]:
    return {"type": "category", "boundaryGap": False, "data": list(times), "axisLabel": {"hideOverlap": True}}


def _show_throughput(plot: Plot, points: Sequence[Point]) -> None:
    channels = sorted({channel for point in points for status, channel in point.counts if status == "accepted"})
    times = [f"{datetime.fromtimestamp(point.at, UTC):%H:%M}" for point in points]
    rates = {
        channel: [point.counts.get(("accepted", channel), 0) * 60 // SLOT for point in points] for channel in channels
    }
    area = {"type": "line", "stack": "all", "areaStyle": {"opacity": 0.25}, "symbol": "none"}
    series = [{**area, "name": channel, "data": rate} for channel, rate in rates.items()]
    total, now = _sum(points, {"accepted"}), sum(rate[-1] for rate in rates.values())
    words = f"{total:,} messages in a quarter of an hour, {now:,} a minute now; times in UTC."
    plot.show(words if total else _NOTHING, series=series, xAxis=_time_axis(times))


def _folded(standing: Counter[tuple[str, str, str]], name: int) -> Counter[tuple[str, str]]:
    """By channel (0) or country (1)."""
    counts: Counter[tuple[str, str]] = Counter()
    for key, count in standing.items():
        counts[key[name], key[2]] += count
    return counts


def _show_standing(plot: Plot, counts: Counter[tuple[str, str]]) -> None:
    """(name, where it stands), stacked for each name, the largest first."""
    totals: Counter[str] = Counter()
    for (name, _), count in counts.items():
        totals[name] += count
    names = [name for name, _ in totals.most_common(_NAMES)]
    used = [each for each in _PLOTTED if any(counts[name, each] for name in names)]
    bar = {"type": "bar", "stack": "all", "barMaxWidth": 56}
    series = [
        {
            **bar,
            "name": each,
            "itemStyle": {"color": _PLOTTED[each]},
            "data": [counts[name, each] for name in names],
        }
        for each in used
    ]
    said = [f"{name}: " + ", ".join(f"{counts[name, s]:,} {s}" for s in used if counts[name, s]) for name in names]
    plot.show("; ".join(said) or _NOTHING, series=series, xAxis={"type": "category", "data": names})


def _events_table() -> Table:
    columns = [
        Column("at", "Time (UTC)"),
        Column("notification", "Notification"),
        Column("status", "Status"),
        Column("channel", "Channel"),
        Column("recipient", "Recipient"),
        Column("reason", "Reason"),
    ]
    return Table(columns, "No delivery event yet.")


def _event_rows(office: Office) -> list[Mapping[str, Cell]]:
    rows: list[Mapping[str, Cell]] = []
    for seen in office.feed.newest(_NEWEST):
        event = seen.event
        rows.append(
            {
                "key": seen.sequence,
                "at": local(seen.at)[11:],
                "notification": to(
                    f"{seen.source}/{seen.notification_id}", f"/notification/{seen.source}/{seen.notification_id}"
                ),
                "status": toned(seen.status, tone_of(seen.status)),
                "channel": seen.channel,
                "recipient": masked(event["recipient"]),
                "reason": event["reason"] or "",
            }
        )
    return rows
