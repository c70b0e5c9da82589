"""The consent ledger: what recipients said about being written to, with proof, and what holds of it now.

Statements are only ever added. Which one holds follows from when each was made, not from when it was recorded, so
several routers, a webhook that comes twice and an import of old lists all lead to the same answer. Of two statements
made at the same moment the opt-out holds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import orjson

from channels.model import Recipient
from channels.values import value
from router import topology
from router.buckets import Bucket, Mirror
from router.clock import Clock, rfc3339, utc_now
from router.hashing import Hasher
from router.jetstream import JetStream, WrongSequenceError

OPTED_OUT, OPTED_IN = "opted_out", "opted_in"
STATES = (OPTED_OUT, OPTED_IN)
#: Changes of one recipient's consent that are kept, newest last.
_HISTORY = 100
#: Recipients, and bytes of their history, in one page of an export.
_PAGE, _PAGE_BYTES = 250, 400_000


@value(frozen=True, slots=True)
class ConsentEntry:
    """One statement of a recipient about one scope."""

    scope: str  #: "all", "channel:<name>", "sender:<name>" or "category:<name>"
    state: str  #: "opted_out" or "opted_in"
    at: datetime  #: when the recipient said so
    via: str  #: "keyword", "provider", "api", "import"
    proof: str | None = None  #: in a sentence, or where it can be found
    who: str | None = None  #: who took the statement: a person, a shop, a system
    how: str | None = None  #: "web form", "paper", "telephone"
    text: str | None = None  #: what the recipient was shown and agreed to
    recorded_at: datetime | None = None  #: when it was written here; None: before this was kept

    def as_dict(self) -> dict[str, Any]:
        """As services answer."""
        return {
            "scope": self.scope,
            "state": self.state,
            "at": rfc3339(self.at),
            "via": self.via,
            "proof": self.proof,
            "who": self.who,
            "how": self.how,
            "text": self.text,
            "recorded_at": rfc3339(self.recorded_at) if self.recorded_at else None,
        }

    def row(self) -> dict[str, Any]:
        """As stored: what was not said takes no room."""
        return {name: value for name, value in self.as_dict().items() if value is not None}

    @property
    def is_start(self) -> bool:
        """The recipient's own START."""
        return self.state == OPTED_IN and self.via == "keyword"

    def is_lifted_by(self, start: ConsentEntry) -> bool:
        """Whether it is an opt-out of what the START was sent to; one of a category was about something else."""
        return self.state == OPTED_OUT and not self.scope.startswith("category:") and start.scope in ("all", self.scope)

    def says_the_same(self, other: ConsentEntry) -> bool:
        """A repeated webhook brings the same statement at a later time: the first one counts."""
        at = other.at if self.via in {"keyword", "provider"} else self.at
        return replace(self, at=at, recorded_at=None) == replace(other, recorded_at=None)


def _entry(row: dict[str, Any]) -> ConsentEntry:
    row["at"] = datetime.fromisoformat(row["at"])
    if row.get("recorded_at"):
        row["recorded_at"] = datetime.fromisoformat(row["recorded_at"])
    return ConsentEntry(**row)


def _as_stored(entry: ConsentEntry) -> ConsentEntry:
    """With its time as precise as it is when it is read back."""
    return replace(entry, at=datetime.fromisoformat(rfc3339(entry.at)))


def in_order(entries: Iterable[ConsentEntry]) -> list[ConsentEntry]:
    """Oldest first; what was said at one moment ends with the opt-out."""
    return sorted(entries, key=lambda each: (each.at, each.state == OPTED_OUT))


def current(entries: Iterable[ConsentEntry]) -> dict[str, ConsentEntry]:
    """What holds now: the newest statement of each scope; one about everything replaces all before it.

    A START lifts the opt-outs before it, but for those of a category, and what they had replaced holds again. It is no
    consent to anything, so it replaces nothing else.
    """
    now: dict[str, ConsentEntry] = {}
    for entry in _without_lifted(in_order(entries)):
        if entry.is_start:
            now.setdefault(entry.scope, entry)
            continue
        if entry.scope == "all":
            now.clear()
        now[entry.scope] = entry
    return now


def _without_lifted(ordered: Iterable[ConsentEntry]) -> list[ConsentEntry]:
    kept: list[ConsentEntry] = []
    for entry in ordered:
        if entry.is_start:
            kept = [each for each in kept if not each.is_lifted_by(entry)]
        kept.append(entry)
    return kept


