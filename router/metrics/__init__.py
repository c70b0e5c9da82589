"""What is counted for Prometheus, where it happens.

What has to be asked for is read when Prometheus asks: `router.metrics.backlog`, `router.metrics.page`.

Nothing here costs a round trip, and labels are few: channels and senders are those of the configuration, classes and
reasons are closed sets, and sources beyond the first hundred count as "other".
"""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, Gauge, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from channels.reasons import Reason
from router.events import Happening
from router.story import About, Snapshot

REGISTRY = CollectorRegistry()
# When a series began is of no use to anybody, and would be every third line.
disable_created_metrics()  # type: ignore[no-untyped-call] # as the library has it

#: Sources that are counted by name; publishers can make up as many as they like.
_SOURCES = 100
_OTHER = "other"

#: Seconds. A router alone takes milliseconds; carriers and phones that are switched off take hours.
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 21600)
#: Seconds of one call of a provider, which times out after ten by default.
_CALL = (0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 3, 5, 10, 15)


class Counted(Collector):
    """Plain numbers, made into what Prometheus reads when it asks: its own counters lock and look up each time."""

    on = True  #: of all of them: whether anything is counted in this process

    def __init__(self, name: str, text: str, *labels: str) -> None:
        self._name, self._text, self._labels = name, text, labels
        REGISTRY.register(self)


class Count(Counted):
    """How often something happened."""

    def __init__(self, name: str, text: str, *labels: str) -> None:
        self._counts: dict[tuple[str, ...], int] = {}
        super().__init__(name, text, *labels)

    def inc(self, *labels: str) -> None:
        """One more."""
        if Counted.on:
            self._counts[labels] = self._counts.get(labels, 0) + 1

    def collect(self) -> Iterator[Metric]:
        """For the registry."""
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for labels, count in self._counts.items():
            family.add_metric([str(label) for label in labels], count)
        yield family


class Sizes(Counted):
    """How large something was: a histogram."""

    def __init__(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> None:
        self._buckets = buckets
        self._counts: dict[tuple[str, ...], list[int]] = {}  #: for each bucket and the rest, not added up
        self._sums: dict[tuple[str, ...], float] = {}
        super().__init__(name, text, *labels)

    def observe(self, value: float, *labels: str) -> None:
        """One more of this size."""
        if not Counted.on:
            return
        counts = self._counts.get(labels)
        if counts is None:
            counts = self._counts[labels] = [0] * (len(self._buckets) + 1)
            self._sums[labels] = 0.0
        counts[bisect_left(self._buckets, value)] += 1
        self._sums[labels] += value

    def collect(self) -> Iterator[Metric]:
        """For the registry."""
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        bounds = [floatToGoString(bound) for bound in (*self._buckets, math.inf)]  # type: ignore[no-untyped-call]
        for labels, counts in self._counts.items():
            buckets = list(zip(bounds, accumulate(counts), strict=True))
            family.add_metric([str(label) for label in labels], buckets, self._sums[labels])
        yield family


NOTIFICATIONS = Count("pointsman_notifications", "Decisions about notifications", "source", "lane", "decision")
EVENTS = Count("pointsman_events", "Delivery events appended", "status", "channel")
ATTEMPTS = Count("pointsman_attempts", "Attempts begun", "channel", "sender")
OUTCOMES = Count("pointsman_outcomes", "What attempts came to, step by step", "channel", "sender", "status", "class")
RESOLVED = Count("pointsman_unknown_resolved", "Unknown outcomes that were resolved, by what", "by")
ELAPSED = Sizes(
    "pointsman_notification_seconds",
    "From its publication, or from waking where it was deferred, until it was routed, handed over, delivered",
    _BUCKETS,
    "stage",
    "lane",
)
PROVIDER = Sizes("pointsman_provider_seconds", "The provider's answer to one call", _CALL, "channel", "sender")
CALLBACKS = Count("pointsman_callbacks", "Status callbacks by what became of them", "outcome")
INBOUND = Count("pointsman_inbound", "Inbound messages", "channel", "keyword")
DEAD_LETTERS = Count("pointsman_dead_letters", "Events kept for a person", "stage", "reason")
WEBHOOKS = Count("pointsman_webhooks", "Webhook requests by answer", "kind", "status")
READY = Gauge("pointsman_ready", "1 while /readyz answers 200; looked at every two seconds", registry=REGISTRY)
STORE_FAILURES = Count("pointsman_store_failures", "Events that NATS did not take", "kind")
POLICY_REFUSED = Gauge("pointsman_policy_refused", "1 while a newer document is refused", registry=REGISTRY)
POLICY_RELOADS = Count("pointsman_policy_reloads", "Policies that were read again", "outcome")

DECISIONS = frozenset({"routed", "deferred", "suppressed", "rejected", "expired"})
_OUTCOMES = frozenset(
    {"accepted", "queued", "sent", "delivered", "read", "undelivered", "failed", "canceled", "unknown"}
)
_STAGES = {"routed": "routed", "accepted": "handed_over", "delivered": "delivered"}
_RESOLUTIONS = {
    Reason.RESOLVED_BY_CALLBACK: "callback",
    Reason.RESOLVED_BY_SEARCH: "search",
    Reason.RESOLVED_BY_PERSON: "person",
    Reason.NOT_FOUND: "on_unknown",
}


class Names:
    """The first so many names; whatever comes after them is "other"."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()

    def of(self, name: str) -> str:
        """The name to count under."""
        if name in self._known:
            return name
        if len(self._known) >= self._most:
            return _OTHER
        self._known.add(name)
        return name


class Observer:
    """Counts delivery events as they are appended: nearly everything that happens to a notification is one."""

    def __init__(self, clock: Callable[[], float] = time.time, sources: int = _SOURCES) -> None:
        self._clock = clock
        self._sources = Names(sources)

    def appended(self, about: About, happening: Happening, snapshot: Snapshot) -> None:
        """One event more stands in the log."""
        if not Counted.on:
            return
        status = happening.status
        EVENTS.inc(status, happening.channel)
        if stage := _STAGES.get(status):
            self._elapsed(stage, about.lane, snapshot)
        if status == "sending":
            ATTEMPTS.inc(happening.channel, happening.sender or "")
        elif status in _OUTCOMES:
            error = happening.error.error_class if happening.error else ""
            OUTCOMES.inc(happening.channel, happening.sender or "", status, error)
        elif status in DECISIONS:
            NOTIFICATIONS.inc(self._sources.of(about.source), about.lane, status)
        if happening.reason is not None and (by := _RESOLUTIONS.get(happening.reason)):
            RESOLVED.inc(by)

    def _elapsed(self, stage: str, lane: str, snapshot: Snapshot) -> None:
        """Clocks of several machines are compared here, so less than nothing counts as nothing."""
        if snapshot.published:
            ELAPSED.observe(max(0.0, self._clock() - snapshot.published), stage, lane)
