"""Following a stream: every message that matches a filter, in order, through lost connections and servers.

This is an ordered consumer that pulls. nats-py has one that is pushed to, and it drops messages without a word when
its queue is full; here nothing is asked for that there is no room for. The server keeps the consumer in memory. When it
is lost, or one of its messages on the way, another one begins behind the last message seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import datetime
from typing import Any

from nats.aio.msg import Msg

from router.clock import rfc3339
from router.jetstream import JetStream, StoreUnavailableError
from router.pulling import Puller

_AHEAD = 256  #: messages held for a reader who is slow
_PAUSE = 0.5  #: seconds before a lost consumer is replaced
_FORGOTTEN_AFTER = 60 * 10**9  #: nanoseconds without a pull, after which the server drops a consumer

#: Begin with what comes from now on.
ONLY_NEW: Mapping[str, Any] = {"deliver_policy": "new"}


def since(moment: datetime) -> Mapping[str, Any]:
    """Begin with what was stored at this moment or later."""
    return {"deliver_policy": "by_start_time", "opt_start_time": rfc3339(moment)}


def behind(sequence: int) -> Mapping[str, Any]:
    """Begin with what follows this message."""
    return {"deliver_policy": "by_start_sequence", "opt_start_seq": sequence + 1}


async def follow(
    js: JetStream, stream: str, subjects: Sequence[str], start: Mapping[str, Any], *, to_end: bool = False
) -> AsyncGenerator[Msg, None]:
    """Messages in order, for ever or `to_end`. Raises `StoreError` when the stream cannot be read at all."""
    seen = 0
    tap = await _Tap.opened(js, stream, subjects, start)
    while True:
        try:
            if to_end and not tap.pending:
                return
            while msg := await tap.next():
                seen = msg.metadata.sequence.stream
                yield msg
                if to_end and not msg.metadata.num_pending:
                    return
        finally:
            await tap.close()
        tap = await _replaced(js, stream, subjects, behind(seen) if seen else start)


async def _replaced(js: JetStream, stream: str, subjects: Sequence[str], start: Mapping[str, Any]) -> _Tap:
    while True:
        await asyncio.sleep(_PAUSE)
        try:
            return await _Tap.opened(js, stream, subjects, start)
        except StoreUnavailableError:
            continue  # the connection comes back by itself


class _Tap:
    """One consumer of the server's, for as long as it delivers without a gap."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Msg] = asyncio.Queue()
        self._delivered = 0  #: by the consumer's own count
        self.pending = 0  #: messages that were there when it was made
        self._puller: Puller

    @classmethod
    async def opened(cls, js: JetStream, stream: str, subjects: Sequence[str], start: Mapping[str, Any]) -> _Tap:
        """Make the consumer and begin to pull."""
        config = {
            **start,
            "ack_policy": "none",
            "filter_subjects": list(subjects),
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": _FORGOTTEN_AFTER,
        }
        answer = await js.api(f"CONSUMER.CREATE.{stream}", {"stream_name": stream, "config": config})
        tap = cls()
        tap.pending = answer["num_pending"]
        tap._puller = Puller(js, stream, answer["name"], tap._queue.put_nowait, tap._room)
        await tap._puller.start()
        return tap

    def _room(self) -> int:
        return _AHEAD - self._queue.qsize()

    async def next(self) -> Msg | None:
        """The next message; None when the consumer is lost or left one out."""
        while True:
            try:
                async with asyncio.timeout(Puller.HEARTBEAT):
                    msg = await self._queue.get()
            except TimeoutError:
                if self._puller.lost:
                    return None
                continue
            self._puller.more_room()
            self._delivered += 1
            return msg if msg.metadata.sequence.consumer == self._delivered else None

    async def close(self) -> None:
        """Ask for nothing more; the server forgets the consumer by itself."""
        await self._puller.stop()
