"""What is routed is sent at once where nothing waits for its sender; everything else goes through the outbox."""

from __future__ import annotations

from typing import Any

import pytest

from channels.model import Lane, OutboundMessage
from channels.testing import until
from channels.twilio.simulator import Faults
from router.app import INTAKE
from router.dispatch import AT_ONCE
from router.outbox import OutboxItem
from tests.integration.conftest import Start
from tests.integration.harness import US, US_SENDER, Harness

pytestmark = pytest.mark.nats

OTHER_SENDER = "+447400123456"
GB = "+447400654321"
SENT = ["routed", "sending", "accepted"]


def _senders(**fields: Any) -> list[dict[str, Any]]:
    return [{"name": "us", "kind": "10dlc", "channels": ["sms"], "from": US_SENDER, **fields}]


async def _passed_the_outbox(harness: Harness) -> int:
    """How many messages it has ever held."""
    return (await harness.js.stream_info("OUTBOX")).state.last_seq


def test_a_provider_that_does_not_answer_leaves_room_in_intake() -> None:
    assert all(places < INTAKE[lane] for lane, places in AT_ONCE.items())
    assert set(AT_ONCE) == set(INTAKE) == set(Lane)


async def test_with_nothing_waiting_the_outbox_is_passed_by(start: Start) -> None:
    harness = await start(faults=Faults(callbacks_lost=1))
    for index in range(5):
        await harness.publish(f"n-{index}")
        await harness.wait_for(f"n-{index}", "accepted")

    assert await _passed_the_outbox(harness) == 0
    assert all(harness.statuses(f"n-{index}") == SENT for index in range(5))
    assert len(harness.sent) == 5


async def test_one_place_is_enough(start: Start) -> None:
    harness = await start(faults=Faults(callbacks_lost=1), dispatch={"concurrency": 1})
    for index in range(3):
        await harness.publish(f"n-{index}")
        await harness.wait_for(f"n-{index}", "accepted")

    assert await _passed_the_outbox(harness) == 0


async def test_what_comes_faster_than_its_sender_may_go_waits_in_the_outbox(start: Start) -> None:
    harness = await start(faults=Faults(callbacks_lost=1), senders=_senders(rate=10))
    for index in range(8):
        await harness.publish(f"n-{index}")

    await until(lambda: len(harness.sent) == 8)
    await harness.idle()
    assert await _passed_the_outbox(harness) >= 5
    assert all(harness.statuses(f"n-{index}") == SENT for index in range(8))
    assert sorted(message.body for message in harness.sent) == [f"hello n-{index}" for index in range(8)]


async def test_what_hangs_at_one_sender_holds_up_no_other(start: Start) -> None:
    """More than intake takes at a time, so that it would stand still if each kept its place."""
    senders = [
        *_senders(countries=["US"], rate=1000),
        {"name": "uk", "kind": "long-code", "channels": ["sms"], "from": OTHER_SENDER, "countries": ["GB"]},
    ]
    recipients = [f"+1202555{index:04}" for index in range(INTAKE[Lane.NORMAL] + 40)]
    hanging = Faults(callbacks_lost=1, hang_seconds=60, outcomes=dict.fromkeys(recipients, "accept_no_answer"))
    harness = await start(faults=hanging, senders=senders, dispatch={"timeout": 30, "drain": 0.1})
    for index, recipient in enumerate(recipients):
        await harness.publish(f"n-{index}", recipient)

    await harness.publish("other", GB)

    await harness.wait_for("other", "accepted")
    assert any(event.status == "sending" for event in harness.deliveries)
    assert {event.body["notification_id"] for event in harness.deliveries if event.status == "accepted"} == {"other"}


async def test_a_look_at_what_is_being_sent_takes_nothing_of_the_day(start: Start) -> None:
    """Each repetition has the attempt looked after, which was paid for when it began."""
    senders = _senders(daily_messages=4, rate=100)  # one of them is kept for the lane urgent
    harness = await start(faults=Faults(callbacks_lost=1, latency_ms=800), senders=senders)
    await harness.publish("n-1")
    await harness.wait_for("n-1", "sending")
    await harness.publish("n-1")
    await harness.wait_for("n-1", "accepted")

    for number in (2, 3):
        await harness.publish(f"n-{number}")
        await harness.wait_for(f"n-{number}", "accepted")


async def test_an_id_that_comes_again_while_it_is_being_sent_is_sent_once(start: Start) -> None:
    harness = await start(faults=Faults(callbacks_lost=1, latency_ms=500))
    await harness.publish("n-1")
    await harness.wait_for("n-1", "sending")
    for _ in range(3):
        await harness.publish("n-1")

    await harness.wait_for("n-1", "accepted")
    await harness.idle()
    assert harness.statuses("n-1") == SENT
    assert [message.to for message in harness.sent] == [US]


async def test_a_router_that_stops_records_what_it_is_sending(start: Start) -> None:
    harness = await start(faults=Faults(callbacks_lost=1, latency_ms=500))
    await harness.publish("n-1")
    await harness.wait_for("n-1", "sending")

    await harness.stop_router(harness.routers[0])

    await until(lambda: harness.statuses("n-1") == SENT)
    assert await _passed_the_outbox(harness) == 0


async def test_what_cannot_be_put_into_words_does_not_look_as_if_it_might_have_been_sent(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def fails(item: OutboxItem, *_: object) -> OutboundMessage:
        asked.append(item.notification_id)
        raise ValueError("a fault of ours")

    monkeypatch.setattr("router.attempts.outbound_message", fails)
    harness = await start()
    await harness.publish("n-1")

    await until(lambda: len(asked) > 1)  # not given up either
    assert harness.statuses("n-1") == ["routed"]
