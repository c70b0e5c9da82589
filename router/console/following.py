"""Follows the delivery log into the feed: a consumer that acknowledges nothing and is gone when nobody reads it."""

from __future__ import annotations

import asyncio

from nats.aio.msg import Msg

from router import subjects
from router.clock import parse_time
from router.console.feed import Feed, Seen
from router.jetstream import JetStream, StoreError
from router.metrics.backlog import stream_state
from router.pulling import Puller
from router.tasks import keep_running

#: Events asked for at once, and how many of them may come in one beat: the console slows no router down.
_AT_ONCE = 500
_BEAT = 0.1  #: seconds
_LOOK = 1.0  #: seconds between looks whether the consumer still answers
#: Events of a search that are read at once, and seconds that one may take.
_PAGE, _PATIENCE = 1_000, 8.0


class Follower:
    """Keeps a feed up to date."""

    def __init__(self, js: JetStream, feed: Feed, most: int) -> None:
        self._js = js
        self._feed = feed
        self._most = most
        self._next = 0  #: sequence to go on from
        self._room = _AT_ONCE
        self._behind = False
        self._puller: Puller | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin with the newest events that the feed has room for."""
        self._task = keep_running("console-feed", self._follow)

    async def stop(self) -> None:
        """Follow no more."""
        if self._task:
            self._task.cancel()
        if self._puller:
            await self._puller.stop()

    async def _follow(self) -> None:
        while True:
            try:
                await self._begin()
                await self._until_lost()
            except StoreError:
                await asyncio.sleep(_LOOK)

    async def _begin(self) -> None:
        state = await stream_state(self._js, subjects.DELIVERIES)
        wanted = max(1, state.last - self._most + 1)
        if self._next and wanted > self._next:
            self._feed.skipped += wanted - self._next
        config = {
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": max(wanted, self._next),
            "ack_policy": "none",
            "filter_subject": "deliveries.>",
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": 60 * 10**9,
        }
        answer = await self._js.api(
            f"CONSUMER.CREATE.{subjects.DELIVERIES}", {"stream_name": subjects.DELIVERIES, "config": config}
        )
        self._puller = Puller(self._js, subjects.DELIVERIES, answer["name"], self._take, lambda: self._room)
        await self._puller.start()

    async def _until_lost(self) -> None:
        assert self._puller is not None
        try:
            while not self._puller.lost and not self._behind:
                await asyncio.sleep(_BEAT)
                self._room = _AT_ONCE
                self._puller.more_room()
        finally:
            self._behind = False
            await self._puller.stop()

    def _take(self, msg: Msg) -> None:
        self._room -= 1
        place = msg.metadata
        sequence = place.sequence.stream
        if sequence < self._next:
            return  # delivered again by a new consumer
        self._next = sequence + 1
        # More than the memory holds is to come: go on with its newest part.
        self._behind = place.num_pending > self._most
        self._feed.take(sequence, place.timestamp.timestamp(), msg.subject, msg.data)


class LogSearch:
    """Looks further back than the feed remembers."""

    def __init__(self, js: JetStream, feed: Feed) -> None:
        self._js = js
        self._feed = feed

    async def by_id(self, identity: str) -> list[Seen]:
        """Every notification of this id, of whichever source: found by subject, however old."""
        stored = await self._js.history(subjects.DELIVERIES, subjects.story("*", identity))
        newest = {each.subject.split(".")[1]: each for each in stored}
        return [
            Seen(each.sequence, parse_time(each.time).timestamp(), *_tokens(each.subject), each.body)
            for each in newest.values()
        ]

    def in_memory(self, wanted: str, most: int) -> list[Seen]:
        """By recipient, id or the provider's id, as far as the memory goes back."""
        return self._feed.find(wanted, most)

    async def further_back(self, wanted: str, most: int, before: int) -> tuple[list[Seen], float | None, bool, int]:
        """The same in the log before this sequence, newest page first, for some seconds.

        Returns what was found, how far back it looked, whether that is all there is, and where to go on.
        """
        found: list[Seen] = []
        looked: float | None = None
        first = (await stream_state(self._js, subjects.DELIVERIES)).first
        deadline = asyncio.get_running_loop().time() + _PATIENCE
        while before > first and len(found) < most and asyncio.get_running_loop().time() < deadline:
            start = max(first, before - _PAGE)
            page = await self._js.page(subjects.DELIVERIES, "deliveries.>", start, before)
            pages = Feed(_PAGE)
            for each in page:
                pages.take(each.sequence, parse_time(each.time).timestamp(), each.subject, each.body)
            found += pages.find(wanted, most - len(found))
            looked, before = pages.oldest or looked, start
        return found, looked, before <= first, before


def _tokens(subject: str) -> tuple[str, str, str, str]:
    _, source, status, channel, identity = subject.split(".")
    return source, status, channel, identity
