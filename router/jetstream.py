"""JetStream as the router uses it: publish with compare-and-set, and read what stands there.

Built on one nats-py connection, but not on its requests, which cost a subscription, a timer and a task each
(docs/decisions/0002-own-request-inbox.md): all requests share one reply inbox, with one sweeper for time-outs.

What a failure means is kept apart: `WrongSequenceError` (somebody else wrote first), `StoreRefusedError` (the server
said no: nothing was stored) and `StoreUnavailableError` (no answer: it may or may not have been stored).
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from channels.values import value
from router.metrics import STORE_FAILURES
from router.natswire import TooManyBytesError, Wire, read_headers, subscribe
from router.tasks import keep_running

EXPECTED_SEQUENCE = "Nats-Expected-Last-Subject-Sequence"
EXPECTED_SUBJECT = "Nats-Expected-Last-Subject-Sequence-Subject"
MESSAGE_ID = "Nats-Msg-Id"

_WRONG_SEQUENCE = {10071, 10164}
#: The usual answer to a publish, read without a parser; any other way of writing it is left to one.
_STORED = re.compile(rb'\{"stream":"[^"\\]*", ?"seq":(\d+)\}')
#: More than the server's or the stream's limit; more headers than a stream keeps.
_TOO_LARGE = {10054, 10097}
#: A direct get with nothing to return, and the end of a batch.
_NOT_FOUND, _END_OF_BATCH = "404", "204"
#: The leader's words for the former; a stream that is gone is a 404, too, and something else altogether.
_NO_MESSAGE = 10037
STREAM_NOT_FOUND = 10059
#: What a cluster answers while its servers come up, elect a leader or tell each other of a stream that was just made:
#: no peers, unavailable, not the leader, made otherwise by somebody else, not found.
_NOT_YET = frozenset({10005, 10008, 10009, 10058, STREAM_NOT_FOUND})
#: How often overdue requests are looked for: the resolution of time-outs, in seconds.
_SWEEP = 0.1


class StoreError(Exception):
    """The event store did not do what was asked."""

    @property
    def passes(self) -> bool:
        """Whether it may answer otherwise in a moment."""
        return False


class WrongSequenceError(StoreError):
    """Compare-and-set lost: the subject has moved on since it was read."""


class StoreRefusedError(StoreError):
    """The server answered that it will not; nothing was stored."""

    def __init__(self, words: str, code: int | None = None) -> None:
        super().__init__(words)
        self.code = code  #: the JetStream API's own, where it gave one

    @property
    def passes(self) -> bool:
        """A cluster sorts itself out."""
        return self.code in _NOT_YET


class TooLargeForStoreError(StoreRefusedError):
    """More bytes than the server takes in one message: trying again changes nothing."""


class StoreUnavailableError(StoreError):
    """No answer, or no connection; a publish may or may not have been stored."""

    @property
    def passes(self) -> bool:
        """It may have been an election."""
        return True


@value(frozen=True, slots=True)
class Stored:
    """One message of a stream."""

    subject: str
    sequence: int
    time: str  #: RFC 3339, from the server
    headers: Mapping[str, str]
    body: bytes


class JetStream:
    """Requests over one shared reply inbox."""

    def __init__(self, client: Client, *, timeout: float = 2.0, replicated: bool = False) -> None:
        self.client = client
        self._wire = Wire(client)
        self._timeout = timeout
        self._replicated = replicated
        self._get = self._get_from_leader if replicated else self._direct_get
        self._prefix = ""
        self._ids = itertools.count(1)
        self._waiting: dict[str, _Waiting] = {}
        self._sweeper: asyncio.Task[None] | None = None
        self._reconnects = 0
        self._on_reconnect: set[Callable[[], None]] = set()

    def when_reconnected(self, call: Callable[[], None]) -> Callable[[], None]:
        """Call this after each reconnection; returns what takes it back."""
        self._on_reconnect.add(call)
        return lambda: self._on_reconnect.discard(call)

    async def start(self) -> None:
        """Subscribe to the reply inbox."""
        self._prefix = self.client.new_inbox() + "."
        await subscribe(self.client, self._prefix + "*", self._on_reply)
        self._sweeper = keep_running("jetstream-timeouts", self._sweep)

    async def stop(self) -> None:
        """Stop waiting; whoever still waits is told that the store is unavailable."""
        if self._sweeper:
            self._sweeper.cancel()
        self.fail_all("stopped")

    def fail_all(self, why: str) -> None:
        """The connection broke: no answer will come for what is under way."""
        waiting, self._waiting = self._waiting, {}
        for each in waiting.values():
            each.fail(StoreUnavailableError(why))

    async def publish(
        self,
        subject: str,
        body: bytes,
        headers: dict[str, str] | None = None,
        *,
        expect: int | None = None,
        expect_on: str | None = None,
    ) -> int:
        """Store one message and return its sequence.

        `expect` is the sequence that the last message on `expect_on` (a filter; default: the subject itself) must have;
        0 means that there must be none.
        """
        if expect is not None:
            headers = {**(headers or {}), EXPECTED_SEQUENCE: str(expect)}
            if expect_on is not None:
                headers[EXPECTED_SUBJECT] = expect_on
        try:
            return _sequence_of(await self._request(subject, body, headers))
        except StoreRefusedError:
            STORE_FAILURES.inc("refused")
            raise
        except StoreUnavailableError:
            STORE_FAILURES.inc("unavailable")
            raise

    async def api(self, subject: str, request: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A call of the JetStream API; raises `StoreRefusedError` with the server's words."""
        body = json.dumps(request).encode() if request is not None else b""
        reply = await self._request(f"$JS.API.{subject}", body, None)
        answer: dict[str, Any] = json.loads(reply.data)
        _raise_for(answer.get("error"))
        return answer

    async def last(self, stream: str, subject: str) -> Stored | None:
        """The newest message whose subject matches the filter, in one round trip; None when there is none."""
        return await self._get(stream, {"last_by_subj": subject})

    async def first(self, stream: str, subject: str, start: int = 1) -> Stored | None:
        """The oldest message from sequence `start` on whose subject matches the filter; None when there is none."""
        return await self._get(stream, {"seq": start, "next_by_subj": subject})

    async def last_of_each(self, stream: str, subject: str) -> list[Stored]:
        """The last message of every subject that matches the filter, in one round trip; with replicas, in two."""
        found = await self._batch(f"$JS.API.DIRECT.GET.{stream}", json.dumps({"multi_last": [subject]}).encode())
        last = max((each.sequence for each in found), default=0)
        newer = await self.not_yet_copied(stream, subject, last + 1)
        return list({each.subject: each for each in (*found, *newer)}.values())

    async def at(self, stream: str, sequence: int) -> Stored | None:
        """The message with this sequence; None when it is gone."""
        return await self._get(stream, {"seq": sequence})

    async def _direct_get(self, stream: str, request: Mapping[str, Any]) -> Stored | None:
        reply = await self._request(f"$JS.API.DIRECT.GET.{stream}", json.dumps(request).encode(), None)
        status = _status(reply)
        if status == _NOT_FOUND:
            return None
        if status is not None:
            raise StoreRefusedError(f"direct get from {stream} answered {status}")
        return _stored(reply)

    async def _get_from_leader(self, stream: str, request: Mapping[str, Any]) -> Stored | None:
        """Slower, and never stale: with replicas, any of them answers a direct get, one or two in a hundred too old."""
        reply = await self._request(f"$JS.API.STREAM.MSG.GET.{stream}", json.dumps(request).encode(), None)
        answer = json.loads(reply.data)
        if error := answer.get("error"):
            if error.get("err_code") == _NO_MESSAGE:
                return None
            _raise_for(error)
        return _stored_at_leader(answer["message"])

    async def following(
        self, stream: str, subject: str, start: int, limit: int, max_bytes: int | None = None
    ) -> list[Stored]:
        """The next messages whose subject matches the filter, from the sequence `start` on, no more than `limit`.

        With `max_bytes` fewer where they are large, and none only where there are none.
        """
        request: dict[str, Any] = {"seq": start, "next_by_subj": subject, "batch": limit}
        if max_bytes is not None:
            request["max_bytes"] = max_bytes
        return await self._batch(f"$JS.API.DIRECT.GET.{stream}", json.dumps(request).encode())

    async def history(self, stream: str, subject: str, *, start: int = 1, limit: int = 1000) -> list[Stored]:
        """All messages whose subject matches the filter, in order.

        The server scans from `start` to the end of the stream: for people's questions, not for the hot path.
        """
        found: list[Stored] = []
        while True:
            page = await self.following(stream, subject, start, limit)
            found += page
            if len(page) < limit:
                return found + await self.not_yet_copied(stream, subject, page[-1].sequence + 1 if page else start)
            start = page[-1].sequence + 1

    async def page(self, stream: str, subject: str, start: int, end: int) -> list[Stored]:
        """Messages whose subject matches the filter, from sequence `start` and before `end`, in order."""
        request = {"seq": start, "next_by_subj": subject, "batch": end - start}
        page = await self._batch(f"$JS.API.DIRECT.GET.{stream}", json.dumps(request).encode())
        return [stored for stored in page if stored.sequence < end]

    async def not_yet_copied(self, stream: str, subject: str, start: int) -> list[Stored]:
        """What the leader has from `start` on; nothing where there is one copy only.

        Direct gets and consumers read whichever copy they are given. Each is a beginning of the leader's, one or two in
        a hundred times a short one, and that of a server which comes back after a while a very short one.
        """
        found: list[Stored] = []
        while self._replicated:
            stored = await self._get_from_leader(stream, {"seq": start, "next_by_subj": subject})
            if stored is None:
                break
            found.append(stored)
            start = stored.sequence + 1
        return found

    async def _request(self, subject: str, body: bytes, headers: dict[str, str] | None) -> Msg:
        future: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        await self._send(subject, body, headers, _Single(future, time.monotonic() + self._timeout))
        reply = await future
        if reply.headers and reply.headers.get("Status") == "503":
            raise StoreUnavailableError("no JetStream server answers for this subject")
        return reply

    async def _batch(self, subject: str, body: bytes) -> list[Stored]:
        waiting = _Batch(asyncio.get_running_loop().create_future(), time.monotonic() + self._timeout)
        await self._send(subject, body, None, waiting)
        return [_stored(reply) for reply in await waiting.future]

    async def send(self, subject: str, body: bytes, *, reply: str = "", headers: dict[str, str] | None = None) -> None:
        """Publish without waiting for an answer, or fail at once.

        nats-py would keep what is published while it reconnects and send it long after its caller gave up.
        """
        if not self.client.is_connected:
            raise StoreUnavailableError("not connected to NATS")
        try:
            await self._wire.publish(subject, reply, headers, body)
        except TooManyBytesError as exc:
            raise TooLargeForStoreError(str(exc)) from None
        except (NatsError, OSError) as exc:
            raise StoreUnavailableError(f"could not send to NATS: {type(exc).__name__}") from exc

    async def tell(self, reply: str, word: bytes) -> None:
        """Say what became of a delivered message, without waiting. Raises what nats-py raises."""
        await self._wire.publish(reply, "", None, word)

    async def _send(self, subject: str, body: bytes, headers: dict[str, str] | None, waiting: _Waiting) -> None:
        key = str(next(self._ids))
        self._waiting[key] = waiting
        try:
            await self.send(subject, body, reply=self._prefix + key, headers=headers)
        except BaseException:
            self._waiting.pop(key, None)
            raise

    def _on_reply(self, reply: Msg) -> None:
        key = reply.subject[len(self._prefix) :]
        waiting = self._waiting.get(key)
        if waiting is not None and waiting.take(reply):
            self._waiting.pop(key, None)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP)
            self._notice_breaks()
            now = time.monotonic()
            for key in [key for key, each in self._waiting.items() if each.deadline <= now]:
                self._waiting.pop(key).fail(StoreUnavailableError("NATS did not answer in time"))

    def _notice_breaks(self) -> None:
        """What was asked before the connection broke is answered by nobody."""
        reconnects = self.client.stats["reconnects"]
        if not self.client.is_connected or reconnects != self._reconnects:
            self.fail_all("the connection to NATS broke")
        if reconnects != self._reconnects:
            self._reconnects = reconnects
            for call in list(self._on_reconnect):
                call()


