"""A router begins at once, however much is known of recipients, and is wrong about none of them meanwhile."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bench.filling import connected, fill_opt_outs, fill_sessions
from tests.integration.conftest import Start
from tests.integration.harness import IN, US, US_2, WA_SENDER, WHATSAPP, Harness

pytestmark = pytest.mark.nats

MANY = 60_000


async def ask(harness: Harness, service: str, **request: Any) -> dict[str, Any]:
    answer = await harness.client.request(f"pointsman.{service}", json.dumps(request).encode(), timeout=10)
    return dict(json.loads(answer.data))


async def test_what_was_published_before_the_start_is_decided_on_all_that_is_known(start: Start) -> None:
    harness = await start()
    async with connected([harness.server.url]) as filling:
        await fill_sessions(filling, "wa", MANY)
        await fill_opt_outs(filling, MANY)
    # Stored last, so loaded last.
    await harness.receive(WHATSAPP + IN, WHATSAPP + WA_SENDER, "hello")
    await ask(harness, "consent.set", recipient=US, state="opted_out", proof="a test")
    await harness.stop_router(harness.routers[0])
    for name, to in (("stopped", US), ("free", US_2), ("open", IN)):
        await harness.publish(name, to)

    await harness.start_router()  # how fast that is, bench.startup measures

    assert (await harness.wait_for_final("stopped")).body["reason"] == "opted_out"
    assert (await harness.wait_for("open", "routed")).body["form"] == "text"
    assert (await harness.wait_for("open", "routed")).body["channel"] == "whatsapp"
    await harness.wait_for("free", "delivered")
    assert (await ask(harness, "consent.get", recipient=US))["consent"][0]["state"] == "opted_out"
