"""What to do after an attempt failed: a value computed from the failure, the count of tries and the clock's reading.

Only what is known not to have been sent is tried again. An outcome that nobody knows is resolved first, and a refusal
for good leads to the next step of the plan, where the error's class allows one.

A try in vain, at which the provider was not reached or refused the sender as such, says nothing of the message. It
leads to the next step like any other, but where there is none it does not use the message up: that waits for its sender
until it expires.

Delays are "full jitter": a random share of an exponentially growing ceiling, so that a thousand messages refused in
the same second do not come back in the same second. A delay that the provider asks for is a floor under it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from channels.errors import BY_CLASS, OutcomeUnknownError, SendError, ServiceWindowClosedError
from channels.reasons import Reason
from channels.status import DeliveryStatus

#: What a step of a policy may name under `on`: the classes of error that may lead to the next step at all, each with
#: those below it in the tree of `channels.errors`, and the statuses in which a callback reports a failure.
MOVES_ON = (
    DeliveryStatus.UNDELIVERED.value,
    DeliveryStatus.FAILED.value,
    *(name for name, error in BY_CLASS.items() if error.next_step),
)


@dataclass(frozen=True, slots=True)
class Failure:
    """What is known of a failed attempt, as its event says it."""

    error_class: str  #: name in `channels.errors.BY_CLASS`; any other counts as an unknown outcome
    retry_after: float | None = None  #: seconds the provider asked to wait
    slow: bool = False  #: the trouble is the carrier's and takes a while
    status: DeliveryStatus | None = None  #: as a callback reported it; None: the provider's API refused


@dataclass(frozen=True, slots=True)
class RetrySettings:
    """How patient retries are; delays in seconds."""

    base: float = 2.0  #: ceiling of the first delay; doubles with each try
    cap: float = 300.0  #: the ceiling never grows above this
    attempts: int = 5  #: tries on one step of the plan, the first included; those in vain only where a step follows
    slow_base: float = 60.0  #: `base` for slow failures
    slow_cap: float = 3600.0  #: `cap` for slow failures


@dataclass(frozen=True, slots=True)
class RetryAt:
    """The same step again, not before `at`."""

    at: datetime


@dataclass(frozen=True, slots=True)
class NextStep:
    """The plan's next step, now."""

    step: int  #: its index in the plan, from 0


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Nothing more is tried."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Reconcile:
    """Nobody knows whether it was sent: find out before anything is sent again."""


RetryDecision = RetryAt | NextStep | GiveUp | Reconcile

DEFAULTS = RetrySettings()
#: 2 ** 64 seconds are beyond every cap; larger exponents would only overflow.
_LARGEST_EXPONENT = 64
#: Seconds; what a provider may ask for at most. Events are kept for 30 days by default, so a later retry finds nothing.
_LONGEST = 30 * 86_400.0


def decide_retry(
    failure: Failure,
    *,
    tries: int,
    in_vain: int = 0,
    following: int | None,
    rescue: int | None = None,
    expires_at: datetime | None,
    now: datetime,
    jitter: float,
    settings: RetrySettings = DEFAULTS,
    on: Collection[str] | None = None,
) -> RetryDecision:
    """What follows a failed attempt.

    `tries` counts the attempts already made on this step (from 1), `in_vain` those of them before this one at which
    nothing could be sent by this sender at all, `following` is the index of the step after it in the
    plan, `rescue` that of the template which answers a session that closed in flight, `jitter` is a draw from [0, 1),
    and `on` is the step's own (`Step.on`). A retry that would come after `expires_at` is not waited for: the next step,
    if there is one, runs while there is time.
    """
    error = BY_CLASS.get(failure.error_class, OutcomeUnknownError)
    if error is OutcomeUnknownError:
        return Reconcile()
    reason = error.reason
    step = following if error.next_step and _moves_on(failure, error, on) else None
    if error.retryable and _has_tries(failure, error, tries, in_vain, step, settings):
        at = now + timedelta(seconds=delay(failure, tries, jitter, settings))
        if expires_at is None or at < expires_at:
            return RetryAt(at)
        reason = Reason.EXPIRED
    if rescue is not None and error is ServiceWindowClosedError:
        step = rescue  # the same step in another form, so `on` has no say in it
    if step is None:
        return GiveUp(reason)
    return NextStep(step) if expires_at is None or now < expires_at else GiveUp(Reason.EXPIRED)


def _has_tries(
    failure: Failure, error: type[SendError], tries: int, in_vain: int, step: int | None, settings: RetrySettings
) -> bool:
    """Whether the same step may be tried again, as far as its number of tries goes."""
    # What a callback reports was taken by the provider, and slow trouble was told by a provider that works.
    if failure.status is None and error.in_vain and not failure.slow:
        return step is None or tries < settings.attempts
    return tries - in_vain < settings.attempts


def _moves_on(failure: Failure, error: type[SendError], on: Collection[str] | None) -> bool:
    """Whether the step lets this failure lead on; a class of error covers those below it."""
    if on is None or failure.status in on:
        return True
    return any(name in BY_CLASS and issubclass(error, BY_CLASS[name]) for name in on)


def delay(failure: Failure, tries: int, jitter: float, settings: RetrySettings = DEFAULTS) -> float:
    """Seconds to wait after the given number of tries; never shorter than what the provider asked for."""
    base, cap = (settings.slow_base, settings.slow_cap) if failure.slow else (settings.base, settings.cap)
    ceiling = min(cap, base * 2.0 ** min(tries - 1, _LARGEST_EXPONENT))
    return min(max(failure.retry_after or 0.0, jitter * ceiling), _LONGEST)
