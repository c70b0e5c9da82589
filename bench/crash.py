"""The crash campaign: is anything lost, doubled or left without an outcome when everything fails at once?

    python -m bench.crash --notifications 5000 --routers 3 --kills 100 --nats-restarts 3 --seed 1

Publishes notifications through real router processes against the simulator with its faults on, kills routers with
SIGKILL at random moments and restarts NATS, then compares what the simulator accepted with what was asked. Every draw
comes from the seed, which is printed; the moments at which processes really die are the operating system's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import nats
from nats.aio.client import Client
from nats.js.client import JetStreamContext

from bench.cluster import Cluster
from bench.nats_cluster import NatsCluster
from bench.processes import Process
from router.events import OWNER

SENDERS = [
    {"name": f"us-{n}", "kind": "10dlc", "channels": ["sms", "mms"], "from": f"+1501712266{n}", "rate": 200}
    for n in range(1, 5)
] + [{"name": "whatsapp", "kind": "whatsapp", "channels": ["whatsapp"], "from": "+14155238886", "rate": 200}]

#: Shares of what goes wrong at the provider and on the way back.
FAULTS = {
    "accept_no_answer": 0.05,
    "error_after": 0.03,
    "error_before": 0.03,
    "drop_before": 0.03,
    "throttle": 0.03,
    "retry_after": 1,
    "hang_seconds": 6,
    "callbacks_lost": 0.20,
    "callbacks_repeated": 0.20,
    "callbacks_reordered": 0.30,
}

#: As in production, with waits short enough for a campaign of minutes.
CONFIG: dict[str, Any] = {
    "dispatch": {"ack_wait": 5, "timeout": 2, "lease": 3},
    "reconcile": {"wait": 3, "settle": 12},
    "tracking": {"stuck_after": 15, "receipt_wait": 60},
    "retry": {"base": 0.5, "cap": 5, "attempts": 8},
    "senders": SENDERS,
    "templates": {},
}

SIMULATOR = {"delays": {"queued": 0.05, "sent": 0.1, "delivered": 0.3, "read": 0.5, "jitter": 0.3}}


@dataclass
class Report:
    """What a campaign found."""

    seed: int
    asked: int
    accepted: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: dict[str, int] = field(default_factory=dict)
    without_outcome: list[str] = field(default_factory=list)
    ended_again: dict[str, list[str]] = field(default_factory=dict)
    finals: Counter[str] = field(default_factory=Counter)
    unknown: int = 0
    resolved: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    nats_restarts: int = 0
    seconds: float = 0.0
    recovery: list[float] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Nothing lost, nothing doubled, nothing without an outcome, nothing with two."""
        return not (self.lost or self.doubled or self.without_outcome or self.ended_again)

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        recovery = sorted(self.recovery)
        return {
            "seed": self.seed,
            "asked": self.asked,
            "accepted_by_provider": self.accepted,
            "lost": self.lost,
            "doubled": self.doubled,
            "without_outcome": self.without_outcome,
            "ended_again": self.ended_again,
            "finals": dict(self.finals),
            "unknown_attempts": self.unknown,
            "resolved": dict(self.resolved),
            "kills": self.kills,
            "nats_restarts": self.nats_restarts,
            "seconds": round(self.seconds, 1),
            "recovery_seconds": {
                "median": round(recovery[len(recovery) // 2], 2) if recovery else None,
                "worst": round(recovery[-1], 2) if recovery else None,
            },
        }


class Campaign:
    """One run."""

    def __init__(self, options: argparse.Namespace, seed: int) -> None:
        self._options = options
        self._draw = random.Random(seed)
        self._report = Report(seed, options.notifications)
        self._events: list[dict[str, Any]] = []

    async def run(self) -> Report:
        """Start everything, let it fail, count."""
        options, started = self._options, time.monotonic()
        simulator = {**SIMULATOR, "seed": self._report.seed, "faults": FAULTS}
        async with Cluster(config=CONFIG, simulator=simulator, routers=options.routers, nodes=options.nodes) as cluster:
            publishing = asyncio.create_task(self._publish(cluster))
            chaos = asyncio.create_task(self._chaos(cluster))
            await publishing
            await chaos
            await self._until_settled(cluster)
            await self._count(cluster)
        self._report.seconds = time.monotonic() - started
        return self._report

    async def _publish(self, cluster: Cluster) -> None:
        """At the chosen rate, each until it is acknowledged: a publisher that retries, as publishers must."""
        connection = await patient(cluster.nats_urls)
        js = connection.jetstream(timeout=2)
        limit = asyncio.Semaphore(50)
        beginning = time.monotonic()
        tasks = []
        for index in range(self._options.notifications):
            await asyncio.sleep(max(0.0, beginning + index / self._options.rate - time.monotonic()))
            await limit.acquire()
            task = asyncio.create_task(self._publish_one(js, index))
            task.add_done_callback(lambda _: limit.release())
            tasks.append(task)
        await asyncio.gather(*tasks)
        await connection.close()

    async def _publish_one(self, js: JetStreamContext, index: int) -> None:
        lane = ("normal", "normal", "bulk", "urgent")[index % 4]
        body = json.dumps(_notification(index)).encode()
        while True:
            try:
                await js.publish(f"notifications.{lane}.shop", body)
            except Exception:  # whatever went wrong, it is published again: the router knows it by its id
                await asyncio.sleep(0.2)
            else:
                return

    async def _chaos(self, cluster: Cluster) -> None:
        """Kills spread over the time that publishing takes, and NATS restarts among them."""
        options = self._options
        span = max(options.notifications / options.rate, 1.0)
        plan = [("kill", self._draw.uniform(0.5, span)) for _ in range(options.kills)]
        plan += [("nats", span * (n + 1) / (options.nats_restarts + 1)) for n in range(options.nats_restarts)]
        beginning = time.monotonic()
        for what, at in sorted(plan, key=lambda each: each[1]):
            await asyncio.sleep(max(0.0, beginning + at - time.monotonic()))
            if what == "nats":
                await self._restart_nats(cluster)
            else:
                await self._kill_one(cluster)

    async def _kill_one(self, cluster: Cluster) -> None:
        victim: Process = self._draw.choice(cluster.routers)
        await victim.kill()
        self._report.kills += 1
        await victim.start()

    async def _restart_nats(self, cluster: Cluster) -> None:
        """The one server, or one of several: SIGKILL, a pause, the same one again."""
        node = cluster.nats
        if isinstance(node, NatsCluster):
            node = self._draw.choice(list(node.nodes.values()))
        node.kill()
        await node.wait()
        self._report.nats_restarts += 1
        await asyncio.sleep(self._draw.uniform(0.1, 1.0))
        await node.start()

    async def _until_settled(self, cluster: Cluster) -> None:
        """Until every notification has its final event, or nothing has moved for a long while."""
        quiet_since, before = time.monotonic(), -1
        while time.monotonic() - quiet_since < self._options.patience:
            self._events = [each.event for each in await read_log(cluster.nats_urls)]
            final = {event["notification_id"] for event in self._events if event["final"]}
            if len(final) >= self._options.notifications:
                return
            if len(self._events) != before:
                quiet_since, before = time.monotonic(), len(self._events)
            await asyncio.sleep(2)

    async def _count(self, cluster: Cluster) -> None:
        report = self._report
        messages = (await cluster.ask_simulator("/simulator/messages?limit=1000000"))["messages"]
        sent = Counter(_marker(message) for message in messages if message["direction"].startswith("outbound"))
        report.accepted = sum(sent.values())
        wanted = {f"n{index}" for index in range(self._options.notifications)}
        finals = {event["notification_id"]: event["status"] for event in self._events if event["final"]}
        report.finals.update(finals.values())
        report.lost = sorted(wanted - set(sent))
        report.doubled = {marker: count for marker, count in sent.items() if count > 1}
        report.without_outcome = sorted(wanted - set(finals))
        report.ended_again = ended_again(self._events)
        report.unknown = sum(event["status"] == "unknown" for event in self._events)
        reasons = (event["reason"] for event in self._events)
        report.recovery = _recoveries(self._events)
        report.resolved.update(r for r in reasons if r in {"resolved_by_callback", "resolved_by_search", "not_found"})


def ended_again(events: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Notifications with more than one final event, and which; a `read` may follow (docs/decisions/0007).

    The end itself may be `late`: an attempt that was given up arrived. What is late after the end is no end.
    """
    ends: dict[str, list[str]] = {}
    for event in events:
        if event["final"]:
            late = "late " if event["late"] else ""
            ends.setdefault(event["notification_id"], []).append(late + event["status"])
    return {
        name: each for name, each in ends.items() if each[1:] and (each[1:] != ["read"] or each[0].endswith("read"))
    }


def _recoveries(events: list[dict[str, Any]]) -> list[float]:
    """Seconds from the claim of a process that died to the moment when another one took its attempt over."""
    claimed = {}
    seconds = []
    for event in events:
        key = (event["notification_id"], event["attempt"])
        recorded = datetime.fromisoformat(event["recorded_at"])
        if event["status"] == "sending":
            claimed[key] = recorded
        elif event["status"] == "unknown" and event["reason"] == "crashed":
            seconds.append((recorded - claimed[key]).total_seconds())
    return seconds


def _notification(index: int) -> dict[str, Any]:
    """A text, a picture or a template; each says its own id, so that what was sent can be told apart."""
    marker = f"n{index}"
    to = f"+1202555{index % 10_000:04d}"
    match index % 10:
        case 0:
            return {"id": marker, "to": to, "content": {"text": marker, "media": ["https://example.com/a.png"]}}
        case 1:
            template = {"content_sid": "HX" + "0" * 31 + "1", "variables": {"1": marker}}
            return {"id": marker, "to": f"+9198765{index % 100_000:05d}", "content": {"template": template}}
        case _:
            return {"id": marker, "to": to, "content": {"text": marker}}


def _marker(message: dict[str, Any]) -> str:
    variables = message["params"].get("ContentVariables")
    if variables:
        return str(json.loads(variables[0])["1"])
    return str(message["body"]).split("\n", 1)[0]


async def patient(urls: list[str]) -> Client:
    """A connection that comes back by itself, and says nothing while the server is away: that is what is measured."""

    async def unheard(_error: Exception) -> None:
        return

    return await nats.connect(urls, error_cb=unheard, max_reconnect_attempts=-1, reconnect_time_wait=0.1)


@dataclass(frozen=True)
class Logged:
    """One delivery event, and who appended it."""

    event: dict[str, Any]
    owner: str

    @property
    def at(self) -> datetime:
        """When it was appended."""
        return datetime.fromisoformat(self.event["recorded_at"])


async def read_log(urls: list[str]) -> list[Logged]:
    """Every delivery event so far, in order."""
    connection = await patient(urls)
    try:
        js = connection.jetstream(timeout=10)
        last = (await js.stream_info("DELIVERIES")).state.last_seq
        subscription = await js.subscribe("deliveries.>", ordered_consumer=True, pending_msgs_limit=-1)
        events: list[Logged] = []
        while True:
            msg = await subscription.next_msg(timeout=10)
            owner = (msg.headers or {}).get(OWNER, "").partition(".")[0]
            events.append(Logged(json.loads(msg.data), owner))
            if msg.metadata.sequence.stream >= last:
                return events
    finally:
        await connection.close()


def main() -> int:
    """Run the campaigns and print what they found; 1 when anything was lost, doubled, left open or ended twice."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--notifications", type=int, default=5_000)
    parser.add_argument("--routers", type=int, default=3)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--nats-restarts", type=int, default=3)
    parser.add_argument("--nodes", type=int, default=1, help="NATS servers; with 3, every stream has three copies")
    parser.add_argument("--rate", type=float, default=50.0, help="notifications published per second")
    parser.add_argument("--seed", type=int, default=None, help="of the first run; printed, so that it can be repeated")
    parser.add_argument("--runs", type=int, default=1, help="so many seeds in a row")
    parser.add_argument("--patience", type=float, default=90.0, help="seconds without an event before giving up")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    first = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    clean = True
    for seed in range(first, first + options.runs):
        report = asyncio.run(Campaign(options, seed).run())
        clean = clean and report.clean
        print(json.dumps(report.as_dict(), indent=None if options.json else 2), flush=True)
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
