"""The Python client against a whole Pointsman."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from router.client import (
    AnswerError,
    ContentModel,
    DeliveryEvent,
    InvalidNotificationError,
    Notification,
    NotPublishedError,
    Pointsman,
    PointsmanError,
)
from router.embedded import EmbeddedNats
from tests.integration.harness import IN, US, US_SENDER, Harness

pytestmark = pytest.mark.nats

HELLO = {"to": US, "content": {"text": "hello"}}


@pytest.fixture
async def shop(harness: Harness) -> AsyncIterator[Pointsman]:
    async with Pointsman.connect(harness.server.url, source="shop", timeout=2) as pointsman:
        yield pointsman


async def until_final(events: AsyncGenerator[DeliveryEvent, None]) -> list[DeliveryEvent]:
    seen = []
    async with asyncio.timeout(20), aclosing(events):
        async for event in events:
            seen.append(event)
            if event.final:
                return seen
    raise AssertionError("the loop ended before the final event")


async def test_what_is_published_comes_back_as_typed_events(shop: Pointsman) -> None:
    published = await shop.publish(Notification(id="a1", to=US, content=ContentModel(text="hello")), lane="urgent")
    assert published.duplicate is False
    events = await until_final(shop.deliveries("orders"))
    assert [event.status for event in events][:3] == ["routed", "sending", "accepted"]
    assert (events[-1].status, events[-1].channel, events[-1].lane) == ("delivered", "sms", "urgent")


async def test_publishing_it_again_is_no_second_notification(shop: Pointsman, harness: Harness) -> None:
    first = await shop.publish({"id": "a2", **HELLO})
    again = await shop.publish({"id": "a2", **HELLO})
    assert (again.sequence, again.duplicate) == (first.sequence, True)
    await harness.wait_for_final("a2")
    assert len(harness.sent) == 1


async def test_other_content_under_a_used_id_reaches_the_router_and_is_refused(
    shop: Pointsman, harness: Harness
) -> None:
    await shop.publish({"id": "a3", **HELLO})
    other = await shop.publish({"id": "a3", "to": US, "content": {"text": "something else"}})
    assert other.duplicate is False
    assert (await harness.wait_for("a3", "rejected")).body["reason"] == "id_reused"


@pytest.mark.parametrize(
    ("change", "field"),
    [({"too": US}, "too"), ({"to": "12"}, "to"), ({"content": {}}, "content"), ({"send_at": "soon"}, "send_at")],
)
async def test_what_breaks_the_contract_is_refused_by_field_before_it_is_published(
    shop: Pointsman, harness: Harness, change: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidNotificationError) as refused:
        await shop.publish({"id": "bad", **HELLO, **change})
    assert refused.value.field == field
    assert (await harness.js.stream_info("NOTIFICATIONS")).state.messages == 0


async def test_times_with_an_offset_go_over_the_wire(shop: Pointsman, harness: Harness) -> None:
    later = datetime.now(UTC) + timedelta(days=1)
    await shop.publish(Notification(id="a4", to=US, content=ContentModel(text="hello"), send_at=later))
    assert (await harness.wait_for("a4", "deferred")).body["decision"]["reason"] == "scheduled"


async def test_an_event_whose_handling_failed_comes_again_and_one_that_was_handled_does_not(shop: Pointsman) -> None:
    await shop.publish({"id": "a5", **HELLO})
    handled: list[str] = []

    async def handle_until_it_fails() -> None:
        async with aclosing(shop.deliveries("orders")) as events:
            async for event in events:
                if event.status == "sending":
                    raise RuntimeError("the service fails")
                handled.append(event.status)

    with pytest.raises(RuntimeError):
        await handle_until_it_fails()
    again = [event.status for event in await until_final(shop.deliveries("orders"))]
    assert handled == ["routed"]
    assert again[0] == "sending"


async def test_an_event_that_takes_longer_than_ack_wait_stays_with_its_reader(shop: Pointsman) -> None:
    await shop.publish({"id": "a6", **HELLO})
    seen = []
    async with asyncio.timeout(20), aclosing(shop.deliveries("slow", ack_wait=1.0)) as events:
        async for event in events:
            seen.append(event.event_id)
            if event.status == "routed":
                await asyncio.sleep(2.5)
            if event.final:
                break
    assert len(seen) == len(set(seen))


async def test_a_durable_name_that_reads_something_else_is_refused(shop: Pointsman) -> None:
    await shop.publish({"id": "a7", **HELLO})
    await until_final(shop.deliveries("orders"))
    with pytest.raises(PointsmanError, match="choose another durable name"):
        await anext(shop.deliveries("orders", status="delivered"))


async def test_one_status_of_one_notification_can_be_read(shop: Pointsman) -> None:
    for name in ("a8", "a9"):
        await shop.publish({"id": name, **HELLO})
    async with (
        asyncio.timeout(20),
        aclosing(shop.deliveries("just", status="accepted", notification_id="a9")) as events,
    ):
        assert (await anext(events)).notification_id == "a9"


async def test_what_recipients_write_is_read_as_typed_events(shop: Pointsman, harness: Harness) -> None:
    await harness.receive(US, US_SENDER, "stop")
    async with asyncio.timeout(20), aclosing(shop.inbound("replies", channel="sms")) as messages:
        message = await anext(messages)
    assert (message.from_, message.text, message.keyword, message.sender) == (US, "stop", "stop", "us")


async def test_it_explains_traces_and_cancels(shop: Pointsman, harness: Harness) -> None:
    decision = await shop.explain({"id": "x", "to": IN, "content": {"text": "hello"}})
    assert (decision.outcome, decision.plan[0].channel, decision.waits) == ("routed", "sms", [])
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    await shop.publish({"id": "b1", **HELLO, "send_at": later})
    await harness.wait_for("b1", "deferred")
    assert [event.status for event in await shop.trace("b1")] == ["deferred"]
    assert (await shop.cancel("b1")).in_time is True
    assert (await shop.cancel("b1")).in_time is True


async def test_a_question_about_an_unknown_id_names_it(shop: Pointsman) -> None:
    with pytest.raises(AnswerError) as refused:
        await shop.trace("nobody")
    assert (refused.value.code, refused.value.field) == (404, "id")


async def test_a_question_on_the_subject_of_one_source_cannot_be_about_another(harness: Harness) -> None:
    reply = await harness.client.request("pointsman.trace.shop", b'{"source": "crm", "id": "a1"}', timeout=30)
    assert b'"field":"source"' in reply.data


async def test_without_a_router_it_says_what_is_missing(nats_server: EmbeddedNats) -> None:
    async with Pointsman.connect(nats_server.url, source="shop", timeout=0.5) as pointsman:
        with pytest.raises(NotPublishedError, match="no stream NOTIFICATIONS"):
            await pointsman.publish({"id": "c1", **HELLO})
        with pytest.raises(AnswerError, match="no router answers"):
            await pointsman.trace("c1")


async def test_a_source_that_is_none_is_refused(nats_server: EmbeddedNats) -> None:
    with pytest.raises(ValueError, match="source"):
        async with Pointsman.connect(nats_server.url, source="The Shop"):
            pass
