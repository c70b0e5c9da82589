"""How NATS bears deferred notifications: `python -m bench.deferred --count 1000000`.

Schedules as the router makes them, `--count` of them due within the coming days, in a NATS server of its own. Measured
are the rate at which they are taken, the server's memory, how late probes wake that are due in the next seconds, a wave
of `--wave` that is due at one instant, and the time that the server needs after SIGKILL until all are there again; what
was due while it was away has to fire all the same.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import nats
from nats.aio.msg import Msg

from bench.measure import memory
from router import subjects, topology
from router.embedded import EmbeddedNats
from router.jetstream import JetStream, StoreError
from router.settings import Settings
from router.timers import Kind, Timers

_IN_FLIGHT = 512
_PROBES = 500
_SPREAD = 5.0  #: seconds over which probes are due
_AHEAD = 3.0  #: seconds until the first of them is due
_DAYS = 3.0  #: over which the mass is due, from tomorrow on
_BODY = json.dumps(
    {
        "id": "order-4711-reminder",
        "to": "+12025550123",
        "content": {"text": "Hello Ana, your appointment is tomorrow at 9. Answer C to confirm it, or call us."},
        "category": "transactional",
        "send_at": "2026-12-01T09:00:00+01:00",
        "metadata": {"order": "4711", "customer": "c0815"},
    }
).encode()
_HEADERS = {"Pointsman-Subject": "notifications.normal.shop", "Pointsman-Sequence": "4711"}


@dataclass
class Woken:
    """What fired, and when it got here."""

    due: dict[str, float]
    late: dict[str, float]

    async def all(self, within: float) -> Sequence[float]:
        """Seconds too late, least first, once everything has fired; `TimeoutError` when something does not."""
        async with asyncio.timeout(within):
            while len(self.late) < len(self.due):
                await asyncio.sleep(0.05)
        return sorted(self.late.values())


class Course:
    """A server with a stream of timers."""

    def __init__(self, server: EmbeddedNats) -> None:
        self.server = server
        self.js: JetStream
        self.timers: Timers

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """As a router is."""
        client = await nats.connect(self.server.url, pending_size=64 * 1024 * 1024)
        self.js = JetStream(client, timeout=30)
        await self.js.start()
        self.timers = Timers(self.js)
        try:
            yield
        finally:
            await self.js.stop()
            await client.close()

    async def provision(self) -> None:
        """The stream as the router makes it."""
        (plan,) = (plan for plan in topology.streams(Settings()) if plan.name == subjects.TIMERS)
        await self.js.api(f"STREAM.CREATE.{plan.name}", plan.config(1))

    async def schedule(self, due: Iterable[tuple[str, float]]) -> None:
        """Many at a time."""
        limit = asyncio.Semaphore(_IN_FLIGHT)

        async def one(identity: str, at: float) -> None:
            moment = datetime.fromtimestamp(at, UTC)
            try:
                await self.timers.schedule(Kind.DEFER, "shop", identity, moment, _BODY, dict(_HEADERS))
            finally:
                limit.release()

        async with asyncio.TaskGroup() as group:
            for identity, at in due:
                await limit.acquire()
                group.create_task(one(identity, at))

    async def pending(self) -> int:
        """Schedules that wait."""
        return int((await self.js.api(f"STREAM.INFO.{subjects.TIMERS}"))["state"]["messages"])

    @asynccontextmanager
    async def waking(self, due: dict[str, float]) -> AsyncIterator[Woken]:
        """Hears of everything that fires."""
        woken = Woken(due, {})

        async def heard(msg: Msg) -> None:
            identity = msg.subject.rsplit(".", 1)[1]
            if identity in due:  # else its acknowledgement died with the server, and it comes once more
                woken.late.setdefault(identity, time.time() - due[identity])
            await msg.ack()

        config = nats.js.api.ConsumerConfig(
            filter_subject="wake.>", max_ack_pending=-1, deliver_policy=nats.js.api.DeliverPolicy.ALL
        )
        js = self.js.client.jetstream()
        subscription = await js.subscribe("wake.>", cb=heard, manual_ack=True, config=config, stream=subjects.TIMERS)
        subscription._pending_bytes_limit = -1
        try:
            yield woken
        finally:
            name = (await subscription.consumer_info()).name
            await subscription.unsubscribe()
            await js.delete_consumer(subjects.TIMERS, name)


async def run(count: int, wave: int) -> dict[str, Any]:
    """Everything, one after the other, on one server."""
    server = EmbeddedNats()
    found: dict[str, Any] = {"count": count}
    async with server:
        course = Course(server)
        async with course.connected():
            await course.provision()
            found["memory_before_mb"] = _mb(server)
            begun = time.monotonic()
            await course.schedule(_mass(count))
            found["published_per_second"] = round(count / (time.monotonic() - begun))
            found["memory_mb"] = _mb(server)
            found["late"] = _summary(await _probe(course, "before"))
            found["wave"] = {"count": wave, **_summary(await _wave(course, wave))}
            due = _soon("down", 100, time.time() + 0.5, 0.1)
            await course.schedule(due.items())
        server.kill()
        await server.wait()
        await asyncio.sleep(1.0)  # in which those hundred were due
        begun = time.monotonic()
        await server.start()
        async with course.connected():
            await _until_there(course, count)
            found["restart_seconds"] = round(time.monotonic() - begun, 2)
            async with course.waking(due) as woken:
                await woken.all(within=60)
                found["fired_after_restart_within"] = round(time.monotonic() - begun, 2)
            found["memory_after_restart_mb"] = _mb(server)
            found["late_after_restart"] = _summary(await _probe(course, "after"))
            found["there_after_restart"] = await course.pending()
    return found


def _mass(count: int) -> Iterable[tuple[str, float]]:
    tomorrow, step = time.time() + 86_400, _DAYS * 86_400 / max(1, count)
    return ((f"order-{index}-reminder", tomorrow + index * step) for index in range(count))


def _soon(prefix: str, count: int, first: float, spread: float) -> dict[str, float]:
    # Whole milliseconds, as schedules are written.
    return {f"{prefix}-{index}": math.ceil((first + spread * index / count) * 1000) / 1000 for index in range(count)}


async def _probe(course: Course, prefix: str) -> Sequence[float]:
    due = _soon(prefix, _PROBES, time.time() + _AHEAD, _SPREAD)
    async with course.waking(due) as woken:
        await course.schedule(due.items())
        return await woken.all(within=60)


async def _wave(course: Course, count: int) -> Sequence[float]:
    due = _soon("wave", count, time.time() + 3 + count / 5_000, 0.0)
    async with course.waking(due) as woken:
        await course.schedule(due.items())
        return await woken.all(within=120)


async def _until_there(course: Course, count: int) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        try:
            if await course.pending() >= count:
                return
        except StoreError:
            pass  # it reads its files yet
        await asyncio.sleep(0.05)
    raise TimeoutError("not all of them are there")


def _mb(server: EmbeddedNats) -> int:
    return round(memory(server.pid) / 1e6)


def _summary(late: Sequence[float]) -> dict[str, float]:
    return {
        "p50": round(late[len(late) // 2], 3),
        "p99": round(late[int(len(late) * 0.99)], 3),
        "worst": round(late[-1], 3),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000, help="notifications that wait")
    parser.add_argument("--wave", type=int, default=10_000, help="of these many due at one instant")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = asyncio.run(run(options.count, options.wave))
    if options.json:
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        for name, value in found.items():
            sys.stdout.write(f"{name:<28} {value}\n")
    return 0 if found["there_after_restart"] == options.count else 1


if __name__ == "__main__":
    sys.exit(main())
