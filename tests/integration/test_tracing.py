"""Traces as a collector gets them: one tree below the publisher's span, from routing to delivery."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from router.app import Router, StartError
from router.settings import Settings
from tests.integration.conftest import Start
from tests.integration.harness import INVALID, US, Harness, router_settings

pytestmark = pytest.mark.nats

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = {"traceparent": f"00-{TRACE}-{CALLER}-01"}


class Collector:
    """Takes OTLP over HTTP and keeps the spans."""

    def __init__(self) -> None:
        self.url = ""
        self.spans: list[dict[str, object]] = []

    async def take(self, request: web.Request) -> web.Response:
        export = ExportTraceServiceRequest.FromString(await request.read())
        for resource in export.resource_spans:
            for scope in resource.scope_spans:
                self.spans += [
                    {
                        "name": span.name,
                        "trace": span.trace_id.hex(),
                        "id": span.span_id.hex(),
                        "parent": span.parent_span_id.hex(),
                        "error": span.status.code == 2,
                        "attributes": {a.key: a.value.string_value for a in span.attributes},
                    }
                    for span in scope.spans
                ]
        return web.Response()

    def tree(self) -> set[tuple[str, str]]:
        """Each span with the name of what it stands below."""
        names = {span["id"]: span["name"] for span in self.spans}
        return {(str(span["name"]), str(names.get(span["parent"], span["parent"]))) for span in self.spans}


@asynccontextmanager
async def a_collector() -> AsyncIterator[Collector]:
    collector = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", collector.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    collector.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield collector
    await runner.cleanup()


async def stopped(harness: Harness) -> None:
    """A router that stops sends what it still holds."""
    await harness.stop_router(harness.routers[0])


async def test_a_trace_follows_a_notification_from_its_publisher_to_its_delivery(start: Start) -> None:
    async with a_collector() as collector:
        harness = await start(telemetry={"traces": True, "endpoint": collector.url})
        await harness.publish("t-1", US, headers=SAMPLED)
        await harness.publish("t-2", US)  # nobody asked for this one
        await harness.wait_for("t-1", "delivered")
        await harness.wait_for("t-2", "delivered")
        await stopped(harness)

    tree = collector.tree()
    assert {
        ("pointsman.route", CALLER),
        ("pointsman.event routed", "pointsman.route"),
        ("pointsman.send", CALLER),
        ("pointsman.event sending", "pointsman.send"),
        ("pointsman.callback", CALLER),
        ("pointsman.event delivered", "pointsman.callback"),
    } <= tree
    assert {span["trace"] for span in collector.spans} == {TRACE}
    ids = {span["attributes"].get("pointsman.notification_id") for span in collector.spans}  # type: ignore[attr-defined]
    assert ids - {None} == {"t-1"}
    assert {event.headers["traceparent"] for event in harness.story("t-1")} == set(SAMPLED.values())


async def test_a_refusal_is_an_error_without_the_providers_words(start: Start) -> None:
    async with a_collector() as collector:
        harness = await start(telemetry={"traces": True, "endpoint": collector.url})
        await harness.publish("t-3", INVALID, headers=SAMPLED)
        await harness.wait_for_final("t-3")
        await stopped(harness)

    (send,) = [span for span in collector.spans if span["name"] == "pointsman.send"]
    assert send["error"] is True
    assert send["attributes"]["pointsman.provider_code"] == "21211"  # type: ignore[index]
    assert INVALID not in str(collector.spans)


async def test_a_collector_that_is_away_holds_nothing_up(start: Start) -> None:
    harness = await start(telemetry={"traces": True, "endpoint": "http://127.0.0.1:1"})
    await harness.publish("t-4", US, headers=SAMPLED)
    await harness.wait_for("t-4", "delivered")


async def test_without_the_extra_the_start_says_what_to_install(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    monkeypatch.delitem(sys.modules, "router.tracing.exporting", raising=False)
    settings = Settings(**router_settings(harness.server.url, harness.reserve_port(), telemetry={"traces": True}))
    with pytest.raises(StartError, match=r"pip install 'pointsman\[otel\]'"):
        await Router(settings, harness.environ).start()
