"""A run never waits for whoever its telemetry is sent to: it ends while the exporter is stuck, refused, or told off."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from plimsoll.core.calls import Ending
from plimsoll.core.clock import SystemClock
from plimsoll.journal.memory import MemoryStore
from plimsoll.observability.telemetry import OpenTelemetry
from plimsoll.runtime.harness import Harness
from plimsoll.runtime.surroundings import Surroundings
from tests.observability.telemetry.collector import collecting
from tests.runtime.bench import Shop, agent, contract, sure


def harness(telemetry: OpenTelemetry) -> Harness:
    shop = Shop()
    surroundings = Surroundings(store=MemoryStore(), owner="p", clock=SystemClock(), sinks=(), telemetry=telemetry)
    tools, models = [shop.look, shop.refund], {"primary": sure, "backup": sure}
    return Harness(contract(), agent=agent, surroundings=surroundings, tools=tools, models=models, fingerprint="v1")


async def runs(telemetry: OpenTelemetry, count: int) -> None:
    """Runs that all end as they would without telemetry."""
    async with harness(telemetry) as live:
        results = await asyncio.gather(*(live.run({"order": "W1"}, run_id=f"r-{n}") for n in range(count)))
    assert [(result.ending, result.output) for result in results] == [(Ending.COMPLETE, "Sure: 20 back")] * count


class StuckExporter(SpanExporter):
    """Does not return before it is released."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.released = threading.Event()
        self.exported: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.entered.set()
        self.released.wait(30)
        self.exported += spans
        return SpanExportResult.SUCCESS


def test_runs_end_while_the_exporter_is_stuck_and_what_finds_no_room_is_dropped() -> None:
    exporter = StuckExporter()
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=16, max_export_batch_size=1))
    telemetry = OpenTelemetry(tracer_provider=tracers)
    asyncio.run(runs(telemetry, 1))
    assert exporter.entered.wait(30)
    asyncio.run(runs(telemetry, 20))  # 80 spans, and room for 16
    assert not exporter.exported
    exporter.released.set()
    tracers.shutdown()
    assert 16 <= len(exporter.exported) < 84


@pytest.mark.parametrize("what", ["stuck", "refused", "told off"])
def test_runs_end_whatever_the_collector_does(what: str) -> None:
    with collecting(500 if what == "told off" else 0) as collector:
        endpoint = "http://127.0.0.1:9" if what == "refused" else collector.endpoint
        tracers = TracerProvider(shutdown_on_exit=False)
        tracers.add_span_processor(
            BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces", timeout=1), schedule_delay_millis=10)
        )
        loggers = LoggerProvider(shutdown_on_exit=False)
        loggers.add_log_record_processor(
            BatchLogRecordProcessor(
                OTLPLogExporter(endpoint=f"{endpoint}/v1/logs", timeout=1), schedule_delay_millis=10
            )
        )
        exporter = OTLPMetricExporter(endpoint=f"{endpoint}/v1/metrics", timeout=1)
        reader = PeriodicExportingMetricReader(exporter, export_interval_millis=20, export_timeout_millis=1000)
        meters = MeterProvider(metric_readers=[reader], shutdown_on_exit=False)
        telemetry = OpenTelemetry(tracer_provider=tracers, meter_provider=meters, logger_provider=loggers)
        asyncio.run(runs(telemetry, 5))
        if what != "refused":
            assert collector.asked.wait(30)
            asyncio.run(runs(telemetry, 5))
        if what == "stuck":
            assert collector.answered == 0  # and the runs are over
        collector.released.set()
        closed: list[Any] = [tracers, loggers, meters]
        for provider in closed:
            provider.shutdown()
