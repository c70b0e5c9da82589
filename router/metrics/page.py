"""The page that Prometheus reads: what was counted, and what is asked for at that moment."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Protocol

from nats.aio.client import Client
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from router.breaker import BreakerState
from router.metrics import REGISTRY
from router.metrics.backlog import Backlog, Reading

_OWN = CollectorRegistry()
ProcessCollector(registry=_OWN)


class Queue(Protocol):
    """What is shown of one sender's queue."""

    @property
    def depth(self) -> Mapping[str, int]:
        """Messages fetched and not begun, by lane."""

    @property
    def in_flight(self) -> int:
        """Attempts under way."""

    @property
    def breaker(self) -> BreakerState:
        """Whether messages may go."""

    @property
    def left_today(self) -> Mapping[str, int]:
        """What may still be sent today, by unit; empty where there is no cap."""

    @property
    def rests_for(self) -> float:
        """Seconds for which the provider wants silence yet."""


@dataclass(frozen=True, slots=True)
class Page:
    """`GET /metrics` of one router."""

    queues: Mapping[str, Queue]
    backlog: Backlog
    client: Client
    policy: Callable[[], str]  #: version of the policy that decides now

    async def render(self) -> tuple[str, bytes]:
        """Content type and body."""
        registry = CollectorRegistry()
        registry.register(_Asked([*self._about(), *self._own_queues(), *_waiting(await self.backlog.read())]))
        return CONTENT_TYPE_LATEST, b"".join(generate_latest(each) for each in (REGISTRY, registry, _OWN))

    def _about(self) -> Iterator[Metric]:
        nats = self.client
        connected = nats.is_connected
        server = str(nats.connected_server_version) if connected else ""
        yield _info("pointsman_build", version=version("pointsman"), python=platform.python_version(), nats=server)
        yield _info("pointsman_policy", version=self.policy())
        yield GaugeMetricFamily("pointsman_nats_connected", "1 while connected to NATS", float(connected))
        reconnects = CounterMetricFamily("pointsman_nats_reconnects", "Connections made anew", nats.stats["reconnects"])
        yield reconnects

    def _own_queues(self) -> Iterator[Metric]:
        """Of every sender that this router paces."""
        fetched = GaugeMetricFamily("pointsman_sender_fetched", "Fetched and not begun", labels=["sender", "lane"])
        flight = GaugeMetricFamily("pointsman_sender_in_flight", "Attempts under way", labels=["sender"])
        breaker = GaugeMetricFamily(
            "pointsman_sender_breaker", "1 for the state that the breaker is in", labels=["sender", "state"]
        )
        rests = GaugeMetricFamily(
            "pointsman_sender_rests_seconds", "For how long the provider wants silence yet", labels=["sender"]
        )
        left = GaugeMetricFamily("pointsman_sender_left_today", "Of a daily cap", labels=["sender", "unit"])
        for name, queue in self.queues.items():
            rests.add_metric([name], queue.rests_for)
            for unit, amount in queue.left_today.items():
                left.add_metric([name, unit], amount)
            for lane, count in queue.depth.items():
                fetched.add_metric([name, lane], count)
            flight.add_metric([name], queue.in_flight)
            for state in BreakerState:
                breaker.add_metric([name, state.value], float(queue.breaker is state))
        yield from (fetched, flight, breaker, rests, left)


def _info(name: str, **labels: str) -> Metric:
    family = GaugeMetricFamily(f"{name}_info", "Always 1; the labels say it", labels=list(labels))
    family.add_metric(list(labels.values()), 1.0)
    return family


def _waiting(reading: Reading) -> Iterator[Metric]:
    """The same whichever router is asked."""
    yield GaugeMetricFamily("pointsman_backlog_read", "1 when NATS answered what follows", float(reading.complete))
    messages = GaugeMetricFamily("pointsman_stream_messages", "Messages in a stream", labels=["stream"])
    size = GaugeMetricFamily("pointsman_stream_bytes", "Bytes in a stream", labels=["stream"])
    for name, stream in (reading.streams or {}).items():
        messages.add_metric([name], stream.messages)
        size.add_metric([name], stream.bytes)
    yield from (messages, size)
    yield from _consumers(reading)
    yield from _queues(reading)
    text = "Dead letters that nobody has dealt with"
    yield GaugeMetricFamily("pointsman_dead_letters_open", text, reading.open_letters)
    text = "Attempts of unknown outcome that are to be looked into"
    yield GaugeMetricFamily("pointsman_attempts_unknown", text, reading.unknown)


def _consumers(reading: Reading) -> Iterator[Metric]:
    labels = ["stream", "consumer"]
    pending = GaugeMetricFamily("pointsman_consumer_pending", "Not delivered to a durable consumer yet", labels=labels)
    unsettled = GaugeMetricFamily("pointsman_consumer_unsettled", "Delivered and not acknowledged", labels=labels)
    again = GaugeMetricFamily("pointsman_consumer_redelivered", "Of those, delivered more than once", labels=labels)
    for each in reading.consumers:
        place = [each.stream, each.name]
        pending.add_metric(place, each.pending)
        unsettled.add_metric(place, each.unsettled)
        again.add_metric(place, each.redelivered)
    yield from (pending, unsettled, again)


def _queues(reading: Reading) -> Iterator[Metric]:
    labels = ["sender", "lane"]
    depth = GaugeMetricFamily("pointsman_queue_messages", "Waiting for a sender, in flight included", labels=labels)
    age = GaugeMetricFamily("pointsman_queue_oldest_seconds", "How long the oldest has been waiting", labels=labels)
    for each in reading.queues:
        depth.add_metric([each.sender, each.lane], each.messages)
        age.add_metric([each.sender, each.lane], each.oldest)
    yield from (depth, age)


class _Asked:
    """Metrics that were gathered for this page."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> list[Metric]:
        return self._metrics
