"""A decision as everybody sees it: the event, the service, the command line and the log show the same object."""

from __future__ import annotations

from typing import Any

from channels.reasons import Reason
from policies.model import Decision, Deferred, Outcome, Rejected, RoutingPlan, Suppressed
from policies.situation import rfc3339


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
    return {"outcome": outcome, "reason": reason.value, "until": until, "plan": plan or []}
