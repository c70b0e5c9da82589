"""Which spans there are, below which, and what they hold; none where nobody asked."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from channels.model import AttemptRef, NotificationId, ProviderMessageId, StatusReport
from channels.status import DeliveryStatus
from router.events import Happening
from router.intake import Intake
from router.ledger import ConflictError
from router.outbox import TRACEPARENT
from router.settings import TelemetrySettings
from router.story import About, Attempt, Snapshot
from router.tracing import is_sampled
from router.tracing.exporting import open_tracing
from router.tracing.parts import TracedIntake, TracedLedger, TracedTracking
from tests.factories import NOW
from tests.router.parts import HASHER, Parts, now, received

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{CALLER}-01", f"00-{TRACE}-{CALLER}-00"
TEXT, TO = "your parcel is on its way", "+12025550123"


class Traced:
    """Parts whose spans end up in memory."""

    def __init__(self, share: float = 0.0) -> None:
        self._exporter = InMemorySpanExporter()
        self.tracing, self._close = open_tracing(TelemetrySettings(share=share), "tests", self._exporter)
        self.parts = Parts()
        self.parts.ledger = TracedLedger(self.parts.store, now, "tests", tracing=self.tracing)

    async def spans(self) -> list[ReadableSpan]:
        await self._close()
        return list(self._exporter.get_finished_spans())

    def intake(self) -> Intake:
        return self.parts.intake(made=partial(TracedIntake, tracing=self.tracing))


def tree(spans: list[ReadableSpan]) -> dict[str, str]:
    """Name of each span -> name of what it stands below; the publisher is called by its id."""
    names = {span.context.span_id: span.name for span in spans if span.context}
    parents = {span.name: span.parent.span_id if span.parent else 0 for span in spans}
    return {name: names.get(parent, f"{parent:016x}" if parent else "") for name, parent in parents.items()}


def a_body() -> bytes:
    return json.dumps({"id": "n1", "to": TO, "content": {"text": TEXT}}).encode()


async def take(traced: Traced, traceparent: str | None) -> None:
    headers = {TRACEPARENT: traceparent} if traceparent else {}
    await traced.intake().take(replace(received(a_body()), headers=headers))


async def test_routing_stands_below_the_publisher_and_its_event_below_routing() -> None:
    traced = Traced()
    await take(traced, SAMPLED)
    spans = await traced.spans()
    assert tree(spans) == {"pointsman.route": CALLER, "pointsman.event routed": "pointsman.route"}
    assert {f"{span.context.trace_id:032x}" for span in spans if span.context} == {TRACE}


@pytest.mark.parametrize("traceparent", [None, UNSAMPLED, "00-nonsense", f"00-{TRACE}-{CALLER}"])
async def test_what_nobody_sampled_makes_no_span(traceparent: str | None) -> None:
    traced = Traced()
    await take(traced, traceparent)
    assert await traced.spans() == []
    assert traced.parts.store.statuses() == ["routed"]


async def test_what_comes_without_a_trace_may_begin_one_and_takes_it_along() -> None:
    traced = Traced(share=1.0)
    await take(traced, None)
    spans = await traced.spans()
    assert tree(spans) == {"pointsman.route": "", "pointsman.event routed": "pointsman.route"}
    route = next(span for span in spans if span.name == "pointsman.route")
    assert route.context
    (event,) = traced.parts.store.stream("DELIVERIES")
    (item,) = traced.parts.store.stream("OUTBOX")
    carried = event.headers[TRACEPARENT]
    assert carried.startswith(f"00-{route.context.trace_id:032x}-{route.context.span_id:016x}-")
    assert is_sampled(carried)
    assert item.headers[TRACEPARENT] == carried


async def test_a_publisher_who_does_not_sample_is_not_overruled() -> None:
    traced = Traced(share=1.0)
    await take(traced, UNSAMPLED)
    assert await traced.spans() == []


async def test_a_callback_stands_below_the_publisher_and_holds_what_it_led_to() -> None:
    traced = Traced()
    await take(traced, SAMPLED)
    parts = traced.parts
    story = await parts.ledger.read("shop", "n1")
    assert story.about
    claim = story.snapshot.with_attempt(Attempt(1, 0, DeliveryStatus.SENDING, 0))
    await parts.ledger.append(story.about, Happening("sending", NOW, attempt=1), claim, after=story.sequence)
    tracking = TracedTracking(
        parts.ledger,
        HASHER,
        parts.mover,
        parts.keeper,
        parts.reach,
        parts.sessions,
        parts.silence,
        parts.rests,
        parts.owners,
        now,
        tracing=traced.tracing,
    )
    await tracking.record(a_report("delivered"))
    await tracking.record(a_report("sent"))  # late: appended nowhere, so there is nothing to show
    spans = await traced.spans()
    assert [span.name for span in spans].count("pointsman.callback") == 1
    shown = tree(spans)
    assert shown["pointsman.callback"] == CALLER
    assert shown["pointsman.event accepted"] == shown["pointsman.event delivered"] == "pointsman.callback"


async def test_spans_hold_nothing_personal() -> None:
    traced = Traced()
    await take(traced, SAMPLED)
    said = str([(span.name, dict(span.attributes or {}), span.events) for span in await traced.spans()])
    assert "n1" in said
    assert TO not in said
    assert TEXT not in said


async def test_an_event_that_came_second_says_so() -> None:
    traced = Traced()
    about = About("shop", "n1", "normal", None, None, {}, SAMPLED)
    await traced.parts.ledger.append(about, Happening("routed", NOW), Snapshot("f", 1), after=0)
    with pytest.raises(ConflictError):
        await traced.parts.ledger.append(about, Happening("routed", NOW), Snapshot("f", 1), after=0)
    first, second = await traced.spans()
    assert "pointsman.overtaken" not in (first.attributes or {})
    assert (second.attributes or {})["pointsman.overtaken"] is True


SAMPLING = [
    (SAMPLED, True),
    (UNSAMPLED, False),
    (f"00-{TRACE}-{CALLER}-03", True),
    (f"00-{'0' * 32}-{CALLER}-01", False),
    (f"00-{TRACE}-{'0' * 16}-01", False),
    (f"00-{TRACE.upper()}-{CALLER}-01", False),
    ("", False),
    (None, False),
]


@pytest.mark.parametrize(("traceparent", "sampled"), SAMPLING)
def test_sampled_is_what_the_flag_of_a_valid_header_says(traceparent: str | None, sampled: bool) -> None:
    assert is_sampled(traceparent) is sampled


def a_report(status: str) -> StatusReport:
    token = HASHER.token("shop", "n1", 1)
    return StatusReport(
        provider="twilio",
        provider_message_id=ProviderMessageId("SM1"),
        provider_status=status,
        status=DeliveryStatus(status),
        ref=AttemptRef("shop", NotificationId("n1"), 1, token),
    )
