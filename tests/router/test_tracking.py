"""Reports of the provider in any order, beside the router's own words: an attempt never moves backwards."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from channels.model import SMS, AttemptRef, Form, NotificationId, ProviderError, ProviderMessageId, StatusReport
from channels.status import ENDED_BADLY, RANK, DeliveryStatus, advances
from policies.model import Step
from router.events import Happening
from router.ledger import Ledger
from router.story import About, Attempt, Snapshot
from router.tracking import Outcome
from tests.factories import NOW
from tests.router.parts import HASHER, Parts, now
from tests.router.store import STORED_UNANSWERED

ABOUT = About("shop", "n-1", "normal", "transactional", "+12025550123", {})
SID = ProviderMessageId("SM1")
REF = AttemptRef("shop", NotificationId("n-1"), 1, HASHER.token("shop", "n-1", 1))
REPORTABLE = sorted(set(DeliveryStatus) - {DeliveryStatus.SENDING, DeliveryStatus.UNKNOWN})


def a_report(status: DeliveryStatus | None, ref: AttemptRef | None = REF) -> StatusReport:
    return StatusReport(ref, "twilio", SID, status, str(status))


async def claimed() -> Parts:
    """A notification whose only attempt is claimed."""
    parts = Parts()
    snapshot = Snapshot("1:x", 1, plan=(Step(SMS, Form.TEXT, "us-main"),), events=1)
    story = await parts.ledger.append(ABOUT, Happening("routed", NOW, channel=SMS), snapshot, after=0)
    attempt = Attempt(1, 0, DeliveryStatus.SENDING, int(NOW.timestamp()))
    happening = Happening("sending", NOW, channel=SMS, attempt=1)
    await parts.ledger.append(ABOUT, happening, snapshot.with_attempt(attempt), after=story.sequence)
    return parts


class StatusMachine(RuleBasedStateMachine):
    """The provider reports whatever it likes, and the API's own answer comes at any moment, or never."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.parts = self.runner.run(claimed())
        self.answered = False

    @rule(status=st.sampled_from(REPORTABLE))
    def report(self, status: DeliveryStatus) -> None:
        before = self.statuses()
        outcome = self.runner.run(self.parts.tracking.record(a_report(status)))
        is_news = advances(before[-1], status)
        assert outcome is (Outcome.RECORDED if is_news else Outcome.REPEATED)
        assert (self.statuses()[-1] is status) if is_news else (self.statuses() == before)

    @rule(status=st.sampled_from(REPORTABLE))
    def report_with_a_wrong_token(self, status: DeliveryStatus) -> None:
        before = self.statuses()
        outcome = self.runner.run(self.parts.tracking.record(a_report(status, replace(REF, token="x"))))
        assert outcome is Outcome.STRANGE
        assert self.statuses() == before

    @precondition(lambda self: not self.answered)
    @rule(status=st.sampled_from([DeliveryStatus.ACCEPTED, DeliveryStatus.UNKNOWN]))
    def answer(self, status: DeliveryStatus) -> None:
        self.answered = True
        self.runner.run(_answer(self.parts, status))

    @invariant()
    def never_backwards(self) -> None:
        statuses = self.statuses()
        for before, after in pairwise(statuses):
            assert RANK[after] > RANK[before]
            assert before not in ENDED_BADLY

    @invariant()
    def accepted_before_anything_else_the_provider_says(self) -> None:
        later = [status for status in self.statuses() if RANK[status] >= RANK[DeliveryStatus.ACCEPTED]]
        assert later[:1] in ([], [DeliveryStatus.ACCEPTED])

    def statuses(self) -> list[DeliveryStatus]:
        return [DeliveryStatus(status) for status in self.parts.store.statuses()[1:]]

    def teardown(self) -> None:
        self.runner.close()


async def _answer(parts: Parts, status: DeliveryStatus) -> None:
    """What dispatch records, unless a callback was faster."""
    story = await parts.ledger.read("shop", "n-1")
    attempt = story.snapshot.attempts[0]
    if advances(attempt.status, status):
        happening = Happening(status.value, NOW, channel=SMS, attempt=1)
        snapshot = story.snapshot.with_attempt(attempt.moved(status, SID))
        await parts.ledger.append(ABOUT, happening, snapshot, after=story.sequence)


StatusMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=15, deadline=None)
TestStatuses = StatusMachine.TestCase


async def test_a_report_whose_storing_was_not_answered_is_appended_once() -> None:
    parts = await claimed()
    parts.store.mishaps.extend([STORED_UNANSWERED, STORED_UNANSWERED])

    assert await parts.tracking.record(a_report(DeliveryStatus.SENT)) is Outcome.RECORDED

    assert parts.store.statuses() == ["routed", "sending", "accepted", "sent"]


@pytest.mark.parametrize(
    ("error", "reason", "move"),
    [
        (None, "undeliverable", "give_up@provider_rejected"),
        (ProviderError("recipient_unreachable", 30005, None), "not_on_channel", "give_up@not_on_channel"),
        (
            ProviderError("provider_unavailable", 30003, None, True),
            "provider_unavailable",
            "retry@2026-11-20T12:01:00.000Z",
        ),
        # The code says that it is not sure; the status says failed, and every story needs an end.
        (ProviderError("outcome_unknown", 30410, None), "outcome_unknown", "give_up@provider_rejected"),
        (ProviderError("a class of tomorrow", 1, None), "undeliverable", "give_up@provider_rejected"),
    ],
)
async def test_what_follows_a_reported_failure_is_decided_with_it(
    error: ProviderError | None, reason: str, move: str
) -> None:
    parts = await claimed()
    report = replace(a_report(DeliveryStatus.UNDELIVERED), error=error)

    await parts.tracking.record(report)

    assert parts.store.bodies("DELIVERIES")[-1]["reason"] == reason
    story = await Ledger(parts.store, now, "another").read("shop", "n-1")
    assert story.snapshot.attempts[0].next == move


async def test_a_report_without_a_reference_or_with_an_unknown_word_is_strange() -> None:
    parts = await claimed()

    assert await parts.tracking.record(a_report(DeliveryStatus.SENT, None)) is Outcome.STRANGE
    assert await parts.tracking.record(a_report(None)) is Outcome.STRANGE
    assert await parts.tracking.record(a_report(DeliveryStatus.SENT, replace(REF, attempt=2))) is Outcome.STRANGE
    assert parts.store.statuses() == ["routed", "sending"]
