"""Where traces go: a collector that takes OTLP over HTTP. Imported only where traces are on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from importlib.metadata import version

from router.settings import TelemetrySettings
from router.tracing import Tracing, TracingError

try:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
except ImportError:
    raise TracingError("telemetry.traces needs what is not installed: pip install 'pointsman[otel]'") from None

_PATH = "/v1/traces"


def open_tracing(
    settings: TelemetrySettings, instance: str, exporter: SpanExporter | None = None
) -> tuple[Tracing, Callable[[], Awaitable[None]]]:
    """Traces, and what sends the last of them and lets go.

    OpenTelemetry's own variables (`OTEL_EXPORTER_OTLP_HEADERS` and others) hold for what the settings do not say.
    """
    resource = {"service.name": "pointsman", "service.version": version("pointsman"), "service.instance.id": instance}
    provider = TracerProvider(ParentBased(TraceIdRatioBased(settings.share)), Resource.create(resource))
    endpoint = settings.endpoint.rstrip("/") + _PATH if settings.endpoint else None
    provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter(endpoint)))

    async def close() -> None:
        await asyncio.to_thread(provider.shutdown)

    return Tracing(provider.get_tracer("pointsman"), begins=settings.share > 0), close
