"""Key-value buckets, read through a local mirror so that the hot path costs no round trip.

nats-py's own watch loses keys of large buckets without a word (docs/decisions/0002-own-request-inbox.md), so a mirror
is fed by a pull consumer with natural back-pressure: the last value of every key first, then every change. A mirror is
a cache: it may be lost at any instant, and what must not be decided on stale data goes through compare-and-set.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

import structlog
from nats.aio.msg import Msg

from router.clock import Clock, utc_now
from router.expiry import Expiry
from router.jetstream import JetStream, StoreError, StoreRefusedError, StoreUnavailableError, WrongSequenceError
from router.pulling import Puller, place_of
from router.tasks import keep_running

log = structlog.get_logger(__name__)

V = TypeVar("V")
_GONE = {"DEL", "PURGE"}
_LOADING = 120.0  #: seconds that loading a bucket may take
#: For so many seconds a cluster that elects a leader is asked again to begin with it, as often as this.
_BEGINS_WITHIN, _ASKED_AGAIN = 10.0, 0.25
_PAGE = 500  #: messages asked for at once: answers to other questions wait behind no more than these
#: Seconds without a sign of life, which comes every two, after which a mirror may have fallen behind.
_FRESH = 3.0


@dataclass(frozen=True, slots=True)
class Entry(Generic[V]):
    """A value and the revision to compare with when it is changed."""

    value: V
    revision: int


class Bucket:
    """Writes and direct reads."""

    def __init__(self, js: JetStream, name: str) -> None:
        self._js = js
        self.name = name
        self.stream = f"KV_{name}"

    def subject(self, key: str) -> str:
        """Where a key lives."""
        return f"$KV.{self.name}.{key}"

    async def put(self, key: str, value: bytes, *, ttl: float | None = None, expect: int | None = None) -> int:
        """Store a value and return its revision.

        `expect` is the revision it replaces (0: there is none); after `ttl` seconds, 1 at least, the key is gone.
        Raises `WrongSequenceError` when another revision stands there.
        """
        headers = {"Nats-TTL": f"{max(1, round(ttl))}s"} if ttl is not None else None
        return await self._js.publish(self.subject(key), value, headers, expect=expect)

    async def get(self, key: str) -> Entry[bytes] | None:
        """The stored value; None when there is none."""
        stored = await self._js.last(self.stream, self.subject(key))
        if stored is None or stored.headers.get("KV-Operation") in _GONE:
            return None
        return Entry(stored.body, stored.sequence)

    async def delete(self, key: str, *, ttl: float | None = None) -> int:
        """Remove a key; the marker that says so stays, or for `ttl` seconds. Returns the marker's revision."""
        headers = {"KV-Operation": "DEL"}
        if ttl is not None:
            headers["Nats-TTL"] = f"{max(1, round(ttl))}s"
        return await self._js.publish(self.subject(key), b"", headers)

    async def change(
        self, key: str, change: Callable[[bytes | None], bytes], *, ttl: float | None = None
    ) -> Entry[bytes]:
        """Read, change and write back, again until nobody came in between; returns what was written."""
        while True:
            entry = await self.get(key)
            value = change(entry.value if entry else None)
            # Over a deletion marker the expected revision is the marker's, so a vanished entry is asked for again.
            revision = entry.revision if entry else await self._revision(key)
            try:
                return Entry(value, await self.put(key, value, ttl=ttl, expect=revision))
            except WrongSequenceError:
                continue

    async def _revision(self, key: str) -> int:
        stored = await self._js.last(self.stream, self.subject(key))
        return stored.sequence if stored else 0


