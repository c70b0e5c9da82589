from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

import pytest

from channels.twilio.simulator import Faults
from tests.integration.harness import Harness

Start = Callable[..., Awaitable[Harness]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts a harness with one router, whose settings are given as sections; all are stopped in the end."""
    async with AsyncExitStack() as stack:

        async def start_one(
            *,
            faults: Faults | None = None,
            simulator: Mapping[str, Any] | None = None,
            environ: Mapping[str, str] | None = None,
            **sections: Any,
        ) -> Harness:
            harness = await stack.enter_async_context(Harness(faults=faults, simulator=simulator))
            await harness.start_router(environ=environ, **sections)
            return harness

        yield start_one


@pytest.fixture
async def harness(start: Start) -> Harness:
    """One router, nothing special."""
    return await start()
