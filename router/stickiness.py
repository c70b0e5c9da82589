"""Which sender a recipient had their last message from, so that they keep it.

It matters only where several senders are equal for a channel: there a recipient would otherwise move when a sender is
added, taken away or given another weight. Everywhere else nothing is kept, read or written.

Written after an attempt was accepted and recorded, without waiting for an answer and only when it changes: a write that
is lost costs a recipient their sender, once, and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from channels.model import ChannelName, Recipient
from router import topology
from router.buckets import Bucket, Mirror
from router.clock import Clock, rfc3339
from router.hashing import Hasher
from router.jetstream import JetStream, StoreError
from router.settings import StickinessSettings

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """A recipient's sender on one channel."""

    sender: str
    until: datetime


class Stickiness:
    """The bucket `last-senders`: a key for each channel and recipient."""

    def __init__(
        self,
        js: JetStream,
        prefix: str,
        hasher: Hasher,
        channels: Collection[ChannelName],
        settings: StickinessSettings,
        clock: Clock,
    ) -> None:
        self.channels = channels if settings.ttl > 0 else ()  #: those with equal senders
        self._js = js
        self._hasher = hasher
        self._length = timedelta(seconds=settings.ttl)
        self._clock = clock
        self._bucket = Bucket(js, prefix + topology.LAST_SENDERS)
        self.mirror: Mirror[Kept] = Mirror(js, self._bucket, _decode, lambda kept: kept.until, clock=clock)

    def known(self, recipient: Recipient) -> dict[ChannelName, str]:
        """Channel -> the sender of the last message, where it makes a difference."""
        if not self.channels:
            return {}
        kept = {channel: self._kept(channel, recipient) for channel in self.channels}
        return {channel: each.sender for channel, each in kept.items() if each}

    async def used(self, recipient: Recipient, channel: ChannelName, sender: str) -> None:
        """The provider accepted a message from this sender."""
        if channel not in self.channels:
            return
        kept, now = self._kept(channel, recipient), self._clock()
        # Who writes often is written down anew before it is forgotten, and not each time.
        if kept and kept.sender == sender and kept.until - now > self._length / 2:
            return
        value = json.dumps({"sender": sender, "until": rfc3339(now + self._length)}).encode()
        subject = self._bucket.subject(self._key(channel, recipient))
        try:
            await self._js.send(subject, value, headers={"Nats-TTL": f"{max(1, round(self._length.total_seconds()))}s"})
        except StoreError as exc:
            log.debug("stickiness.not_kept", channel=channel, sender=sender, why=str(exc))

    def _kept(self, channel: ChannelName, recipient: Recipient) -> Kept | None:
        kept = self.mirror.get(self._key(channel, recipient))
        return kept if kept and kept.until > self._clock() else None

    def _key(self, channel: ChannelName, recipient: Recipient) -> str:
        return f"{channel}.{self._hasher.recipient(recipient)}"


def _decode(value: bytes) -> Kept:
    row = json.loads(value)
    return Kept(row["sender"], datetime.fromisoformat(row["until"]))
