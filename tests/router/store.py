"""An event store in memory, for tests of the router without a server: asserted by what stands in it.

It keeps what the router relies on: compare-and-set on a subject filter, and one copy of each message id. It never
delivers anything, and nothing is removed.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from nats.aio.client import Client

from router.jetstream import MESSAGE_ID, JetStream, Stored, StoreUnavailableError, WrongSequenceError

_STREAMS = {
    "notifications": "NOTIFICATIONS",
    "outbox": "OUTBOX",
    "deliveries": "DELIVERIES",
    "timers": "TIMERS",
    "inbound": "INBOUND",
    "deadletters": "DEADLETTERS",
}
#: What becomes of one publish: the answer is lost and so may the message be.
STORED_UNANSWERED, LOST = "stored, unanswered", "lost"


class MemoryStore(JetStream):
    """Implements the store's port; `mishaps` are consumed by publishes, one each."""

    def __init__(self, mishaps: Iterable[str | None] = ()) -> None:
        super().__init__(Client())
        self.mishaps = deque(mishaps)
        self._messages: list[tuple[str, Stored]] = []
        self._identities: dict[tuple[str, str], int] = {}
        self.aged_out: set[str] = set()  #: streams of which nothing is found any more

    # --- looking inside

    def stream(self, name: str) -> list[Stored]:
        """Everything in a stream, oldest first."""
        return [stored for stream, stored in self._messages if stream == name]

    def since(self, count: int) -> list[tuple[str, Stored]]:
        """What was stored after so many messages, each with its stream."""
        return self._messages[count:]

    def bodies(self, name: str) -> list[dict[str, Any]]:
        """The JSON of everything in a stream."""
        return [json.loads(stored.body) for stored in self.stream(name)]

    def statuses(self) -> list[str]:
        """Of all delivery events."""
        return [body["status"] for body in self.bodies("DELIVERIES")]

    # --- the port

    async def publish(
        self,
        subject: str,
        body: bytes,
        headers: dict[str, str] | None = None,
        *,
        expect: int | None = None,
        expect_on: str | None = None,
    ) -> int:
        mishap = self.mishaps.popleft() if self.mishaps else None
        if mishap == LOST:
            raise StoreUnavailableError("no answer")
        sequence = self._store(subject, body, headers or {}, expect, expect_on or subject)
        if mishap == STORED_UNANSWERED:
            raise StoreUnavailableError("no answer")
        return sequence

    def _store(self, subject: str, body: bytes, headers: Mapping[str, str], expect: int | None, on: str) -> int:
        stream = _stream_of(subject)
        if expect is not None:
            newest = self._newest(stream, on)
            if (newest.sequence if newest else 0) != expect:
                raise WrongSequenceError("wrong last sequence")
        if MESSAGE_ID in headers:
            known = self._identities.setdefault((stream, headers[MESSAGE_ID]), len(self._messages) + 1)
            if known <= len(self._messages):
                return known
        sequence = len(self._messages) + 1
        stored = Stored(subject, sequence, "2026-11-20T12:00:00.000000001Z", dict(headers), body)
        self._messages.append((stream, stored))
        return sequence

    async def last(self, stream: str, subject: str) -> Stored | None:
        return self._newest(stream, subject)

    def _newest(self, stream: str, subject: str) -> Stored | None:
        return next((each for each in reversed(self.stream(stream)) if _matches(subject, each.subject)), None)

    async def at(self, stream: str, sequence: int) -> Stored | None:
        if stream in self.aged_out:
            return None
        return next((each for each in self.stream(stream) if each.sequence == sequence), None)


def _stream_of(subject: str) -> str:
    first, *rest = subject.split(".")
    return f"KV_{rest[0]}" if first == "$KV" else _STREAMS[first]


def _matches(filter_subject: str, subject: str) -> bool:
    wanted, tokens = filter_subject.split("."), subject.split(".")
    if wanted[-1] == ">":
        wanted, tokens = wanted[:-1], tokens[: len(wanted) - 1]
    return len(wanted) == len(tokens) and all(want in ("*", token) for want, token in zip(wanted, tokens, strict=True))
