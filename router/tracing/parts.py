"""The parts of the router that traces are made of: each does what the plain one does, inside a span."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from channels.errors import ProviderDownError, SendError
from channels.model import SendReceipt, StatusReport
from router import subjects
from router.attempts import Attempts
from router.events import Happening
from router.intake import Intake
from router.ledger import ConflictError, Ledger
from router.outbox import TRACEPARENT, OutboxItem
from router.received import Received
from router.story import About, Snapshot, Story
from router.tracing import Attributes, Tracing, is_sampled
from router.tracking import Outcome, Tracking

if TYPE_CHECKING:
    from opentelemetry.trace import Span


class TracedLedger(Ledger):
    """Each delivery event is a span."""

    def __init__(self, *args: Any, tracing: Tracing, **options: Any) -> None:
        super().__init__(*args, **options)
        self._tracing = tracing

    async def append(self, about: About, happening: Happening, snapshot: Snapshot, *, after: int) -> Story:
        """As the ledger does."""
        if not is_sampled(about.traceparent):
            return await super().append(about, happening, snapshot, after=after)
        attributes: Attributes = {
            "pointsman.source": about.source,
            "pointsman.notification_id": about.notification_id,
            "pointsman.status": happening.status,
            "pointsman.channel": happening.channel,
            "pointsman.attempt": happening.attempt,
            "pointsman.reason": happening.reason.value if happening.reason else "",
        }
        with self._tracing.append(about.traceparent, happening.status, attributes) as span:
            try:
                return await super().append(about, happening, snapshot, after=after)
            except ConflictError:
                span.set_attribute("pointsman.overtaken", value=True)
                raise


class TracedIntake(Intake):
    """Routing is a span, and where the publisher began no trace, one may begin here."""

    def __init__(self, *, tracing: Tracing, **parts: Any) -> None:
        super().__init__(**parts)
        self._tracing = tracing

    async def take(self, received: Received) -> None:
        """As intake does."""
        given = received.headers.get(TRACEPARENT)
        attributes = {"pointsman.source": subjects.source_of(received.subject)}
        with self._tracing.route(given, attributes) as traceparent:
            if traceparent is not None and given is None:
                received = replace(received, headers={**received.headers, TRACEPARENT: traceparent})
            await super().take(received)


@dataclass(frozen=True)
class TracedAttempts(Attempts):
    """Each attempt is a span."""

    tracing: Tracing = field(kw_only=True)

    async def make(self, item: OutboxItem, instead: ProviderDownError | None = None) -> SendReceipt | SendError | None:
        """As attempts are made."""
        if not is_sampled(item.traceparent):
            return await super().make(item, instead)
        attributes: Attributes = {
            "pointsman.source": item.source,
            "pointsman.notification_id": item.notification_id,
            "pointsman.channel": item.chosen.channel,
            "pointsman.sender": item.chosen.sender,
            "pointsman.attempt": item.attempt,
        }
        with self.tracing.send(item.traceparent, attributes) as span:
            outcome = await super().make(item, instead)
            if isinstance(outcome, SendError):
                _failed(span, outcome)
            return outcome


def _failed(span: Span, error: SendError) -> None:
    from opentelemetry.trace import StatusCode  # noqa: PLC0415 - an extra: only where traces are on

    span.set_status(StatusCode.ERROR)
    span.set_attribute("error.type", error.error_class)
    span.set_attribute("pointsman.provider_code", str(error.provider_code or ""))


@dataclass(frozen=True)
class TracedTracking(Tracking):
    """Each status callback that is news is a span."""

    tracing: Tracing = field(kw_only=True)

    async def record(self, report: StatusReport) -> Outcome:
        """As tracking does."""
        attributes = {"pointsman.provider": report.provider, "pointsman.provider_status": report.provider_status}
        with self.tracing.late("pointsman.callback", attributes):
            return await super().record(report)
