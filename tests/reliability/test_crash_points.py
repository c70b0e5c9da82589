"""A router is killed wherever it can die. Another one takes over: the recipient gets exactly one message."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from channels.testing import until
from channels.twilio.simulator import Faults, TwilioMessage
from policies.pauses import Kind
from router.app import Router
from router.clock import utc_now
from router.crashpoints import CrashPoint
from router.jetstream import JetStream
from router.settings import Settings
from router.switches import Switch, Switches
from tests.integration.harness import IN, US, WHATSAPP, Harness, router_settings
from tests.reliability.doomed import ALL_ROLES, SETTINGS, TAKEN_OVER_WITHIN, DoomedRouter
from tests.reliability.operators import ask

pytestmark = [pytest.mark.nats, pytest.mark.e2e]

ID = "n-1"
TEMPLATE = {"name": "order_shipped", "variables": {"1": "Ada"}}
SENT_ONCE = ("routed", "sending", "accepted", "delivered")
TRIED_AGAIN = ("routed", "sending", "failed", "sending", "accepted", "delivered")
FOUND = ("routed", "sending", "unknown", "accepted", "delivered")
ORPHANED = ("routed", *SENT_ONCE)
GIVEN_UP = ("routed", "sending", "accepted", "failed", "sending", "accepted", "delivered")
UNDELIVERED = ("routed", "sending", "accepted", "undelivered", "sending", "accepted", "delivered")
#: Nothing is heard of the WhatsApp message, so an SMS follows.
SILENCE = """
version = "silence"
[[routes]]
name = "all"
plan = [{ channel = "whatsapp", within = 1.0 }, { channel = "sms" }]
"""
NOT_FOUND = ("routed", "sending", "unknown", "failed", "sending", "accepted", "delivered")


async def publish(harness: Harness, death: Death) -> None:
    await harness.publish(ID, death.to, **death.fields)


async def publish_and_call_back(harness: Harness, death: Death) -> None:
    """The provider gets no answer to its callback, because the router dies of it."""
    await publish(harness, death)
    message = await harness.sent_to(US)
    await harness.wait_for(ID, "accepted")
    with pytest.raises(aiohttp.ClientError):
        await harness.report(message, "delivered")


async def publish_and_report_undelivered(harness: Harness, death: Death) -> None:
    await publish(harness, death)
    message = await harness.sent_to(WHATSAPP + death.to)
    await harness.wait_for(ID, "accepted")
    await harness.report(message, "undelivered", ErrorCode="63024")


async def replay_a_held_one(harness: Harness, death: Death) -> None:
    with pytest.raises(TimeoutError):
        await ask(harness, "replay", {"id": harness.dead_letters[0].body["dead_letter_id"]}, within=2)


async def leave_an_orphan(harness: Harness, death: Death) -> None:
    """Routed to a sender that nobody has any more when the next router starts."""
    gone = {"name": "gone", "kind": "10dlc", "channels": ["sms"], "from": "+15017122999", "countries": ["US"]}
    await route_only(harness, death, senders=[gone])


async def route_only(harness: Harness, death: Death, **sections: Any) -> None:
    """By a router that sends nothing: whoever sends it takes it from the outbox."""
    given = router_settings(harness.server.url, harness.reserve_port(), **SETTINGS, **sections)
    router = Router(Settings(**given), harness.environ, frozenset({"intake"}))
    await router.start()
    await harness.watch()
    await publish(harness, death)
    await harness.wait_for(ID, "routed")
    await router.stop()


async def hold_one(harness: Harness, death: Death) -> None:
    """A healthy router leaves a dead letter behind."""
    router = await harness.start_router(**SETTINGS)
    await publish(harness, death)
    await until(lambda: len(harness.dead_letters) == 1)
    await harness.idle()
    await harness.stop_router(router)


async def nothing(harness: Harness, death: Death) -> None:
    pass


@dataclass(frozen=True)
class Death:
    """One way to die, and what the log tells before and after."""

    point: CrashPoint
    then: tuple[str, ...]  #: what stands in the log when it is dead
    story: tuple[str, ...]  #: what stands there in the end
    script: tuple[str, ...] = ()  #: what the provider does with the first requests
    roles: str = ALL_ROLES  #: of the router that dies
    to: str = US
    fields: Mapping[str, Any] = field(default_factory=dict)
    prepare: Callable[[Harness, Death], Awaitable[None]] = nothing
    provoke: Callable[[Harness, Death], Awaitable[None]] = publish
    policy: str | None = None
    label: str = ""

    @property
    def sent(self) -> int:
        """Messages that the provider takes."""
        return self.story.count("accepted")

    def settings(self, folder: Path) -> dict[str, Any]:
        """Of every router in this test."""
        if self.policy is None:
            return SETTINGS
        file = folder / "policy.toml"
        file.write_text(self.policy)
        return {**SETTINGS, "policy": {"file": str(file)}}


HOLD: dict[str, Any] = {"on_unknown": "hold"}
#: One message a recipient and hour: what is published beyond it waits for longer than any test.
CAPPED = """
version = "capped"
[[guards.frequency]]
limit = 1
window = 3600
[[routes]]
name = "all"
plan = [{ channel = "sms" }]
"""
FAILOVER = {"content": {"text": "hi", "template": TEMPLATE}}
DEATHS = [
    Death(CrashPoint.INTAKE_RECEIVED, (), SENT_ONCE, roles="intake"),
    Death(CrashPoint.INTAKE_COUNTED, (), SENT_ONCE, roles="intake", policy=CAPPED),
    Death(CrashPoint.INTAKE_APPENDED, SENT_ONCE[:1], SENT_ONCE, roles="intake"),
    Death(CrashPoint.INTAKE_HANDED_OVER, SENT_ONCE[:1], SENT_ONCE, roles="intake"),
    Death(CrashPoint.DISPATCH_TAKEN, SENT_ONCE[:1], SENT_ONCE),
    Death(CrashPoint.DISPATCH_CLAIMED, NOT_FOUND[:2], NOT_FOUND),
    Death(CrashPoint.DISPATCH_ANSWERED, FOUND[:2], FOUND),
    Death(CrashPoint.DISPATCH_RECORDED, SENT_ONCE[:3], SENT_ONCE),
    *(
        Death(point, then, story, prepare=route_only, provoke=nothing, label="from the outbox")
        for point, then, story in (
            (CrashPoint.DISPATCH_CLAIMED, NOT_FOUND[:2], NOT_FOUND),
            (CrashPoint.DISPATCH_ANSWERED, FOUND[:2], FOUND),
            (CrashPoint.DISPATCH_RECORDED, SENT_ONCE[:3], SENT_ONCE),
        )
    ),
    Death(CrashPoint.TRACKING_READ, SENT_ONCE[:3], SENT_ONCE, provoke=publish_and_call_back),
    Death(CrashPoint.TRACKING_APPENDED, SENT_ONCE, SENT_ONCE, provoke=publish_and_call_back),
    Death(CrashPoint.FOLLOW_UP_TAKEN, TRIED_AGAIN[:3], TRIED_AGAIN, script=("throttle",)),
    Death(CrashPoint.FOLLOW_UP_DONE, TRIED_AGAIN[:3], TRIED_AGAIN, script=("throttle",)),
    Death(
        CrashPoint.FOLLOW_UP_DONE,
        TRIED_AGAIN[:3],
        TRIED_AGAIN,
        script=("refuse:63024",),
        to=IN,
        fields=FAILOVER,
        roles="intake,dispatch,tracking",
        label="failover",
    ),
    Death(
        CrashPoint.FOLLOW_UP_TAKEN,
        UNDELIVERED[:4],
        UNDELIVERED,
        to=IN,
        fields=FAILOVER,
        provoke=publish_and_report_undelivered,
        label="undelivered",
    ),
    Death(CrashPoint.SILENCE_EXPECTED, GIVEN_UP[:1], GIVEN_UP, to=IN, fields=FAILOVER, policy=SILENCE),
    Death(CrashPoint.SILENCE_WOKEN, GIVEN_UP[:3], GIVEN_UP, to=IN, fields=FAILOVER, policy=SILENCE),
    Death(CrashPoint.SILENCE_APPENDED, GIVEN_UP[:4], GIVEN_UP, to=IN, fields=FAILOVER, policy=SILENCE),
    Death(CrashPoint.FOLLOW_UP_TAKEN, GIVEN_UP[:4], GIVEN_UP, to=IN, fields=FAILOVER, policy=SILENCE, label="silence"),
    Death(CrashPoint.FOLLOW_UP_TOOK_BACK, GIVEN_UP[:4], GIVEN_UP, to=IN, fields=FAILOVER, policy=SILENCE),
    Death(CrashPoint.ORPHAN_TAKEN, ORPHANED[:1], ORPHANED, prepare=leave_an_orphan, provoke=nothing),
    Death(CrashPoint.ORPHAN_DONE, ORPHANED[:2], ORPHANED, prepare=leave_an_orphan, provoke=nothing),
    Death(CrashPoint.RECONCILE_WOKEN, FOUND[:3], FOUND, script=("accept_drop",)),
    Death(CrashPoint.RECONCILE_FOUND, FOUND[:3], FOUND, script=("accept_drop",)),
    Death(CrashPoint.RECONCILE_APPENDED, FOUND[:4], FOUND, script=("accept_drop",)),
    Death(CrashPoint.WAKE_TAKEN, TRIED_AGAIN[:3], TRIED_AGAIN, script=("throttle",)),
    Death(
        CrashPoint.REPLAY_DONE,
        NOT_FOUND[:4],
        NOT_FOUND,
        script=("drop_before",),
        fields=HOLD,
        roles="webhooks",
        prepare=hold_one,
        provoke=replay_a_held_one,
    ),
]


#: Whose consequence shows in another notification's story: they have tests of their own below.
ELSEWHERE = {CrashPoint.RETURN_TAKEN}


def test_every_crash_point_has_its_death() -> None:
    assert {death.point for death in DEATHS} | ELSEWHERE == set(CrashPoint)


def test_the_page_on_reliability_tells_of_every_crash_point() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reliability.md").read_text()
    assert {point.value for point in CrashPoint if f"| `{point.value}` |" not in page} == set()


@pytest.mark.parametrize("death", DEATHS, ids=lambda death: f"{death.point}{death.label}")
async def test_whoever_takes_over_sends_exactly_one_message(
    death: Death, stack: AsyncExitStack, tmp_path: Path
) -> None:
    harness = await stack.enter_async_context(Harness(faults=_faults(death)))
    await death.prepare(harness, death)
    settings = death.settings(tmp_path)
    doomed = await DoomedRouter.start(harness, tmp_path, death.point, roles=death.roles, **settings)
    stack.push_async_callback(doomed.close)
    await death.provoke(harness, death)
    died = await doomed.died()
    assert await _log(harness) == list(death.then)

    await harness.start_router(**settings)

    await _until_taken_over(harness, death, died)
    async with asyncio.timeout(20):
        await _until_delivered(harness, death)
    await harness.idle()
    assert harness.statuses(ID) == list(death.story)
    assert [event.status for event in harness.story(ID) if event.body["final"]] == ["delivered"]
    assert len(harness.sent) == death.sent
    assert [message.to for message in harness.sent].count(death.to) == 1


def _faults(death: Death) -> Faults:
    """Callbacks come when a test says so."""
    recipient = death.to if death.to == US else WHATSAPP + death.to
    return Faults(callbacks_lost=1, retry_after=0, scripts={recipient: death.script} if death.script else {})


async def _log(harness: Harness) -> list[str]:
    """Everything in the log, now that nobody appends to it."""
    stored = (await harness.js.stream_info("DELIVERIES")).state.messages
    await until(lambda: len(harness.deliveries) == stored)
    return harness.statuses(ID)


async def _until_taken_over(harness: Harness, death: Death, died: float) -> None:
    """The log goes on, as far as it depends on routers: what only the provider can add is not waited for."""
    if death.then[-1:] in {("accepted",), ("delivered",)}:
        return
    async with asyncio.timeout_at(died + TAKEN_OVER_WITHIN):
        while len(harness.statuses(ID)) == len(death.then):
            await asyncio.sleep(0.02)


async def _until_delivered(harness: Harness, death: Death) -> None:
    """Once it is accepted the provider says so; a callback that got no answer is repeated."""
    while harness.statuses(ID).count("accepted") < death.sent:
        await asyncio.sleep(0.02)
    assert await harness.report(harness.sent[-1], "delivered") == 204
    await harness.wait_for(ID, "delivered")


# --- what the log cannot tell by itself


async def test_an_answer_that_died_with_its_router_is_revealed_by_the_callback(
    stack: AsyncExitStack, tmp_path: Path
) -> None:
    harness, message = await _answered_and_died(stack, tmp_path)

    assert await harness.report(message, "sent") == 204

    accepted = await harness.wait_for(ID, "accepted")
    assert accepted.body["provider_message_id"] == message.sid
    await harness.report(message, "delivered")
    await harness.idle()
    # Whether it was noticed to be unknown before the callback came is a matter of milliseconds.
    statuses = [status for status in harness.statuses(ID) if status != "unknown"]
    assert statuses == ["routed", "sending", "accepted", "sent", "delivered"]
    assert len(harness.sent) == 1


async def test_an_answer_that_died_with_its_router_is_found_in_the_providers_list(
    stack: AsyncExitStack, tmp_path: Path
) -> None:
    harness, message = await _answered_and_died(stack, tmp_path)

    accepted = await harness.wait_for(ID, "accepted")

    unknown = await harness.wait_for(ID, "unknown")
    assert (unknown.body["reason"], unknown.body["final"]) == ("crashed", False)
    assert (accepted.body["reason"], accepted.body["provider_message_id"]) == ("resolved_by_search", message.sid)
    await harness.idle()
    assert harness.statuses(ID) == ["routed", "sending", "unknown", "accepted"]
    assert len(harness.sent) == 1


async def test_an_attempt_that_was_begun_is_looked_after_although_its_channel_is_paused_now(
    stack: AsyncExitStack, tmp_path: Path
) -> None:
    harness = await stack.enter_async_context(Harness(faults=Faults(callbacks_lost=1)))
    await route_only(harness, DEATHS[0])
    doomed = await DoomedRouter.start(harness, tmp_path, CrashPoint.DISPATCH_ANSWERED)
    stack.push_async_callback(doomed.close)
    await doomed.died()
    assert await _log(harness) == ["routed", "sending"]
    js = JetStream(harness.client)
    await js.start()
    await Switches(js, "").throw(Switch(Kind.CHANNEL, "sms", utc_now()))
    await js.stop()

    await harness.start_router(**SETTINGS)

    await harness.wait_for(ID, "accepted")
    await harness.idle()
    assert harness.statuses(ID) == ["routed", "sending", "unknown", "accepted"]
    assert len(harness.sent) == 1


async def _answered_and_died(stack: AsyncExitStack, folder: Path) -> tuple[Harness, TwilioMessage]:
    harness = await stack.enter_async_context(Harness(faults=Faults(callbacks_lost=1)))
    doomed = await DoomedRouter.start(harness, folder, CrashPoint.DISPATCH_ANSWERED)
    stack.push_async_callback(doomed.close)
    await harness.publish(ID)
    await doomed.died()
    assert await _log(harness) == ["routed", "sending"]
    await harness.start_router(**SETTINGS)
    return harness, await harness.sent_to(US)


async def test_a_claim_without_a_request_is_held_for_a_person_and_replaying_it_twice_sends_once(
    stack: AsyncExitStack, tmp_path: Path
) -> None:
    harness = await stack.enter_async_context(Harness())
    doomed = await DoomedRouter.start(harness, tmp_path, CrashPoint.DISPATCH_CLAIMED)
    stack.push_async_callback(doomed.close)
    await harness.publish(ID, **HOLD)
    await doomed.died()
    await harness.start_router(**SETTINGS)

    await until(lambda: len(harness.dead_letters) == 1)

    await harness.idle()
    assert harness.sent == []
    assert harness.statuses(ID) == ["routed", "sending", "unknown"]
    letter = harness.dead_letters[0].body
    assert (letter["stage"], letter["reason"], letter["notification_id"]) == ("reconcile", "held", ID)
    first = await ask(harness, "replay", {"id": letter["dead_letter_id"]})
    second = await ask(harness, "replay", {"id": letter["dead_letter_id"]})
    assert first["done"] == "sent again as a new attempt"
    assert second["done"] == "nothing to do: its outcome is known by now"
    await harness.wait_for(ID, "delivered")
    await harness.idle()
    assert len(harness.sent) == 1
    assert [event.body["attempt"] for event in harness.story(ID) if event.status == "sending"] == [1, 2]


async def test_a_place_under_a_cap_is_given_back_although_whoever_was_about_to_died(
    stack: AsyncExitStack, tmp_path: Path
) -> None:
    harness = await stack.enter_async_context(Harness(faults=Faults(scripts={US: ("refuse:30007",)})))
    settings = Death(CrashPoint.RETURN_TAKEN, (), (), policy=CAPPED).settings(tmp_path)
    doomed = await DoomedRouter.start(harness, tmp_path, CrashPoint.RETURN_TAKEN, **settings)
    stack.push_async_callback(doomed.close)
    await harness.publish("never-sent")
    await harness.wait_for("never-sent", "exhausted")
    await doomed.died()
    assert await _counted(harness) == ["shop.never-sent"]

    await harness.start_router(**settings)

    async with asyncio.timeout(TAKEN_OVER_WITHIN):
        while await _counted(harness):
            await asyncio.sleep(0.02)
    await harness.publish(ID)
    await harness.wait_for(ID, "delivered")
    await harness.publish("one-too-many")
    await harness.wait_for("one-too-many", "deferred")
    assert await _counted(harness) == [f"shop.{ID}"]


async def _counted(harness: Harness) -> list[str]:
    """What counts under the cap for the one recipient there is."""
    stored = await harness.js.get_last_msg("KV_recent", "$KV.recent.>")
    assert stored.data is not None
    return [row[0] for row in json.loads(stored.data)]
