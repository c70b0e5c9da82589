"""What is read into memory at start: all of a large bucket, and without waiting between its pages."""

from __future__ import annotations

import asyncio
import time

import nats
import pytest

from bench.filling import pour
from router import topology
from router.buckets import Bucket, Mirror
from router.embedded import EmbeddedNats
from router.jetstream import JetStream
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
