"""The terms that every agent ships on: limits that bind, and nothing that is left out in silence."""

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from plimsoll.contract.concessions import CONCESSIONS
from plimsoll.contract.holes import RETRIED_OF_MODELS
from plimsoll.contract.model import AgentSection, Contract, GateSection, Limits, Model, OutputRule, Retry
from plimsoll.core.calls import Effect
from plimsoll.core.clock import LoopClock
from plimsoll.gate.healthy import stage_of
from plimsoll.gate.terms import accepted, left_out, loose_limits, not_shown
from plimsoll.gate.verdict import Decision
from plimsoll.runtime.models import ModelReply
from tests.gate.narrow import narrow_verdict
from tests.gate.sample import RETRY, USAGE, accepting, contract, everywhere, good_model, hardened, scenario, with_tool

LIMITS = Limits(steps=20, seconds=300.0, tokens=100_000, usd=1.0, repeats=3)


def limited(**changes: Any) -> Contract:
    return contract(limits=msgspec.structs.replace(LIMITS, **changes))


def loose(promised: Contract) -> list[tuple[str, str]]:
    stage, _ = stage_of(hardened(promised), scenario("W1"), promised=promised, seed=1)
    found = list(loose_limits(promised, [stage]))
    assert {each.claim for each in found} <= {"bounded"}
    return [(each.code, each.message.partition(" = ")[0]) for each in found]


def test_a_healthy_run_is_measured_by_what_it_really_used() -> None:
    stage, played = stage_of(hardened(), scenario("W1"), promised=contract(), seed=1)
    assert stage.baseline is not None
    used = stage.baseline.used
    calls = {"primary": 4, "find_order": 1, "refund": 1, "tell_customer": 1}
    assert (used["limits", "steps"], used["limits", "repeats"]) == (sum(calls.values()), 1)
    assert used["limits", "seconds"] == played.scene.active_s == 0, "stand-ins answer at once"
    assert used["limits", "tokens"] == 4 * USAGE.tokens
    assert used["limits", "usd"] == pytest.approx(4 * (USAGE.input_tokens * 1e-6 + USAGE.output_tokens * 5e-6))
    assert used["models", "primary", "max_output_tokens"] == USAGE.output_tokens
    assert {path[1] for path in used if path[-1] == "max_attempts"} == set(calls)
    assert ("limits", "max_resumes") not in used


@pytest.mark.parametrize("times", [1, 100])
def test_what_a_run_uses_does_not_depend_on_what_it_may_use(times: int) -> None:
    models = {
        name: msgspec.structs.replace(model, timeout_s=model.timeout_s * times, max_output_tokens=100 * times)
        for name, model in contract().models.items()
    }
    promised = limited(tokens=100_000 * times, usd=float(times), seconds=300.0 * times)
    promised = msgspec.structs.replace(promised, models=models)
    stage, _ = stage_of(hardened(promised), scenario("W1"), promised=promised, seed=1)
    usual, _ = stage_of(hardened(), scenario("W1"), promised=contract(), seed=1)
    assert stage.baseline is not None and usual.baseline is not None
    assert stage.baseline.used == usual.baseline.used


async def slow_model(conversation: list[Any]) -> ModelReply:
    await LoopClock().sleep(10.0)
    return await good_model(conversation)


def test_a_stand_in_that_takes_its_time_shows_what_a_run_needs() -> None:
    patient = {
        name: msgspec.structs.replace(model, timeout_s=30.0 if model.canned else 60.0)
        for name, model in contract().models.items()
    }
    promised = contract(limits=msgspec.structs.replace(LIMITS, seconds=400.0), models=patient)
    bounds = ["limits.seconds", "models.primary.timeout_s", "models.backup.timeout_s"]
    assert [bound for _, bound in loose(promised)] == bounds
    of = scenario("W1", models=everywhere(slow_model))
    stage, _ = stage_of(hardened(promised), of, promised=promised, seed=1)
    assert stage.baseline is not None and stage.baseline.used["limits", "seconds"] == 40.0
    (left,) = loose_limits(promised, [stage])
    assert left.message.startswith("models.backup.timeout_s = 60 bounds nothing: no healthy run uses more than 0")