@dataclass(frozen=True, slots=True)
class Record:
    """One recipient's history, as an auditor gets it."""

    key: str  #: the keyed hash of the address
    sequence: int  #: grows with every change of any record
    history: tuple[ConsentEntry, ...]

    def as_dict(self) -> dict[str, Any]:
        """As services answer; `holds` says of each statement whether it counts now."""
        return {"key": self.key, "sequence": self.sequence, "history": with_holds(self.history)}


def with_holds(history: Iterable[ConsentEntry]) -> list[dict[str, Any]]:
    """The statements in order, each with whether it holds."""
    ordered = in_order(history)
    holding = {id(entry) for entry in current(ordered).values()}
    return [{**entry.as_dict(), "holds": id(entry) in holding} for entry in ordered]


class Consent:
    """The bucket `consent`: opt-ins and opt-outs of each recipient, with their history."""

    def __init__(self, js: JetStream, prefix: str, hasher: Hasher, clock: Clock = utc_now) -> None:
        self._js = js
        self._hasher = hasher
        self._clock = clock
        self._bucket = Bucket(js, prefix + topology.CONSENT)
        self.mirror: Mirror[tuple[ConsentEntry, ...]] = Mirror(js, self._bucket, _decode)

    def key(self, recipient: Recipient) -> str:
        """Under which this recipient is found in an export."""
        return self._hasher.recipient(recipient)

    def known(self, recipient: Recipient) -> tuple[ConsentEntry, ...]:
        """The history, oldest first, as this process knows it."""
        return self.mirror.get(self._hasher.recipient(recipient)) or ()

    async def refresh(self, recipient: Recipient) -> None:
        """Read this recipient's history where others may have written what is not known here yet."""
        if not self.mirror.is_current:
            await self.mirror.refresh(self._hasher.recipient(recipient))

    async def record(self, recipient: Recipient, entry: ConsentEntry) -> bool:
        """Add a statement; saying the same twice changes nothing. Returns whether it was new."""
        key = self._hasher.recipient(recipient)
        entry = _as_stored(entry)
        # What this process knows is enough where it is right: if it is not, compare-and-set finds out.
        revision, stored = self.mirror.raw(key) or (0, b"[]")
        while True:
            history = _decode(stored)
            if any(each.says_the_same(entry) for each in history):
                return False
            value = _encoded([*history, replace(entry, recorded_at=self._clock())])
            try:
                revision = await self._bucket.put(key, value, expect=revision)
            except WrongSequenceError:
                found = await self._bucket.get(key)
                revision, stored = (found.revision, found.value) if found else (0, b"[]")
                continue
            self.mirror.note(key, value, revision)
            return True

    def has(self, recipient: Recipient, entry: ConsentEntry) -> bool:
        """Whether this process knows that the same was said before."""
        return any(each.says_the_same(_as_stored(entry)) for each in self.known(recipient))

    async def page(self, after: int) -> tuple[list[Record], int | None]:
        """Records that were changed last after this sequence, oldest change first; then where the next page begins.

        None: there are no more. A record that changes meanwhile moves to the end, so that none is passed over.
        """
        stored = await self._js.following(self._bucket.stream, self._bucket.subject(">"), after + 1, _PAGE)
        records: list[Record] = []
        size = 0
        for each in stored:
            if records and size > _PAGE_BYTES:
                return records, records[-1].sequence
            size += len(each.body)
            if each.body:
                key = each.subject.rsplit(".", 1)[1]
                records.append(Record(key, each.sequence, _decode(each.body)))
        return records, stored[-1].sequence if len(stored) == _PAGE else None


def _decode(value: bytes) -> tuple[ConsentEntry, ...]:
    return tuple([_entry(row) for row in orjson.loads(value)])


def _encoded(history: Iterable[ConsentEntry]) -> bytes:
    """The newest changes and, however old it is, everything that still holds."""
    ordered = in_order(history)
    holds = {id(entry) for entry in current(ordered).values()}
    kept = [*(each for each in ordered[:-_HISTORY] if id(each) in holds), *ordered[-_HISTORY:]]
    return json.dumps([each.row() for each in kept], ensure_ascii=False, separators=(",", ":")).encode()
