"""What needs a person, asked for and dealt with over the services: repeating what a person did changes nothing."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import pytest

from channels.testing import until
from channels.twilio.simulator import Faults
from tests.integration.harness import US, Harness
from tests.reliability.doomed import SETTINGS
from tests.reliability.operators import ask

pytestmark = pytest.mark.nats


@pytest.fixture
async def held(stack: AsyncExitStack) -> Harness:
    """A router with one dead letter: an attempt of unknown outcome that was not sent, to be held."""
    harness = await stack.enter_async_context(Harness(faults=Faults(scripts={US: ("drop_before",)})))
    await harness.start_router(**{**SETTINGS, "reconcile": {"wait": 0.2, "settle": 0.5}})
    await harness.publish("n-1", on_unknown="hold")
    await until(lambda: len(harness.dead_letters) == 1)
    await harness.idle()
    return harness


def _identity(harness: Harness) -> str:
    return str(harness.dead_letters[0].body["dead_letter_id"])


async def _listed(harness: Harness, **request: Any) -> list[tuple[str, str]]:
    answer = await ask(harness, "list", request)
    return [(letter["dead_letter_id"], letter["state"]) for letter in answer["dead_letters"]]


async def test_it_is_listed_and_shown_whole_with_its_history(held: Harness) -> None:
    identity = _identity(held)

    assert await _listed(held) == [(identity, "open")]
    assert await _listed(held, stage="reconcile", source="shop") == [(identity, "open")]
    assert await _listed(held, stage="intake") == []
    assert await _listed(held, source="bank") == []
    (summary,) = (await ask(held, "list", {}))["dead_letters"]
    assert not {"body", "body_encoding", "headers"} & summary.keys()
    shown = await ask(held, "show", {"id": identity})
    assert shown == {**held.dead_letters[0].body, **summary, "events": [event.body for event in held.story("n-1")]}


async def test_resolved_as_sent_the_story_ends_and_nothing_is_sent(held: Harness) -> None:
    request = {"id": _identity(held), "outcome": "sent", "note": "seen in the provider's console"}

    assert (await ask(held, "resolve", request))["done"] == "recorded"
    assert (await ask(held, "resolve", request))["done"] == "nothing to do: its outcome is known by now"

    end = await held.wait_for_final("n-1")
    assert (end.status, end.body["reason"]) == ("sent", "resolved_by_person")
    assert await _listed(held) == []
    assert await _listed(held, state="resolved") == [(_identity(held), "resolved")]
    assert (await ask(held, "show", {"id": _identity(held)}))["note"] == request["note"]
    await held.idle()
    assert held.sent == []
    refused = await ask(held, "replay", {"id": _identity(held)})
    assert (refused["error"]["code"], refused["error"]["field"]) == (409, "id")
    assert held.sent == []


async def test_resolved_as_not_sent_the_story_ends_and_nothing_is_sent(held: Harness) -> None:
    assert (await ask(held, "resolve", {"id": _identity(held), "outcome": "not_sent"}))["done"] == "recorded"

    end = await held.wait_for_final("n-1")
    assert (end.status, end.body["reason"]) == ("exhausted", "outcome_unknown")
    await held.idle()
    assert held.statuses("n-1") == ["routed", "sending", "unknown", "failed", "exhausted"]
    assert held.sent == []


async def test_replayed_twice_it_is_sent_once(held: Harness) -> None:
    answers = [(await ask(held, "replay", {"id": _identity(held)}))["done"] for _ in range(2)]

    assert answers == ["sent again as a new attempt", "nothing to do: its outcome is known by now"]
    await held.wait_for("n-1", "delivered")
    await held.idle()
    assert len(held.sent) == 1
    assert await _listed(held, state="all") == [(_identity(held), "replayed")]


async def test_a_notification_that_could_not_be_read_is_refused_again_when_it_is_replayed(held: Harness) -> None:
    await held.publish_raw("notifications.normal.shop", b'{"id": "n-2", "to": "+12025550123", "texxt": 1}')
    rejected = await held.wait_for("n-2", "rejected")
    await until(lambda: len(held.dead_letters) == 2)
    identity = held.dead_letters[1].body["dead_letter_id"]

    for _ in range(2):
        refused = await ask(held, "replay", {"id": identity})
        assert refused["error"]["code"] == 409
        assert "as malformed as before" in refused["error"]["message"]

    await held.idle()
    assert held.statuses("n-2") == ["rejected"]
    assert rejected.body["reason"] == "invalid"
    assert [letter.body["dead_letter_id"] for letter in held.dead_letters] == [_identity(held), identity]


@pytest.mark.parametrize(
    ("what", "request_", "code", "field"),
    [
        ("list", {"stage": "Reconcile!"}, 400, "stage"),
        ("list", {"source": 7}, 400, "source"),
        ("list", {"state": "lost"}, 400, "state"),
        ("show", {}, 404, "id"),
        ("show", {"id": "none"}, 404, "id"),
        ("replay", {"id": "none"}, 404, "id"),
        ("replay", {"id": ["none"]}, 404, "id"),
        ("replay", {"id": None, "note": 7}, 400, "note"),
        ("resolve", {"id": "none", "outcome": "sent"}, 404, "id"),
        ("resolve", {"id": None}, 409, "outcome"),
        ("resolve", {"id": None, "outcome": "perhaps"}, 409, "outcome"),
        ("resolve", {"id": None, "outcome": "sent", "note": "x" * 1001}, 400, "note"),
    ],
)
async def test_a_refused_request_names_the_field_and_changes_nothing(
    held: Harness, what: str, request_: dict[str, Any], code: int, field: str
) -> None:
    """An id of None stands for that of the dead letter."""
    named = {"id": _identity(held)} if request_.get("id", "") is None else {}

    answer = await ask(held, what, {**request_, **named})

    assert (answer["error"]["code"], answer["error"]["field"]) == (code, field)
    assert answer["error"]["message"]
    assert await _listed(held) == [(_identity(held), "open")]
    assert held.statuses("n-1") == ["routed", "sending", "unknown"]
