"""Pulling from a consumer with flow control, and telling the server what became of each message."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from nats.aio.msg import Msg

from router.jetstream import JetStream, StoreError, StoreUnavailableError
from router.natswire import subscribe
from router.tasks import keep_running

#: Of a pull request: the server is alive and has nothing; the request has waited its full time.
_HEARTBEAT_STATUS, _EXPIRED_STATUS = "100", "408"
#: Seconds without a sign of life after which a consumer counts as lost.
_SILENCE = 8.0

Handler = Callable[[Msg], None]


class Puller:
    """Pulls from one consumer into a callback, never asking for more than the callback's owner has room for.

    A pull request can vanish without a word: with the stream's leader, with the consumer, with the connection. So every
    request asks for heartbeats, and when all is silent what was asked for is written off and asked again.
    """

    HEARTBEAT = 2.0  #: seconds between the server's signs of life
    EXPIRES = 30.0  #: seconds a pull request waits for messages

    def __init__(
        self,
        js: JetStream,
        stream: str,
        consumer: str,
        handler: Handler,
        room: Callable[[], int],
        restore: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._js = js
        self._restore = restore  #: makes the consumer again, should somebody have deleted it
        self._refused = False
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._handler = handler
        self._room = room  #: how many messages more its owner can hold now
        self._prefix = ""
        self._ids = itertools.count(1)
        self._open: dict[str, int] = {}  #: pull requests that have not ended, oldest first, with what each still brings
        self._coming = 0  #: messages asked for and not yet here
        self._half = 0  #: of what was under way when last asked
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._subscription: Any = None
        self._forget_reconnects: Callable[[], None] = lambda: None
        self.name = consumer
        self.last_sign = time.monotonic()  #: of life from the server

    async def start(self) -> None:
        """Begin to pull."""
        self._prefix = self._js.client.new_inbox() + "."
        self._subscription = await subscribe(self._js.client, self._prefix + "*", self._on_message)
        self._forget_reconnects = self._js.when_reconnected(self._begin_anew)
        self._task = keep_running(f"pull-{self.name}", self._loop)

    async def stop(self) -> None:
        """Ask for nothing more; what is still under way is delivered again to somebody else."""
        self._forget_reconnects()
        if self._task:
            self._task.cancel()
        subscription, self._subscription = self._subscription, None
        if subscription is not None and self._js.client.is_connected:
            await subscription.unsubscribe()

    @property
    def lost(self) -> bool:
        """Whether the consumer answers no more."""
        return self._refused or time.monotonic() - self.last_sign > _SILENCE

    @property
    def silence(self) -> float:
        """Seconds since the last sign of life from the server."""
        return time.monotonic() - self.last_sign

    @property
    def requests(self) -> int:
        """Pull requests under way."""
        return len(self._open)

    def more_room(self) -> None:
        """The owner finished something: look again whether to ask for more."""
        if self._to_ask():
            self._wake.set()

    def _to_ask(self) -> int:
        """How many messages to ask for now.

        With half of what there is room for still to come, another small request would only cost a round trip.
        """
        room = self._room()
        return room - self._coming if room > 0 and self._coming <= room // 2 else 0

    async def _loop(self) -> None:
        while True:
            self._write_off_silence()
            if self._refused:
                await self._make_again()
            if batch := self._to_ask():
                await self._ask(batch)
            self._wake.clear()
            try:
                async with asyncio.timeout(self.HEARTBEAT):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _make_again(self) -> None:
        if self._restore is None:
            return  # whoever made it sees that it is lost
        try:
            await self._restore()
        except StoreError:
            return  # at the next beat once more
        self._refused = False

    async def _ask(self, batch: int) -> None:
        key = str(next(self._ids))
        request = {"batch": batch, "expires": int(self.EXPIRES * 1e9), "idle_heartbeat": int(self.HEARTBEAT * 1e9)}
        try:
            await self._js.send(self._subject, json.dumps(request).encode(), reply=self._prefix + key)
        except StoreUnavailableError:
            return  # asked again when the connection is back
        if not self._open:
            self.last_sign = time.monotonic()
        self._open[key] = batch
        self._coming += batch
        self._half = self._coming // 2

    def _write_off_silence(self) -> None:
        if self._open and time.monotonic() - self.last_sign > 2.5 * self.HEARTBEAT:
            self._begin_anew()

    def _begin_anew(self) -> None:
        """Whatever was asked for is lost."""
        self._open.clear()
        self._coming = 0
        self._wake.set()

    def _on_message(self, msg: Msg) -> None:
        self.last_sign = time.monotonic()
        if msg.subject.startswith(self._prefix):
            self._on_status(msg)
            return
        self._refused = False
        self._coming = max(0, self._coming - 1)
        self._count_one()
        self._handler(msg)
        if self._coming == self._half:
            # An owner whose room never ends (a mirror) reports no room of its own.
            self._wake.set()

    def _count_one(self) -> None:
        """The server serves the oldest request first, and says nothing of one that has got all it asked for."""
        for key, left in self._open.items():
            if left > 1:
                self._open[key] = left - 1
            else:
                del self._open[key]
            return

    def _on_status(self, msg: Msg) -> None:
        headers = msg.headers or {}
        key = msg.subject[len(self._prefix) :]
        if headers.get("Status") == _HEARTBEAT_STATUS or key not in self._open:
            return
        left = self._open.pop(key)
        # The request is over, with so many of its messages undelivered. One that was refused (409, 503) is asked again
        # at the next beat of the loop and not at once: a consumer that refuses must not be asked in a tight loop.
        self._coming = max(0, self._coming - int(headers.get("Nats-Pending-Messages", left)))
        if headers.get("Status") == _EXPIRED_STATUS:
            self._wake.set()
        else:
            self._refused = True


class Place(NamedTuple):
    """Where a delivered message stands."""

    sequence: int  #: in its stream
    deliveries: int  #: this one included
    pending: int  #: messages of the consumer that are still to come
    stored_at: float  #: when it was stored, in seconds since 1970
    nth: int  #: delivery of its consumer, from 1


def place_of(msg: Msg) -> Place:
    """From the reply subject, where JetStream says it; nats-py's `metadata` makes more of it and takes longer.

    `$JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>`; with a JetStream domain two
    more tokens stand after the second, and a random one at the end.
    """
    tokens = msg.reply.split(".")
    first = 4 if len(tokens) == 9 else 6
    deliveries, sequence, nth, stored_at, pending = map(int, tokens[first : first + 5])
    return Place(sequence, deliveries, pending, stored_at / 1e9, nth)


async def acknowledge(js: JetStream, msg: Msg) -> None:
    """Done with it. Fire and forget: an acknowledgement that is lost costs one look into the log."""
    await js.tell(msg.reply, b"+ACK")


async def give_back(js: JetStream, msg: Msg, delay: float = 0.0) -> None:
    """Let it be delivered again, after `delay` seconds."""
    body = b"-NAK" if delay <= 0 else b"-NAK " + json.dumps({"delay": int(delay * 1e9)}).encode()
    await js.tell(msg.reply, body)


async def still_working(js: JetStream, msg: Msg) -> None:
    """Restart the clock after which another process may take it over."""
    await js.tell(msg.reply, b"+WPI")