class Mirror(Generic[V]):
    """A bucket's content in memory, decoded, kept up to date."""

    def __init__(
        self,
        js: JetStream,
        bucket: Bucket,
        decode: Callable[[bytes], V],
        ends: Callable[[V], datetime] | None = None,
        below: str | None = None,
        clock: Clock = utc_now,
    ) -> None:
        self._js = js
        self._filter = bucket.subject(f"{below}.>" if below else ">")  #: only keys that begin with this token
        self._ends = ends  #: when a value expires; None: never
        self._clock = clock
        self._expiry = Expiry(self._end_of) if ends else None  #: a mirror hears of no expiry, so it looks itself
        self.bucket = bucket
        self._decode = decode
        self._entries: dict[str, tuple[bytes, int]] = {}
        self._cut = len(bucket.subject(""))
        self._sequence = 0
        self._nth = 0  #: deliveries of its consumer that came here
        self._torn = False  #: one did not: it follows anew from where it stood
        self._aim: int | None = None  #: sequence of the newest value when it began to follow
        self._warm = asyncio.Event()
        self._puller: Puller | None = None
        self._guard: asyncio.Task[None] | None = None
        self._forget_reconnects: Callable[[], None] = lambda: None
        self.changes = 0  #: grows with every change, for whoever wants to look only when something is new

    async def start(self, *, wait: bool = True) -> None:
        """Load everything, then follow. Without `wait` that goes on: until `is_current`, `refresh` what matters."""
        await self._begin()
        self._forget_reconnects = self._js.when_reconnected(self._tear)
        self._guard = keep_running(f"mirror-{self.bucket.name}", self._watch_over)
        if wait:
            await self._loaded()

    async def _begin(self) -> None:
        """A consumer of a bucket that a cluster has just made may come to a server that does not have it yet.

        Then nobody answers, and the next try goes to another one.
        """
        deadline = time.monotonic() + _BEGINS_WITHIN
        while True:
            try:
                await self._follow()
            except StoreError as exc:
                if self._puller:
                    await self._puller.stop()  # of two, each would hide from the other what it took
                if not exc.passes or time.monotonic() > deadline:
                    raise
                await asyncio.sleep(_ASKED_AGAIN)
            else:
                return

    async def _loaded(self) -> None:
        try:
            async with asyncio.timeout(_LOADING):
                await self._warm.wait()
        except TimeoutError:
            raise StoreUnavailableError(f"bucket {self.bucket.name} could not be read in time") from None

    async def stop(self) -> None:
        """Stop following."""
        self._forget_reconnects()
        if self._guard:
            self._guard.cancel()
        if self._puller:
            await self._puller.stop()

    @property
    def is_current(self) -> bool:
        """Whether what it holds is what the server has, but for what is on its way: loaded, and the server gives signs.

        One that nobody started holds what was noted.
        """
        if self._puller is None:
            return not self._torn
        return self._warm.is_set() and not self._puller.lost and self._puller.silence < _FRESH

    async def refresh(self, key: str) -> None:
        """Ask the server for this key: what must not be decided on stale data, while this is not current."""
        entry = await self.bucket.get(key)
        if entry is not None:
            self.note(key, entry.value, entry.revision)
        elif self._entries.pop(key, None):
            self.changes += 1

    def get(self, key: str) -> V | None:
        """Decoded when asked for: most entries of a large bucket never are."""
        entry = self._entries.get(key)
        return self._decode(entry[0]) if entry else None

    def raw(self, key: str) -> tuple[int, bytes] | None:
        """Revision and value as stored."""
        entry = self._entries.get(key)
        return (entry[1], entry[0]) if entry else None

    def all(self) -> dict[str, V]:
        """Everything now known, by key: for small buckets."""
        return {key: self._decode(value) for key, (value, _) in self._entries.items()}

    def keys(self) -> list[str]:
        """Every key now known."""
        return list(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def note(self, key: str, value: bytes, revision: int) -> None:
        """Our own write is known at once, before it comes back."""
        before = self._entries.get(key)
        if revision > self._sequence and (before is None or before[1] < revision):
            self._entries[key] = (value, revision)
            self.changes += 1
            if self._expiry is not None and (before is None or self._ends_sooner(value, before[0])):
                self._expiry.came(key)

    def drop(self, key: str, revision: int) -> None:
        """Our own deletion is known at once."""
        if self._entries.get(key, (b"", revision))[1] < revision:
            del self._entries[key]
            self.changes += 1

    def forget(self) -> None:
        """Let go of what has expired; some of it with each call."""
        if self._expiry is not None:
            for key in self._expiry.ended(self._clock()):
                self._entries.pop(key, None)

    def _ends_sooner(self, value: bytes, before: bytes) -> bool:
        end, ended = self._end_in(value), self._end_in(before)
        return end is not None and (ended is None or end < ended)

    def _end_of(self, key: str) -> datetime | None:
        entry = self._entries.get(key)
        return self._end_in(entry[0]) if entry else None

    def _end_in(self, value: bytes) -> datetime | None:
        """What nobody can read stays until it is written anew: it must not hold up what follows it."""
        if self._ends is None:
            return None
        try:
            end = self._ends(self._decode(value))
        except (ValueError, LookupError, TypeError):
            return None
        return end if end.tzinfo else None  # a moment of no zone is none

    async def _follow(self) -> None:
        start = (
            {"deliver_policy": "by_start_sequence", "opt_start_seq": self._sequence + 1}
            if self._sequence
            else {"deliver_policy": "last_per_subject"}
        )
        config = {
            **start,
            "ack_policy": "none",
            "filter_subject": self._filter,
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": 60 * 10**9,
        }
        answer = await self._js.api(
            f"CONSUMER.CREATE.{self.bucket.stream}", {"stream_name": self.bucket.stream, "config": config}
        )
        self._warm.clear()
        self._torn, self._nth = False, 0
        self._puller = Puller(self._js, self.bucket.stream, answer["name"], self.take, lambda: _PAGE)
        await self._puller.start()
        await self._take_aim()

    async def _take_aim(self) -> None:
        """With the newest value everything before it is here.

        How much is pending says the consumer, too; but it counts in one copy of the bucket, which may be behind the
        others', and does not count right what is replaced meanwhile.
        """
        newest = await self._js.last(self.bucket.stream, self._filter)
        self._aim = newest.sequence if newest else 0
        self._notice_warm()

    def _notice_warm(self) -> None:
        if self._aim is not None and self._sequence >= self._aim and not self._torn:
            self._warm.set()

    async def _notice_new_bucket(self) -> None:
        """One that was deleted and made again, or restored, counts from the beginning: so do we."""
        if self._sequence > (await self._js.api(f"STREAM.INFO.{self.bucket.stream}"))["state"]["last_seq"]:
            log.warning("bucket.made_anew", bucket=self.bucket.name, known=len(self._entries))
            self._entries, self._sequence = {}, 0
            self.changes += 1

    def _tear(self) -> None:
        """Something was delivered that did not come here: what stands after it would hide that it is missing."""
        self._torn = True
        self._warm.clear()

    def take(self, msg: Msg) -> None:
        """One delivery of its consumer."""
        key = msg.subject[self._cut :]
        place = place_of(msg)
        self._nth += 1
        if place.nth != self._nth:
            self._tear()
        if self._torn:
            return  # all of it comes again
        sequence = place.sequence
        headers = msg.headers or {}
        gone = headers.get("KV-Operation") in _GONE or "Nats-Marker-Reason" in headers
        if gone:
            self._entries.pop(key, None)
            self.changes += 1
        else:
            self.note(key, msg.data, sequence)
        self._sequence = max(self._sequence, sequence)
        self._notice_warm()

    async def _watch_over(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self.forget()
            if self._puller is None or not self._js.client.is_connected:
                continue
            try:
                if not self._torn and not self._puller.lost:
                    if not self._warm.is_set():
                        await self._take_aim()  # what it aimed at may have expired
                    continue
                await self._puller.stop()
                await self._notice_new_bucket()
                await self._follow()
            except (StoreUnavailableError, StoreRefusedError):
                continue  # tried again at the next round
