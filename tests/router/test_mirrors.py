"""A mirror notices that a delivery did not reach it, instead of hiding it behind the next one."""

from __future__ import annotations

from nats.aio.client import Client
from nats.aio.msg import Msg

from router.buckets import Bucket, Mirror
from tests.router.store import MemoryStore


def delivery(sequence: int, nth: int, key: str, pending: int = 0) -> Msg:
    reply = f"$JS.ACK.KV_some.consumer.1.{sequence}.{nth}.1700000000000000000.{pending}"
    return Msg(Client(), f"$KV.some.{key}", reply, b"v%d" % sequence)


def current(mirror: Mirror[bytes]) -> bool:
    return mirror.is_current  # a call, since what it says changes


async def test_what_follows_a_lost_delivery_is_not_taken_until_all_of_it_comes_again() -> None:
    store = MemoryStore()
    mirror: Mirror[bytes] = Mirror(store, Bucket(store, "some"), bytes)
    mirror.take(delivery(5, 1, "a"))
    assert current(mirror)

    mirror.take(delivery(9, 3, "c"))
    mirror.take(delivery(10, 4, "d"))

    assert not current(mirror)
    assert mirror.keys() == ["a"]
    assert mirror.get("a") == b"v5"


async def test_a_key_that_the_server_has_no_more_is_forgotten_when_it_is_asked_for() -> None:
    store = MemoryStore()
    mirror: Mirror[bytes] = Mirror(store, Bucket(store, "some"), bytes)
    mirror.note("a", b"old", 1)
    await mirror.refresh("a")

    assert mirror.get("a") is None


async def test_a_write_of_our_own_that_was_deleted_meanwhile_does_not_come_back() -> None:
    store = MemoryStore()
    mirror: Mirror[bytes] = Mirror(store, Bucket(store, "some"), bytes)
    mirror.take(delivery(7, 1, "other"))
    mirror.note("a", b"mine, deleted by another before my answer came", 6)

    assert mirror.get("a") is None
