"""Failover: by silence, by class of error and by status. A late success is told, and stops the plan."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from channels.testing import until
from channels.twilio.simulator import Delays, Faults, TwilioMessage
from tests.integration.conftest import Start
from tests.integration.harness import IN, UK_SENDER, Harness

pytestmark = pytest.mark.nats

TEMPLATE = {"template": {"name": "order_shipped", "variables": {"1": "Ada"}}}
CONTENT = {"text": "hi", **TEMPLATE}
#: Seconds; longer than an answer of the provider's takes here.
WITHIN = 0.5
ROUTES = """
version = "silence"
[[routes]]
name = "all"
plan = [{{ channel = "whatsapp", form = "template", {first} }}, {{ channel = "sms", form = "text" }}]
"""
#: The provider takes messages and keeps them for as long as the test runs.
KEPT = {"delays": Delays(queued=60, sent=60, jitter=0)}
QUIET = Faults(callbacks_lost=1)
GIVEN_UP = ["routed", "sending", "accepted", "failed", "sending", "accepted"]


def policy(folder: Path, first: str = f"within = {WITHIN}") -> dict[str, Path]:
    file = folder / "policy.toml"
    file.write_text(ROUTES.format(first=first))
    return {"file": file}


async def given_up(start: Start, folder: Path, **simulator: Any) -> tuple[Harness, Sequence[TwilioMessage]]:
    """Nothing was heard of the WhatsApp message, and the provider took the SMS."""
    harness = await start(faults=QUIET, simulator=simulator or None, policy=policy(folder))
    await harness.publish("n-1", IN, content=CONTENT)
    await until(lambda: len(harness.sent) == 2)
    await until(lambda: harness.statuses("n-1") == GIVEN_UP)
    return harness, harness.sent


async def test_when_nothing_is_heard_in_time_the_next_step_runs(start: Start, tmp_path: Path) -> None:
    harness, (first, second) = await given_up(start, tmp_path)

    story = harness.story("n-1")
    assert [event.body["attempt"] for event in story] == [0, 1, 1, 1, 2, 2]
    assert [event.body["channel"] for event in story] == ["whatsapp"] * 4 + ["sms"] * 2
    failed = story[3].body
    assert (failed["reason"], failed["final"], failed["error"], failed["late"]) == ("silent", False, None, False)
    assert failed["provider_message_id"] == first.sid
    assert _seconds(story[2].body, failed) >= WITHIN
    await harness.report(second, "delivered")
    end = await harness.wait_for_final("n-1")
    assert (end.body["attempt"], end.body["late"]) == (2, False)


async def test_a_delivery_in_time_leaves_the_next_step_alone(start: Start, tmp_path: Path) -> None:
    harness = await start(policy=policy(tmp_path, "within = 3"))
    await harness.publish("n-1", IN, content=CONTENT)
    await harness.wait_for("n-1", "read")

    await _woken(harness)
    assert len(harness.sent) == 1
    assert "failed" not in harness.statuses("n-1")


async def test_the_earlier_message_is_taken_back_where_the_provider_still_has_it(start: Start, tmp_path: Path) -> None:
    _, (first, second) = await given_up(start, tmp_path, **KEPT)

    assert (first.status, second.status) == ("canceled", "queued")


async def test_what_the_provider_says_of_a_message_taken_back_does_not_end_the_story(
    start: Start, tmp_path: Path
) -> None:
    harness, (first, second) = await given_up(start, tmp_path, **KEPT)

    for late in ("sent", "canceled", "undelivered"):
        assert await harness.report(first, late) == 204

    await harness.report(second, "delivered")
    assert (await harness.wait_for_final("n-1")).body["attempt"] == 2
    assert harness.statuses("n-1") == [*GIVEN_UP, "delivered"]


async def test_a_late_delivery_is_told_and_calls_the_next_message_off(start: Start, tmp_path: Path) -> None:
    harness, (first, second) = await given_up(start, tmp_path, **KEPT)

    await harness.report(first, "delivered")

    await harness.wait_for("n-1", "canceled")
    late, canceled = harness.story("n-1")[-2:]
    assert (late.status, late.body["attempt"], late.body["late"], late.body["final"]) == ("delivered", 1, True, True)
    assert (canceled.body["attempt"], canceled.body["reason"], canceled.body["final"]) == (2, "canceled", False)
    assert second.status == "canceled"


async def test_where_both_arrive_both_are_told(start: Start, tmp_path: Path) -> None:
    harness, (first, second) = await given_up(start, tmp_path)

    await harness.report(second, "delivered")
    await harness.report(first, "delivered")
    await harness.report(first, "read")

    await harness.wait_for("n-1", "read")
    told = [(e.status, e.body["attempt"], e.body["late"], e.body["final"]) for e in harness.story("n-1")[-3:]]
    assert told == [("delivered", 2, False, True), ("delivered", 1, True, False), ("read", 1, True, False)]


async def test_a_late_delivery_before_the_next_message_left_stops_it(start: Start, tmp_path: Path) -> None:
    slow = [{"name": "uk", "kind": "long-code", "channels": ["sms"], "from": UK_SENDER, "rate": 0.2}]
    whatsapp = [{"name": "wa", "kind": "whatsapp", "channels": ["whatsapp"], "from": "+14155238886", "rate": 50}]
    harness = await start(faults=QUIET, policy=policy(tmp_path), senders=slow + whatsapp)
    await harness.publish("busy", "+447400123456", channel="sms")
    await harness.publish("n-1", IN, content=CONTENT)
    await harness.wait_for("n-1", "failed")

    (first,) = [message for message in harness.sent if message.to.endswith(IN)]
    await harness.report(first, "delivered")

    await until(lambda: harness.statuses("n-1")[-1] == "delivered")
    await harness.idle()
    assert [message.to for message in harness.sent if message.to.endswith(IN)] == [first.to]
    assert harness.story("n-1")[-1].body["late"]


async def test_a_delivery_that_nobody_called_back_about_is_found_by_asking(start: Start, tmp_path: Path) -> None:
    harness = await start(faults=QUIET, policy=policy(tmp_path), tracking={"stuck_after": 1})
    await harness.publish("n-1", IN, content=CONTENT)

    await until(lambda: [e.body["attempt"] for e in harness.story("n-1") if e.status in ("delivered", "read")] != [])
    await until(lambda: {e.body["attempt"] for e in harness.story("n-1") if e.body["late"]} == {1})


async def test_a_stop_that_came_meanwhile_stops_the_next_step(start: Start, tmp_path: Path) -> None:
    harness = await start(faults=QUIET, policy=policy(tmp_path, "within = 3"))
    await harness.publish("n-1", IN, content=CONTENT)
    await harness.wait_for("n-1", "accepted")

    await harness.receive(IN, UK_SENDER, "STOP")

    end = await harness.wait_for_final("n-1")
    assert (end.status, end.body["reason"]) == ("suppressed", "opted_out")
    assert len(harness.sent) == 1


async def test_past_its_expiry_nothing_is_given_up(start: Start, tmp_path: Path) -> None:
    harness = await start(faults=QUIET, policy=policy(tmp_path, "within = 4.5"))
    soon = datetime.now(UTC) + timedelta(seconds=4)
    await harness.publish("n-1", IN, content=CONTENT, expires_at=soon.isoformat())
    await harness.wait_for("n-1", "accepted")

    await _woken(harness)
    assert harness.statuses("n-1") == GIVEN_UP[:3]


async def test_an_unknown_outcome_is_resolved_first_and_waited_for_afterwards(start: Start, tmp_path: Path) -> None:
    faults = Faults(callbacks_lost=1, scripts={IN: ("accept_drop",)})
    harness = await start(faults=faults, policy=policy(tmp_path), reconcile={"wait": 1, "settle": 3})
    await harness.publish("n-1", IN, content=CONTENT)

    await until(lambda: len(harness.sent) == 2)
    await until(lambda: len(harness.statuses("n-1")) == len(GIVEN_UP) + 1)
    assert harness.statuses("n-1") == ["routed", "sending", "unknown", *GIVEN_UP[2:]]


async def test_taking_back_what_was_given_up_says_whether_the_earlier_message_may_arrive(
    start: Start, tmp_path: Path
) -> None:
    for kept, in_time in ((KEPT, True), ({}, False)):
        harness = await start(faults=QUIET, simulator=kept, policy=policy(tmp_path), senders=[_whatsapp(), _slow()])
        await harness.publish("busy", "+447400123456", channel="sms")
        await harness.publish("n-1", IN, content=CONTENT)
        await harness.wait_for("n-1", "failed")

        request = b'{"source": "shop", "id": "n-1"}'
        for _ in range(2):
            reply = await harness.client.request("pointsman.cancel", request, timeout=30)
            assert json.loads(reply.data)["canceled"] is in_time

        await harness.wait_for("n-1", "canceled")
        assert harness.statuses("n-1")[-1] == "canceled"


@pytest.mark.parametrize(
    ("word", "on", "moves_on"),
    [
        ("refuse:63024", '"provider_rejected"', True),
        ("refuse:63024", '"recipient_unreachable"', True),
        ("refuse:63024", '"provider_unavailable"', False),
        ("failed:63024", '"recipient_unreachable"', True),
        ("failed:63024", '"failed"', True),
        ("failed:63024", '"undelivered"', False),
        ("undelivered:63024", '"undelivered"', True),
        ("undelivered:63024", '"failed"', False),
        ("undelivered:63033", '"undelivered"', False),  # the recipient opted out: no other step, whatever `on` says
    ],
)
async def test_the_next_step_runs_by_class_and_by_status_as_the_step_says(
    start: Start, tmp_path: Path, word: str, on: str, moves_on: bool
) -> None:
    harness = await start(faults=Faults(scripts={IN: (word,)}), policy=policy(tmp_path, f"on = {on}"))
    await harness.publish("n-1", IN, content=CONTENT)

    end = await harness.wait_for_final("n-1")
    assert (end.status, end.body["attempt"]) == (("delivered", 2) if moves_on else ("exhausted", 1))


def _slow() -> dict[str, Any]:
    return {"name": "uk", "kind": "long-code", "channels": ["sms"], "from": UK_SENDER, "rate": 0.1}


def _whatsapp() -> dict[str, Any]:
    return {"name": "wa", "kind": "whatsapp", "channels": ["whatsapp"], "from": "+14155238886", "rate": 50}


async def _woken(harness: Harness) -> None:
    """Until the timer has fired and was seen to: none is set any more."""

    while (await harness.js.stream_info("TIMERS")).state.messages:
        await asyncio.sleep(0.05)
    await harness.idle()


def _seconds(earlier: dict[str, Any], later: dict[str, Any]) -> float:
    then, now = (datetime.fromisoformat(event["recorded_at"]) for event in (earlier, later))
    return (now - then).total_seconds()
