"""What an operator should look at: each with what is wrong and the first thing to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from router.console.feed import Line
from router.metrics.backlog import Reading

#: Seconds that an attempt may be under way before it counts as stuck.
_SENDING = 120.0
_URGENT, _LATE = 30.0, 3600.0  #: seconds that the oldest message of a lane may wait


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong."""

    what: str
    do: str
    href: str = ""
    severe: bool = False


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything that problems are found in."""

    now: float  #: seconds since 1970
    connected: bool
    reading: Reading
    signs: Mapping[str, Mapping[str, Any]]  #: instance -> what the router said of itself
    lines: Sequence[Line]
    senders: Sequence[str]
    stuck_after: float  #: seconds without a final word after which the provider is asked
    notes: Mapping[str, str]  #: what this router says of itself in /readyz
    templates: Sequence[str] = ()  #: configured and not approved


def problems(situation: Situation) -> list[Problem]:
    """The worst first."""
    found = [
        *_nats(situation),
        *_breakers(situation),
        *_caps(situation),
        *_unpaced(situation),
        *_queues(situation),
        *_letters(situation),
        *_attempts(situation),
        *_policies(situation),
        *_templates(situation),
    ]
    return sorted(found, key=lambda each: not each.severe)


def _nats(situation: Situation) -> Iterator[Problem]:
    if not situation.connected:
        yield Problem(
            "This router has no connection to NATS", "Look at the servers; it comes back by itself", severe=True
        )
    elif not situation.reading.complete:
        do = "Does every stream have a leader? Are its disks slow?"
        yield Problem("JetStream does not answer in time", do, severe=True)


def _breakers(situation: Situation) -> Iterator[Problem]:
    for sign in situation.signs.values():
        for sender, queue in sign.get("queues", {}).items():
            if queue["breaker"] != "closed":
                why = f": {queue['why']}" if queue.get("why") else ""
                yield Problem(
                    f"Sender {sender} is stopped{why}",
                    "Mend what it says, at the provider or on the way there (pointsman doctor looks); then it goes on",
                    "/queues",
                    severe=True,
                )


def _caps(situation: Situation) -> Iterator[Problem]:
    for sign in situation.signs.values():
        for sender, queue in sign.get("queues", {}).items():
            for unit, left in queue.get("left_today", {}).items():
                if left <= 0:
                    do = "Its messages wait for tomorrow; another sender may help"
                    yield Problem(f"Sender {sender} has sent its {unit} of today", do, "/queues")


def _unpaced(situation: Situation) -> Iterator[Problem]:
    paced = {sender for sign in situation.signs.values() for sender in sign.get("queues", {})}
    if missing := sorted(set(situation.senders) - paced):
        yield Problem(
            f"No router sends for {', '.join(missing)}",
            "After a router died this takes seconds; else start one with the role dispatch and this sender",
            "/queues",
            severe=True,
        )


def _queues(situation: Situation) -> Iterator[Problem]:
    for queue in situation.reading.queues:
        limit = _URGENT if queue.lane == "urgent" else _LATE
        if queue.oldest > limit:
            yield Problem(
                f"The {queue.lane} queue of {queue.sender} is {duration(queue.oldest)} behind",
                "Compare what is published with the sender's rate",
                "/queues",
                severe=queue.lane == "urgent",
            )


def _letters(situation: Situation) -> Iterator[Problem]:
    if count := situation.reading.open_letters:
        yield Problem(f"{_count(count, 'dead letter')} to decide about", "Read, then replay or resolve", "/deadletters")


def _attempts(situation: Situation) -> Iterator[Problem]:
    for line in situation.lines:
        age = situation.now - line.at
        if line.final:
            continue
        if line.status == "unknown":
            text = "may or may not have been sent"
            do = "Wait for the search to end; where a dead letter holds it, look at the provider and decide there"
        elif line.status == "sending" and age > _SENDING:
            text, do = f"has been under way for {duration(age)}", "Is a router that was sending it gone?"
        elif line.status in {"accepted", "queued"} and age > situation.stuck_after:
            text, do = f"has had no word from the provider for {duration(age)}", "Do its callbacks reach public_url?"
        else:
            continue
        href = f"/notification/{line.source}/{line.notification_id}"
        yield Problem(f"{line.source}/{line.notification_id} {text}", do, href)


def _policies(situation: Situation) -> Iterator[Problem]:
    if refused := situation.notes.get("policy_refused"):
        yield Problem(f"A newer policy is refused: {refused}", "Mend it; the old one decides meanwhile")
    versions = {sign["policy"] for sign in situation.signs.values() if "policy" in sign}
    if len(versions) > 1:
        yield Problem(
            f"Routers decide by different policies: {', '.join(sorted(versions))}", "Give all of them the same document"
        )


def _templates(situation: Situation) -> Iterator[Problem]:
    for name in situation.templates:
        yield Problem(f"The template {name} is not approved", "WhatsApp refuses it until it is; see Twilio's console")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def duration(seconds: float) -> str:
    """In words, short: `45 s`, `3 min`, `2 h`, `5 d`."""
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size or (seconds >= size and size == 86_400):
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
