"""The story of one notification, as the delivery log tells it.

Every event of the log carries, in a header, the state of its notification after that event (`Snapshot`). Events of one
notification are appended one after the other, each by compare-and-set on the one before, so the newest event alone says
all that is needed to go on: one read, however long the story is (docs/decisions/0003-snapshot-in-every-event.md).

A snapshot holds what has to be known, and no more: of tries in vain (`channels.errors`), of which a long outage can
make hundreds, only the last one has a row. Nothing can be heard of the others, since the provider took none of them.

A snapshot holds no personal data: the recipient is found through the notification itself, by its sequence.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import orjson

from channels.model import ChannelName, Form
from channels.status import DeliveryStatus
from channels.values import value
from policies.model import Step
from router.clock import rfc3339
from router.encoding import as_json

SNAPSHOT = "Pointsman-Story"
#: Versions of its form. In the later one attempts can lack rows, which a router that knows only the first one would
#: take for attempts that were never made.
_FIRST, _LATEST = 1, 2
#: Members by their values: looking one up in its class takes three times as long.
_FORMS = {form.value: form for form in Form}
_STATUSES = {status.value: status for status in DeliveryStatus}
#: Refused publications that are remembered: a redelivery comes within the next few.
_REFUSED = 8


@value(frozen=True, slots=True)
class About:
    """What every event repeats of its notification."""

    source: str
    notification_id: str
    lane: str
    category: str | None
    recipient: str | None
    metadata: Mapping[str, str]
    traceparent: str | None = None


@value(frozen=True, slots=True)
class Attempt:
    """One try to send, as far as the log knows it."""

    number: int  #: from 1
    step: int  #: index into the plan
    status: DeliveryStatus
    begun: int  #: when it was claimed, in seconds since 1970: what a search of the provider's list starts from
    provider_message_id: str | None = None
    #: What was decided when it failed: "retry@<RFC 3339>", "step@<index>", "give_up"; empty while nothing was.
    next: str = ""
    settled: bool = False  #: its outcome stayed unknown, and `on_unknown` decided that it was not sent
    owner: str = ""  #: the process that claimed it, as `Presence` knows it
    silent: bool = False  #: nothing was heard of it in time, so the next step runs; it may arrive all the same
    in_vain: bool = False  #: its sender could send nothing at all: it says nothing of the message
    earlier: int = 0  #: tries in vain on the same step right before it, which have no row of their own any more

    @property
    def guessed(self) -> bool:
        """It counts as failed because nobody knew of it, not because anybody refused it: a report overrules that."""
        return self.status is DeliveryStatus.FAILED and self.settled

    @property
    def given_up(self) -> bool:
        """It counts as failed because nothing was heard of it: only its arrival overrules that."""
        return self.status is DeliveryStatus.FAILED and self.silent

    def moved(self, status: DeliveryStatus, provider_message_id: str | None, next_move: str = "") -> Attempt:
        """After one more event."""
        known = provider_message_id or self.provider_message_id
        return Attempt(
            self.number,
            self.step,
            status,
            self.begun,
            known,
            next_move,
            False,
            self.owner,
            self.silent,
            earlier=self.earlier,
        )


@value(frozen=True, slots=True)
class Snapshot:
    """The state of a notification after one event."""

    fingerprint: str  #: of the content; empty while only malformed bodies were seen under this id
    notification_sequence: int  #: where the notification itself stands in its stream
    plan: tuple[Step, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    closed: bool = False  #: an event said that nothing more will be attempted
    events: int = 0  #: how many events there are
    until: datetime | None = None  #: deferred: when the policy is asked again
    refused: tuple[int, ...] = ()  #: sequences of publications under this id that were refused, newest last
    #: When it was published, or woke after it was deferred; seconds since 1970, 0: unknown. Its way is timed from then.
    published: float = 0.0
    expires_at: datetime | None = None  #: the notification's own

    def attempt(self, number: int) -> Attempt | None:
        """The attempt with this number; None before it was claimed."""
        return next((each for each in self.attempts if each.number == number), None)

    @property
    def last_number(self) -> int:
        """How many attempts were begun."""
        return self.attempts[-1].number if self.attempts else 0

    @property
    def latest(self) -> Attempt | None:
        """The attempt that was begun last."""
        return self.attempts[-1] if self.attempts else None

    def after(self, step: int) -> int | None:
        """The step of the plan that follows this one, whatever happened; None where it is the last."""
        return next((n for n in range(step + 1, len(self.plan)) if not self.plan[n].rescue), None)

    def rescue(self, step: int) -> int | None:
        """The step that follows this one should its session have closed; None where there is none of the kind."""
        return step + 1 if step + 1 < len(self.plan) and self.plan[step + 1].rescue else None

    def tries_on(self, step: int) -> int:
        """How many attempts were made on this step of the plan."""
        return sum(1 + attempt.earlier for attempt in self.attempts if attempt.step == step)

    def counted_on(self, step: int) -> int:
        """How many of them say something of the message."""
        return sum(attempt.step == step and not attempt.in_vain for attempt in self.attempts)

    def in_vain_on(self, step: int) -> int:
        """How many of them say nothing of it: their sender could send nothing at all."""
        return self.tries_on(step) - self.counted_on(step)

    def beginning(self, attempt: Attempt) -> Snapshot:
        """With this attempt begun; of a try in vain right before it only the number is kept."""
        last = self.latest
        if last is None or not last.in_vain or last.step != attempt.step:
            return self.with_attempt(attempt)
        rest = replace(self, attempts=self.attempts[:-1])
        return rest.with_attempt(replace(attempt, earlier=last.earlier + 1))

    def with_attempt(self, attempt: Attempt) -> Snapshot:
        """With this attempt begun, or moved on."""
        return self.marking(attempt, 1)

    def marking(self, attempt: Attempt, counted: int = 0) -> Snapshot:
        """With this attempt as it is, and so many events more."""
        return Snapshot(
            self.fingerprint,
            self.notification_sequence,
            self.plan,
            self._attempts_with(attempt),
            self.closed,
            self.events + counted,
            self.until,
            self.refused,
            self.published,
            self.expires_at,
        )

    def _attempts_with(self, attempt: Attempt) -> tuple[Attempt, ...]:
        if attempt.number > self.last_number:
            return (*self.attempts, attempt)
        before = [each for each in self.attempts if each.number < attempt.number]
        return (*before, attempt, *[each for each in self.attempts if each.number > attempt.number])

    def wakes_after(self, now: datetime) -> bool:
        """Whether it is deferred and its time has not come."""
        return self.until is not None and self.until > now

    def refusing(self, sequence: int) -> Snapshot:
        """After the publication at this sequence was refused."""
        return replace(self, refused=(*self.refused, sequence)[-_REFUSED:], events=self.events + 1)

    def dump(self) -> str:
        """For the header: compact, ASCII, versioned."""
        steps = [_row(step) for step in self.plan]
        attempts = [_attempt_row(attempt) for attempt in self.attempts]
        until = rfc3339(self.until) if self.until else None
        version = _LATEST if self.last_number > len(self.attempts) else _FIRST
        row = [version, self.fingerprint, self.notification_sequence, steps, attempts, int(self.closed), self.events]
        row += [until, list(self.refused), self.published]
        text = as_json([*row, rfc3339(self.expires_at)] if self.expires_at else row).decode()
        return text if text.isascii() else json.dumps(json.loads(text), separators=(",", ":"))

    @classmethod
    def load(cls, text: str) -> Snapshot:
        """Read a header back."""
        version, *row = orjson.loads(text)
        if version not in {_FIRST, _LATEST}:
            raise ValueError(f"the delivery log was written by a later version (story format {version})")
        fingerprint, sequence, steps, attempts, closed, events, until, refused, *later = row
        return cls(
            fingerprint=fingerprint,
            notification_sequence=sequence,
            plan=tuple([_step(row) for row in steps]),
            attempts=tuple([_attempt(row) for row in attempts]),
            closed=bool(closed),
            events=events,
            until=datetime.fromisoformat(until) if until else None,
            refused=tuple(refused),
            published=later[0] if later else 0.0,
            expires_at=datetime.fromisoformat(later[1]) if len(later) > 1 else None,
        )


def _attempt(row: list[Any]) -> Attempt:
    number, step, status, begun, provider_message_id, move, settled, *later = row
    # Written before owners were kept: an attempt without one counts as abandoned.
    owner = later[0] if later else ""
    silent = len(later) > 1 and bool(later[1])
    attempt = Attempt(number, step, _STATUSES[status], begun, provider_message_id, move, bool(settled), owner, silent)
    return replace(attempt, in_vain=bool(later[2]), earlier=later[3]) if len(later) > 2 else attempt


def _attempt_row(a: Attempt) -> list[Any]:
    known = [a.number, a.step, a.status, a.begun, a.provider_message_id, a.next]
    row = [*known, int(a.settled), a.owner, int(a.silent)]
    return [*row, int(a.in_vain), a.earlier] if a.in_vain or a.earlier else row


def _row(step: Step) -> list[Any]:
    moves = [step.silence, step.on]
    return [step.channel, step.form, step.sender, step.content_sid, step.language, *moves, step.text, int(step.rescue)]


def _step(row: list[Any]) -> Step:
    channel, form, sender, content_sid, language, silence, on, *rest = row
    moves_on = None if on is None else tuple(on)
    step = Step(ChannelName(channel), _FORMS[form], sender, content_sid, language, silence=silence, on=moves_on)
    # Stories of before templates had texts, or closed sessions an answer, lack the last ones.
    if not any(rest):
        return step
    return replace(step, text=rest[0], rescue=len(rest) > 1 and bool(rest[1]))


#: Of a notification that no event speaks of.
_NOTHING = Snapshot("", 0)


@value(frozen=True, slots=True)
class Story:
    """A snapshot, and where in the log it stands: what the next event is compared with."""

    source: str
    notification_id: str
    sequence: int = 0  #: of the newest event; 0: none yet
    snapshot: Snapshot = _NOTHING
    owner: str = ""  #: who appended the newest event
    at: datetime | None = None  #: when the newest event was stored, by the server's clock
    about: About | None = None  #: what its events repeat of the notification
    status: str = ""  #: of the newest event

    @property
    def begun(self) -> bool:
        """Whether a notification with this id was taken; malformed bodies under the id do not count."""
        return bool(self.snapshot.fingerprint)
