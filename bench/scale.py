"""Does a notification cost the same when there are very many of them? `python -m bench.scale WHAT --count N`

    python -m bench.scale backlog --count 100000
    python -m bench.scale log --count 1000000
    python -m bench.scale recipients --count 1000000
    python -m bench.scale replicas --count 5000

backlog     so many are published before anybody works; intake works them off, then dispatch. Cost by tenths.
log         the delivery log holds so many told stories (five events each): claims, lookups, and a lap beside before.
recipients  so many open sessions and so many opt-outs are known: a lap beside before, memory of router and NATS.
replicas    laps on one NATS server and on three that keep three copies, in turns.

`backlog` can be taken in pieces: `--store DIR` keeps what NATS has, `--within S` ends after so many seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench import startup, throughput
from bench.callbacks import Poster, callback
from bench.cluster import Cluster
from bench.contenders import Arena, Lap, Pointsman, bench_config, until_shared, warm_up, work_off, workspace
from bench.filling import Story, connected, pour, story_of
from bench.measure import Meter, cpu_seconds, memory, percentile, show
from bench.processes import run
from bench.stub import Stub
from bench.traffic import SUBJECT, JetStreamCourse, bodies, body, until_finished
from router.jetstream import JetStream

_MEGA = 1024 * 1024
_CLAIMS = 2_000
_PATIENCE = 60.0  #: seconds
_READY_WITHIN = 180.0  #: seconds
_RESTS = 0.15  #: seconds of processor time in one second, of a router that does nothing but look around

Rows = list[dict[str, object]]


# backlog --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Phase:
    """One role that works off all there is."""

    roles: str
    status: str  #: of the event that says that it has done its part


PHASES = (Phase("intake", "routed"), Phase("dispatch,tracking", "accepted"))


async def backlog(options: argparse.Namespace) -> Rows:
    """Publish what is missing, then let each role work until it is done or time is up."""
    deadline = time.monotonic() + options.within
    store: Path | None = options.store
    with workspace() as directory:
        async with (
            Stub(directory) as stub,
            Cluster(config=bench_config(1, 64), routers=0, provider=stub.url, store=store) as cluster,
        ):
            await (await cluster.add_router(within=_PATIENCE)).stop()  # makes the streams
            rows = [await _publish(cluster, options.count)]
            for phase in PHASES:
                rows += await _work(cluster, stub, phase, options.count, deadline)
            return rows


async def _publish(cluster: Cluster, count: int) -> dict[str, object]:
    """Whatever is not there yet."""
    async with _events(cluster, "NOTIFICATIONS", "notifications.>") as course:
        there, started = await course.finished(), time.monotonic()
        await course.publish(body(index, "b") for index in range(there, count))
        seconds = time.monotonic() - started
    return _row("publish", there, count, (count - there) / seconds, {}, 0, sum(map(memory, cluster.nats_pids)))


async def _work(cluster: Cluster, stub: Stub, phase: Phase, count: int, deadline: float) -> Rows:
    """One role, sampled at each tenth."""
    rows: Rows = []
    async with _events(cluster, "DELIVERIES", f"deliveries.*.{phase.status}.>") as course:
        done = await course.finished()
        if done >= count or time.monotonic() > deadline:
            return rows
        router = await cluster.add_router(roles=phase.roles, within=_PATIENCE)
        pids = {"router": [router.pid], "broker": cluster.nats_pids, "provider": [stub.pid]}
        while done < count and time.monotonic() < deadline:
            before, meter, started = done, Meter(pids), time.monotonic()
            goal = min(count, before + max(1, count // 10))
            while (done := await course.finished()) < goal and time.monotonic() < deadline:
                await asyncio.sleep(0.05)
            rate, taken = (done - before) / (time.monotonic() - started), meter.taken()
            micros = {role: seconds / max(1, done - before) * 1e6 for role, seconds in taken.items()}
            rows.append(
                _row(phase.roles, before, done, rate, micros, memory(router.pid), sum(map(memory, cluster.nats_pids)))
            )
        await router.stop()
    return rows


def _events(cluster: Cluster, stream: str, finish: str) -> JetStreamCourse:
    return JetStreamCourse(cluster.nats_urls, SUBJECT, stream, finish, anew=False)


def _row(
    what: str, first: int, last: int, rate: float, micros: Mapping[str, float], router: int, server: int
) -> dict[str, object]:
    return {
        "what": what,
        "from": first,
        "to": last,
        "per second": rate,
        "router µs": micros.get("router", 0.0),
        "broker µs": micros.get("broker", 0.0),
        "router MB": router / _MEGA,
        "NATS MB": server / _MEGA,
    }


# log ------------------------------------------------------------------------------------------------------------------


async def told(options: argparse.Namespace) -> Rows:
    """The same laps, claims and lookups with an empty log and with a full one."""
    async with Pointsman().arena(record=True) as arena:
        assert arena.cluster is not None
        async with connected(arena.cluster.nats_urls) as js:
            await warm_up(arena, 400)
            rows = [await _beside("empty", arena, js, [], options.lap)]
            story = await _tell(arena, js, "story-000000")
            before, stored = sum(map(memory, arena.pids["broker"])), await _stored(js)
            started = time.monotonic()
            events = await pour(js, "DELIVERIES", story.copies("other-", options.count))
            print(f"{events:,} events stored in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
            held = sum(map(memory, arena.pids["broker"])) - before
            stored = await _stored(js) - stored
            extra = [f"other-{index:07d}" for index in range(0, options.count, max(1, options.count // _CLAIMS))]
            full = await _beside(f"{options.count:,} stories", arena, js, extra, options.lap)
            per = {"NATS B a story": held / options.count, "disk B a story": stored / options.count}
            return [*rows, {**full, **per}]


async def _stored(js: JetStream) -> int:
    """Bytes of the log on disk."""
    return int((await js.api("STREAM.INFO.DELIVERIES"))["state"]["bytes"])


async def _tell(arena: Arena, js: JetStream, prefix: str) -> Story:
    """One notification from its publication to its delivery: routed, sending, accepted, sent, delivered."""
    assert arena.cluster is not None
    await arena.stub.arrivals()  # of before
    done = await arena.course.finished()
    await arena.course.publish([body(0, prefix)])
    await until_finished(arena.course, done + 1, within=_PATIENCE)
    (arrival,) = await arena.stub.arrivals()
    async with Poster(arena.cluster.webhook_port) as poster:
        for status in ("sent", "delivered"):
            await poster.post(callback(arrival, status))
    story = await story_of(js, f"{prefix}0")
    assert len(story.events) == 5
    return story


async def _beside(what: str, arena: Arena, js: JetStream, known: Sequence[str], lap: int) -> dict[str, object]:
    """Claims as the ledger makes them, lookups as a callback makes them, and a lap; all one after the other."""
    prefix = what.replace(" ", "").replace(",", "")
    claims = await _timed([_claim(js, f"{prefix}{index}") for index in range(_CLAIMS)])
    names = known or [f"{prefix}{index}" for index in range(_CLAIMS)]
    lookups = await _timed([_lookup(js, name) for name in names])
    laps = [await work_off(arena, bodies(lap, f"{prefix}lap{number}-")) for number in range(3)]
    return {
        "log": what,
        "claim p50 µs": percentile(claims, 0.5) * 1e6,
        "claim p99 µs": percentile(claims, 0.99) * 1e6,
        "lookup p50 µs": percentile(lookups, 0.5) * 1e6,
        "lookup p99 µs": percentile(lookups, 0.99) * 1e6,
        **_lap_cells(laps),
        "NATS MB": sum(map(memory, arena.pids["broker"])) / _MEGA,
        "NATS B a story": 0.0,
        "disk B a story": 0.0,
    }


def _lap_cells(laps: Sequence[Lap]) -> dict[str, object]:
    return {
        "per second": statistics.median(lap.rate for lap in laps),
        "router µs": statistics.median(lap.micros("workers") for lap in laps),
        "broker µs": statistics.median(lap.micros("broker") for lap in laps),
    }


def _claim(js: JetStream, identity: str) -> Callable[[], Awaitable[object]]:
    """An append that must be the first of its story; its status is one that nobody follows."""
    subject, story = f"deliveries.bench.routed.sms.{identity}", f"deliveries.bench.*.*.{identity}"
    return lambda: js.publish(subject, b"{}", expect=0, expect_on=story)


def _lookup(js: JetStream, identity: str) -> Callable[[], Awaitable[object]]:
    return lambda: js.last("DELIVERIES", f"deliveries.*.*.*.{identity}")


async def _timed(calls: Sequence[Callable[[], Awaitable[object]]]) -> list[float]:
    """Seconds of each, one after the other."""
    taken = []
    for call in calls:
        started = time.monotonic()
        await call()
        taken.append(time.monotonic() - started)
    return taken


# recipients -----------------------------------------------------------------------------------------------------------


async def recipients(options: argparse.Namespace) -> Rows:
    """Laps before anybody is known, and when many are."""
    async with _with_whatsapp() as (cluster, arena):
        await warm_up(arena, 400)
        rows = [await _knowing("nobody known", cluster, arena, options.lap)]
        await startup.fill(cluster, options.count)
        await cluster.routers.pop().stop()
        router = await cluster.add_router(within=_READY_WITHIN)
        await until_shared(cluster)
        await _until_loaded(router.pid)
        knowing = replace(arena, pids={**arena.pids, "workers": [router.pid]})
        await warm_up(knowing, 400, "again")
        return [*rows, await _knowing(f"{options.count:,} sessions and opt-outs", cluster, knowing, options.lap)]


async def _until_loaded(pid: int) -> None:
    """A router is ready before it has read what it knows of recipients, which is no part of a lap: until it rests."""
    taken = cpu_seconds(pid)
    async with asyncio.timeout(_READY_WITHIN):
        while True:
            await asyncio.sleep(1)
            before, taken = taken, cpu_seconds(pid)
            if taken - before < _RESTS:
                return


@asynccontextmanager
async def _with_whatsapp() -> AsyncIterator[tuple[Cluster, Arena]]:
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(workspace())
        stub = await stack.enter_async_context(Stub(directory))
        cluster = await stack.enter_async_context(Cluster(config=startup.config(), routers=1, provider=stub.url))
        course = JetStreamCourse(cluster.nats_urls, SUBJECT, "DELIVERIES", "deliveries.*.accepted.>")
        await stack.enter_async_context(course)
        await until_shared(cluster)
        pids = {"workers": [cluster.routers[0].pid], "broker": cluster.nats_pids, "provider": [stub.pid]}
        yield cluster, Arena(course, stub, pids, cluster)


async def _knowing(what: str, cluster: Cluster, arena: Arena, lap: int) -> dict[str, object]:
    laps = [await work_off(arena, bodies(lap, f"lap{what.count('0')}x{number}-")) for number in range(3)]
    return {
        "recipients": what,
        **_lap_cells(laps),
        "router MB": memory(cluster.routers[0].pid) / _MEGA,
        "NATS MB": sum(map(memory, cluster.nats_pids)) / _MEGA,
    }


# replicas -------------------------------------------------------------------------------------------------------------


async def replicas(options: argparse.Namespace) -> Rows:
    """Laps in turns."""
    field = [(Pointsman(), options.count), (Pointsman(nodes=3), options.count)]
    return throughput.rows(await throughput.measure(field, options.rounds))


WHAT: Mapping[str, tuple[Callable[[argparse.Namespace], Coroutine[Any, Any, Rows]], int]] = {
    "backlog": (backlog, 20_000),
    "log": (told, 100_000),
    "recipients": (recipients, 100_000),
    "replicas": (replicas, 3_000),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=sorted(WHAT))
    parser.add_argument("--count", type=int, help="of what there are very many")
    parser.add_argument("--lap", type=int, default=3_000, help="notifications of a lap beside (default 3000)")
    parser.add_argument("--rounds", type=int, default=3, help="of replicas (default 3)")
    parser.add_argument("--store", type=Path, help="of backlog: where NATS keeps its files, to go on another time")
    parser.add_argument("--within", type=float, default=86_400, help="of backlog: seconds after which it ends")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    measure, default = WHAT[options.what]
    options.count = options.count or default
    rows = run(measure(options))
    report: dict[str, Any] = {"bench": f"scale {options.what}", "count": options.count, "rows": rows}
    show(options, report, rows)


if __name__ == "__main__":
    main()
