"""Traces: what became of a notification, under the trace that its publisher began.

A publisher's `traceparent` goes with the notification through every queue and stands on every delivery event, whether
traces are on or off. Where they are on and it is sampled, routing, each attempt, each callback and each delivery event
become spans below the publisher's. Off, none of this is in the way: the parts are the plain ones (`router.wiring`).

No span holds an address, a text or the words of an exception.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import time_ns
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, SpanKind, Tracer

Attributes = Mapping[str, str | int]

_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]([0-9a-f])")


class TracingError(Exception):
    """Traces cannot be had; the message says what to do."""


def is_sampled(traceparent: str | None) -> bool:
    """Whether its publisher wants it traced (https://www.w3.org/TR/trace-context/#trace-flags)."""
    found = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    return found is not None and int(found[1], 16) & 1 == 1


@dataclass(slots=True)
class Doing:
    """Something under way that does not know yet which notification it is about: its span begins late."""

    name: str
    attributes: Attributes
    started: int = field(default_factory=time_ns)
    span: Span | None = None


_DOING: ContextVar[Doing | None] = ContextVar("pointsman-doing", default=None)


class Tracing:
    """Begins spans, only where somebody sampled the trace."""

    def __init__(self, tracer: Tracer, *, begins: bool) -> None:
        from opentelemetry import propagate, trace  # noqa: PLC0415 - an extra: only where traces are on

        self._trace = trace
        self._propagate = propagate
        self._tracer = tracer
        self._begins = begins  #: some of what comes with no trace begins one here

    @contextmanager
    def route(self, traceparent: str | None, attributes: Attributes) -> Iterator[str | None]:
        """Around routing: gives the trace to go on with, which may begin here."""
        if is_sampled(traceparent):
            with self._span("pointsman.route", self._remote(traceparent), self._trace.SpanKind.CONSUMER, attributes):
                yield traceparent
        elif traceparent is None and self._begins:
            with self._span("pointsman.route", None, self._trace.SpanKind.CONSUMER, attributes) as span:
                yield self._carried() if span.is_recording() else None
        else:
            yield traceparent

    @contextmanager
    def send(self, traceparent: str | None, attributes: Attributes) -> Iterator[Span]:
        """Around one attempt of a trace that is sampled."""
        with self._span("pointsman.send", self._remote(traceparent), self._trace.SpanKind.CLIENT, attributes) as span:
            yield span

    @contextmanager
    def append(self, traceparent: str | None, status: str, attributes: Attributes) -> Iterator[Span]:
        """Around one event of a trace that is sampled, below whatever is being done."""
        where, kind = self._where(traceparent), self._trace.SpanKind.PRODUCER
        with self._span(f"pointsman.event {status}", where, kind, attributes) as span:
            yield span

    @contextmanager
    def late(self, name: str, attributes: Attributes) -> Iterator[Doing]:
        """Around something that finds out in its course which notification it is about."""
        doing = Doing(name, attributes)
        token = _DOING.set(doing)
        try:
            yield doing
        finally:
            _DOING.reset(token)
            if doing.span is not None:
                doing.span.end()

    def _where(self, traceparent: str | None) -> Context | None:
        """Below the current span; else below what is being done, whose span begins now; else below the publisher's."""
        if self._trace.get_current_span().is_recording():
            return None
        remote, doing = self._remote(traceparent), _DOING.get()
        if doing is None:
            return remote
        if doing.span is None:
            kind = self._trace.SpanKind.CONSUMER
            doing.span = self._tracer.start_span(
                doing.name, remote, kind, attributes=doing.attributes, start_time=doing.started
            )
        return self._trace.set_span_in_context(doing.span, remote)

    @contextmanager
    def _span(self, name: str, parent: Context | None, kind: SpanKind, attributes: Attributes) -> Iterator[Span]:
        # Exceptions may hold what a provider said about somebody.
        with self._tracer.start_as_current_span(
            name, parent, kind, attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            yield span

    def _remote(self, traceparent: str | None) -> Context:
        return self._propagate.extract({"traceparent": traceparent or ""})

    def _carried(self) -> str | None:
        carrier: dict[str, str] = {}
        self._propagate.inject(carrier)
        return carrier.get("traceparent")
