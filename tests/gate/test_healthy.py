"""Healthy runs that nothing can be built on: an empty ledger, a run that goes two ways, an agent that ends the gate."""

import asyncio
import itertools
import os
import sys
from typing import Any

import pytest

from plimsoll.contract.model import GateSection
from plimsoll.gate import healthy as module
from plimsoll.gate.campaign import run_campaign
from plimsoll.gate.healthy import healthy_runs
from plimsoll.gate.plain import plain_subject
from plimsoll.gate.scenario import EffectRow, Scenario
from plimsoll.gate.subject import Subject
from plimsoll.gate.verdict import Decision
from plimsoll.runtime.run import Run
from tests.gate.sample import Shop, agent, contract, hardened, scenario, shop_tools, shop_verifiers


def reasons(subject: Subject, served: Scenario) -> tuple[str, ...]:
    return healthy_runs(subject, [served], promised=subject.contract, seed=1).reasons


class Forgetful(Shop):
    """A world whose ledger nobody writes."""

    def effects(self) -> list[EffectRow]:
        return []


def test_a_ledger_that_shows_nothing_of_what_was_done() -> None:
    served = scenario("W1", world=Forgetful, goal=lambda world, output: None)
    found = reasons(hardened(), served)
    assert len(found) == 2 and all("shows nothing of" in reason for reason in found)
    assert found[0].startswith("scenario 'refund-W1': the world's ledger shows nothing of refund, which was answered")
    assert run_campaign(hardened(), [served], workers=1).decision is Decision.INCONCLUSIVE


def test_what_the_ledger_had_before_shows_nothing() -> None:
    class Old(Forgetful):
        def effects(self) -> list[EffectRow]:
            return [EffectRow("refund", {}), EffectRow("tell_customer", {})]

    assert len(reasons(hardened(), scenario("W1", world=Old, goal=lambda world, output: None))) == 2


def test_a_tool_that_refuses_owes_the_ledger_nothing() -> None:
    def refusing(world: Shop) -> list[Any]:
        find_order, refund, _ = shop_tools(world)

        async def tell_customer(text: str) -> dict[str, Any]:
            return {"error": "no such customer", "status": 404}

        return [find_order, refund, tell_customer]

    subject = plain_subject(agent, contract(), tools=refusing, verifiers=shop_verifiers)
    assert not any("shows nothing" in reason for reason in reasons(subject, scenario("W2")))


def test_an_agent_that_depends_on_what_earlier_trials_left() -> None:
    count = itertools.count()

    async def counting(run: Run, order_id: Any) -> str:
        return f"{await agent(run, order_id)} You are customer number {next(count)}."

    found = reasons(hardened(run=counting), scenario("W1"))
    assert len(found) == 1 and found[0].startswith("scenario 'refund-W1' went two ways under the same seed: ")
    assert "customer number 0" in found[0] and "earlier trials left" in found[0]


def test_a_campaign_notices_chance_that_only_faults_bring_out() -> None:
    count = itertools.count()

    async def counting(run: Run, order_id: Any) -> str:
        answer = await agent(run, order_id)
        return f"{answer} {next(count)}" if asyncio.get_running_loop().time() > 0 else answer

    promised = contract(gate=GateSection(storms=0, storm_target=0.5))
    verdict = run_campaign(hardened(promised, run=counting), [scenario("W2")], workers=1)
    assert any("went two ways under the same seed" in reason for reason in verdict.reasons)
    steady = run_campaign(hardened(promised), [scenario("W2")], workers=1)
    assert not any("two ways" in reason for reason in steady.reasons)


@pytest.mark.parametrize("how", [os._exit, sys.exit])
def test_an_agent_that_ends_its_process_is_no_pass(how: Any) -> None:
    async def ending(run: Run, order_id: Any) -> str:
        how(0)
        return ""

    healthy = healthy_runs(hardened(run=ending), [scenario("W1"), scenario("W2")], promised=contract(), seed=1)
    assert healthy.trials == () and healthy.stages == ()
    assert [reason.partition(":")[0] for reason in healthy.reasons] == [
        "scenario 'refund-W1' could not be run",
        "scenario 'refund-W2' could not be run",
    ]
    assert "the worker process died (exit code " in healthy.reasons[0]


def test_where_there_is_no_fork_nothing_is_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "can_fork", lambda: False)
    monkeypatch.setattr(module, "do_all", None)
    assert healthy_runs(hardened(), [scenario("W1")], promised=contract(), seed=1).reasons == ()


def test_a_world_that_cannot_be_made_says_so_here() -> None:
    def world() -> Shop:
        raise RuntimeError("no such world")

    with pytest.raises(RuntimeError, match="no such world"):
        reasons(hardened(), scenario("W1", world=world))
