"""Floods on NATS: what cannot be read is put aside, and what can be read goes its way meanwhile."""

from __future__ import annotations

import asyncio
import json

import pytest
import structlog
from hypothesis import HealthCheck, given, settings

from tests.integration.harness import Harness
from tests.router.bodies import JSON

pytestmark = pytest.mark.nats

SERVICES = [
    *("explain", "trace", "cancel", "consent.get", "consent.set", "session.get", "session.touch"),
    *("deadletters.list", "deadletters.show", "deadletters.replay", "deadletters.resolve"),
    *("explain.shop", "trace.shop", "cancel.shop"),
]
_UNREADABLE = 10_000
_GOOD = 100


@pytest.mark.slow
async def test_a_flood_of_unreadable_bodies_holds_nobody_up(harness: Harness) -> None:
    large = b'{"id": "' + b"x" * 900_000
    shapes = [
        b"",
        b"\xff\xfe\x00",
        b"[" * 5_000,
        b'{"to": "+12025550123"}',
        b"null",
        b'{"id": 7}',
        b'{"id":"a","id":"a"}',
    ]

    async def flood() -> None:
        for number in range(_UNREADABLE):
            await harness.client.publish("notifications.normal.shop", shapes[number % len(shapes)])
            if number % 500 == 0:
                await harness.publish_raw("notifications.bulk.shop", large)  # and let others publish

    async def good() -> None:
        for number in range(_GOOD):
            await harness.publish(f"n-{number}", f"+1202555{number:04d}")
            await asyncio.sleep(0.01)

    with structlog.testing.capture_logs() as lines:
        await asyncio.gather(flood(), good())
        async with asyncio.timeout(60):  # some five seconds where nothing else runs
            while len(harness.dead_letters) < _UNREADABLE + _UNREADABLE // 500:
                await asyncio.sleep(0.1)
        for number in range(_GOOD):
            assert (await harness.wait_for_final(f"n-{number}")).status == "delivered"
    await harness.idle()
    assert len(harness.sent) == _GOOD
    unreadable = [line for line in lines if line["event"] == "intake.dead_letter" and line["reason"] == "unreadable"]
    assert 0 < len(unreadable) < 50


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_answers_noise_with_an_error_that_says_what_is_wrong(harness: Harness, service: str) -> None:
    for noise in (
        b"",
        b"\xff",
        b"[]",
        b"7",
        b"[" * 10_000,
        b'{"id": {"$ne": null}, "source": "*"}',
        b'{"recipient": []}',
    ):
        reply = await harness.client.request(f"pointsman.{service}", noise, timeout=30)
        if service == "deadletters.list" and noise.startswith(b"{"):
            continue  # it has no field that must be there
        headers = reply.headers or {}
        assert headers["Nats-Service-Error-Code"] in {"400", "404"}, (noise, reply.data)
        assert json.loads(reply.data)["error"]["message"]


async def test_explain_takes_whatever_json_there_is(harness: Harness) -> None:
    examples: list[object] = []

    @settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(JSON)
    def collect(value: object) -> None:
        examples.append(value)

    collect()
    for value in examples:
        body = json.dumps({"notification": value}).encode()
        reply = await harness.client.request("pointsman.explain", body, timeout=30)
        assert (reply.headers or {}).get("Nats-Service-Error-Code") in {None, "400"}, reply.data
