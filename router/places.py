"""A number of places: who comes when all are taken waits a moment for one, as long as that is worth while."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

#: Seconds for which one waits. A process that is busy but not held up has places sooner.
_PATIENCE = 0.25
#: Seconds after somebody waited in vain in which nobody waits at all: what holds the places takes its time.
_REST = 5.0


class Places:
    """Taken and given back; first come, first served."""

    def __init__(self, count: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._free = asyncio.Semaphore(count)
        self._clock = clock
        self._waits_again = 0.0  #: from when on it is worth while to wait

    @property
    def full(self) -> bool:
        """Whether whoever comes now has to wait."""
        return self._free.locked()

    async def take(self) -> None:
        """Wait for one for as long as it takes."""
        await self._free.acquire()

    async def take_soon(self) -> bool:
        """Whether there was one at once or after a moment."""
        if not self._free.locked():  # the usual way, without a timer
            return await self._free.acquire()
        if self._clock() < self._waits_again:
            return False
        try:
            async with asyncio.timeout(_PATIENCE):
                return await self._free.acquire()
        except TimeoutError:
            self._waits_again = self._clock() + _REST
            return False

    def give_back(self) -> None:
        """One that was taken."""
        self._free.release()
