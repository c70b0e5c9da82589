"""Two router processes in one test, on a store and a provider in memory: their work interleaves as the test says."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Iterable
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from channels.model import MMS, SMS, WHATSAPP
from policies import document
from policies.engine import compile_policy
from policies.retry import RetrySettings
from router import crashpoints
from router.archive import Archive
from router.attempts import Attempts
from router.attribution import Attribution
from router.cancel import Cancel
from router.caps import Caps, Returns
from router.consent import ConsentKeeper
from router.consent_ledger import Consent
from router.crashpoints import CrashPoint
from router.deadletters import DeadLetters
from router.events import PROVIDER_MESSAGE_ID
from router.follow_up import FollowUp
from router.hashing import Hasher
from router.holding import Holding
from router.intake import Intake
from router.jetstream import Stored
from router.leases import Presence
from router.ledger import Ledger
from router.moves import Mover
from router.outbox import Outbox, OutboxItem
from router.owners import Owners
from router.providers import OpenChannels
from router.reach import Reach
from router.recipients import Recipients, Sessions
from router.reconcile import Reconcile
from router.replay import Replay
from router.resting import Rests
from router.settings import (
    ConsentSettings,
    ReachSettings,
    ReconcileSettings,
    SessionSettings,
    StickinessSettings,
    TrackingSettings,
)
from router.silence import Silence
from router.stickiness import Stickiness
from router.stuck import Stuck
from router.timers import Timers
from router.topology import CONSENT
from router.tracking import Tracking
from router.workers import LaterError
from tests.factories import NOW, US_MAIN, WA_MAIN, WORLD_SMS, a_world
from tests.reliability.gates import Fate, Gate, GatedChannel, GatedStore, Gates, Kind

SENDERS = (US_MAIN, WORLD_SMS, WA_MAIN)
HASHER = Hasher(b"a key of tests")
#: Seconds; what is on its way to the provider ends within the first, which is real time only when a test hangs.
TIMEOUT, WAIT, SETTLE, STUCK_AFTER, WITHIN = 60.0, 100.0, 300.0, 1_000.0, 150.0
#: Before the shipped routes: in Germany WhatsApp gives way to SMS when nothing is heard.
SILENCE = f"""
[[routes]]
name = "silence"
when = {{ country = "DE" }}
plan = [{{ channel = "whatsapp", within = {WITHIN} }}, {{ channel = "sms" }}]

"""
_SHIPPED = Path(document.__file__).with_name("default.toml").read_text(encoding="utf-8")
POLICY = compile_policy(
    document.load(_SHIPPED.replace("[[routes]]", SILENCE + "[[routes]]", 1), "silence.toml"), a_world(*SENDERS)
)


#: Turns of the loop in which nothing changes, until whoever has not ended counts as waiting for another task.
_STILL = 20


class DiedError(BaseException):
    """The process ended here: nothing may catch it."""


class LogAttribution(Attribution):
    """Reads the log's `accepted` events where they lie."""

    def __init__(self, store: GatedStore, gates: Gates) -> None:
        super().__init__(store, "attributions")
        self._store = store
        self._gates = gates

    async def taken(self, provider_message_ids: Iterable[str], since: datetime) -> frozenset[str]:
        await self._gates.wait(Kind.STORE)
        accepted = [
            stored
            for stored in self._store.stream("DELIVERIES")
            if ".accepted." in stored.subject and self._store.when(stored) >= since
        ]
        named = {stored.headers[PROVIDER_MESSAGE_ID] for stored in accepted}
        return frozenset(each for each in provider_message_ids if each in named)


class Living(Presence):
    """Knows without asking which processes live."""

    def __init__(self, store: GatedStore, world: World) -> None:
        super().__init__(store, "senders", "", 2)
        self._world = world

    async def lives(self, owner: str) -> bool:
        return owner.partition(".")[0] in {process.instance for process in self._world.processes}


