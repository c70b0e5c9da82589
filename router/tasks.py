"""Tasks that live as long as the router: one that fails is heard of and runs again, none dies in silence."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

log = structlog.get_logger(__name__)

_PAUSE = 1.0  #: seconds before a task that failed runs again


def keep_running(name: str, run: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
    """A task that runs this for ever, again after every failure."""

    async def again_and_again() -> None:
        while True:
            try:
                await run()
            except Exception:
                log.exception("task.failed", task=name)
            await asyncio.sleep(_PAUSE)

    return asyncio.create_task(again_and_again(), name=name)
