"""An agent whose work its child does: the child's calls, journal and contract are on trial, too."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from plimsoll.contract.model import AgentSection, Approval, Contract, Limits, Mode, Protections, Tool
from plimsoll.gate.enumeration import first_cells
from plimsoll.gate.family import ambiguities, whole_family
from plimsoll.gate.healthy import healthy_runs, stage_of
from plimsoll.gate.plain import plain_subject
from plimsoll.gate.scenario import Scenario
from plimsoll.gate.sites import SiteKind
from plimsoll.gate.subject import Subject
from plimsoll.gate.trial import Plan, Played, try_plan
from plimsoll.gate.trying import try_task
from plimsoll.gate.verdict import Injection, Reach, Trial
from plimsoll.runtime.run import Run
from tests.gate.narrow import narrow_verdict
from tests.gate.sample import (
    contract,
    everywhere,
    flooding_model,
    hardened,
    looping_model,
    lying_model,
    scenario,
    shop_tools,
    speaking_model,
    with_tool,
)

FRONT = Contract(
    agent=AgentSection(name="front"),
    models={},
    tools={"find_order": contract().tools["find_order"]},
    journal=contract().journal,
    gate=contract().gate,
)


async def front(run: Run, order_id: Any) -> Any:
    """Looks the order up, and has its child do what there is to do."""
    order = await run.call("find_order", {"order_id": order_id})
    return await run.child("refunds", order["id"])


def family(child: Contract | None = None, *, promised: Contract = FRONT) -> Subject:
    tools: Any = lambda world: shop_tools(world)[:1]  # noqa: E731
    return plain_subject(front, promised, tools=tools, children={"refunds": hardened(child)})


def asked(order_id: str = "W1") -> Scenario:
    def of_child(model: Any) -> Any:
        return lambda world: {f"refunds.{name}": each for name, each in everywhere(model)(world).items()}

    whole = scenario(order_id)
    adversaries = {"loop": of_child(looping_model), "token_flood": of_child(flooding_model)}
    adversaries["false_claim"] = of_child(lying_model)
    return replace(whole, models=of_child(speaking_model), adversaries=adversaries)


def play(subject: Subject, *faults: tuple[str, str], variant: str = "") -> Played:
    stage, _ = stage_of(subject, asked(), promised=FRONT, seed=1)
    injections = tuple(Injection(kind=kind, site=site, variant=variant) for kind, site in faults)
    return try_plan(stage, Plan(injections=injections, seed=5))


def codes(trial: Trial) -> set[tuple[str, str]]:
    return {(violation.claim, violation.code) for violation in trial.violations}


def test_a_healthy_family_breaks_nothing_and_each_call_is_a_site_of_its_own() -> None:
    played = play(family())
    assert played.trial.passed and played.trial.reach is Reach.REACHED
    sites = played.sites()
    assert {name: site.kind for name, site in sites.items() if "find_order" in name} == {
        "find_order@1:find_order": SiteKind.READ,
        "refunds.find_order@2:refunds/2:find_order": SiteKind.READ,
    }
    assert sites["refunds.refund@2:refunds/4:refund"].kind is SiteKind.WRITE
    assert sites["refunds.primary@2:refunds/1:primary"].kind is SiteKind.MODEL


@pytest.mark.parametrize(
    ("kind", "site"),
    [
        ("hang", "refunds.primary@2:refunds/1:primary"),
        ("crash_after_call", "refunds.refund@2:refunds/4:refund"),
        ("response_lost", "refunds.refund@2:refunds/4:refund"),
        ("malformed", "refunds.find_order@2:refunds/2:find_order"),
    ],
)
def test_a_fault_strikes_the_child_and_the_right_finding_names_it(kind: str, site: str) -> None:
    played = play(family(), (kind, site))
    assert played.trial.fired and played.trial.passed, played.trial.violations
    assert played.trial.reach is Reach.REACHED


def test_the_process_dies_at_every_append_of_the_family() -> None:
    stage, healthy = stage_of(family(), asked(), promised=FRONT, seed=1)
    crashes = [task for task in first_cells(0, stage) if task.injections[0].kind == "crash_at_append"]
    assert len(healthy.scene.records()) > len(healthy.scene.batches) > len(healthy.scene.heads()) == 2
    assert len(crashes) > 2 * len(healthy.scene.batches)
    for task in crashes:
        played = try_task([stage], task, seed=1)
        assert played.trial.passed and played.trial.fired, (task.injections, played.trial.violations)


def test_a_child_outlasts_an_outage_that_began_when_it_was_approved() -> None:
    stage, healthy = stage_of(family(), asked(), promised=FRONT, seed=1)
    for number in range(1, len(healthy.scene.batches) + 1):
        played = try_plan(stage, Plan(injections=(Injection(kind="journal_outage", site=f"append@{number}"),), seed=5))
        assert played.trial.passed and played.trial.reach is Reach.REACHED, (number, played.trial.violations)


def test_a_verdict_speaks_of_what_the_child_depends_on() -> None:
    verdict = narrow_verdict(family(), [asked()], kinds={"hang"})
    assert {"find_order", "refunds.find_order", "refunds.primary", "refunds.refund"} <= {
        cell.group for cell in verdict.cells
    }
    assert not [failure for failure in verdict.failures if failure.violations]
    assert not any("claims" in reason and "refund" in reason for reason in verdict.reasons)


def test_what_a_child_does_without_its_approval_is_found() -> None:
    child = contract(protections=Protections(approvals=Mode.OBSERVE))
    assert ("oversight", "unapproved_effect") in codes(play(family(child)).trial)


def test_who_may_decide_is_read_from_the_childs_contract() -> None:
    played = play(family())
    assert played.scene.approvals == 1 and "approver_added" not in {code for _, code in codes(played.trial)}


def test_a_child_is_held_to_its_own_limits() -> None:
    loose = contract(protections=Protections(limits=Mode.OBSERVE), limits=Limits(steps=3, seconds=300.0))
    assert ("bounded", "unbounded_loop") in codes(play(family(loose)).trial)
    assert play(family()).trial.passed


def test_a_finding_about_the_child_names_it_as_the_trial_does() -> None:
    played = play(family(), ("hang", "refunds.primary@2:refunds/1:primary"))
    assert "refunds.primary" in {finding.dependency for _, finding in played.scene.alerts.entries}


def test_the_digest_of_a_trial_covers_the_childs_journal() -> None:
    other = with_tool(contract(), "refund", approval=Approval(approvers=("bob",), when="amount > 50"))
    assert play(family()).trial.digest == play(family()).trial.digest != play(family(other)).trial.digest


def test_a_name_that_means_two_things_is_told() -> None:
    both = msgspec.structs.replace(FRONT, tools={"refund": Tool(timeout_s=1.0)})
    (reason,) = healthy_runs(family(promised=both), [], promised=both, seed=1).reasons[1:]
    assert "the tool 'refund' is not the same in the contracts of 'front' and 'refunds'" in reason
    assert list(ambiguities(FRONT, [contract(), contract()])) == []
    twins = list(ambiguities(contract(), [contract(limits=Limits(steps=3))]))
    assert len(twins) == 1 and "two contracts are of an agent called 'refunds'" in twins[0]


@pytest.mark.parametrize(
    ("child", "reason"),
    [
        (contract(limits=Limits(steps=201)), "bounded, loose limit: limits.steps of refunds = 201 bounds nothing"),
        (
            with_tool(contract(), "refund", timeout_s=11.0),
            "bounded, loose limit: tools.refund.timeout_s of refunds = 11 bounds nothing",
        ),
        (
            with_tool(contract(), "find_order", retry=None),
            "fallbacks, not retried: tools.find_order.retry of refunds is missing",
        ),
        (with_tool(contract(), "refund", claims=()), "tools.refund has no claims"),
    ],
)
def test_a_childs_contract_is_held_to_the_same(child: Contract, reason: str) -> None:
    verdict = narrow_verdict(family(child), [asked("W2")])
    assert any(each.startswith(reason) for each in verdict.reasons), verdict.reasons
    whole = narrow_verdict(family(), [asked("W2")])
    assert not any(each.startswith(reason) for each in whole.reasons)


def test_a_child_has_its_ladder_under_its_name() -> None:
    whole = whole_family(FRONT, [contract()])
    assert whole.models["refunds.primary"].fallback == ("refunds.backup", "refunds.sorry")
    assert whole.tools["refund"] == contract().tools["refund"]
    assert whole.tools["refunds.refund"].claims == ()
