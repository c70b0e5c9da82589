"""Which router paces which sender: one owner at a time, another within seconds when it dies.

Every router says that it lives by a key that expires; every sender belongs to the living router that ranks highest for
it (rendezvous hashing), so senders spread over routers and move as little as possible. A lease is a key that expires
too, changed by compare-and-set. It decides who paces, never who may send: that is the claim in the log.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from router.buckets import Bucket
from router.jetstream import JetStream, StoreError, WrongSequenceError
from router.tasks import keep_running

log = structlog.get_logger(__name__)

_PRESENCE, _LEASE = "router", "lease"


class Presence:
    """Signs of life of the routers: a key each, which expires."""

    def __init__(
        self,
        js: JetStream,
        bucket: str,
        instance: str,
        seconds: float,
        senders: Collection[str] = (),
        tells: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        self._js = js
        self._bucket = Bucket(js, bucket)
        self._instance = instance  #: no dot in it
        self._seconds = seconds
        self._senders = sorted(senders)
        self._tells = tells  #: what else this router says of itself, for people

    async def beat(self) -> None:
        """This router lives."""
        sign = json.dumps({**self._tells(), "senders": self._senders}).encode()
        await self._bucket.put(f"{_PRESENCE}.{self._instance}", sign, ttl=self._seconds)

    async def leave(self) -> None:
        """This router stops."""
        await self._bucket.delete(f"{_PRESENCE}.{self._instance}", ttl=self._seconds)

    async def routers(self) -> Mapping[str, Collection[str]]:
        """Those that live, each with the senders that its configuration has: it may differ while one is changed."""
        return {instance: sign["senders"] for instance, sign in (await self.signs()).items()}

    async def signs(self) -> Mapping[str, Mapping[str, Any]]:
        """Those that live, each with all that it says of itself."""
        stored = await self._js.last_of_each(self._bucket.stream, self._bucket.subject(f"{_PRESENCE}.*"))
        living = [each for each in stored if "KV-Operation" not in each.headers and each.body]
        signs = {each.subject.rsplit(".", 1)[1]: _read(each.body) for each in living}
        return {instance: sign for instance, sign in signs.items() if isinstance(sign.get("senders"), list)}

    async def lives(self, owner: str) -> bool:
        """Whether the router that an event's owner mark begins with gives signs of life."""
        instance = owner.partition(".")[0]
        return instance == self._instance or instance in await self.routers()


async def has_owner(js: JetStream, bucket: str, sender: str) -> bool:
    """Whether some router paces this sender now."""
    stored = await js.last(f"KV_{bucket}", Bucket(js, bucket).subject(f"{_LEASE}.{sender}"))
    return stored is not None and bool(_owner(stored.body))


def _read(value: bytes) -> Mapping[str, Any]:
    """What a router wrote; whatever else may stand there says nothing, and stops nobody."""
    try:
        read = json.loads(value)
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}


def _owner(value: bytes) -> str:
    """Of a lease; empty where it has none."""
    return str(_read(value).get("owner", ""))


@dataclass(slots=True)
class _Held:
    revision: int
    until: float  #: monotonic: when it counts as lost if it cannot be renewed


class Leases:
    """Takes and gives up senders for one router."""

    def __init__(
        self,
        js: JetStream,
        bucket: str,
        instance: str,
        presence: Presence,
        senders: Sequence[str],
        seconds: float,
        *,
        gained: Callable[[str], Awaitable[None]],
        lost: Callable[[str], Coroutine[Any, Any, None]],
    ) -> None:
        self._js = js
        self._bucket = Bucket(js, bucket)
        self._instance = instance
        self._presence = presence
        self._senders = senders
        self._seconds = seconds
        self._gained = gained
        self._lost = lost
        self._held: dict[str, _Held] = {}
        self._draining: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None

    @property
    def held(self) -> list[str]:
        """Senders that this router paces now."""
        return sorted(self._held)

    async def start(self) -> None:
        """Join, and take the senders that are this router's."""
        self._task = keep_running("leases", self._loop)

    def hold(self) -> None:
        """Take and renew nothing more."""
        if self._task:
            self._task.cancel()

    async def stop(self) -> None:
        """Give everything up, so that others need not wait for it to expire."""
        self.hold()
        for sender in list(self._held):
            await self._give_up(sender)
        if self._draining:
            await asyncio.wait(self._draining)
        try:
            await self._presence.leave()
        except StoreError:
            log.debug("leases.left_to_expire")

    async def _loop(self) -> None:
        while True:
            started = time.monotonic()
            try:
                await self._round()
            except StoreError as exc:
                log.warning("leases.unavailable", why=str(exc))
            self._drop_outdated()
            await asyncio.sleep(max(0.05, self._seconds / 4 - (time.monotonic() - started)))

    async def _round(self) -> None:
        await self._presence.beat()
        living = await self._presence.routers()
        for sender in self._senders:
            mine = ranked(sender, [router for router, has in living.items() if sender in has]) == self._instance
            if sender in self._held:
                await (self._renew(sender) if mine else self._give_up(sender))
            elif mine:
                await self._acquire(sender)

    async def _acquire(self, sender: str) -> None:
        stored = await self._js.last(self._bucket.stream, self._bucket.subject(f"{_LEASE}.{sender}"))
        if stored is not None and _owner(stored.body):
            return  # its owner has not given it up, or is dead and it has not expired
        if await self._write(sender, self._instance, stored.sequence if stored else 0):
            log.info("lease.gained", sender=sender)
            await self._gained(sender)

    async def _renew(self, sender: str) -> None:
        if not await self._write(sender, self._instance, self._held[sender].revision):
            self._forget(sender, "taken by another router")

    async def _give_up(self, sender: str) -> None:
        revision = self._held[sender].revision
        self._forget(sender, "another router ranks higher, or this one stops")
        try:
            await self._bucket.put(f"{_LEASE}.{sender}", b'{"owner": ""}', ttl=self._seconds, expect=revision)
        except StoreError:
            log.debug("lease.left_to_expire", sender=sender)

    async def _write(self, sender: str, owner: str, revision: int) -> bool:
        until = time.monotonic() + self._seconds - 0.5
        value = json.dumps({"owner": owner}).encode()
        try:
            revision = await self._bucket.put(f"{_LEASE}.{sender}", value, ttl=self._seconds, expect=revision)
        except WrongSequenceError:
            return False
        self._held[sender] = _Held(revision, until)
        return True

    def _drop_outdated(self) -> None:
        now = time.monotonic()
        for sender in [sender for sender, held in self._held.items() if held.until < now]:
            self._forget(sender, "could not be renewed in time")

    def _forget(self, sender: str, why: str) -> None:
        """Its queue drains by itself: waiting for that would let the other leases and the sign of life expire."""
        del self._held[sender]
        log.info("lease.lost", sender=sender, why=why)
        task = asyncio.create_task(self._lost(sender), name=f"drain-{sender}")
        self._draining.add(task)
        task.add_done_callback(self._draining.discard)


def ranked(sender: str, routers: Sequence[str]) -> str | None:
    """The router that a sender belongs to, the same wherever it is computed."""
    return max(routers, key=lambda router: hashlib.sha256(f"{sender}/{router}".encode()).digest(), default=None)
