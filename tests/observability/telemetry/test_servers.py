"""What is told arrives where users send it: at an MLflow server, and at a Prometheus whose rule fires."""

import json
import os
import subprocess
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plimsoll.core.events import Finding
from plimsoll.observability.telemetry import OpenTelemetry, serve_metrics
from tests.deploy.test_watching import RULES
from tests.observability.telemetry.heard import Heard, ToldDesk
from tests.observability.telemetry.running import Server, asked, installed, mlflow_python, running, until
from tests.observability.telemetry.test_environment import program
from tests.runtime.bench import simulated

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(1200)]

READ = """
import json, mlflow, sys
mlflow.set_tracking_uri(sys.argv[1])
traces = mlflow.search_traces(locations=[sys.argv[2]], return_type="list")
print(json.dumps([
    {"name": s.name, "kind": s.span_type, "id": s.span_id, "parent": s.parent_id, "attributes": s.attributes}
    for trace in traces for s in trace.data.spans
], default=str))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    return mlflow_python(tmp_path_factory.mktemp("mlflow") / "venv")


@pytest.fixture
def mlflow(python: str, tmp_path: Path) -> Iterator[Server]:
    def command(port: int) -> list[str]:
        store = ["--backend-store-uri", f"sqlite:///{tmp_path}/mlflow.db", "--artifacts-destination", str(tmp_path)]
        return [python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1", *store]

    with running(command, healthy="/health", folder=tmp_path, within_s=300) as server:
        yield server


def test_spans_arrive_at_mlflow_and_are_read_back(mlflow: Server, python: str, tmp_path: Path) -> None:
    made = asked(f"{mlflow.url}/api/2.0/mlflow/experiments/create", {"name": "desk"})
    experiment = made["experiment_id"]
    program(
        tmp_path,
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{mlflow.url}/v1/traces",
        OTEL_EXPORTER_OTLP_TRACES_HEADERS=f"x-mlflow-experiment-id={experiment}",
    )

    def read() -> list[dict[str, Any]]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PYTHON"))}
        done = subprocess.run(
            [python, "-c", READ, mlflow.url, experiment],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        spans: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
        return spans

    spans = until(read, within_s=60)
    by_name = {span["name"]: span for span in spans}
    assert by_name.keys() == {"invoke_agent desk", "execute_tool look", "chat primary", "attempt primary"}
    agent = by_name["invoke_agent desk"]
    assert agent["parent"] is None and agent["attributes"]["plimsoll.run.ending"] == "degraded"
    assert by_name["chat primary"]["parent"] == by_name["execute_tool look"]["parent"] == agent["id"]
    assert by_name["attempt primary"]["parent"] == by_name["chat primary"]["id"]
    assert by_name["chat primary"]["attributes"]["gen_ai.response.model"] == "backup"
    assert by_name["attempt primary"]["attributes"]["error.type"] == "connection"
    assert "s3cr3t" not in json.dumps(spans)


def test_prometheus_scrapes_and_a_rule_fires(tmp_path: Path) -> None:
    heard = Heard()
    meters, port = serve_metrics(port=0)
    heard.telemetry = OpenTelemetry(tracer_provider=heard.tracers, meter_provider=meters, logger_provider=heard.loggers)
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [{"job_name": "plimsoll", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}],
    }
    (tmp_path / "prometheus.yml").write_text(json.dumps(config))  # which is YAML, too
    binary = installed("prometheus")

    def command(at: int) -> list[str]:
        data = ["--storage.tsdb.path=data", f"--web.listen-address=127.0.0.1:{at}"]
        return [binary, "--config.file=prometheus.yml", *data]

    async def main() -> None:
        live = ToldDesk(heard).live()
        await live.run({"order": "W1"}, run_id="r")
        live.alert(Finding(kind="run_stuck", severity="critical", message="s3cr3t", dependency="journal"))

    with running(command, healthy="/-/ready", folder=tmp_path, within_s=60) as server:

        def scraped() -> Any:
            found = asked(f"{server.url}/api/v1/query?query=up")
            return found and [each for each in found["data"]["result"] if each["value"][1] == "1"]

        def value(query: str) -> Any:
            return asked(f"{server.url}/api/v1/query?query={urllib.parse.quote(query)}")["data"]["result"]

        def firing() -> Any:
            alerts = asked(f"{server.url}/api/v1/alerts")["data"]["alerts"]
            return [alert for alert in alerts if alert["state"] == "firing"]

        until(scraped, within_s=60)
        assert firing() == []
        simulated(main)
        (alert,) = until(firing, within_s=60)
        assert alert["labels"]["alertname"] == "PlimsollCriticalFinding"
        assert alert["labels"]["plimsoll_finding_kind"] == "run_stuck"
        assert alert["annotations"]["summary"] == "desk: run_stuck journal"
        (runs,) = until(lambda: value('plimsoll_runs_total{plimsoll_run_ending="complete"}'), within_s=60)
        assert runs["value"][1] == "1"
    meters.shutdown()
    heard.close()
