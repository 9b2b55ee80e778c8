"""The listener: what it is told of an agent's runs becomes spans, metrics and events of OpenTelemetry.

Everything here happens in the process and in memory; sending is done by the SDK's own threads, which a run never waits
for.
"""

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from opentelemetry._logs import LoggerProvider, SeverityNumber, get_logger_provider
from opentelemetry.metrics import MeterProvider, get_meter_provider
from opentelemetry.trace import TracerProvider, get_tracer_provider

from plimsoll.contract.model import Contract
from plimsoll.core.clock import Clock, SystemClock
from plimsoll.core.events import ApprovalDecided, ApprovalRequested, Event, Finding, Record
from plimsoll.observability.listening import Listener, Segment, SegmentBegan
from plimsoll.observability.telemetry import names
from plimsoll.observability.telemetry.metrics import Metrics
from plimsoll.observability.telemetry.spans import AgentSpans, SegmentSpan

__all__ = ["OpenTelemetry", "OpenTelemetrySink"]

_SEVERITIES = {"info": SeverityNumber.INFO, "warning": SeverityNumber.WARN, "critical": SeverityNumber.FATAL}


_METRICS: WeakKeyDictionary[MeterProvider, Metrics] = WeakKeyDictionary()
"""The metrics of each provider. It has one instrument for a name, with the callbacks that it was given first; so all
who tell the same provider, as the harnesses of a process do, share what stands behind them."""


def _metrics_of(meters: MeterProvider, clock: Clock) -> Metrics:
    known = _METRICS.get(meters)
    if known is None:
        known = _METRICS[meters] = Metrics(meters.get_meter(names.SCOPE, schema_url=names.SCHEMA_URL), clock)
    return known


class OpenTelemetry:
    """Tells OpenTelemetry what the agents of a process do. Hand it to `Surroundings(telemetry=…)`.

    Providers that are left out are OpenTelemetry's global ones, as `opentelemetry-instrument` or an application sets
    them up. `local(…)` makes one by itself where the environment asks for it. `served_at` is where this process serves
    metrics to Prometheus, if it does.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        logger_provider: LoggerProvider | None = None,
        clock: Clock | None = None,
        served_at: str = "",
    ) -> None:
        tracers = tracer_provider or get_tracer_provider()
        meters = meter_provider or get_meter_provider()
        loggers = logger_provider or get_logger_provider()
        self._tracer = tracers.get_tracer(names.SCOPE, schema_url=names.SCHEMA_URL)
        self._logger = loggers.get_logger(names.SCOPE, schema_url=names.SCHEMA_URL)
        self._metrics = _metrics_of(meters, clock or SystemClock())
        self.served_at = served_at
        self.sink = OpenTelemetrySink(self._metrics, self._logger)

    def listener(self, contract: Contract) -> Listener:
        """Who is told what the agent of this contract does."""
        spans = AgentSpans(self._tracer, self._metrics, contract, records_content=contract.telemetry.record_content)
        return _AgentListener(spans, self._metrics, self._logger, contract, self.sink)


class OpenTelemetrySink:
    """An alert sink: each finding is counted, and told as an event `plimsoll.finding`.

    The event has names only, as a line of the log has: no message, so that no argument and no prompt can come in by it.
    """

    def __init__(self, metrics: Metrics, logger: Any) -> None:
        self._metrics = metrics
        self._logger = logger

    def emit(self, finding: Finding, *, run_id: str, agent: str, at: float) -> None:
        self._metrics.finding(finding, agent=agent)
        told: dict[str, Any] = {
            names.AGENT: agent,
            names.RUN: run_id,
            names.FINDING_KIND: finding.kind,
            names.SEVERITY: finding.severity,
            names.OBSERVED: finding.observed,
        }
        if finding.dependency is not None:
            told[names.DEPENDENCY] = finding.dependency
        if finding.fault is not None:
            told[names.FAULT] = str(finding.fault)
        if finding.evidence:
            told[names.CALLS] = finding.evidence
        self._logger.emit(
            timestamp=int(at * 1e9),
            severity_number=_SEVERITIES.get(finding.severity, SeverityNumber.WARN),
            severity_text=finding.severity,
            attributes=told,
            event_name=names.FINDING_EVENT,
        )


class _AgentListener:
    """What one agent's runs do."""

    def __init__(
        self, spans: AgentSpans, metrics: Metrics, logger: Any, contract: Contract, sink: OpenTelemetrySink
    ) -> None:
        self.sink = sink
        self._spans = spans
        self._metrics = metrics.of(contract)
        self._logger = logger

    def segment(self, began: SegmentBegan) -> Segment:
        return SegmentSpan(self._spans, began)

    def committed(self, records: Sequence[Record]) -> None:
        for record, event in self._metrics.committed(records):
            self._tell(record, event)

    def asked(self, requests: Sequence[ApprovalRequested]) -> None:
        self._metrics.asked(requests)

    def _tell(self, record: Record, event: Event) -> None:
        """An approval as an event. Who decided it stands in the journal alone."""
        told: dict[str, Any] = {names.AGENT: self._metrics.name, names.RUN: record.run_id}
        if isinstance(event, ApprovalRequested):
            name = names.REQUESTED_EVENT
            told |= {names.REQUEST: event.request_id, names.DEPENDENCY: event.dependency, names.CALL: event.key}
        else:
            assert isinstance(event, ApprovalDecided)
            name = names.DECIDED_EVENT
            told |= {names.REQUEST: event.request_id, names.DECISION: event.decision}
        self._logger.emit(
            timestamp=int(record.at * 1e9),
            context=self._spans.under_way.get(record.run_id),
            severity_number=SeverityNumber.INFO,
            severity_text="info",
            attributes=told,
            event_name=name,
        )
