"""Any interleaving of redelivery, callback, crash and timer over two processes: what the log promises always holds."""

from __future__ import annotations

import contextlib
import json
import logging
from collections import Counter
from collections.abc import Coroutine
from datetime import datetime, timedelta
from typing import Any

import structlog
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from nats.aio.client import Client
from nats.aio.msg import Msg

from channels.address import parse_recipient
from channels.model import SMS, ChannelName, InboundMessage, Keyword, ProviderError, ProviderMessageId, StatusReport
from channels.status import DeliveryStatus, advances
from router.crashpoints import CrashPoint
from router.deadletters import DeadLetter, State
from router.jetstream import Stored
from router.outbox import ATTEMPT, read_item
from router.received import Received
from router.replay import NotReplayableError
from router.story import SNAPSHOT, Snapshot
from router.topology import FOLLOWED
from tests.reliability.gates import Fate, GatedChannel
from tests.reliability.world import STUCK_AFTER, Process, World

TEXT_OR_TEMPLATE = {"text": "hello", "template": {"name": "order_shipped", "variables": {"1": "Ada"}}}
#: Two that nobody can tell apart, one with two steps to try, one whose first step gives way to silence, one to be held.
NOTIFICATIONS: list[dict[str, Any]] = [
    {"id": "twin-1", "to": "+12025550143", "content": {"text": "same"}},
    {"id": "twin-2", "to": "+12025550143", "content": {"text": "same"}},
    {"id": "steps", "to": "+447400123456", "content": TEXT_OR_TEMPLATE, "on_unknown": "failover"},
    {"id": "silent", "to": "+4915112345678", "content": TEXT_OR_TEMPLATE},
    {"id": "held", "to": "+12025550199", "content": {"text": "pay"}, "on_unknown": "hold"},
]
#: Of the provider's own making: what it may still say after each of its words.
REPORTS = (DeliveryStatus.SENT, DeliveryStatus.DELIVERED, DeliveryStatus.UNDELIVERED)
ENDINGS = {DeliveryStatus.DELIVERED, DeliveryStatus.UNDELIVERED}
LIVE = {DeliveryStatus.SENDING, DeliveryStatus.UNKNOWN, DeliveryStatus.ACCEPTED, DeliveryStatus.SENT}

#: Rounds in which nothing is appended, until it counts as settled: a timer is set in one and fires in the next.
_QUIET = 3
#: Rounds, until it counts as restless: more than all attempts on all steps of a plan can take.
_PATIENCE = 60

#: Publications under ids that belong to others: what is refused is remembered for the last few of them.
_OTHERS = 6
STOP, START = Keyword.STOP, Keyword.START

indexes = st.integers(0, 1_000)
processes = st.integers(0, 1)


