"""Rests of senders: what the provider refused for the rate, whoever heard of it.

The answer to a request comes to the router that paces the sender; a status callback comes to any router. So a rest is a
key in the bucket `senders`, which every router follows: the one that paces the sender obeys it, and so does the one
after it. It ends by itself, and is never made shorter.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from channels.errors import ProviderThrottledError
from channels.model import ProviderError
from router import topology
from router.buckets import Bucket, Mirror
from router.clock import Clock, rfc3339
from router.jetstream import JetStream

log = structlog.get_logger(__name__)

_REST = "rest"
#: Seconds; what a provider says many times in a row is written down once in so many.
_GRAIN = 1.0


@dataclass(frozen=True, slots=True)
class Rest:
    """A sender that must be silent."""

    until: datetime
    code: int | str | None  #: the provider's


class Rests:
    """The keys `rest.<sender>`."""

    def __init__(self, js: JetStream, bucket: str, clock: Clock) -> None:
        self._clock = clock
        self._bucket = Bucket(js, bucket)
        self.mirror: Mirror[Rest] = Mirror(js, self._bucket, _decode, lambda rest: rest.until, _REST, clock)

    def left(self, sender: str) -> float:
        """Seconds for which this sender must be silent yet."""
        rest = self.mirror.get(f"{_REST}.{sender}") if len(self.mirror) else None
        return max(0.0, (rest.until - self._clock()).total_seconds()) if rest else 0.0

    async def reported(self, sender: str, error: ProviderError | None) -> None:
        """A callback said why a message failed: where it is for the rate, its sender rests."""
        if error is None or error.error_class != ProviderThrottledError.error_class or error.retry_after is None:
            return
        await self.begin(sender, error.retry_after, error.code)

    async def begin(self, sender: str, seconds: float, code: int | str | None) -> None:
        """From now on, for so long; nothing where it rests for that long already."""
        if self.left(sender) + _GRAIN >= seconds:
            return
        key, until = f"{_REST}.{sender}", self._clock() + timedelta(seconds=seconds)
        value = json.dumps({"until": rfc3339(until), "code": code}).encode()
        revision = await self._bucket.put(key, value, ttl=seconds + _GRAIN)
        self.mirror.note(key, value, revision)
        log.warning("sender.rests", sender=sender, seconds=seconds, code=code)


def _decode(value: bytes) -> Rest:
    row = json.loads(value)
    return Rest(datetime.fromisoformat(row["until"]), row["code"])


def rests_of(js: JetStream, prefix: str, clock: Clock) -> Rests:
    """Those of this deployment."""
    return Rests(js, prefix + topology.SENDERS, clock)
