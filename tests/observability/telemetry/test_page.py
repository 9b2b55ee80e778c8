"""The page has every span, metric, event and attribute that is told, with its unit, and no other."""

import importlib
import re
from pathlib import Path

import pytest

from plimsoll.observability.telemetry import names
from tests.deploy.test_watching import everything_happens
from tests.observability.telemetry.heard import Heard
from tests.runtime.bench import simulated

PAGE = (Path(__file__).parents[3] / "docs" / "telemetry.md").read_text()
RULES = (Path(names.__file__).parents[2] / "deploy" / "prometheus" / "plimsoll.rules.yml").read_text()
NAMES = {
    value
    for name, value in vars(names).items()
    if name.isupper() and isinstance(value, str) and re.fullmatch(r"(gen_ai|plimsoll|error)\.[a-z_.]+", value)
}
WRITTEN = re.compile(r"`((?:gen_ai|plimsoll)\.[a-z_.]+|error\.type)`")


@pytest.fixture(scope="module")
def metrics() -> dict[str, tuple[str, set[str]]]:
    """The unit and the attributes of every metric that is told where everything happens, by its name."""
    heard = Heard()
    simulated(lambda: everything_happens(heard))
    attributes: dict[str, set[str]] = {}
    for name, told, _ in heard.points():
        attributes.setdefault(name, set()).update(told)
    found = {metric.name: (metric.unit, attributes[metric.name]) for metric in heard.metrics()}
    heard.close()
    return found


def section(heading: str) -> str:
    return PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def test_every_name_is_on_the_page_and_no_other(metrics: dict[str, tuple[str, set[str]]]) -> None:
    modules = {name for name in WRITTEN.findall(PAGE) if name.startswith("plimsoll.observability")} | {
        "plimsoll.telemetry"
    }
    assert set(WRITTEN.findall(PAGE)) - modules == NAMES | metrics.keys()


def test_the_metrics_stand_with_their_units_and_attributes(metrics: dict[str, tuple[str, set[str]]]) -> None:
    rows = re.findall(r"^\| `([\w.]+)` \| (\w+) \| `([^`]+)` \| [^|]+ \|([^|]*)\|$", section("Metrics"), re.MULTILINE)
    assert {name: unit for name, _, unit, _ in rows} == {name: unit for name, (unit, _) in metrics.items()}
    above: set[str] = set()
    for name, _, _, told in rows:
        attributes = set(WRITTEN.findall(told)) | (above if "as above" in told else set())
        assert metrics[name][1] <= attributes | {"gen_ai.agent.name"}, name
        above = attributes


def test_every_span_is_in_the_table() -> None:
    heard = Heard()
    simulated(lambda: everything_happens(heard))
    kinds = {(span.name.split()[0], span.kind.name.lower()) for span in heard.spans}
    heard.close()
    rows = re.findall(r"^\| `(\w+) \{\w+\}` \| (\w+) \|", section("Spans"), re.MULTILINE)
    assert set(rows) == kinds


def test_the_alerts_are_those_of_the_rules() -> None:
    rows = re.findall(r"^\| `(Plimsoll\w+)` \|", section("Prometheus and its rules"), re.MULTILINE)
    assert rows == re.findall(r"- alert: (\w+)", RULES)


def test_a_name_of_the_conventions_is_written_as_they_write_it() -> None:
    registry = importlib.import_module("opentelemetry.semconv._incubating.attributes.gen_ai_attributes")
    known = {value for name, value in vars(registry).items() if name.startswith("GEN_AI_") and isinstance(value, str)}
    assert {name for name in NAMES if name.startswith("gen_ai.")} <= known
