"""What metrics and traces cost: the same traffic with them on and off, in turns, and the calls of metrics alone.

    python -m bench.metrics --notifications 1000 --rounds 4

Routers are processes of their own; counted is the processor time that each took for a notification, from its
publication to its delivery. That comparison is noisy on a busy machine, so the calls are timed by themselves too, as a
share of that time. Scraping is part of it: the router is asked for its metrics once a second.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import nats
from nats.aio.msg import Msg

from bench.cluster import Cluster
from bench.measure import cpu_seconds
from router.events import Happening
from router.metrics import CALLBACKS, PROVIDER, WEBHOOKS, Observer
from router.story import About, Snapshot

SENDERS = [
    {"name": f"us-{n}", "kind": "10dlc", "channels": ["sms"], "from": f"+1501712266{n}", "rate": 1000}
    for n in range(1, 5)
]
SIMULATOR = {"seed": 1, "delays": {"queued": 0, "sent": 0, "delivered": 0.05, "read": 0, "jitter": 0}}
#: What is switched on, by name. Nothing of this traffic is sampled, as most of real traffic is not.
MODES: dict[str, dict[str, Any]] = {
    "nothing": {"metrics": False},
    "metrics": {"metrics": True},
    "traces, none sampled": {"metrics": False, "traces": True, "endpoint": "http://127.0.0.1:1"},
}


async def one_round(count: int, telemetry: dict[str, Any]) -> float:
    """Microseconds of the router's processor time for a notification."""
    config: dict[str, Any] = {"senders": SENDERS, "templates": {}, "telemetry": telemetry}
    async with Cluster(config=config, simulator=SIMULATOR, routers=1) as cluster:
        await traffic(cluster, 100, "warm")
        before = cpu_seconds(cluster.routers[0].pid)
        await traffic(cluster, count, "n")
        return (cpu_seconds(cluster.routers[0].pid) - before) / count * 1e6


async def traffic(cluster: Cluster, count: int, prefix: str) -> None:
    """Publish so many and wait until all are delivered."""
    connection = await nats.connect(cluster.nats_urls)
    delivered, done = 0, asyncio.Event()

    async def heard(_: Msg) -> None:
        nonlocal delivered
        delivered += 1
        if delivered == count:
            done.set()

    await connection.subscribe("deliveries.*.delivered.>", cb=heard)
    await connection.flush()
    scraping = asyncio.create_task(scrape(cluster))
    js = connection.jetstream()
    for index in range(count):
        body = {"id": f"{prefix}-{index}", "to": f"+1202555{index % 10_000:04}", "content": {"text": "hello"}}
        await js.publish("notifications.normal.shop", json.dumps(body).encode())
    async with asyncio.timeout(120):
        await done.wait()
    scraping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await scraping
    await connection.close()


async def scrape(cluster: Cluster) -> None:
    """As Prometheus does, and ten times as often."""
    url = f"http://127.0.0.1:{cluster.admin_ports[0]}/metrics"
    while True:
        async with cluster.session.get(url) as answer:
            await answer.read()
        await asyncio.sleep(1)


def calls() -> float:
    """Microseconds of everything that is counted for one delivered notification."""
    observer, about = Observer(), About("shop", "n1", "normal", "transactional", "+12025550123", {})
    snapshot, routed = Snapshot("f", 1, published=time.time()), Happening("routed", datetime.now(UTC), channel="sms")
    story = [
        replace(routed, status=each, sender="us") for each in ("routed", "sending", "accepted", "sent", "delivered")
    ]
    rounds, started = 20_000, time.process_time()
    for _ in range(rounds):
        for happening in story:
            observer.appended(about, happening, snapshot)
        PROVIDER.observe(0.1, "sms", "us")
        for _ in range(3):
            CALLBACKS.inc("recorded")
            WEBHOOKS.inc("status", "204")
    return (time.process_time() - started) / rounds * 1e6


async def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--notifications", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args()
    taken: dict[str, list[float]] = {name: [] for name in MODES}
    for number in range(options.rounds):
        for name in list(MODES) if number % 2 else reversed(MODES):
            taken[name].append(await one_round(options.notifications, MODES[name]))
            print(f"{name:24} {taken[name][-1]:8.0f} µs a notification", flush=True)
    medians = {name: statistics.median(values) for name, values in taken.items()}
    off = medians["nothing"]
    for name, median in medians.items():
        print(f"median {name:24} {median:8.0f} µs  {100 * (median / off - 1):+5.1f} %")
    print(f"the calls of metrics alone: {(alone := calls()):.1f} µs, {100 * alone / off:.2f} % of a notification")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
