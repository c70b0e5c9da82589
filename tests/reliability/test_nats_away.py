"""A wire goes dead, a stream or a permission is taken away, a router is too slow: it says so and takes up again."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from channels.twilio.simulator import Faults
from router.app import Router
from router.embedded import EmbeddedNats
from router.settings import Settings
from tests.integration.harness import Harness, router_settings
from tests.reliability.asking import answers, eventually, until_all_are_final
from tests.reliability.doomed import SETTINGS
from tests.reliability.proxy import Proxy

pytestmark = pytest.mark.nats

#: A claim whose storing nobody answered may stand in the log with no request behind it: that one waits for `settle`.
#: Callbacks that the provider has given up meanwhile are made up for by asking.
_PATIENT: dict[str, Any] = {
    **SETTINGS,
    "reconcile": {"wait": 1, "settle": 15},
    "tracking": {"stuck_after": 8, "receipt_wait": 60},
}


@asynccontextmanager
async def _behind_a_wire(harness: Harness) -> AsyncIterator[tuple[Router, Proxy]]:
    """A router that reaches NATS by a wire of its own; everybody else is connected directly."""
    async with Proxy(harness.server.url) as wire:
        router = Router(Settings(**router_settings(wire.url, harness.port, **_PATIENT)), harness.environ)
        await router.start()
        await harness.watch()
        try:
            yield router, wire
        finally:
            wire.mend()
            await router.stop()


async def _page(harness: Harness, url: str) -> dict[str, Any]:
    async with harness.http.get(url) as answer:
        page: dict[str, Any] = json.loads(await answer.text())
        return page


async def _metric(harness: Harness, router: Router, name: str) -> float:
    """The sum of a metric over its labels."""
    async with harness.http.get(f"{router.admin_url}/metrics") as answer:
        found = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", await answer.text(), re.MULTILINE)
        return sum(float(value) for value in found)


@pytest.mark.parametrize(
    ("dead", "seconds"),
    [
        pytest.param({}, 4, id="both ways"),
        pytest.param({"to_server": False}, 4, id="answers get lost"),
        pytest.param({"to_client": False}, 4, id="questions get lost"),
        pytest.param({}, 25, id="until it is given up and made anew", marks=pytest.mark.slow),
    ],
)
@pytest.mark.timeout(120)
# nats-py forgets to close what it opened when no server speaks there; the collector does it.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <function StreamWriter.__del__")
async def test_a_wire_that_goes_dead_under_load(stack: AsyncExitStack, dead: dict[str, bool], seconds: float) -> None:
    harness = await stack.enter_async_context(Harness(faults=Faults(latency_ms=20, jitter_ms=50)))
    router, wire = await stack.enter_async_context(_behind_a_wire(harness))
    before = await _metric(harness, router, "pointsman_store_failures_total")
    numbers = {f"n-{index}": f"+1202555{index:04d}" for index in range(120)}

    async def load() -> None:
        for notification_id, number in numbers.items():
            await harness.publish(notification_id, number)
            await asyncio.sleep(0.01)

    publishing = asyncio.create_task(load())
    async with asyncio.timeout(30):
        while len(harness.sent) < 20:
            await asyncio.sleep(0.01)
    wire.kill(**dead)
    until = asyncio.get_running_loop().time() + seconds
    ready = f"{router.admin_url}/readyz"
    with capture_logs() as lines:
        await eventually(answers(harness, ready, 503))
        await asyncio.sleep(max(0.0, until - asyncio.get_running_loop().time()))
        (problem,) = (await _page(harness, ready))["problems"]
        assert "NATS" in problem
        await publishing
        wire.mend()
        await eventually(answers(harness, ready, 200))
        await until_all_are_final(harness, len(numbers))
        await eventually(_said(lines, "router.ready_again"))

    await harness.idle()
    assert Counter(message.to for message in harness.sent) == Counter(numbers.values())
    gc.collect()  # here, and not in the middle of another test
    assert "router.not_ready" in {line["event"] for line in lines}
    assert await _metric(harness, router, "pointsman_store_failures_total") > before


def _said(lines: Any, event: str) -> Any:
    async def said() -> bool:
        return event in {line["event"] for line in lines}

    return said


@pytest.mark.parametrize("stream", ["OUTBOX", "DELIVERIES", "TIMERS", "KV_senders", "KV_consent"])
async def test_a_stream_that_is_deleted_by_hand_is_missed_aloud_and_used_when_it_is_back(
    stack: AsyncExitStack, stream: str
) -> None:
    harness = await stack.enter_async_context(Harness(faults=Faults(latency_ms=5)))
    router = await harness.start_router(**_PATIENT)
    await harness.publish("n-1", "+12025550101")
    await harness.wait_for_final("n-1")
    await harness.idle()

    with capture_logs() as lines:
        await harness.js.delete_stream(stream)
        ready = f"{router.admin_url}/readyz"
        await eventually(answers(harness, ready, 503))
        assert (await _page(harness, ready))["problems"] == [f"stream {stream} is missing"]
        await eventually(_said(lines, "router.not_ready"))
        await harness.publish("n-2", "+12025550102")
        await asyncio.sleep(1)
        await harness.start_router(**_PATIENT)  # whoever starts makes what is missing
        await eventually(answers(harness, ready, 200))
        await eventually(_said(lines, "router.ready_again"))

    await harness.watch_again()
    await harness.publish("n-3", "+12025550103")
    for notification_id in ("n-2", "n-3"):
        async with asyncio.timeout(30):
            while not any(event.body["final"] for event in harness.story(notification_id)):
                await asyncio.sleep(0.05)
    await harness.idle()
    assert sorted(message.to for message in harness.sent) == [f"+1202555010{number}" for number in (1, 2, 3)]


def _permissions(denied: list[str]) -> str:
    deny = json.dumps(denied)
    user = f'user: router, password: "", permissions: {{publish: {{deny: {deny}}}}}'
    other = 'user: other, password: "x"'
    return f"accounts {{ APP {{ jetstream: enabled, users: [{{{user}}}, {{{other}}}] }} }}\nno_auth_user: router\n"


async def _permit(server: EmbeddedNats, denied: list[str]) -> None:
    """As an operator does it: another configuration, and SIGHUP."""
    config = server.store / "nats.conf"
    text = config.read_text()
    config.write_text(text[: text.index("accounts {")] + _permissions(denied))
    server.signal(signal.SIGHUP)


async def test_a_permission_that_is_taken_is_named_and_what_was_held_goes_on_when_it_is_given_back(
    stack: AsyncExitStack,
) -> None:
    harness = Harness()
    harness.server = EmbeddedNats(extra_config=_permissions([]))
    await stack.enter_async_context(harness)
    router = await harness.start_router(**_PATIENT)

    await _permit(harness.server, ["deliveries.>"])
    await asyncio.sleep(1)
    with capture_logs() as lines:
        await harness.publish("n-1")
        await eventually(_said(lines, "nats.refused"))
        notes = (await _page(harness, f"{router.admin_url}/readyz"))["notes"]
        assert "deliveries.shop" in notes["nats_refused"]
    assert harness.sent == []

    await _permit(harness.server, [])
    await asyncio.sleep(1)
    await harness.watch_again()
    async with asyncio.timeout(30):
        while not any(event.body["final"] for event in harness.story("n-1")):
            await asyncio.sleep(0.05)
    await harness.idle()
    assert len(harness.sent) == 1


async def test_a_router_that_the_server_drops_as_too_slow_comes_back_and_doubles_nothing(
    stack: AsyncExitStack,
) -> None:
    harness = Harness()
    # A client that has not read what was written for so long is dropped; TCP holds some megabytes before that.
    harness.server = EmbeddedNats(extra_config='write_deadline: "1s"\nhttp: "127.0.0.1:-1"')
    await stack.enter_async_context(harness)
    router, wire = await stack.enter_async_context(_behind_a_wire(harness))
    numbers = {f"n-{index}": f"+1202555{index:04d}" for index in range(200)}
    wire.kill(to_server=False)
    for notification_id, number in numbers.items():
        await harness.publish(notification_id, number, headers={"Padding": "x" * 60_000})
    await eventually(_dropped(harness))

    wire.mend()

    await until_all_are_final(harness, len(numbers))
    await harness.idle()
    assert wire.connections > 1
    assert Counter(message.to for message in harness.sent) == Counter(numbers.values())
    assert await _metric(harness, router, "pointsman_nats_reconnects_total") >= 1


def _dropped(harness: Harness) -> Any:
    """Whether the server has dropped a client because it did not read."""
    (ports,) = (harness.server.store / "ports").glob("*.ports")
    (monitor,) = json.loads(ports.read_text())["monitoring"]

    async def dropped() -> bool:
        return bool((await _page(harness, f"{monitor}/varz"))["slow_consumers"])

    return dropped
