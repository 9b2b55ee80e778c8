"""From the standard variables of the environment (OTEL_…) to OpenTelemetry's providers.

What an application, or `opentelemetry-instrument`, has set up is used as it is. Whatever is left to do is set up
globally, as they would: so that a second harness, and an instrumented HTTP client, tell the same place.
"""

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any

from opentelemetry._logs import get_logger_provider, set_logger_provider
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import get_meter_provider, set_meter_provider
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import get_tracer_provider, set_tracer_provider
from prometheus_client import CollectorRegistry, start_http_server

from plimsoll.core.errors import Misuse
from plimsoll.observability.telemetry.listening import OpenTelemetry

__all__ = ["from_environment", "serve_metrics"]

_PROTOCOLS = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc", "http/json": "otlp_json_http"}
_UNNAMED = "unknown_service"
"""What the SDK calls a service that nobody has named."""


def from_environment(
    environ: Mapping[str, str], *, service: str, metrics_at: tuple[str, int] | None = None
) -> OpenTelemetry | None:
    """Telemetry as the environment asks for it; None where it does not, or where OTEL_SDK_DISABLED is true.

    A signal is told where OTEL_{TRACES,METRICS,LOGS}_EXPORTER names an exporter (`otlp`, `console`, for metrics also
    `prometheus`), or where an OTLP endpoint is set for it, or for all. `service` is the `service.name` where the
    environment gives none. `metrics_at` serves the metrics to Prometheus at this host and port besides. Raises `Misuse`
    for an exporter that is not installed or cannot be set up, and for a port that cannot be had.
    """
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    wanted = {signal: _exporters(environ, signal) for signal in ("traces", "metrics", "logs")}
    there = (
        isinstance(get_tracer_provider(), TracerProvider)
        or isinstance(get_meter_provider(), MeterProvider)
        or isinstance(get_logger_provider(), LoggerProvider)
    )
    if not there and metrics_at is None and not any(wanted.values()):
        return None
    resource = _resource(service)
    _set_up_traces(wanted["traces"], resource)
    served_at = _set_up_metrics(wanted["metrics"], resource, metrics_at)
    _set_up_logs(wanted["logs"], resource)
    return OpenTelemetry(served_at=served_at)


def _resource(service: str) -> Resource:
    """Whose telemetry it is, as the environment says; `service` where that gives no name."""
    found = Resource.create()
    if str(found.attributes.get(SERVICE_NAME)).startswith(_UNNAMED):
        return found.merge(Resource({SERVICE_NAME: service}))
    return found


def serve_metrics(host: str = "127.0.0.1", port: int = 9464) -> tuple[MeterProvider, int]:
    """Serves metrics to Prometheus at `http://host:port/metrics`, on a thread of its own, for as long as the process.

    Port 0 takes a free one. Returns the provider to hand to `OpenTelemetry(meter_provider=…)`, and the port. Raises
    `Misuse` when the port cannot be had.
    """
    reader, found = _serving((host, port))
    return MeterProvider(metric_readers=[reader]), found


def _serving(at: tuple[str, int]) -> tuple[MetricReader, int]:
    host, port = at
    registry = CollectorRegistry()
    try:
        server, _ = start_http_server(port=port, addr=host, registry=registry)
    except OSError as error:
        raise Misuse(f"metrics cannot be served at {host}:{port} ({error.strerror or error}): take another") from error
    reader = PrometheusMetricReader(registry=registry, scope_info_enabled=False)
    return reader, int(server.server_port)


def _exporters(environ: Mapping[str, str], signal: str) -> list[Any]:
    """The classes of the exporters that the environment names for a signal."""
    upper = signal.upper()
    named = environ.get(f"OTEL_{upper}_EXPORTER", "").strip()
    if not named:
        endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{upper}_ENDPOINT")
        named = "otlp" if any(environ.get(endpoint) for endpoint in endpoints) else "none"
    if named.lower() == "none":
        return []
    names = [name.strip() for name in named.split(",")]
    return [_exporter(signal, _protocol(environ, upper) if name == "otlp" else name) for name in names]


def _protocol(environ: Mapping[str, str], upper: str) -> str:
    """The name of the OTLP exporter for the protocol that is asked for."""
    own, every = f"OTEL_EXPORTER_OTLP_{upper}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"
    protocol = environ.get(own) or environ.get(every) or "http/protobuf"
    if protocol not in _PROTOCOLS:
        raise Misuse(f"{protocol!r} is no protocol of OTLP: {own} is one of {', '.join(_PROTOCOLS)}")
    return _PROTOCOLS[protocol]


def _exporter(signal: str, name: str) -> Any:
    found = next(iter(entry_points(group=f"opentelemetry_{signal}_exporter", name=name)), None)
    if found is None:
        package = f"opentelemetry-exporter-{name.replace('_', '-')}"
        raise Misuse(f"no exporter {name!r} for {signal} is installed: `pip install {package}`, or name another")
    return found.load()


def _made(make: Callable[..., Any], **options: Any) -> Any:
    """What `make` makes by its own variables of the environment. Raises `Misuse` where they are wrong."""
    try:
        return make(**options)
    except (OSError, ValueError) as error:
        what = getattr(make, "__name__", str(make))
        raise Misuse(f"{what} cannot be set up ({error}): look at its OTEL_… variables") from error


def _set_up_traces(exporters: list[Any], resource: Resource) -> None:
    if not exporters or isinstance(get_tracer_provider(), TracerProvider):
        return
    provider = _made(TracerProvider, resource=resource)
    for exporter in exporters:
        provider.add_span_processor(BatchSpanProcessor(_made(exporter)))
    set_tracer_provider(provider)


def _set_up_metrics(exporters: list[Any], resource: Resource, metrics_at: tuple[str, int] | None) -> str:
    """Where metrics are served to Prometheus by `metrics_at`; empty: they are not."""
    if isinstance(get_meter_provider(), MeterProvider) or not (exporters or metrics_at):
        if metrics_at is not None:
            raise Misuse("metrics are set up in this process already, and cannot be served besides")
        return ""
    served_at = ""
    made = [_made(exporter) for exporter in exporters]
    readers = [each if isinstance(each, MetricReader) else PeriodicExportingMetricReader(each) for each in made]
    if metrics_at is not None:
        reader, port = _serving(metrics_at)
        readers.append(reader)
        served_at = f"http://{metrics_at[0]}:{port}/metrics"
    set_meter_provider(MeterProvider(resource=resource, metric_readers=readers))
    return served_at


def _set_up_logs(exporters: list[Any], resource: Resource) -> None:
    if not exporters or isinstance(get_logger_provider(), LoggerProvider):
        return
    provider = LoggerProvider(resource=resource)
    for exporter in exporters:
        provider.add_log_record_processor(BatchLogRecordProcessor(_made(exporter)))
    set_logger_provider(provider)
