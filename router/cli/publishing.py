"""Publishing notifications and waiting for what becomes of them."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from router.cli.errors import CommandError
from router.cli.following import behind, follow
from router.cli.rows import Row
from router.jetstream import JetStream, StoreError, StoreUnavailableError
from router.subjects import DELIVERIES

_IN_FLIGHT = 64  #: publishes that wait for their acknowledgement at a time
#: A publish without an answer is repeated: the same id with the same content is one notification.
_TRIES = 3
#: Final statuses after which the recipient has, as far as anybody can say, the message.
_GOOD = frozenset({"delivered", "read", "sent"})

Problem = Callable[[int, str], None]  #: line and what is wrong with it


@dataclass
class Tally:
    """What became of the rows."""

    rows: int = 0
    published: int = 0
    refused: int = 0  #: they break the contract
    unacknowledged: int = 0  #: NATS did not say that it has them
    stopped: str = ""  #: why the rest of the file could not be read
    ids: set[str] = field(default_factory=set)  #: of what was published, where somebody waits for it

    @property
    def good(self) -> bool:
        """Whether every row was as it should be."""
        return not self.refused and not self.unacknowledged and not self.stopped

    def as_dict(self) -> dict[str, int]:
        """For programs."""
        return {name: getattr(self, name) for name in ("rows", "published", "refused", "unacknowledged")}


async def publish_all(js: JetStream, subject: str, rows: Iterable[Row], problem: Problem, *, remember: bool) -> Tally:
    """Publish what is good, many at a time; with `remember`, keep the ids."""
    tally = Tally()
    left = _good(rows, tally, problem)

    async def work() -> None:
        for row in left:  # shared: each worker takes the next row
            try:
                await publish(js, subject, row.body)
            except StoreError as exc:
                tally.unacknowledged += 1
                problem(row.line, f"not acknowledged: {exc}")
                continue
            tally.published += 1
            if remember and row.notification is not None:
                tally.ids.add(row.notification.id)

    async with asyncio.TaskGroup() as group:
        for _ in range(_IN_FLIGHT):
            group.create_task(work())
    return tally


def check_all(rows: Iterable[Row], problem: Problem) -> Tally:
    """Look at every row and publish none."""
    tally = Tally()
    for _ in _good(rows, tally, problem):
        continue
    return tally


def _good(rows: Iterable[Row], tally: Tally, problem: Problem) -> Iterator[Row]:
    """Rows that can be published; the others are counted and told."""
    try:
        for row in rows:
            tally.rows += 1
            if row.notification is not None:
                yield row
            else:
                tally.refused += 1
                problem(row.line, row.problem)
    except CommandError as exc:
        tally.stopped = str(exc)


async def publish(js: JetStream, subject: str, body: bytes) -> int:
    """Publish one notification and return its sequence. Raises `StoreError` when it is not acknowledged."""
    for last in (*[False] * (_TRIES - 1), True):
        try:
            return await js.publish(subject, body, {"content-type": "application/json"})
        except StoreUnavailableError:
            if last:
                raise
    raise AssertionError("unreachable: the last try returns or raises")


async def log_position(js: JetStream) -> int:
    """The sequence of the newest delivery event there is."""
    return int((await js.api(f"STREAM.INFO.{DELIVERIES}"))["state"]["last_seq"])


@dataclass
class Endings:
    """What became of notifications that were waited for."""

    pending: set[str]
    statuses: Counter[str] = field(default_factory=Counter)  #: final status -> how many

    @property
    def good(self) -> bool:
        """Whether every one of them arrived."""
        return not self.pending and set(self.statuses) <= _GOOD


async def wait_for_ends(
    js: JetStream,
    subject: str,
    ids: set[str],
    *,
    after: int,
    within: float,
    show: Callable[[Mapping[str, Any]], None],
) -> Endings:
    """Follow the delivery events after a sequence until each of these has its final one, `within` seconds at most."""
    endings = Endings(set(ids))
    try:
        async with asyncio.timeout(within):
            await _follow_to_ends(js, subject, frozenset(ids), after, endings, show)
    except TimeoutError:
        return endings
    return endings


async def _follow_to_ends(
    js: JetStream,
    subject: str,
    ids: frozenset[str],
    after: int,
    endings: Endings,
    show: Callable[[Mapping[str, Any]], None],
) -> None:
    if not ids:
        return
    async with aclosing(follow(js, DELIVERIES, [subject], behind(after))) as messages:
        async for msg in messages:
            event = json.loads(msg.data)
            identity = event["notification_id"]
            if identity not in ids:
                continue
            show(event)
            if event["final"] and identity in endings.pending:
                endings.pending.discard(identity)
                endings.statuses[event["status"]] += 1
            if not endings.pending:
                return
