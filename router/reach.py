"""What attempts have taught: on which channels a recipient cannot be reached, why, and since when.

Learnt from refusals that the adapter calls lasting (`ProviderError.lasting`: not on WhatsApp, a landline), forgotten
after `[reach] ttl` seconds, or as soon as a message arrives there or the recipient writes from there. It saves attempts
that would fail, and no more than that: what could not be stored is learnt at the next failure.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog

from channels.model import ChannelName, ProviderError, Recipient
from router import topology
from router.buckets import Bucket, Mirror
from router.clock import Clock, rfc3339
from router.hashing import Hasher
from router.jetstream import JetStream, StoreError
from router.settings import ReachSettings

log = structlog.get_logger(__name__)

#: Seconds for which a deletion stays readable, for mirrors that were cut off meanwhile.
_MARKER = 86_400.0


@dataclass(frozen=True, slots=True)
class Lesson:
    """One channel on which a recipient was found unreachable."""

    why: str  #: the provider's words, by way of the adapter's table
    code: int | str | None  #: the provider's
    at: datetime
    until: datetime  #: when it is forgotten

    @property
    def because(self) -> str:
        """As a decision's trace shows it."""
        code = f" ({self.code})" if self.code is not None else ""
        return f"{self.why}{code}, learnt {self.at:%Y-%m-%d %H:%M} UTC"

    def as_dict(self) -> dict[str, Any]:
        """As stored and as services answer."""
        return {"why": self.why, "code": self.code, "at": rfc3339(self.at), "until": rfc3339(self.until)}


class Reach:
    """The bucket `reach`: a key for each channel and recipient."""

    def __init__(
        self,
        js: JetStream,
        prefix: str,
        hasher: Hasher,
        channels: Collection[ChannelName],
        settings: ReachSettings,
        clock: Clock,
    ) -> None:
        self._hasher = hasher
        self._channels = channels
        self._ttl = settings.ttl
        self._clock = clock
        self._bucket = Bucket(js, prefix + topology.REACH)
        self.mirror: Mirror[Lesson] = Mirror(js, self._bucket, _decode, lambda lesson: lesson.until, clock=clock)

    def known(self, recipient: Recipient) -> dict[ChannelName, Lesson]:
        """The channels on which this recipient cannot be reached, as far as this process knows."""
        if not self.anything_known:
            return {}
        now = self._clock()
        lessons = {channel: self.mirror.get(self._key(channel, recipient)) for channel in self._channels}
        return {channel: lesson for channel, lesson in lessons.items() if lesson and lesson.until > now}

    @property
    def anything_known(self) -> bool:
        """Whether there is anything to look up: nearly always there is not."""
        return len(self.mirror) > 0

    async def learn(self, recipient: Recipient, channel: ChannelName, error: ProviderError | None) -> None:
        """A refusal, or a failure that was reported; what says nothing lasting changes nothing."""
        if error is None or not error.lasting or self._ttl <= 0:
            return
        now = self._clock()
        lesson = Lesson(error.message or "", error.code, now, now + timedelta(seconds=self._ttl))
        key, value = self._key(channel, recipient), json.dumps(lesson.as_dict()).encode()
        try:
            self.mirror.note(key, value, await self._bucket.put(key, value, ttl=self._ttl))
        except StoreError as exc:
            log.warning("reach.not_learnt", channel=channel, code=error.code, why=str(exc))
            return
        log.info("reach.learnt", channel=channel, code=error.code)

    async def forget(self, recipient: Recipient, channel: ChannelName) -> bool:
        """It is reached there after all. Returns whether anything else was known."""
        if not self.anything_known:
            return False
        key = self._key(channel, recipient)
        if self.mirror.get(key) is None:
            return False
        try:
            self.mirror.drop(key, await self._bucket.delete(key, ttl=_MARKER))
        except StoreError as exc:
            log.warning("reach.not_forgotten", channel=channel, why=str(exc))
            return False
        log.info("reach.forgotten", channel=channel)
        return True

    def _key(self, channel: ChannelName, recipient: Recipient) -> str:
        return f"{channel}.{self._hasher.recipient(recipient)}"


def _decode(value: bytes) -> Lesson:
    row = json.loads(value)
    return Lesson(row["why"], row["code"], datetime.fromisoformat(row["at"]), datetime.fromisoformat(row["until"]))
