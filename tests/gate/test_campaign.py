"""Whole campaigns: who ships, who is blocked, and when nothing can be said."""

import os
import subprocess
import sys
from dataclasses import replace
from datetime import datetime
from typing import Any

import msgspec
import pytest

from plimsoll.contract.model import Contract, GateSection, Mode, Model, Protections
from plimsoll.gate.campaign import run_campaign
from plimsoll.gate.faults import KINDS
from plimsoll.gate.healthy import healthy_runs
from plimsoll.gate.report import render_json
from plimsoll.gate.trial import Plan, try_plan
from plimsoll.gate.verdict import CLAIMS, Decision, Reach, Verdict
from plimsoll.learning.errors import PromotionRefused
from plimsoll.learning.registry.verdicts import check_verdict, read_verdict
from plimsoll.runtime.models import ModelReply
from plimsoll.runtime.run import Run
from tests.gate.bare import bare
from tests.gate.sample import (
    USAGE,
    accepting,
    call,
    contract,
    everywhere,
    good_model,
    hardened,
    lying_model,
    scenario,
    with_tool,
)

SCENARIOS = [scenario("W1"), scenario("W2")]

GUARDED = {"guard_fails", "guard_hangs", "hostile_request", "hostile_result"}
"""The kinds that need a guard, or a text that is hostile: tests/gate/test_guards.py tries them."""


@pytest.fixture(scope="module")
def ship() -> Verdict:
    return run_campaign(hardened(), SCENARIOS, workers=2)


@pytest.fixture(scope="module")
def block() -> Verdict:
    return run_campaign(bare(), SCENARIOS, workers=2)


def small(promised: Contract, storms: int = 0) -> Contract:
    return msgspec.structs.replace(promised, gate=GateSection(storms=storms, storm_target=0.5))


def test_the_hardened_agent_ships(ship: Verdict) -> None:
    assert ship.decision is Decision.SHIP, ship.reasons
    assert ship.failing_trials == 0 and ship.failures == () and ship.vacuous == 0
    assert [claim.name for claim in ship.claims] == list(CLAIMS)
    assert all(claim.held for claim in ship.claims)
    assert "all 7 claims held" in ship.reasons[0]


def test_what_ships_is_taken_for_it_where_models_are_promoted(ship: Verdict, block: Verdict) -> None:
    def taken(verdict: Verdict) -> None:
        said = msgspec.structs.replace(read_verdict(render_json(verdict)), local_models={"local": "mine"})
        check_verdict(said, digest="mine", now=datetime.fromisoformat(verdict.made_at).timestamp())

    taken(ship)
    with pytest.raises(PromotionRefused, match="the gate says BLOCK"):
        taken(block)
    with pytest.raises(PromotionRefused, match="was altered"):
        taken(msgspec.structs.replace(block, decision=Decision.SHIP))


def test_every_kind_of_fault_struck_the_hardened_agent(ship: Verdict) -> None:
    assert {cell.kind for cell in ship.cells} == set(KINDS) - {"stale"} - GUARDED  # no tool of it dates its answers
    groups = {cell.group for cell in ship.cells}
    assert groups >= {"primary", "backup", "find_order", "refund", "refund.verify", "journal", "approvals"}
    assert "model itself" in groups and "sorry" not in groups
    assert all(cell.passed == cell.tried for cell in ship.cells)


def test_survivable_faults_reach_the_goal(ship: Verdict) -> None:
    by_square = {(cell.kind, cell.group): cell for cell in ship.cells}
    for square in [("hang", "primary"), ("server_error", "primary"), ("empty", "primary"), ("truncated", "primary")]:
        assert by_square[square].reached == by_square[square].tried > 0, square
    assert by_square["response_lost", "refund"].reached == by_square["response_lost", "refund"].tried > 0
    for square in [("crash_at_append", "journal"), ("journal_outage", "journal")]:
        # Those that do not are crashes on top of a fault that is not survivable itself.
        assert by_square[square].reached > by_square[square].tried * 3 / 4, square
    assert by_square["approver_denies", "approvals"].reached == 0


def test_storms_are_counted_with_an_exact_bound(ship: Verdict) -> None:
    storms = ship.storms
    assert storms is not None and storms.tried == storms.passed == 100
    assert storms.lower_bound == pytest.approx((0.05 / 7) ** (1 / 100))


