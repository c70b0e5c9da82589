"""The feed follows a real log: what was there before, what comes, what is too much, after a consumer was lost."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from channels.testing import until
from router.connection import Connection
from router.console.feed import Feed
from router.console.following import Follower, LogSearch
from router.embedded import EmbeddedNats
from router.jetstream import JetStream
from router.settings import NatsSettings

pytestmark = pytest.mark.nats

MOST = 100


class Log:
    """A stream DELIVERIES, and a feed that follows it."""

    def __init__(self, server: EmbeddedNats, js: JetStream) -> None:
        self.server = server
        self.js = js
        self.feed = Feed(MOST)
        self.follower = Follower(js, self.feed, MOST)

    async def append(self, count: int, prefix: str = "n", **fields: str) -> None:
        for number in range(count):
            said = "".join(f', "{name}": "{value}"' for name, value in fields.items())
            body = f'{{"recipient": "+1202555{number:04}", "provider_message_id": null{said}}}'
            await self.js.publish(f"deliveries.shop.routed.sms.{prefix}{number}", body.encode())

    @property
    def ids(self) -> list[str]:
        return [seen.notification_id for seen in reversed(self.feed.newest(10_000))]


@pytest.fixture
async def log() -> AsyncIterator[Log]:
    async with EmbeddedNats() as server:
        connection = Connection(NatsSettings(url=server.url))
        await connection.open()
        js = JetStream(connection.client)
        await js.start()
        await js.api(
            "STREAM.CREATE.DELIVERIES", {"name": "DELIVERIES", "subjects": ["deliveries.>"], "allow_direct": True}
        )
        log = Log(server, js)
        yield log
        await log.follower.stop()
        await js.stop()
        await connection.close()


async def test_it_begins_with_the_newest_that_it_has_room_for_and_goes_on(log: Log) -> None:
    await log.append(MOST + 20, "old")
    await log.follower.start()
    await until(lambda: len(log.ids) == MOST)
    assert (log.ids[0], log.ids[-1]) == ("old20", f"old{MOST + 19}")
    await log.append(1, "new")
    await until(lambda: log.ids[-1] == "new0")
    assert log.feed.skipped == 0


async def test_an_empty_log_is_followed_from_its_first_event(log: Log) -> None:
    await log.follower.start()
    await log.append(2)
    await until(lambda: log.ids == ["n0", "n1"])


async def test_no_event_is_taken_twice_when_the_consumer_is_lost(log: Log) -> None:
    await log.follower.start()
    await log.append(3, "a")
    await until(lambda: len(log.ids) == 3)
    for name in (await log.js.api("CONSUMER.NAMES.DELIVERIES", {"offset": 0}))["consumers"]:
        await log.js.api(f"CONSUMER.DELETE.DELIVERIES.{name}")
    await log.append(3, "b")
    await until(lambda: len(log.ids) >= 6)
    assert log.ids == ["a0", "a1", "a2", "b0", "b1", "b2"]


async def test_what_is_far_behind_is_left_out_and_counted(log: Log) -> None:
    await log.append(1, "a")
    await log.follower.start()
    await until(lambda: log.ids == ["a0"])
    await log.follower.stop()
    await log.append(MOST * 3, "b")
    await log.follower.start()  # the same one: it knows where it stood
    await until(lambda: log.ids[-1] == f"b{MOST * 3 - 1}")
    assert log.feed.skipped == MOST * 2
    assert len(log.ids) == MOST


async def test_the_log_is_searched_by_id_however_old_and_further_back_page_by_page(log: Log) -> None:
    await log.append(1, "needle", provider="x")
    await log.append(MOST * 2, "hay")
    await log.follower.start()
    await until(lambda: len(log.ids) == MOST)
    search = LogSearch(log.js, log.feed)
    assert search.in_memory("needle0", 10) == []
    (found,) = await search.by_id("needle0")
    assert (found.source, found.status, found.sequence) == ("shop", "routed", 1)

    first = log.feed.first
    assert first is not None
    hits, looked, all_of_it, before = await search.further_back("+12025550000", 10, first)
    assert {each.notification_id for each in hits} == {"needle0", "hay0"}
    assert all_of_it
    assert looked is not None
    assert before == 1


async def test_a_search_ends_when_it_has_found_enough(log: Log) -> None:
    await log.append(30)
    found, _, _, _ = await LogSearch(log.js, log.feed).further_back("n3", 1, 31)
    assert [each.notification_id for each in found] == ["n3"]
