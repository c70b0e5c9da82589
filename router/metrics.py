"""What Prometheus may ask: counted where it happens, rendered when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from router.breaker import BreakerState

REGISTRY = CollectorRegistry()

EVENTS = Counter("pointsman_events", "Delivery events appended", ["status", "channel"], registry=REGISTRY)
CALLBACKS = Counter("pointsman_callbacks", "Status callbacks by what became of them", ["outcome"], registry=REGISTRY)
INBOUND = Counter("pointsman_inbound", "Inbound messages", ["channel", "keyword"], registry=REGISTRY)
DEAD_LETTERS = Counter("pointsman_dead_letters", "Events kept for a person", ["stage", "reason"], registry=REGISTRY)
WEBHOOKS = Counter("pointsman_webhooks", "Webhook requests by answer", ["kind", "status"], registry=REGISTRY)


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


class QueueCollector:
    """Reads the queues when it is asked: what nobody looks at costs nothing."""

    def __init__(self, queues: Mapping[str, Queue]) -> None:
        self._queues = queues

    def collect(self) -> list[Metric]:
        """Gauges of every sender that this router paces."""
        depth = GaugeMetricFamily("pointsman_sender_fetched", "Fetched and not begun", labels=["sender", "lane"])
        flight = GaugeMetricFamily("pointsman_sender_in_flight", "Attempts under way", labels=["sender"])
        breaker = GaugeMetricFamily("pointsman_sender_breaker_open", "1 while the sender is stopped", labels=["sender"])
        for name, queue in self._queues.items():
            for lane, count in queue.depth.items():
                depth.add_metric([name, lane], count)
            flight.add_metric([name], queue.in_flight)
            breaker.add_metric([name], float(queue.breaker is not BreakerState.CLOSED))
        return [depth, flight, breaker]


def render(queues: Mapping[str, Queue]) -> tuple[str, bytes]:
    """Content type and body."""
    registry = CollectorRegistry()
    registry.register(QueueCollector(queues))
    return CONTENT_TYPE_LATEST, generate_latest(REGISTRY) + generate_latest(registry)