def test_the_verdict_is_plain_data(ship: Verdict) -> None:
    again = msgspec.json.decode(msgspec.json.encode(ship), type=Verdict)
    assert again.campaign_digest == ship.campaign_digest and again.cells == ship.cells
    assert ship.trials == sum(ship.reach.values()) + len(ship.healthy)


def test_the_bare_agent_is_blocked_by_every_claim(block: Verdict) -> None:
    assert block.decision is Decision.BLOCK
    assert not any(claim.held for claim in block.claims)
    for claim in CLAIMS:
        assert any(reason.startswith(f"{claim}, ") for reason in block.reasons), claim
    assert sum(reason.startswith("monitoring") for reason in block.reasons) == 1
    assert any(reason.startswith("storms:") for reason in block.reasons)


def test_failures_are_told(block: Verdict) -> None:
    assert block.failures and block.failing_trials > len(block.failures)
    for failure in block.failures:
        assert failure.violations
    told = [failure for failure in block.failures if failure.injections]
    assert all(failure.story for failure in told)
    doubled = [each for each in told if any(broken.code == "effect_doubled" for broken in each.violations)]
    assert any(step.who == "gate" and "dead" in step.text for step in doubled[0].story)
    assert sum(step.who == "world" and "has refund " in step.text for step in doubled[0].story) == 2
    assert all(len(failure.injections) == 1 for failure in told), "storms shrink to the one fault that does it"


def test_same_seed_same_campaign_whatever_the_workers(ship: Verdict) -> None:
    alone = run_campaign(hardened(), SCENARIOS, workers=1)
    assert alone.campaign_digest == ship.campaign_digest
    assert msgspec.structs.replace(alone, wall_s=0, made_at="") == msgspec.structs.replace(ship, wall_s=0, made_at="")


def test_another_seed_is_another_campaign(ship: Verdict) -> None:
    other = run_campaign(hardened(), SCENARIOS, seed=8, workers=2)
    assert other.decision is Decision.SHIP
    assert other.campaign_digest != ship.campaign_digest


