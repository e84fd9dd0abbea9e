"""Sending spans to an OpenTelemetry collector, to Logfire, or to both; needs the extra ``telemetry``."""

import logging
import os
import re
import time
from collections.abc import Iterator

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.environment_variables import (
    OTEL_BSP_SCHEDULE_DELAY,
    OTEL_EXPORTER_OTLP_ENDPOINT,
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT,
    OTEL_SERVICE_NAME,
)
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from watcher_server import __version__


class _OncePerMinute(logging.Filter):
    """Lets one message pass per minute: the first says what is wrong."""

    def __init__(self) -> None:
        super().__init__()
        self._passed_at = float("-inf")

    def filter(self, _record: logging.LogRecord) -> bool:
        # While a collector is away, the exporter logs every try.
        passes = time.monotonic() >= self._passed_at + 60
        if passes:
            self._passed_at = time.monotonic()
        return passes


logging.getLogger("opentelemetry.exporter.otlp.proto.http.trace_exporter").addFilter(_OncePerMinute())


def make_provider(service: str) -> TracerProvider:
    """Collects the spans of this process in memory and sends them from a thread, so that no request or task waits.

    Up to 2,048 spans (OTEL_BSP_MAX_QUEUE_SIZE) wait for a collector that does not answer; more are dropped.
    """
    attributes = {SERVICE_VERSION: __version__}
    if not os.environ.get(OTEL_SERVICE_NAME):
        attributes[SERVICE_NAME] = service
    # Ended by Tracing.close: left to itself, it would wait for half a minute.
    provider = TracerProvider(resource=Resource.create(attributes), shutdown_on_exit=False)
    # A process that is killed loses the spans of this time.
    delay = None if os.environ.get(OTEL_BSP_SCHEDULE_DELAY) else 1000
    for exporter in _exporters():
        provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=delay))
    return provider


def _exporters() -> Iterator[SpanExporter]:
    token = os.environ.get("LOGFIRE_TOKEN")
    if token:
        # Logfire takes OTLP as it is. Its own package would load itself into pydantic, and replace os._exit.
        # The address for a write token: the token names its region; older ones without a region belong to the US.
        found = re.match(r"pylf_v\d+_([a-z]+)_", token)
        region = found[1] if found else "us"
        base = os.environ.get("LOGFIRE_BASE_URL") or f"https://logfire-{region}.pydantic.dev"
        yield OTLPSpanExporter(endpoint=f"{base.rstrip('/')}/v1/traces", headers={"Authorization": token})
    if not token or os.environ.get(OTEL_EXPORTER_OTLP_ENDPOINT) or os.environ.get(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT):
        yield OTLPSpanExporter()
