"""Whichever router's console is asked: every router is there, and every sender with the one that paces it."""

from __future__ import annotations

import asyncio

import pytest

from channels.testing import PATIENCE
from router.connection import Connection
from router.jetstream import JetStream
from router.leases import Presence
from router.settings import NatsSettings
from tests.integration.harness import Harness

pytestmark = pytest.mark.nats


async def test_routers_tell_what_they_pace_and_decide_by() -> None:
    async with Harness() as harness:
        routers = [await harness.start_router(), await harness.start_router()]
        connection = Connection(NatsSettings(url=harness.server.url))
        await connection.open()
        js = JetStream(connection.client)
        await js.start()
        presence = Presence(js, "senders", "somebody-else", 2.0)
        async with asyncio.timeout(PATIENCE):
            while True:
                signs = await presence.signs()
                paced = sorted(sender for sign in signs.values() for sender in sign["queues"])
                if len(signs) == 2 and paced == ["uk", "us", "wa"]:
                    break
                await asyncio.sleep(0.05)
        assert set(signs) == {router.instance for router in routers}
        for sign in signs.values():
            assert {"version", "policy", "queues", "senders"} <= set(sign)
            for queue in sign["queues"].values():
                assert queue == {"in_flight": 0, "breaker": "closed", "why": "", "rests": 0.0, "left_today": {}}
        await js.stop()
        await connection.close()