def test_the_digest_does_not_depend_on_the_hash_seed(ship: Verdict) -> None:
    code = (
        "from tests.gate.sample import *; from plimsoll.gate.campaign import run_campaign; "
        "print(run_campaign(hardened(), [scenario('W1'), scenario('W2')], workers=1).campaign_digest)"
    )
    digests = set()
    for hash_seed in ("0", "1234"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        digests.add(done.stdout.strip())
    assert digests == {ship.campaign_digest}


def test_progress_is_told() -> None:
    told: list[tuple[int, int, str]] = []
    run_campaign(
        hardened(small(contract(), storms=5)),
        SCENARIOS[:1],
        workers=1,
        progress=lambda done, total, text: told.append((done, total, text)),
    )
    assert [text for done, total, text in told if done == total] == [
        "single faults",
        "faults where faults lead",
        "the same once more",
        "storms",
    ]


def test_a_scenario_that_fails_by_itself_is_inconclusive() -> None:
    never = scenario("W1", goal=lambda world, output: "nothing is ever enough")
    verdict = run_campaign(hardened(), [never], workers=1)
    assert verdict.decision is Decision.INCONCLUSIVE and verdict.cells == ()
    assert "nothing is ever enough" in verdict.reasons[0]


def test_a_finding_in_a_healthy_run_is_inconclusive() -> None:
    async def repeating(run: Run, order_id: Any) -> str:
        for _ in range(3):
            await run.call("find_order", {"order_id": order_id})
        return "I looked."

    verdict = run_campaign(hardened(run=repeating), [scenario("W1", goal=lambda world, output: None)], workers=1)
    assert verdict.decision is Decision.INCONCLUSIVE
    assert any("finding" in reason or "halted" in reason or "refused" in reason for reason in verdict.reasons)


def test_a_scenario_that_does_harm_by_itself_blocks() -> None:
    never = scenario("W1", name="harmful", goal=lambda world, output: "nothing is ever enough")
    alone = run_campaign(bare(), [never], workers=1)
    assert alone.decision is Decision.BLOCK and alone.cells == () and alone.scenarios == ("harmful",)
    assert any(
        each.startswith("oversight, unapproved effect in 4 of 4") and "under no fault at all" in each
        for each in alone.reasons
    )
    along = run_campaign(bare(), [never, *SCENARIOS[1:]], workers=1)
    assert along.decision is Decision.BLOCK and along.cells


def test_no_scenario_is_inconclusive() -> None:
    verdict = run_campaign(hardened(), [], workers=1)
    assert verdict.decision is Decision.INCONCLUSIVE and "no scenario" in verdict.reasons[0]


def test_two_scenarios_of_one_name_are_inconclusive() -> None:
    verdict = run_campaign(hardened(), [scenario("W1"), scenario("W1")], workers=1)
    assert verdict.decision is Decision.INCONCLUSIVE and "called 'refund-W1'" in verdict.reasons[0]


def test_too_few_storms_are_inconclusive_and_never_a_pass() -> None:
    verdict = run_campaign(hardened(), SCENARIOS, storm_count=10, workers=2)
    assert verdict.decision is Decision.INCONCLUSIVE
    assert "10 of 10 passed" in verdict.reasons[0]
    without = run_campaign(hardened(), SCENARIOS, storm_count=0, workers=2)
    assert without.decision is Decision.INCONCLUSIVE and without.storms is None


def test_a_claim_that_was_never_tried_is_inconclusive() -> None:
    tame = [replace(each, adversaries={}) for each in SCENARIOS]
    verdict = run_campaign(hardened(), tame, workers=2)
    assert verdict.decision is Decision.INCONCLUSIVE
    assert any("bounded was never tried" in reason for reason in verdict.reasons)


@pytest.mark.parametrize("missing", ["loop", "token_flood", "false_claim"])
def test_an_adversary_that_no_scenario_has_is_inconclusive(missing: str) -> None:
    left = {kind: made for kind, made in SCENARIOS[0].adversaries.items() if kind != missing}
    tamer = [replace(each, adversaries=left) for each in SCENARIOS]
    verdict = run_campaign(hardened(), tamer, workers=2)
    assert verdict.decision is Decision.INCONCLUSIVE
    (reason,) = verdict.reasons
    assert reason.startswith(f"no scenario has an adversary for {missing}, so nothing is known about ")


def test_without_phrases_that_claim_something_nobody_need_lie() -> None:
    honest = [replace(each, adversaries={**each.adversaries}) for each in SCENARIOS]
    for each in honest:
        each.adversaries.pop("false_claim")  # type: ignore[attr-defined]
    silent = with_tool(with_tool(contract(), "refund", claims=()), "tell_customer", claims=())
    verdict = run_campaign(hardened(silent), honest, workers=2)
    assert verdict.decision is Decision.INCONCLUSIVE
    assert [reason.partition(",")[0] for reason in verdict.reasons] == [
        "tools.refund has no claims",
        "tools.tell_customer has no claims",
    ]
    verdict = run_campaign(hardened(accepting(silent, "unnamed_claims")), honest, workers=2)
    assert verdict.decision is Decision.SHIP, verdict.reasons
    assert [each.name for each in verdict.accepts] == ["unnamed_claims"]


def test_an_approval_that_no_scenario_needs_is_inconclusive() -> None:
    verdict = run_campaign(hardened(), SCENARIOS[1:], workers=2)
    assert verdict.decision is Decision.INCONCLUSIVE
    assert verdict.reasons == ("no scenario needs an approval, so nothing is known about oversight",)
    wanted = tuple(claim for claim in CLAIMS if claim != "oversight")
    promised = contract(gate=GateSection(storms=100, storm_target=0.9, claims=wanted, accepts=("fewer_claims",)))
    assert run_campaign(hardened(promised), SCENARIOS[1:], workers=2).decision is Decision.SHIP


def test_only_the_wanted_claims_have_to_be_tried() -> None:
    lying = {"false_claim": everywhere(lying_model)}
    tame = [replace(each, adversaries=lying) for each in SCENARIOS]
    wanted = tuple(claim for claim in CLAIMS if claim != "bounded")
    gate = GateSection(storms=100, storm_target=0.9, claims=wanted)
    verdict = run_campaign(hardened(contract(gate=gate)), tame, workers=2)
    assert verdict.decision is Decision.INCONCLUSIVE
    assert verdict.reasons[0].startswith("gate.claims leaves out bounded: nobody need show that it holds; ")
    verdict = run_campaign(hardened(accepting(contract(gate=gate), "fewer_claims")), tame, workers=2)
    assert verdict.decision is Decision.SHIP, verdict.reasons
    assert [each.about for each in verdict.accepts] == ["these claims need not be shown: bounded"]


def test_a_trial_that_kills_its_worker_is_inconclusive() -> None:
    async def deadly(conversation: Any) -> ModelReply:
        os._exit(3)

    served = scenario("W2", models=lambda world: {"primary": good_model, "backup": deadly})
    verdict = run_campaign(hardened(small(contract())), [served], workers=2)
    assert verdict.decision is Decision.INCONCLUSIVE
    assert any("worker process died (exit code 3)" in reason for reason in verdict.reasons)
    assert any("more could not be tried" in reason for reason in verdict.reasons)


def test_a_broken_protection_blocks() -> None:
    promised = small(contract(protections=Protections(fallback=Mode.OBSERVE)), storms=10)
    verdict = run_campaign(hardened(promised), SCENARIOS[1:], workers=2)
    assert verdict.decision is Decision.BLOCK
    assert verdict.reasons[0].startswith("fallbacks, goal missed in ")


def test_a_contract_without_a_second_model_is_blocked() -> None:
    promised = small(contract(models={"primary": Model(timeout_s=10.0)}), storms=10)
    verdict = run_campaign(hardened(promised), SCENARIOS[1:], workers=2)
    assert verdict.decision is Decision.BLOCK and verdict.reasons[0].startswith("fallbacks, goal missed in ")


def test_a_canned_answer_alone_is_enough_where_that_is_accepted() -> None:
    primary = msgspec.structs.replace(contract().models["primary"], fallback=("sorry",))
    promised = contract(models={"primary": primary, "sorry": Model(canned="Please call us.")})
    assert run_campaign(hardened(promised), SCENARIOS, storm_count=0, workers=2).decision is Decision.BLOCK
    verdict = run_campaign(hardened(accepting(promised, "canned_answers")), SCENARIOS, workers=2)
    assert verdict.decision is Decision.SHIP, verdict.reasons
    assert verdict.reach["canned"] > 0


def test_an_adversary_whose_loop_is_not_stopped_blocks() -> None:
    async def stubborn(conversation: list[Any]) -> ModelReply:
        return call("tell_customer", text=f"again {len(conversation)}")

    promised = small(contract(protections=Protections(limits=Mode.OBSERVE)), storms=5)
    verdict = run_campaign(hardened(promised), [scenario("W2", adversaries={"loop": everywhere(stubborn)})], workers=2)
    assert any(reason.startswith("bounded, unbounded loop in ") for reason in verdict.reasons)


def test_cells_whose_fault_never_struck_are_counted_apart() -> None:
    calls = {"count": 0}

    async def forgetful(run: Run, order_id: Any) -> str:
        """Looks the order up in its first five lives only, which are the healthy runs."""
        calls["count"] += 1
        if calls["count"] <= 5:
            await run.call("find_order", {"order_id": order_id})
        reply = await run.model([{"user": "hello"}])
        return reply.text

    async def chatting(conversation: Any) -> ModelReply:
        return ModelReply(text="Good day.", usage=USAGE)

    served = scenario("W1", models=everywhere(chatting), goal=lambda world, output: None)
    verdict = run_campaign(hardened(small(contract(), storms=5), run=forgetful), [served], workers=1)
    assert verdict.vacuous > 0
    assert not any(cell.group == "find_order" for cell in verdict.cells)
    assert any("response_lost was planned and never struck" in reason for reason in verdict.reasons)
    assert verdict.decision is not Decision.SHIP


def test_healthy_runs_vary_latency_and_agree() -> None:
    healthy = healthy_runs(hardened(), SCENARIOS, promised=contract(), seed=1)
    assert healthy.reasons == () and len(healthy.trials) == 8
    assert len({trial.virtual_s for trial in healthy.trials}) > 4
    assert all(trial.reach is Reach.REACHED and trial.passed for trial in healthy.trials)


def test_a_trial_is_fast() -> None:
    stage = healthy_runs(hardened(), SCENARIOS[1:], promised=contract(), seed=1).stages[0]
    played = [try_plan(stage, Plan(seed=number)) for number in range(50)]
    assert len({each.trial.digest for each in played}) == 1
