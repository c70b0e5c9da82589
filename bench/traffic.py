"""Notifications to publish, and how far a consumer of them has come; the same for every contender."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Protocol

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeoutError

TEXT = "Hello Ana, your order 4711 is on its way and arrives on Monday between 9 and 12. Track it: https://example.com/"
SUBJECT = "notifications.normal.shop"
#: Publications that wait for their acknowledgement at a time.
_WINDOW = 256
_TRIES = 5  #: of a request that is not answered, before the last one


def body(index: int, prefix: str = "n") -> bytes:
    """A text to a recipient of its own; about 300 bytes."""
    return json.dumps(
        {
            "id": f"{prefix}{index}",
            "to": number(index),
            "content": {"text": TEXT + f"{prefix}{index}"},
            "category": "transactional",
            "metadata": {"order": "4711", "customer": f"c{index}"},
        }
    ).encode()


def number(index: int) -> str:
    """One of eight million valid numbers of the United States (exchanges 200 to 999, no line twice)."""
    return f"+1202{2_000_000 + index % 8_000_000}"


class Course(Protocol):
    """Where notifications go in and outcomes come out."""

    async def publish(self, bodies: Iterable[bytes]) -> None:
        """All of them, each acknowledged."""

    async def finished(self) -> int:
        """Outcomes so far."""


async def until_finished(course: Course, count: int, within: float, every: float = 0.05) -> None:
    """Wait for so many; `TimeoutError` with how far it came."""
    deadline = time.monotonic() + within
    while (so_far := await course.finished()) < count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{so_far} of {count} after {within:.0f} s")
        await asyncio.sleep(every)


class JetStreamCourse:
    """One subject to publish to, one kind of outcome to wait for."""

    def __init__(self, urls: list[str], subject: str, outcomes: str, finish: str, *, anew: bool = True) -> None:
        """`outcomes`: the stream that they are in, which is there already; `finish`: the filter that counts them.

        `anew`: only what comes from now on counts.
        """
        self._policy = "new" if anew else "all"
        self._urls = urls
        self._subject = subject
        self._outcomes = outcomes
        self._finish = finish
        self._client: Client | None = None
        self._consumer = ""

    async def __aenter__(self) -> JetStreamCourse:
        self._client = await nats.connect(self._urls, max_reconnect_attempts=-1, pending_size=64 * 1024 * 1024)
        # A consumer that nobody pulls from: the server counts what waits for it, at no cost for anybody.
        config = {
            "deliver_policy": self._policy,
            "ack_policy": "none",
            "filter_subject": self._finish,
            "inactive_threshold": 3600 * 10**9,
            "mem_storage": True,
        }
        request = {"stream_name": self._outcomes, "config": config}
        self._consumer = (await self._api(f"CONSUMER.CREATE.{self._outcomes}", request))["name"]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        assert self._client is not None
        await self._client.close()

    async def publish(self, bodies: Iterable[bytes]) -> None:
        """All of them, each acknowledged."""
        assert self._client is not None
        js = self._client.jetstream(timeout=10)
        pending: set[asyncio.Task[object]] = set()
        for each in bodies:
            if len(pending) >= _WINDOW:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            pending.add(asyncio.create_task(js.publish(self._subject, each)))
        await asyncio.gather(*pending)

    async def finished(self) -> int:
        """Outcomes so far."""
        return int((await self._api(f"CONSUMER.INFO.{self._outcomes}.{self._consumer}", {}))["num_pending"])

    async def _api(self, subject: str, request: object) -> dict[str, Any]:
        assert self._client is not None
        reply = await self._ask(f"$JS.API.{subject}", json.dumps(request).encode())
        answer: dict[str, Any] = json.loads(reply.data)
        if "error" in answer:
            raise NatsError(f"{subject}: {answer['error']}")
        return answer

    async def _ask(self, subject: str, request: bytes) -> Msg:
        """More than once: a cluster leaves unanswered what reaches a server that has not got the new stream yet."""
        assert self._client is not None
        for _ in range(_TRIES):
            with suppress(NatsTimeoutError):
                return await self._client.request(subject, request, timeout=3)
        return await self._client.request(subject, request, timeout=10)


def bodies(count: int, prefix: str) -> Sequence[bytes]:
    """Made beforehand, so that making them is no part of what is measured."""
    return [body(index, prefix) for index in range(count)]
