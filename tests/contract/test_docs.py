"""The reference page says what the models say, and its examples are what they claim to be."""

import re
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec
import pytest

from plimsoll.contract.checking import check_contract
from plimsoll.contract.concessions import CONCESSIONS
from plimsoll.contract.expressions import compile_rule
from plimsoll.contract.loading import Source, parse_contract
from plimsoll.contract.model import (
    GATE_CLAIMS,
    AgentSection,
    AlertsSection,
    Approval,
    BulkheadSection,
    CircuitBreakerSection,
    Connection,
    Contract,
    DayLimits,
    Fresh,
    GateSection,
    GatewaySection,
    GuardSection,
    HedgeSection,
    JournalSection,
    Limits,
    Model,
    OutputRule,
    Protections,
    RateLimitSection,
    Retry,
    ServiceLevel,
    ServiceLevels,
    TelemetrySection,
    Tool,
    Upstream,
)
from plimsoll.contract.rule_syntax import FUNCTIONS, MAX_SOURCE
from plimsoll.core.calls import Effect, Fault
from plimsoll.core.errors import ContractError
from plimsoll.gate.verdict import CLAIMS

PAGE = (Path(__file__).parents[2] / "docs" / "contract.md").read_text(encoding="utf-8")
SECTIONS: dict[str, type[msgspec.Struct]] = {
    "`[agent]`": AgentSection,
    "`[limits]`": Limits,
    "`[limits.day]`": DayLimits,
    "`[protections]`": Protections,
    "`[models.NAME]`": Model,
    "`[tools.NAME]`": Tool,
    "`[models.NAME.retry]` and `[tools.NAME.retry]`": Retry,
    "`[models.NAME.hedge]` and `[tools.NAME.hedge]`": HedgeSection,
    "`[models.NAME.circuit_breaker]` and `[tools.NAME.circuit_breaker]`": CircuitBreakerSection,
    "`[models.NAME.rate_limit]` and `[tools.NAME.rate_limit]`": RateLimitSection,
    "`[models.NAME.bulkhead]` and `[tools.NAME.bulkhead]`": BulkheadSection,
    "`[tools.NAME.approval]`": Approval,
    "`[tools.NAME.output]`": OutputRule,
    "`[tools.NAME.output.fresh]`": Fresh,
    "`[guards.NAME]`": GuardSection,
    "`[connections.NAME]`": Connection,
    "`[journal]`": JournalSection,
    "`[service_levels]`": ServiceLevels,
    "`[service_levels.runs]`, `[service_levels.models.NAME]` and `[service_levels.tools.NAME]`": ServiceLevel,
    "`[alerts]`": AlertsSection,
    "`[telemetry]`": TelemetrySection,
    "`[gate]`": GateSection,
    "`[gateway]`": GatewaySection,
    "`[gateway.upstreams.NAME]`": Upstream,
}


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def section(heading: str) -> str:
    return PAGE.split(f"\n### {heading}\n")[1].split("\n## ")[0].split("\n### ")[0]


def default_of(field: msgspec.structs.FieldInfo) -> Any:
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()


def written(default: Any) -> str:
    match default:
        case msgspec.NODEFAULT:
            return "required"
        case None:
            return "none"
        case bool():
            return f"`{str(default).lower()}`"
        case Enum() | str():
            return f'`"{default}"`'
        case tuple():
            assert default == ()
            return "`[]`"
        case dict():
            assert default == {}
            return "`{}`"
        case msgspec.Struct():
            assert default == type(default)()
            return "`{}`"
        case _:
            return f"`{default!r}`"


@pytest.mark.parametrize(("heading", "model"), SECTIONS.items(), ids=[model.__name__ for model in SECTIONS.values()])
def test_every_field_is_there_with_its_default(heading: str, model: type[msgspec.Struct]) -> None:
    table = section(heading).split("| Field | Default | What it says |\n|---|---|---|\n")[1].split("\n\n")[0]
    rows = [tuple(cell.strip() for cell in line.strip("|").split("|", 2)) for line in table.splitlines()]
    expected = [(f"`{field.encode_name}`", written(default_of(field))) for field in msgspec.structs.fields(model)]
    assert [row[:2] for row in rows] == expected
    assert all(len(row[2]) > 10 for row in rows)


