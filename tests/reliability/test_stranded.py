"""What JetStream gave up on while no router was listening: found all the same, kept once, replayed to its end."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import nats.errors
import pytest

from channels.testing import until
from router.app import Router
from router.settings import Settings
from tests.integration.harness import US, US_2, Harness, router_settings
from tests.reliability.doomed import SETTINGS
from tests.reliability.operators import ask

pytestmark = pytest.mark.nats

_CONSUMER = "dispatch-us-normal"


async def _routed(harness: Harness) -> None:
    """An attempt waits in the outbox, and no router is there."""
    given = router_settings(harness.server.url, harness.reserve_port(), **SETTINGS)
    router = Router(Settings(**given), harness.environ, frozenset({"intake"}))
    await router.start()
    await harness.watch()
    await harness.publish("n-1", US)
    await harness.wait_for("n-1", "routed")
    await router.stop()


async def _give_up_on_it(harness: Harness) -> None:
    """An operator limits the consumer; whoever takes it dies, twice; and the advisory is heard by nobody."""
    info = await harness.js.consumer_info("OUTBOX", _CONSUMER)
    info.config.max_deliver, info.config.ack_wait = 2, 0.2
    await harness.js.add_consumer("OUTBOX", info.config)
    subscription = await harness.js.pull_subscribe_bind(_CONSUMER, "OUTBOX")
    for _ in range(2):
        (msg,) = await subscription.fetch(1, timeout=3)
        assert msg.subject.endswith(".n-1")
        await asyncio.sleep(0.3)
    with pytest.raises(nats.errors.TimeoutError):
        await subscription.fetch(1, timeout=1)
    await subscription.unsubscribe()


async def test_what_was_given_up_while_no_router_listened_is_kept_once_and_can_be_replayed(
    stack: AsyncExitStack,
) -> None:
    harness = await stack.enter_async_context(Harness())
    await _routed(harness)
    await _give_up_on_it(harness)

    for _ in range(2):
        router = await harness.start_router(**SETTINGS)
        await harness.publish("n-2", US_2)
        await harness.wait_for("n-2", "delivered")
        await until(lambda: len(harness.dead_letters) == 1)
        assert harness.statuses("n-1") == ["routed"]
        await harness.stop_router(router)
    await harness.start_router(**SETTINGS)

    letter = harness.dead_letters[0].body
    assert (letter["stage"], letter["reason"], letter["notification_id"]) == ("stranded", "stranded", "n-1")
    assert letter["headers"]["Pointsman-Consumer"] == _CONSUMER
    assert (await ask(harness, "replay", {"id": letter["dead_letter_id"]}))["done"] == "put back into its queue"
    assert (await harness.wait_for("n-1", "delivered")).body["final"]
    assert sorted(message.to for message in harness.sent) == [US, US_2]
    assert len(harness.dead_letters) == 1
