"""A notification as it came in: from its stream, or from a timer that holds it as it stood there."""

from __future__ import annotations

from collections.abc import Mapping

from channels.values import value
from router.outbox import TRACEPARENT


@value(frozen=True, slots=True)
class Received:
    """A notification as it stands in its stream."""

    subject: str
    sequence: int
    body: bytes
    headers: Mapping[str, str]
    redelivered: bool = False
    published: float = 0.0  #: when it was stored there, in seconds since 1970; 0: it comes from elsewhere


def as_published(subject: str, sequence: int, traceparent: str | None) -> dict[str, str]:
    """Headers of a timer by which a notification comes back as it stood in its stream: read by `woken`."""
    headers = {"Pointsman-Subject": subject, "Pointsman-Sequence": str(sequence)}
    return {**headers, TRACEPARENT: traceparent} if traceparent else headers


def woken(body: bytes, headers: Mapping[str, str]) -> Received:
    """A deferred notification whose timer fired, as it stood in its stream."""
    return Received(headers["Pointsman-Subject"], int(headers["Pointsman-Sequence"]), body, headers, redelivered=True)
