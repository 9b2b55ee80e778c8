"""What a test hears of a desk by OpenTelemetry: providers that keep everything in memory."""

from dataclasses import replace
from typing import Any

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from plimsoll.core.clock import Clock
from plimsoll.observability.telemetry import OpenTelemetry
from plimsoll.runtime.surroundings import Surroundings
from tests.runtime.bench import Desk
from tests.runtime.firm import Firm

Point = tuple[str, dict[str, Any], Any]


class InOrder(SpanProcessor):
    """Notes the spans in the order in which they begin, which no clock that is set can change."""

    def __init__(self) -> None:
        self.ids: list[int] = []

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        self.ids.append(span.context.span_id)


class Heard:
    """Keeps spans, metrics and events, and gives them back in plain terms."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._spans = InMemorySpanExporter()
        self._events = InMemoryLogRecordExporter()
        self._reader = InMemoryMetricReader()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self._order = InOrder()
        self.tracers.add_span_processor(self._order)
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self.meters = MeterProvider(metric_readers=[self._reader], shutdown_on_exit=False)
        self.loggers = LoggerProvider(shutdown_on_exit=False)
        self.loggers.add_log_record_processor(SimpleLogRecordProcessor(self._events))
        self.telemetry = OpenTelemetry(
            tracer_provider=self.tracers, meter_provider=self.meters, logger_provider=self.loggers, clock=clock
        )

    def close(self) -> None:
        self.tracers.shutdown()
        self.meters.shutdown()
        self.loggers.shutdown()

    @property
    def spans(self) -> list[ReadableSpan]:
        """The spans that ended, in the order in which they began."""
        ended = {span.context.span_id: span for span in self._spans.get_finished_spans() if span.context}
        return [ended[span_id] for span_id in self._order.ids if span_id in ended]

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span

    def tree(self) -> list[str]:
        """The spans' names, each behind the names of those that it lies in."""
        by_id = {span.context.span_id: span for span in self.spans if span.context}

        def path(span: ReadableSpan) -> str:
            above = by_id.get(span.parent.span_id) if span.parent else None
            return f"{path(above)} > {span.name}" if above else span.name

        return [path(span) for span in self.spans]

    def events(self) -> list[tuple[str, dict[str, Any]]]:
        """The events, by name, with their attributes."""
        logs = [each.log_record for each in self._events.get_finished_logs()]
        return [(log.event_name or "", dict(log.attributes or {})) for log in logs]

    def points(self, name: str | None = None) -> list[Point]:
        """The metrics now: name, attributes, and the value, or of a histogram count and sum."""
        found: list[Point] = []
        for metric in self.metrics():
            for point in metric.data.data_points:
                value: Any = getattr(point, "value", None)
                if value is None:
                    value = (point.count, point.sum)
                found.append((metric.name, dict(point.attributes or {}), value))
        return [point for point in found if name in (None, point[0])]

    def metrics(self) -> list[Any]:
        """The metrics now."""
        data = self._reader.get_metrics_data()
        scopes = [scope for resource in (data.resource_metrics if data else ()) for scope in resource.scope_metrics]
        return [metric for scope in scopes for metric in scope.metrics]

    def everything(self) -> str:
        """All that left, as one text."""
        spans = [
            (span.name, span.attributes, span.status, [(e.name, e.attributes) for e in span.events], span.links)
            for span in self.spans
        ]
        logs = [(each.log_record.body, each.log_record.attributes) for each in self._events.get_finished_logs()]
        return repr((spans, logs, self.events(), self.points()))


class ToldDesk(Desk):
    """A desk that tells what it does."""

    def __init__(self, heard: Heard, **changes: Any) -> None:
        super().__init__(**changes)
        self.heard = heard

    def surroundings(self, store: Any = None) -> Surroundings:
        return replace(super().surroundings(store), telemetry=self.heard.telemetry)


class ToldFirm(Firm):
    """A firm that tells what it does."""

    def __init__(self, heard: Heard, **changes: Any) -> None:
        super().__init__(**changes)
        self.heard = heard

    def surroundings(self, store: Any = None) -> Surroundings:
        return replace(super().surroundings(store), telemetry=self.heard.telemetry)
