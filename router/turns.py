"""One after the other, where all at once would only get in each other's way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager


class Turns:
    """Lets those of one process who want the same thing have it in turn.

    No fence: other processes know nothing of it. But of many who compare and set at the same time one succeeds and all
    the others do it again, so a thousand of them would need half a million tries.
    """

    def __init__(self) -> None:
        self._queues: dict[Hashable, tuple[asyncio.Lock, int]] = {}  #: and how many have it or wait for it

    @asynccontextmanager
    async def of(self, thing: Hashable) -> AsyncIterator[bool]:
        """Whether it had to be waited for: then somebody else had it meanwhile."""
        lock, users = self._queues.get(thing, (asyncio.Lock(), 0))
        self._queues[thing] = lock, users + 1
        try:
            async with lock:
                yield users > 0
        finally:
            lock, users = self._queues.pop(thing)
            if users > 1:
                self._queues[thing] = lock, users - 1