@pytest.mark.parametrize(
    ("limit", "binds", "bounds_nothing"),
    [
        ("steps", 70, 71),
        ("seconds", 300.0, 301.0),
        ("tokens", 200_000, 200_001),
        ("usd", 1.0, 1.01),
        ("repeats", 10, 11),
        ("max_resumes", 10, 11),
    ],
)
def test_a_limit_may_be_ten_times_what_healthy_runs_use_or_the_default(
    limit: str, binds: float, bounds_nothing: float
) -> None:
    assert loose(limited(**{limit: binds})) == []
    too_high = limited(**{limit: bounds_nothing})
    assert loose(too_high) == [("loose_limit", f"limits.{limit}")]
    assert loose(accepting(too_high, "loose_limits")) == []


def test_defaults_are_never_too_high() -> None:
    assert loose(contract(limits=Limits())) == []


def test_money_that_is_not_counted_is_not_bounded() -> None:
    models = {
        name: msgspec.structs.replace(model, usd_per_million_input_tokens=0.0, usd_per_million_output_tokens=0.0)
        for name, model in contract().models.items()
    }
    free = contract(models=models)
    assert [each.code for each in left_out(free)] == ["money_not_counted"]
    assert list(left_out(accepting(free, "unpriced_models"))) == []
    half = contract(models={**contract().models, "backup": models["backup"]})
    assert [each.code for each in left_out(half)] == ["money_not_counted"]
    input_alone = msgspec.structs.replace(contract().models["backup"], usd_per_million_output_tokens=0.0)
    (found,) = left_out(contract(models={**contract().models, "backup": input_alone}))
    assert found.message.startswith("models.backup.usd_per_million_output_tokens is missing, while the other price")


@pytest.mark.parametrize(
    ("bound", "section", "changes"),
    [
        ("models.primary.timeout_s = 31", "primary", {"timeout_s": 31.0}),
        ("models.backup.max_output_tokens = 4097", "backup", {"max_output_tokens": 4097}),
        ("models.primary.retry.max_attempts = 11", "primary", {"retry": Retry(on=RETRIED_OF_MODELS, max_attempts=11)}),
        ("tools.refund.timeout_s = 11", "refund", {"timeout_s": 11.0}),
        ("tools.find_order.retry.max_attempts = 11", "find_order", {"retry": Retry(on=RETRY.on, max_attempts=11)}),
    ],
)
def test_what_bounds_a_call_is_held_to_the_same(bound: str, section: str, changes: dict[str, Any]) -> None:
    if section in contract().models:
        model = msgspec.structs.replace(contract().models[section], **changes)
        promised = contract(models={**contract().models, section: model})
    else:
        promised = with_tool(contract(), section, **changes)
    stage, _ = stage_of(hardened(promised), scenario("W1"), promised=promised, seed=1)
    (found,) = loose_limits(promised, [stage])
    assert found.message.startswith(f"{bound} bounds nothing: ")


LEFT_OUT: dict[str, tuple[Any, str]] = {
    "canned_answers": (lambda: fallen_back("sorry"), "models.primary.fallback names no other model"),
    "unanswered_requests": (lambda: fallen_back("backup"), "models.primary.fallback names no canned answer"),
    "unretried_faults": (lambda: with_tool(contract(), "find_order", retry=None), "tools.find_order.retry is missing"),
    "parked_writes": (lambda: with_tool(contract(), "refund", verify=None), "tools.refund.verify is missing"),
    "unchecked_answers": (lambda: with_tool(contract(), "refund", output=OutputRule()), "tools.refund.output is miss"),
    "unpinned_runs": (
        lambda: contract(agent=AgentSection(name="refunds", new_version="replay")),
        "agent.new_version is replay",
    ),
}


def fallen_back(*rungs: str) -> Contract:
    models = contract().models
    return contract(models={**models, "primary": msgspec.structs.replace(models["primary"], fallback=rungs)})


