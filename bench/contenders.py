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
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import nats
from nats.js.errors import KeyNotFoundError, NoKeysError

from bench.cluster import Cluster
from bench.measure import Meter, memory, program
from bench.peers import floor
from bench.processes import Process, free_port, held, running
from bench.stub import Stub
from bench.traffic import SUBJECT, Course, JetStreamCourse, bodies, until_finished
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


@dataclass(frozen=True, slots=True)
class Arena:
    """A contender and all it needs, running."""

    course: Course
    stub: Stub
    pids: Mapping[str, Sequence[int]]  #: by role: workers, broker, provider
    cluster: Cluster | None = None  #: where it is the product


class Contender(Protocol):
    """Somebody who works off a backlog."""

    @property
    def name(self) -> str:
        """As the table calls it."""

    @property
    def missing(self) -> str | None:
        """Why it cannot take part; None when it can."""

    def arena(self, *, record: bool = False) -> AbstractAsyncContextManager[Arena]:
        """A fresh start. `record`: the provider keeps what arrives and when."""


class Pointsman:
    """The product, with every guarantee on and everything not named here as shipped, log level included."""

    missing = None

    def __init__(
        self, routers: int = 1, *, senders: int = 1, in_flight: int = 64, log_level: str = "info", nodes: int = 1
    ) -> None:
        """`senders` share `in_flight` requests among them; their rate is never reached."""
        counts = {"router": routers, "sender": senders, "NATS server": nodes}
        self.name = ", ".join(["pointsman", *(f"{n} {what}s" if n > 1 else f"1 {what}" for what, n in counts.items())])
        self._routers = routers
        self._nodes = nodes
        self._config = bench_config(senders, in_flight, log_level)

    @asynccontextmanager
    async def arena(self, *, record: bool = False) -> AsyncIterator[Arena]:
        """Routers that have shared the senders out."""
        with workspace() as directory:
            async with (
                Stub(directory, record=record) as stub,
                Cluster(config=self._config, routers=self._routers, provider=stub.url, nodes=self._nodes) as cluster,
                accepted(cluster) as course,
            ):
                await until_shared(cluster)
                workers = [router.pid for router in cluster.routers]
                pids = {"workers": workers, "broker": cluster.nats_pids, "provider": [stub.pid]}
                yield Arena(course, stub, pids, cluster)


def accepted(cluster: Cluster) -> JetStreamCourse:
    """From publication to the event that says that the provider has it."""
    return JetStreamCourse(cluster.nats_urls, SUBJECT, "DELIVERIES", "deliveries.*.accepted.>")


class Floor:
    """`bench/peers/floor.py`."""

    name = "bare floor, 1 process"
    missing = None

    @asynccontextmanager
    async def arena(self, *, record: bool = False) -> AsyncIterator[Arena]:
        """Its streams and its one process."""
        with workspace() as directory:
            async with EmbeddedNats() as server, Stub(directory, record=record) as stub:
                connection = await nats.connect(server.url)
                await floor.provision(connection.jetstream())
                await connection.close()
                command = [sys.executable, "-m", "bench.peers.floor", server.url, stub.url]
                async with (
                    running(Process("floor", command, directory / "floor.log")) as worker,
                    JetStreamCourse([server.url], floor.SUBJECT, floor.EVENTS, floor.OUTCOMES) as course,
                ):
                    yield Arena(course, stub, {"workers": [worker.pid], "broker": [server.pid], "provider": [stub.pid]})


class CeleryRecipe:
    """`bench/peers/celery_recipe.py`, where Redis and the group `bench` are installed."""

    def __init__(self, processes: int) -> None:
        """`processes` of its pool."""
        self.name = f"Celery, {processes} processes"
        self._processes = processes

    @property
    def missing(self) -> str | None:
        """What has to be installed first."""
        if find_spec("celery") is None:
            return "celery is not installed: pip install --group bench"
        if program("redis-server") is None:
            return "there is no redis-server: apt-get install redis-server"
        return None

    @asynccontextmanager
    async def arena(self, *, record: bool = False) -> AsyncIterator[Arena]:
        """Redis and the pool."""
        from bench.peers import celery_recipe as recipe  # noqa: PLC0415 - a group of its own

        server = program("redis-server")
        assert server is not None
        with workspace() as directory:
            port = free_port()
            broker = f"redis://127.0.0.1:{port}/0"
            # Kept in memory alone, without a log on disk: the fastest that Redis can be.
            options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
            redis = Process("redis", [server, *options, "--dir", str(directory)], directory / "redis.log")
            async with Stub(directory, record=record) as stub, running(redis):
                environ, log = recipe.environ(broker, stub.url), directory / "celery.log"
                async with running(Process("celery", recipe.command(self._processes), log, environ)) as worker:
                    pids = {"workers": [worker.pid], "broker": [redis.pid], "provider": [stub.pid]}
                    yield Arena(_CeleryCourse(broker, stub), stub, pids)


class _CeleryCourse:
    """Tasks go in; what comes out is seen by the provider alone."""

    def __init__(self, broker: str, stub: Stub) -> None:
        self._broker = broker
        self._stub = stub

    async def publish(self, bodies: Iterable[bytes]) -> None:
        """A task for each."""
        from bench.peers import celery_recipe as recipe  # noqa: PLC0415 - a group of its own

        await asyncio.to_thread(recipe.publish, self._broker, bodies)

    async def finished(self) -> int:
        """What was sent."""
        return await self._stub.count()


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


async def lap(contender: Contender, count: int) -> Lap:
    """One backlog, from a fresh start."""
    async with contender.arena() as arena:
        await warm_up(arena, min(WARM, count))
        return await work_off(arena, bodies(count, "n"))


async def warm_up(arena: Arena, count: int, prefix: str = "warm") -> None:
    """Imports, connections, caches."""
    before = await arena.course.finished()
    await arena.course.publish(bodies(count, prefix))
    await until_finished(arena.course, before + count, within=_PATIENCE)


async def work_off(arena: Arena, backlog: Sequence[bytes]) -> Lap:
    """Build the backlog before standing workers, let them go, wait for the last outcome."""
    finished, sent = await arena.course.finished(), await arena.stub.count()
    with held(arena.pids["workers"]):
        await arena.course.publish(backlog)
        meter, started = Meter(arena.pids), time.monotonic()
    count = len(backlog)
    await until_finished(arena.course, finished + count, within=max(_PATIENCE, count / _SLOWEST))
    seconds, cpu = time.monotonic() - started, meter.taken()
    resident = sum(map(memory, arena.pids["workers"]))
    return Lap(count, seconds, cpu, resident, await arena.stub.count() - sent)


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
