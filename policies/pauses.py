"""What is stopped for the time being: by the policy document, or by an operator's switch that is laid over it.

A pause has no end that anybody knows, unless it names one. So what is deferred by it is asked again after a while, and
goes once nothing is paused any more; what was suppressed stays suppressed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256

from policies.document import Action, Paused

#: Seconds after which something that a pause defers is asked again, where nothing else is said.
AGAIN = 300.0
#: Before something expires, a pause of no known end is asked about for the last time: enough for one attempt.
LAST_CALL = timedelta(seconds=10)


class Kind(StrEnum):
    """What can be paused."""

    CATEGORY = "category"
    CHANNEL = "channel"
    SOURCE = "source"


@dataclass(frozen=True, slots=True)
class Pause:
    """One thing that is paused."""

    kind: Kind
    name: str
    by: str = "by the policy"  #: who stopped it, and what they said of it
    action: Action = Action.SUPPRESS
    until: datetime | None = None  #: aware; from then on it is not paused; None: until somebody resumes it
    again: float = AGAIN  #: seconds after which what is deferred is asked again

    @property
    def because(self) -> str:
        """In words."""
        return f"{self.kind} '{self.name}' is paused {self.by}"

    def holds(self, now: datetime) -> bool:
        """Whether it has not ended."""
        return self.until is None or now < self.until

    def asked_again(self, now: datetime, expires_at: datetime | None = None) -> datetime | None:
        """When what it defers is asked again; None: it suppresses.

        A pause may end at any moment, so what expires before its turn is asked once more while it can still be sent.
        """
        if self.action is not Action.DEFER:
            return None
        later = now + timedelta(seconds=self.again)
        if self.until is not None:
            return min(later, self.until)
        last_call = expires_at - LAST_CALL if expires_at else None
        return last_call if last_call and now < last_call < later else later


@dataclass(frozen=True, slots=True)
class Pauses:
    """All that is paused; of several pauses of one thing the first counts, which is the document's."""

    pauses: tuple[Pause, ...] = ()
    _of: Mapping[tuple[Kind, str], tuple[Pause, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, table: Paused | None, switches: Iterable[Pause] = ()) -> Pauses:
        """What the document says, and what operators laid over it."""
        pauses = (*_written(table), *switches)
        keys = {(pause.kind, pause.name): None for pause in pauses}
        return cls(pauses, {key: tuple(p for p in pauses if (p.kind, p.name) == key) for key in keys})

    def __bool__(self) -> bool:
        return bool(self.pauses)

    def find(self, kind: Kind, name: str, now: datetime) -> Pause | None:
        """What pauses this thing now."""
        return first(self.of_one(kind, name), now)

    def of_one(self, kind: Kind, name: str) -> tuple[Pause, ...]:
        """All pauses of this thing."""
        return self._of.get((kind, name), ())

    def whole(self, category: str, source: str, now: datetime) -> Pause | None:
        """What pauses a notification as a whole."""
        return self.find(Kind.CATEGORY, category, now) or self.find(Kind.SOURCE, source, now)


def first(pauses: Iterable[Pause], now: datetime) -> Pause | None:
    """The first that has not ended."""
    return next((pause for pause in pauses if pause.holds(now)), None)


def mark_of(switches: Iterable[Pause]) -> str:
    """Stands behind the version of a document that switches are laid over; empty where there are none."""
    said = sorted(f"{each.kind}:{each.name}:{each.action}:{each.until}" for each in switches)
    return f"~{sha256(' '.join(said).encode()).hexdigest()[:4]}" if said else ""


def _written(table: Paused | None) -> Iterable[Pause]:
    if table is None:
        return
    named = ((Kind.CATEGORY, table.categories), (Kind.CHANNEL, table.channels), (Kind.SOURCE, table.sources))
    for kind, names in named:
        for name in names:
            yield Pause(kind, name, action=table.action, again=table.again)
