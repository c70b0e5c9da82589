"""Three copies of every stream, one of them behind: what decides anything is never read from that one."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

import nats
import pytest
from nats.aio.client import Client

from bench.nats_cluster import NatsCluster
from bench.processes import free_port
from router import subjects, topology
from router.attribution import Attribution
from router.buckets import Bucket, Mirror
from router.embedded import EmbeddedNats
from router.events import PROVIDER_MESSAGE_ID
from router.jetstream import JetStream, Stored, StoreUnavailableError
from router.leases import Presence
from router.settings import NatsSettings, Settings

pytestmark = [pytest.mark.nats, pytest.mark.slow]

#: How often a copy is left behind at most until one of its answers shows it: it catches up within milliseconds.
_ROUNDS = 20
_WRITTEN = 20  #: events of one story, in each round
_QUESTIONS = 20  #: of each kind, in each round
_STORY = subjects.story("shop", "n-0")


@pytest.fixture
async def servers() -> AsyncIterator[NatsCluster]:
    async with NatsCluster(ports=[free_port() for _ in range(3)]) as servers:
        yield servers


@dataclass(frozen=True)
class Written:
    """What the leaders have."""

    events: list[Stored]
    routers: int
    consent: bytes

    @classmethod
    async def of(cls, js: JetStream) -> Self:
        consent = await Bucket(js, "consent").get("k")
        routers = await js.not_yet_copied("KV_senders", "$KV.senders.router.*", 1)
        events = await js.not_yet_copied(subjects.DELIVERIES, _STORY, 1)
        return cls(events, len(routers), consent.value if consent else b"")


async def _write(js: JetStream, round_: int) -> None:
    """Events of one story, a router that gives signs of life, a recipient's consent."""
    for number in range(_WRITTEN):
        headers = {PROVIDER_MESSAGE_ID: f"SM{round_}x{number}"}
        await js.publish("deliveries.shop.accepted.sms.n-0", f"{round_}x{number}".encode(), headers)
    await Presence(js, "senders", f"r{round_}", 60).beat()
    await Bucket(js, "consent").put("k", str(round_).encode())


async def _check(js: JetStream, written: Written) -> None:
    """One question of each kind."""
    mirror = Mirror(js, Bucket(js, "consent"), bytes)
    named = {each.headers[PROVIDER_MESSAGE_ID] for each in written.events}
    history, last, routers, taken, _ = await asyncio.gather(
        js.history(subjects.DELIVERIES, _STORY),
        js.last_of_each(subjects.DELIVERIES, _STORY),
        Presence(js, "senders", "me", 60).routers(),
        Attribution(js, "attributions").taken({*named, "SM-other"}, datetime.now(UTC) - timedelta(minutes=5)),
        mirror.start(),
    )
    await mirror.stop()
    assert [each.sequence for each in history] == [each.sequence for each in written.events]
    assert [each.sequence for each in last] == [written.events[-1].sequence]
    assert len(routers) == written.routers
    assert taken == named
    assert mirror.get("k") == written.consent


async def _behind(servers: NatsCluster) -> EmbeddedNats:
    """One that leads nothing that is read here."""
    leaders = {await servers.leader(name) for name in (subjects.DELIVERIES, "KV_senders", "KV_consent")}
    followers = sorted(set(servers.nodes) - leaders)
    if not followers:
        pytest.fail("each of the three leads one of these streams: they must be moved first")
    return servers.nodes[followers[0]]


async def _move_together(client: Client, servers: NatsCluster) -> None:
    """All led by the same server, so that another one can stand still without an election."""
    wanted = await servers.leader(subjects.DELIVERIES)
    for stream in ("KV_senders", "KV_consent"):
        async with asyncio.timeout(20):
            while await servers.leader(stream) != wanted:
                await client.request(f"$JS.API.STREAM.LEADER.STEPDOWN.{stream}", b"", timeout=5)
                await asyncio.sleep(0.5)


@asynccontextmanager
async def _connected(urls: list[str], *, replicated: bool) -> AsyncIterator[JetStream]:
    client = await nats.connect(urls)
    js = JetStream(client, timeout=5, replicated=replicated)
    await js.start()
    yield js
    await js.stop()
    await client.close()


async def _round(servers: NatsCluster, client: Client, number: int) -> int:
    """Leave a copy behind, ask it; how many careless answers were too old."""
    await _move_together(client, servers)
    node = await _behind(servers)
    leading = servers.nodes[await servers.leader(subjects.DELIVERIES)]
    async with (
        _connected([leading.url], replicated=True) as leader,
        _connected([node.url], replicated=False) as careless,
        _connected([node.url], replicated=True) as careful,
    ):
        node.signal(signal.SIGSTOP)
        try:
            await _write(leader, number)
            written = await Written.of(leader)
            # Asked before it goes on, some of it is answered before it has caught up.
            careless_answers = asyncio.gather(*(careless.last(subjects.DELIVERIES, _STORY) for _ in range(_QUESTIONS)))
            checks = asyncio.gather(*(_check(careful, written) for _ in range(_QUESTIONS)))
            await asyncio.sleep(0.05)
        finally:
            node.signal(signal.SIGCONT)
        await checks
        return sum(each.sequence < written.events[-1].sequence for each in await careless_answers if each)


@pytest.mark.timeout(120)
async def test_a_copy_that_is_behind_is_not_believed(servers: NatsCluster) -> None:
    async with _connected(servers.urls, replicated=True) as leader:
        await topology.provision(leader, Settings(nats=NatsSettings(url=servers.urls, replicas=3)))
        stale = 0
        for number in range(_ROUNDS):
            with suppress(StoreUnavailableError):  # an election came in between
                stale = await _round(servers, leader.client, number)
            if stale:
                break
    assert stale, "no copy was ever behind: this run shows nothing"


async def _provision(url: str) -> None:
    async with _connected([url], replicated=True) as js:
        await topology.provision(js, Settings(nats=NatsSettings(url=url, replicas=3)))


async def test_routers_that_start_together_make_everything_together(servers: NatsCluster) -> None:
    """What one server has just made another has not heard of; more than once, because it takes chance to see it."""
    for _ in range(3):
        await asyncio.gather(*(_provision(url) for url in servers.urls), *(_provision(url) for url in servers.urls))
        async with _connected(servers.urls, replicated=True) as js:
            assert await topology.missing(js, Settings()) == []
            for plan in topology.streams(Settings()):
                await js.api(f"STREAM.DELETE.{plan.name}")
