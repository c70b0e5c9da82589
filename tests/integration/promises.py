"""What holds for every stream of events whatever a test does: checked at the end of each one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Protocol

from channels.status import DeliveryStatus, advances
from router.wire import DeadLetterEvent, DeliveryEvent, InboundEvent


class Readable(Protocol):
    """An event as stored."""

    @property
    def subject(self) -> str: ...

    @property
    def headers(self) -> Any: ...

    @property
    def body(self) -> dict[str, Any]: ...


#: What may still follow an event that is final: a read receipt, and the refusal of another content under the same id.
AFTER_FINAL = {"read", "rejected"}
_OF_AN_ATTEMPT = set(DeliveryStatus) - {DeliveryStatus.SENDING}


def check_promises(
    deliveries: Sequence[Readable], inbound: Sequence[Readable], dead_letters: Sequence[Readable]
) -> None:
    """Every event keeps the contract, and every notification's events make sense one after the other."""
    for event in deliveries:
        _check_delivery(event)
    for event in inbound:
        InboundEvent.model_validate(event.body)
        assert event.body.keys() == {_wire_name(name) for name in InboundEvent.model_fields}
        assert event.subject == f"inbound.{event.body['channel']}.{event.body['sender']}"
        _check_cloud_event(event, "pointsman.inbound")
    for event in dead_letters:
        DeadLetterEvent.model_validate(event.body)
        assert event.body.keys() == DeadLetterEvent.model_fields.keys()
    identities = [event.body["event_id"] for event in deliveries]
    assert len(identities) == len(set(identities)), "an event was appended twice"
    stories: dict[tuple[str, str], list[Readable]] = {}
    for event in deliveries:
        stories.setdefault((event.body["source"], event.body["notification_id"]), []).append(event)
    for story in stories.values():
        _check_story(story)


def _check_delivery(event: Readable) -> None:
    body = event.body
    DeliveryEvent.model_validate(body)
    assert body.keys() == DeliveryEvent.model_fields.keys()
    source, status, identity = body["source"], body["status"], body["notification_id"]
    assert event.subject == f"deliveries.{source}.{status}.{body['channel']}.{identity}"
    _check_cloud_event(event, f"pointsman.delivery.{status}")
    assert event.headers["ce-id"] == body["event_id"]
    assert event.headers["ce-subject"] == identity
    assert event.headers["ce-time"] == body["occurred_at"]
    has_decision = status in {"routed", "suppressed", "deferred", "rejected"} and body["attempt"] == 0
    assert bool(body["decision"]) == has_decision or status in {"suppressed", "deferred", "expired"}


def _check_cloud_event(event: Readable, kind: str) -> None:
    assert event.headers["ce-specversion"] == "1.0"
    assert event.headers["ce-type"] == kind
    assert event.headers["content-type"] == "application/json"
    assert event.headers["ce-source"].startswith("/")


def _check_story(story: Sequence[Readable]) -> None:
    finals = [index for index, event in enumerate(story) if event.body["final"] and event.body["status"] != "rejected"]
    if finals:
        ended = story[: finals[0] + 1]
        begun = max(event.body["attempt"] for event in ended)
        # What was under way when an earlier attempt arrived late is told to its end, and begins nothing new.
        told = _OF_AN_ATTEMPT if any(event.body["late"] for event in story) else set()
        later = {event.body["status"] for event in story[finals[0] + 1 :] if not event.body["late"]}
        assert later <= AFTER_FINAL | told, f"{later} after a final event"
        assert max(event.body["attempt"] for event in story) == begun, "an attempt began after a final event"
    numbers = {event.body["attempt"] for event in story}
    assert numbers == set(range(max(numbers) + 1)), "attempts are counted without gaps"
    for number in numbers - {0}:
        _check_attempt([event for event in story if event.body["attempt"] == number])


def _check_attempt(events: Sequence[Readable]) -> None:
    of_attempt = [event for event in events if event.body["status"] in set(DeliveryStatus)]
    assert of_attempt[0].body["status"] == DeliveryStatus.SENDING, "an attempt begins with its claim"
    for before, after in pairwise(of_attempt):
        was, became = DeliveryStatus(before.body["status"]), DeliveryStatus(after.body["status"])
        arrived_late = before.body["reason"] == "silent" and after.body["late"]
        is_corrected = after.body["reason"] == "misattributed" and became is DeliveryStatus.UNKNOWN
        is_its_end = became is was is DeliveryStatus.SENT and after.body["final"]
        assert advances(was, became) or arrived_late or is_corrected or is_its_end, f"{became} after {was}"


def _wire_name(name: str) -> str:
    return name.removesuffix("_")
