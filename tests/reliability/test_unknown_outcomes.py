"""Requests without a readable answer: each ends with exactly one message, whatever the provider did with it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from channels.testing import until
from channels.twilio.simulator import Faults
from router.app import Router
from router.crashpoints import CrashPoint
from router.settings import Settings
from tests.integration.harness import SENDERS, US, Event, Harness, router_settings
from tests.reliability.doomed import SETTINGS, DoomedRouter

pytestmark = pytest.mark.nats

#: What the provider does with a request, and whether the message is accepted by it.
TAKEN = ("accept_no_answer", "accept_drop", "error_after")
NOT_TAKEN = ("error_before", "drop_before")
NUMBERS = {word: f"+1202555010{index}" for index, word in enumerate((*TAKEN, *NOT_TAKEN))}
SCRIPTS: Mapping[str, tuple[str, ...]] = {number: (word,) for word, number in NUMBERS.items()}

UNKNOWN = ["routed", "sending", "unknown"]
RESOLVED = [*UNKNOWN, "accepted", "sent", "delivered"]
SENT_AGAIN = [*UNKNOWN, "failed", "sending", "accepted", "delivered"]


async def _start(stack: AsyncExitStack, faults: Faults, **sections: Any) -> Harness:
    harness = await stack.enter_async_context(Harness(faults=faults))
    await harness.start_router(**{**SETTINGS, **sections})
    return harness


async def _story_of(harness: Harness, notification_id: str) -> list[Event]:
    """The whole of it, once it is final."""
    async with asyncio.timeout(20):
        while not any(event.body["final"] for event in harness.story(notification_id)):
            await asyncio.sleep(0.02)
    return harness.story(notification_id)


async def test_the_callback_of_the_attempt_itself_resolves_it(stack: AsyncExitStack) -> None:
    faults = Faults(scripts=SCRIPTS, hang_seconds=5, callbacks_lost=1)
    harness = await _start(stack, faults, reconcile={"wait": 60, "settle": 120})
    for word in TAKEN:
        await harness.publish(word, NUMBERS[word])

    for word in TAKEN:
        await harness.wait_for(word, "unknown")
        message = await harness.sent_to(NUMBERS[word])
        for status in ("sent", "delivered", "sent"):
            assert await harness.report(message, status) == 204
        story = await _story_of(harness, word)
        assert [event.status for event in story] == RESOLVED, word
        assert (story[3].body["reason"], story[3].body["provider_message_id"]) == ("resolved_by_callback", message.sid)
    await harness.idle()
    assert len(harness.sent) == len(TAKEN)


async def test_the_list_resolves_what_was_taken_when_every_callback_is_lost_and_the_rest_is_sent_again(
    stack: AsyncExitStack,
) -> None:
    faults = Faults(scripts=SCRIPTS, hang_seconds=5, callbacks_lost=1)
    harness = await _start(stack, faults, tracking={"stuck_after": 1})
    for word, number in NUMBERS.items():
        await harness.publish(word, number)

    for word in TAKEN:
        story = await _story_of(harness, word)
        assert [event.status for event in story] == [*UNKNOWN, "accepted", "delivered"], word
        message = await harness.sent_to(NUMBERS[word])
        assert (story[3].body["reason"], story[3].body["provider_message_id"]) == ("resolved_by_search", message.sid)
    for word in NOT_TAKEN:
        story = await _story_of(harness, word)
        assert [event.status for event in story] == SENT_AGAIN, word
        assert story[3].body["reason"] == "not_found"
    await harness.idle()
    assert sorted(message.to for message in harness.sent) == sorted(NUMBERS.values())


@pytest.mark.parametrize(
    ("script", "taken_at_first"),
    [
        pytest.param(("accept_drop", "accept_drop"), 2, id="both taken"),
        pytest.param(("accept_drop", "drop_before"), 1, id="one taken and one not"),
        pytest.param(("drop_before", "drop_before"), 0, id="neither taken"),
    ],
)
async def test_two_equal_texts_to_one_number_become_two_messages(
    stack: AsyncExitStack, script: tuple[str, ...], taken_at_first: int
) -> None:
    faults = Faults(scripts={US: script}, callbacks_lost=1)
    harness = await _start(stack, faults)
    for notification_id in ("n-1", "n-2"):
        await harness.publish(notification_id, US, content={"text": "the same words"})

    accepted = [await harness.wait_for(notification_id, "accepted") for notification_id in ("n-1", "n-2")]

    await harness.idle()
    assert len(harness.sent) == 2
    # Each message is counted for one of them: nobody can tell which, and nobody needs to.
    assert {event.body["provider_message_id"] for event in accepted} == {message.sid for message in harness.sent}
    by_search = [event for event in accepted if event.body["reason"] == "resolved_by_search"]
    assert len(by_search) == taken_at_first


async def test_failover_goes_on_to_the_next_step_of_the_plan(stack: AsyncExitStack) -> None:
    number = "+919812345678"
    faults = Faults(scripts={f"whatsapp:{number}": ("drop_before",)})
    harness = await _start(stack, faults)
    template = {"name": "order_shipped", "variables": {"1": "Ada"}}
    await harness.publish("n-1", number, content={"text": "hi", "template": template}, on_unknown="failover")

    story = await _story_of(harness, "n-1")

    assert [(event.status, event.body["channel"]) for event in story] == [
        ("routed", "whatsapp"),
        ("sending", "whatsapp"),
        ("unknown", "whatsapp"),
        ("failed", "whatsapp"),
        ("sending", "sms"),
        ("accepted", "sms"),
        ("sent", "sms"),
        ("delivered", "sms"),
    ]
    assert [message.to for message in harness.sent] == [number]


async def test_a_late_callback_takes_its_message_back_from_the_equal_text_that_a_search_gave_it_to(
    stack: AsyncExitStack,
) -> None:
    faults = Faults(scripts={US: ("drop_before", "accept_drop")}, callbacks_lost=1)
    harness = await _start(stack, faults, reconcile={"wait": 2, "settle": 6})
    for notification_id in ("n-1", "n-2"):
        await harness.publish(notification_id, US, content={"text": "the same words"})
        await harness.wait_for(notification_id, "unknown")
    # The provider took the second one only, and the search for the first one finds it.
    guessed = await harness.wait_for("n-1", "accepted")
    (message,) = harness.sent
    assert (guessed.body["reason"], guessed.body["provider_message_id"]) == ("resolved_by_search", message.sid)

    for status in ("sent", "delivered"):
        assert await harness.report(message, status) == 204

    assert [event.status for event in await _story_of(harness, "n-2")] == RESOLVED
    assert harness.story("n-2")[-1].body["provider_message_id"] == message.sid
    await until(lambda: len(harness.sent) == 2)
    assert await harness.report(harness.sent[1], "delivered") == 204
    story = await _story_of(harness, "n-1")
    assert [event.status for event in story] == [*UNKNOWN, "accepted", "unknown", *SENT_AGAIN[3:]]
    assert story[4].body["reason"] == "misattributed"
    assert story[-1].body["provider_message_id"] == harness.sent[1].sid
    await harness.idle()
    assert len(harness.sent) == 2


async def test_a_provider_that_answers_no_search_holds_up_nothing_that_is_due(stack: AsyncExitStack) -> None:
    dispatch = {"ack_wait": 30, "timeout": 6, "lease": 6, "drain": 1}  # each search ends after the time-out, too
    sections = {"dispatch": dispatch, "reconcile": {"wait": 1, "settle": 120}}
    harness = await _start(stack, Faults(latency_ms=60_000), **sections)
    numbers = [f"{prefix}{index:04d}" for prefix in ("+1202555", "+44770090") for index in range(70)]
    for number in numbers:
        await harness.publish(f"u-{number[1:]}", number)
    # More than are searched for at a time. On a busy machine the breaker opens before all of them were tried.
    async with asyncio.timeout(45):
        while sum(event.status == "unknown" for event in harness.deliveries) < 80:
            await asyncio.sleep(0.05)

    due = datetime.now(UTC) + timedelta(seconds=1.5)  # by then all of those are being searched for
    await harness.publish("due", "+12025559999", send_at=due.isoformat())

    routed = await harness.wait_for("due", "routed")
    assert datetime.fromisoformat(routed.body["recorded_at"]) - due < timedelta(seconds=2.5)


@pytest.mark.parametrize("at_once", [True, False])
async def test_what_was_being_sent_when_its_router_died_is_looked_after_though_its_sender_has_no_budget_left(
    stack: AsyncExitStack, tmp_path: Path, at_once: bool
) -> None:
    """It was paid for when it was begun; what was not waits for the next day, and not in its way."""
    one_a_day = {"daily_messages": 1, "daily_reserve": 0, "rate": 4}  # of what waits, two are held ready
    senders = [{**sender, **(one_a_day if sender["name"] == "us" else {})} for sender in SENDERS]
    harness = await stack.enter_async_context(Harness(faults=Faults(callbacks_lost=1)))
    if not at_once:
        await _route(harness, ["n-1"], senders)
    doomed = await DoomedRouter.start(harness, tmp_path, CrashPoint.DISPATCH_ANSWERED, senders=senders)
    stack.push_async_callback(doomed.close)
    if at_once:
        await harness.publish("n-1")
    await doomed.died()
    rest = [f"n-{number}" for number in range(2, 8)]
    await _route(harness, rest, senders)

    await harness.start_router(**{**SETTINGS, "senders": senders})

    assert (await harness.wait_for("n-1", "unknown")).body["reason"] == "crashed"
    assert await harness.report(harness.sent[0], "delivered") == 204
    await harness.wait_for("n-1", "delivered")
    assert [harness.statuses(each) for each in rest] == [["routed"]] * len(rest)
    assert len(harness.sent) == 1


async def _route(harness: Harness, ids: list[str], senders: list[dict[str, Any]]) -> None:
    """By a router that sends nothing: they wait in the outbox."""
    given = router_settings(harness.server.url, harness.reserve_port(), **{**SETTINGS, "senders": senders})
    router = Router(Settings(**given), harness.environ, frozenset({"intake"}))
    await router.start()
    await harness.watch()
    for each in ids:
        await harness.publish(each)
        await harness.wait_for(each, "routed")
    await router.stop()
