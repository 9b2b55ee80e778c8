import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll.contract.checking import check_contract
from plimsoll.contract.loading import Source, parse_contract
from plimsoll.contract.model import AgentSection, Contract, JournalSection, Limits
from plimsoll.contract.shapes import ToolShape, guess_effect
from plimsoll.contract.writing import initial_contract
from plimsoll.core.calls import Effect
from plimsoll.policies.output_check import check_value


def parameters(**types: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: {"type": kind} for name, kind in types.items()},
        "required": list(types),
    }


TOOLS = [
    ToolShape(
        name="find_order", read_only_hint=True, description="Finds an order.", parameters=parameters(id="string")
    ),
    ToolShape(name="get_user", parameters=parameters(id="string")),
    ToolShape(name="set_address", idempotent_hint=True, parameters=parameters(address="string")),
    ToolShape(name="refund", parameters=parameters(order="string", amount="number")),
    ToolShape(name="charge", parameters=parameters(total_cents="integer")),
    ToolShape(name="quote", parameters=parameters(totalPrice="string")),
    ToolShape(name="send mail", read_only_hint=False, parameters=parameters(to="string")),
]


def written(**changes: Any) -> str:
    settings: dict[str, Any] = {"agent_name": "shop", "entrypoint": "shop.agent:agent", "tools": TOOLS}
    return initial_contract(**settings | changes)


def sound(text: str, tools: list[ToolShape]) -> Contract:
    contract = parse_contract(text, file="p.toml")
    problems = check_contract(contract, source=Source("p.toml", text), tools=tools)
    assert [str(problem) for problem in problems if problem.severity == "error"] == []
    return contract


def switched_on(text: str) -> str:
    return re.sub(r"^#(?=[a-z\[])", "", text, flags=re.MULTILINE)


def test_it_is_sound_and_decides_safely() -> None:
    contract = sound(written(models=["openai:gpt-5", "openai:gpt-5", "anthropic:claude"]), TOOLS)
    assert contract.agent == AgentSection(name="shop", entrypoint="shop.agent:agent")
    assert contract.limits == Limits()
    assert contract.models["primary"].fallback == ("fallback_1", "canned")
    assert contract.models["primary"].id is None
    assert contract.models["fallback_1"].id == "anthropic:claude"
    assert contract.models["canned"].may_write is False
    assert {name: tool.effect for name, tool in contract.tools.items()} == {
        "find_order": Effect.READ,
        "get_user": Effect.WRITE,
        "set_address": Effect.IDEMPOTENT,
        "refund": Effect.WRITE,
        "charge": Effect.WRITE,
        "quote": Effect.WRITE,
        "send mail": Effect.WRITE,
    }


def test_money_is_asked_about_from_the_start() -> None:
    contract = sound(written(approvers=["ann", "bob"]), TOOLS)
    asked = {name: tool.approval.when for name, tool in contract.tools.items() if tool.approval}
    assert asked == {"refund": "amount > 50", "charge": "total_cents > 5000", "quote": "true"}
    refund = contract.tools["refund"].approval
    assert refund is not None
    assert refund.approvers == ("ann", "bob")


def test_it_accepts_what_it_cannot_know_yet_and_nothing_else() -> None:
    todo = ("parked_writes", "unchecked_answers", "unnamed_claims", "untried_tools", "unpriced_models")
    text = written(models=["openai:gpt-5", "anthropic:claude"])
    assert sound(text, TOOLS).gate.accepts == todo
    assert sound(written(models=["openai:gpt-5"]), TOOLS).gate.accepts == ("canned_answers", *todo)
    reading = [tool for tool in TOOLS if tool.read_only_hint]
    assert sound(written(tools=reading), reading).gate.accepts == (
        "canned_answers",
        "unchecked_answers",
        "untried_tools",
        "unpriced_models",
    )
    problems = check_contract(parse_contract(text, file="p.toml"), source=Source("p.toml", text), tools=TOOLS)
    assert [problem.field for problem in problems] == ["gate.scenarios"]
    for name in todo:
        assert re.search(rf'^    "{name}",  # until ', text, re.MULTILINE)


def test_what_it_accepts_nothing_needs_any_longer_once_all_is_filled_in() -> None:
    text = switched_on(written(models=["openai:gpt-5"]))
    contract = parse_contract(text, file="p.toml")
    told = [str(problem) for problem in check_contract(contract, source=Source("p.toml", text), tools=TOOLS)]
    idle = [line for line in told if "nothing here needs" in line]
    assert [name for name in contract.gate.accepts if any(name in line for line in idle)] == [
        "parked_writes",
        "unchecked_answers",
        "unpriced_models",
    ]


