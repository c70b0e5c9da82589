"""How long until one can work: `pointsman --help`, and a router from its start until it says that it is ready.

    python -m bench.startup
    python -m bench.startup --recipients 1000000

A router starts against NATS as it is after its first start, and once more when NATS holds so many WhatsApp sessions
and so many opt-outs, which it reads before it is ready. Shown are medians; memory is the router's at that moment.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.cluster import Cluster
from bench.contenders import bench_config
from bench.filling import connected, fill_opt_outs, fill_sessions
from bench.measure import cpu_seconds, memory, show, spread
from bench.processes import run

WHATSAPP = {"name": "whatsapp", "kind": "whatsapp", "channels": ["whatsapp"], "from": "+14155238886", "rate": 1000}
_MEGA = 1024 * 1024
_PATIENCE = 180.0  #: seconds


@dataclass(frozen=True, slots=True)
class Start:
    """One start of something."""

    seconds: float
    cpu: float  #: seconds
    resident: int = 0  #: bytes


def config() -> dict[str, Any]:
    """An SMS sender and a WhatsApp sender, whose sessions are read."""
    plain = bench_config(1, 64)
    return {**plain, "senders": [*plain["senders"], WHATSAPP]}


def help_once() -> Start:
    """`pointsman --help`, all of it."""
    command, started = [str(Path(sys.executable).parent / "pointsman"), "--help"], time.monotonic()
    before = _children_cpu()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return Start(time.monotonic() - started, _children_cpu() - before)


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


async def start_router(cluster: Cluster) -> Start:
    """One router more in this cluster, from the start of its process until it answers that it is ready."""
    started = time.monotonic()
    router = await cluster.add_router(within=_PATIENCE)
    seconds = time.monotonic() - started
    return Start(seconds, cpu_seconds(router.pid), memory(router.pid))


async def starts(cluster: Cluster, rounds: int) -> list[Start]:
    """One after the other; each is stopped before the next."""
    taken = []
    for _ in range(rounds):
        taken.append(await start_router(cluster))
        await cluster.routers[-1].stop()
    return taken


async def fill(cluster: Cluster, recipients: int) -> None:
    """So many sessions and so many opt-outs."""
    async with connected(cluster.nats_urls) as js:
        await fill_sessions(js, "whatsapp", recipients)
        await fill_opt_outs(js, recipients)


async def measure(rounds: int, recipients: int) -> dict[str, list[Start]]:
    """By what is started."""
    taken = {"pointsman --help": [help_once() for _ in range(rounds)]}
    # Nobody sends anything here, so nobody has to listen.
    async with Cluster(config=config(), routers=0, provider="http://127.0.0.1:9") as cluster:
        await starts(cluster, 1)  # makes the streams
        taken["router, nothing stored"] = await starts(cluster, rounds)
        await fill(cluster, recipients)
        taken[f"router, {recipients:,} sessions and opt-outs"] = await starts(cluster, rounds)
    return taken


def rows(taken: Mapping[str, Sequence[Start]]) -> list[dict[str, object]]:
    """Medians."""
    return [
        {
            "what": what,
            "rounds": len(each),
            "seconds": statistics.median(one.seconds for one in each),
            "CPU seconds": statistics.median(one.cpu for one in each),
            "memory MB": statistics.median(one.resident for one in each) / _MEGA,
        }
        for what, each in taken.items()
    ]


def as_report(taken: Mapping[str, Sequence[Start]]) -> dict[str, Any]:
    """For `--json`."""
    return {
        "bench": "startup",
        "figures": {
            what: {
                "seconds": spread(one.seconds for one in each),
                "cpu_seconds": spread(one.cpu for one in each),
                "resident_bytes": spread(float(one.resident) for one in each),
            }
            for what, each in taken.items()
        },
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="of which the median counts (default 5)")
    parser.add_argument("--recipients", type=int, default=100_000, help="sessions, and as many opt-outs")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    taken = run(measure(options.rounds, options.recipients))
    show(options, as_report(taken), rows(taken))


if __name__ == "__main__":
    main()
