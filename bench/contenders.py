"""Who is compared: each starts its own processes, works off one backlog and says what that took.

The backlog is built while the workers stand still (SIGSTOP), so that publishing is no part of what is measured and
every contender begins with all of its work before it. What a contender took of the processor is counted from the
moment in which its workers go on to the moment in which the last outcome is stored.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import nats
from nats.js.errors import KeyNotFoundError, NoKeysError

from bench.cluster import Cluster
from bench.measure import Meter, memory
from bench.peers import floor
from bench.processes import Process, held
from bench.stub import Stub
from bench.traffic import SUBJECT, Course, bodies
from router.embedded import EmbeddedNats
from router.leases import ranked
from router.topology import SENDERS

WARM = 400  #: notifications before the backlog: imports, connections, caches
_SENDERS_READY_WITHIN = 20.0  #: seconds
#: No contender is given up before so many seconds, or before it did less than so many a second.
_PATIENCE, _SLOWEST = 60.0, 100.0


@dataclass(frozen=True, slots=True)
class Lap:
    """One backlog worked off."""

    count: int
    seconds: float
    cpu: Mapping[str, float]  #: seconds by role: workers, broker, provider
    worker_memory: int  #: bytes, at the end
    sent: int  #: what the provider was asked to send meanwhile: `count`, unless something was doubled

    @property
    def rate(self) -> float:
        """Notifications per second."""
        return self.count / self.seconds

    def micros(self, role: str) -> float:
        """Processor time for each notification, in microseconds."""
        return self.cpu[role] / self.count * 1e6

    @property
    def rate_of_machine(self) -> float:
        """Notifications for each second of processor time that anybody took, the provider excepted."""
        return self.count / (self.cpu["workers"] + self.cpu["broker"])


class Contender(Protocol):
    """Somebody who works off a backlog."""

    @property
    def name(self) -> str:
        """As the table calls it."""

    @property
    def missing(self) -> str | None:
        """Why it cannot take part; None when it can."""

    async def lap(self, count: int) -> Lap:
        """From a fresh start."""


class Pointsman:
    """The product, with every guarantee on and everything not named here as shipped, log level included."""

    missing = None

    def __init__(
        self, routers: int = 1, *, senders: int = 1, in_flight: int = 64, log_level: str = "info", nodes: int = 1
    ) -> None:
        """`senders` share `in_flight` requests among them; their rate is never reached."""
        self.name = f"pointsman, {routers} router{'s' if routers > 1 else ''}"
        self._routers = routers
        self._nodes = nodes
        self.config = bench_config(senders, in_flight, log_level)

    async def lap(self, count: int) -> Lap:
        """One backlog."""
        with workspace() as directory:
            async with (
                Stub(directory) as stub,
                Cluster(config=self.config, routers=self._routers, provider=stub.url, nodes=self._nodes) as cluster,
                Course(cluster.nats_urls, "DELIVERIES", "deliveries.*.accepted.>") as course,
            ):
                await until_shared(cluster)
                pids = {
                    "workers": [router.pid for router in cluster.routers],
                    "broker": cluster.nats_pids,
                    "provider": [stub.pid],
                }
                return await run_course(course, SUBJECT, stub, pids, count)


class Floor:
    """`bench/peers/floor.py`."""

    name = "bare floor, 1 process"
    missing = None

    async def lap(self, count: int) -> Lap:
        """One backlog."""
        with workspace() as directory:
            async with EmbeddedNats() as server, Stub(directory) as stub:
                connection = await nats.connect(server.url)
                await floor.provision(connection.jetstream())
                await connection.close()
                command = [sys.executable, "-m", "bench.peers.floor", server.url, stub.url]
                worker = Process("floor", command, directory / "floor.log")
                await worker.start()
                try:
                    async with Course([server.url], floor.EVENTS, floor.OUTCOMES) as course:
                        pids = {"workers": [worker.pid], "broker": [server.pid], "provider": [stub.pid]}
                        return await run_course(course, floor.SUBJECT, stub, pids, count)
                finally:
                    await worker.stop()


def bench_config(senders: int, in_flight: int, log_level: str = "info") -> dict[str, Any]:
    """So many senders, as fast as the provider answers."""
    return {
        "senders": [
            {
                "name": f"us-{number}",
                "kind": "10dlc",
                "channels": ["sms"],
                "from": f"+150171226{number:02}",
                "countries": ["US"],
                "rate": 100_000,
            }
            for number in range(1, senders + 1)
        ],
        "dispatch": {"concurrency": max(1, in_flight // senders)},
        "logs": {"level": log_level},
    }


async def run_course(course: Course, subject: str, stub: Stub, pids: Mapping[str, Sequence[int]], count: int) -> Lap:
    """Warm up, build the backlog before standing workers, let them go, wait for the last outcome."""
    warm = min(WARM, count)
    await course.publish(bodies(warm, "warm"), subject)
    await course.until_finished(warm, within=_PATIENCE)
    backlog, sent = bodies(count, "n"), await stub.count()
    with held(pids["workers"]):
        await course.publish(backlog, subject)
        meter, started = Meter(pids), time.monotonic()
    await course.until_finished(warm + count, within=max(_PATIENCE, count / _SLOWEST))
    seconds, cpu = time.monotonic() - started, meter.taken()
    held_memory = sum(map(memory, pids["workers"]))
    return Lap(count, seconds, cpu, held_memory, await stub.count() - sent)


async def until_shared(cluster: Cluster) -> dict[str, int]:
    """Until every sender is with the router that it belongs to; returns how many each router has."""
    connection = await nats.connect(cluster.nats_urls)
    try:
        bucket = await connection.jetstream().key_value(SENDERS)
        async with asyncio.timeout(_SENDERS_READY_WITHIN):
            while (shares := _settled(await _rows(bucket), len(cluster.routers))) is None:
                await asyncio.sleep(0.2)
        return shares
    finally:
        await connection.close()


def _settled(rows: Mapping[str, Any], routers: int) -> dict[str, int] | None:
    """Senders by router, from the keys `router.<instance>` and `lease.<sender>`; None while it is not yet so."""
    living = {name.partition(".")[2]: row["senders"] for name, row in rows.items() if name.startswith("router.")}
    owners = {name.partition(".")[2]: row["owner"] for name, row in rows.items() if name.startswith("lease.")}
    wanted = {sender for senders in living.values() for sender in senders}
    if len(living) < routers or any(owners.get(sender) != ranked(sender, list(living)) for sender in wanted):
        return None
    return {router: sum(owner == router for owner in owners.values()) for router in living}


async def _rows(bucket: Any) -> dict[str, Any]:
    rows = {}
    with suppress(KeyNotFoundError, NoKeysError):  # one may expire between the two questions
        for name in await bucket.keys():
            rows[name] = json.loads((await bucket.get(name)).value)
    return rows


@contextmanager
def workspace() -> Iterator[Path]:
    """A directory for configurations and logs, kept where something failed."""
    directory = Path(tempfile.mkdtemp(prefix="pointsman-bench-"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)
