"""Places: who has to wait, and for how long it is worth while."""

from __future__ import annotations

import asyncio

from router.places import Places


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_where_one_is_free_nobody_waits() -> None:
    places = Places(2)
    assert (await places.take_soon(), places.full) == (True, False)
    assert (await places.take_soon(), places.full) == (True, True)
    places.give_back()
    assert (await places.take_soon(), places.full) == (True, True)


async def test_who_waits_gets_the_one_that_is_given_back() -> None:
    places = Places(1)
    await places.take()
    waiting = asyncio.create_task(places.take_soon())
    await asyncio.sleep(0)
    places.give_back()
    assert await waiting
    assert places.full


async def test_after_one_waited_in_vain_nobody_waits_for_a_while() -> None:
    clock = Clock()
    places = Places(1, clock)
    await places.take()
    first, second = await asyncio.gather(places.take_soon(), places.take_soon())
    assert (first, second) == (False, False)

    async with asyncio.timeout(0.1):  # less than the wait
        assert not await places.take_soon()

    clock.now += 10
    waiting = asyncio.create_task(places.take_soon())
    await asyncio.sleep(0)
    assert not waiting.done()
    places.give_back()
    assert await waiting


async def test_waiting_in_vain_takes_no_place() -> None:
    places = Places(1)
    await places.take()
    assert not await places.take_soon()
    places.give_back()
    assert await places.take_soon()
