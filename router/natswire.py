"""Two short ways through a nats-py connection, for what a router does six times for each notification.

Writing: nats-py checks and encodes each header by itself, 13 µs for one event of the log. Here a message is encoded in
one piece and put into nats-py's buffer, which flushes and reconnects as before.

Reading: nats-py puts each message into a queue, from which a task of its subscription takes it. Here a message goes to
its handler as soon as it is parsed.

Neither the buffer nor the queue is a public interface. So they are looked for once, and where a version of nats-py
lacks them, or a header is not as plain as the router's own are, its public interface does the same, only more slowly.
"""

from __future__ import annotations

import asyncio
import re
import string
from collections.abc import Callable, Mapping

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

log = structlog.get_logger(__name__)

Handler = Callable[[Msg], None]

_FIRST_LINE = "NATS/1.0\r\n"
_NAME = re.compile(r"[A-Za-z0-9-]+")
#: Names that were found to be plain; a router writes a dozen or two.
_plain_names: set[str] = set()
_MOST_NAMES = 256


class Wire:
    """Puts messages into the connection's buffer."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.direct = all(hasattr(client, name) for name in ("_send_command", "_flush_pending", "_flush_queue"))

    async def publish(self, subject: str, reply: str, headers: Mapping[str, str] | None, body: bytes) -> None:
        """Like nats-py's."""
        client = self._client
        block = header_block(headers) if headers else b""
        plain = block is not None and is_plain(subject) and is_plain(reply)
        if block is None or not (plain and self.direct and client.is_connected):
            await client.publish(subject, body, reply=reply, headers=dict(headers) if headers else None)
            return
        await client._send_command(command(subject, reply, block, body))
        if client._flush_queue is not None and client._flush_queue.empty():
            await client._flush_pending()


async def subscribe(client: Client, subject: str, handler: Handler) -> Subscription:
    """Give every message on a subject to a handler, which takes no time and waits for nothing."""

    async def later(msg: Msg) -> None:
        handler(msg)

    subscription = await client.subscribe(subject, cb=later, pending_msgs_limit=0, pending_bytes_limit=0)
    if isinstance(getattr(subscription, "_pending_queue", None), asyncio.Queue):
        subscription._pending_queue = _NoQueue(handler)
    return subscription


class _NoQueue(asyncio.Queue[Msg]):
    """Stands where nats-py keeps what was not handled yet, and is always empty."""

    def __init__(self, handler: Handler) -> None:
        super().__init__()
        self._handler = handler

    def put_nowait(self, item: Msg) -> None:
        """Handle it; a fault must not end nats-py's reading from the connection."""
        try:
            self._handler(item)
        except Exception:
            log.exception("nats.handler_failed", subject=item.subject)


def header_block(headers: Mapping[str, str]) -> bytes | None:
    """Encoded headers; None where one of them is not plain."""
    if not _plain_names.issuperset(headers) and not all(map(_learn, headers)):
        return None
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if lines.count("\n") != len(headers) or lines.count("\r") != len(headers):
        return None
    return f"{_FIRST_LINE}{lines}\r\n".encode()


def read_headers(block: bytes) -> dict[str, str]:
    """Headers of a block as it is stored, read as nats-py reads those of a message; nothing in it is an error."""
    found: dict[str, str] = {}
    for line in block.split(b"\r\n")[1:]:
        name, colon, value = line.partition(b":")
        key = name.strip()
        if colon and key.isascii() and not any(character in string.whitespace.encode() for character in key):
            found[key.decode()] = value.strip().decode(errors="replace")
    return found


def command(subject: str, reply: str, block: bytes, body: bytes) -> bytes:
    """What goes over the wire."""
    if block:
        first = f"HPUB {subject} {reply} {len(block)} {len(block) + len(body)}\r\n"
    else:
        first = f"PUB {subject} {reply} {len(body)}\r\n"
    return b"%b%b%b\r\n" % (first.encode(), block, body)


def is_plain(subject: str) -> bool:
    """Whether a subject is one token of the command: nothing in it could end the line."""
    return subject.isprintable() and " " not in subject


def _learn(name: str) -> bool:
    if not _NAME.fullmatch(name):
        return False
    if len(_plain_names) < _MOST_NAMES:
        _plain_names.add(name)
    return True
