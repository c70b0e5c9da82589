"""What the pages are drawn from, gathered in one place: everything here is read, but for what `actions` says."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from nats.aio.client import Client

from channels.address import AddressError, parse_recipient
from channels.model import WHATSAPP, Sender
from router import subjects
from router.consent_ledger import OPTED_OUT, Consent, current
from router.console.access import Person
from router.console.feed import Feed, Seen
from router.console.following import LogSearch
from router.console.trouble import Problem, Situation, problems
from router.jetstream import JetStream, StoreError
from router.leases import Presence
from router.ledger import story_at
from router.metrics.backlog import Backlog
from router.recipients import Sessions
from router.services.asking import Answer, BadRequestError, a_recipient

log = structlog.get_logger(__name__)

_FRESH = 2.0  #: seconds that the routers' signs of life serve all pages
_COUNTED = 30.0  #: seconds that a count of opt-outs serves
#: Records of consent that are counted by what they say; with more of them only the records are.
_MANY = 20_000


class NotAllowedError(Exception):
    """The console is read-only, or the session is over; the message says which."""


def as_stored(wanted: str, region: str = "") -> str:
    """What somebody looks for, as events hold it: a number in E.164, however it is written; an id as it is.

    Raises `BadRequestError` where a country is given and it is no number there.
    """
    wanted = wanted.strip()
    if region:
        return a_recipient({"recipient": wanted, "region": region}).address
    try:
        return parse_recipient(wanted).address
    except AddressError:
        return wanted


@dataclass
class Office:
    """Answers what pages ask."""

    js: JetStream
    feed: Feed
    search: LogSearch
    backlog: Backlog
    presence: Presence
    consent: Consent
    sessions: Sessions
    senders: Mapping[str, Sender]
    answers: Mapping[str, Answer]  #: of the desks, by their subject below `pointsman.`
    stuck_after: float
    actions: bool  #: whether dead letters may be replayed and resolved here
    notes: Callable[[], Mapping[str, str]]
    unapproved: Callable[[], Sequence[str]] = tuple
    clock: Callable[[], float] = time.time
    _signs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    _signs_at: float = 0.0
    _opt_outs: int | None = None
    _opt_outs_at: float = 0.0

    @property
    def client(self) -> Client:
        """The connection to NATS."""
        return self.js.client

    async def ask(self, what: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """As a service of `pointsman.<what>` would be asked. Raises `BadRequestError` and `StoreError`."""
        return await self.answers[what]({name: value for name, value in request.items() if value not in (None, "")})

    async def act(self, person: Person, what: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """The same, where something changes. Raises `NotAllowedError` too."""
        if not self.actions:
            raise NotAllowedError("the console is read-only: console.allow_actions is off")
        self.check(person)
        log.info("console.acted", person=person.name, what=what, dead_letter_id=request.get("id"))
        return await self.ask(what, request)

    def reveal(self, person: Person, what: str, **where: str) -> None:
        """Somebody asks for personal data: said in the log before it is shown. Raises `NotAllowedError`."""
        self.check(person)
        log.info("console.revealed", person=person.name, what=what, **where)

    def check(self, person: Person) -> None:
        """A page stays open longer than a session lasts."""
        if person.until <= self.clock():
            raise NotAllowedError("your session is over: log in again")

    async def signs(self) -> Mapping[str, Mapping[str, Any]]:
        """What every living router says of itself; the last that was heard while NATS does not answer."""
        if self.clock() - self._signs_at > _FRESH:
            self._signs_at = self.clock()
            try:
                self._signs = await self.presence.signs()
            except StoreError:
                log.debug("console.no_signs")
        return self._signs

    async def problems(self) -> list[Problem]:
        """What an operator should look at."""
        return problems(
            Situation(
                now=self.clock(),
                connected=self.client.is_connected,
                reading=await self.backlog.read(),
                signs=await self.signs(),
                lines=self.feed.lines(),
                senders=list(self.senders),
                stuck_after=self.stuck_after,
                notes=self.notes(),
                templates=self.unapproved(),
            )
        )

    def opt_outs(self) -> int | None:
        """How many recipients said STOP to something; None where there are too many records to count."""
        mirror = self.consent.mirror
        if len(mirror) > _MANY:
            return None
        if self._opt_outs is None or self.clock() - self._opt_outs_at > _COUNTED:
            known = mirror.keys()
            entries = (current(mirror.get(key) or ()).values() for key in known)
            self._opt_outs = sum(any(entry.state == OPTED_OUT for entry in each) for each in entries)
            self._opt_outs_at = self.clock()
        return self._opt_outs

    @property
    def whatsapp_senders(self) -> list[str]:
        """Those that have sessions."""
        return sorted(name for name, sender in self.senders.items() if WHATSAPP in sender.channels)

    async def story(self, source: str, identity: str) -> list[dict[str, Any]]:
        """Every event of one notification; none where nobody knows it."""
        try:
            answer = await self.ask("trace", {"source": source, "id": identity})
        except BadRequestError as exc:
            if exc.code == 404:
                return []
            raise
        events: list[dict[str, Any]] = answer["events"]
        return events

    async def notification(self, source: str, identity: str) -> Mapping[str, Any] | None:
        """As it was published; None where its stream keeps it no longer."""
        stored = await self.js.last(subjects.DELIVERIES, subjects.story(source, identity))
        if stored is None:
            return None

        place = story_at(stored, source, identity).snapshot.notification_sequence
        published = await self.js.at(subjects.NOTIFICATIONS, place) if place else None
        if published is None:
            return None
        value = json.loads(published.body)
        return value if isinstance(value, dict) else None

    async def found(self, wanted: str, most: int) -> list[Seen]:
        """By recipient, notification's id or provider's id: in memory, and by id however old."""
        seen = self.search.in_memory(wanted, most)
        if subjects.NOTIFICATION_ID.fullmatch(wanted):
            known = {(each.source, each.notification_id) for each in seen}
            older = await self.search.by_id(wanted)
            seen += [each for each in older if (each.source, each.notification_id) not in known]
        return seen
