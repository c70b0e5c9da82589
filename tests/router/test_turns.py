"""Those who want the same thing have it one after the other; those who want different things do not wait."""

from __future__ import annotations

import asyncio

from router.turns import Turns


async def test_the_same_thing_is_had_one_after_the_other_and_nothing_is_remembered() -> None:
    turns, holders, waited = Turns(), [0, 0], []

    async def hold(thing: int) -> None:
        async with turns.of(thing) as had_to_wait:
            waited.append((thing, had_to_wait))
            holders[thing] += 1
            assert holders[thing] == 1
            await asyncio.sleep(0)
            holders[thing] -= 1

    await asyncio.gather(*(hold(number % 2) for number in range(10)))

    assert sorted(waited) == [(0, False), *[(0, True)] * 4, (1, False), *[(1, True)] * 4]
    assert turns._queues == {}


async def test_who_gives_up_waiting_keeps_nobody_from_it() -> None:
    turns = Turns()
    async with turns.of("it"):
        waiting = asyncio.create_task(_take(turns))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])

    await _take(turns)
    assert turns._queues == {}


async def _take(turns: Turns) -> None:
    async with turns.of("it"):
        pass
