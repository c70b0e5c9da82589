"""What needs a person: kept whole, with the reason, until somebody has dealt with it."""

from __future__ import annotations

import base64
import json
import re
import uuid
from bisect import bisect_right
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic_core import to_json

from channels.reasons import Reason
from router import subjects
from router.buckets import Bucket
from router.clock import Clock, rfc3339
from router.jetstream import MESSAGE_ID, JetStream, WrongSequenceError
from router.metrics import DEAD_LETTERS

#: Bytes of a dead letter that are neither the body nor the headers.
_HEADROOM = 32 * 1024
#: Bytes of headers that are kept, the shortest first: twice what a stream takes, since JSON writes quotes as two.
_HEADERS = 128 * 1024
#: Read at once, and their bytes.
_PAGE, _PAGE_BYTES = 200, 4 * 1024 * 1024
#: Bytes of a body that are shown to a person.
_SHOWN = 256 * 1024
#: Header of one that a consumer delivers no more: which consumer, and so whose work was not done.
CONSUMER = "Pointsman-Consumer"
_ID = re.compile(r"[0-9a-f-]{36}")
_NAMESPACE = uuid.UUID("0a1f6f0b-5b0f-5f52-8a39-2c1d7a3f9e44")


class State(StrEnum):
    """Whether a person still has to look at it."""

    OPEN = "open"
    REPLAYED = "replayed"  #: given back to the router
    RESOLVED = "resolved"  #: dealt with by hand


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One kept event, and what became of it."""

    event: Mapping[str, Any]  #: as stored: see `router.wire.DeadLetterEvent`
    state: State
    note: str | None = None

    @property
    def body(self) -> bytes:
        """The original body."""
        text = str(self.event["body"])
        return base64.b64decode(text) if self.event["body_encoding"] == "base64" else text.encode()

    def shown(self) -> dict[str, Any]:
        """The whole of it, or what of it fits into one answer."""
        body = _beginning(str(self.event["body"]), _SHOWN)
        truncated = self.event["truncated"] or body != self.event["body"]
        return {**self.event, **self.summary(), "body": body, "truncated": truncated}

    def summary(self) -> dict[str, Any]:
        """Without the body, for lists."""
        kept = {key: value for key, value in self.event.items() if key not in {"body", "body_encoding", "headers"}}
        return {**kept, "state": self.state, "note": self.note}


class DeadLetters:
    """The stream DEADLETTERS, and a bucket that says what was done about each."""

    def __init__(self, js: JetStream, clock: Clock, bucket: str, kept: float = 30 * 86_400.0) -> None:
        self._js = js
        self._clock = clock
        self._bucket = Bucket(js, bucket)
        self._kept = kept  #: seconds for which the stream keeps them

    async def each(
        self, stage: str = "*", source: str = "*", before: str | None = None
    ) -> AsyncGenerator[DeadLetter, None]:
        """Every dead letter that is still kept, oldest first, up to the one with the id `before`.

        Read page by page: there may be ten thousand of a megabyte each.
        """
        start, end = 1, await self._place_of(before) if before else None
        states = {identity: mark for identity, mark in await self._marks() if "state" in mark}
        while page := await self._js.following(
            subjects.DEADLETTERS, subjects.dead_letter(stage, source), start, _PAGE, _PAGE_BYTES
        ):
            for stored in page:
                if end is not None and stored.sequence >= end:
                    return
                yield _with_state(json.loads(stored.body), states)
            start = page[-1].sequence + 1

    async def dealt_with(self, first: int) -> int:
        """How many of those that stand at the sequence `first` or later need nobody any more."""
        return sum("state" in mark and mark.get("sequence", first) >= first for _, mark in await self._marks())

    async def _marks(self) -> list[tuple[str, Mapping[str, Any]]]:
        marks = await self._js.history(self._bucket.stream, self._bucket.subject("*"))
        return [(each.subject.rsplit(".", 1)[1], json.loads(each.body)) for each in marks if each.body]

    async def _place_of(self, identity: str) -> int | None:
        entry = await self._bucket.get(identity) if _ID.fullmatch(identity) else None
        return int(json.loads(entry.value)["sequence"]) if entry else None

    async def find(self, identity: str) -> DeadLetter | None:
        """One of them by its id: the bucket says where in the stream it stands."""
        if not _ID.fullmatch(identity):
            return None
        entry = await self._bucket.get(identity)
        if entry is None:
            return None
        mark = json.loads(entry.value)
        stored = await self._js.at(subjects.DEADLETTERS, mark["sequence"])
        return _with_state(json.loads(stored.body), {identity: mark}) if stored else None

    async def mark(self, identity: str, state: State, note: str | None) -> None:
        """What was done about it; kept as long as the dead letter may be."""

        def marked(stored: bytes | None) -> bytes:
            return json.dumps({**json.loads(stored or b"{}"), "state": state, "note": note}).encode()

        await self._bucket.change(identity, marked, ttl=self._kept)

    async def _place(self, identity: str, sequence: int) -> None:
        """Where it stands, unless that is known: what is kept once more has perhaps been dealt with meanwhile."""
        try:
            await self._bucket.put(identity, json.dumps({"sequence": sequence}).encode(), ttl=self._kept, expect=0)
        except WrongSequenceError:
            return

    async def settle(self, stage: str, sequence: int, subject: str, reason: Reason, note: str) -> None:
        """One that turned out to need nobody, should it have been kept and still be open."""
        identity = _identity(stage, sequence, subject, reason)
        entry = await self._bucket.get(identity)
        if entry is not None and "state" not in json.loads(entry.value):
            await self.mark(identity, State.RESOLVED, note)

    async def has(self, stage: str, sequence: int, subject: str, reason: Reason) -> bool:
        """Whether this was kept already, whatever was done about it since."""
        return await self._bucket.get(_identity(stage, sequence, subject, reason)) is not None

    async def keep(
        self,
        stage: str,
        source: str,
        *,
        sequence: int,
        subject: str,
        body: bytes,
        headers: Mapping[str, str],
        reason: Reason,
        message: str,
        notification_id: str | None = None,
        field: str | None = None,
    ) -> None:
        """Store the whole event once, however often its handling is repeated; `sequence` is where it came from."""
        identity = _identity(stage, sequence, subject, reason)
        room = self._js.client.max_payload - _HEADROOM
        kept = _fitting(headers, min(_HEADERS, room // 4))
        text, encoding = _as_text(body)
        beginning = _beginning(text, room - len(to_json(kept)))
        event = {
            "dead_letter_id": identity,
            "stage": stage,
            "source": source,
            "notification_id": notification_id,
            "reason": reason,
            "message": message,
            "field": field,
            "subject": subject,
            "sequence": sequence,
            "body": beginning,
            "truncated": len(beginning) < len(text),
            "body_encoding": encoding,
            "headers": kept,
            "recorded_at": rfc3339(self._clock()),
        }
        DEAD_LETTERS.inc(stage, reason)
        headers_out = {MESSAGE_ID: identity, "content-type": "application/json"}
        place = await self._js.publish(subjects.dead_letter(stage, source), to_json(event), headers_out)
        await self._place(identity, place)


def _identity(stage: str, sequence: int, subject: str, reason: Reason) -> str:
    return str(uuid.uuid5(_NAMESPACE, f"{stage}.{sequence}.{subject}.{reason}"))


def _with_state(event: Mapping[str, Any], states: Mapping[str, Mapping[str, Any]]) -> DeadLetter:
    mark = states.get(str(event["dead_letter_id"]), {})
    return DeadLetter(event, State(mark.get("state", State.OPEN)), mark.get("note"))


def _fitting(headers: Mapping[str, str], room: int) -> dict[str, str]:
    """As many of them as fit, once they are written as JSON."""
    kept: dict[str, str] = {}
    for name, value in sorted(headers.items(), key=lambda each: len(each[1])):
        room -= len(to_json({name: value}))
        if room < 0:
            break
        kept[name] = value
    return kept


def _beginning(text: str, room: int) -> str:
    """As much of a text as fits, once it is written as JSON: a control character takes six bytes there."""
    if len(to_json(text)) <= room:
        return text
    fits = bisect_right(range(1, len(text) + 1), room, key=lambda length: len(to_json(text[:length])))
    return text[: fits - fits % 4]  # whole groups, should it be base64


def _as_text(body: bytes) -> tuple[str, str]:
    try:
        return body.decode(), "utf-8"
    except UnicodeDecodeError:
        return base64.b64encode(body).decode(), "base64"
