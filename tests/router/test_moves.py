"""What was decided after a failure survives the log; subjects of the contract are built and read alike."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from channels.errors import (
    OutcomeUnknownError,
    ProviderThrottledError,
    ProviderUnavailableError,
    RecipientUnreachableError,
    SendError,
)
from channels.model import MMS, SMS, Form, Lane, ProviderError
from channels.reasons import Reason
from channels.status import DeliveryStatus
from policies.model import Step
from policies.retry import RetrySettings
from router import subjects
from router.moves import GiveUpMove, Move, Mover, RetryMove, StepMove, read_move
from router.story import Attempt, Snapshot
from tests.factories import NOW

PLAN = (Step(MMS, Form.MEDIA, "us"), Step(SMS, Form.LINK, "us"))


def _after(tries: int) -> Snapshot:
    return Snapshot("1:x", 1, PLAN, tuple(Attempt(n, 0, DeliveryStatus.FAILED, 0) for n in range(1, tries + 1)))


@pytest.mark.parametrize(
    ("error", "tries", "move"),
    [
        (ProviderUnavailableError("away"), 1, RetryMove(NOW + timedelta(seconds=2))),
        (ProviderUnavailableError("away"), 3, RetryMove(NOW + timedelta(seconds=8))),
        (ProviderThrottledError("too fast", retry_after=30), 1, RetryMove(NOW + timedelta(seconds=30))),
        (ProviderUnavailableError("away"), 5, StepMove(1)),
        (ProviderUnavailableError("congested", slow=True), 1, RetryMove(NOW + timedelta(seconds=60))),
        (RecipientUnreachableError("no mobile"), 1, StepMove(1)),
        (OutcomeUnknownError("silence"), 1, None),
    ],
)
def test_what_is_decided_is_written_and_read_back(error: SendError, tries: int, move: Move | None) -> None:
    mover = Mover(RetrySettings(), lambda: NOW, lambda: 1.0)

    assert read_move(mover.after_error(error, _after(tries), 0, None)) == move


@pytest.mark.parametrize(
    ("seconds", "move"),
    [(1, StepMove(1)), (0, GiveUpMove(Reason.EXPIRED)), (3, RetryMove(NOW + timedelta(seconds=2)))],
)
def test_nothing_is_put_off_beyond_the_notifications_expiry(seconds: int, move: Move) -> None:
    """A pause of two seconds: where it would end too late, the next step runs at once, and none once it is over."""
    mover = Mover(RetrySettings(), lambda: NOW, lambda: 1.0)
    expires_at = NOW + timedelta(seconds=seconds)

    assert read_move(mover.after_error(ProviderUnavailableError("away"), _after(1), 0, expires_at)) == move


@pytest.mark.parametrize(
    ("seconds", "move"),
    [(1, StepMove(1)), (0, GiveUpMove(Reason.EXPIRED)), (3, RetryMove(NOW + timedelta(seconds=2)))],
)
def test_a_failure_that_a_callback_reports_is_not_put_off_beyond_it_either(seconds: int, move: Move) -> None:
    mover = Mover(RetrySettings(), lambda: NOW, lambda: 1.0)
    snapshot = replace(_after(1), expires_at=NOW + timedelta(seconds=seconds))
    error = ProviderError("provider_unavailable", 30003, "carrier")

    assert read_move(mover.after_report(error, DeliveryStatus.UNDELIVERED, snapshot, 0)) == move


def test_the_last_step_gives_up_with_the_reason_of_its_failure() -> None:
    mover = Mover(RetrySettings(), lambda: NOW, lambda: 1.0)

    assert read_move(mover.after_error(RecipientUnreachableError("no"), _after(1), 1, None)) == GiveUpMove(
        Reason.NOT_ON_CHANNEL
    )


@pytest.mark.parametrize("lane", Lane)
def test_a_notifications_subject_is_read_as_it_was_built(lane: Lane) -> None:
    origin = subjects.read_notification(subjects.notification(lane, "shop-eu"))

    assert (origin.lane, origin.source) == (lane, "shop-eu")


@pytest.mark.parametrize(
    "subject",
    [
        "notifications",
        "notifications.normal",
        "notifications.normal.a.b",
        "notifications.slow.a",
        "x.normal.a",
        "notifications.normal.A",
        "notifications.normal." + "a" * 33,
        "notifications.normal.a_b",
        "notifications.normal.",
    ],
)
def test_any_other_subject_is_refused(subject: str) -> None:
    with pytest.raises(subjects.SubjectError):
        subjects.read_notification(subject)
