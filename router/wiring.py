"""The composition root: the one place that names concrete classes. Each part is made when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.metadata import version
from typing import TypeVar

from channels.model import Sender
from policies.engine import Policy
from policies.retry import RetrySettings
from policies.senders import channels_with_equals
from router import topology
from router.advisories import Advisories
from router.archive import Archive
from router.attempts import Attempts
from router.attribution import Attribution
from router.cancel import Cancel
from router.caps import Caps, Returns
from router.clock import utc_now
from router.consent import ConsentKeeper
from router.consent_ledger import Consent
from router.console.feed import Feed
from router.console.following import LogSearch
from router.console.office import Office
from router.deadletters import DeadLetters
from router.dispatch import Dispatch
from router.follow_up import FollowUp
from router.hashing import Hasher
from router.holding import Holding
from router.http import WebhookApp
from router.inbound import Inbound
from router.intake import HEADROOM, Intake
from router.jetstream import JetStream
from router.leases import Presence
from router.ledger import Ledger
from router.metrics import Observer
from router.metrics.backlog import Backlog
from router.metrics.page import Page
from router.moves import Mover
from router.orphans import Orphans
from router.outbox import Outbox
from router.owners import Owners
from router.providers import Providers
from router.reach import Reach
from router.recipients import Recipients, Sessions
from router.reconcile import Reconcile
from router.replay import Replay
from router.resting import Rests, rests_of
from router.returning import Returning
from router.services import Desk
from router.services.cancel import CancelDesk
from router.services.dead_letters import DeadLetterDesk
from router.services.decisions import DecisionDesk
from router.services.recipients import RecipientDesk
from router.settings import Settings
from router.silence import Silence
from router.stickiness import Stickiness
from router.stranded import Stranded
from router.strays import Strays
from router.stuck import Stuck
from router.timers import Timers
from router.tracing import Tracing
from router.tracing.parts import TracedAttempts, TracedIntake, TracedLedger, TracedTracking
from router.tracking import Tracking
from router.waits import Waits
from router.waking import Waking
from router.workers import Settler

T = TypeVar("T")


@dataclass
class Parts:
    """Everything a router is made of, from what the outside gives it."""

    settings: Settings
    js: JetStream
    providers: Providers
    policy: Callable[[], Policy]
    hasher: Hasher
    instance: str
    tracing: Tracing | None = None

    @cached_property
    def senders(self) -> Mapping[str, Sender]:
        return {each.name: each.as_sender() for each in self.settings.senders}

    def _traced(self, plain: Callable[..., T], traced: Callable[..., T]) -> Callable[..., T]:
        """The plain part, unless traces are on."""
        return plain if self.tracing is None else partial(traced, tracing=self.tracing)

    # What is known and kept.

    def bucket(self, name: str) -> str:
        return self.settings.streams.bucket_prefix + name

    @cached_property
    def ledger(self) -> Ledger:
        return self._traced(Ledger, TracedLedger)(self.js, utc_now, self.instance, Observer().appended)

    @cached_property
    def archive(self) -> Archive:
        return Archive(self.js)

    @cached_property
    def outbox(self) -> Outbox:
        return Outbox(self.js)

    @cached_property
    def timers(self) -> Timers:
        return Timers(self.js)

    @cached_property
    def dead_letters(self) -> DeadLetters:
        kept = self.settings.streams.deadletters_max_age * 86_400
        return DeadLetters(self.js, utc_now, self.bucket(topology.DEADLETTERS), kept)

    @cached_property
    def consent(self) -> Consent:
        return Consent(self.js, self.settings.streams.bucket_prefix, self.hasher)

    @cached_property
    def sessions(self) -> Sessions:
        prefix = self.settings.streams.bucket_prefix
        return Sessions(self.js, prefix, self.hasher, self.settings.sessions, utc_now)

    @cached_property
    def reach(self) -> Reach:
        prefix, channels = self.settings.streams.bucket_prefix, tuple(self.providers.installed.names)
        return Reach(self.js, prefix, self.hasher, channels, self.settings.reach, utc_now)

    @cached_property
    def stickiness(self) -> Stickiness:
        prefix, settings = self.settings.streams.bucket_prefix, self.settings.stickiness
        channels = channels_with_equals(tuple(self.senders.values()), self.providers.installed.names)
        return Stickiness(self.js, prefix, self.hasher, channels, settings, utc_now)

    @cached_property
    def recipients(self) -> Recipients:
        return Recipients(self.consent, self.sessions, self.reach, self.stickiness, self.senders.values())

    @cached_property
    def caps(self) -> Caps:
        return Caps(self.js, self.settings.streams.bucket_prefix, self.hasher, utc_now)

    @cached_property
    def consent_keeper(self) -> ConsentKeeper:
        return ConsentKeeper(self.consent, self.settings.consent, self.senders, utc_now)

    @cached_property
    def attribution(self) -> Attribution:
        return Attribution(self.js, self.bucket(topology.ATTRIBUTIONS))

    @cached_property
    def owners(self) -> Owners:
        return Owners(self.ledger, self.archive, self.attribution, self.dead_letters, utc_now)

    @cached_property
    def mover(self) -> Mover:
        return Mover(RetrySettings(**self.settings.retry.model_dump()), utc_now)

    # The way of a notification, in its order.

    @cached_property
    def intake(self) -> Intake:
        return self._traced(Intake, TracedIntake)(
            ledger=self.ledger,
            outbox=self.outbox,
            at_once=self.dispatch.at_once,
            timers=self.timers,
            dead_letters=self.dead_letters,
            recipients=self.recipients,
            caps=self.caps,
            policy=self.policy,
            channels=self.providers.installed.names,
            clock=utc_now,
            max_body=self.js.client.max_payload - HEADROOM,
            kept=self.settings.streams.kept,
        )

    @cached_property
    def presence(self) -> Presence:
        bucket = self.bucket(topology.SENDERS)
        return Presence(self.js, bucket, self.instance, self.settings.dispatch.lease, self.senders, self._tells)

    def _tells(self) -> Mapping[str, object]:
        """What every console shows of this router."""
        queues = {name: queue.as_dict() for name, queue in self.dispatch.queues.items()}
        return {"version": version("pointsman"), "policy": self.policy().version, "queues": queues}

    @cached_property
    def holding(self) -> Holding:
        return Holding(self.ledger, self.timers, self.policy, utc_now)

    @cached_property
    def attempts(self) -> Attempts:
        return self._traced(Attempts, TracedAttempts)(
            ledger=self.ledger,
            channels=self.providers.channels,
            senders=self.senders,
            recipients=self.recipients,
            consent=self.consent_keeper,
            hasher=self.hasher,
            mover=self.mover,
            clock=utc_now,
            presence=self.presence,
            holding=self.holding,
            silence=self.silence,
            owners=self.owners,
            timeout=self.settings.dispatch.timeout,
        )

    @cached_property
    def rests(self) -> Rests:
        return rests_of(self.js, self.settings.streams.bucket_prefix, utc_now)

    @cached_property
    def waits(self) -> Waits:
        return Waits(self.js, self.bucket(topology.SENDERS), self.senders, self.rests, utc_now)

    @cached_property
    def dispatch(self) -> Dispatch:
        return Dispatch(
            js=self.js,
            senders=self.senders,
            attempts=self.attempts,
            settler=Settler(self.js, self.dead_letters, "dispatch"),
            settings=self.settings.dispatch,
            bucket=self.bucket(topology.SENDERS),
            instance=self.instance,
            presence=self.presence,
            rests=self.rests,
        )

    @cached_property
    def strays(self) -> Strays:
        return Strays(self.js, self.intake, self.dead_letters)

    @cached_property
    def orphans(self) -> Orphans:
        return Orphans(
            js=self.js,
            senders=self.senders,
            intake=self.intake,
            attempts=self.attempts,
            settler=Settler(self.js, self.dead_letters, "dispatch"),
            settings=self.settings.dispatch,
            bucket=self.bucket(topology.SENDERS),
        )

    @cached_property
    def tracking(self) -> Tracking:
        learns = (self.consent_keeper, self.reach, self.sessions, self.silence, self.rests, self.owners)
        return self._traced(Tracking, TracedTracking)(self.ledger, self.hasher, self.mover, *learns, utc_now)

    @cached_property
    def inbound(self) -> Inbound:
        return Inbound(
            js=self.js,
            senders=self.senders.values(),
            consent=self.consent_keeper,
            sessions=self.sessions,
            reach=self.reach,
            settings=self.settings.inbound,
            clock=utc_now,
            words=self.settings.consent.words,
        )

    def webhooks(self, draining: Callable[[], bool]) -> WebhookApp:
        return WebhookApp(self.providers.webhooks, self.tracking, self.inbound, self.settings.http.max_body, draining)

    # What happens when something went wrong, or later.

    @cached_property
    def reconcile(self) -> Reconcile:
        return Reconcile(
            ledger=self.ledger,
            archive=self.archive,
            timers=self.timers,
            dead_letters=self.dead_letters,
            attribution=self.attribution,
            owners=self.owners,
            silence=self.silence,
            channels=self.providers.channels,
            senders=self.senders,
            hasher=self.hasher,
            policy=self.policy,
            settings=self.settings.reconcile,
            attempts_per_step=self.settings.retry.attempts,
            timeout=self.settings.dispatch.timeout,
            clock=utc_now,
        )

    @cached_property
    def silence(self) -> Silence:
        return Silence(self.ledger, self.archive, self.timers, self.providers.channels, utc_now)

    @cached_property
    def follow_up(self) -> FollowUp:
        return FollowUp(self.ledger, self.archive, self.outbox, self.timers, self.reconcile, self.silence, utc_now)

    @cached_property
    def returns(self) -> Returning:
        return Returning(self.js, self.dead_letters, self.given_back, self.settings.dispatch)

    @cached_property
    def given_back(self) -> Returns:
        return Returns(self.caps, self.policy)

    @cached_property
    def waking(self) -> Waking:
        return Waking(self.intake, self.outbox, self.reconcile, self.silence)

    @cached_property
    def stuck(self) -> Stuck:
        channels, settings = self.providers.channels, self.settings.tracking
        known = (self.ledger, self.tracking, channels, self.hasher, settings, utc_now)
        return Stuck(*known, self.timers, self.dead_letters)

    @cached_property
    def advisories(self) -> Advisories:
        streams = frozenset(plan.name for plan in topology.streams(self.settings))
        return Advisories(self.js, self.dead_letters, streams)

    @cached_property
    def stranded(self) -> Stranded:
        return Stranded(self.js, self.advisories)

    # What people ask.

    def office(self, notes: Callable[[], Mapping[str, str]], unapproved: Callable[[], Sequence[str]]) -> Office:
        """What the console is drawn from; whoever starts it starts its follower too."""
        feed = Feed(self.settings.console.events)
        return Office(
            js=self.js,
            feed=feed,
            search=LogSearch(self.js, feed),
            backlog=self.backlog,
            presence=self.presence,
            consent=self.consent,
            sessions=self.sessions,
            senders=self.senders,
            answers={name: answer for desk in self.desks for name, answer in desk.endpoints().items()},
            stuck_after=self.settings.tracking.stuck_after,
            actions=self.settings.console.allow_actions,
            notes=notes,
            unapproved=unapproved,
        )

    @cached_property
    def backlog(self) -> Backlog:
        return Backlog(self.js, self.dead_letters, self.bucket(topology.DEADLETTERS), list(self.senders))

    @cached_property
    def metrics(self) -> Page:
        return Page(self.dispatch.queues, self.backlog, self.js.client, lambda: self.policy().version)

    @cached_property
    def replay(self) -> Replay:
        handlers = (self.intake, self.follow_up, self.reconcile, self.stuck, self.given_back)
        return Replay(self.js, self.dead_letters, *handlers)

    @cached_property
    def desks(self) -> Sequence[Desk]:
        return (
            DecisionDesk(
                self.js,
                self.recipients,
                self.caps,
                self.providers.installed.names,
                self.policy,
                utc_now,
                self.waits,
                self.settings.streams.kept,
            ),
            DeadLetterDesk(self.js, self.dead_letters, self.replay),
            RecipientDesk(self.recipients, self.senders, frozenset(self.providers.installed.names), utc_now),
            CancelDesk(Cancel(self.ledger, self.providers.channels, utc_now)),
        )
