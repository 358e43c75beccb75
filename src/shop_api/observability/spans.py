"""OpenTelemetry traces, exported over OTLP/HTTP, which continue the W3C Trace Context of the client.

The framework creates the spans of the server and its endpoints; spans of MongoDB and Redis are created from the
command metrics. Imported only if a collector is configured, since the packages are in the extra `otel`.
"""

import os
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, StatusCode
from starlette.types import Scope
from structlog.typing import EventDict

from shop_api import __version__
from shop_api.settings import Settings

# Polled by machines all the time, so not worth a trace.
_UNTRACED = frozenset({"/metrics", "/health/live", "/health/ready"})
# Time limit for one batch of spans, and at shutdown for all remaining ones.
_EXPORT_SECONDS = 3
# May contain personal data and search terms; the route is sufficient.
_PERSONAL = ("url.path", "url.query")


class Tracing:
    """Creates and exports the spans of one app."""

    def __init__(self, settings: Settings) -> None:
        self._url = f"{str(settings.otlp_endpoint).rstrip('/')}/v1/traces"
        instance = f"{socket.gethostname()}:{os.getpid()}"
        who = {"service.name": "shop_api", "service.version": __version__, "service.instance.id": instance}
        self._provider = TracerProvider(
            ParentBased(TraceIdRatioBased(settings.trace_ratio)), Resource.create(who), shutdown_on_exit=False
        )
        self._provider.add_span_processor(_Impersonal())
        self._tracer = self._provider.get_tracer("shop_api", __version__)

    @property
    def of_framework(self) -> TelemetryConfig:
        return {
            "tracing": True,
            "metrics": False,
            "logs": False,
            "tracer_provider": self._provider,
            "auto_configure": False,
            "exclude": lambda scope: scope["path"] in _UNTRACED,
        }

    @asynccontextmanager
    async def exported(self) -> AsyncIterator[None]:
        """Export spans during the block, and the remaining ones within _EXPORT_SECONDS after it."""
        exporter = OTLPSpanExporter(self._url, timeout=_EXPORT_SECONDS)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        try:
            yield
        finally:
            with suppress(TimeoutError):
                with anyio.fail_after(_EXPORT_SECONDS):
                    await anyio.to_thread.run_sync(self._provider.shutdown, abandon_on_cancel=True)

    def call(self, system: str, command: str, target: str, seconds: float, error: str | None) -> None:
        """Create a span for a call that has just ended, if it belongs to a recorded request."""
        if not trace.get_current_span().is_recording():
            return
        end = time.time_ns()
        attributes = {"db.system.name": system, "db.operation.name": command}
        if target:
            attributes["db.collection.name"] = target
        span = self._tracer.start_span(
            f"{command} {target}".rstrip(),
            kind=SpanKind.CLIENT,
            attributes=attributes,
            start_time=end - int(seconds * 1e9),
        )
        if error:
            span.set_attribute("error.type", error)
            span.set_status(StatusCode.ERROR)
        span.end(end)

    def request(self, scope: Scope, request_id: str, cache: str | None) -> None:
        """Add to the current span, that of a request, what only the outermost middleware knows."""
        span = trace.get_current_span()
        route = getattr(scope.get("route"), "path", None)
        if route is not None:  # the framework does not see cache hits
            span.update_name(f"{scope['method']} {route}")
            span.set_attribute("http.route", route)
        if cache is not None:
            span.set_attribute("shop.cache", cache)
        span.set_attribute("shop.request_id", request_id)


class _Impersonal(SpanProcessor):
    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        for name in _PERSONAL:
            if span.attributes and name in span.attributes:
                span.set_attribute(name, "REDACTED")


def with_trace_id(_: Any, __: str, event: EventDict) -> EventDict:
    """A structlog processor that adds the trace id."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = trace.format_trace_id(context.trace_id)
    return event
