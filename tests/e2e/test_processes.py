"""Real processes, killed in the middle of a send and stopped in order: nothing doubled, nothing lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from channels.testing import until
from channels.twilio.simulator import Faults
from tests.e2e.processes import RouterProcess
from tests.integration.harness import US, Harness

pytestmark = [pytest.mark.nats, pytest.mark.e2e]

OTHER = "+12025550177"


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def _start(stack: AsyncExitStack, harness: Harness, folder: Path, port: int | None = None) -> RouterProcess:
    router = await RouterProcess.start(harness, folder, port=port)
    stack.push_async_callback(router.close)
    return router


async def test_a_send_cut_off_by_a_kill_is_unknown_and_not_repeated(stack: AsyncExitStack, tmp_path: Path) -> None:
    faults = Faults(callbacks_lost=1, scripts={US: ("accept_no_answer",)}, hang_seconds=60)
    harness = await stack.enter_async_context(Harness(faults=faults))
    doomed = await _start(stack, harness, tmp_path, harness.port)
    await harness.publish("n-1")
    await harness.sent_to(US)

    await doomed.kill()
    heir = await _start(stack, harness, tmp_path)

    unknown = await harness.wait_for("n-1", "unknown")
    assert (unknown.body["reason"], unknown.body["attempt"], unknown.body["final"]) == ("crashed", 1, False)
    assert unknown.headers["Pointsman-Owner"].startswith(heir.instance)
    # The heir sends what is new, and leaves the unknown attempt alone.
    await harness.publish("n-2", OTHER)
    await harness.wait_for("n-2", "accepted")
    await harness.idle()
    assert harness.statuses("n-1") == ["routed", "sending", "unknown"]
    assert [message.to for message in harness.sent] == [US, OTHER]
    assert await heir.terminate() == 0


async def test_a_killed_router_loses_nothing_that_was_published(stack: AsyncExitStack, tmp_path: Path) -> None:
    harness = await stack.enter_async_context(Harness(faults=Faults(latency_ms=5)))
    doomed = await _start(stack, harness, tmp_path, harness.port)
    numbers = [f"+1202555{index:04d}" for index in range(40)]
    await asyncio.gather(*(harness.publish(f"n-{index}", number) for index, number in enumerate(numbers)))
    await until(lambda: len(harness.sent) >= 5)

    await doomed.kill()
    await _start(stack, harness, tmp_path, harness.port)

    outcomes = {"accepted", "unknown"}
    async with asyncio.timeout(30):
        while not all(outcomes & set(harness.statuses(f"n-{index}")) for index in range(40)):
            await asyncio.sleep(0.05)
    await harness.idle()
    recipients = [message.to for message in harness.sent]
    assert len(recipients) == len(set(recipients)), "a message was doubled"
    for index, number in enumerate(numbers):
        assert number in recipients or "unknown" in harness.statuses(f"n-{index}")


async def test_sigterm_ends_what_is_in_flight_and_takes_nothing_new(stack: AsyncExitStack, tmp_path: Path) -> None:
    harness = await stack.enter_async_context(Harness(faults=Faults(callbacks_lost=1, latency_ms=700)))
    router = await _start(stack, harness, tmp_path, harness.port)
    await harness.publish("n-1")
    await harness.wait_for("n-1", "sending")

    ending = asyncio.create_task(router.terminate())

    assert await ending == 0
    await until(lambda: harness.statuses("n-1") == ["routed", "sending", "accepted"])
    assert len(harness.sent) == 1
    await harness.publish("n-2", OTHER)
    assert (await harness.js.consumer_info("NOTIFICATIONS", "intake-normal")).num_pending == 1
    assert harness.statuses("n-2") == []
