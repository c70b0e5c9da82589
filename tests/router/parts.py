"""Parts of the router put together on a store in memory, with a clock that stands still."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from channels.model import MMS, SMS, WHATSAPP, ChannelName, Sender
from policies import document
from policies.engine import Policy, compile_policy
from policies.retry import RetrySettings
from router.archive import Archive
from router.attribution import Attribution
from router.caps import Caps
from router.consent import ConsentKeeper
from router.consent_ledger import Consent
from router.deadletters import DeadLetters
from router.hashing import Hasher
from router.intake import Intake
from router.ledger import Ledger
from router.moves import Mover
from router.outbox import Outbox
from router.owners import Owners
from router.providers import OpenChannels
from router.reach import Reach
from router.received import Received
from router.recipients import Recipients, Sessions
from router.resting import Rests
from router.settings import ConsentSettings, ReachSettings, SessionSettings, StickinessSettings
from router.silence import Silence
from router.stickiness import Stickiness
from router.timers import Timers
from router.tracking import Tracking
from tests.factories import NOW, US_MAIN, WA_MAIN, WORLD_SMS, a_world
from tests.router.store import MemoryStore

SENDERS: tuple[Sender, ...] = (US_MAIN, WORLD_SMS, WA_MAIN)
MAX_BODY = 1_000_000
HASHER = Hasher(b"a key of tests")


def now() -> datetime:
    return NOW


def no_chance() -> float:
    """The longest pause that a retry may take."""
    return 1.0


@dataclass
class Parts:
    """Everything that stands on one store."""

    store: MemoryStore = field(default_factory=MemoryStore)

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.store, now, "tests")
        self.consent = Consent(self.store, "", HASHER)
        self.sessions = Sessions(self.store, "", HASHER, SessionSettings(), now)
        self.reach = Reach(self.store, "", HASHER, (SMS, MMS, WHATSAPP), ReachSettings(), now)
        self.stickiness = Stickiness(self.store, "", HASHER, (), StickinessSettings(), now)
        self.recipients = Recipients(self.consent, self.sessions, self.reach, self.stickiness, SENDERS)
        self.caps = Caps(self.store, "", HASHER, now)
        self.keeper = ConsentKeeper(self.consent, ConsentSettings(), {sender.name for sender in SENDERS}, now)
        self.mover = Mover(RetrySettings(), now, no_chance)
        self.silence = Silence(self.ledger, Archive(self.store), Timers(self.store), OpenChannels({}), now)
        self.rests = Rests(self.store, "senders", now)
        dead_letters = DeadLetters(self.store, now, "pointsman")
        attribution = Attribution(self.store, "attributions")
        self.owners = Owners(self.ledger, Archive(self.store), attribution, dead_letters, now)
        learns = (self.keeper, self.reach, self.sessions, self.silence, self.rests, self.owners)
        self.tracking = Tracking(self.ledger, HASHER, self.mover, *learns, now)

    def intake(
        self,
        channels: Iterable[str] = ("sms", "mms", "whatsapp"),
        made: Callable[..., Intake] = Intake,
        policy: Policy | None = None,
    ) -> Intake:
        policy = policy or compile_policy(document.shipped(), a_world())
        return made(
            ledger=self.ledger,
            outbox=Outbox(self.store),
            timers=Timers(self.store),
            dead_letters=DeadLetters(self.store, now, "pointsman"),
            recipients=self.recipients,
            caps=self.caps,
            policy=lambda: policy,
            channels=[ChannelName(name) for name in channels],
            clock=now,
            max_body=MAX_BODY,
        )


def received(body: bytes, subject: str = "notifications.normal.shop", sequence: int = 1) -> Received:
    return Received(subject, sequence, body, {})