def test_where_dependencies_come_from_is_there_to_be_filled_in() -> None:
    assert '\n#deps = "shop.agent:make_deps"  # what makes the tools\' dependencies' in written()
    contract = sound(switched_on(written()), TOOLS)
    assert (contract.agent.deps, contract.agent.harness) == ("shop.agent:make_deps", "shop.agent:make")


def test_that_a_journal_can_be_encrypted_is_told_where_it_is_named() -> None:
    section = written()[written().index("[journal]") :].partition("\n[gate]")[0]
    assert "#encrypt = true\n" in section and "plimsoll keys make journal.key" in section
    assert "can never be erased" in section
    assert sound(written(), TOOLS).journal == JournalSection()
    journal = sound(switched_on(written()), TOOLS).journal
    assert (journal.encrypt, journal.key_file, journal.signing_key_file) == (True, "journal.key", "audit.key")


def test_everything_that_is_switched_off_can_be_switched_on() -> None:
    text = switched_on(written(models=["openai:gpt-5"]))
    contract = sound(text, TOOLS)
    writes = {name: tool for name, tool in contract.tools.items() if tool.effect is Effect.WRITE}
    assert all(tool.verify for tool in writes.values())
    assert {name for name, tool in writes.items() if tool.claims and tool.approval} == {*writes} - {"get_user"}
    assert contract.tools["send mail"].verify == "shop.agent:verify_send_mail"
    assert contract.models["primary"].id == "openai:gpt-5"
    assert contract.gate.scenarios == "shop.agent_scenarios:SCENARIOS"


def test_a_guess_is_a_comment_and_no_decision() -> None:
    text = written()
    assert 'effect = "write"  # its name looks like a read: if it changes nothing, write "read"' in text
    assert text.count("looks like a read") == 1
    assert "# Finds an order." in text


def test_a_fresh_contract_takes_a_healthy_empty_answer_for_one() -> None:
    contract = sound(written(), TOOLS)
    for name in contract.tools:
        rule = contract.tools[name].output
        assert [check_value(value, rule) for value in (None, [], {})] == [None] * 3
        assert check_value("", rule) is not None
    assert written().count("\n#output = {") == len(TOOLS)
    assert "may_be_empty" in written()


def test_an_agent_without_tools_models_or_place_has_a_contract_too() -> None:
    text = initial_contract(agent_name="  ", entrypoint=None, tools=[])
    assert sound(text, []).agent == AgentSection(name="agent")
    assert sound(switched_on(text), []).agent.entrypoint == "module:agent"


@pytest.mark.parametrize(
    "description",
    ['ends"\neffect = "read"\n[tools.refund]', "a\rb\x00\x1b[31m\x7f\u2028c", "x" * 500, "\ud800 half a pair", "# # #"],
)
def test_a_description_is_one_line_of_comment(description: str) -> None:
    tool = ToolShape(name="refund", description=description)
    text = written(tools=[tool])
    assert sound(text, [tool]).tools["refund"].effect is Effect.WRITE
    comment = text.split("\n[tools.refund]")[0].rpartition("\n")[2]
    assert comment.startswith("# ")
    assert len(comment) <= 102
    assert comment.isprintable()


@settings(deadline=None)
@given(
    st.text(max_size=20),
    st.lists(st.text(min_size=1, max_size=12), max_size=4, unique=True),
    st.text(max_size=40),
    st.lists(st.text(min_size=1, max_size=12), max_size=3, unique=True),
    st.sampled_from(["amount", "price in €", "a-total", "größe total", ""]),
)
def test_no_name_and_no_text_breaks_it(
    agent: str, names: list[str], description: str, models: list[str], argument: str
) -> None:
    tools = [
        ToolShape(name=name, description=description, parameters=parameters(**{argument: "number"})) for name in names
    ]
    models = [model for model in models if model != ""]
    text = initial_contract(agent_name=agent, entrypoint="a:b", tools=tools, models=models)
    contract = sound(text, tools)
    assert list(contract.tools) == names
    assert [model.id for model in contract.models.values() if model.id] == models[1:]
    sound(switched_on(text), tools)


@pytest.mark.parametrize(
    ("name", "effect"),
    [
        ("get_user", Effect.READ),
        ("searchOrders", Effect.READ),
        ("HTTPGet", None),
        ("delete-order", Effect.WRITE),
        ("SendMail", Effect.WRITE),
        ("gettysburg", None),
        ("think", None),
        ("", None),
        ("42", None),
    ],
)
def test_effects_are_guessed_by_the_first_word(name: str, effect: Effect | None) -> None:
    assert guess_effect(name) is effect
