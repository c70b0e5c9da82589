"""Pulling for a long time: what was asked for and has come is forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import nats
import pytest
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig

from channels.testing import until
from router.embedded import EmbeddedNats
from router.jetstream import JetStream
from router.pulling import Puller

pytestmark = pytest.mark.nats

_MANY = 200  #: messages


@pytest.fixture
async def js(nats_server: EmbeddedNats) -> AsyncIterator[JetStream]:
    client = await nats.connect(nats_server.url)
    js = JetStream(client)
    await js.start()
    yield js
    await js.stop()
    await client.close()


@pytest.mark.parametrize("room", [1, 7, 64])
async def test_requests_that_brought_all_they_asked_for_are_not_remembered(js: JetStream, room: int) -> None:
    context = js.client.jetstream()
    await context.add_stream(name="THINGS", subjects=["things"])
    await context.add_consumer("THINGS", ConsumerConfig(durable_name="c", ack_policy=AckPolicy.NONE))
    taken: list[bytes] = []
    most = 0

    def take(msg: Msg) -> None:
        nonlocal most
        taken.append(msg.data)
        most = max(most, puller.requests)
        puller.more_room()

    puller = Puller(js, "THINGS", "c", take, lambda: room)
    await puller.start()
    for number in range(_MANY):
        await js.publish("things", str(number).encode())
    await until(lambda: len(taken) == _MANY)
    await asyncio.sleep(0)
    await puller.stop()

    assert [int(each) for each in taken] == list(range(_MANY))
    assert most <= 4
