"""What is published outside of the lanes goes to a person, once, whoever was away or failed meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import cast

import nats
import pytest

from channels.reasons import Reason
from router import subjects, topology
from router.clock import utc_now
from router.deadletters import DeadLetters
from router.embedded import EmbeddedNats
from router.intake import Intake
from router.jetstream import JetStream, StoreError
from router.received import Received
from router.settings import NatsSettings, Settings
from router.strays import Strays, filter_of, is_outside
from tests.hostile.test_messages import RawPublisher

pytestmark = pytest.mark.nats

DEAD_LETTERS = topology.DEADLETTERS


@pytest.mark.parametrize(
    ("subject", "outside"),
    [
        ("notifications.normal.shop", False),
        ("notifications.urgent.no such source", False),  # the lane's consumer reads it, and intake refuses it
        ("notifications.bulk.shop.more", False),
        ("notifications.normal", True),
        ("notifications.slow.shop", True),
        ("notifications.normally.shop", True),
        ("notifications.>", True),
    ],
)
def test_what_no_lane_reads_is_outside(subject: str, outside: bool) -> None:
    assert is_outside(subject) is outside


def test_a_subject_that_cannot_be_read_is_found_by_its_place() -> None:
    assert filter_of("notifications.a\ufffdb.shop") == "notifications.*.shop"
    assert filter_of("notifications.slow.shop") == "notifications.slow.shop"


@dataclass
class Refusing:
    """An intake that keeps what it is given as the real one does, or has a fault of which nobody knows yet."""

    dead_letters: DeadLetters
    broken: bool = False
    taken: list[tuple[str, int]] = field(default_factory=list)

    async def take(self, received: Received) -> None:
        self.taken.append((received.subject, received.sequence))
        if self.broken:
            raise ValueError(received.subject)
        await self.dead_letters.keep(
            "intake",
            subjects.source_of(received.subject),
            sequence=received.sequence,
            subject=received.subject,
            body=received.body,
            headers=received.headers,
            reason=Reason.BAD_SUBJECT,
            message="no lane",
        )


@dataclass
class Desk:
    """One NATS with routers that look for strays."""

    js: JetStream
    settings: Settings

    def intake(self, *, broken: bool = False) -> Refusing:
        return Refusing(DeadLetters(self.js, utc_now, DEAD_LETTERS), broken)

    def strays(self, intake: Refusing) -> Strays:
        return Strays(self.js, cast("Intake", intake), intake.dead_letters)

    async def publish(self, *names: str) -> None:
        for name in names:
            await self.js.publish(f"notifications.{name}", name.encode())

    async def kept(self) -> Counter[tuple[str, str]]:
        letters = [json.loads(each.body) for each in await self.js.history(subjects.DEADLETTERS, "deadletters.>")]
        return Counter((letter["reason"], letter["body"]) for letter in letters)


@pytest.fixture
async def desk(nats_server: EmbeddedNats) -> AsyncIterator[Desk]:
    client = await nats.connect(nats_server.url)
    js = JetStream(client)
    await js.start()
    settings = Settings(nats=NatsSettings(url=[nats_server.url]))
    await topology.provision(js, settings)
    yield Desk(js, settings)
    await js.stop()
    await client.close()


async def test_only_what_is_outside_is_given_to_intake_and_each_once(desk: Desk) -> None:
    await desk.publish("slow.shop", "normal.shop", "normal", "slow.shop", "a.b.c.d", "bulk.shop")
    intake = desk.intake()
    strays = desk.strays(intake)

    await strays.look()
    await strays.look()
    await desk.publish("slow.shop", "urgent.shop")
    await strays.look()

    assert sorted(intake.taken, key=lambda each: each[1]) == [
        ("notifications.slow.shop", 1),
        ("notifications.normal", 3),
        ("notifications.slow.shop", 4),
        ("notifications.a.b.c.d", 5),
        ("notifications.slow.shop", 7),
    ]


async def test_what_others_have_kept_is_not_refused_again(desk: Desk) -> None:
    """At the same time, by one that was started later, and long after the server forgot its publication."""
    await desk.publish(*(f"slow.s{number}" for number in range(40)))
    first, second, later = desk.intake(), desk.intake(), desk.intake()
    await asyncio.gather(desk.strays(first).look(), desk.strays(second).look())
    await desk.js.api("STREAM.PURGE.DEADLETTERS")

    await desk.strays(later).look()

    assert later.taken == []
    assert await desk.kept() == {}


async def test_of_two_who_look_at_the_same_time_one_dead_letter_is_left(desk: Desk) -> None:
    names = [f"slow.s{number}" for number in range(40)]
    await desk.publish(*names)

    await asyncio.gather(*(desk.strays(desk.intake()).look() for _ in range(2)))

    assert await desk.kept() == {("bad_subject", name): 1 for name in names}


async def test_a_fault_sends_a_stray_to_a_person_and_stops_none_behind_it(desk: Desk) -> None:
    await desk.publish("astray", "slow.shop", "astray")

    await desk.strays(desk.intake(broken=True)).look()

    assert await desk.kept() == {("internal", "astray"): 2, ("internal", "slow.shop"): 1}


async def test_what_cannot_be_kept_now_is_kept_later(desk: Desk) -> None:
    await desk.publish("slow.shop", "astray")
    strays = desk.strays(desk.intake())
    await _limit(desk, 1)
    with pytest.raises(StoreError):
        await strays.look()
    await _limit(desk, -1)

    await strays.look()

    assert await desk.kept() == {("bad_subject", "slow.shop"): 1, ("bad_subject", "astray"): 1}


async def _limit(desk: Desk, max_bytes: int) -> None:
    config = (await desk.js.api("STREAM.INFO.DEADLETTERS"))["config"]
    discard = "new" if max_bytes > 0 else "old"
    await desk.js.api("STREAM.UPDATE.DEADLETTERS", config | {"max_bytes": max_bytes, "discard": discard})


async def test_a_stream_that_is_made_anew_is_looked_through_anew(desk: Desk) -> None:
    await desk.publish("normal.shop", "slow.shop")
    strays = desk.strays(desk.intake())
    await strays.look()
    await desk.js.api("STREAM.DELETE.NOTIFICATIONS")
    await topology.provision(desk.js, desk.settings)
    await desk.publish("slow.shop")

    await strays.look()

    assert await desk.kept() == {("bad_subject", "slow.shop"): 2}


async def test_whatever_a_publisher_makes_of_a_subject_it_is_found(desk: Desk, nats_server: EmbeddedNats) -> None:
    """NATS stores what no filter should be: the stars are part of the subject."""
    made_up = ("*", ">", "*.shop", "a\xff.shop", ">.shop", "x.>", "x*.y")
    publisher = RawPublisher()
    await publisher.open(nats_server.url)
    for name in made_up:
        subject = b"notifications." + name.encode("latin-1")
        publisher._writer.write(b"PUB " + subject + b" 1\r\nx\r\n")
    publisher._writer.write(b"PING\r\n")
    while await publisher._reader.readline() != b"PONG\r\n":
        pass  # for some of them it complains, and stores them all the same
    publisher.close()
    await desk.publish("normal.shop")
    intake = desk.intake()

    await desk.strays(intake).look()

    assert sorted(sequence for _, sequence in intake.taken) == list(range(1, len(made_up) + 1))
    assert await desk.kept() == {("bad_subject", "x"): len(made_up)}
