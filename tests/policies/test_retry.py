"""Rows with the arithmetic beside them. Settings: base 2 s, cap 300 s, 5 tries, slow 60 s up to 3600 s."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.errors import BY_CLASS
from channels.reasons import Reason
from channels.status import DeliveryStatus
from policies.retry import (
    MOVES_ON,
    Failure,
    GiveUp,
    NextStep,
    Reconcile,
    RetryAt,
    RetryDecision,
    decide_retry,
    delay,
)
from tests.factories import NOW

LOST = DeliveryStatus.UNDELIVERED
DOWN = "provider_unavailable"
FULL = "provider_throttled"


def decided(
    failure: Failure,
    tries: int = 1,
    step: int = 0,
    steps: int = 1,
    expires_in: float | None = None,
    jitter: float = 0.5,
) -> RetryDecision:
    expires_at = None if expires_in is None else NOW + timedelta(seconds=expires_in)
    following = step + 1 if step + 1 < steps else None
    return decide_retry(failure, tries=tries, following=following, expires_at=expires_at, now=NOW, jitter=jitter)


def after(seconds: float) -> RetryAt:
    return RetryAt(NOW + timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("failure", "tries", "jitter", "seconds"),
    [
        (Failure(DOWN), 1, 0.0, 0.0),  # 0 x 2
        (Failure(DOWN), 1, 0.5, 1.0),  # 0.5 x 2
        (Failure(DOWN), 2, 0.5, 2.0),  # 0.5 x 2 x 2
        (Failure(DOWN), 4, 0.75, 12.0),  # 0.75 x 2 x 2^3
        (Failure(DOWN, retry_after=7.5), 1, 0.5, 7.5),  # max(7.5, 0.5 x 2)
        (Failure(DOWN, retry_after=0.5), 1, 0.5, 1.0),  # max(0.5, 0.5 x 2)
        (Failure(FULL, retry_after=900.0), 1, 0.5, 900.0),  # above the cap of 300 and honoured
        (Failure(DOWN, slow=True), 1, 0.5, 30.0),  # 0.5 x 60
        (Failure(DOWN, slow=True), 3, 0.5, 120.0),  # 0.5 x 60 x 2^2
    ],
)
def test_what_was_not_sent_is_tried_again_after_a_growing_random_delay(
    failure: Failure, tries: int, jitter: float, seconds: float
) -> None:
    assert decided(failure, tries=tries, jitter=jitter) == after(seconds)


@pytest.mark.parametrize(
    ("failure", "tries", "jitter", "seconds"),
    [
        (Failure(DOWN), 8, 0.5, 128.0),  # 0.5 x 2 x 2^7 = 0.5 x 256, still under the cap
        (Failure(DOWN), 9, 0.5, 150.0),  # 2 x 2^8 = 512, capped: 0.5 x 300
        (Failure(DOWN, slow=True), 7, 0.5, 1800.0),  # 60 x 2^6 = 3840, capped: 0.5 x 3600
        (Failure(DOWN), 100_000, 0.5, 150.0),  # no overflow
        (Failure(FULL, retry_after=1e18), 1, 0.5, 2_592_000.0),  # 30 days: events are not kept longer
    ],
)
def test_the_delay_is_capped(failure: Failure, tries: int, jitter: float, seconds: float) -> None:
    assert delay(failure, tries, jitter) == seconds


ROWS: list[tuple[str, Failure, int, int, int, float | None, RetryDecision]] = [
    # label, failure, tries, step, steps, seconds to expiry, decision (jitter 0.5)
    ("last try goes on to the next step", Failure(DOWN), 5, 0, 2, None, NextStep(1)),
    ("a carrier's trouble ends", Failure(DOWN, status=LOST), 5, 1, 2, None, GiveUp(Reason.PROVIDER_UNAVAILABLE)),
    ("the last step waits for its provider", Failure(DOWN), 5, 1, 2, None, after(16.0)),
    ("however often it was tried", Failure(DOWN), 500, 1, 2, None, after(150.0)),
    ("not where the trouble lies behind it", Failure(DOWN, slow=True), 5, 1, 2, None, GiveUp(Reason(DOWN))),
    ("until it expires", Failure(DOWN), 500, 1, 2, 150.0, GiveUp(Reason.EXPIRED)),
    ("a sender that is refused", Failure("sender_config"), 500, 0, 1, None, after(150.0)),
    ("a sender that is refused, another may do", Failure("sender_config"), 5, 0, 2, None, NextStep(1)),
    ("throttled to the end", Failure(FULL), 5, 0, 1, None, GiveUp(Reason.PROVIDER_THROTTLED)),
    ("a retry before expiry", Failure(DOWN), 1, 0, 1, 1.5, after(1.0)),
    ("a retry at expiry is too late", Failure(DOWN), 1, 0, 1, 1.0, GiveUp(Reason.EXPIRED)),
    ("a retry at expiry is too late, the next step is not", Failure(DOWN), 1, 0, 2, 1.0, NextStep(1)),
    ("asked to wait beyond expiry", Failure(FULL, 60.0), 1, 0, 1, 59.0, GiveUp(Reason.EXPIRED)),
    ("asked to wait beyond expiry, another channel need not", Failure(FULL, 60.0), 1, 0, 2, 59.0, NextStep(1)),
    ("on the last step nothing is left to do", Failure(FULL, 60.0), 1, 1, 2, 59.0, GiveUp(Reason.EXPIRED)),
    ("expired while it was tried", Failure(DOWN), 1, 0, 2, 0.0, GiveUp(Reason.EXPIRED)),
    ("the next step is too late as well", Failure("provider_rejected"), 1, 0, 2, 0.0, GiveUp(Reason.EXPIRED)),
    ("refused for good, next step", Failure("provider_rejected"), 1, 0, 3, None, NextStep(1)),
    ("from the middle of the plan", Failure("recipient_unreachable"), 1, 1, 3, None, NextStep(2)),
    ("refused for good, no step left", Failure("provider_rejected"), 1, 0, 1, 0.0, GiveUp(Reason.PROVIDER_REJECTED)),
    ("window closed in flight", Failure("service_window_closed"), 1, 0, 2, None, NextStep(1)),
    ("window closed, no step left", Failure("service_window_closed"), 1, 1, 2, None, GiveUp(Reason.SESSION_CLOSED)),
    ("stop means stop on every channel", Failure("recipient_opted_out"), 1, 0, 2, None, GiveUp(Reason.OPTED_OUT)),
    ("our own message is wrong", Failure("message_invalid"), 1, 0, 2, None, GiveUp(Reason.MESSAGE_INVALID)),
    ("our sender is wrong, another may do", Failure("channel_config"), 1, 0, 2, None, NextStep(1)),
    ("our sender is wrong", Failure("channel_config"), 1, 0, 1, None, GiveUp(Reason.CHANNEL_CONFIG)),
    ("an answer without sense", Failure("provider_response"), 1, 0, 1, None, GiveUp(Reason.PROVIDER_RESPONSE)),
    ("unknown is resolved first", Failure("outcome_unknown"), 1, 0, 2, None, Reconcile()),
    ("unknown is resolved even when late", Failure("outcome_unknown"), 9, 0, 2, -1.0, Reconcile()),
    ("a class nobody knows is unknown", Failure("from_a_newer_version"), 1, 0, 2, None, Reconcile()),
]


@pytest.mark.parametrize(
    ("failure", "tries", "step", "steps", "expires_in", "decision"), [r[1:] for r in ROWS], ids=[r[0] for r in ROWS]
)
def test_each_class_of_failure_has_its_consequence(
    failure: Failure, tries: int, step: int, steps: int, expires_in: float | None, decision: RetryDecision
) -> None:
    assert decided(failure, tries, step, steps, expires_in) == decision


REFUSED = Failure("provider_rejected")
UNREACHABLE = Failure("recipient_unreachable")
REPORTED = Failure("provider_rejected", status=LOST)


@pytest.mark.parametrize(
    ("failure", "on", "moves"),
    [
        (REFUSED, None, True),
        (REFUSED, ("provider_rejected",), True),
        (UNREACHABLE, ("provider_rejected",), True),  # below it in the tree of errors
        (REFUSED, ("recipient_unreachable",), False),
        (UNREACHABLE, ("recipient_unreachable", "undelivered"), True),
        (REFUSED, ("undelivered",), False),  # refused at once, not reported by a callback
        (REPORTED, ("undelivered",), True),
        (REPORTED, ("failed",), False),
        (REPORTED, ("provider_rejected",), True),
        (Failure("recipient_opted_out"), MOVES_ON, False),  # stop means stop, whatever a policy names
        (Failure("message_invalid"), MOVES_ON, False),
    ],
)
def test_a_step_says_which_failures_lead_on(failure: Failure, on: tuple[str, ...] | None, moves: bool) -> None:
    decision = decide_retry(failure, tries=1, following=1, expires_at=None, now=NOW, jitter=0.5, on=on)
    assert decision == (NextStep(1) if moves else GiveUp(BY_CLASS[failure.error_class].reason))


@given(
    error_class=st.sampled_from(sorted(BY_CLASS)),
    retry_after=st.none() | st.floats(0, 1e12),
    slow=st.booleans(),
    tries=st.integers(1, 10_000),
    step=st.integers(0, 3),
    steps=st.integers(1, 4),
    expires_in=st.none() | st.floats(-1e6, 1e6),
    jitter=st.floats(0, 1, exclude_max=True),
)
def test_retries_lie_ahead_before_expiry_and_steps_exist(
    error_class: str,
    retry_after: float | None,
    slow: bool,
    tries: int,
    step: int,
    steps: int,
    expires_in: float | None,
    jitter: float,
) -> None:
    decision = decided(Failure(error_class, retry_after, slow), tries, step, steps, expires_in, jitter)
    match decision:
        case RetryAt(at):
            assert at >= NOW
            assert tries < 5 or (BY_CLASS[error_class].in_vain and not slow and step + 1 >= steps)
            assert BY_CLASS[error_class].retryable
            assert expires_in is None or at < NOW + timedelta(seconds=expires_in)
        case NextStep(following):
            assert following == step + 1 < steps
            assert BY_CLASS[error_class].next_step
        case GiveUp(reason):
            assert reason in (BY_CLASS[error_class].reason, Reason.EXPIRED)
        case Reconcile():
            assert error_class == "outcome_unknown"


@pytest.mark.parametrize(
    ("failure", "tries", "in_vain", "on", "decision"),
    [
        (Failure(FULL), 7, 3, None, after(64.0)),  # four of seven count
        (Failure(FULL), 7, 2, None, NextStep(1)),  # five do
        (Failure(DOWN, status=LOST), 7, 3, None, after(64.0)),
        (Failure(DOWN, slow=True), 7, 3, None, after(1800.0)),
        (Failure(DOWN, slow=True), 7, 2, None, NextStep(1)),  # told by a provider that works
        (Failure(DOWN), 4, 3, None, after(8.0)),
        (Failure(DOWN), 5, 4, None, NextStep(1)),  # where a step follows, nobody waits for ever
        (Failure(DOWN), 5, 4, ("undelivered",), after(16.0)),  # but none does for this failure
    ],
)
def test_tries_at_which_nothing_could_be_sent_use_no_message_up(
    failure: Failure, tries: int, in_vain: int, on: tuple[str, ...] | None, decision: RetryDecision
) -> None:
    decided = decide_retry(
        failure, tries=tries, in_vain=in_vain, following=1, expires_at=None, now=NOW, jitter=0.5, on=on
    )
    assert decided == decision


@pytest.mark.parametrize(
    ("label", "error_class", "on", "following", "decision"),
    [
        ("a closed session is answered by the template", "service_window_closed", None, 2, NextStep(1)),
        ("which is the same step, so `on` has no say", "service_window_closed", ("undelivered",), 2, NextStep(1)),
        ("with nothing behind it too", "service_window_closed", None, None, NextStep(1)),
        ("any other failure passes it over", "recipient_unreachable", None, 2, NextStep(2)),
        ("and ends where nothing is behind it", "recipient_unreachable", None, None, GiveUp(Reason.NOT_ON_CHANNEL)),
    ],
)
def test_a_rescue_runs_for_a_closed_session_alone(
    label: str, error_class: str, on: tuple[str, ...] | None, following: int | None, decision: RetryDecision
) -> None:
    failure = Failure(error_class)
    decided = decide_retry(failure, tries=1, following=following, rescue=1, expires_at=None, now=NOW, jitter=0.5, on=on)
    assert decided == decision, label
