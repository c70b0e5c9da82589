"""What follows a failed attempt, decided once and written into the log, so that whoever carries it out does the same.

"retry@<RFC 3339>": the same step again at that time. "step@<index>": the next step now. "give_up@<reason>": the end.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from channels.errors import BY_CLASS, OutcomeUnknownError, ProviderRejectedError, SendError, nearest_class
from channels.model import ProviderError
from channels.reasons import Reason
from channels.status import DeliveryStatus
from policies.retry import Failure, GiveUp, NextStep, Reconcile, RetryAt, RetryDecision, RetrySettings, decide_retry
from router.clock import Clock, rfc3339
from router.story import Snapshot


@dataclass(frozen=True, slots=True)
class RetryMove:
    """The same step again."""

    at: datetime


@dataclass(frozen=True, slots=True)
class StepMove:
    """Another step of the plan."""

    step: int


@dataclass(frozen=True, slots=True)
class GiveUpMove:
    """Nothing more."""

    reason: Reason


Move = RetryMove | StepMove | GiveUpMove


def read_move(text: str) -> Move | None:
    """From the log; None where nothing was decided."""
    kind, _, value = text.partition("@")
    match kind:
        case "retry":
            return RetryMove(datetime.fromisoformat(value))
        case "step":
            return StepMove(int(value))
        case "give_up":
            return GiveUpMove(Reason(value))
        case _:
            return None


class Mover:
    """Asks the pure retry policy with the shell's clock and chance."""

    def __init__(self, settings: RetrySettings, clock: Clock, draw: Callable[[], float] = random.random) -> None:
        self._settings = settings
        self._clock = clock
        self._draw = draw

    def after_error(self, error: SendError, snapshot: Snapshot, step: int, expires_at: datetime | None) -> str:
        """What follows a refusal of the provider's API."""
        counts_as = nearest_class(error) or OutcomeUnknownError
        failure = Failure(counts_as.error_class, error.retry_after, error.slow)
        return self._decide(failure, snapshot, step, expires_at)

    def after_report(self, error: ProviderError | None, status: DeliveryStatus, snapshot: Snapshot, step: int) -> str:
        """What follows a failure that a callback reported."""
        expires_at = snapshot.expires_at
        # The provider's own "failed" is an outcome, even where its code says that it is not sure (30410).
        known = error is not None and error.error_class in BY_CLASS
        if error is None or not known or error.error_class == OutcomeUnknownError.error_class:
            return self._decide(Failure(ProviderRejectedError.error_class, status=status), snapshot, step, expires_at)
        failure = Failure(error.error_class, error.retry_after, error.slow, status)
        return self._decide(failure, snapshot, step, expires_at)

    def _decide(self, failure: Failure, snapshot: Snapshot, step: int, expires_at: datetime | None) -> str:
        decision = decide_retry(
            failure,
            tries=snapshot.tries_on(step),
            in_vain=snapshot.in_vain_on(step),
            following=snapshot.after(step),
            rescue=snapshot.rescue(step),
            expires_at=expires_at,
            now=self._clock(),
            jitter=self._draw(),
            settings=self._settings,
            on=snapshot.plan[step].on,
        )
        return _written(decision)


def _written(decision: RetryDecision) -> str:
    match decision:
        case RetryAt(at):
            return f"retry@{rfc3339(at)}"
        case NextStep(step):
            return f"step@{step}"
        case GiveUp(reason):
            return f"give_up@{reason.value}"
        case Reconcile():
            return ""
