"""Break any one protection of the shipped contract in its file, judge it by itself, and it no longer ships.

Each edit is of the TOML text, and is tried in a few scenarios and cells that tell of it. What the whole campaign tries
besides can only add reasons, so the one that stands here stands there. These are what somebody thought of, each with
its reason; `test_swept` weakens every field.
"""

import functools
from typing import Any

import pytest

from plimsoll.contract.loading import parse_contract
from plimsoll.contract.model import Contract
from tests.examples.assistant.editing import added, both, in_section
from tests.examples.assistant.lowerings import DECISIONS, LOWERED
from tests.examples.assistant.lowerings_of_tools import of_declared, of_tools
from tests.examples.assistant.shipped import DOUBT, SHIPPED, TEXT, USED_IN, Lowered, Tried, everywhere
from tests.examples.assistant.test_gate import BY_NAME, hardened
from tests.gate.narrow import narrow_verdict


@functools.cache
def reasons_of_the_shipped(tried: Tried) -> tuple[str, ...]:
    return reasons(SHIPPED, tried)


def reasons(contract: Contract, tried: Tried) -> tuple[str, ...]:
    scenario, kinds, at, then = tried
    return narrow_verdict(hardened(contract), [BY_NAME[scenario]], kinds=kinds, at=at, then=then).reasons


def cases() -> list[Any]:
    """Every lowering. Where there is little time, two tools stand for all: one that reads and one that writes."""
    of_every_tool = [*of_tools(), *of_declared()]
    of_other_tools = {
        each.name for each in of_every_tool if not each.name.endswith(("get_order_details", "issue_refund"))
    }
    marks = {name: [pytest.mark.heavy] for name in of_other_tools}
    return [pytest.param(each, id=each.name, marks=marks.get(each.name, [])) for each in LOWERED]


@pytest.mark.parametrize("lowered", cases())
def test_break_any_one_protection_in_the_file_and_it_no_longer_ships(lowered: Lowered) -> None:
    edited = parse_contract(lowered.edit(TEXT), file="edited.toml")
    assert edited.gate.accepts == ()
    found = reasons(edited, lowered.tried)
    assert any(reason.startswith(lowered.reason) for reason in found), found
    whole = reasons_of_the_shipped(lowered.tried)
    assert not any(reason.startswith(lowered.reason) for reason in whole), "it is the edit that is found"


def test_every_protection_of_every_tool_is_taken_out_once() -> None:
    assert set(SHIPPED.tools) - set(USED_IN) == {"think"}
    assert len(of_tools()) == sum(
        bool(tool.retry) + bool(tool.verify) + bool(tool.claims) + 1
        for name, tool in SHIPPED.tools.items()
        if name in USED_IN
    )


@pytest.mark.parametrize("name", DECISIONS)
def test_a_decision_is_no_breakage(name: str) -> None:
    edited = parse_contract(DECISIONS[name](TEXT), file="edited.toml")
    for scenario in ("large_refund", "small_refund"):
        tried = (scenario, ("approver_silent", "false_claim"), "", ())
        assert reasons(edited, tried) == reasons_of_the_shipped(tried)


def test_against_what_was_promised_one_more_approver_is_a_breakage() -> None:
    edited = parse_contract(DECISIONS["one more approver"](TEXT), file="edited.toml")
    verdict = narrow_verdict(hardened(edited), [BY_NAME["large_refund"]], promised=SHIPPED)
    assert verdict.reasons[0].startswith("oversight, approver added in 4 of 4 trials: under no fault at all, mallory@")


def test_what_is_accepted_ships_and_is_shown() -> None:
    accepting = both(everywhere("verify"), in_section("gate", added('accepts = ["parked_writes"]')))(TEXT)
    verdict = narrow_verdict(
        hardened(parse_contract(accepting, file="edited.toml")), [BY_NAME["cancel_order"]], kinds=DOUBT
    )
    assert verdict.reasons == reasons_of_the_shipped(("cancel_order", DOUBT, "", ()))
    assert [each.name for each in verdict.accepts] == ["parked_writes"]
