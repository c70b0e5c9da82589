"""What the console may do: nothing unless it is allowed, and nothing for somebody whose session is over."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
import structlog

from channels.address import parse_recipient
from router.consent_ledger import OPTED_IN, OPTED_OUT, ConsentEntry
from router.console.access import Person
from router.console.feed import Feed
from router.console.following import LogSearch
from router.console.office import NotAllowedError, Office, as_stored
from router.deadletters import DeadLetters
from router.leases import Presence
from router.metrics.backlog import Backlog
from router.services.asking import BadRequestError
from tests.factories import NOW, US_MAIN, WA_MAIN
from tests.router.parts import Parts, now

ADA = Person("ada", NOW.timestamp() + 60)


class Rig:
    """An office over parts in memory, and what its desk was asked."""

    def __init__(self, *, actions: bool = False) -> None:
        self.parts = Parts()
        self.asked: list[Mapping[str, Any]] = []
        self.now = NOW.timestamp()
        store, feed = self.parts.store, Feed(10)
        letters = DeadLetters(store, now, "deadletters")
        self.office = Office(
            js=store,
            feed=feed,
            search=LogSearch(store, feed),
            backlog=Backlog(store, letters, "deadletters", ["us-main"]),
            presence=Presence(store, "senders", "r1", 5.0),
            consent=self.parts.consent,
            sessions=self.parts.sessions,
            senders={each.name: each for each in (US_MAIN, WA_MAIN)},
            answers={"deadletters.replay": self._answer, "trace": self._refuse},
            stuck_after=60,
            actions=actions,
            notes=dict,
            clock=lambda: self.now,
        )

    async def _answer(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        self.asked.append(request)
        return {"done": "read again"}

    async def _refuse(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        raise BadRequestError("nobody knows it", "id", int(request["code"]) if "code" in request else 404)


async def test_a_console_that_is_read_only_does_nothing() -> None:
    rig = Rig()
    with pytest.raises(NotAllowedError, match=r"console\.allow_actions"):
        await rig.office.act(ADA, "deadletters.replay", {"id": "d1"})
    assert rig.asked == []


async def test_what_is_done_is_logged_first_and_what_is_empty_is_not_asked() -> None:
    rig = Rig(actions=True)
    with structlog.testing.capture_logs() as said:
        answer = await rig.office.act(ADA, "deadletters.replay", {"id": "d1", "note": ""})
    assert answer == {"done": "read again"}
    assert rig.asked == [{"id": "d1"}]
    assert [(each["event"], each["person"], each["what"]) for each in said] == [
        ("console.acted", "ada", "deadletters.replay")
    ]


async def test_a_page_that_stays_open_longer_than_its_session_shows_and_does_nothing_more() -> None:
    rig = Rig(actions=True)
    rig.now += 61
    with pytest.raises(NotAllowedError, match="session is over"):
        await rig.office.act(ADA, "deadletters.replay", {"id": "d1"})
    with structlog.testing.capture_logs() as said, pytest.raises(NotAllowedError):
        rig.office.reveal(ADA, "recipient", source="shop", notification_id="n1")
    assert (rig.asked, said) == ([], [])


async def test_a_story_that_nobody_knows_is_empty() -> None:
    assert await Rig().office.story("shop", "n1") == []


@pytest.mark.parametrize(
    ("written", "region", "wanted"),
    [
        ("+12025550123", "", "+12025550123"),
        (" +1 (202) 555-0123 ", "", "+12025550123"),
        ("tel:+1-202-555-0123", "", "+12025550123"),
        ("(202) 555-0123", "US", "+12025550123"),
        ("0171 1234567", "DE", "+491711234567"),
        ("2025550123", "", "2025550123"),  # without a country it may be an id
        ("order-17", "", "order-17"),
        ("SM0123456789abcdef0123456789abcdef", "", "SM0123456789abcdef0123456789abcdef"),
        ("whatsapp:GB.13491208655302741918", "", "whatsapp:GB.13491208655302741918"),
        ("", "", ""),
    ],
)
def test_what_is_searched_for_is_read_as_consent_reads_it(written: str, region: str, wanted: str) -> None:
    assert as_stored(written, region) == wanted


def test_a_number_that_is_none_in_its_country_is_said() -> None:
    with pytest.raises(BadRequestError):
        as_stored("12", "US")


async def test_opt_outs_are_counted_by_recipient() -> None:
    rig = Rig()
    said = {"+12025550123": [OPTED_OUT], "+12025550124": [OPTED_OUT, OPTED_IN], "+12025550125": [OPTED_IN]}
    for number, states in said.items():
        for minute, state in enumerate(states):
            entry = ConsentEntry("all", state, NOW + timedelta(minutes=minute), "api", "said so")
            await rig.parts.consent.record(parse_recipient(number), entry)
    assert rig.office.opt_outs() == 1


async def test_without_nats_the_last_signs_of_life_are_shown_and_it_is_a_problem() -> None:
    rig = Rig()
    assert await rig.office.signs() == {}
    problems = await rig.office.problems()
    assert problems[0].what == "This router has no connection to NATS"


def test_only_senders_that_speak_whatsapp_have_sessions() -> None:
    assert Rig().office.whatsapp_senders == [WA_MAIN.name]
