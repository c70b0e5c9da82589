"""Waiting for what a router says of itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tests.integration.harness import Harness

PATIENCE = 30.0  #: seconds for the router to be itself again


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Until it holds, or the patience is over."""
    async with asyncio.timeout(PATIENCE):
        while not await condition():
            await asyncio.sleep(0.05)


async def status_of(harness: Harness, url: str) -> int:
    """Of the HTTP answer."""
    async with harness.http.get(url) as answer:
        return answer.status


def answers(harness: Harness, url: str, status: int) -> Callable[[], Awaitable[bool]]:
    """Whether it answers with this status."""

    async def answered() -> bool:
        return await status_of(harness, url) == status

    return answered


async def until_all_are_final(harness: Harness, wanted: int) -> None:
    """Until so many notifications have their final event."""
    try:
        async with asyncio.timeout(PATIENCE):
            while len(_final(harness)) < wanted:
                await asyncio.sleep(0.05)
    except TimeoutError:
        open_ones = {event.body["notification_id"] for event in harness.deliveries} - _final(harness)
        stories = {each: harness.statuses(each) for each in sorted(open_ones)}
        raise AssertionError(f"{len(_final(harness))} of {wanted} have ended, not so {stories}") from None


def _final(harness: Harness) -> set[str]:
    return {event.body["notification_id"] for event in harness.deliveries if event.body["final"]}