class Process:
    """The parts of one router, and what it is doing."""

    def __init__(self, world: World, instance: str) -> None:
        self.instance = instance
        self._world = world
        self.tasks: set[asyncio.Task[None]] = set()
        store, clock = world.store, world.clock
        ledger, mover = Ledger(store, clock, instance), Mover(RetrySettings(), clock, lambda: 1.0)
        consent = Consent(store, "", HASHER)
        reach = Reach(store, "", HASHER, (SMS, MMS, WHATSAPP), ReachSettings(), clock)
        sessions = Sessions(store, "", HASHER, SessionSettings(), clock)
        stickiness = Stickiness(store, "", HASHER, (), StickinessSettings(), clock)
        recipients = Recipients(consent, sessions, reach, stickiness, SENDERS)
        archive, self.outbox, timers = Archive(store), Outbox(store), Timers(store)
        dead_letters = DeadLetters(store, clock, "deadletters")
        senders = {sender.name: sender for sender in SENDERS}
        channels = OpenChannels(
            {
                (each.name, name): world.channels[name]
                for each in SENDERS
                for name in each.channels & world.channels.keys()
            }
        )
        keeper = ConsentKeeper(consent, ConsentSettings(), senders, clock)
        attribution = LogAttribution(store, world.gates)
        owners = Owners(ledger, archive, attribution, dead_letters, clock)
        self.silence = Silence(ledger, archive, timers, channels, clock)
        caps = Caps(store, "", HASHER, clock)
        self.intake = Intake(
            ledger=ledger,
            outbox=self.outbox,
            at_once=self._at_once,
            timers=timers,
            dead_letters=dead_letters,
            recipients=recipients,
            caps=caps,
            policy=lambda: POLICY,
            channels=world.channels.keys(),
            max_body=100_000,
            clock=clock,
        )
        self.attempts = Attempts(
            ledger=ledger,
            channels=channels,
            senders=senders,
            recipients=recipients,
            consent=keeper,
            hasher=HASHER,
            mover=mover,
            clock=clock,
            presence=Living(store, world),
            holding=Holding(ledger, timers, lambda: POLICY, clock),
            silence=self.silence,
            owners=owners,
            timeout=TIMEOUT,
        )
        self.reconcile = Reconcile(
            ledger=ledger,
            archive=archive,
            timers=timers,
            dead_letters=dead_letters,
            attribution=attribution,
            owners=owners,
            silence=self.silence,
            channels=channels,
            senders=senders,
            hasher=HASHER,
            policy=lambda: POLICY,
            settings=ReconcileSettings(wait=WAIT, settle=SETTLE),
            attempts_per_step=5,
            timeout=TIMEOUT,
            clock=clock,
        )
        learns = (keeper, reach, sessions, self.silence, Rests(store, "senders", clock), owners)
        self.tracking = Tracking(ledger, HASHER, mover, *learns, clock)
        self.follow_up = FollowUp(ledger, archive, self.outbox, timers, self.reconcile, self.silence, clock)
        tracking = TrackingSettings(stuck_after=STUCK_AFTER, receipt_wait=10 * STUCK_AFTER)
        self.stuck = Stuck(ledger, self.tracking, channels, HASHER, tracking, clock, timers, dead_letters)
        self.cancel = Cancel(ledger, channels, clock)
        self.consent, self.keeper = consent, keeper
        returns = Returns(caps, lambda: POLICY)
        self.replay = Replay(store, dead_letters, self.intake, self.follow_up, self.reconcile, self.stuck, returns)

    async def _at_once(self, item: OutboxItem) -> bool:
        if self._world.at_once:
            await self.attempts.make(item)
        return self._world.at_once

    def learn(self, statements: Iterable[Stored]) -> None:
        """What stands in the bucket of consent."""
        mirror = self.consent.mirror
        for stored in statements:
            mirror.note(stored.subject.removeprefix(mirror.bucket.subject("")), stored.body, stored.sequence)


