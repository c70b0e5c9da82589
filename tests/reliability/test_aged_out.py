"""A notification that is kept no more: nothing can be sent again or looked for, and its story ends by saying so."""

from __future__ import annotations

import json
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from router.outbox import read_item
from router.owners import Owner
from router.received import Received
from tests.reliability.gates import Fate
from tests.reliability.world import WAIT, World

BODY = json.dumps({"id": "n-1", "to": "+12025550143", "content": {"text": "hi"}}).encode()


@pytest.fixture(params=[Fate.THROTTLED, Fate.DROPPED])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """After one attempt, which was refused or is unknown; the notification has aged out since."""
    made = World([request.param])
    process = made.processes[0]
    sequence = made.seed(BODY)
    _do(made, process.intake.take(Received("notifications.normal.shop", sequence, BODY, {})))
    (queued,) = made.store.stream("OUTBOX")
    _do(made, process.attempts.make(read_item("shop", "n-1", queued.headers, queued.body)))
    made.store.aged_out.add("NOTIFICATIONS")
    yield made
    made.close()


def _do(world: World, work: Coroutine[Any, Any, object]) -> None:
    world.begin(world.processes[0], work)
    world.pass_all()


def test_the_story_ends_once_and_says_why(world: World) -> None:
    process = world.processes[0]
    for _ in range(2):
        _do(world, process.follow_up.on_event(world.store.stream("DELIVERIES")[2].body))
        world.advance(WAIT, Fate.DROPPED)
        _do(world, process.reconcile.look("shop", "n-1", 1))

    *_, end = world.store.bodies("DELIVERIES")
    assert len(world.store.statuses()) == 4
    assert (end["status"], end["reason"], end["final"]) == ("exhausted", "aged_out", True)
    assert end["error"]["class"] in {"provider_throttled", "outcome_unknown"}


@pytest.mark.parametrize("world", [Fate.DROPPED], indirect=True)
@pytest.mark.parametrize("again", [True, False])
def test_a_person_can_still_say_how_it_was(world: World, again: bool) -> None:
    process = world.processes[0]

    _do(world, process.reconcile.as_not_sent(Owner("shop", "n-1", 1), again=again))
    _do(world, process.follow_up.on_event(world.store.stream("DELIVERIES")[-1].body))

    end = world.store.bodies("DELIVERIES")[-1]
    assert (end["status"], end["reason"]) == ("exhausted", "aged_out" if again else "outcome_unknown")
