"""Checks of `[tools]` against the tools that the agent really has."""

from typing import Any

import pytest

from plimsoll.contract.checking import check_contract
from plimsoll.contract.model import AgentSection, Contract, Tool
from plimsoll.contract.shapes import ToolShape
from tests.contract.sound import FIND, REFUND, RETRIED, SOUND, changed, found


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("amount > 50", None),
        ("amuont > 50", "error refund has no argument amuont, so the rule can never be decided → did you mean amount?"),
        ("sum > 50", "error refund has no argument sum, so the rule can never be decided → it has amount, reason"),
        ("customer.age > 50", "error refund has no argument customer.age, so the rule can never be decided"),
        ("amount.x > 50", "error refund has no argument amount.x"),
        ("customer.tier == 'gold'", None),
        ("customer.tier == 5", "error can never be decided: text is compared with a number, at column 1 of the rule"),
        ("amount > 'x'", "error can never be decided: a number is compared by > with text"),
        ("lower(amount) == 'x'", "error can never be decided: this is a number, at column 7 of the rule → lower needs"),
        (
            "amount",
            "error can never be decided: this is a number, at column 1 of the rule → a rule needs true or false",
        ),
        ("'x' in tags and len(tags) > 1", None),
        ("tags > 1", "error can never be decided: a list is compared by > with a number"),
        ("extra > 1 or extra == 'x'", None),
        ("bag.anything > 1", "warning bag.anything may be left out, and then the rule cannot be decided"),
        ("given(bag.anything) and bag.anything == 'x'", "error can never be decided: a number is compared with text"),
        ("reason == 'x'", "warning reason may be left out, and then the rule cannot be decided"),
        ("given(reason) and reason == 'x'", None),
        ("given(reason) and reason > 5", "error can never be decided: text or null is compared by >"),
        ("reason == null or reason == 'x'", "warning reason may be left out"),
    ],
)
def test_rules_are_compared_with_the_tools_arguments(rule: str, expected: str | None) -> None:
    text = changed(("amount > 50", rule))
    actual = [line.replace(" 18: tools.refund.approval.when:", "") for line in found(text, [REFUND, FIND])]
    if expected is None:
        assert actual == []
    else:
        assert len(actual) == 1
        assert actual[0].startswith(expected)


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"type": "object", "properties": {}, "additionalProperties": True},
        {"type": "object"},
        {"$ref": "https://example.com/schema"},
        {"$ref": "#/$defs/missing"},
        {"$ref": "#"},
        {"$ref": 5},
        {"properties": {"a": {"type": "number"}}, "required": True},
        {"properties": [], "required": ["a"]},
        {"anyOf": [], "type": "object"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}},
        {
            "properties": {"amount": {"const": None, "type": "string"}, "x": 1},
            "additionalProperties": {"type": "number"},
        },
        {"oneOf": [{"properties": {"a": {"type": "number"}}}, {"type": "object", "additionalProperties": True}]},
        {"properties": {"a": {"type": "nonsense"}}, "required": ["a"]},
        {"properties": {"a": {"type": ["number", "null"]}}, "required": ["a"]},
        {"properties": {"a": {"enum": []}}, "required": ["a"]},
        {"properties": {"a": {"allOf": [{"$ref": "#/properties/b"}]}, "b": {"type": "integer"}}, "required": ["a"]},
        {"properties": {"a": True}, "required": ["a"]},
    ],
)
def test_schemas_that_say_little_give_no_errors(parameters: dict[str, Any]) -> None:
    shape = ToolShape(name="refund", parameters=parameters)
    lines = found(changed(("amount > 50", "a > 1")), [shape, FIND])
    assert [line for line in lines if line.startswith("error")] == []


@pytest.mark.timeout(5)
def test_a_schema_that_refers_to_itself_takes_no_time() -> None:
    everything = [{"$ref": f"#/$defs/{number}"} for number in range(40)]
    definition = {"anyOf": [{"type": "object", "properties": {"a": {"anyOf": everything}}}, *everything]}
    schema = {
        "properties": {"a": {"anyOf": everything}},
        "required": ["a"],
        "$defs": {str(number): definition for number in range(40)},
    }
    lines = found(
        changed(("amount > 50", ".".join("a" * 20) + " > 1")), [ToolShape(name="refund", parameters=schema), FIND]
    )
    assert "may be left out" in lines[0]


def test_a_tool_without_arguments_has_none() -> None:
    shape = ToolShape(name="refund", parameters={"type": "object", "properties": {}})
    (line,) = found(SOUND, [shape, FIND])
    assert line.endswith("refund has no argument amount, so the rule can never be decided → it has no arguments")


def test_tools_that_are_not_declared_are_told() -> None:
    assert found(SOUND, [REFUND, FIND, ToolShape(name="mail")]) == [
        "warning 13: tools.mail: the agent has this tool, and nothing is decided about it: it is taken for a write "
        "→ declare its effect"
    ]


def test_tools_that_the_agent_does_not_have_are_told() -> None:
    lines = found(SOUND, [ToolShape(name="refunds")])
    assert lines == [
        "warning 13: tools.find: the agent has no such tool → it has refunds",
        "warning 13: tools.refunds: the agent has this tool, and nothing is decided about it: it is taken for a write "
        "→ declare its effect",
        "error 15: tools.refund: the agent has no such tool, so this protects nothing → did you mean refunds?",
    ]
    assert found(SOUND, [])[0] == "warning 13: tools.find: the agent has no such tool → it has no tools"


@pytest.mark.parametrize(
    ("effect", "hints", "name", "expected"),
    [
        ("read", {"read_only_hint": True}, "refund", None),
        ("read", {"read_only_hint": False}, "find", "the tool itself says that it is no read (readOnlyHint)"),
        ("read", {}, "find", None),
        ("read", {}, "refund", "declared a read, and its name sounds like a write"),
        ("read", {}, "deleteOrder", "declared a read, and its name sounds like a write"),
        ("read", {}, "zap", None),
        ("idempotent", {"idempotent_hint": False}, "refund", "the tool itself says that it is not idempotent"),
        ("idempotent", {}, "refund", None),
        ("write", {"read_only_hint": True}, "refund", None),
    ],
)
def test_effects_are_compared_with_the_tools_hints(
    effect: str, hints: dict[str, bool], name: str, expected: str | None
) -> None:
    extra = "verify = 'a:verify'\n" if effect == "write" else f"retry.on = {RETRIED}\n"
    extra += "claims = ['x']\n" if effect != "read" else ""
    extra += "output = { type = 'array' }\n"
    models, _, rest = SOUND.partition("[tools.find]")
    retries = rest[rest.index("[models.primary.retry]") :]
    text = f"{models}[tools.{name}]\neffect = '{effect}'\n{extra}[gate]\nscenarios = 'a:b'\n{retries}"
    lines = found(text, [ToolShape(name=name, **hints)])  # type: ignore[arg-type]
    if expected is None:
        assert lines == []
    else:
        assert len(lines) == 1
        assert expected in lines[0]


@pytest.mark.parametrize("error", ["CallTimeout", "TimeoutError", "OutputRejected"])
def test_an_error_that_proves_nothing_cannot_be_declared_to(error: str) -> None:
    contract = Contract(agent=AgentSection(name="a"), tools={"pay": Tool(proves_nothing_happened=("Refused", error))})
    (problem,) = [problem for problem in check_contract(contract) if problem.severity == "error"]
    assert f"{error} proves nothing" in problem.what