@dataclass(slots=True)
class _Single:
    """Waits for one reply."""

    future: asyncio.Future[Msg]
    deadline: float

    def take(self, reply: Msg) -> bool:
        if not self.future.done():
            self.future.set_result(reply)
        return True

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)


@dataclass(slots=True)
class _Batch:
    """Gathers the replies of a batched direct get until its end marker."""

    future: asyncio.Future[list[Msg]]
    deadline: float
    replies: list[Msg] = field(default_factory=list)

    def take(self, reply: Msg) -> bool:
        status = _status(reply)
        if status is None:
            self.replies.append(reply)
            return False
        if status in {_NOT_FOUND, _END_OF_BATCH}:
            if not self.future.done():
                self.future.set_result(self.replies)
        else:
            self.fail(StoreUnavailableError(f"direct get answered {status}"))
        return True

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)


_Waiting = _Single | _Batch


def _status(reply: Msg) -> str | None:
    """The server's own word; a stored message may have a header of that name too, and stands at a sequence."""
    headers = reply.headers or {}
    return headers.get("Status") if "Nats-Sequence" not in headers else None


def _sequence_of(reply: Msg) -> int:
    if match := _STORED.fullmatch(reply.data):
        return int(match[1])
    answer = json.loads(reply.data)
    _raise_for(answer.get("error"))
    return int(answer["seq"])


def _raise_for(error: Mapping[str, Any] | None) -> None:
    if error is None:
        return
    code, words = error.get("err_code"), str(error.get("description", "refused"))
    if code in _WRONG_SEQUENCE:
        raise WrongSequenceError(words)
    if code in _TOO_LARGE:
        raise TooLargeForStoreError(f"{words} (error {code})", code)
    raise StoreRefusedError(f"{words} (error {code})", code)


def _stored(reply: Msg) -> Stored:
    headers = reply.headers or {}
    return Stored(
        subject=headers["Nats-Subject"],
        sequence=int(headers["Nats-Sequence"]),
        time=headers["Nats-Time-Stamp"],
        headers=headers,
        body=reply.data,
    )


def _stored_at_leader(message: Mapping[str, Any]) -> Stored:
    headers = read_headers(base64.b64decode(message.get("hdrs", "")))
    body = base64.b64decode(message.get("data", ""))
    return Stored(message["subject"], message["seq"], message["time"], headers, body)