def test_the_gates_claims_are_told_and_no_other_may_be_asked_for() -> None:
    (row,) = [line for line in section("`[gate]`").splitlines() if line.startswith("| `claims`")]
    assert re.findall(r"`(\w+)`", row)[1:] == list(CLAIMS) == list(GATE_CLAIMS)
    with pytest.raises(ContractError, match="one of monitoring"):
        parse_contract('[agent]\nname = "a"\n[gate]\nclaims = ["honsety"]\n', file="p.toml")


def test_the_concessions_are_told_and_no_other_can_be_made() -> None:
    table = section("`[gate]`").split("#### Concessions\n")[1]
    assert re.findall(r"^\| `(\w+)` \| ", table, re.MULTILINE) == list(CONCESSIONS)
    with pytest.raises(ContractError, match="one of canned_answers"):
        parse_contract('[agent]\nname = "a"\n[gate]\naccepts = ["parked"]\n', file="p.toml")


def test_every_section_of_a_contract_has_its_place() -> None:
    names = {heading.split("`")[1].strip("[]").split(".")[0] for heading in SECTIONS}
    assert names == {field.encode_name for field in msgspec.structs.fields(Contract)}
    assert [heading for heading in re.findall(r"^### (.*)$", PAGE, re.MULTILINE)] == list(SECTIONS)


def test_every_word_that_may_be_chosen_is_told() -> None:
    retry = section("`[models.NAME.retry]` and `[tools.NAME.retry]`")
    assert set(re.findall(r"`(\w+)`", retry.split("The faults:")[1].split("\n\n")[0])) - {
        "proves_nothing_happened"
    } == set(Fault)
    assert re.findall(r"^\| `(\w+)` \| ", section("`[tools.NAME]`").split("| Effect |")[1], re.MULTILINE) == list(
        Effect
    )
    functions = re.search(r"^\| Functions \| (.*) \|$", PAGE, re.MULTILINE)
    assert functions is not None
    assert set(re.findall(r"`(\w+)`", functions[1])) == set(FUNCTIONS)
    assert f"at most {MAX_SOURCE:,} characters" in PAGE


@pytest.mark.parametrize("snippet", blocks("toml"))
def test_every_contract_on_the_page_is_sound(snippet: str) -> None:
    text = snippet if "[agent]" in snippet else f'[agent]\nname = "a"\n{snippet}'
    problems = check_contract(parse_contract(text, file="p.toml"), source=Source("p.toml", text))
    assert [str(problem) for problem in problems if problem.severity == "error"] == []


def test_the_worked_example_has_nothing_to_warn_of() -> None:
    (example,) = [snippet for snippet in blocks("toml") if "[tools.refund]" in snippet]
    assert check_contract(parse_contract(example, file="p.toml"), source=Source("p.toml", example)) == []
    rule = compile_rule('amount > 50 or country not in ["US", "CA"]')
    assert rule.source in example
    assert not rule.holds({"amount": 20, "country": "US"})
    assert rule.holds({"amount": 80, "country": "US"})


def test_the_bad_example_is_told_as_the_page_says() -> None:
    (bad,) = blocks("toml bad")
    (messages,) = blocks("text")
    with pytest.raises(ContractError) as caught:
        parse_contract(bad, file="plimsoll.toml")
    assert str(caught.value) == messages.rstrip()


@pytest.mark.parametrize("source", [line for block in blocks("rule") for line in block.splitlines()])
def test_every_rule_on_the_page_is_one(source: str) -> None:
    assert compile_rule(source).source == source


@pytest.mark.parametrize("snippet", blocks("python"))
def test_the_python_on_the_page_runs(snippet: str) -> None:
    exec(compile(snippet, "docs/contract.md", "exec"), {})


def test_every_link_within_the_page_leads_somewhere() -> None:
    headings = {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)
    }
    links = set(re.findall(r"\]\(#([^)]+)\)", PAGE))
    assert links
    assert links <= headings
