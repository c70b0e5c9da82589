from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from channels.twilio.simulator import Simulator
from tests.channels.twilio.simulator.support import Api, Start, Webhook, settings


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts a simulator with these settings and gives a client of its API; all are stopped in the end."""
    async with AsyncExitStack() as stack:

        async def start_one(**changes: Any) -> Api:
            simulator = await stack.enter_async_context(Simulator(settings(**changes)))
            return await stack.enter_async_context(Api(simulator))

        yield start_one


@pytest.fixture
async def webhook() -> AsyncIterator[Webhook]:
    async with Webhook() as hook:
        yield hook