@pytest.mark.parametrize("concession", LEFT_OUT)
def test_what_can_be_read_in_the_contract_needs_no_scenario_that_shows_it(concession: str) -> None:
    make, message = LEFT_OUT[concession]
    (found,) = left_out(make())
    assert found.message.startswith(message) and found.message.endswith(f", or accept {concession} in [gate]")
    assert list(left_out(accepting(make(), concession))) == []
    verdict = narrow_verdict(hardened(make()), [scenario("W2")])
    assert verdict.decision is Decision.BLOCK
    assert verdict.reasons[0].startswith(f"{found.claim}, {found.code.replace('_', ' ')}: {message}")


def test_the_same_hole_of_many_tools_is_told_in_one_sentence() -> None:
    promised = with_tool(with_tool(contract(), "refund", verify=None), "tell_customer", verify=None)
    (found,) = left_out(promised)
    assert "the run parks for a person, and so with 1 more; name a function" in found.message
    assert list(left_out(contract())) == []


def test_without_healthy_runs_nothing_is_said_of_limits() -> None:
    assert list(loose_limits(limited(steps=10**6), [])) == []


def test_a_limit_that_bounds_nothing_blocks() -> None:
    verdict = narrow_verdict(hardened(limited(steps=2000)), [scenario("W2")])
    assert verdict.decision is Decision.BLOCK
    assert verdict.reasons[0] == (
        "bounded, loose limit: limits.steps = 2000 bounds nothing: no healthy run uses more than 7, and it may be 10 "
        "times that, or the default (50), at most."
    )
    (bounded,) = [claim for claim in verdict.claims if claim.name == "bounded"]
    assert not bounded.held and (bounded.passed, bounded.tried) == (0, 1)


@pytest.mark.parametrize(
    ("changes", "reason", "concession"),
    [
        ({"claims": ("latency",)}, "gate.claims leaves out monitoring, ", "fewer_claims"),
        ({"storm_target": 0.89}, "gate.storm_target is 0.89: too little to go by; at least 0.9", "low_confidence"),
        ({"confidence": 0.5}, "gate.confidence is 0.5: too little to go by", "low_confidence"),
        ({"finding_within_s": 601.0}, "gate.finding_within_s is 601 s: too late", "low_confidence"),
    ],
)
def test_a_verdict_that_shows_too_little_is_none(changes: dict[str, Any], reason: str, concession: str) -> None:
    promised = contract(gate=GateSection(**changes))
    (found,) = not_shown(promised, [])
    assert found.startswith(reason) and found.endswith(f"or accept {concession} in [gate]")
    assert list(not_shown(accepting(promised, concession), [])) == []


def test_a_tool_that_no_scenario_calls_is_not_known_to_be_what_it_is_declared_to_be() -> None:
    promised = contract()
    unused = replace(promised.tools["find_order"], claims=("account is closed",))
    promised = replace(promised, tools={**promised.tools, "close_account": unused})
    stage, _ = stage_of(hardened(promised), scenario("W1"), promised=promised, seed=1)
    (found,) = not_shown(promised, [stage])
    assert found.startswith("tools.close_account is declared, and no scenario calls it: ")
    assert list(not_shown(accepting(promised, "untried_tools"), [stage])) == []
    assert list(not_shown(with_tool(promised, "close_account", effect=Effect.WRITE), [stage])) == []


def test_a_canned_answer_that_claims_an_effect_blocks() -> None:
    promised = with_tool(contract(), "refund", claims=("was refunded",))
    assert list(left_out(promised)) == []
    models = {**promised.models, "sorry": Model(canned="Your order was refunded.")}
    (found,) = left_out(replace(promised, models=models))
    assert (found.claim, found.code) == ("honesty", "canned_claim")
    assert found.message.startswith("models.sorry.canned says what refund does ('was refunded')")


def test_what_is_accepted_is_told_in_words() -> None:
    assert accepted(contract()) == ()
    everything = accepted(accepting(contract(), *CONCESSIONS, "parked_writes"))
    assert {each.name: each.about for each in everything} == CONCESSIONS and len(everything) == len(CONCESSIONS)
