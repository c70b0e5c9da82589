"""The two listeners: who is let in, what is refused and how, and what operators see."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from channels.testing import PATIENCE, until
from channels.twilio.simulator import Faults
from policies.document import shipped
from tests.integration.conftest import Start
from tests.integration.harness import US, Harness

pytestmark = pytest.mark.nats


@pytest.mark.parametrize("path", ["status", "inbound"])
@pytest.mark.parametrize("signature", ["", "bm90IGEgc2lnbmF0dXJl"])
async def test_what_is_not_signed_is_refused(harness: Harness, path: str, signature: str) -> None:
    status, body = await harness.post(f"{harness.public_url}/twilio/{path}", {"MessageSid": "SM1"}, signature)

    assert status == 403
    assert "X-Twilio-Signature" in body


async def test_a_signature_over_another_address_is_refused(harness: Harness) -> None:
    signed_elsewhere = f"http://localhost:{harness.port}/twilio/status"

    status, _ = await harness.post(signed_elsewhere, {"MessageSid": "SM1", "MessageStatus": "sent"})

    assert status == 403


async def test_a_signed_request_without_its_fields_is_told_which_is_missing(harness: Harness) -> None:
    status, body = await harness.post(f"{harness.public_url}/twilio/status", {"MessageSid": "SM1"})

    assert (status, body) == (400, "MessageStatus is missing\n")


async def test_a_body_above_the_limit_is_refused_whether_its_length_was_declared_or_not(start: Start) -> None:
    harness = await start(http={"max_body": 2048})
    url = f"{harness.public_url}/twilio/inbound"

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b"x" * 1024

    for body in (b"x" * 5000, chunks()):
        async with harness.http.post(url, data=body) as response:
            assert response.status == 413


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/twilio/status", 405),
        ("PUT", "/twilio/inbound", 405),
        ("POST", "/twilio", 404),
        ("POST", "/twilio/status/x", 404),
        ("POST", "/other/status", 404),
        ("GET", "/healthz", 404),
    ],
)
async def test_nothing_else_is_served_in_public(harness: Harness, method: str, path: str, status: int) -> None:
    async with harness.http.request(method, harness.public_url + path) as response:
        assert response.status == status


async def _admin(harness: Harness, path: str) -> tuple[int, dict[str, object]]:
    async with harness.http.get(harness.routers[0].admin_url + path) as response:
        return response.status, json.loads(await response.text())


async def test_health_and_readiness(harness: Harness) -> None:
    assert await _admin(harness, "/healthz") == (200, {"status": "alive"})
    notes = {"policy": shipped().version}
    assert await _admin(harness, "/readyz") == (200, {"status": "ready", "problems": [], "notes": notes})

    await harness.js.delete_stream("KV_reach")

    assert await _admin(harness, "/readyz") == (
        503,
        {"status": "not ready", "problems": ["stream KV_reach is missing"], "notes": notes},
    )


async def test_without_nats_callbacks_are_answered_503_and_recorded_when_they_come_again(start: Start) -> None:
    harness = await start(faults=Faults(callbacks_lost=1))
    await harness.publish("n-1")
    await harness.wait_for("n-1", "accepted")
    message = await harness.sent_to(US)
    await harness.idle()

    harness.server.kill()
    await harness.server.wait()
    assert await harness.report(message, "delivered") == 503
    assert (await harness.post(f"{harness.public_url}/twilio/inbound", _inbound()))[0] == 503
    status, ready = await _admin(harness, "/readyz")
    assert (status, ready["problems"]) == (503, ["not connected to NATS"])
    assert (await _admin(harness, "/healthz"))[0] == 200

    await harness.server.start()
    await until(lambda: harness.client.is_connected)
    await harness.watch_again()
    await _until_ready(harness)
    assert await harness.report(message, "delivered") == 204
    assert (await harness.post(f"{harness.public_url}/twilio/inbound", _inbound()))[0] == 200
    await harness.publish("n-2")
    await harness.wait_for("n-1", "delivered")
    await harness.wait_for("n-2", "accepted")


async def _until_ready(harness: Harness) -> None:
    async with asyncio.timeout(PATIENCE):
        while (await _admin(harness, "/readyz"))[0] != 200:
            await asyncio.sleep(0.02)


def _inbound() -> dict[str, str]:
    return {"MessageSid": "SM" + "b" * 32, "From": US, "To": "+15017122661", "Body": "hi"}
