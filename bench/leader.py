"""What the end of a stream's leader costs: is anything lost or doubled, and how long does everything stand still?

    python -m bench.leader --notifications 1000 --stream DELIVERIES --how kill

Three NATS servers with three copies of every stream, two routers, the simulator. Half-way through, the server that
leads the stream is killed with SIGKILL, stopped with SIGTERM or retired (lame duck, SIGUSR2), and started again ten
seconds after it is gone.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from nats.js.client import JetStreamContext

from bench.cluster import Cluster
from bench.crash import CONFIG, SIMULATOR, patient, read_log
from bench.nats_cluster import NatsCluster

_SETTLED_WITHIN = 60.0  #: seconds after the last publication
#: How a server ends.
HOW = {"kill": signal.SIGKILL, "stop": signal.SIGTERM, "retire": signal.SIGUSR2}
#: As short as the server lets it be: it hands its streams over first, then sends its clients away one by one.
_RETIREMENT = 'lame_duck_grace_period: "1s"\nlame_duck_duration: "30s"'


@dataclass
class Report:
    """What one end did."""

    stream: str
    how: str
    asked: int
    acknowledged_at: list[float] = field(default_factory=list)  #: of each publication, in seconds since the first
    accepted_at: list[float] = field(default_factory=list)  #: when the log has each `accepted`, seconds since 1970
    lost: list[str] = field(default_factory=list)
    doubled: dict[str, int] = field(default_factory=dict)
    without_outcome: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Nothing lost, nothing doubled, nothing without an outcome."""
        return not (self.lost or self.doubled or self.without_outcome)

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "stream": self.stream,
            "how": self.how,
            "asked": self.asked,
            "lost": self.lost,
            "doubled": self.doubled,
            "without_outcome": self.without_outcome,
            "longest_without_acknowledgement": round(_gap(self.acknowledged_at), 2),
            "longest_without_acceptance": round(_gap(self.accepted_at), 2),
        }


async def run(stream: str, notifications: int, rate: float, how: str = "kill") -> Report:
    """One end of this stream's leader under load."""
    report = Report(stream, how, notifications)
    async with Cluster(config=CONFIG, simulator=SIMULATOR, routers=2, nodes=3, nats_config=_RETIREMENT) as cluster:
        publishing = asyncio.create_task(_publish(cluster, report, rate))
        await asyncio.sleep(notifications / rate / 2)
        servers = cluster.nats
        assert isinstance(servers, NatsCluster)
        victim = await servers.leader(stream)
        await servers.end(victim, HOW[how])
        await asyncio.sleep(10)
        await servers.nodes[victim].start()
        await publishing
        events = await _until_settled(cluster, notifications)
        await _count(cluster, report, events)
    return report


async def _publish(cluster: Cluster, report: Report, rate: float) -> None:
    """In open loop: one every so often, each again until it is acknowledged."""
    connection = await patient(cluster.nats_urls)
    js = connection.jetstream(timeout=1)
    beginning = time.monotonic()
    tasks = []
    for index in range(report.asked):
        await asyncio.sleep(max(0.0, beginning + index / rate - time.monotonic()))
        tasks.append(asyncio.create_task(_publish_one(js, index, report, beginning)))
    await asyncio.gather(*tasks)
    await connection.close()


async def _publish_one(js: JetStreamContext, index: int, report: Report, beginning: float) -> None:
    to = f"+1202555{index % 10_000:04d}"
    body = json.dumps({"id": f"n{index}", "to": to, "content": {"text": f"n{index}"}}).encode()
    while True:
        try:
            await js.publish("notifications.normal.shop", body)
        except Exception:  # whatever went wrong: the router knows it by its id
            await asyncio.sleep(0.05)
        else:
            report.acknowledged_at.append(time.monotonic() - beginning)
            return


async def _until_settled(cluster: Cluster, notifications: int) -> list[dict[str, Any]]:
    deadline = time.monotonic() + _SETTLED_WITHIN
    while True:
        events = [each.event for each in await read_log(cluster.nats_urls)]
        if len({event["notification_id"] for event in events if event["final"]}) >= notifications:
            return events
        if time.monotonic() > deadline:
            return events
        await asyncio.sleep(1)


async def _count(cluster: Cluster, report: Report, events: list[dict[str, Any]]) -> None:
    messages = (await cluster.ask_simulator("/simulator/messages?limit=1000000"))["messages"]
    sent = Counter(str(message["body"]) for message in messages if message["direction"].startswith("outbound"))
    wanted = {f"n{index}" for index in range(report.asked)}
    final = {event["notification_id"] for event in events if event["final"]}
    report.lost = sorted(wanted - set(sent))
    report.doubled = {marker: count for marker, count in sent.items() if count > 1}
    report.without_outcome = sorted(wanted - final)
    report.accepted_at = [
        datetime.fromisoformat(event["recorded_at"]).timestamp() for event in events if event["status"] == "accepted"
    ]


def _gap(moments: list[float]) -> float:
    """The longest time between two of them, in seconds."""
    ordered = sorted(moments)
    return max((after - before for before, after in itertools.pairwise(ordered)), default=0.0)


def main() -> int:
    """End leaders and print what it cost; 1 when anything was lost, doubled or left open."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--notifications", type=int, default=1_000)
    parser.add_argument("--rate", type=float, default=50.0, help="published per second")
    parser.add_argument("--stream", action="append", help="whose leader ends; may be given several times")
    parser.add_argument("--how", choices=sorted(HOW), default="kill", help="it ends")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    clean = True
    for stream in options.stream or ["NOTIFICATIONS", "OUTBOX", "DELIVERIES"]:
        report = asyncio.run(run(stream, options.notifications, options.rate, options.how))
        clean = clean and report.clean
        if options.json:
            print(json.dumps(report.as_dict()), flush=True)
            continue
        row = report.as_dict()
        print(
            f"{stream:14} {options.how:6} asked {row['asked']}  lost {len(report.lost)}  "
            f"doubled {len(report.doubled)}  without outcome {len(report.without_outcome)}  "
            f"longest without an acknowledgement {row['longest_without_acknowledgement']} s, "
            f"without an acceptance {row['longest_without_acceptance']} s",
            flush=True,
        )
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
