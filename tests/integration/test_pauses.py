"""Switches: what is paused stops at once, whether it is decided on or waits in the outbox, and goes on afterwards."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from channels.testing import until
from policies.document import Action
from policies.pauses import Kind
from router.clock import utc_now
from router.jetstream import JetStream
from router.switches import Switch, Switches
from tests.integration.conftest import Start
from tests.integration.harness import IN, SENDERS, US, WA_SENDER, WHATSAPP, Harness

pytestmark = pytest.mark.nats

#: One message a second, so that the others wait in the outbox.
SLOW = [{**sender, "rate": 1} for sender in SENDERS]
ROUTES = """
version = "failing-over"
[[routes]]
name = "all"
plan = [{ channel = "whatsapp" }, { channel = "sms" }]
"""


async def throw(harness: Harness, kind: Kind, name: str, **changes: Any) -> Switches:
    """Pause, and wait until every router has heard of it."""
    js = JetStream(harness.client, timeout=10)
    await js.start()
    switches = Switches(js, "")
    await switches.throw(Switch(kind, name, utc_now(), **changes))
    await heard(harness, "~")
    return switches


async def heard(harness: Harness, mark: str) -> None:
    """Until every router's version has this in it; with an empty mark, until it is the document's alone."""

    def versions() -> list[str]:
        return [router.health.notes()["policy"] for router in harness.routers]

    await until(lambda: all((mark in version) if mark else ("~" not in version) for version in versions()))


@pytest.mark.parametrize(
    ("kind", "name", "fields"),
    [
        (Kind.CATEGORY, "marketing", {"category": "marketing"}),
        (Kind.SOURCE, "crm", {"source": "crm"}),
        (Kind.CHANNEL, "sms", {}),
    ],
)
async def test_what_is_paused_is_suppressed_until_it_is_resumed(
    harness: Harness, kind: Kind, name: str, fields: dict[str, Any]
) -> None:
    switches = await throw(harness, kind, name, note="the carrier is down")
    await harness.publish("n-1", **fields)
    await harness.publish("n-2", source="other", category="otp", channel="mms", content={"media": ["https://x.co/a"]})

    source = fields.get("source", "shop")
    event = await harness.wait_for("n-1", "suppressed", source)
    decision = event.body["decision"]
    assert (event.body["final"], event.body["reason"]) == (True, "paused")
    assert decision["policy"].partition("~")[2] != ""
    (said,) = [row["because"] for row in decision["trace"] if "is paused by" in row["because"]]
    assert said.startswith(f"{kind} '{name}' is paused by an operator since ")
    assert said.endswith(": the carrier is down")
    await harness.wait_for("n-2", "accepted", "other")

    assert await switches.lift(kind, name)
    await heard(harness, "")
    await harness.publish("n-3", **fields)
    await harness.wait_for("n-3", "accepted", source)
    assert [event.status for event in harness.story("n-1", source)] == ["suppressed"]


async def test_what_waits_in_the_outbox_is_stopped_too_and_the_rest_of_the_lane_goes_on(start: Start) -> None:
    harness = await start(senders=SLOW)
    for n in range(4):
        await harness.publish(f"offer-{n}", category="marketing")
        await harness.publish(f"order-{n}")
    for n in range(4):
        await harness.wait_for(f"offer-{n}", "routed")
    await throw(harness, Kind.CATEGORY, "marketing")

    for n in range(4):
        await harness.wait_for(f"order-{n}", "accepted")
    last = await harness.wait_for_final("offer-3")
    assert (last.status, last.body["reason"], last.body["attempt"]) == ("suppressed", "paused", 0)
    assert last.body["decision"]["trace"][0]["because"].startswith(
        "while it waited to be sent: category 'marketing' is paused by an operator since"
    )
    assert len([message for message in harness.sent if "offer" in message.body]) < 4


async def test_what_a_pause_defers_waits_outside_of_the_outbox_and_goes_when_it_is_over(start: Start) -> None:
    harness = await start(senders=SLOW)
    for n in range(4):
        await harness.publish(f"n-{n}", category="marketing")
    await harness.wait_for("n-3", "routed")
    switches = await throw(harness, Kind.CATEGORY, "marketing", action=Action.DEFER, again=2)
    event = await harness.wait_for("n-3", "deferred")
    assert (event.body["reason"], event.body["final"]) == ("paused", False)
    await harness.publish("n-4", category="marketing")
    await harness.wait_for("n-4", "deferred")
    assert (await harness.js.stream_info("OUTBOX")).state.messages < 3

    await switches.lift(Kind.CATEGORY, "marketing")

    for n in range(5):
        await harness.wait_for(f"n-{n}", "accepted")
    assert harness.statuses("n-3")[:2] == ["routed", "deferred"]
    assert "routed" in harness.statuses("n-3")[2:]  # the policy was asked again
    assert len(harness.sent) == 5


async def test_a_pause_with_an_end_ends_by_itself(harness: Harness) -> None:
    ends = datetime.now(UTC) + timedelta(seconds=4)
    await throw(harness, Kind.SOURCE, "shop", action=Action.DEFER, until=ends)
    await harness.publish("n-1")
    event = await harness.wait_for("n-1", "deferred")
    assert datetime.fromisoformat(event.body["decision"]["until"]) <= ends

    await harness.wait_for("n-1", "accepted")


async def test_a_message_on_a_paused_channel_is_decided_again(start: Start) -> None:
    harness = await start(senders=SLOW)
    for n in range(3):
        number = f"+91981234567{n}"
        await harness.receive(f"{WHATSAPP}{number}", f"{WHATSAPP}{WA_SENDER}", "hi")
        await harness.publish(f"n-{n}", number)
    await harness.wait_for("n-2", "routed")
    assert harness.story("n-2")[0].body["channel"] == "whatsapp"

    await throw(harness, Kind.CHANNEL, "whatsapp")

    accepted = await harness.wait_for("n-2", "accepted")
    assert accepted.body["channel"] == "sms"
    assert harness.statuses("n-2")[:3] == ["routed", "deferred", "routed"]


async def test_the_next_attempt_is_not_made_on_a_paused_channel(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(ROUTES)
    harness = await start(policy={"file": file}, retry={"base": 3, "cap": 3})
    await harness.receive(f"{WHATSAPP}{IN}", f"{WHATSAPP}{WA_SENDER}", "hi")
    harness.simulator.switch_faults(harness.simulator.faults.model_copy(update={"throttle": 1.0}))
    await harness.publish("n-1", IN)
    failed = await harness.wait_for("n-1", "failed")
    assert failed.body["channel"] == "whatsapp"

    await throw(harness, Kind.CHANNEL, "whatsapp")
    harness.simulator.switch_faults(harness.simulator.faults.model_copy(update={"throttle": 0.0}))

    accepted = await harness.wait_for("n-1", "accepted")
    assert (accepted.body["channel"], accepted.body["attempt"]) == ("sms", 2)
    assert harness.statuses("n-1").count("deferred") == 1


async def test_every_router_hears_a_switch(harness: Harness) -> None:
    await harness.start_router()
    await throw(harness, Kind.CATEGORY, "marketing")
    assert len({router.health.notes()["policy"] for router in harness.routers}) == 1
    await harness.publish("n-1", US, category="marketing")
    await harness.wait_for("n-1", "suppressed")
