"""Which of the provider's ids are taken: asked of a log that grows, without holding all of it for ever."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import nats
import pytest

from router.attribution import Attribution
from router.embedded import EmbeddedNats
from router.events import PROVIDER_MESSAGE_ID
from router.jetstream import JetStream

pytestmark = pytest.mark.nats


@pytest.fixture
async def js() -> AsyncIterator[JetStream]:
    """A log with the ids SM0 to SM9."""
    async with EmbeddedNats() as server:
        client = await nats.connect(server.url)
        js = JetStream(client)
        await js.start()
        await client.jetstream().add_stream(name="DELIVERIES", subjects=["deliveries.>"])
        for number in range(10):
            await js.publish(f"deliveries.shop.accepted.sms.n-{number}", b"", {PROVIDER_MESSAGE_ID: f"SM{number}"})
        yield js
        await js.stop()
        await client.close()


async def test_what_is_asked_about_is_found_and_what_is_old_is_forgotten(js: JetStream) -> None:
    attribution = Attribution(js, "attributions")
    now = datetime.now(UTC)

    assert await attribution.taken(["SM3", "SM9", "SM10"], now - timedelta(minutes=1)) == {"SM3", "SM9"}
    await js.publish("deliveries.shop.accepted.sms.n-10", b"", {PROVIDER_MESSAGE_ID: "SM10"})
    assert await attribution.taken(["SM3", "SM10"], now + timedelta(minutes=10)) == {"SM3", "SM10"}
    assert len(attribution) == 11

    assert await attribution.taken(["SM3"], now + timedelta(hours=1)) == frozenset()
    assert len(attribution) == 0
    assert await attribution.taken(["SM3", "SM4"], now - timedelta(minutes=1)) == {"SM3", "SM4"}  # read once more
