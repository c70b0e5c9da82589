"""Which of the provider's messages belong to which attempt: one message is never counted for two.

Most belong to the attempt whose `accepted` event names them; those are read from the log. The few that a search finds
are claimed one by one in a bucket, so that two searches at the same moment do not take the same one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from nats.aio.msg import Msg

from router import subjects
from router.buckets import Bucket
from router.clock import parse_time, rfc3339
from router.events import PROVIDER_MESSAGE_ID
from router.jetstream import JetStream, StoreUnavailableError, WrongSequenceError
from router.pulling import Puller, place_of

_ACCEPTED = "deliveries.*.accepted.>"
#: Seconds that a claim is kept: far longer than an attempt can stay unknown.
_KEPT = 7 * 86_400
#: What is so much older than what is asked about is not kept for longer than twice this.
_BEHIND = timedelta(minutes=15)
#: Seconds that reading the log's window may take.
_PATIENCE = 30.0


class Attribution:
    """Knows the provider's ids that are taken."""

    def __init__(self, js: JetStream, bucket: str) -> None:
        self._js = js
        self._bucket = Bucket(js, bucket)
        self._taken: dict[str, float] = {}  #: id -> when its event was stored, in seconds since 1970
        self._since: datetime | None = None
        self._next = 0
        self._lock = asyncio.Lock()

    def __len__(self) -> int:
        """How many ids are remembered."""
        return len(self._taken)

    async def taken(self, provider_message_ids: Iterable[str], since: datetime) -> frozenset[str]:
        """Those that the log's `accepted` events since then name: it is read on from where the last call stopped."""
        async with self._lock:
            self._look_back_to(since)
            await self._read_on()
            return frozenset(each for each in provider_message_ids if each in self._taken)

    def _look_back_to(self, since: datetime) -> None:
        """Read anew when asked about earlier; and forget what nobody asks about any more."""
        if self._since is None or since < self._since:
            self._taken, self._since, self._next = {}, since, 0
        elif since - self._since > 2 * _BEHIND:
            self._since = since - _BEHIND
            first = self._since.timestamp()
            self._taken = {each: at for each, at in self._taken.items() if at >= first}

    async def claim(self, provider_message_id: str, owner: str) -> bool:
        """Take this message for this attempt; False when another attempt has it."""
        try:
            await self._bucket.put(provider_message_id, owner.encode(), ttl=_KEPT, expect=0)
        except WrongSequenceError:
            entry = await self._bucket.get(provider_message_id)
            return entry is not None and entry.value.decode().split()[0] == owner
        return True

    async def hold(self, provider_message_id: str, owner: str) -> str:
        """Take this message for this attempt, unless another one has it; returns who has it now."""
        if await self.claim(provider_message_id, owner):
            return owner
        return await self.held_by(provider_message_id) or owner

    async def held_by(self, provider_message_id: str) -> str | None:
        """The attempt that has this message; None where nobody claimed it."""
        entry = await self._bucket.get(provider_message_id)
        return entry.value.decode().split()[0] if entry else None

    async def take_over(self, provider_message_id: str, owner: str) -> str | None:
        """Take this message for this attempt, whoever has it; returns the one that had it, however often it is asked.

        Both stand in the bucket, so that whoever dies before the other one was told does so when it comes again.
        """
        displaced = ""

        def taken(stored: bytes | None) -> bytes:
            nonlocal displaced
            holder, _, before = (stored or owner.encode()).decode().partition(" ")
            displaced = before if holder == owner else holder
            return f"{owner} {displaced}".strip().encode()

        await self._bucket.change(provider_message_id, taken, ttl=_KEPT)
        return displaced or None

    async def _read_on(self) -> None:
        assert self._since is not None
        start: dict[str, object] = {"deliver_policy": "by_start_time", "opt_start_time": rfc3339(self._since)}
        if self._next:
            start = {"deliver_policy": "by_start_sequence", "opt_start_seq": self._next}
        config = {
            **start,
            "ack_policy": "none",
            "filter_subject": _ACCEPTED,
            "headers_only": True,
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": 30 * 10**9,
        }
        subject = f"CONSUMER.CREATE.{subjects.DELIVERIES}"
        answer = await self._js.api(subject, {"stream_name": subjects.DELIVERIES, "config": config})
        if left := int(answer["num_pending"]):
            await self._pull(answer["name"], left)
        unread = max(self._next, int(answer["delivered"]["stream_seq"]) + 1)
        # What a copy does not show as taken yet must not be taken for another attempt's.
        for stored in await self._js.not_yet_copied(subjects.DELIVERIES, _ACCEPTED, unread):
            self._note(stored.headers, stored.sequence, parse_time(stored.time).timestamp())

    def _note(self, headers: Mapping[str, str], sequence: int, at: float) -> None:
        if sid := headers.get(PROVIDER_MESSAGE_ID):
            self._taken[sid] = at
        self._next = sequence + 1

    async def _pull(self, consumer: str, left: int) -> None:
        done = asyncio.Event()

        def take(msg: Msg) -> None:
            nonlocal left
            left -= 1
            place = place_of(msg)
            self._note(msg.headers or {}, place.sequence, place.stored_at)
            if left <= 0:
                done.set()

        puller = Puller(self._js, subjects.DELIVERIES, consumer, take, lambda: min(max(left, 0), 5_000))
        await puller.start()
        try:
            async with asyncio.timeout(_PATIENCE):
                await done.wait()
        except TimeoutError:
            raise StoreUnavailableError("the log could not be read in time") from None
        finally:
            await puller.stop()
