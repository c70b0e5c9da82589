"""The subjects of the contract, built and read in one place."""

from __future__ import annotations

import re
from functools import lru_cache

from channels.model import Lane
from channels.values import value

SOURCE = re.compile(r"[a-z0-9-]{1,32}")
NOTIFICATION_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
#: Names of channels and senders are tokens of subjects too.
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")

NOTIFICATIONS, OUTBOX, DELIVERIES = "NOTIFICATIONS", "OUTBOX", "DELIVERIES"
TIMERS, INBOUND, DEADLETTERS = "TIMERS", "INBOUND", "DEADLETTERS"
_STREAMS = (NOTIFICATIONS, OUTBOX, DELIVERIES, INBOUND, DEADLETTERS)

#: Stands where a subject names no source that the contract allows.
UNKNOWN_SOURCE = "unknown"


LANES = tuple(lane.value for lane in Lane)


class SubjectError(ValueError):
    """Not a subject of the contract; the message says which token is wrong."""


@value(frozen=True, slots=True)
class Origin:
    """Who published a notification, and how urgent it is."""

    lane: Lane
    source: str


@lru_cache(maxsize=1024)  # each publisher uses a few
def read_notification(subject: str) -> Origin:
    """`notifications.<lane>.<source>`."""
    tokens = subject.split(".")
    if len(tokens) != 3 or tokens[0] != "notifications":
        raise SubjectError("publish to notifications.<lane>.<source>")
    if tokens[1] not in LANES:
        raise SubjectError(f"the lane must be one of {', '.join(LANES)}")
    if not SOURCE.fullmatch(tokens[2]):
        raise SubjectError("the source must match [a-z0-9-]{1,32}")
    return Origin(Lane(tokens[1]), tokens[2])


def source_of(subject: str) -> str:
    """The source of a notification's subject for a dead letter, however wrong the rest is."""
    token = subject.rsplit(".", 1)[-1]
    return token if SOURCE.fullmatch(token) else UNKNOWN_SOURCE


def stream_of(subject: str) -> str | None:
    """The stream that a subject of the router's belongs to."""
    first = subject.partition(".")[0]
    if first in {"timers", "wake"}:
        return TIMERS
    return first.upper() if first.upper() in _STREAMS else None


def notification(lane: str, source: str) -> str:
    """Where services publish."""
    return f"notifications.{lane}.{source}"


def outbox(sender: str, lane: str, source: str, notification_id: str) -> str:
    """Where routed messages wait for their sender."""
    return f"outbox.{sender}.{lane}.{source}.{notification_id}"


def outbox_lane(sender: str, lane: str) -> str:
    """Filter: what waits for one sender in one lane."""
    return f"outbox.{sender}.{lane}.>"


def delivery(source: str, status: str, channel: str, notification_id: str) -> str:
    """Where delivery events are appended."""
    return f"deliveries.{source}.{status}.{channel}.{notification_id}"


def story(source: str, notification_id: str) -> str:
    """Filter: every event of one notification."""
    return f"deliveries.{source}.*.*.{notification_id}"


def timer(kind: str, source: str, notification_id: str) -> str:
    """Where a schedule waits."""
    return f"timers.{kind}.{source}.{notification_id}"


def wake(kind: str, source: str, notification_id: str) -> str:
    """Where it fires."""
    return f"wake.{kind}.{source}.{notification_id}"


def inbound(channel: str, sender: str) -> str:
    """Where messages from recipients are published."""
    return f"inbound.{channel}.{sender}"


def dead_letter(stage: str, source: str) -> str:
    """Where what needs a person is kept."""
    return f"deadletters.{stage}.{source}"
