"""The short ways through nats-py: the same bytes as its own, and the same messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import nats
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from channels.testing import until
from router.embedded import EmbeddedNats
from router.natswire import Wire, _NoQueue, command, header_block, is_plain, read_directly, read_headers, subscribe

NAMES = st.from_regex(r"[A-Za-z0-9-]{1,20}", fullmatch=True)
VALUES = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with EmbeddedNats() as server:
        connection = await nats.connect(server.url)
        yield connection
        await connection.close()


def test_a_message_with_headers_is_one_command() -> None:
    block = header_block({"A": "1", "B-2": "é"})
    assert block is not None
    assert command("x.y", "_INBOX.1", block, b"body") == (
        b"HPUB x.y _INBOX.1 27 31\r\nNATS/1.0\r\nA: 1\r\nB-2: \xc3\xa9\r\n\r\nbody\r\n"
    )


def test_a_message_without_headers_is_a_plain_one() -> None:
    assert command("x.y", "", b"", b"body") == b"PUB x.y  4\r\nbody\r\n"


@given(st.lists(st.binary(max_size=40) | st.sampled_from([b"A:1", b"A: 1", b"B:\xff", b"\xff: 1", b"a b: c"])))
def test_stored_headers_are_read_as_those_of_a_message_are(lines: list[bytes]) -> None:
    block = b"\r\n".join([b"NATS/1.0", *lines, b"", b""])
    assert read_headers(block) == Client._parse_header_lines(block.partition(b"\r\n")[2])


@given(st.dictionaries(NAMES, VALUES, min_size=1, max_size=4))
def test_no_header_begins_another_line(headers: dict[str, str]) -> None:
    block = header_block(headers)
    if any("\r" in value or "\n" in value for value in headers.values()):
        assert block is None
    else:
        assert block is not None
        assert block.count(b"\r\n") == len(headers) + 2


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\r\nb", "é"])
def test_a_name_that_is_not_plain_is_left_to_nats_py(name: str) -> None:
    assert header_block({name: "1"}) is None


@pytest.mark.parametrize("subject", ["a b", "a\r\nPUB x 0", "a\tb"])
def test_a_subject_that_is_not_plain_is_left_to_nats_py(subject: str) -> None:
    assert not is_plain(subject)


async def test_what_is_written_directly_arrives_as_if_nats_py_had_written_it(client: Client) -> None:
    seen: list[Msg] = []
    await subscribe(client, "x.>", seen.append)
    headers = {"Traceparent": "00-a-b-01", "Story": '[1,"é"]'}
    wire = Wire(client)
    assert wire.direct, "this version of nats-py has no buffer that is known here"
    await wire.publish("x.direct", "answers.here", headers, b"body")
    await client.publish("x.public", b"body", reply="answers.here", headers=headers)
    await wire.publish("x.bare", "", None, b"")
    await until(lambda: len(seen) == 3)
    direct, public, bare = seen
    assert (direct.headers, direct.reply, direct.data) == (public.headers, public.reply, public.data)
    assert (bare.headers, bare.reply, bare.data) == (None, "", b"")


async def test_headers_that_are_not_plain_arrive_all_the_same(client: Client) -> None:
    seen: list[Msg] = []
    await subscribe(client, "x", seen.append)
    await Wire(client).publish("x", "", {"a_b": "1", "C": "two\nlines"}, b"")
    await until(lambda: bool(seen))
    assert seen[0].headers == {"a_b": "1", "C": "two lines"}


async def test_a_handler_that_fails_ends_nothing(client: Client) -> None:
    seen: list[Msg] = []

    def handle(msg: Msg) -> None:
        seen.append(msg)
        if len(seen) == 1:
            raise RuntimeError

    subscription = await subscribe(client, "x", handle)
    for _ in range(2):
        await client.publish("x", b"")
    await until(lambda: len(seen) == 2)
    await subscription.unsubscribe()
    await client.publish("x", b"")
    await client.flush()
    assert len(seen) == 2


async def test_a_version_without_the_queue_calls_the_handler_through_its_own_task(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Msg] = []
    monkeypatch.setattr("router.natswire.isinstance", lambda *_: False, raising=False)
    subscription = await subscribe(client, "x", seen.append)
    assert type(subscription._pending_queue) is asyncio.Queue
    await client.publish("x", b"")
    await until(lambda: bool(seen))


def _said(subject: str, sid: int, reply: str, block: bytes, body: bytes) -> bytes:
    """A message as the server writes it."""
    words = [*(["HMSG"] if block else ["MSG"]), subject, str(sid), *([reply] if reply else [])]
    words += [str(len(block)), str(len(block) + len(body))] if block else [str(len(body))]
    return " ".join(words).encode() + b"\r\n" + block + body + b"\r\n"


BLOCKS = st.sampled_from(
    [
        b"",
        b"NATS/1.0\r\n\r\n",
        b"NATS/1.0\r\nA: 1\r\nB-2:2 \r\n\r\n",
        b"NATS/1.0\r\na_b: 1\r\n c : 2\r\nd e: 3\r\n\xff: 4\r\nno colon\r\nF:\xff\r\n\r\n",
        b"NATS/1.0 404 No Messages\r\n\r\n",
        b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 7\r\n\r\n",
        b"NATS/1.0   \r\nA: 1\r\n\r\n",
    ]
)
OURS, SOMEBODY_ELSES, NOBODYS = 1, 2, 3
MESSAGES = st.builds(
    _said,
    st.sampled_from(["x", "deliveries.shop.routed.sms.n1"]),
    st.sampled_from([OURS, OURS, OURS, SOMEBODY_ELSES, NOBODYS]),
    st.sampled_from(["", "answers.here"]),
    BLOCKS,
    st.sampled_from([b"", b"body", b"a\r\nMSG x 1 0\r\n", bytes(300_000)]),
)


@given(st.lists(MESSAGES | st.just(b"+OK\r\n"), max_size=8), st.lists(st.integers(1, 400), max_size=8))
async def test_what_is_read_directly_is_what_nats_py_reads_however_it_comes(said: list[bytes], cuts: list[int]) -> None:
    data, pieces = b"".join(said), []
    for cut in cuts:
        pieces.append(data[:cut])
        data = data[cut:]
    direct, public = [await _heard([*pieces, data], directly=directly) for directly in (True, False)]
    assert direct == public


async def _heard(pieces: list[bytes], *, directly: bool) -> list[tuple[object, ...]]:
    """What arrives of it at two subscriptions, and what the connection has counted."""
    client, seen = Client(), list[tuple[object, ...]]()

    def handle(msg: Msg) -> None:
        seen.append((msg.sid, msg.subject, msg.reply, msg.data, msg.headers))

    for sid in (OURS, SOMEBODY_ELSES):
        subscription = client._subs[sid] = Subscription(client, sid, pending_msgs_limit=0, pending_bytes_limit=0)
        if sid == OURS:
            subscription._pending_queue = _NoQueue(handle)
    if directly:
        read_directly(client)
    for piece in pieces:
        await client._ps.parse(piece)
    queue, received = client._subs[SOMEBODY_ELSES]._pending_queue, client._subs[OURS]._received
    while not queue.empty():
        handle(queue.get_nowait())
    return [*seen, (client.stats["in_msgs"], client.stats["in_bytes"], received)]


async def test_the_parser_is_replaced_on_a_connection_that_a_handler_reads_from(client: Client) -> None:
    before = type(client._ps)
    await subscribe(client, "x", lambda _msg: None)
    assert type(client._ps) is not before
    assert client._ps.nc is client