class Interleavings(RuleBasedStateMachine):
    """The rules are what the world may do; what must hold is checked over the whole log at the end."""

    @initialize(fates=st.lists(st.sampled_from(Fate), max_size=8), callbacks_come=st.booleans(), at_once=st.booleans())
    def start(self, fates: list[Fate], callbacks_come: bool, at_once: bool) -> None:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
        self.world = World(fates, at_once=at_once)
        self.sequences = {body["id"]: self.world.seed(json.dumps(body).encode()) for body in NOTIFICATIONS}
        self.others: list[int] = []  #: publications of other content under these ids
        self.endings: dict[ProviderMessageId, DeliveryStatus] = {}
        self.callbacks_come = callbacks_come  #: when everything comes again; else the list is searched first

    # --- what may happen

    @rule(process=processes, which=st.integers(0, len(NOTIFICATIONS) - 1))
    def deliver_a_notification(self, process: int, which: int) -> None:
        self._begin(process, self._intake(self._process(process), NOTIFICATIONS[which]["id"]))

    @rule(process=processes, index=indexes)
    def deliver_from_the_outbox(self, process: int, index: int) -> None:
        if queued := self.world.store.stream("OUTBOX"):
            self._begin(process, self._attempt(self._process(process), queued[index % len(queued)]))

    @rule(process=processes, index=indexes)
    def deliver_an_event_to_follow_up(self, process: int, index: int) -> None:
        if events := self._events(*FOLLOWED):
            event = events[index % len(events)]
            self._begin(process, self._process(process).follow_up.on_event(event.body))

    @rule(process=processes, index=indexes)
    def fire_a_timer(self, process: int, index: int) -> None:
        if due := self._due():
            self._begin(process, self._wake(self._process(process), due[index % len(due)]))

    @rule(process=processes, index=indexes, status=st.sampled_from(REPORTS))
    def call_back(self, process: int, index: int, status: DeliveryStatus) -> None:
        """Late, early, repeated; but a message has one ending."""
        if taken := self._taken():
            sid, report = taken[index % len(taken)]
            if status in ENDINGS or self.endings.get(sid) is DeliveryStatus.CANCELED:
                status = self._ends(sid, status)
            elif sid not in self.endings:
                self._channel_of(sid).set_status(sid, status)
            self._begin(process, self._process(process).tracking.record(report(status)))

    @rule(process=processes)
    def everything_comes_again(self, process: int) -> None:
        """All at once, and each as far as its first gate."""
        at = self._process(process)
        work: list[Coroutine[Any, Any, object]] = [
            self._intake(at, notification_id) for notification_id in self.sequences
        ]
        work += [self._take(at, sequence) for sequence in self.others]
        work += [self._attempt(at, item) for item in self.world.store.stream("OUTBOX")]
        work += [at.follow_up.on_event(event.body) for event in self._events(*FOLLOWED)]
        work += [at.stuck.on_accepted(Msg(Client(), data=event.body)) for event in self._accepted_long_ago()]
        work += [self._wake(at, timer) for timer in self._due()]
        if self.callbacks_come:
            reports = [(report, self._ends(sid, DeliveryStatus.DELIVERED)) for sid, report in self._taken()]
            work += [at.tracking.record(report(ending)) for report, ending in reports]
        for each in work:
            self.world.begin(at, each)

    @rule(process=processes, which=st.integers(0, len(NOTIFICATIONS) - 1), readable=st.booleans())
    def publish_something_else_under_an_id(self, process: int, which: int, readable: bool) -> None:
        """Before or after the one that it belongs to: whichever is taken first owns the id."""
        if len(self.others) < _OTHERS:
            other = {**NOTIFICATIONS[which], "content": {"text": "other"} if readable else {}}
            self.others.append(self.world.seed(json.dumps(other).encode()))
            self._begin(process, self._take(self._process(process), self.others[-1]))

    @rule(process=processes, which=st.integers(0, len(NOTIFICATIONS) - 1))
    def take_back(self, process: int, which: int) -> None:
        self._begin(process, self._process(process).cancel.take_back("shop", NOTIFICATIONS[which]["id"]))

    @rule(process=processes, which=st.integers(0, len(NOTIFICATIONS) - 1), keyword=st.sampled_from([STOP, STOP, START]))
    def hear_from_a_recipient(self, process: int, which: int, keyword: Keyword) -> None:
        self._begin(
            process, self._process(process).keeper.heard(_heard(NOTIFICATIONS[which]["to"], keyword), "us-main")
        )

    @rule(process=processes, index=indexes)
    def replay_a_dead_letter(self, process: int, index: int) -> None:
        if letters := self.world.store.bodies("DEADLETTERS"):
            letter = DeadLetter(letters[index % len(letters)], State.OPEN)
            self._begin(process, self._replay(self._process(process), letter))

    @rule(steps=st.lists(indexes, min_size=1, max_size=20))
    def let_some_steps_happen(self, steps: list[int]) -> None:
        """In whatever order."""
        for index in steps:
            if waiting := self.world.gates.waiting:
                self.world.pass_gate(waiting[index % len(waiting)])

    @rule()
    def let_everything_happen(self) -> None:
        self.world.pass_all()

    @rule(process=processes)
    def kill(self, process: int) -> None:
        self.world.kill(self._process(process))

    @rule(process=processes, point=st.sampled_from(CrashPoint))
    def run_into_a_crash(self, process: int, point: CrashPoint) -> None:
        """Whoever reaches that point first dies there; the rest goes on."""
        self.world.doom(point)
        self.everything_comes_again(process)
        self.world.pass_all()

    @rule(seconds=st.sampled_from([70.0, 400.0]), fate=st.sampled_from([Fate.ANSWER_LOST, Fate.DROPPED]))
    def let_time_pass(self, seconds: float, fate: Fate) -> None:
        self.world.advance(seconds, fate)

    # --- what must hold

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            self._settle()
            log = self.world.store.bodies("DELIVERIES")
            for notification_id in self.sequences:
                self._check_story([event for event in log if event["notification_id"] == notification_id])
            self._check_provider()
        finally:
            self.world.close()

    def _settle(self) -> None:
        """Everything comes again until nothing changes any more; in the end the callbacks do."""
        self.world.spare()
        self.world.pass_all()
        self._until_quiet()
        self.callbacks_come = True
        self._until_quiet()

    def _until_quiet(self) -> None:
        quiet, before = 0, -1
        for _ in range(_PATIENCE):
            if quiet == _QUIET:
                return
            for process in (0, 1):
                self.everything_comes_again(process)
                self.world.pass_all()
            self.world.advance(400, Fate.DROPPED)
            now = len(self.world.store.stream("DELIVERIES"))
            quiet, before = (quiet + 1 if now == before else 0), now
        raise AssertionError("it never comes to rest")

    def _check_story(self, story: list[dict[str, Any]]) -> None:
        refused = [event for event in story if event["status"] == "rejected"]
        assert len(refused) == self._strangers(story[0]["notification_id"]), "a refusal is said, and once"
        story = [event for event in story if event not in refused]
        finals = [event["status"] for event in story if event["final"]]
        assert len(finals) <= 1, finals
        standing: dict[int, DeliveryStatus] = {}
        guessed = 0  #: the attempt that counts as failed because nobody knew of it
        silent: set[int] = set()  #: attempts that count as failed because nothing was heard of them
        for event in story:
            if (number := event["attempt"]) and event["status"] in set(DeliveryStatus):
                status = DeliveryStatus(event["status"])
                is_overruled = guessed == number and status is DeliveryStatus.ACCEPTED
                arrives_late = number in silent and event["late"] and status is DeliveryStatus.DELIVERED
                silent |= {number} if event["reason"] == "silent" else set()
                corrected = event["reason"] == "misattributed" and status is DeliveryStatus.UNKNOWN
                is_news = is_overruled or arrives_late or corrected or advances(standing.get(number), status)
                assert is_news, (standing, status)
                guessed = number if event["reason"] == "not_found" else 0 if is_overruled else guessed
                if number not in standing:
                    assert not any(event["final"] for event in story[: story.index(event)]), "begun after the end"
                    assert status is DeliveryStatus.SENDING, "an attempt begins with its claim"
                    assert number == len(standing) + 1, "attempts are counted without gaps"
                    assert not LIVE & set(standing.values()), "an attempt began while another one might still arrive"
                standing[number] = status
        # Nobody looks into what was under way when the story was closed by an earlier attempt.
        is_held = DeliveryStatus.UNKNOWN in standing.values() and not any(event["late"] for event in story)
        assert is_held or len(finals) == 1, "a story has no end"
        if is_held:
            held = {letter["notification_id"] for letter in self.world.store.bodies("DEADLETTERS")}
            assert story[0]["notification_id"] in held, "nobody knows about it"

    def _strangers(self, notification_id: str) -> int:
        """How many were published under this id with another content than the one that was taken first."""
        log = [each for each in self.world.store.stream("DELIVERIES") if each.subject.endswith(f".{notification_id}")]
        owner = Snapshot.load(log[-1].headers[SNAPSHOT]).notification_sequence
        bodies = {each.sequence: each.body for each in self.world.store.stream("NOTIFICATIONS")}
        under_it = [body for body in bodies.values() if json.loads(body)["id"] == notification_id]
        return sum(body != bodies[owner] for body in under_it)

    def _check_provider(self) -> None:
        refs = [message.ref for channel in self.world.channels.values() for message in channel.sent]
        once = Counter((ref.notification_id, ref.attempt) for ref in refs)
        assert not once or max(once.values()) == 1, "an attempt was sent twice"
        arrived = Counter(
            message.ref.notification_id.partition("-")[0]
            for channel in self.world.channels.values()
            for sid, message in zip(channel.ids, channel.sent, strict=True)
            if self.endings[sid] is DeliveryStatus.DELIVERED
        )
        assert arrived["twin"] <= 2, arrived
        assert arrived["steps"] <= 1, arrived
        assert arrived["held"] <= 1, arrived
        assert arrived["silent"] <= 2, arrived

    # --- how it is brought about

    def _process(self, number: int) -> Process:
        return self.world.processes[number]

    def _begin(self, number: int, work: Coroutine[Any, Any, object]) -> None:
        self.world.begin(self._process(number), work)

    async def _intake(self, process: Process, notification_id: str) -> None:
        await self._take(process, self.sequences[notification_id])

    async def _take(self, process: Process, sequence: int) -> None:
        stored = next(each for each in self.world.store.stream("NOTIFICATIONS") if each.sequence == sequence)
        await process.intake.take(Received(stored.subject, sequence, stored.body, {}, redelivered=True))

    async def _replay(self, process: Process, letter: DeadLetter) -> None:
        """A malformed body stays so, and whoever asks is told."""
        with contextlib.suppress(NotReplayableError):
            await process.replay.replay(letter, None)

    async def _attempt(self, process: Process, stored: Stored) -> None:
        source, notification_id = stored.subject.split(".")[3:]
        await process.attempts.make(read_item(source, notification_id, stored.headers, stored.body))

    async def _wake(self, process: Process, stored: Stored) -> None:
        _, kind, source, notification_id = stored.subject.split(".")
        if kind == "retry":
            await process.outbox.put(read_item(source, notification_id, stored.headers, stored.body))
        elif kind == "silence":
            await process.silence.look(source, notification_id)
        elif kind == "stuck":
            await process.stuck.on_wake(Msg(Client(), subject=stored.subject.replace("timers.", "wake.", 1)))
        else:
            await process.reconcile.look(source, notification_id, int(stored.headers[ATTEMPT]))

    def _events(self, *statuses: str) -> list[Stored]:
        return [each for each in self.world.store.stream("DELIVERIES") if each.subject.split(".")[2] in statuses]

    def _accepted_long_ago(self) -> list[Stored]:
        """A younger one would be waited for, in real time."""
        then = self.world.now - timedelta(seconds=STUCK_AFTER)
        return [event for event in self._events("accepted") if self.world.store.when(event) <= then]

    def _due(self) -> list[Stored]:
        """Replaced ones included: a wake-up that fired before it was replaced may come again.

        But not those of stuck messages, each of which sets another one: there would be no end to them.
        """
        timers = self.world.store.stream("TIMERS")
        newest = {each.subject: each.sequence for each in timers}
        standing = [each for each in timers if ".stuck." not in each.subject or newest[each.subject] == each.sequence]
        return [each for each in standing if _fires_at(each) <= self.world.now]

    def _ends(self, sid: ProviderMessageId, status: DeliveryStatus) -> DeliveryStatus:
        """A message has one ending, and the provider says the same whenever it is asked."""
        channel = self._channel_of(sid)
        if channel.status_of(sid) is DeliveryStatus.CANCELED:
            status = DeliveryStatus.CANCELED
        ending = self.endings.setdefault(sid, status)
        channel.set_status(sid, ending)
        return ending

    def _channel_of(self, sid: ProviderMessageId) -> GatedChannel:
        return self.world.channels[ChannelName(sid.partition("-")[0])]

    def _taken(self) -> list[tuple[ProviderMessageId, Any]]:
        """What the provider has, each with how it reports about it."""
        return [
            (sid, _reporter(channel, index, sid))
            for channel in self.world.channels.values()
            for index, sid in enumerate(channel.ids)
        ]


def _fires_at(stored: Stored) -> datetime:
    return datetime.fromisoformat(stored.headers["Nats-Schedule"].removeprefix("@at "))


def _heard(from_: str, keyword: Keyword) -> InboundMessage:
    sid = ProviderMessageId(f"SM-{keyword}")
    return InboundMessage(sid, SMS, parse_recipient(from_), "+15017122661", text=keyword.value, keyword=keyword)


def _reporter(channel: GatedChannel, index: int, sid: ProviderMessageId) -> Any:
    def report(status: DeliveryStatus) -> StatusReport:
        error = ProviderError("recipient_unreachable", 63024, "not there") if status in ENDINGS else None
        error = error if status is DeliveryStatus.UNDELIVERED else None
        ref = channel.sent[index].ref
        return StatusReport(ref, channel.provider, sid, status, status.value, error, channel.name)

    return report


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(
    max_examples=60, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
