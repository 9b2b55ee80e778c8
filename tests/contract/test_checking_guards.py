"""What `plimsoll check` says of guards."""

from pathlib import Path

import msgspec
import pytest

from plimsoll.contract.checking import check_contract
from plimsoll.contract.loading import Source, load_source, parse_contract
from plimsoll.contract.model import Mode
from plimsoll.contract.shapes import ToolShape
from plimsoll.core.errors import ContractError

HEAD = '[agent]\nname = "a"\n[tools.read]\neffect = "read"\n[tools.pay]\neffect = "write"\n'
LOOK = ToolShape(name="read", description="", parameters={})
PAY = ToolShape(name="pay", description="", parameters={})


def guard(name: str = "injection", **changes: object) -> str:
    fields = {"model": "models/injection", "on": ["input"], "label": "injection", "above": 0.9, **changes}
    lines = (f"{field} = {msgspec.json.encode(value).decode()}" for field, value in fields.items())
    return f"{HEAD}[guards.{name}]\n" + "\n".join(lines) + "\n"


def said(text: str, *, tools: list[ToolShape] | None = None) -> list[str]:
    problems = check_contract(parse_contract(text, file="p.toml"), tools=tools)
    return [f"{problem.severity}: {problem}" for problem in problems if problem.field.startswith("guards")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (guard(on=[]), "error: p.toml:1: guards.injection.on: is empty"),
        (guard(action="hand_over"), "guards.injection.approvers: names nobody"),
        (guard(action="hand_over", approvers=[" "]), "guards.injection.approvers: names nobody"),
        (guard(on=["output"], action="replace"), "guards.injection.replacement: is missing"),
        (guard(action="replace", replacement="no"), "guards.injection.action: cannot replace what the agent is asked"),
        (
            guard(on=["tool_result"], action="replace", replacement="no", tools=["pay"]),
            "guards.injection.action: would hide that pay was carried out",
        ),
        (guard(on=["tool_result"], tools=["raed"]), "tools[0]: there is no tool raed → did you mean read?"),
        (guard(on=["output"], unless_done=["gone"]), "guards.injection.unless_done[0]: there is no tool gone"),
        (guard("pay"), "guards.pay: a model or a tool is called pay too"),
        (guard("primary"), "guards.primary: a model or a tool is called primary too"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_an_error(text: str, expected: str) -> None:
    assert [line for line in said(text) if expected.removeprefix("error: p.toml:1: ") in line and line[:5] == "error"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (guard(tools=["read"]), "guards.injection.tools: no tool's result is judged"),
        (guard(unless_done=["pay"]), "guards.injection.unless_done: no output is judged"),
        (guard(replacement="no"), "guards.injection.replacement: is never told"),
        (guard(approvers=["ana"]), "guards.injection.approvers: are never asked"),
        (guard(action="hand_over", approvers=["ana"], expires_s=5), "guards.injection.expires_s: 5 s is too short"),
        (guard(on_failure="pass"), "guards.injection.on_failure: is pass"),
    ],
)
def test_what_may_be_meant_is_a_warning(text: str, expected: str) -> None:
    assert [line for line in said(text) if expected in line and line.startswith("warning")]


def test_a_sound_guard_is_not_mentioned() -> None:
    whole = guard(on=["input", "tool_result", "output"], tools=["read"], unless_done=["pay"])
    assert said(whole, tools=[LOOK, PAY]) == []


def test_tools_are_those_that_the_agent_has() -> None:
    text = guard(on=["tool_result"], tools=["read"])
    assert said(text, tools=[LOOK]) == []
    assert "there is no tool read" in said(text, tools=[PAY])[0]


@pytest.mark.parametrize("above", [0, 1, 1.5, -0.1])
def test_a_threshold_is_between_0_and_1(above: float) -> None:
    with pytest.raises(ContractError, match=r"p.toml:11: guards.injection.above: is .* → a number greater than 0"):
        parse_contract(guard(above=above), file="p.toml")


def test_a_place_that_there_is_not_is_told() -> None:
    with pytest.raises(ContractError, match="one of input, output, tool_result"):
        parse_contract(guard(on=["everything"]), file="p.toml")


def test_guards_that_only_observe_are_told() -> None:
    text = f'{guard()}[protections]\nguards = "observe"\n'
    contract = parse_contract(text, file="p.toml")
    assert contract.protections.guards is Mode.OBSERVE
    problems = check_contract(contract, source=Source("p.toml", text))
    assert [each.line for each in problems if each.field == "protections.guards"] == [13]


@pytest.mark.parametrize(
    ("manifest", "field", "expected"),
    [
        (None, "model", "there is no"),
        ("no json", "model", "cannot be read"),
        ('{"kind": "export"}', "model", "cannot be read"),
        ('{"kind": "model", "labels": ["injection"]}', "model", "is of kind `model`"),
        ('{"kind": "export", "labels": ["injections"]}', "label", "its model knows no label 'injection'"),
        ('{"kind": "export", "labels": ["injection", "other"], "more": 1}', "", ""),
    ],
)
def test_its_model_is_looked_for(tmp_path: Path, manifest: str | None, field: str, expected: str) -> None:
    (tmp_path / "plimsoll.toml").write_text(guard())
    if manifest is not None:
        (tmp_path / "models/injection").mkdir(parents=True)
        (tmp_path / "models/injection/plimsoll-model.json").write_text(manifest)
    source = load_source(tmp_path / "plimsoll.toml")
    problems = check_contract(parse_contract(source.text, file=source.file), source=source)
    found = [each for each in problems if each.field.startswith("guards")]
    assert [each.field for each in found] == ([f"guards.injection.{field}"] if field else [])
    assert all(expected in each.what for each in found)


def test_a_model_in_a_registry_is_not_looked_for(tmp_path: Path) -> None:
    (tmp_path / "plimsoll.toml").write_text(guard(model="registry:injection@champion"))
    source = load_source(tmp_path / "plimsoll.toml")
    problems = check_contract(parse_contract(source.text, file=source.file), source=source)
    assert not [each for each in problems if each.field.startswith("guards")]


def test_a_gateway_has_none() -> None:
    text = f'{guard()}[gateway.upstreams.openai]\nbase_url = "https://api.openai.com/v1"\n'
    assert [line for line in said(text) if "guards.injection: judges texts of an agent" in line]
