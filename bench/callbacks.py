"""Signed callbacks as Twilio sends them, made beforehand, and a client that posts them at little cost.

The client keeps a few connections and has one request under way on each, as Twilio does. Requests are bytes already,
so what it takes is one write and one read for each of them.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

from twilio.request_validator import RequestValidator

from channels.twilio.simulator.settings import DEMO_ACCOUNT_SID, DEMO_AUTH_TOKEN

CONNECTIONS = 32


@dataclass(frozen=True, slots=True)
class Callback:
    """One request, ready to be written."""

    key: str  #: whatever its maker wants to recognise it by
    raw: bytes


def callback(arrival: Mapping[str, Any], status: str, *, forged: bool = False) -> Callback:
    """About a message that `bench.stub` recorded. `forged`: signed with another token."""
    form = arrival["form"]
    fields = {
        "AccountSid": DEMO_ACCOUNT_SID,
        "ApiVersion": "2010-04-01",
        "MessageSid": arrival["sid"],
        "SmsSid": arrival["sid"],
        "MessageStatus": status,
        "SmsStatus": status,
        "To": form["To"],
        "From": form["From"],
    }
    # Twilio keeps what stands behind "#" (how often to try again) to itself.
    url = form["StatusCallback"].partition("#")[0]
    token = "f" * 32 if forged else DEMO_AUTH_TOKEN
    signature = RequestValidator(token).compute_signature(url, fields)
    parts, body = urlsplit(url), urlencode(fields).encode()
    head = (
        f"POST {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\nUser-Agent: TwilioProxy/1.1\r\n"
        f"Accept: */*\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n"
        f"X-Twilio-Signature: {signature}\r\n\r\n"
    )
    return Callback(notification_id(arrival), head.encode() + body)


def notification_id(arrival: Mapping[str, Any]) -> str:
    """The texts of `bench.traffic` end with it."""
    return str(arrival["form"]["Body"]).rpartition("/")[2]


@dataclass
class Poster:
    """Posts to one port. `async with Poster(port) as poster: await poster.post_all(callbacks)`."""

    port: int
    connections: int = CONNECTIONS
    answers: Counter[int] = field(default_factory=Counter)  #: by status
    _free: asyncio.Queue[_Connection] = field(default_factory=asyncio.Queue)

    async def __aenter__(self) -> Poster:
        loop = asyncio.get_running_loop()
        for _ in range(self.connections):
            _, connection = await loop.create_connection(_Connection, "127.0.0.1", self.port)
            self._free.put_nowait(connection)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        while not self._free.empty():
            self._free.get_nowait().close()

    async def post(self, request: Callback) -> int:
        """Its status, once a connection was free for it."""
        connection = await self._free.get()
        status = await connection.ask(request.raw)
        self.answers[status] += 1
        self._free.put_nowait(connection)
        return status

    async def post_all(self, requests: Sequence[Callback]) -> float:
        """As fast as they are answered; the seconds that it took."""
        started = time.monotonic()
        waiting = iter(requests)

        async def work() -> None:
            for each in waiting:
                await self.post(each)

        await asyncio.gather(*(work() for _ in range(self.connections)))
        return time.monotonic() - started


class _Connection(asyncio.Protocol):
    """One request at a time; answers are 204, or small with a Content-Length."""

    def __init__(self) -> None:
        self._transport: Any = None
        self._answer: asyncio.Future[int] | None = None
        self._buffer = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    async def ask(self, raw: bytes) -> int:
        """The answer's status."""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(raw)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n") + 4
        if end < 4 or self._answer is None:
            return
        _, found, rest = self._buffer[:end].lower().partition(b"\r\ncontent-length:")
        if len(self._buffer) < end + (int(rest.partition(b"\r\n")[0]) if found else 0):
            return
        status, self._buffer = int(self._buffer.split(b" ", 2)[1]), b""
        self._answer.set_result(status)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("the listener hung up"))

    def close(self) -> None:
        """Hang up."""
        self._transport.close()
