"""The alert rules and the dashboard ask for what is really told, and the rules fire when they should."""

import json
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from plimsoll.contract.model import GuardSection, Model
from plimsoll.core.calls import Ending
from plimsoll.core.guards import PhraseGuard
from plimsoll.observability.telemetry import OpenTelemetry, serve_metrics
from tests.observability.telemetry.heard import Heard, ToldDesk
from tests.observability.telemetry.running import installed
from tests.runtime.bench import ON, Crash, CrashingStore, Retry, simulated

DEPLOY = Path(str(files("plimsoll") / "deploy"))
RULES = DEPLOY / "prometheus" / "plimsoll.rules.yml"
DASHBOARD = json.loads((DEPLOY / "grafana" / "plimsoll.json").read_text())
TESTS = Path(__file__).with_name("plimsoll.rules.test.yml")
SELECTOR = re.compile(r"\b([a-z_]+)\{([^}]*)\}")
LABEL = re.compile(r"\b([a-z_]+)\s*(?:=~|!~|!=|=)")
GROUPING = re.compile(r"\bby \(([^)]*)\)")
NAME = re.compile(r"\b(?:gen_ai|plimsoll)_[a-z_]+\b")
IN_TEXT = re.compile(r"{{\s*(?:\$labels\.)?([a-z_]+)\s*}}")


@pytest.fixture(scope="module")
def told() -> dict[str, set[str]]:
    """The labels of every series that a desk tells to which everything happens, by the name of its samples."""
    heard = Heard()
    meters, port = serve_metrics(port=0)
    heard.telemetry = OpenTelemetry(tracer_provider=heard.tracers, meter_provider=meters, logger_provider=heard.loggers)
    simulated(lambda: everything_happens(heard))
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    meters.shutdown()
    heard.close()
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


async def everything_happens(heard: Heard) -> None:
    """Fallbacks, retries, an approval, a crash, a doubt, a refusal, and answers that a guard judges."""
    models = {"primary": Model(fallback=("backup",), retry=Retry(on=ON)), **DEAR}
    judged = GuardSection(model="m", on=("output",), label="claim", above=0.9)
    desk = ToldDesk(heard, verify=False, models=models, guards={"claims": judged})
    desk.judges = {"claims": PhraseGuard("claim", "never said")}

    async def fails(prompt: Any) -> Any:
        raise ConnectionError

    async def lost(site: str, info: Any, exchange: Any, send: Any) -> Any:
        answer = await send()
        if site == "refund" and info.run_id == "doubt":
            raise ConnectionError
        return answer

    desk.models["primary"], desk.intercept = fails, lost
    live = desk.live()
    result = await live.run({"order": "W1", "amount": 80.0}, run_id="approval")
    await live.operations.decide(result.waiting_for[0].request_id, approve=True, by="ana")
    await live.resume("approval")
    assert (await live.run({"order": "W1", "amount": -1.0}, run_id="refused")).ending is Ending.DEGRADED
    await live.run({"order": "W1"}, run_id="doubt")
    with pytest.raises(Crash):
        await desk.live(CrashingStore(desk.store, at=2, keep=99)).run({"order": "W1"}, run_id="crash")
    await desk.live().wake()


DEAR = {"backup": Model(usd_per_million_input_tokens=5.0)}


def queries() -> Iterator[tuple[str, str]]:
    """Every query of the dashboard and of the rules, by where it stands."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["definition"]
    for block in re.split(r"^\s*- alert: ", RULES.read_text(), flags=re.MULTILINE)[1:]:
        expression = re.search(r"expr: (?:\|\n)?(.*?)\n\s*(?:for|labels):", block, re.DOTALL)
        assert expression is not None
        yield block.split()[0], expression[1]


QUERIES = list(queries())


@pytest.mark.parametrize(("where", "query"), QUERIES, ids=[where for where, _ in QUERIES])
def test_every_query_asks_for_what_is_told(told: dict[str, set[str]], where: str, query: str) -> None:
    selectors = SELECTOR.findall(query)
    assert selectors, "no selector: each writes its braces, so that it is seen here"
    labels: set[str] = {"le"}
    for name, inside in selectors:
        assert name in told, f"{name} is told by nobody"
        assert set(LABEL.findall(inside)) <= told[name], f"{name} has no such label"
        labels |= told[name]
    grouped = {label.strip() for group in GROUPING.findall(query) for label in group.split(",")}
    assert grouped <= labels
    assert set(NAME.findall(query)) <= labels | {name for name, _ in selectors}


def test_every_label_in_a_legend_or_a_message_is_one_that_there_is(told: dict[str, set[str]]) -> None:
    known = set().union(*told.values())
    legends = [target["legendFormat"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
    for text in (*legends, RULES.read_text()):
        assert set(IN_TEXT.findall(text)) <= known


def test_every_metric_of_ours_stands_on_the_dashboard(told: dict[str, set[str]]) -> None:
    ours = {
        re.sub(r"_(bucket|count|sum|created)$", "", name) for name in told if name.startswith(("plimsoll", "gen_ai"))
    }
    text = json.dumps(DASHBOARD)
    assert [name for name in sorted(ours) if name not in text] == []


def test_the_panels_have_ids_of_their_own_and_do_not_lie_on_each_other() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = {
        (x, y)
        for panel in panels
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    }
    assert len(places) == sum(panel["gridPos"]["w"] * panel["gridPos"]["h"] for panel in panels)
    assert max(x for x, _ in places) < 24


@pytest.mark.heavy
@pytest.mark.parametrize(
    "command", [("check", "rules", str(RULES)), ("test", "rules", str(TESTS))], ids=["check", "test"]
)
def test_promtool_agrees(command: tuple[str, ...]) -> None:
    done = subprocess.run([installed("promtool"), *command], capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_is_tested() -> None:
    alerts = re.findall(r"^\s*- alert: (\w+)", RULES.read_text(), re.MULTILINE)
    assert alerts and all(f"alertname: {alert}" in TESTS.read_text() for alert in alerts)
