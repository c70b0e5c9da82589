"""What is read into memory at start: all of a large bucket, and without waiting between its pages.

Nobody waits for all of it, and nothing is decided on what it does not hold yet.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import nats
import pytest

from bench.filling import pour
from router import topology
from router.buckets import Bucket, Mirror
from router.embedded import EmbeddedNats
from router.jetstream import JetStream, Stored, StoreUnavailableError
from router.pulling import Puller

pytestmark = pytest.mark.nats

PAGES = 20


async def test_a_mirror_reads_page_after_page_without_waiting_for_a_heartbeat(nats_server: EmbeddedNats) -> None:
    """It asked for the next page only when the server showed a sign of life: 100,000 keys took almost two minutes."""
    keys = PAGES * 2_000
    client = await nats.connect(nats_server.url)
    js = JetStream(client, timeout=10)
    await js.start()
    await js.api("STREAM.CREATE.KV_many", topology.bucket_stream("many").config(1))
    await pour(js, "KV_many", ((f"$KV.many.k{index}", b"v%d" % index, None) for index in range(keys)))
    mirror: Mirror[bytes] = Mirror(js, Bucket(js, "many"), bytes)
    started = time.monotonic()
    async with asyncio.timeout(60):
        await mirror.start()
    seconds = time.monotonic() - started
    assert len(mirror) == keys
    assert mirror.get(f"k{keys - 1}") == b"v%d" % (keys - 1)
    assert seconds < (PAGES - 1) * Puller.HEARTBEAT / 2
    await mirror.stop()
    await js.stop()
    await client.close()


def current(mirror: Mirror[bytes]) -> bool:
    return mirror.is_current  # a call, since what it says changes


@asynccontextmanager
async def a_bucket(url: str, keys: int = 0) -> AsyncIterator[tuple[JetStream, Bucket]]:
    """With so many keys in it."""
    client = await nats.connect(url)
    js = JetStream(client, timeout=10)
    await js.start()
    await js.api("STREAM.CREATE.KV_some", topology.bucket_stream("some").config(1))
    await pour(js, "KV_some", ((f"$KV.some.k{index}", b"v%d" % index, None) for index in range(keys)))
    yield js, Bucket(js, "some")
    await js.stop()
    await client.close()


async def test_while_a_bucket_loads_each_key_can_be_asked_for_by_itself(nats_server: EmbeddedNats) -> None:
    keys = 100_000
    async with a_bucket(nats_server.url, keys) as (js, bucket):
        mirror: Mirror[bytes] = Mirror(js, bucket, bytes)
        await mirror.start(wait=False)
        assert not current(mirror)

        await mirror.refresh(f"k{keys - 1}")
        await mirror.refresh("nobody")

        assert not current(mirror)
        assert mirror.get(f"k{keys - 1}") == b"v%d" % (keys - 1)
        assert mirror.get("nobody") is None
        async with asyncio.timeout(60):
            while not current(mirror):
                await asyncio.sleep(0.01)
        assert len(mirror) == keys
        await mirror.stop()


async def test_a_mirror_whose_consumer_is_gone_knows_it_asks_and_follows_again(nats_server: EmbeddedNats) -> None:
    async with a_bucket(nats_server.url) as (js, bucket):
        mirror: Mirror[bytes] = Mirror(js, bucket, bytes)
        await mirror.start()
        assert current(mirror)
        (consumer,) = (await js.api("CONSUMER.NAMES.KV_some"))["consumers"]
        await js.api(f"CONSUMER.DELETE.KV_some.{consumer}")
        await bucket.put("k", b"new")

        async with asyncio.timeout(30):
            while current(mirror):
                await asyncio.sleep(0.001)
        await mirror.refresh("k")

        assert mirror.get("k") == b"new"
        async with asyncio.timeout(30):
            while not current(mirror):
                await asyncio.sleep(0.01)
        await bucket.put("k", b"newer")
        async with asyncio.timeout(30):
            while mirror.get("k") != b"newer":
                await asyncio.sleep(0.01)
        await mirror.stop()


async def test_a_mirror_that_had_to_begin_twice_follows_once(
    nats_server: EmbeddedNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_bucket(nats_server.url) as (js, bucket):
        await bucket.put("k", b"old")
        last, asked = js.last, 0

        async def unanswered_once(stream: str, subject: str) -> Stored | None:
            nonlocal asked
            asked += 1
            if asked == 1:
                raise StoreUnavailableError("NATS did not answer in time")
            return await last(stream, subject)

        monkeypatch.setattr(js, "last", unanswered_once)
        mirror: Mirror[bytes] = Mirror(js, bucket, bytes)
        await mirror.start()
        for index in range(20):
            revision = await bucket.put("k", f"{index}".encode())
            async with asyncio.timeout(30):
                while (mirror.raw("k") or (0, b""))[0] < revision:
                    await asyncio.sleep(0)
            assert mirror.is_current
        assert asked == 2
        await mirror.stop()


async def test_what_one_writes_another_knows_within_milliseconds(nats_server: EmbeddedNats) -> None:
    async with a_bucket(nats_server.url) as (js, bucket), connected(nats_server.url) as other:
        mirror: Mirror[bytes] = Mirror(js, bucket, bytes)
        await mirror.start()
        writing, took = Bucket(other, "some"), []
        for index in range(50):
            await writing.put(f"k{index}", b"stop")
            written = time.monotonic()
            async with asyncio.timeout(30):
                while mirror.get(f"k{index}") is None:
                    await asyncio.sleep(0)
            took.append(time.monotonic() - written)
        # A loaded machine may stall once; it must not be the rule.
        assert sorted(took)[25] < 0.1
        await mirror.stop()


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[JetStream]:
    """Another process, as far as NATS can tell."""
    client = await nats.connect(url)
    js = JetStream(client, timeout=10)
    await js.start()
    yield js
    await js.stop()
    await client.close()
