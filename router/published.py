"""Policy documents in the bucket `policy`: published once, in force in every router, each version kept a while.

The current one is a key by itself, changed by compare-and-set. Whoever replaces it first puts it into the history, so
that nothing that was in force is missing there.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from router import topology
from router.buckets import Bucket
from router.clock import rfc3339
from router.jetstream import JetStream, WrongSequenceError

CURRENT = "policy.current"
_HISTORY = "policy.history."
#: Versions that are kept.
KEPT = 50


@dataclass(frozen=True, slots=True)
class PublishedPolicy:
    """One document as it was published."""

    number: int  #: from 1, in the order of publication
    version: str  #: the document's own
    at: datetime  #: aware
    text: str
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """As it is stored and shown."""
        return {
            "number": self.number,
            "version": self.version,
            "at": rfc3339(self.at),
            "note": self.note,
            "text": self.text,
        }


def read_published(value: bytes) -> PublishedPolicy:
    """From the bucket."""
    row = json.loads(value)
    return PublishedPolicy(row["number"], row["version"], datetime.fromisoformat(row["at"]), row["text"], row["note"])


class Publications:
    """Those of one deployment."""

    def __init__(self, js: JetStream, prefix: str) -> None:
        self._js = js
        self._bucket = Bucket(js, prefix + topology.POLICY)

    async def current(self) -> PublishedPolicy | None:
        """The one that routers decide by; None where none was ever published."""
        entry = await self._bucket.get(CURRENT)
        return read_published(entry.value) if entry else None

    async def publish(self, text: str, version: str, at: datetime, note: str = "") -> PublishedPolicy:
        """Make this the current one. What is already current is not published again."""
        while True:
            entry = await self._bucket.get(CURRENT)
            before = read_published(entry.value) if entry else None
            if before is not None and before.text == text:
                return before
            published = PublishedPolicy(before.number + 1 if before else 1, version, at, text, note)
            if before is not None and entry is not None:
                await self._bucket.put(f"{_HISTORY}{before.number}", entry.value)
            value = json.dumps(published.as_dict()).encode()
            try:
                await self._bucket.put(CURRENT, value, expect=entry.revision if entry else 0)
            except WrongSequenceError:
                continue  # somebody else published meanwhile: theirs is the one before ours
            if published.number > KEPT:
                await self._bucket.delete(f"{_HISTORY}{published.number - KEPT}")
            return read_published(value)

    async def numbered(self, number: int) -> PublishedPolicy | None:
        """The one of this number; None where it is not kept, or was never published."""
        return next((each for each in await self.history() if each.number == number), None)

    async def history(self) -> list[PublishedPolicy]:
        """Those that are kept, newest first."""
        current = await self.current()
        stored = await self._js.last_of_each(self._bucket.stream, self._bucket.subject(f"{_HISTORY}*"))
        kept = [read_published(each.body) for each in stored if "KV-Operation" not in each.headers]
        numbered = {each.number: each for each in (*kept, *([current] if current else []))}
        return sorted(numbered.values(), key=lambda each: -each.number)
