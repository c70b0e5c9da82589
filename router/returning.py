"""Follows the log for ends that give a place under a frequency cap back, from the moment that a policy has a cap.

A policy without caps has neither the consumer nor its messages.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from router import subjects, topology
from router.caps import Returns
from router.clock import utc_now
from router.deadletters import DeadLetters
from router.jetstream import JetStream
from router.settings import DispatchSettings
from router.tasks import keep_running
from router.topology import TopologyError
from router.workers import Settler, Worker

#: Seconds between looks at whether the policy has a cap by now.
_LOOK = 0.2
#: Seconds before the first cap was seen here from which ends are followed: another router may have seen it earlier.
_OVERLAP = 60.0
_CONCURRENCY = 16


class Returning:
    """The worker of `Returns`, begun when it is needed."""

    def __init__(self, js: JetStream, dead_letters: DeadLetters, returns: Returns, settings: DispatchSettings) -> None:
        self._js = js
        self._settler = Settler(js, dead_letters, topology.RETURNS)
        self._returns = returns
        self._settings = settings
        self._worker: Worker | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """At once where the policy has a cap, else when one comes into force."""
        if self._returns.policy().capped:
            await self._begin()
        else:
            self._task = keep_running("returns", self._when_capped)

    async def pause(self) -> None:
        """Take nothing new."""
        if self._task:
            self._task.cancel()
        if self._worker:
            await self._worker.pause()

    async def stop(self) -> None:
        """Let what is under way end."""
        if self._worker:
            await self._worker.stop(self._settings.drain)

    async def _when_capped(self) -> None:
        while not self._returns.policy().capped:  # noqa: ASYNC110 - the policy is asked, nobody tells
            await asyncio.sleep(_LOOK)
        if self._worker is None:
            await self._begin()
        await asyncio.Event().wait()

    async def _begin(self) -> None:
        config = topology.returning(self._settings.ack_wait, utc_now() - timedelta(seconds=_OVERLAP))
        if not await topology.has_consumer(self._js, subjects.DELIVERIES, topology.RETURNS):
            await self._make(config)
        worker = Worker(
            self._settler,
            subjects.DELIVERIES,
            config,
            self._returns.on_message,
            concurrency=_CONCURRENCY,
            ack_wait=self._settings.ack_wait,
        )
        await worker.start()
        self._worker = worker

    async def _make(self, config: dict[str, object]) -> None:
        try:
            await topology.ensure_consumer(self._js, subjects.DELIVERIES, config)
        except TopologyError:
            # Another router was first, and began at another moment.
            if not await topology.has_consumer(self._js, subjects.DELIVERIES, topology.RETURNS):
                raise
