"""A circuit breaker for one sender: pure, with the time as an argument.

While a provider cannot be reached, trying every waiting message would burn their attempts and help nobody. After a few
failures in a row the sender stops, its messages stay in the outbox, and one message now and then finds out whether it
works again. A sender that its provider refuses stops at the first refusal. Trouble behind the provider (`slow`: a full
mailbox, a congested carrier) was told by a provider that works, so it stops nothing.
"""

from __future__ import annotations

from enum import StrEnum

from channels.errors import OutcomeUnknownError, ProviderUnavailableError, SenderConfigError, SendError
from channels.model import SendReceipt

_FAILURES = 5  #: in a row, until it opens
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  #: seconds between probes; doubled each time
_CONFIG_PAUSE = 60.0  #: seconds between probes of a sender that is refused: a person has to mend it
#: Seconds to look again while a probe is under way.
_PROBING = 0.05


class BreakerState(StrEnum):
    """Whether messages may go."""

    CLOSED = "closed"  #: all may
    OPEN = "open"  #: none may
    HALF_OPEN = "half-open"  #: one is finding out


class Breaker:
    """Opens on repeated unavailability, probes, closes."""

    def __init__(self) -> None:
        self.state = BreakerState.CLOSED
        self.why = ""
        self._failures = 0
        self._pause = _FIRST_PAUSE
        self._until = 0.0

    def wait(self, now: float) -> float:
        """Seconds until a message may go; 0 when one may go now."""
        match self.state:
            case BreakerState.CLOSED:
                return 0.0
            case BreakerState.OPEN:
                return max(0.0, self._until - now)
            case BreakerState.HALF_OPEN:
                return _PROBING

    def sending(self) -> None:
        """A message goes now; while open, it is the probe."""
        if self.state is BreakerState.OPEN:
            self.state = BreakerState.HALF_OPEN

    def not_sent(self) -> None:
        """There was nothing to send after all: what was to be found out is still open."""
        if self.state is BreakerState.HALF_OPEN:
            self.state = BreakerState.OPEN

    def heard(self, outcome: SendReceipt | SendError, now: float) -> bool:
        """What came of a message; True when messages may go now and could not before, or the other way round."""
        was_open = self.state is not BreakerState.CLOSED
        if isinstance(outcome, SenderConfigError):
            self._open(now, _CONFIG_PAUSE, outcome.message)
        elif isinstance(outcome, ProviderUnavailableError | OutcomeUnknownError) and not outcome.slow:
            self._failed(now, outcome.message)
        else:
            self.state, self.why = BreakerState.CLOSED, ""
            self._failures, self._pause = 0, _FIRST_PAUSE
        return was_open is not (self.state is not BreakerState.CLOSED)

    def _failed(self, now: float, why: str) -> None:
        self._failures += 1
        # What was in flight when it opened says nothing new about the provider.
        opens = self.state is BreakerState.CLOSED and self._failures >= _FAILURES
        if opens or self.state is BreakerState.HALF_OPEN:
            self._open(now, self._pause, why)
            self._pause = min(_LONGEST_PAUSE, self._pause * 2)

    def _open(self, now: float, pause: float, why: str) -> None:
        self.state, self.why, self._until = BreakerState.OPEN, why, now + pause
