"""A notification's story as sentences, one for each event of the log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from channels.status import ARRIVED, ENDED_BADLY
from policies.explain import zones_in_words

Event = Mapping[str, Any]

GOOD, BAD, WAITS, PLAIN = "good", "bad", "waits", "plain"
_TONES = {
    **{status.value: GOOD for status in ARRIVED},
    **{status.value: BAD for status in ENDED_BADLY},
    "suppressed": BAD,
    "rejected": BAD,
    "expired": BAD,
    "exhausted": BAD,
    "unknown": WAITS,
    "deferred": WAITS,
}


@dataclass(frozen=True, slots=True)
class Chapter:
    """One event, told."""

    at: datetime
    status: str
    title: str
    details: Sequence[str]
    tone: str
    final: bool


def tone_of(status: str) -> str:
    """Good, bad, waiting, or just so."""
    return _TONES.get(status, PLAIN)


def told(events: Sequence[Event]) -> list[Chapter]:
    """Every event in its order."""
    return [
        Chapter(
            datetime.fromisoformat(event["occurred_at"]),
            event["status"],
            title(event),
            list(_details(event)),
            tone_of(event["status"]),
            bool(event["final"]),
        )
        for event in events
    ]


def title(event: Event) -> str:
    """What happened, in a sentence."""
    channel, sender = event["channel"], event["sender"]
    match event["status"]:
        case "routed":
            return f"Routed: {steps_in_words(event['decision']['plan']) if event['decision'] else channel}"
        case "deferred":
            return f"Put off until {(event['decision'] or {}).get('until') or 'later'}"
        case "suppressed":
            return "Nothing is sent"
        case "rejected":
            return "Rejected"
        case "expired":
            return "Expired: it was not sent in time"
        case "exhausted":
            return "Given up: every step of the plan failed"
        case "sending":
            return f"Attempt {event['attempt']} begins: {channel} from {sender}"
        case "accepted":
            return f"{_provider(event)} accepted it"
        case "queued":
            return f"Waits in the queue of {_provider(event)}"
        case "sent":
            return "Handed to the carrier"
        case "delivered":
            return "On the recipient's device"
        case "read":
            return "Seen by the recipient"
        case "undelivered":
            return "The carrier could not deliver it"
        case "failed":
            return "The attempt failed"
        case "canceled":
            return "Taken back before it was sent"
        case "unknown":
            return "Nobody knows whether it was sent: this is looked into"
        case other:
            return str(other)


def _provider(event: Event) -> str:
    return str(event["provider"] or "the provider").capitalize()


def steps_in_words(plan: Sequence[Mapping[str, Any]]) -> str:
    """`sms from us-main (text), then whatsapp from wa (template)`."""
    words = [f"{step['channel']} from {step['sender']} ({step['form']})" for step in plan]
    return ", then ".join(words) or "to nobody"


def _details(event: Event) -> Iterator[str]:
    if event["reason"]:
        yield f"Reason: {event['reason']}"
    if error := event["error"]:
        code = f" {error['code']}" if error["code"] is not None else ""
        yield f"{error['class']}{code}: {error['message'] or 'no words'}"
    if event["provider_message_id"] and event["status"] == "accepted":
        yield f"Provider's id: {event['provider_message_id']}"
    if event["provider_status"]:
        yield f"In the provider's words: {event['provider_status']}"


def reasons(decision: Mapping[str, Any]) -> list[tuple[bool, str]]:
    """The trace of a decision: whether a guard or route matched, and why, in a sentence."""
    return [(bool(each["matched"]), f"{each['rule']}: {each['because']}") for each in decision["trace"]]


def facts_in_words(decision: Mapping[str, Any]) -> list[str]:
    """What was known when it was decided; what was not, or was nothing, is left out."""
    known = {name: value for name, value in decision["facts"].items() if value not in (None, "none", "", [], {}, 0)}
    if zones := known.get("timezones"):
        known["timezones"] = zones_in_words(zones)
    return [f"{name.replace('_', ' ')}: {_plain(value)}" for name, value in known.items()]


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(each)}" for name, each in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value)) or "none"
    return str(value)
