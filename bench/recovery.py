"""How long work stands still when the router that holds it dies: `python -m bench.recovery`.

Two routers share a steady load, and the provider takes its time, so that attempts are in flight. Then a burst comes
in, and in the middle of it one router is killed with SIGKILL and stays dead. Measured is, for every notification that
it held, the time until the log has its next event: until somebody else took it up. Held is what its last event says
the dead router had appended without an outcome, and what was published and not yet in the log at all. What is
promised is `dispatch.ack_wait` + 5 seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nats.js.client import JetStreamContext

from bench.cluster import Cluster
from bench.crash import SENDERS, Logged, patient, read_log

#: `dispatch` as shipped, and with everything short.
SETTINGS: dict[str, dict[str, float]] = {
    "defaults": {"ack_wait": 30, "timeout": 10, "lease": 6},
    "short": {"ack_wait": 5, "timeout": 2, "lease": 3},
}
_BURST = 400  #: notifications
#: After these something of ours has to follow; after the others it is the provider's turn.
_OPEN = frozenset({"routed", "sending", "failed", "unknown"})
_GRACE = 5.0  #: seconds beyond `ack_wait` within which everything must go on
#: A provider that answers after a third of a second: some attempts are in flight whenever a router dies.
_SIMULATOR = {
    "faults": {"latency_ms": 300, "jitter_ms": 100},
    "delays": {"queued": 0.05, "sent": 0.1, "delivered": 0.3},
}


@dataclass
class Report:
    """What one death cost."""

    name: str
    ack_wait: float
    waited: list[float] = field(default_factory=list)  #: seconds, of each notification that the dead router held
    doubled: int = 0
    without_outcome: int = 0

    @property
    def kept(self) -> bool:
        """Whether everything went on in time, once."""
        return (
            bool(self.waited) and max(self.waited) <= self.ack_wait + _GRACE and not self.doubled + self.without_outcome
        )

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        waited = sorted(self.waited)
        return {
            "settings": self.name,
            "ack_wait": self.ack_wait,
            "held": len(waited),
            "seconds": {
                "median": round(statistics.median(waited), 2) if waited else None,
                "p95": round(waited[int(len(waited) * 0.95)], 2) if waited else None,
                "worst": round(waited[-1], 2) if waited else None,
            },
            "doubled": self.doubled,
            "without_outcome": self.without_outcome,
            "kept": self.kept,
        }


async def run(name: str, notifications: int, rate: float) -> Report:
    """One death under this load."""
    dispatch = SETTINGS[name]
    report = Report(name, dispatch["ack_wait"])
    config = {"dispatch": dispatch, "reconcile": {"wait": 2, "settle": 60}, "senders": SENDERS, "templates": {}}
    async with Cluster(config=config, simulator=_SIMULATOR, routers=2) as cluster:
        load = _Load(cluster)
        await load.steady(notifications, rate)
        burst = asyncio.create_task(load.burst(_BURST))
        await load.published_more_than(notifications + _BURST // 2)
        victim = cluster.routers[0]
        await victim.kill()
        died = datetime.now(UTC)
        await burst
        log = await _until_settled(cluster, notifications + _BURST, within=report.ack_wait + 60)
        _measure(report, log, died, load.published, _instance(cluster.directory / "router-0.log"))
        messages = (await cluster.ask_simulator("/simulator/messages?limit=1000000"))["messages"]
        sent = Counter(str(each["body"]) for each in messages if each["direction"].startswith("outbound"))
        report.doubled = sum(count > 1 for count in sent.values())
    return report


@dataclass
class _Load:
    """Publishes, and keeps when each was acknowledged."""

    cluster: Cluster
    published: dict[str, datetime] = field(default_factory=dict)

    async def steady(self, count: int, rate: float) -> None:
        """One every so often."""
        connection = await patient(self.cluster.nats_urls)
        beginning = time.monotonic()
        for index in range(count):
            await asyncio.sleep(max(0.0, beginning + index / rate - time.monotonic()))
            await self._publish(connection.jetstream(), index)
        await connection.close()

    async def burst(self, count: int) -> None:
        """All at once."""
        connection = await patient(self.cluster.nats_urls)
        js, first = connection.jetstream(), len(self.published)
        await asyncio.gather(*(self._publish(js, first + index) for index in range(count)))
        await connection.close()

    async def published_more_than(self, count: int) -> None:
        """Until so many are acknowledged."""
        while len(self.published) <= count:
            await asyncio.sleep(0.001)

    async def _publish(self, js: JetStreamContext, index: int) -> None:
        body = {"id": f"n{index}", "to": f"+1202555{index % 10_000:04d}", "content": {"text": f"n{index}"}}
        await js.publish("notifications.normal.shop", json.dumps(body).encode())
        self.published[f"n{index}"] = datetime.now(UTC)


def _instance(log: Path) -> str:
    """What a router calls itself in the log of deliveries."""
    found = re.search(r'"instance": ?"(\w+)"', log.read_text())
    assert found, "the router logs as JSON where its output is a file"
    return found[1]


async def _until_settled(cluster: Cluster, notifications: int, *, within: float) -> list[Logged]:
    deadline = time.monotonic() + within
    while True:
        log = await read_log(cluster.nats_urls)
        ended = {each.event["notification_id"] for each in log if each.event["final"]}
        if len(ended) >= notifications or time.monotonic() > deadline:
            return log
        await asyncio.sleep(1)


def _measure(report: Report, log: list[Logged], died: datetime, published: dict[str, datetime], victim: str) -> None:
    stories: dict[str, list[Logged]] = {}
    for each in log:
        stories.setdefault(each.event["notification_id"], []).append(each)
    for identity, at in published.items():
        story = stories.get(identity, [])
        before = [each for each in story if each.at <= died]
        after = [each for each in story if each.at > died]
        held = before[-1].owner == victim and before[-1].event["status"] in _OPEN if before else at <= died
        if held and after:
            report.waited.append((after[0].at - died).total_seconds())
    ended = {each.event["notification_id"] for each in log if each.event["final"]}
    report.without_outcome = len(published) - len(ended)


def main() -> int:
    """Kill routers and print what it cost; 1 when a promise was not kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--settings", choices=sorted(SETTINGS), action="append", help="default: both")
    parser.add_argument("--notifications", type=int, default=600)
    parser.add_argument("--rate", type=float, default=40.0, help="published per second")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    kept = True
    for name in options.settings or SETTINGS:
        report = asyncio.run(run(name, options.notifications, options.rate))
        kept = kept and report.kept
        row = report.as_dict()
        if options.json:
            print(json.dumps(row), flush=True)
            continue
        seconds = row["seconds"]
        print(
            f"{name:9} ack_wait {report.ack_wait:g} s  held {row['held']}  went on after "
            f"{seconds['median']} s (median), {seconds['p95']} s (p95), {seconds['worst']} s (worst)  "
            f"doubled {report.doubled}  without outcome {report.without_outcome}",
            flush=True,
        )
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
