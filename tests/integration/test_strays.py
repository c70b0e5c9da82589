"""What is published outside of the lanes, when handling it fails: it goes to a person, and those behind it go on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import cast

import nats
import pytest

from channels.testing import PATIENCE
from router import subjects, topology
from router.clock import utc_now
from router.deadletters import DeadLetters
from router.embedded import EmbeddedNats
from router.intake import Intake, Received
from router.jetstream import JetStream
from router.settings import NatsSettings, Settings
from router.strays import Strays

pytestmark = pytest.mark.nats


class BrokenIntake:
    """Has a fault of which nobody knows yet."""

    async def take(self, received: Received) -> None:
        raise ValueError(received.subject)


@pytest.fixture
async def js(nats_server: EmbeddedNats) -> AsyncIterator[JetStream]:
    client = await nats.connect(nats_server.url)
    js = JetStream(client)
    await js.start()
    await topology.provision(js, Settings(nats=NatsSettings(url=[nats_server.url])))
    yield js
    await js.stop()
    await client.close()


async def _unsettled(js: JetStream) -> int:
    info = await js.api(f"CONSUMER.INFO.{subjects.NOTIFICATIONS}.{topology.STRAYS}")
    return int(info["num_pending"] + info["num_ack_pending"])


async def test_a_fault_sends_a_stray_to_a_person_and_stops_none_behind_it(js: JetStream) -> None:
    settings = Settings()
    dead_letters = DeadLetters(js, utc_now, settings.streams.bucket_prefix + topology.DEADLETTERS)
    strays = Strays(js, cast("Intake", BrokenIntake()), dead_letters, 30)
    await strays.start()
    for number in range(3):
        await js.publish("notifications.astray", str(number).encode())
    async with asyncio.timeout(PATIENCE):
        while len(await js.history(subjects.DEADLETTERS, "deadletters.>")) < 3:
            await asyncio.sleep(0.05)
    await js.publish("notifications.normal.shop", b"on its lane")

    async with asyncio.timeout(PATIENCE):
        while await _unsettled(js):
            await asyncio.sleep(0.05)
    await strays.pause()
    kept = await js.history(subjects.DEADLETTERS, "deadletters.>")
    assert {json.loads(each.body)["reason"] for each in kept} == {"internal"}
    assert {json.loads(each.body)["body"] for each in kept} == {"0", "1", "2"}
