"""What JetStream says about messages that it will deliver no more: none may be stranded without a word.

The router's own consumers deliver for ever. But an operator can set a limit on a consumer, or terminate a message, and
a work queue then keeps it where nobody looks. Every such message becomes a dead letter.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog
from faststream.nats import NatsBroker
from pydantic import BaseModel

from channels.reasons import Reason
from router.deadletters import CONSUMER, DeadLetters
from router.jetstream import JetStream, Stored, StoreError
from router.workers import owner_of

log = structlog.get_logger(__name__)

_HOLD = 1.0  #: seconds between tries while the store is away
SUBJECTS = (
    "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>",
    "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.>",
)


class Advisory(BaseModel):
    """As much of the server's advisory as is needed."""

    stream: str
    consumer: str
    stream_seq: int
    deliveries: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Advisories:
    """Turns advisories about our streams into dead letters."""

    js: JetStream
    dead_letters: DeadLetters
    streams: frozenset[str]

    def subscribe(self, broker: NatsBroker) -> None:
        """Listen on the broker, once it is started."""
        for subject in SUBJECTS:
            broker.subscriber(subject)(self.on_advisory)

    async def on_advisory(self, advisory: Advisory) -> None:
        """One message that will not be delivered again."""
        if advisory.stream not in self.streams:
            return
        where = {"stream": advisory.stream, "consumer": advisory.consumer, "sequence": advisory.stream_seq}
        log.warning("advisory.stranded", **where)
        while True:
            try:
                await self._keep(advisory)
            except StoreError as exc:
                log.warning("advisory.not_kept", **where, why=str(exc))
                await asyncio.sleep(_HOLD)
            else:
                return

    async def _keep(self, advisory: Advisory) -> None:
        stored = await self.js.at(advisory.stream, advisory.stream_seq)
        if stored is not None:  # terminated on a work queue, it is gone, and the log line above is all there is
            await self.keep(advisory.consumer, advisory.stream, stored)

    async def keep(self, consumer: str, stream: str, stored: Stored) -> None:
        """A message that stands there and is delivered no more goes to a person, once."""
        source, notification_id = owner_of(stored.subject)
        if await self.dead_letters.has("stranded", stored.sequence, stored.subject, Reason.STRANDED):
            return
        await self.dead_letters.keep(
            "stranded",
            source,
            sequence=stored.sequence,
            subject=stored.subject,
            body=stored.body,
            headers={**stored.headers, CONSUMER: consumer},
            reason=Reason.STRANDED,
            message=f"{consumer} of {stream} delivers it no more: replay it and mend the consumer",
            notification_id=notification_id,
        )
