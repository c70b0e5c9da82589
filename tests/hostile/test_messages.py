"""Messages on NATS that were made to hurt: every one ends, as a delivery or as a dead letter, and the next is taken."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

import pytest

from channels.testing import until
from router.app import Router
from router.connection import Connection
from router.jetstream import JetStream
from tests.integration.conftest import Start
from tests.integration.harness import Harness
from tests.reliability.operators import ask

pytestmark = pytest.mark.nats

SUBJECT = "notifications.normal.shop"
GOOD: dict[str, Any] = {"id": "n-1", "to": "+12025550123", "content": {"text": "hi"}}
LARGEST = 1_048_576 - 100  #: bytes that NATS takes with a few headers

#: None of them is a notification, and each is larger as a dead letter than it was as a message.
BODIES: dict[str, bytes] = {
    "control characters": b"\x01" * 950_000,
    "quotes": b'"' * LARGEST,
    "three bytes a character": "\u20ac".encode() * (LARGEST // 3),
    "no text": b"\xff" * LARGEST,
    "one field with a long name": json.dumps(GOOD | {"x" * 900_000: 1}).encode(),
    "many fields": json.dumps(GOOD | {f"a{number}": 1 for number in range(60_000)}).encode(),
    "many variables": json.dumps(
        GOOD | {"content": {"template": {"name": "a", "variables": {str(number): 1 for number in range(60_000)}}}}
    ).encode(),
}
#: What stands where NATS has its headers. The server passes on whatever it is.
HEADERS: list[bytes] = [
    b"NATS/1.0\r\n\r\n",
    b"NATS/1.0\r\n",
    b"\xff\xff\xff\xff",
    b"x",
    b"NATS/1.0 \xff\xff\xff\r\n\r\n",
    b"NATS/1.0 503 \xff\r\n\r\n",
    b"NATS/1.0 404 No Messages\r\n\r\n",
    b"NATS/1.0\r\nno colon\r\n\r\n",
    b"NATS/1.0\r\n\xff: \xff\r\n\r\n",
    b"NATS/1.0\r\nStatus: 404\r\nNats-Sequence: x\r\nNats-Subject: y\r\n\r\n",
    b"NATS/1.0\r\nNats-Expected-Last-Sequence-: 9\r\nPointsman-Story: [1]\r\nPointsman-Revision: -1\r\n\r\n",
    b"NATS/1.0\r\ntraceparent: " + b"0" * 60_000 + b"\r\n\r\n",
    b"NATS/1.0\r\ntraceparent: 00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-00-" + b"x" * 60_000 + b"\r\n\r\n",
    b"NATS/1.0\r\n" + b"a: b\r\n" * 10_000 + b"\r\n",
]


class RawPublisher:
    """Speaks NATS without a client: what no client would send can be sent."""

    async def open(self, url: str) -> None:
        at = urlsplit(url)
        self._reader, self._writer = await asyncio.open_connection(at.hostname, at.port)
        await self._reader.readline()
        self._writer.write(b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\n')

    async def publish(self, subject: str, headers: bytes, body: bytes) -> None:
        """Until the server has taken it."""
        sizes = f"{len(headers)} {len(headers) + len(body)}"
        self._writer.write(f"HPUB {subject} {sizes}\r\n".encode() + headers + body + b"\r\nPING\r\n")
        async with asyncio.timeout(30):
            assert await self._reader.readline() == b"PONG\r\n"

    def close(self) -> None:
        self._writer.close()


async def test_bodies_that_grow_when_they_are_kept_are_kept_and_hold_nobody_up(harness: Harness) -> None:
    for body in BODIES.values():
        await harness.publish_raw(SUBJECT, body)
    await harness.publish("good")

    assert (await harness.wait_for_final("good")).status == "delivered"
    await until(lambda: len(harness.dead_letters) == len(BODIES))
    await harness.idle()
    reasons = Counter(letter.body["reason"] for letter in harness.dead_letters)
    assert reasons == {"too_large": 3, "unreadable": 1, "invalid": 3}
    for letter in harness.dead_letters:
        assert len(letter.body["message"]) < 2_000
        assert len(letter.body["field"] or "") < 200
        shown = await ask(harness, "show", {"id": letter.body["dead_letter_id"]})
        assert shown["truncated"]
        assert letter.body["body"].startswith(shown["body"])
        refused = await ask(harness, "replay", {"id": letter.body["dead_letter_id"]})
        assert "as malformed as before" in refused["error"]["message"]


async def test_many_large_dead_letters_are_listed_and_counted_a_page_at_a_time(harness: Harness) -> None:
    for body in BODIES.values():
        await harness.publish_raw(SUBJECT, body)
    await until(lambda: len(harness.dead_letters) == len(BODIES))
    kept = [letter.body["dead_letter_id"] for letter in harness.dead_letters]

    newest = await ask(harness, "list", {"limit": 3})
    rest = await ask(harness, "list", {"before": newest["dead_letters"][0]["dead_letter_id"]})
    assert [each["dead_letter_id"] for each in newest["dead_letters"]] == kept[-3:]
    assert [each["dead_letter_id"] for each in rest["dead_letters"]] == kept[:-3]
    assert (newest["older"], rest["older"]) == (len(kept) - 3, 0)
    for wrong, field in (({"limit": 0}, "limit"), ({"limit": "9"}, "limit"), ({"before": "none"}, "before")):
        assert (await ask(harness, "list", wrong))["error"]["field"] == field

    await ask(harness, "resolve", {"id": kept[0]})
    async with harness.http.get(f"{harness.routers[0].admin_url}/metrics") as response:
        assert f"pointsman_dead_letters_open {len(kept) - 1}.0" in await response.text()


async def test_a_subject_that_is_no_text_ends_no_connection(harness: Harness) -> None:
    """In whichever way it is read: whole, in parts, or with headers that are none."""
    publisher = RawPublisher()
    await publisher.open(harness.server.url)
    subject = b"notifications.normal.\xff"
    try:
        for headers, body in ((b"NATS/1.0\r\n\r\n", b"small"), (b"x", b"small"), (b"NATS/1.0\r\n\r\n", b"x" * 700_000)):
            sizes = b"%d %d" % (len(headers), len(headers) + len(body))
            publisher._writer.write(b"HPUB " + subject + b" " + sizes + b"\r\n" + headers + body + b"\r\n")
        await publisher.publish(SUBJECT, b"NATS/1.0\r\n\r\n", json.dumps(GOOD).encode())
    finally:
        publisher.close()

    assert (await harness.wait_for_final("n-1")).status == "delivered"
    await until(lambda: len(harness.dead_letters) == 3)
    assert {letter.body["reason"] for letter in harness.dead_letters} == {"bad_subject"}
    await harness.publish("n-2")
    assert (await harness.wait_for_final("n-2")).status == "delivered"


class FromTheLeader(Router):
    """Reads as a router does where NATS keeps three copies, which one server cannot."""

    def _jetstream(self, connection: Connection) -> JetStream:
        return JetStream(connection.client, timeout=2, replicated=True)


either_way = pytest.mark.parametrize("kind", [Router, FromTheLeader])


@either_way
async def test_whatever_stands_where_headers_belong_the_notification_is_taken(start: Start, kind: type[Router]) -> None:
    harness = await start(kind=kind)
    publisher = RawPublisher()
    await publisher.open(harness.server.url)
    try:
        for number, headers in enumerate(HEADERS):
            await publisher.publish(SUBJECT, headers, json.dumps(GOOD | {"id": f"h-{number}"}).encode())
            await publisher.publish(SUBJECT, headers, b"not readable")
            await publisher.publish("notifications.astray", headers, b"on no lane")
    finally:
        publisher.close()
    await harness.publish("good")

    for identity in [*(f"h-{number}" for number in range(len(HEADERS))), "good"]:
        assert (await harness.wait_for_final(identity)).status == "delivered", identity
    await until(lambda: len(harness.dead_letters) == 2 * len(HEADERS))
    assert Counter(letter.body["reason"] for letter in harness.dead_letters) == {
        "unreadable": len(HEADERS),
        "bad_subject": len(HEADERS),
    }
    assert not any("traceparent" in event.headers for event in harness.deliveries)


@either_way
async def test_a_notification_is_found_again_whatever_its_headers_imitate(start: Start, kind: type[Router]) -> None:
    """The second step is read from where the notification stands, with its publisher's headers on it."""
    harness = await start(kind=kind)
    publisher = RawPublisher()
    await publisher.open(harness.server.url)
    body = {**GOOD, "to": "+15005550001", "content": {"text": "hi"}}
    imitations = [
        b"NATS/1.0\r\nStatus: 404\r\n\r\n",
        b"NATS/1.0\r\nStatus: 503\r\n\r\n",
        b"NATS/1.0 408 Gone\r\n\r\n",
        b"NATS/1.0\r\nNats-Sequence: 999\r\nNats-Subject: no.such\r\nNats-Stream: X\r\n\r\n",
        *HEADERS,
    ]
    try:
        for number, headers in enumerate(imitations):
            given = body | {"id": f"s-{number}", "content": {"text": "hi", "template": {"name": "order_shipped"}}}
            await publisher.publish(SUBJECT, headers, json.dumps(given).encode())
    finally:
        publisher.close()

    for number in range(len(imitations)):
        assert (await harness.wait_for_final(f"s-{number}")).status in {"exhausted", "rejected"}
    await harness.idle()
    assert harness.dead_letters == []
