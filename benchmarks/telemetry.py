"""What telemetry costs a run: none, OpenTelemetry with an exporter that does nothing, and with one that encodes.

CPU time of the whole process for each call, threads of the SDK included, of runs of 20 calls over a journal in memory,
whose models and tools answer at once.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from benchmarks.common import finish, median, parser, table, track
from plimsoll import Contract, Ending, Harness, ModelReply, Run, Surroundings
from plimsoll.contract.model import AgentSection, Limits, Tool
from plimsoll.core.calls import Effect, Usage
from plimsoll.journal import MemoryStore
from plimsoll.observability.telemetry import OpenTelemetry

CONTRACT = Contract(
    agent=AgentSection(name="told"),
    limits=Limits(steps=1_000_000, seconds=1e6, tokens=10**9),
    tools={"look": Tool(effect=Effect.READ), "note": Tool(effect=Effect.IDEMPOTENT)},
)
CALLS = 20
ARMS = ("off", "noop", "encoded")
ANSWER = ModelReply(text="an answer of some length, as models have them " * 10, usage=Usage(input_tokens=900))


class Dropped(SpanExporter, LogRecordExporter):
    """Takes spans and events, encodes them as OTLP has them where `encodes`, and drops them."""

    def __init__(self, *, encodes: bool, encode: Any) -> None:
        self._encodes, self._encode = encodes, encode

    def export(self, batch: Sequence[Any]) -> Any:
        if self._encodes:
            self._encode(batch).SerializeToString()
        return SpanExportResult.SUCCESS if self._encode is encode_spans else LogRecordExportResult.SUCCESS

    def shutdown(self) -> None: ...

    def force_flush(self, timeout_millis: int = 0) -> bool:
        return True


class Providers:
    """OpenTelemetry's providers, whose exporters send nothing."""

    def __init__(self, *, encodes: bool) -> None:
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(BatchSpanProcessor(Dropped(encodes=encodes, encode=encode_spans)))
        self.meters = MeterProvider(metric_readers=[InMemoryMetricReader()], shutdown_on_exit=False)
        self.loggers = LoggerProvider(shutdown_on_exit=False)
        self.loggers.add_log_record_processor(BatchLogRecordProcessor(Dropped(encodes=encodes, encode=encode_logs)))
        self.telemetry = OpenTelemetry(
            tracer_provider=self.tracers, meter_provider=self.meters, logger_provider=self.loggers
        )

    def close(self) -> None:
        """Exports what is left: that is part of the cost."""
        for provider in (self.tracers, self.meters, self.loggers):
            provider.shutdown()


async def look(number: int) -> dict[str, Any]:
    return {"number": number, "text": "an answer of some length, as reads have them " * 3}


async def note(number: int) -> int:
    return number


async def primary(prompt: Any) -> ModelReply:
    return ANSWER


async def agent(run: Run, request: Any) -> str:
    """15 reads, 4 model calls, 1 effect."""
    for number in range(CALLS - 1):
        if number % 5 == 4:
            await run.model({"ask": number})
        else:
            await run.call("look", {"number": number})
    await run.call("note", {"number": 0})
    return "done"


async def us_per_call(arm: str, runs: int) -> float:
    """CPU µs that one call takes."""
    providers = None if arm == "off" else Providers(encodes=arm == "encoded")
    surroundings = Surroundings(
        store=MemoryStore(), owner="p", sinks=(), telemetry=None if providers is None else providers.telemetry
    )
    tools, models = [look, note], {"primary": primary}
    async with Harness(
        CONTRACT, agent=agent, surroundings=surroundings, tools=tools, models=models, fingerprint="v1"
    ) as harness:
        began = time.process_time()
        for number in range(runs):
            result = await harness.run({}, run_id=f"r-{number}")
            assert result.ending is Ending.COMPLETE, result
    if providers is not None:
        providers.close()
    return 1e6 * (time.process_time() - began) / (runs * CALLS)


def main() -> None:
    """Measures, prints, and keeps the result as asked."""
    args = parser(__doc__ or "").parse_args()
    rounds, runs = (5, 50) if args.quick else (15, 200)
    found: dict[str, list[float]] = {arm: [] for arm in ARMS}
    asyncio.run(us_per_call("encoded", 20))  # imports and caches
    for _ in track(range(rounds), "rounds"):
        for arm in ARMS:
            found[arm].append(asyncio.run(us_per_call(arm, runs)))
    pairs = {arm: list(zip(found[arm], found["off"], strict=True)) for arm in ARMS[1:]}
    added = {arm: median([told - off for told, off in both]) for arm, both in pairs.items()}
    result = {
        **{f"{arm}_us": round(median(values), 1) for arm, values in found.items()},
        **{f"added_{arm}_us": round(us, 1) for arm, us in added.items()},
        "calls_per_run": CALLS,
        "repetitions": rounds,
    }
    if not args.json:
        rows = [("", "CPU µs a call", "more than without")]
        table("What telemetry costs", rows + [(arm, f"{result[f'{arm}_us']}", _more(result, arm)) for arm in ARMS])
    finish("telemetry", args, result)


def _more(result: dict[str, Any], arm: str) -> str:
    return f"{result[f'added_{arm}_us']}" if arm != "off" else ""


if __name__ == "__main__":
    main()
