"""What is known about recipients: consent, WhatsApp sessions, channels they cannot be reached on.

Keys are keyed hashes of addresses (`router.hashing`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from datetime import datetime, timedelta

import orjson

from channels.address import zones_of
from channels.model import WHATSAPP as WHATSAPP_CHANNEL
from channels.model import ChannelName, Recipient, Sender, SenderKind
from policies.model import OptIn, OptOut, RecipientFacts
from policies.situation import stopping_scope
from router import topology
from router.buckets import Bucket, Mirror
from router.clock import Clock, rfc3339
from router.consent_ledger import OPTED_IN, OPTED_OUT, Consent, current
from router.hashing import Hasher
from router.jetstream import JetStream, WrongSequenceError
from router.reach import Reach
from router.settings import SessionSettings
from router.stickiness import Stickiness

#: Seconds for which a session that the provider closed stays on record as closed.
_CLOSED = 3600.0


class Sessions:
    """WhatsApp's customer-service windows: one for each business sender and recipient."""

    def __init__(self, js: JetStream, prefix: str, hasher: Hasher, settings: SessionSettings, clock: Clock) -> None:
        self._hasher = hasher
        self._clock = clock
        self._length = timedelta(hours=settings.hours) - timedelta(seconds=settings.margin)
        self._bucket = Bucket(js, prefix + topology.SESSIONS)
        self.mirror: Mirror[datetime] = Mirror(js, self._bucket, _decode_session, lambda end: end, clock=clock)

    def ends(self, sender: str, recipient: Recipient) -> datetime | None:
        """When the open session ends, margin taken off; None when none is open."""
        end = self.mirror.get(self._key(sender, recipient))
        return end if end and end > self._clock() else None

    async def refresh(self, recipient: Recipient, senders: Iterable[str]) -> None:
        """Read the recipient's sessions where others may have opened some that are not known here yet."""
        if not self.mirror.is_current:
            await asyncio.gather(*(self.mirror.refresh(self._key(sender, recipient)) for sender in senders))

    async def open(self, sender: str, recipient: Recipient, since: datetime) -> datetime:
        """The recipient wrote at `since`. Returns the end of the window, which is never made earlier."""
        end = since + self._length
        key = self._key(sender, recipient)
        while True:
            entry = await self._bucket.get(key)
            if entry and _decode_session(entry.value) >= end:
                return _decode_session(entry.value)
            left = (end - self._clock()).total_seconds()
            if left <= 0:
                return end
            value = json.dumps({"expires_at": rfc3339(end)}).encode()
            try:
                revision = await self._bucket.put(key, value, ttl=left, expect=entry.revision if entry else None)
            except WrongSequenceError:
                continue
            self.mirror.note(key, value, revision)
            return end

    async def closed(self, sender: str, recipient: Recipient, begun: datetime) -> None:
        """A free-form message begun then was refused: no session that was opened before it is open any more."""
        key = self._key(sender, recipient)
        while True:
            entry = await self._bucket.get(key)
            end = _decode_session(entry.value) if entry else self._clock()
            if entry is None or end <= self._clock() or end - self._length > begun:
                return  # it is closed already, or the recipient wrote since
            value = json.dumps({"expires_at": rfc3339(self._clock())}).encode()
            try:
                revision = await self._bucket.put(key, value, ttl=_CLOSED, expect=entry.revision)
            except WrongSequenceError:
                continue
            self.mirror.note(key, value, revision)
            return

    def _key(self, sender: str, recipient: Recipient) -> str:
        return f"{sender}.{self._hasher.recipient(recipient)}"


def _decode_session(value: bytes) -> datetime:
    return datetime.fromisoformat(orjson.loads(value)["expires_at"])


class Recipients:
    """Gathers, without a round trip, what a decision needs to know."""

    def __init__(
        self, consent: Consent, sessions: Sessions, reach: Reach, stickiness: Stickiness, senders: Iterable[Sender]
    ) -> None:
        self.consent = consent
        self.sessions = sessions
        self.reach = reach
        self.stickiness = stickiness
        self._whatsapp = [s.name for s in senders if s.kind is SenderKind.WHATSAPP or WHATSAPP_CHANNEL in s.channels]

    @property
    def is_current(self) -> bool:
        """Whether what is known here is what there is: nearly always. If not, `refresh` before anything is decided."""
        return self.consent.mirror.is_current and self.sessions.mirror.is_current

    async def refresh(self, recipient: Recipient) -> None:
        """Ask the server for what a decision must not be wrong about: while buckets load, or nothing is heard of them.

        What was learnt and kept only saves attempts, so it is not waited for.
        """
        await asyncio.gather(self.consent.refresh(recipient), self.sessions.refresh(recipient, self._whatsapp))

    def facts(self, recipient: Recipient) -> RecipientFacts:
        """Everything known about this recipient at this moment."""
        known = self.consent.known(recipient)
        entries = current(known).values() if known else ()
        ends = {name: self.sessions.ends(name, recipient) for name in self._whatsapp}
        return RecipientFacts(
            opt_outs=tuple(OptOut(e.scope, e.at, e.via) for e in entries if e.state == OPTED_OUT),
            opt_ins=tuple(OptIn(e.scope, e.at) for e in entries if e.state == OPTED_IN and not e.is_start),
            sessions={name: end for name, end in ends.items() if end is not None},
            unreachable={channel: lesson.because for channel, lesson in self.reach.known(recipient).items()},
            timezones=zones_of(recipient),
            last_sender=self.stickiness.known(recipient),
        )

    def stopped_by(self, recipient: Recipient, *, channel: ChannelName, sender: str, category: str) -> str | None:
        """The scope of a stop that covers this message: asked once more at the moment of sending."""
        known = self.consent.known(recipient)
        if not known:
            return None
        scopes = [scope for scope, entry in current(known).items() if entry.state == OPTED_OUT]
        narrow = (scope for scope in (f"sender:{sender}", f"channel:{channel}") if scope in scopes)
        return stopping_scope(scopes, category) or next(narrow, None)
