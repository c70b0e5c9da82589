"""Systems that have been in use for long: what a million sessions, opt-outs and told stories would have left in NATS.

Everything has the form that the router itself gives it: keys and values of buckets are made by its own code, and
stories are copies of one that it has just written, under other ids.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import nats

from bench.traffic import number
from channels.address import parse_recipient
from router.clock import rfc3339
from router.consent_ledger import OPTED_OUT, ConsentEntry
from router.hashing import Hasher
from router.jetstream import JetStream
from router.topology import CONSENT, META, SESSIONS

#: Every so many messages one asks for an acknowledgement: the server keeps up, and nothing waits for each.
_STRIDE = 250
#: Nobody who gets a notification of `bench.traffic` is in here, but everybody's place in the bucket is as likely.
_FIRST = 4_000_000

Item = tuple[str, bytes, dict[str, str] | None]  #: subject, body, headers


@asynccontextmanager
async def connected(urls: Sequence[str]) -> AsyncIterator[JetStream]:
    """The router's own way of storing."""
    client = await nats.connect(list(urls), pending_size=64 * 1024 * 1024)
    js = JetStream(client, timeout=30)
    await js.start()
    try:
        yield js
    finally:
        await js.stop()
        await client.close()


async def pour(js: JetStream, stream: str, items: Iterable[Item]) -> int:
    """Store all of them; how many there were. Fails where the stream did not take every one."""
    before, count = await _messages(js, stream), 0
    last: Item | None = None
    for item in items:
        if last is not None:
            await _store(js, last, acknowledged=count % _STRIDE == 0)
        last, count = item, count + 1
    if last is not None:
        await _store(js, last, acknowledged=True)  # and so are all before it
    stored = await _messages(js, stream) - before
    if stored != count:
        raise AssertionError(f"{stream} took {stored} of {count}")
    return count


async def _store(js: JetStream, item: Item, *, acknowledged: bool) -> None:
    subject, body, headers = item
    if acknowledged:
        await js.publish(subject, body, headers)
    else:
        await js.send(subject, body, headers=headers)


async def _messages(js: JetStream, stream: str) -> int:
    return int((await js.api(f"STREAM.INFO.{stream}"))["state"]["messages"])


async def fill_sessions(js: JetStream, sender: str, count: int) -> None:
    """Open WhatsApp sessions with this sender."""
    hasher, ends = await _hasher(js), datetime.now(UTC) + timedelta(hours=23)
    value = json.dumps({"expires_at": rfc3339(ends)}).encode()
    headers = {"Nats-TTL": "82800s"}
    keys = (f"$KV.{SESSIONS}.{sender}.{key}" for key in _keys(hasher, count))
    await pour(js, f"KV_{SESSIONS}", ((key, value, headers) for key in keys))


async def fill_opt_outs(js: JetStream, count: int) -> None:
    """Recipients who said STOP."""
    entry = ConsentEntry("all", OPTED_OUT, datetime.now(UTC), "keyword", "stop to us-1 in message SM" + "0" * 32)
    value = json.dumps([entry.row()]).encode()
    keys = (f"$KV.{CONSENT}.{key}" for key in _keys(await _hasher(js), count))
    await pour(js, f"KV_{CONSENT}", ((key, value, None) for key in keys))


async def _hasher(js: JetStream) -> Hasher:
    """With the key that the routers of this cluster use."""
    stored = await js.last(f"KV_{META}", f"$KV.{META}.hash-key")
    assert stored is not None, "a router makes the key when it starts"
    return Hasher(stored.body)


def _keys(hasher: Hasher, count: int) -> Iterator[str]:
    return (hasher.recipient(parse_recipient(number(_FIRST + index))) for index in range(count))


@dataclass(frozen=True, slots=True)
class Story:
    """Every event of one notification, as the log has them."""

    notification_id: str
    events: Sequence[Item]

    def copies(self, prefix: str, count: int) -> Iterator[Item]:
        """The same events of so many other notifications. Ids are as long as the copied one, so sizes are the same."""
        own = self.notification_id
        for index in range(count):
            other = f"{prefix}{index:0{len(own) - len(prefix)}}"
            for subject, body, headers in self.events:
                renamed = {name: value.replace(own, other) for name, value in (headers or {}).items()}
                yield subject.replace(own, other), body.replace(own.encode(), other.encode()), renamed


async def story_of(js: JetStream, notification_id: str) -> Story:
    """As it stands in the log."""
    found = await js.history("DELIVERIES", f"deliveries.*.*.*.{notification_id}")
    ours = [
        (each.subject, each.body, {name: value for name, value in each.headers.items() if not _of_server(name)})
        for each in found
    ]
    return Story(notification_id, ours)


def _of_server(header: str) -> bool:
    """What the server added, or what would be compared again."""
    return header.startswith("Nats-")
