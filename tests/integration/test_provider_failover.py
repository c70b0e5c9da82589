"""Two providers of one channel: what the first cannot take, the second sends, once."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from channels.testing import until
from tests.integration.conftest import Start
from tests.integration.harness import SENDERS, US, Harness

pytestmark = pytest.mark.nats

BACKUP = {"name": "backup", "provider": "memory", "kind": "long-code", "channels": ["sms"], "from": "+12025550199"}
VERSION = 'version = "failover"\n'
ROUTE = """
[[routes]]
name = "text"
plan = [{ channel = "sms", sender = "us" }, { channel = "sms", sender = "backup" }]
"""
#: Of another service, which is content with one provider.
ALONE = """
[[routes]]
name = "alone"
when = { source = "alone" }
plan = { channel = "sms", sender = "us" }
"""
PATIENT = {"attempts": 20, "base": 0.5, "cap": 30}
COUNT = 40


def sections(tmp_path: Path, route: str = ROUTE, retry: Mapping[str, float] | None = None) -> Mapping[str, Any]:
    file = tmp_path / "policy.toml"
    file.write_text(VERSION + route)
    return {"senders": [*SENDERS, {**BACKUP, "rate": 500}], "policy": {"file": str(file)}, "retry": retry or PATIENT}


async def provider_of(harness: Harness, notification_id: str) -> str:
    last = await harness.wait_for_final(notification_id)
    return str(last.body["provider"])


async def test_while_a_provider_is_down_the_other_one_sends(start: Start, tmp_path: Path) -> None:
    harness = await start(**sections(tmp_path))
    await harness.publish("before")
    assert await provider_of(harness, "before") == "twilio"
    port = urlsplit(harness.simulator.base_url).port
    assert port is not None
    await harness.simulator.stop()

    names = [f"n-{n}" for n in range(COUNT)]
    for name in names:
        await harness.publish(name, US)

    # Each would have been tried twenty times with pauses up to half a minute, had it waited for the provider.
    assert set(await asyncio.gather(*(provider_of(harness, name) for name in names))) == {"memory"}
    for name in names:
        end = harness.story(name)[-1].body
        assert (end["status"], end["sender"], end["reason"]) == ("sent", "backup", "no_receipt")
        taken = [event for event in harness.story(name) if event.status in {"accepted", "sent"}]
        assert len(taken) == 1
    avoided = [each.body["error"] for name in names for each in harness.story(name) if each.status == "failed"]
    assert "provider_down" in {error["class"] for error in avoided}
    said = next(error["message"] for error in avoided if error["class"] == "provider_down")
    assert said.startswith("not asked: it has not answered lately")

    await harness.simulator.start(port=port)

    for n in itertools.count():
        await harness.publish(f"after-{n}")
        if await provider_of(harness, f"after-{n}") == "twilio":
            break  # a message now and then finds out whether it is back; the harness's patience is the limit
        await asyncio.sleep(0.2)


async def test_what_has_no_other_provider_waits_and_hides_nothing(start: Start, tmp_path: Path) -> None:
    harness = await start(**sections(tmp_path, ALONE + ROUTE, {"attempts": 50, "cap": 1}))
    port = urlsplit(harness.simulator.base_url).port
    assert port is not None
    await harness.simulator.stop()
    for n in range(COUNT // 2):
        await harness.publish(f"alone-{n}", US, source="alone")
    for n in range(COUNT):
        await harness.publish(f"n-{n}", US)

    assert {await provider_of(harness, f"n-{n}") for n in range(COUNT)} == {"memory"}
    assert not [event for event in harness.deliveries if event.body["source"] == "alone" and event.body["final"]]

    await harness.simulator.start(port=port)

    await until(lambda: len(harness.sent) == COUNT // 2)
