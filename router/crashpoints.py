"""The moments at which a process can die between two durable steps, by name.

In production `reached` does nothing. Tests start the router from a script of their own that installs a hook, and let
the process die there: no configuration and no environment variable of the product can do that.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum


class CrashPoint(StrEnum):
    """Each is followed by the step that has not happened yet."""

    INTAKE_RECEIVED = "intake.received"  #: the decision is not in the log
    INTAKE_COUNTED = "intake.counted"  #: counted under the policy's caps; the decision is not in the log
    INTAKE_APPENDED = "intake.appended"  #: decided; not in the outbox, or not scheduled
    INTAKE_HANDED_OVER = "intake.handed_over"  #: in the outbox, or sent at once; not acknowledged
    DISPATCH_TAKEN = "dispatch.taken"  #: taken from the outbox, or to be sent at once; not claimed
    DISPATCH_CLAIMED = "dispatch.claimed"  #: claimed; the request has not left
    DISPATCH_ANSWERED = "dispatch.answered"  #: the provider answered; not recorded
    DISPATCH_RECORDED = "dispatch.recorded"  #: recorded; not acknowledged
    TRACKING_READ = "tracking.read"  #: a callback was read; not appended
    TRACKING_APPENDED = "tracking.appended"  #: appended; the provider has no answer
    ORPHAN_TAKEN = "orphan.taken"  #: taken from the outbox of a sender that is gone; nothing was done about it
    ORPHAN_DONE = "orphan.done"  #: routed anew, or its attempt ended; not acknowledged
    FOLLOW_UP_TAKEN = "follow_up.taken"  #: an attempt ended; nothing was done about it
    FOLLOW_UP_DONE = "follow_up.done"  #: the next attempt is on its way; not acknowledged
    RECONCILE_WOKEN = "reconcile.woken"  #: the schedule fired; the provider was not asked
    RECONCILE_FOUND = "reconcile.found"  #: found in the provider's list and claimed; not recorded
    RECONCILE_APPENDED = "reconcile.appended"  #: recorded; the wake-up is not acknowledged
    SILENCE_EXPECTED = "silence.expected"  #: the timer is set; not claimed, or not recorded as accepted
    SILENCE_WOKEN = "silence.woken"  #: the timer fired; nothing was decided
    SILENCE_APPENDED = "silence.appended"  #: given up; the wake-up is not acknowledged
    FOLLOW_UP_TOOK_BACK = "follow_up.took_back"  #: the earlier message was asked back; no next step is on its way
    WAKE_TAKEN = "wake.taken"  #: a schedule fired; nothing was done about it
    RETURN_TAKEN = "return.taken"  #: an end without a message was read; it still counts under the caps
    REPLAY_DONE = "replay.done"  #: a dead letter was given back; not marked so


_hook: Callable[[CrashPoint], None] | None = None


def install(hook: Callable[[CrashPoint], None]) -> None:
    """Call this at every point reached from now on: for tests alone."""
    global _hook  # noqa: PLW0603 - one hook for the process, by its nature
    _hook = hook


def reached(point: CrashPoint) -> None:
    """Die here if a test wants it."""
    if _hook is not None:
        _hook(point)
