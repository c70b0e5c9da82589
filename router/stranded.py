"""What a work queue holds and no consumer will deliver: found without anybody saying so.

An advisory (`router.advisories`) is heard by whoever listens at that moment, and by nobody when no router does. So the
queues are looked through at start and now and then: what stands before the place up to which a consumer has everything
acknowledged, and is still there, is delivered no more. Seen twice it becomes a dead letter, once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import structlog

from router import subjects, topology
from router.advisories import Advisories
from router.jetstream import JetStream, StoreError
from router.tasks import keep_running

log = structlog.get_logger(__name__)

QUEUES = (subjects.OUTBOX, subjects.TIMERS)
_LOOK = 60.0  #: seconds between looks
#: Seconds until a second look: what was acknowledged a moment ago may still be on its way out.
_TWICE = 5.0
_PAGE = 200  #: messages read at once


class Found(NamedTuple):
    """A message that its consumer delivers no more."""

    stream: str
    consumer: str
    sequence: int


@dataclass
class Stranded:
    """Looks through the work queues."""

    js: JetStream
    advisories: Advisories
    every: float = _LOOK
    _known: set[Found] = field(default_factory=set)  #: that were told of
    _task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        self._task = keep_running("stranded", self._watch)

    def stop(self) -> None:
        """Look no more."""
        if self._task:
            self._task.cancel()

    async def _watch(self) -> None:
        while True:
            try:
                await self.look()
            except StoreError as exc:
                log.debug("stranded.unavailable", why=str(exc))
            await asyncio.sleep(self.every)

    async def look(self, pause: float = _TWICE) -> None:
        """Everything that is there and delivered no more becomes a dead letter."""
        if not (first := await self._found()):
            self._known.clear()
            return
        await asyncio.sleep(pause)
        again = await self._found()
        for found in (first & again) - self._known:
            await self._keep(found)
            self._known.add(found)
        self._known &= again

    async def _keep(self, found: Found) -> None:
        stored = await self.js.at(found.stream, found.sequence)
        if stored is None:
            return  # seen in a copy that is behind
        log.warning("stranded.found", **found._asdict())
        await self.advisories.keep(found.consumer, found.stream, stored)

    async def _found(self) -> set[Found]:
        return {found for stream in QUEUES async for found in self._in(stream)}

    async def _in(self, stream: str) -> AsyncGenerator[Found, None]:
        for info in await topology.listed(self.js, stream):
            settled = _settled(info)
            for subject in _filters(info["config"]):
                async for sequence in self._up_to(stream, subject, settled):
                    yield Found(stream, info["name"], sequence)

    async def _up_to(self, stream: str, subject: str, last: int) -> AsyncGenerator[int, None]:
        start, limit = 1, 1  # the first one tells whether there are any: a long queue is not read for that
        while start <= last and (page := await self.js.following(stream, subject, start, limit)):
            for stored in page:
                if stored.sequence > last:
                    return
                yield stored.sequence
            start, limit = page[-1].sequence + 1, _PAGE


def _settled(info: Mapping[str, Any]) -> int:
    """The sequence up to which this consumer has nothing more to deliver."""
    return int(info["ack_floor" if info["num_ack_pending"] else "delivered"]["stream_seq"])


def _filters(config: Mapping[str, Any]) -> list[str]:
    return config.get("filter_subjects") or [config.get("filter_subject") or ">"]
