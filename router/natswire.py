"""Two short ways through a nats-py connection, for what a router does six times for each notification.

Writing: nats-py checks and encodes each header by itself, 13 µs for one event of the log. Here a message is encoded in
one piece and put into nats-py's buffer, which flushes and reconnects as before.

Reading: nats-py parses each message by regular expressions and puts it into a queue, from which a task of its
subscription takes it. Here a message that has arrived whole goes from what was read to its handler, and all that is
something else, or for somebody else, is left to nats-py's parser.

Neither the buffer nor the queue nor the parser is a public interface. So they are looked for once, and where a version
of nats-py lacks them, or a header is not as plain as the router's own are, its public interface does the same, only
more slowly.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.protocol.parser import AWAITING_CONTROL_LINE, Parser

log = structlog.get_logger(__name__)

Handler = Callable[[Msg], None]

_FIRST_LINE = "NATS/1.0\r\n"
_PLAIN_BLOCK = _FIRST_LINE.encode()
#: What nats-py strips from the names and values of headers.
_BLANK = " \t\n\r\x0b\x0c"
#: Bytes of a message that is left to nats-py's parser, which appends what comes bit by bit.
_LARGE = 256 * 1024
_NAME = re.compile(r"[A-Za-z0-9-]+")
#: Names that were found to be plain; a router writes a dozen or two.
_plain_names: set[str] = set()
_MOST_NAMES = 256


class TooManyBytesError(Exception):
    """The server closes the connection of whoever sends so much in one message, and nats-py never opens it again."""

    def __init__(self, size: int) -> None:
        super().__init__(f"{size} bytes are more than NATS takes in one message")


class Wire:
    """Puts messages into the connection's buffer."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.direct = all(hasattr(client, name) for name in ("_send_command", "_flush_pending", "_flush_queue"))

    async def publish(self, subject: str, reply: str, headers: Mapping[str, str] | None, body: bytes) -> None:
        """Like nats-py's. Raises `TooManyBytesError` where it would be more than the server takes."""
        client = self._client
        block = header_block(headers) if headers else b""
        size = len(body) + (size_of(headers) if block is None else len(block))
        if size > client.max_payload:
            raise TooManyBytesError(size)
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
        read_directly(client)
    return subscription


def read_directly(client: Client) -> None:
    """Let whole messages for our handlers pass nats-py's parser by; those that go through it may have any subject."""
    _bear_any_subject(client)
    known = all(hasattr(client, name) for name in ("_subs", "stats")) and type(getattr(client, "_ps", None)) is Parser
    if known and client._ps.state == AWAITING_CONTROL_LINE and not client._ps.buf:
        client._ps = _Reader(client)


def _bear_any_subject(client: Client) -> None:
    """The server stores what is published to a subject that is no UTF-8, and nats-py's reading would end at it."""
    build = getattr(client, "_build_message", None)
    if build is None or getattr(build, "bears_any_subject", False):
        return

    def built(sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None) -> Msg:
        made: Msg = build(sid, subject.decode(errors="replace").encode(), reply, data, headers)
        return made

    built.bears_any_subject = True  # type: ignore[attr-defined]
    client._build_message = built  # type: ignore[method-assign]


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


class _Reader(Parser):
    """nats-py's parser, for whatever is no whole message for a handler of ours."""

    async def parse(self, data: bytes = b"") -> None:
        """What the connection has brought."""
        if self.state == AWAITING_CONTROL_LINE:
            if self.buf:
                data = bytes(self.buf) + data
                self.buf.clear()
            taken, waits = self._deliver(data)
            data = data[taken:]
            if waits:
                self.buf.extend(data)
                return
        await super().parse(data)

    def _deliver(self, data: bytes) -> tuple[int, bool]:
        """Bytes of the messages that were handled; and whether the next one is ours, and the rest of it is awaited."""
        at = 0
        client = self.nc
        while (line_end := data.find(b"\r\n", at)) > 0:
            line = _read_line(data[at:line_end])
            if line is None:
                break
            sid, subject, reply, head, size = line
            subscription = client._subs.get(sid)
            if subscription is None or subscription._max_msgs:
                break
            queue = subscription._pending_queue
            if type(queue) is not _NoQueue:
                break
            begin = line_end + 2
            if len(data) < begin + size + 2:
                return at, size <= _LARGE
            block = data[begin : begin + head]
            if head and not block.startswith(_PLAIN_BLOCK):
                break  # a word of the server's own
            headers = read_headers(block) or None if head else None
            subscription._received += 1
            client.stats["in_msgs"] += 1
            client.stats["in_bytes"] += size - head
            body = data[begin + head : begin + size]
            queue.put_nowait(Msg(client, subject, reply, body, headers, None, False, sid))
            at = begin + size + 2
        return at, False


def _read_line(line: bytes) -> tuple[int, str, str, int, int] | None:
    """Of a message: its subscription, subject, reply, bytes of headers, bytes of all; None of any other line."""
    try:
        words = line.decode().split(" ")
        match words[0], len(words):
            case "MSG", 4:
                return int(words[2]), words[1], "", 0, int(words[3])
            case "MSG", 5:
                return int(words[2]), words[1], words[3], 0, int(words[4])
            case "HMSG", 5:
                return int(words[2]), words[1], "", int(words[3]), int(words[4])
            case "HMSG", 6:
                return int(words[2]), words[1], words[3], int(words[4]), int(words[5])
    except ValueError:
        pass
    return None


def header_block(headers: Mapping[str, str]) -> bytes | None:
    """Encoded headers; None where one of them is not plain."""
    if not _plain_names.issuperset(headers) and not all(map(_learn, headers)):
        return None
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if lines.count("\n") != len(headers) or lines.count("\r") != len(headers):
        return None
    return f"{_FIRST_LINE}{lines}\r\n".encode()


def size_of(headers: Mapping[str, str] | None) -> int:
    """Bytes of a block that nats-py encodes, which the server counts as payload."""
    return 14 + 4 * len(headers) + len("".join([*headers, *headers.values()]).encode()) if headers else 0


def read_headers(block: bytes) -> dict[str, str]:
    """Headers of a block as it is stored, read as nats-py reads those of a message; nothing in it is an error."""
    found: dict[str, str] = {}
    for line in block.decode(errors="replace").split("\r\n")[1:]:
        name, colon, value = line.partition(":")
        if not colon:
            continue
        if name not in _plain_names and not _learn(name):
            name = name.strip(_BLANK)
            if not name.isascii() or any(map(str.isspace, name)):
                continue
        found[name] = value.strip(_BLANK)
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
