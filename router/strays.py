"""What was published outside of the lanes: `notifications.slow.shop`, `notifications.normal`. It goes to a person.

Each lane has a consumer of its own, and no filter says "everything else". So the subjects that the stream holds are
looked at every other second: those that belong to no lane are few, mostly none. What stands at them is given to intake,
which refuses it by name, each once: a router remembers how far it has come, and asks what others have kept already.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import structlog

from channels.reasons import Reason
from router import subjects
from router.deadletters import DeadLetters
from router.intake import Intake
from router.jetstream import JetStream, Stored, StoreError, TooLargeForStoreError
from router.received import Received
from router.seldom import Seldom
from router.tasks import keep_running

log = structlog.get_logger(__name__)

_LOOK = 2.0  #: seconds between looks
#: As many times as long as a look took nobody looks again: thousands of made-up subjects must not keep a router busy.
_REST, _LONGEST = 20, 60.0
_STAGE = "intake"
_LANES = tuple(f"notifications.{lane}." for lane in subjects.LANES)
_UNREADABLE = "\ufffd"  #: stands in the list of subjects for bytes that are no UTF-8


def is_outside(subject: str) -> bool:
    """Whether no lane's consumer reads it."""
    return not subject.startswith(_LANES)


def filter_of(subject: str) -> str:
    """What finds the messages of a subject as the list of subjects has it. It may find others, too.

    NATS stores what is published to `notifications.>`, and that as a filter finds everything.
    """
    return ".".join("*" if _UNREADABLE in token else token for token in subject.split("."))


def _finds_more(stray: str) -> bool:
    """Whether it may find much that is on a lane: it is looked at after all that finds nothing but itself."""
    return not {"*", ">"}.isdisjoint(stray.split("."))


class Strays:
    """Finds what no lane's consumer reads."""

    def __init__(self, js: JetStream, intake: Intake, dead_letters: DeadLetters, every: float = _LOOK) -> None:
        self._js = js
        self._intake = intake
        self._dead_letters = dead_letters
        self._every = every
        self._next: dict[str, int] = {}  #: filter -> sequence from which nothing was looked at yet
        self._stream = ("", 0)  #: when it was made, and its last sequence at the last look
        self._seldom = Seldom()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to look."""
        self._task = keep_running("strays", self._watch)

    async def pause(self) -> None:
        """Look no more; what was not refused is found by somebody else."""
        if self._task:
            self._task.cancel()

    async def _watch(self) -> None:
        while True:
            pause, began = self._every, time.monotonic()
            try:
                await self.look()
            except StoreError as exc:
                if (kept_back := self._seldom.due("look")) is not None:
                    log.warning("strays.not_looked", why=str(exc), kept_back=kept_back)
            else:
                pause = max(pause, min(_REST * (time.monotonic() - began), _LONGEST))
            await asyncio.sleep(pause)

    async def look(self) -> None:
        """Refuse what stands outside of the lanes and was not refused yet. Raises `StoreError`: look again later."""
        filters = {filter_of(subject) for subject in await self._subjects() if is_outside(subject)}
        self._next = {each: self._next.get(each, 1) for each in filters}
        for each in sorted(filters, key=_finds_more):
            while (stored := await self._js.first(subjects.NOTIFICATIONS, each, self._next[each])) is not None:
                if is_outside(stored.subject):
                    await self._refuse(stored)
                self._next[each] = stored.sequence + 1

    async def _subjects(self) -> set[str]:
        """All that the stream holds; the server lists a hundred thousand at a time."""
        found: set[str] = set()
        while True:
            request = {"subjects_filter": "notifications.>", "offset": len(found)}
            info = await self._js.api(f"STREAM.INFO.{subjects.NOTIFICATIONS}", request)
            page = info["state"].get("subjects") or {}
            found |= page.keys()
            if not page or len(found) >= info.get("total", 0):
                self._notice_new_stream(info)
                return found

    def _notice_new_stream(self, info: dict[str, Any]) -> None:
        """One that is made anew, or comes from a backup, counts from where it did."""
        created, last = self._stream
        self._stream = info["created"], info["state"]["last_seq"]
        if created != self._stream[0] or last > self._stream[1]:
            self._next.clear()

    async def _refuse(self, stored: Stored) -> None:
        """Until it is kept for a person; what dies meanwhile is looked at again, and kept once."""
        sequence, subject = stored.sequence, stored.subject
        for reason in (Reason.BAD_SUBJECT, Reason.INTERNAL):
            if await self._dead_letters.has(_STAGE, sequence, subject, reason):
                return
        try:
            await self._intake.take(Received(subject, sequence, stored.body, stored.headers, redelivered=True))
        except TooLargeForStoreError:
            await self._bury(stored)
        except StoreError:
            raise
        except Exception:
            # It must not hold up those behind it.
            log.exception("strays.fault", subject=subject)
            await self._bury(stored)

    async def _bury(self, stored: Stored) -> None:
        await self._dead_letters.keep(
            _STAGE,
            subjects.source_of(stored.subject),
            sequence=stored.sequence,
            subject=stored.subject,
            body=stored.body,
            headers=stored.headers,
            reason=Reason.INTERNAL,
            message="its handling failed; the router's log says where",
        )