class World:
    """Time, the store, the provider, two processes."""

    def __init__(self, fates: Iterable[Fate] = (), *, at_once: bool = False) -> None:
        self.now = NOW
        self.at_once = at_once  #: intake makes the first attempt itself; else it goes through the outbox
        self._fates = deque(fates)  #: of the first requests to send; every later one is taken
        self.loop = asyncio.new_event_loop()
        self.gates = Gates(self.clock)
        self.store = GatedStore(self.gates, self.clock)
        self.channels = {name: GatedChannel(name, self.gates, self.clock) for name in (SMS, WHATSAPP)}
        self._instances = count(1)
        self._told = 0  #: of so much of the store has every process been told
        self._doom: CrashPoint | None = None
        self.processes: list[Process] = [self._new(), self._new()]
        crashpoints.install(self._reached)

    def clock(self) -> datetime:
        return self.now

    def close(self) -> None:
        """End everything, and leave no crash behind for others."""
        crashpoints.install(lambda _point: None)
        for process in self.processes:
            self._end(process)
        self.loop.close()

    def seed(self, body: bytes) -> int:
        """A notification, as its publisher leaves it; its sequence."""
        return self.loop.run_until_complete(self.store.seed("notifications.normal.shop", body))

    def begin(self, process: Process, work: Coroutine[Any, Any, object]) -> None:
        """Let a process do this, up to its first gate; a dead one does nothing."""
        if process not in self.processes:
            work.close()
            return

        async def task() -> None:
            try:
                await work
            except LaterError:
                return  # the message is given back, and comes again

        process.tasks.add(self.loop.create_task(task()))
        self.run()

    def pass_gate(self, gate: Gate) -> None:
        """Let one step happen, and everything up to the next gate."""
        is_request = gate.kind is Kind.LEAVE and self._fates
        self._open(gate, self._fates.popleft() if is_request else Fate.TAKEN)

    def _open(self, gate: Gate, fate: Fate) -> None:
        self.gates.open(gate, fate)
        self.run()

    def run(self) -> None:
        """Until every task has ended, or waits at a gate or for one that does; who died takes its process with it."""
        self._tell_of_consent()
        before, rounds = (-1, -1), 0
        while rounds < _STILL:
            busy = sum(not task.done() for process in self.processes for task in process.tasks)
            now = (busy, sum(not gate.opened.done() for gate in self.gates.waiting))
            if now == (busy, busy):
                break
            before, rounds = now, rounds + 1 if now == before else 0
            self.loop.run_until_complete(asyncio.sleep(0))
        for process in list(self.processes):
            self._reap(process)

    def _tell_of_consent(self) -> None:
        """Every process follows the bucket."""
        new = self.store.since(self._told)
        self._told += len(new)
        statements = [stored for stream, stored in new if stream == f"KV_{CONSENT}"]
        for process in self.processes:
            process.learn(statements)

    def kill(self, process: Process) -> None:
        """Whatever it is doing; another one starts in its place."""
        self._end(process)
        self.processes[self.processes.index(process)] = self._new()

    def doom(self, point: CrashPoint) -> None:
        """Whoever reaches this point next dies there."""
        self._doom = point

    def spare(self) -> None:
        """Nobody dies any more."""
        self._doom = None

    def pass_all(self) -> None:
        """Until nothing waits any more, longest waiting first."""
        while self.gates.waiting:
            self.pass_gate(self.gates.waiting[0])

    def advance(self, seconds: float, fate: Fate) -> None:
        """Time passes. What has been on its way to the provider for too long ends: taken or not, as `fate` says."""
        later = self.now + timedelta(seconds=seconds)
        while overdue := [gate for gate in self._on_the_way() if (later - gate.since).total_seconds() >= TIMEOUT]:
            self._open(overdue[0], fate)
        self.now = later

    def _on_the_way(self) -> list[Gate]:
        return [gate for gate in self.gates.waiting if gate.kind is not Kind.STORE]

    def _new(self) -> Process:
        process = Process(self, f"router{next(self._instances)}")
        process.learn(self.store.stream(f"KV_{CONSENT}"))
        return process

    def _reached(self, point: CrashPoint) -> None:
        if point is self._doom:
            self._doom = None
            raise DiedError(point)

    def _reap(self, process: Process) -> None:
        ended = {task for task in process.tasks if task.done()}
        process.tasks -= ended
        errors = [error for task in ended if not task.cancelled() and (error := task.exception())]
        if any(isinstance(error, DiedError) for error in errors):
            self.kill(process)
        elif errors:
            raise errors[0]

    def _end(self, process: Process) -> None:
        for task in process.tasks:
            task.cancel()
        if process.tasks:
            self.loop.run_until_complete(asyncio.gather(*process.tasks, return_exceptions=True))
        process.tasks.clear()
