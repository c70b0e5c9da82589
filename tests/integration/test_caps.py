"""Frequency caps on a real server: two routers that race, places given back, and policies that get a cap later."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from channels.testing import PATIENCE, until
from channels.twilio.simulator import Faults
from tests.integration.conftest import Start
from tests.integration.harness import US, US_2, US_SENDER, Harness

pytestmark = pytest.mark.nats

ROUTE = '[[routes]]\nname = "all"\nplan = [{ channel = "sms" }]\n'


def policy_file(folder: Path, cap: str = "") -> Path:
    file = folder / "policy.toml"
    guard = f"[[guards.frequency]]\n{cap}\n" if cap else ""
    file.write_text(f'version = "test"\n{guard}{ROUTE}')
    return file


async def start_capped(start: Start, folder: Path, cap: str, **sections: Any) -> Harness:
    return await start(policy={"file": str(policy_file(folder, cap))}, **sections)


async def outcomes(harness: Harness, names: list[str]) -> Counter[str]:
    """What was decided about each of them."""

    def decided() -> list[str]:
        return [harness.story(name)[0].status for name in names if harness.story(name)]

    await until(lambda: len(decided()) == len(names))
    return Counter(decided())


@pytest.mark.parametrize("limit", [1, 3])
async def test_two_routers_together_send_no_more_than_one_would(start: Start, tmp_path: Path, limit: int) -> None:
    cap = f'limit = {limit}\nwindow = 3600\naction = "suppress"'
    harness = await start_capped(start, tmp_path, cap)
    await harness.start_router(policy={"file": str(tmp_path / "policy.toml")})
    names = [f"n-{number}" for number in range(40)]

    await asyncio.gather(*(harness.publish(name, (US, US_2)[index % 2]) for index, name in enumerate(names)))

    assert await outcomes(harness, names) == {"routed": 2 * limit, "suppressed": 40 - 2 * limit}
    await harness.idle()
    assert Counter(message.to for message in harness.sent) == {US: limit, US_2: limit}
    suppressed = next(event for event in harness.deliveries if event.status == "suppressed")
    assert suppressed.body["reason"] == "frequency_cap"


async def test_what_waits_for_the_cap_wakes_and_asks_again(start: Start, tmp_path: Path) -> None:
    harness = await start_capped(start, tmp_path, "limit = 1\nwindow = 3")
    names = ["n-0", "n-1"]
    for name in names:
        await harness.publish(name)
        await harness.wait_for(name, "routed" if name == "n-0" else "deferred")

    for name in names:
        await harness.wait_for(name, "delivered")

    routed = sorted(event.body["occurred_at"] for event in harness.deliveries if event.status == "routed")
    first, second = map(datetime.fromisoformat, routed)
    # It counts from just before its event.
    assert second - first > timedelta(seconds=2.9)


async def test_what_was_never_sent_gives_its_place_back(start: Start, tmp_path: Path) -> None:
    faults = Faults(scripts={US: ("refuse:30007",)})
    harness = await start_capped(start, tmp_path, "limit = 1\nwindow = 3600", faults=faults)
    await harness.publish("refused")
    await harness.wait_for("refused", "exhausted")
    await _given_back(harness)

    await harness.publish("sent")
    await harness.wait_for("sent", "delivered")
    await harness.publish("too-many")

    deferred = await harness.wait_for("too-many", "deferred")
    assert len(deferred.body["decision"]["facts"]["recent"]["transactional"]) == 1


async def test_what_is_taken_back_while_it_waits_for_its_sender_gives_its_place_back(
    start: Start, tmp_path: Path
) -> None:
    slow = [{"name": "us", "kind": "10dlc", "channels": ["sms"], "from": US_SENDER, "rate": 1}]
    harness = await start_capped(start, tmp_path, "limit = 1\nwindow = 3600", senders=slow)
    await harness.publish("filler", US_2, content={"text": "x" * 1500})
    await harness.wait_for("filler", "accepted")
    await harness.publish("taken-back")
    await harness.wait_for("taken-back", "routed")

    request = {"source": "shop", "id": "taken-back"}
    await harness.client.request("pointsman.cancel", json.dumps(request).encode(), timeout=30)

    await harness.wait_for("taken-back", "canceled")
    await _given_back(harness)
    await harness.publish("again")
    await harness.wait_for("again", "routed")


async def test_explaining_counts_what_was_sent_and_not_what_is_asked(start: Start, tmp_path: Path) -> None:
    harness = await start_capped(start, tmp_path, "limit = 1\nwindow = 3600")

    async def explained() -> str:
        request = {"id": "x", "to": US, "content": {"text": "hi"}}
        answer = await harness.client.request("pointsman.explain", json.dumps(request).encode(), timeout=30)
        return str(json.loads(answer.data)["outcome"])

    assert [await explained(), await explained()] == ["routed", "routed"]
    await harness.publish("n-1")
    await harness.wait_for("n-1", "routed")
    assert await explained() == "deferred"


async def test_a_cap_that_comes_into_force_later_counts_from_then_on_and_is_given_back_too(
    start: Start, tmp_path: Path
) -> None:
    faults = Faults(scripts={US: ("ok", "refuse:30007")})
    harness = await start_capped(start, tmp_path, "", faults=faults)
    await harness.publish("before")
    await harness.wait_for("before", "delivered")
    assert (await harness.js.stream_info("KV_recent")).state.last_seq == 0
    before = harness.routers[0].health.notes()["policy"]

    policy_file(tmp_path, "limit = 1\nwindow = 3600")
    await until(lambda: harness.routers[0].health.notes()["policy"] != before)
    await harness.publish("refused")
    await harness.wait_for("refused", "exhausted")
    await _given_back(harness)

    await harness.publish("sent")
    await harness.wait_for("sent", "delivered")


async def _given_back(harness: Harness) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            stored = await harness.js.get_last_msg("KV_recent", "$KV.recent.>")
            if stored.data == b"[]":
                return
            await asyncio.sleep(0.02)


async def test_event_and_explanation_say_the_same_where_a_cap_stops_what_no_route_could_carry(
    start: Start, tmp_path: Path
) -> None:
    harness = await start_capped(start, tmp_path, "limit = 1\nwindow = 3600")
    await harness.publish("n-1")
    await harness.wait_for("n-1", "delivered")
    long = {"text": "x" * 2000}  # no message of SMS is so long

    await harness.publish("n-2", content=long)

    decided = (await harness.wait_for("n-2", "deferred")).body["decision"]
    asked = {"id": "n-3", "to": US, "content": long}
    explained = json.loads(
        (await harness.client.request("pointsman.explain", json.dumps(asked).encode(), timeout=30)).data
    )
    assert (decided["reason"], explained["reason"]) == ("frequency_cap", "frequency_cap")
    said = [
        next(e["because"] for e in each["trace"] if e["rule"] == "guard.frequency") for each in (decided, explained)
    ]
    assert all(each.startswith("the recipient had 1 of these lately") for each in said)
