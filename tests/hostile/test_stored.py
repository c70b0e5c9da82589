"""What the router stored itself, spoilt: a person is told, the queue goes on, and nothing is tried for ever."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.msg import Msg

from router import workers
from router.deadletters import DeadLetters
from router.outbox import OutboxItem, item_of, read_item
from router.story import SNAPSHOT, Snapshot
from router.workers import FAULTS, LaterError, Settler
from tests.router.bodies import JSON
from tests.router.parts import Parts, now, received
from tests.router.store import MemoryStore

BODY = b'{"id":"n-1","to":"+12025550123","content":{"text":"hi"}}'
SUBJECT = "outbox.us-main.normal.shop.n-1"


async def an_item() -> OutboxItem:
    """As intake puts it there."""
    parts = Parts()
    await parts.intake().take(received(BODY))
    (stored,) = parts.store.stream("OUTBOX")
    return read_item("shop", "n-1", stored.headers, stored.body)


def spoilt(value: Any) -> st.SearchStrategy[Any]:
    """A value of JSON with one part of it replaced by something else."""
    if isinstance(value, list) and value:
        return st.integers(0, len(value) - 1).flatmap(
            lambda at: (JSON | spoilt(value[at])).map(lambda put: [*value[:at], put, *value[at + 1 :]])
        )
    return JSON


@given(st.data())
async def test_a_spoilt_header_is_read_or_refused_and_never_anything_else(data: st.DataObject) -> None:
    """Refused is what any exception is: whoever takes messages gives them to a person after a few tries."""
    headers = (await an_item()).headers()
    name = data.draw(st.sampled_from([*headers]))
    text = data.draw(st.text(max_size=30) | spoilt(json.loads(headers[SNAPSHOT])).map(json.dumps))
    try:
        item = read_item("shop", "n-1", headers | {name: text}, BODY)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        return
    assert isinstance(item.snapshot, Snapshot)


class Settled(MemoryStore):
    """Remembers what JetStream is told of each delivery."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[bytes] = []
        self.client._max_payload = 1_048_576

    async def tell(self, reply: str, word: bytes) -> None:
        self.told.append(word)


@pytest.mark.parametrize(
    "spoil",
    [
        {SNAPSHOT: "[1]"},
        {SNAPSHOT: "[3]"},
        {SNAPSHOT: "[" * 10_000},
        {SNAPSHOT: "\ud7ff"},
        {"Pointsman-Attempt": "NaN"},
        {"Pointsman-Step": "-"},
        {"Pointsman-Revision": "9" * 5_000},
    ],
)
async def test_an_item_that_cannot_be_read_goes_to_a_person_after_a_few_tries(spoil: dict[str, str]) -> None:
    store = Settled()
    settler = Settler(store, DeadLetters(store, now, "deadletters"), "dispatch")
    headers = (await an_item()).headers() | spoil

    async def handler(msg: Msg) -> None:
        item_of(msg)

    for delivery in range(1, FAULTS + 1):
        reply = f"$JS.ACK.OUTBOX.dispatch-us.{delivery}.7.7.1700000000000000000.0"
        await settler.handle(handler, Msg(store.client, SUBJECT, reply, BODY, headers))

    assert [told[:4] for told in store.told] == [b"-NAK"] * (FAULTS - 1) + [b"+ACK"]
    (letter,) = store.bodies("DEADLETTERS")
    assert (letter["stage"], letter["reason"], letter["notification_id"]) == ("dispatch", "internal", "n-1")
    assert letter["body"] == BODY.decode()
    assert workers.owner_of(SUBJECT) == ("shop", "n-1")


async def test_being_put_off_is_no_fault() -> None:
    """What had to wait five times, and then meets the first fault, is tried again."""
    store = Settled()
    settler = Settler(store, DeadLetters(store, now, "deadletters"), "stuck")
    outcomes: list[Exception] = [LaterError("not yet", 1.0)] * FAULTS + [RuntimeError("a fault of ours")]

    async def handler(_msg: Msg) -> None:
        raise outcomes.pop(0)

    for delivery in range(1, FAULTS + 2):
        reply = f"$JS.ACK.DELIVERIES.stuck.{delivery}.7.{delivery}.1700000000000000000.0"
        await settler.handle(handler, Msg(store.client, "deliveries.shop.accepted.sms.n-1", reply, b"{}"))

    assert [told[:4] for told in store.told] == [b"-NAK"] * (FAULTS + 1)
    assert store.bodies("DEADLETTERS") == []
