"""The paced queue of one sender: takes from its lanes exactly what it may send, and no sooner.

What intake has just routed does not have to go through the lanes where nothing waits in them: `at_once` makes its
attempt under the same pace, slots and breaker. Whoever calls it holds the notification until it returns.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial

import structlog
from nats.aio.msg import Msg

from channels.errors import ProviderDownError, ProviderThrottledError, SendError
from channels.model import SMS, Lane, Sender, SendReceipt, Text
from channels.segments import count_segments
from router import subjects, topology
from router.attempts import Attempts
from router.breaker import Breaker, BreakerState
from router.budget import Amounts, Budget
from router.jetstream import JetStream, StoreError
from router.outbox import OutboxItem, item_of
from router.pacing import LaneChooser, Pacer
from router.places import Places
from router.pulling import Puller, place_of
from router.rendering import content_of
from router.resting import Rests
from router.settings import DispatchSettings
from router.tasks import keep_running
from router.workers import LaterError, Settler

log = structlog.get_logger(__name__)

#: Seconds of a sender's rate that are fetched ahead: enough to hide a round trip, little enough to lose nothing by.
_AHEAD = 0.5
#: Share of its rate that a sender uses: requests that leave evenly do not arrive evenly, and what arrives is counted.
_UNDER = 0.98
_DETOUR_LOOK = 0.2  #: seconds between looks, while the provider is down, at what another one can take
#: Seconds after which what made room for others comes again, with the day not over: long, so that many come through.
_PASSED_BY = 3600.0
_BUDGET_LOOK = 0.2  #: seconds between looks at whether more of the daily budget has to be booked
_PAUSE_WITHOUT_HINT = 5.0  #: seconds, when the provider says "too fast" and not for how long


class SenderQueue:
    """One sender, one pace, three lanes."""

    def __init__(
        self,
        js: JetStream,
        sender: Sender,
        attempts: Attempts,
        settler: Settler,
        settings: DispatchSettings,
        rests: Rests,
        budget: Budget | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._js = js
        self._sender = sender
        self._attempts = attempts
        self._settler = settler
        self._settings = settings
        self._rests = rests
        self._budget = budget  #: None: no limit by day
        self._clock = clock
        self._detours = False  #: the provider is down, and another takes some of what waits
        self._pacer = Pacer(sender.rate * _UNDER, clock())
        self._breaker = Breaker()
        self._chooser = LaneChooser(settings.bulk_share)
        self._ahead = max(2, min(settings.concurrency, round(sender.rate * _AHEAD)))
        self._waiting: dict[Lane, deque[Msg]] = {lane: deque() for lane in Lane}
        self._arrived = asyncio.Event()
        self._slots = Places(settings.concurrency)
        self._sending: dict[asyncio.Task[None], Msg] = {}
        self._passing = 0  #: attempts under way that are made at once
        self._passed = asyncio.Event()  #: one of them has ended
        self._open = False  #: attempts may begin
        self._pullers = {lane: self._puller(lane) for lane in Lane}
        self._beginning: list[asyncio.Task[None]] = []  #: what begins attempts
        self._keeping: list[asyncio.Task[None]] = []  #: what goes on until the last of them has ended

    async def start(self) -> None:
        """Begin to send."""
        for puller in self._pullers.values():
            await puller.start()
        self._open = True
        self._beginning = [
            keep_running(f"send-{self._sender.name}", self._run),
            keep_running(f"detour-{self._sender.name}", self._keep_detouring),
        ]
        self._keeping = [keep_running(f"alive-{self._sender.name}", self._stay_alive)]
        if self._budget:
            self._keeping.append(keep_running(f"budget-{self._sender.name}", partial(self._keep_budget, self._budget)))
            self._beginning.append(keep_running(f"room-{self._sender.name}", partial(self._keep_room, self._budget)))

    async def pause(self) -> None:
        """Take nothing new and begin nothing new."""
        self._open = False
        for puller in self._pullers.values():
            await puller.stop()
        for task in self._beginning:
            task.cancel()

    async def stop(self, within: float) -> None:
        """Take nothing new, let what is in flight end, give back what waits."""
        await self.pause()
        for lane in self._waiting.values():
            while lane:
                await self._settler.give_back(lane.popleft(), 0.0)
        try:
            async with asyncio.timeout(within):
                await self._ended_all()
        except TimeoutError:
            log.warning("sender.still_sending", sender=self._sender.name, in_flight=self.in_flight)
        for task in self._keeping:
            task.cancel()
        if self._budget:
            try:
                await self._budget.give_back()
            except StoreError as exc:
                log.debug("sender.budget_not_given_back", sender=self._sender.name, why=str(exc))

    @property
    def depth(self) -> dict[str, int]:
        """Messages fetched and not begun, by lane."""
        return {lane.value: len(waiting) for lane, waiting in self._waiting.items()}

    @property
    def in_flight(self) -> int:
        """Attempts under way."""
        return len(self._sending) + self._passing

    @property
    def breaker(self) -> BreakerState:
        """Whether messages may go."""
        return self._breaker.state

    @property
    def left_today(self) -> Mapping[str, int]:
        """What may still be sent today, by unit; empty where there is no cap."""
        return self._budget.left if self._budget else {}

    @property
    def rests_for(self) -> float:
        """Seconds for which the provider wants silence yet."""
        return self._rests.left(self._sender.name)

    def as_dict(self) -> dict[str, object]:
        """What this router tells the others of it."""
        breaker = self._breaker
        return {
            "in_flight": self.in_flight,
            "breaker": breaker.state.value,
            "why": breaker.why,
            "rests": round(self.rests_for, 1),
            "left_today": dict(self.left_today),
        }

    async def at_once(self, item: OutboxItem) -> bool:
        """Make this attempt now. False: it is somebody else's turn, and the item has to wait for its own.

        Raises what `Attempts.make` raises.
        """
        if not self.takes(item):
            return False
        await self._slots.take()  # one is free
        self._passing += 1
        try:
            self._charge(item)
            await self._send(item)
        finally:
            self._passing -= 1
            self._passed.set()
            self._slots.give_back()
        return True

    def takes(self, item: OutboxItem) -> bool:
        """Whether this message may go before any other: nothing waits, and neither pace nor provider wants a pause."""
        if not self._open or self._breaker.state is not BreakerState.CLOSED or any(self._waiting.values()):
            return False
        if self._slots.full:
            return False
        return self._wait() <= 0 and (self._budget is None or self._budget.allows(Lane(item.lane), amounts_of(item)))

    async def _ended_all(self) -> None:
        if self._sending:
            await asyncio.wait(list(self._sending))
        while self._passing:
            self._passed.clear()
            await self._passed.wait()

    def _puller(self, lane: Lane) -> Puller:
        waiting = self._waiting[lane]

        def take(msg: Msg) -> None:
            item = _readable(msg) if self._budget else None
            if item is not None and (item.claimed or place_of(msg).deliveries > 1):
                self._begin_look(item, msg, waiting)
            else:
                self._line_up(msg, waiting)

        config = topology.dispatching(self._sender.name, lane, self._settings.ack_wait)

        def room() -> int:
            return self._most_waiting() - len(waiting)

        return topology.puller(self._js, subjects.OUTBOX, config, take, room)

    def _line_up(self, msg: Msg, waiting: deque[Msg]) -> None:
        waiting.append(msg)
        self._arrived.set()

    def _begin_look(self, item: OutboxItem, msg: Msg, waiting: deque[Msg]) -> None:
        """What a process began and died with was paid for: it does not wait for a day that has budget."""

        async def resume(_msg: Msg) -> None:
            await self._attempts.resume(item)

        async def look() -> None:
            try:
                begun = await self._attempts.begun(item)
            except Exception as exc:
                await self._settler.handle(partial(_fail, exc), msg)
                return
            if begun:
                await self._settler.handle(resume, msg)
            elif self._open:
                self._line_up(msg, waiting)
            else:
                await self._settler.give_back(msg, 0.0)

        task = asyncio.create_task(look())
        self._sending[task] = msg
        task.add_done_callback(self._sending.pop)

    def _most_waiting(self) -> int:
        """Of each lane. What cannot go now stays in the outbox; one is enough to find out whether it can."""
        if self._detours:
            return self._settings.concurrency  # what has no other way must not hide what has
        return self._ahead if self._breaker.state is BreakerState.CLOSED and not self.rests_for else 1

    async def _run(self) -> None:
        while True:
            await self._something()
            await self._slots.take()
            await self._pace()
            if (msg := self._next()) is None:
                self._slots.give_back()  # the day ended meanwhile, or it left by another way
            else:
                self._begin(msg)

    async def _pace(self) -> None:
        """Wait until the sender may go on; a pause that comes meanwhile is waited for too."""
        while (seconds := self._wait()) > 0:  # noqa: ASYNC110 - it is time that is waited for
            await asyncio.sleep(seconds)

    def _wait(self) -> float:
        now = self._clock()
        return max(self._pacer.wait(now), self._breaker.wait(now), self.rests_for)

    async def _something(self) -> None:
        """Wait until a message is here."""
        while not any(self._ready().values()):
            self._arrived.clear()
            await self._arrived.wait()

    def _ready(self) -> dict[Lane, int]:
        """Messages of each lane that may go; of a sender with a daily budget only where the first one fits into it."""
        return {lane: len(waiting) if self._fits(lane, waiting) else 0 for lane, waiting in self._waiting.items()}

    def _fits(self, lane: Lane, waiting: deque[Msg]) -> bool:
        return self._budget is None or (bool(waiting) and self._budget.allows(lane, amounts_of(_readable(waiting[0]))))

    async def _keep_budget(self, budget: Budget) -> None:
        while True:
            try:
                if await budget.top_up():
                    self._arrived.set()
            except StoreError as exc:
                log.warning("sender.budget_unavailable", sender=self._sender.name, why=str(exc))
            await asyncio.sleep(_BUDGET_LOOK)

    async def _keep_room(self, budget: Budget) -> None:
        """What was begun elsewhere comes through, though all that waits here waits for tomorrow.

        One place now and then is enough: what is delivered again comes before what is new.
        """
        while True:
            await asyncio.sleep(self._settings.ack_wait)
            for lane, waiting in self._waiting.items():
                if len(waiting) < self._most_waiting():
                    continue
                if seconds := budget.waits_for(lane, amounts_of(_readable(waiting[0]))):
                    await self._settler.give_back(waiting.pop(), min(seconds, _PASSED_BY))
                    self._pullers[lane].more_room()

    def _next(self) -> Msg | None:
        """The message whose turn it is; chosen as late as possible, so that an urgent one still overtakes."""
        lane = self._chooser.choose(self._ready())
        if lane is None:
            return None
        self._pullers[lane].more_room()
        return self._waiting[lane].popleft()

    def _begin(self, msg: Msg) -> None:
        item = _readable(msg)
        self._charge(item)

        async def send(msg: Msg) -> None:
            # Reading what is not readable once more says what is wrong with it, and gives it to a person.
            await self._send(item or self._read(msg))

        task = asyncio.create_task(self._settler.handle(send, msg))
        self._sending[task] = msg
        task.add_done_callback(self._ended)

    def _charge(self, item: OutboxItem | None) -> None:
        """Paid for before anything else is taken, so that a burst of tasks cannot run ahead of the rate."""
        self._breaker.sending()
        if item is not None and item.claimed:
            return  # it was paid for by whoever began it
        self._pacer.charge(cost_of(item) if item else 1, self._clock())
        if self._budget:
            self._budget.charge(amounts_of(item))

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._sending.pop(task, None)
        self._slots.give_back()

    async def _keep_detouring(self) -> None:
        """While the provider is down, what another one can take does not wait for it."""
        while True:
            await asyncio.sleep(_DETOUR_LOOK)
            if self._breaker.state is BreakerState.CLOSED:
                self._detours = False
                continue
            down = ProviderDownError(f"not asked: it has not answered lately ({self._breaker.why})")
            for lane, waiting in self._waiting.items():
                leaving = [(msg, item) for msg in waiting if (item := self._with_detour(msg, down))]
                for msg, item in leaving:
                    waiting.remove(msg)
                    self._begin_detour(item, down, msg)
                if leaving:
                    self._detours = True
                    self._pullers[lane].more_room()

    def _with_detour(self, msg: Msg, down: ProviderDownError) -> OutboxItem | None:
        item = _readable(msg)
        return item if item is not None and self._attempts.has_detour(item, down) else None

    def _begin_detour(self, item: OutboxItem, down: ProviderDownError, msg: Msg) -> None:
        async def leave(_msg: Msg) -> None:
            await self._attempts.make(item, instead=down)

        task = asyncio.create_task(self._settler.handle(leave, msg))
        self._sending[task] = msg
        task.add_done_callback(self._sending.pop)

    def _read(self, msg: Msg) -> OutboxItem:
        try:
            return item_of(msg)
        except BaseException:
            self._breaker.not_sent()
            raise

    async def _send(self, item: OutboxItem) -> None:
        try:
            outcome = await self._attempts.make(item)
        except LaterError:
            self._not_sent(item)
            raise
        except BaseException:
            self._breaker.not_sent()
            raise
        if outcome is None:
            self._not_sent(item)
        else:
            await self._heed(outcome)

    def _not_sent(self, item: OutboxItem) -> None:
        self._breaker.not_sent()
        if self._budget and not item.claimed:
            self._budget.refund(amounts_of(item))

    async def _heed(self, outcome: SendReceipt | SendError) -> None:
        """What the provider's answer means for the messages that wait."""
        if self._breaker.heard(outcome, self._clock()):
            log.warning("sender.breaker", sender=self._sender.name, state=self._breaker.state, why=self._breaker.why)
            for puller in self._pullers.values():
                puller.more_room()
        if isinstance(outcome, ProviderThrottledError):
            seconds = outcome.retry_after or _PAUSE_WITHOUT_HINT
            self._pacer.pause(self._clock() + seconds)
            try:
                await self._rests.begin(self._sender.name, seconds, outcome.provider_code)
            except StoreError as exc:
                log.warning("sender.rest_not_stored", sender=self._sender.name, why=str(exc))

    async def _stay_alive(self) -> None:
        """What is held longer than `ack_wait` would be given to somebody else."""
        while True:
            await asyncio.sleep(self._settings.ack_wait / 3)
            held = [*self._sending.values(), *(msg for waiting in self._waiting.values() for msg in waiting)]
            for msg in held:
                await self._settler.still_working(msg)


async def _fail(why: Exception, _msg: Msg) -> None:
    raise why


def _readable(msg: Msg) -> OutboxItem | None:
    """What the message holds, read once for all that is done with it; None where it cannot be read."""
    try:
        item = item_of(msg)
        content_of(item.notification, item.chosen)
    except Exception:
        return None
    return item


def amounts_of(item: OutboxItem | None) -> Amounts:
    """What a message takes of its sender's daily budget."""
    return {"messages": 1, "segments": cost_of(item) if item else 1}


def cost_of(item: OutboxItem) -> int:
    """What a message takes of its sender's rate: segments of a text, else one."""
    content = content_of(item.notification, item.chosen)
    if item.chosen.channel == SMS and isinstance(content, Text):
        return count_segments(content.body)
    return 1
