"""Notifications per second through the whole product, beside what sending costs without it.

    python -m bench.throughput
    python -m bench.throughput --only pointsman --only floor --notifications 5000 --rounds 3

From published (a backlog, before anybody works) over handed to the provider to the stored outcome event. The
contenders take turns, round after round, so that what else the machine does meets all of them; shown are medians. The
rates of a shared machine say little: the processor time of each notification is beside them, by process, and what one
second of processor time carries, workers and broker together. `sent` says how often the provider was asked for each
notification.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from bench.contenders import CeleryRecipe, Contender, Floor, Lap, Pointsman, lap
from bench.measure import show, spread
from bench.processes import run

_MEGA = 1024 * 1024
_CELERY_SHARE = 5
_SEVERAL = 16  #: senders


def contenders(options: argparse.Namespace) -> list[tuple[Contender, int]]:
    """Who takes part, and with how many notifications."""
    count = options.notifications

    def product(routers: int, senders: int) -> tuple[Contender, int]:
        return Pointsman(routers, senders=senders, in_flight=options.in_flight, log_level=options.log_level), count

    everybody: dict[str, list[tuple[Contender, int]]] = {
        "pointsman": [product(1, options.senders)],
        # A sender has one router at a time, so several routers need several senders. These are equals, of which a
        # recipient keeps one: that is remembered in NATS, and its cost is seen with one router already.
        "pointsman-2": [product(1, _SEVERAL), product(2, _SEVERAL)],
        "floor": [(Floor(), count)],
        # A fraction of the work takes it as long, and its rate does not depend on how much there is.
        "celery": [(CeleryRecipe(processes), max(1, count // _CELERY_SHARE)) for processes in (2, 8)],
    }
    return [each for name in options.only or everybody for each in everybody[name]]


async def measure(field: Sequence[tuple[Contender, int]], rounds: int) -> dict[str, list[Lap]]:
    """Every contender once in each round."""
    laps: dict[str, list[Lap]] = {contender.name: [] for contender, _ in field if contender.missing is None}
    for _ in range(rounds):
        for contender, count in field:
            if contender.missing is None:
                laps[contender.name].append(await lap(contender, count))
    return laps


def rows(laps: Mapping[str, Sequence[Lap]]) -> list[dict[str, object]]:
    """One line for each contender: medians."""
    return [
        {
            "contender": name,
            "count": each[0].count,
            "rounds": len(each),
            "per second": _median(one.rate for one in each),
            "from": min(one.rate for one in each),
            "to": max(one.rate for one in each),
            "workers µs": _median(one.micros("workers") for one in each),
            "broker µs": _median(one.micros("broker") for one in each),
            "provider µs": _median(one.micros("provider") for one in each),
            "per CPU s": _median(one.rate_of_machine for one in each),
            "workers MB": _median(one.worker_memory / _MEGA for one in each),
            "sent": max(one.sent / one.count for one in each),
        }
        for name, each in laps.items()
    ]


def _median(values: Any) -> float:
    return float(statistics.median(values))


def as_report(laps: Mapping[str, Sequence[Lap]]) -> dict[str, Any]:
    """For `--json`."""
    return {
        "bench": "throughput",
        "contenders": {
            name: {
                "notifications": each[0].count,
                "per_second": spread(one.rate for one in each),
                "per_cpu_second": spread(one.rate_of_machine for one in each),
                "cpu_micros": {role: spread(one.micros(role) for one in each) for role in each[0].cpu},
                "sent_per_notification": max(one.sent / one.count for one in each),
            }
            for name, each in laps.items()
        },
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--notifications", type=int, default=10_000, help="in one backlog (default 10000)")
    parser.add_argument("--rounds", type=int, default=5, help="of which the median counts (default 5)")
    parser.add_argument(
        "--only", action="append", help="pointsman, pointsman-2, floor, celery; may be given several times"
    )
    parser.add_argument("--senders", type=int, default=1, help="of the one router (default 1)")
    parser.add_argument("--in-flight", type=int, default=64, help="requests at a time, in all (default 64)")
    parser.add_argument("--log-level", default="info", help="of the routers (default info, as shipped)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    field = contenders(options)
    laps = run(measure(field, options.rounds))
    skipped = {contender.name: contender.missing for contender, _ in field if contender.missing is not None}
    show(options, {**as_report(laps), "skipped": skipped}, rows(laps))


if __name__ == "__main__":
    main()
