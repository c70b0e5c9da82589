"""A steady load for a long time: does anything grow? `python -m bench.soak --minutes 60 --rate 60`

Router, NATS and simulator run as they would; every few seconds memory, CPU time, open files and threads of the
router, the memory of NATS, and what its consumers have waiting are sampled. After a warm-up (a fifth of the time) a
line is laid through the samples (Theil and Sen: the median of all slopes, which a few outliers do not move). What may
grow is said in `LIMITS`; what NATS stores grows with the log, as it must, and is shown beside.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nats.aio.client import Client
from nats.js.client import JetStreamContext

from bench.cluster import Cluster
from bench.crash import SENDERS, SIMULATOR, patient
from router.embedded import EmbeddedNats

#: What counts as flat: growth in an hour, in the sample's own unit.
LIMITS: Mapping[str, float] = {
    "router_rss_mb": 10.0,
    "router_files": 5.0,
    "router_threads": 2.0,
    "waiting": 50.0,
    "unacknowledged": 50.0,
}
#: In a run of a few minutes, the connections that a busy moment opened and nobody has closed yet look like a leak.
_SHORT = 10.0  #: minutes
_OPENED: Mapping[str, float] = {"router_files": 24.0}
#: Who is written to again and again: what is remembered of each recipient grows with their number, and may. In a short
#: run they are fewer, so that everybody was written to in the warm-up and what grows after it is none of them.
_RECIPIENTS = 2_000
_WARM_UP = 1 / 5  #: of the time
_PAGE = 4096 / 1e6  #: megabytes
#: `stuck` holds each acceptance until it is old enough, and is bounded by its window.
_NOT_COUNTED = frozenset({"stuck"})


@dataclass
class Report:
    """What was sampled."""

    rate: float
    minutes: float
    samples: list[dict[str, float]] = field(default_factory=list)
    published: int = 0
    ended: int = 0

    def slopes(self) -> dict[str, float]:
        """Growth an hour of everything sampled, after the warm-up."""
        warm = [sample for sample in self.samples if sample["seconds"] >= self.minutes * 60 * _WARM_UP]
        return {
            name: 3600 * _slope([(row["seconds"], row[name]) for row in warm]) for name in warm[0] if name != "seconds"
        }

    @property
    def recipients(self) -> int:
        """How many are written to in turn."""
        return max(1, min(_RECIPIENTS, int(self.rate * self.minutes * 60 * _WARM_UP)))

    def growing(self) -> list[str]:
        """What grows and must not."""
        slopes = self.slopes()
        # In a short run one step of the allocator looks like a steep line: what it really added counts, too.
        hours, opened = self.minutes / 60, _OPENED if self.minutes < _SHORT else {}
        return [
            name
            for name, limit in LIMITS.items()
            if slopes[name] > limit and slopes[name] * hours > max(limit / 2, opened.get(name, 0.0))
        ]

    @property
    def flat(self) -> bool:
        """Whether nothing grows that must not, and everything that was asked ended."""
        return not self.growing() and self.ended == self.published

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        first, last = self.samples[len(self.samples) // 5], self.samples[-1]
        rows = {
            name: {
                "after_warm_up": round(first[name], 1),
                "at_the_end": round(last[name], 1),
                "an_hour": round(slope, 2),
            }
            for name, slope in self.slopes().items()
        }
        return {
            "rate": self.rate,
            "minutes": self.minutes,
            "published": self.published,
            "ended": self.ended,
            "samples": len(self.samples),
            "flat": self.flat,
            "growth": rows,
            "router_rss_mb": self._by_minute("router_rss_mb"),
        }

    def _by_minute(self, name: str) -> list[float]:
        """The last sample of each minute: how it came to the line that was laid through all."""
        minutes = {int(sample["seconds"] // 60): round(sample[name], 1) for sample in self.samples}
        return list(minutes.values())


async def run(minutes: float, rate: float, every: float) -> Report:
    """Load and sample for so long."""
    report = Report(rate, minutes)
    config = {"senders": SENDERS, "templates": {}, "tracking": {"stuck_after": 60, "receipt_wait": 120}}
    async with Cluster(config=config, simulator=SIMULATOR, routers=1) as cluster:
        client = await patient(cluster.nats_urls)
        js = client.jetstream()
        publishing = asyncio.create_task(_publish(js, report))
        started = time.monotonic()
        while (seconds := time.monotonic() - started) < minutes * 60:
            report.samples.append({"seconds": seconds, **await _sample(cluster, js)})
            await asyncio.sleep(every)
        await publishing
        await _until_ended(client, report)
        await client.close()
    return report


async def _publish(js: JetStreamContext, report: Report) -> None:
    beginning = time.monotonic()
    while (now := time.monotonic() - beginning) < report.minutes * 60:
        await asyncio.sleep(max(0.0, report.published / report.rate - now))
        index = report.published
        to = f"+1202555{index % report.recipients:04d}"
        body = {"id": f"n{index}", "to": to, "content": {"text": f"n{index}"}}
        await js.publish("notifications.normal.shop", json.dumps(body).encode())
        report.published += 1


async def _until_ended(client: Client, report: Report) -> None:
    """One subject for each that was delivered: the server counts them, and lists none from behind the last on."""
    deadline = time.monotonic() + 60
    wanted = {"subjects_filter": "deliveries.*.delivered.>", "offset": 1_000_000_000}
    while time.monotonic() < deadline and report.ended < report.published:
        answer = await client.request("$JS.API.STREAM.INFO.DELIVERIES", json.dumps(wanted).encode(), timeout=30)
        report.ended = int(json.loads(answer.data).get("total", 0))
        await asyncio.sleep(1)


async def _sample(cluster: Cluster, js: JetStreamContext) -> dict[str, float]:
    router = cluster.routers[0].pid
    server = cluster.nats
    assert isinstance(server, EmbeddedNats)
    consumers = [
        each
        for stream in ("NOTIFICATIONS", "OUTBOX", "DELIVERIES", "TIMERS")
        for each in await js.consumers_info(stream)
        if each.name not in _NOT_COUNTED
    ]
    return {
        "router_rss_mb": _rss(router),
        "router_files": float(len(list(Path(f"/proc/{router}/fd").iterdir()))),
        "router_threads": float(len(list(Path(f"/proc/{router}/task").iterdir()))),
        "router_cpu_s": _cpu(router),
        "nats_rss_mb": _rss(server.pid),
        "waiting": float(sum(each.num_pending or 0 for each in consumers)),
        "unacknowledged": float(sum(each.num_ack_pending or 0 for each in consumers)),
        "redelivered": float(sum(each.num_redelivered or 0 for each in consumers)),
        "log_messages": float((await js.stream_info("DELIVERIES")).state.messages),
    }


def _rss(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


def _cpu(pid: int) -> float:
    """Seconds of user and system time."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def _slope(points: list[tuple[float, float]]) -> float:
    """Theil and Sen's: the median slope of all pairs; of a few hundred points at most."""
    thinned = points[:: max(1, len(points) // 200)]
    slopes = [(y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in itertools.combinations(thinned, 2) if x2 > x1]
    return statistics.median(slopes) if slopes else 0.0


def main() -> int:
    """Soak and print what grew; 1 when something did that must not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=60.0, help="notifications published per second")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between samples")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    report = asyncio.run(run(options.minutes, options.rate, options.every))
    row = report.as_dict()
    if options.json:
        print(json.dumps(row))
    else:
        print(
            f"{row['published']} published in {options.minutes:g} minutes, {row['ended']} delivered; "
            f"flat: {row['flat']}"
        )
        for name, growth in row["growth"].items():
            print(
                f"  {name:16} {growth['after_warm_up']:>10} after warm-up {growth['at_the_end']:>10} at the end "
                f"{growth['an_hour']:>10} an hour"
            )
    return 0 if report.flat else 1


if __name__ == "__main__":
    sys.exit(main())
