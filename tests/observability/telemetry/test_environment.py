"""The standard variables of the environment are all that it takes; without them, or without the extra, nothing is."""

import os
import subprocess
import sys
import textwrap
import urllib.request
from pathlib import Path

import pytest

from plimsoll.core.errors import Misuse
from plimsoll.observability.telemetry import from_environment, serve_metrics
from tests.observability.telemetry.collector import collecting

ROOT = Path(__file__).parents[3]
QUICK = {"OTEL_EXPORTER_OTLP_TIMEOUT": "5"}


def program(directory: Path, code: str = "", **environment: str) -> str:
    """What a process printed: `program.py`, or `code` with it imported. It must end well, and say nothing else."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    beginning = "import asyncio, sys\nfrom tests.observability.telemetry import program\n"
    body = textwrap.dedent(code) or "asyncio.run(program.main(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", beginning + body, str(directory)],
        env=kept | {"PYTHONPATH": paths} | QUICK | environment,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_one_variable_is_enough_and_spans_metrics_and_events_arrive(tmp_path: Path) -> None:
    with collecting() as collector:
        assert program(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint) == "telemetry True"
    names = {"invoke_agent desk", "execute_tool look", "chat primary", "attempt primary"}
    assert set(collector.spans) == names and len(collector.spans) == 4
    assert collector.services == {"desk"}
    assert {"plimsoll.runs", "gen_ai.client.operation.duration", "plimsoll.findings"} <= collector.metrics
    assert collector.events == ["plimsoll.finding"] * 2
    assert b"s3cr3t" not in collector.everything()


def test_a_signal_alone_may_be_asked_for(tmp_path: Path) -> None:
    with collecting() as collector:
        traces = f"{collector.endpoint}/v1/traces"
        program(tmp_path, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=traces, OTEL_SERVICE_NAME="front")
    assert collector.bodies.keys() == {"/v1/traces"} and collector.services == {"front"}


def test_a_namespace_is_no_name(tmp_path: Path) -> None:
    with collecting() as collector:
        attributes = {"OTEL_RESOURCE_ATTRIBUTES": "service.namespace=shops,service.version=3"}
        program(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint, OTEL_SERVICE_NAME="", **attributes)
    assert collector.services == {"desk"}


def test_what_is_named_none_is_not_told(tmp_path: Path) -> None:
    with collecting() as collector:
        silent = {"OTEL_TRACES_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
        program(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint, **silent)
    assert collector.bodies.keys() == {"/v1/metrics"}


def test_where_nobody_asks_the_sdk_is_not_even_imported(tmp_path: Path) -> None:
    assert program(tmp_path) == "none False"
    assert program(tmp_path, OTEL_SERVICE_NAME="front") == "none False"


def test_disabled_is_disabled(tmp_path: Path) -> None:
    with collecting() as collector:
        asked = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "OTEL_SDK_DISABLED": "true"}
        assert program(tmp_path, **asked).startswith("none")
    assert collector.bodies == {}


def test_without_the_extra_the_variables_change_nothing(tmp_path: Path) -> None:
    code = """
        sys.modules["opentelemetry.sdk"] = None
        sys.modules["opentelemetry.sdk.trace"] = None
        asyncio.run(program.main(sys.argv[1]))
        from plimsoll.runtime.local import telemetry_of
        try:
            telemetry_of(program.CONTRACT, environ={}, metrics_at=("127.0.0.1", 0))
        except Exception as error:
            print(error)
    """
    printed = program(tmp_path, code, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1").splitlines()
    assert printed[0].startswith("none")
    assert printed[1] == "opentelemetry-sdk is not installed: pip install 'plimsoll-ai[telemetry]'"


def test_what_the_application_has_set_up_is_used_as_it_is(tmp_path: Path) -> None:
    code = """
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        spans, provider = InMemorySpanExporter(), TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(spans))
        trace.set_tracer_provider(provider)
        asyncio.run(program.main(sys.argv[1]))
        assert trace.get_tracer_provider() is provider
        print([span.name for span in spans.get_finished_spans()][-1])
    """
    with collecting() as collector:
        printed = program(tmp_path, code, OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint).splitlines()
    assert printed == ["telemetry True", "invoke_agent desk"]
    assert collector.spans == [] and "plimsoll.runs" in collector.metrics  # what it has not set up is set up


def test_a_second_harness_tells_the_same_place(tmp_path: Path) -> None:
    code = """
        asyncio.run(program.main(sys.argv[1]))
        asyncio.run(program.main(sys.argv[1] + "/second"))
    """
    with collecting() as collector:
        program(tmp_path, code, OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint)
    assert collector.spans.count("invoke_agent desk") == 2 and len(collector.services) == 1


def test_content_leaves_where_the_contract_says_so(tmp_path: Path) -> None:
    code = """
        from msgspec.structs import replace
        from plimsoll.contract.model import TelemetrySection
        program.CONTRACT = replace(program.CONTRACT, telemetry=TelemetrySection(record_content=True))
        asyncio.run(program.main(sys.argv[1]))
    """
    with collecting() as collector:
        program(tmp_path, code, OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint)
    for secret in (b"s3cr3t-input", b"s3cr3t-result", b"s3cr3t-answer", b"s3cr3t-error"):
        assert secret in collector.everything()


@pytest.mark.parametrize("status", [500, 503, 404])
def test_a_collector_that_answers_with_errors_breaks_no_program(tmp_path: Path, status: int) -> None:
    with collecting(status) as collector:
        assert program(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint, **hasty()) == "telemetry True"
        assert collector.asked.is_set()


def test_a_collector_that_is_not_there_breaks_no_program(tmp_path: Path) -> None:
    with collecting() as collector:
        gone = collector.endpoint
    assert program(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=gone, **hasty()) == "telemetry True"


def test_a_collector_that_never_answers_breaks_no_program(tmp_path: Path) -> None:
    with collecting(0) as collector:
        assert program(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint, **hasty()) == "telemetry True"
        assert collector.asked.is_set() and not collector.answered


def hasty() -> dict[str, str]:
    """An exporter that gives up soon, so that the process can end."""
    return {"OTEL_EXPORTER_OTLP_TIMEOUT": "1"}


def test_what_is_not_installed_or_unknown_is_named() -> None:
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    with pytest.raises(Misuse, match="no exporter 'by_pigeon' for traces is installed: `pip install opentelemetry-exp"):
        from_environment({"OTEL_TRACES_EXPORTER": "by_pigeon"}, service="desk")
    with pytest.raises(Misuse, match="OTEL_EXPORTER_OTLP_LOGS_PROTOCOL is one of http/protobuf"):
        from_environment(endpoint | {"OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": "smoke"}, service="desk")
    assert from_environment({}, service="desk") is None


def test_a_variable_that_the_sdk_cannot_take_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "long")
    with pytest.raises(
        Misuse, match=r"TracerProvider cannot be set up \(OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT must be"
    ):
        from_environment({"OTEL_TRACES_EXPORTER": "console"}, service="desk")


def test_a_port_of_the_environment_that_is_taken_is_named(tmp_path: Path) -> None:
    code = """
        try:
            asyncio.run(program.main(sys.argv[1]))
        except Exception as error:
            print(type(error).__name__, error)
    """
    with collecting() as collector:
        taken = {
            "OTEL_EXPORTER_PROMETHEUS_HOST": "127.0.0.1",
            "OTEL_EXPORTER_PROMETHEUS_PORT": collector.endpoint.rpartition(":")[2],
        }
        printed = program(tmp_path, code, OTEL_METRICS_EXPORTER="prometheus", **taken)
    assert printed.startswith("Misuse ") and "in use): look at its OTEL_… variables" in printed


def test_metrics_are_served_and_a_port_that_is_taken_is_named() -> None:
    meters, port = serve_metrics(port=0)
    meters.get_meter("test").create_counter("plimsoll.test").add(3)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        assert "plimsoll_test_total 3.0" in answer.read().decode()
    with pytest.raises(Misuse, match=f"metrics cannot be served at 127.0.0.1:{port}"):
        serve_metrics(port=port)
    meters.shutdown()


def test_metrics_may_be_served_besides_and_the_address_is_told(tmp_path: Path) -> None:
    code = """
        from plimsoll.runtime.local import telemetry_of
        made = telemetry_of(program.CONTRACT, environ={}, metrics_at=("127.0.0.1", 0))
        asyncio.run(program.main(sys.argv[1]))
        import urllib.request
        text = urllib.request.urlopen(made.served_at, timeout=10).read().decode()
        print('plimsoll_runs_total{gen_ai_agent_name="desk",plimsoll_run_ending="degraded"} 1.0' in text)
        try:
            telemetry_of(program.CONTRACT, environ={}, metrics_at=("127.0.0.1", 0))
        except Exception as error:
            print(error)
    """
    assert program(tmp_path, code).splitlines() == [
        "telemetry True",
        "True",
        "metrics are set up in this process already, and cannot be served besides",
    ]
