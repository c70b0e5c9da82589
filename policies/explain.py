"""A decision as everybody sees it: the event, the service, the command line and the log show the same object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from channels.reasons import Reason
from policies.model import Decision, Deferred, Outcome, Rejected, RoutingPlan, Suppressed
from policies.situation import rfc3339

_ZONES = 4  #: that are named one by one


def decision_as_dict(decision: Decision) -> dict[str, Any]:
    """The contract's decision object, ready for JSON; `message` is there when the notification was rejected."""
    return {
        **_outcome(decision.outcome),
        "policy": decision.policy,
        "facts": dict(decision.facts),
        "trace": [{"rule": e.rule, "matched": e.matched, "because": e.because} for e in decision.trace],
    }


def _outcome(outcome: Outcome) -> dict[str, Any]:
    match outcome:
        case RoutingPlan(steps):
            return _row("routed", Reason.ROUTED, plan=[step.as_dict() for step in steps])
        case Suppressed(reason):
            return _row("suppressed", reason)
        case Deferred(until, reason):
            return _row("deferred", reason, until=rfc3339(until))
        case Rejected(reason, message):
            return {**_row("rejected", reason), "message": message}


def _row(
    outcome: str, reason: Reason, *, until: str | None = None, plan: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    return {"outcome": outcome, "reason": str(reason), "until": until, "plan": plan or []}


def zones_in_words(zones: Sequence[str]) -> str:
    """For people: a number that is in no place in particular may be in dozens of time zones."""
    few = ", ".join(zones)
    return few if len(zones) <= _ZONES else f"{len(zones)} zones, from {zones[0]} to {zones[-1]}"
