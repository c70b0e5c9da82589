"""What goes wrong, on purpose: shares of requests and callbacks, and scripts for single recipients.

A script is a list of words, consumed one a request; an outcome is one word for every message to a recipient.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0, le=1)]


class FaultKind(StrEnum):
    """What happens to one API request."""

    OK = "ok"  #: nothing: it is served
    THROTTLE = "throttle"  #: 429, before anything is accepted
    ERROR_BEFORE = "error_before"  #: 503, before anything is accepted
    DROP_BEFORE = "drop_before"  #: connection closed, before anything is accepted
    ERROR_AFTER = "error_after"  #: accepted, and answered 500
    ACCEPT_NO_ANSWER = "accept_no_answer"  #: accepted, and the connection hangs until it is closed
    ACCEPT_DROP = "accept_drop"  #: accepted, and the connection closed at once


_KINDS = frozenset(kind.value for kind in FaultKind)
#: The kinds with a share; each has a field of `Faults` by its name. One draw a request decides among all of them, so
#: together they cannot exceed 1.
_SHARED = tuple(kind for kind in FaultKind if kind is not FaultKind.OK)
_ENDING = re.compile(r"(failed|undelivered):(\d{5})|(sent|delivered)")
_REFUSAL = re.compile(r"refuse:(\d{5})")


@dataclass(frozen=True, slots=True)
class Ending:
    """How a message's life ends."""

    status: str  #: failed, undelivered, delivered, or sent (a carrier that sends no receipts)
    code: int | None


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of one API request."""

    kind: FaultKind = FaultKind.OK
    refuse: int | None = None  #: error code of the refusal
    ending: Ending | None = None  #: of the message it makes; None: what the rules say


SERVED = Fate()


def fate_of(word: str) -> Fate:
    """The meaning of a script's word. ValueError when it has none."""
    if word in _KINDS:
        return Fate(FaultKind(word))
    if match := _REFUSAL.fullmatch(word):
        return Fate(refuse=int(match[1]))
    if match := _ENDING.fullmatch(word):
        return Fate(ending=Ending(match[1] or match[3], int(match[2]) if match[2] else None))
    raise ValueError(
        f"{word!r} is no word of a script: {', '.join(FaultKind)}, refuse:CODE, failed:CODE, undelivered:CODE, "
        "sent or delivered"
    )


def _known(word: str) -> str:
    fate_of(word)
    return word


Word = Annotated[str, AfterValidator(_known)]


class Faults(BaseModel):
    """The switches. Shares are of requests or of callbacks, from 0 to 1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    latency_ms: float = Field(0, ge=0)  #: before every answer, in milliseconds
    jitter_ms: float = Field(0, ge=0)  #: up to this much more
    throttle: Share = 0
    retry_after: int | None = Field(1, ge=0)  #: seconds, in the header of a 429; None: no header
    error_before: Share = 0
    drop_before: Share = 0
    error_after: Share = 0
    accept_no_answer: Share = 0
    hang_seconds: float = Field(30, ge=0)  #: how long `accept_no_answer` keeps the connection
    accept_drop: Share = 0
    reads: bool = False  #: the shares apply to reads, updates and deletions too, not to creation alone

    callbacks_lost: Share = 0  #: never sent
    callbacks_repeated: Share = 0  #: sent twice
    callbacks_reordered: Share = 0  #: held back, so that the next one overtakes
    reorder_seconds: float = Field(2, ge=0)  #: how long a reordered callback is held

    scripts: Mapping[str, tuple[Word, ...]] = Field(default_factory=dict)  #: recipient -> one word a request, in order
    outcomes: Mapping[str, Word] = Field(default_factory=dict)  #: recipient -> the word for every other request

    @model_validator(mode="after")
    def _shares_fit(self) -> Self:
        if sum(getattr(self, kind) for kind in _SHARED) > 1:
            raise ValueError(f"the shares of {', '.join(_SHARED)} exceed 1 together")
        return self


class FaultPlan:
    """Deals out the faults: scripts first, then outcomes, then by chance."""

    def __init__(self, faults: Faults, random: Random) -> None:
        self._random = random
        self.faults = faults  #: the switches; its scripts as given, whatever was consumed of them
        self._scripts: dict[str, deque[str]] = {}
        self.switch(faults)

    def remaining(self) -> Faults:
        """The switches as they stand, with what is left of the scripts."""
        left = {recipient: tuple(words) for recipient, words in self._scripts.items()}
        return self.faults.model_copy(update={"scripts": left})

    def switch(self, faults: Faults) -> None:
        """From now on these."""
        self.faults = faults
        self._scripts = {recipient: deque(words) for recipient, words in faults.scripts.items() if words}

    def for_creation(self, to: str) -> Fate:
        """What becomes of the next request that creates a message to `to`."""
        if self._scripts and (word := self._next_word(to)):
            return fate_of(word)
        drawn = self._draw()
        outcomes = self.faults.outcomes
        if drawn is not SERVED or not outcomes:
            return drawn
        word = outcomes.get(to) or outcomes.get(_bare(to))
        return fate_of(word) if word else SERVED

    def for_read(self) -> Fate:
        """What becomes of the next request that creates nothing."""
        return self._draw() if self.faults.reads else SERVED

    def latency(self) -> float:
        """Seconds before the next answer."""
        faults = self.faults
        if not faults.latency_ms and not faults.jitter_ms:
            return 0.0
        return (faults.latency_ms + self._random.random() * faults.jitter_ms) / 1000

    def _next_word(self, to: str) -> str | None:
        for recipient in (to, _bare(to)):
            if words := self._scripts.get(recipient):
                word = words.popleft()
                if not words:
                    del self._scripts[recipient]
                return word
        return None

    def _draw(self) -> Fate:
        chance = self._random.random()
        for kind in _SHARED:
            chance -= getattr(self.faults, kind)
            if chance < 0:
                return Fate(kind)
        return SERVED


def _bare(to: str) -> str:
    """A script for a number counts on WhatsApp too."""
    return to.removeprefix("whatsapp:")
