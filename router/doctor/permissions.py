"""What NATS lets this user do, compared with what the router needs: what is refused shows only when it is needed.

The server tells every user about itself (`$SYS.REQ.USER.INFO`), and nothing is tried out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from channels.port import Finding, Level
from router import permissions
from router.settings import Settings

USER_INFO = "$SYS.REQ.USER.INFO"
_WHAT = "nats: permissions"
_SHIPPED = "give this user the permissions of deploy/nats/permissions/router.conf"
#: Of what is missing, so many are named.
_NAMED = 3


def finding(settings: Settings, answer: Mapping[str, Any] | None) -> Finding:
    """What the server's answer says; None: it gave none."""
    data = answer.get("data") if answer else None
    if not isinstance(data, Mapping):
        says = f"the server does not say what this user may do: it may not ask ({USER_INFO}), or the server is too old"
        return Finding(_WHAT, Level.WARNING, says, _SHIPPED)
    granted = data.get("permissions")
    if not granted:
        return Finding(_WHAT, Level.OK, "this user may do everything in its account")
    lacks = list(missing(permissions.router(settings), granted))
    if not lacks:
        return Finding(_WHAT, Level.OK, "this user may do all that the router needs")
    more = f", and {len(lacks) - _NAMED} more" if len(lacks) > _NAMED else ""
    return Finding(_WHAT, Level.FAILURE, f"this user may not {', '.join(lacks[:_NAMED])}{more}", _SHIPPED)


def missing(needed: permissions.Permissions, granted: Mapping[str, Any]) -> Iterable[str]:
    """What is needed and not granted, in words that follow "may not"."""
    publish, subscribe = granted.get("publish") or {}, granted.get("subscribe") or {}
    yield from (f"publish {each}" for each in needed.publish if not _permits(publish, each))
    yield from (f"subscribe to {each}" for each in needed.subscribe if not _permits(subscribe, each))
    if needed.responses and not granted.get("responses") and not _permits(publish, "_INBOX.>"):
        yield "answer requests (allow_responses)"


def _permits(rules: Mapping[str, Sequence[str]], subject: str) -> bool:
    """Without `allow` everything is, but for what `deny` holds. A rule with a queue group is of no use here."""
    allowed = rules.get("allow") or [">"]
    return any(covers(rule, subject) for rule in allowed) and not any(
        overlap(rule, subject) for rule in rules.get("deny") or ()
    )


def covers(rule: str, subject: str) -> bool:
    """Whether everything that `subject` stands for is within `rule`; both may hold wildcards."""
    outer, inner = rule.split("."), subject.split(".")
    for place, part in enumerate(outer):
        if part == ">":
            return len(inner) > place
        if place >= len(inner) or inner[place] == ">" or part not in {"*", inner[place]}:
            return False
    return len(outer) == len(inner)


def overlap(one: str, other: str) -> bool:
    """Whether some subject is within both."""
    left, right = one.split("."), other.split(".")
    for mine, theirs in zip(left, right, strict=False):
        if ">" in {mine, theirs}:
            return True
        if mine != theirs and "*" not in {mine, theirs}:
            return False
    return len(left) == len(right)
