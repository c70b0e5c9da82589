"""What Prometheus reads from a router at work: counts of this process, and what waits in NATS."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping

import pytest
from prometheus_client.parser import text_string_to_metric_families

from channels.model import Lane
from channels.testing import PATIENCE, until
from router import subjects, topology
from router.jetstream import JetStream
from router.metrics import Counted
from tests.integration.conftest import Start
from tests.integration.harness import JM, US, Harness

pytestmark = pytest.mark.nats

Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


async def scrape(harness: Harness) -> Samples:
    async with harness.http.get(harness.routers[0].admin_url + "/metrics") as response:
        assert response.status == 200
        families = text_string_to_metric_families(await response.text())
        return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples.get((name, frozenset(labels.items())), 0.0)


async def until_settled(harness: Harness, stream: str, consumer: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while (await harness.js.consumer_info(stream, consumer)).num_ack_pending:
            await asyncio.sleep(0.02)


async def test_a_delivered_notification_is_counted_at_each_stage(harness: Harness) -> None:
    before = await scrape(harness)
    await harness.publish("m-1", US, source="metered", lane="urgent")
    await harness.wait_for("m-1", "delivered", "metered")
    await harness.idle()
    after = await scrape(harness)
    recorded = ("pointsman_callbacks_total", frozenset({("outcome", "recorded")}))
    async with asyncio.timeout(PATIENCE):  # counted when the store has answered, which subscribers may overtake
        while after.get(recorded, 0.0) < before.get(recorded, 0.0) + 2:  # sent, and delivered
            after = await scrape(harness)

    def grown(name: str, **labels: str) -> float:
        return value(after, name, **labels) - value(before, name, **labels)

    assert grown("pointsman_notifications_total", source="metered", lane="urgent", decision="routed") == 1
    assert grown("pointsman_attempts_total", channel="sms", sender="us") == 1
    assert grown("pointsman_provider_seconds_count", channel="sms", sender="us") == 1
    for status in ("accepted", "delivered"):
        labels = {"channel": "sms", "sender": "us", "status": status, "class": ""}
        assert grown("pointsman_outcomes_total", **labels) == 1
    seconds = [
        grown("pointsman_notification_seconds_sum", stage=stage, lane="urgent")
        for stage in ("routed", "handed_over", "delivered")
    ]
    assert 0 < seconds[0] < seconds[1] < seconds[2] < 10
    assert grown("pointsman_callbacks_total", outcome="recorded") >= 1


async def test_what_waits_shows_with_its_age(start: Start) -> None:
    slow = [{"name": "wa", "kind": "whatsapp", "channels": ["whatsapp"], "from": "+14155238886", "rate": 0.001}]
    harness = await start(senders=slow)
    for number in range(3):
        await harness.publish(f"w-{number}", JM, content={"template": {"name": "order_shipped"}})
        await harness.wait_for(f"w-{number}", "routed")
    await until_settled(harness, "NOTIFICATIONS", "intake-normal")
    samples = await scrape(harness)
    assert value(samples, "pointsman_queue_messages", sender="wa", lane="normal") >= 2
    assert value(samples, "pointsman_queue_oldest_seconds", sender="wa", lane="normal") > 0
    assert value(samples, "pointsman_queue_messages", sender="wa", lane="urgent") == 0
    assert value(samples, "pointsman_consumer_pending", stream="NOTIFICATIONS", consumer="intake-normal") == 0
    assert value(samples, "pointsman_stream_messages", stream="NOTIFICATIONS") == 3
    assert value(samples, "pointsman_backlog_read") == 1
    assert value(samples, "pointsman_nats_connected") == 1


async def test_what_waits_shows_behind_a_hundred_senders_and_any_number_of_subscribers(start: Start) -> None:
    """The server lists 256 consumers at a time, by name, and each sender has three."""
    slow = [{"name": "wa", "kind": "whatsapp", "channels": ["whatsapp"], "from": "+14155238886", "rate": 0.001}]
    harness = await start(senders=slow)
    others = [
        (subjects.OUTBOX, topology.dispatching(f"a{number:03}", lane, 30)) for number in range(100) for lane in Lane
    ]
    others += [
        ("DELIVERIES", {"durable_name": f"a{number:03}", "ack_policy": "explicit", "filter_subject": "deliveries.a.>"})
        for number in range(300)
    ]
    js = JetStream(harness.client, timeout=10)
    await js.start()
    for each in others:
        await topology.ensure_consumer(js, *each)
    await js.stop()
    for number in range(3):
        await harness.publish(f"w-{number}", JM, content={"template": {"name": "order_shipped"}})
        await harness.wait_for(f"w-{number}", "routed")
    await until_settled(harness, "NOTIFICATIONS", "intake-normal")
    samples = await scrape(harness)
    assert value(samples, "pointsman_queue_messages", sender="wa", lane="normal") >= 2
    assert value(samples, "pointsman_queue_oldest_seconds", sender="wa", lane="normal") > 0
    shown = [dict(labels)["consumer"] for name, labels in samples if name == "pointsman_consumer_pending"]
    assert {"follow-up", "stuck", "wake", "intake-normal", "dispatch-a099-bulk", "dispatch-wa-bulk"} <= set(shown)
    assert len([name for name in shown if re.fullmatch(r"a\d+", name)]) == 200


async def test_open_dead_letters_are_counted(harness: Harness) -> None:
    await harness.publish_raw("notifications.normal.shop", b"{")
    await until(lambda: bool(harness.dead_letters))

    assert value(await scrape(harness), "pointsman_dead_letters_open") == 1


async def test_metrics_can_be_switched_off(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Counted, "on", True)  # put back in the end: it is of the process
    harness = await start(telemetry={"metrics": False})

    async with harness.http.get(harness.routers[0].admin_url + "/metrics") as response:
        assert (response.status, await response.text()) == (404, "metrics are switched off: telemetry.metrics\n")
