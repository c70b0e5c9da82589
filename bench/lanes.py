"""Does an urgent message overtake a campaign, all the way to the provider: `python -m bench.lanes`.

Two routers share a sender of 50 messages a second. A campaign of 50,000 is published on the lane `bulk`; urgent
messages are published one after the other, while the campaign comes in, while it waits, and while the router that paces
the sender is killed with SIGKILL and the other one takes over. Measured is, at the simulator: how long after its
publication each urgent message was accepted, how many messages any window of five seconds holds, how long nothing was
sent after the death, and what bulk got. The campaign is not sent to its end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import nats
from nats.js.client import JetStreamContext

from bench.cluster import Cluster
from bench.traffic import JetStreamCourse

SENDER = "campaign"
_BULK, _URGENT = "notifications.bulk.news", "notifications.urgent.login"
_WINDOW = 5.0  #: seconds
_EXCESS = 1.05  #: of the rate that no window may hold more than
_P99 = 1.0  #: seconds from its publication within which 99 of 100 urgent messages reach the provider
_HELD = 40.0  #: seconds; longer than the default of `dispatch.ack_wait`
_TAKEN_OVER = 10.0  #: seconds after the death of the sender's router
_CALLBACKS = {"faults": {"callbacks_lost": 1}}


@dataclass
class Report:
    """What one run found."""

    rate: float
    bulk: int
    sent: list[tuple[float, str]] = field(default_factory=list)  #: when the simulator took it, and its id; in order
    published: dict[str, float] = field(default_factory=dict)  #: urgent ones
    waits_from: float = 0.0  #: when the whole campaign was in the outbox
    killed: float = 0.0
    until: float = 0.0

    def delays(self, begin: float, end: float) -> list[float]:
        """Of the urgent messages published in between, in seconds, shortest first; infinite for one that never came."""
        taken = {identity: at for at, identity in self.sent}
        asked = {identity: at for identity, at in self.published.items() if begin <= at < end}
        return sorted(taken.get(identity, float("inf")) - at for identity, at in asked.items())

    @property
    def resumed(self) -> float:
        """When the sender sent again after the death of its router."""
        return next((at for at, _ in self.sent if at > self.killed + 0.5), float("inf"))

    @property
    def fullest(self) -> int:
        """Messages in the fullest window."""
        moments, most, first = [at for at, _ in self.sent], 0, 0
        for last, moment in enumerate(moments):
            while moment - moments[first] >= _WINDOW:
                first += 1
            most = max(most, last - first + 1)
        return most

    @property
    def bulk_sent(self) -> int:
        """While the campaign waited."""
        return sum(at >= self.waits_from and identity.startswith("b") for at, identity in self.sent)

    def phases(self) -> dict[str, list[float]]:
        """Urgent delays: before the campaign was in, while it waited, and around the death."""
        back = self.resumed
        return {
            "coming_in": self.delays(0, self.waits_from),
            "waiting": self.delays(self.waits_from, self.killed - 1) + self.delays(back + 1, self.until),
            "router_killed": self.delays(self.killed - 1, back + 1),
        }

    @property
    def kept(self) -> bool:
        """Whether everything promised was kept."""
        waiting = self.phases()
        calm = all(_percentile(sorted(waiting[name]), 0.99) <= _P99 for name in ("coming_in", "waiting"))
        paced = self.fullest <= self.rate * _WINDOW * _EXCESS
        return calm and paced and self.resumed - self.killed <= _TAKEN_OVER and self.bulk_sent > 0

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "rate": self.rate,
            "bulk": self.bulk,
            "urgent": {name: _summary(sorted(delays)) for name, delays in self.phases().items()},
            "fullest_window": self.fullest,
            "window_allows": self.rate * _WINDOW * _EXCESS,
            "taken_over_after": round(self.resumed - self.killed, 2),
            "bulk_sent_while_waiting": self.bulk_sent,
            "seconds_waiting": round(self.until - self.waits_from, 1),
            "kept": self.kept,
        }


def _summary(delays: Sequence[float]) -> dict[str, float | int]:
    shown = {"p50": 0.5, "p99": 0.99, "worst": 1.0}
    return {"count": len(delays), **{name: round(_percentile(delays, share), 3) for name, share in shown.items()}}


def _percentile(values: Sequence[float], share: float) -> float:
    return values[min(len(values) - 1, int(len(values) * share))] if values else float("nan")


async def run(*, rate: float, bulk: int, every: float, seconds: float) -> Report:
    """One campaign, one death after so many seconds of waiting."""
    sender = {"name": SENDER, "kind": "short-code", "channels": ["sms"], "from": "12345", "rate": rate}
    config = {"senders": [{**sender, "countries": ["US"]}], "templates": {}}
    report = Report(rate, bulk)
    async with Cluster(config=config, simulator=_CALLBACKS, routers=2) as cluster:
        urgent = asyncio.create_task(_urgent(cluster, report, every))
        await _campaign(cluster, bulk)
        report.waits_from = time.time()
        await asyncio.sleep(seconds)
        victim = cluster.routers[await _owner(cluster)]
        report.killed = time.time()
        await victim.kill()
        await asyncio.sleep(seconds)
        urgent.cancel()
        report.until = time.time()
        await _until_all_came(cluster, report)
    return report


async def _until_all_came(cluster: Cluster, report: Report) -> None:
    """What the dead router had in its hands comes again after `dispatch.ack_wait`."""
    deadline = time.time() + _HELD
    while time.time() < deadline:
        messages = (await cluster.ask_simulator("/simulator/messages?limit=1000000"))["messages"]
        outbound = [each for each in messages if each["direction"].startswith("outbound")]
        report.sent = sorted((float(each["created"]), str(each["body"])) for each in outbound)
        if report.published.keys() <= {identity for _, identity in report.sent}:
            return
        await asyncio.sleep(1)


async def _campaign(cluster: Cluster, count: int) -> None:
    """Published as fast as NATS takes it, until all of it is in the outbox."""
    bodies = [_body(f"b{index}", index) for index in range(count)]
    async with JetStreamCourse(cluster.nats_urls, _BULK, "DELIVERIES", "deliveries.news.routed.>") as course:
        await course.publish(bodies)
        while await course.finished() < count:
            await asyncio.sleep(0.1)


async def _urgent(cluster: Cluster, report: Report, every: float) -> None:
    connection = await nats.connect(cluster.nats_urls)
    try:
        js = connection.jetstream()
        for index in range(1_000_000):
            await _one(js, report, index)
            await asyncio.sleep(every)
    finally:
        await connection.close()


async def _one(js: JetStreamContext, report: Report, index: int) -> None:
    identity = f"u{index}"
    report.published[identity] = time.time()
    await js.publish(_URGENT, _body(identity, index, "otp"))


def _body(identity: str, index: int, category: str = "marketing") -> bytes:
    content = {"id": identity, "to": f"+1202{2_000_000 + index}", "content": {"text": identity}, "category": category}
    return json.dumps(content).encode()


async def _owner(cluster: Cluster) -> int:
    """The router that paces the sender now: the last one that said so in its log."""
    gained = []
    for index in range(len(cluster.routers)):
        log = (cluster.directory / f"router-{index}.log").read_text()
        for line in log.splitlines():
            if re.search(r'"lease\.(gained|lost)"', line) and SENDER in line:
                row = json.loads(line)
                gained.append((row["timestamp"], row["event"] == "lease.gained", index))
    return next(index for _, has, index in sorted(gained, reverse=True) if has)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bulk", type=int, default=50_000, help="messages of the campaign")
    parser.add_argument("--rate", type=float, default=50, help="messages a second of the sender")
    parser.add_argument("--every", type=float, default=0.2, help="seconds between urgent messages")
    parser.add_argument("--seconds", type=float, default=30, help="before the router is killed, and after it")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    how = {"rate": options.rate, "bulk": options.bulk, "every": options.every, "seconds": options.seconds}
    report = asyncio.run(run(**how))
    found = report.as_dict()
    if options.json:
        sys.stdout.write(json.dumps(found) + "\n")
        return 0 if report.kept else 1
    for name, row in found["urgent"].items():
        sys.stdout.write(f"{name:<14} {row['count']:>5} urgent  p50 {row['p50']:.3f} s  p99 {row['p99']:.3f} s  ")
        sys.stdout.write(f"worst {row['worst']:.3f} s\n")
    sys.stdout.write(f"fullest 5 s    {found['fullest_window']} messages, {found['window_allows']:.1f} allowed\n")
    sys.stdout.write(f"taken over     after {found['taken_over_after']} s\n")
    sys.stdout.write(f"bulk           {found['bulk_sent_while_waiting']} sent in {found['seconds_waiting']} s\n")
    sys.stdout.write("kept\n" if report.kept else "NOT KEPT\n")
    return 0 if report.kept else 1


if __name__ == "__main__":
    sys.exit(main())
