"""What a contract declares of its tools, and the ledger or the answers say otherwise."""

from typing import Any

import msgspec
import pytest

from plimsoll.contract.model import Contract, Fresh, OutputRule
from plimsoll.core.calls import Effect, Ending, Fault
from plimsoll.gate.enumeration import first_cells
from plimsoll.gate.healthy import healthy_runs, stage_of
from plimsoll.gate.plain import plain_subject
from plimsoll.gate.scenario import EffectRow
from plimsoll.gate.sites import dependency_of
from plimsoll.gate.subject import Subject
from plimsoll.gate.verdict import Reach
from tests.gate.sample import (
    RETRY,
    Shop,
    accepting,
    agent,
    contract,
    hardened,
    scenario,
    shop_tools,
    shop_verifiers,
    with_tool,
)
from tests.gate.test_oracles import codes, play

DOUBT = ("response_lost", "answer_never_comes", "crash_after_call")
LAX = scenario("W1", goal=lambda world, output: None)
"""A scenario whose goal is reached whatever happens."""


class RefusedAgain(Exception):
    pass


def deduplicating(again: str = "") -> Subject:
    """An agent whose refund takes each key once. Asked again it answers as before, or raises (`again` = "refuse")."""
    promised = with_tool(contract(), "refund", effect=Effect.IDEMPOTENT, verify=None, retry=RETRY)

    def tools(world: Shop) -> list[Any]:
        find_order, refund, tell_customer = shop_tools(world)
        answered: list[Any] = []

        async def once(order_id: str, amount: int) -> dict[str, Any]:
            rows = [row for row in world.ledger if row.tool == "refund"]
            if not rows or again == "double":
                answered.append(await refund(order_id, amount))
            elif again == "refuse":
                raise RefusedAgain("this order was refunded before")
            return dict(answered[0]) if answered else {"done": "refund", "number": 1}

        once.__name__ = "refund"
        return [find_order, once, tell_customer]

    return plain_subject(agent, promised, tools=tools, verifiers=shop_verifiers)


@pytest.mark.parametrize("kind", DOUBT)
@pytest.mark.parametrize(
    ("again", "broken"),
    [("", set()), ("refuse", {"not_idempotent"}), ("double", {"effect_doubled"})],
)
def test_an_idempotent_tool_may_be_asked_again_under_its_key(kind: str, again: str, broken: set[str]) -> None:
    subject = deduplicating(again)
    trial = play(subject, (kind, "refund@4:refund"), promised=subject.contract, of=LAX, against=subject).trial
    assert trial.fired
    assert {code for claim, code in codes(trial) if claim == "exactly_once"} >= broken
    assert trial.passed == (not broken), trial.violations


def test_an_idempotent_tool_that_fails_at_first_has_not_broken_its_word() -> None:
    subject = deduplicating()
    for kind in ("server_error", "exception", "hang", "kill_switch"):
        trial = play(subject, (kind, "refund@4:refund"), promised=subject.contract, against=subject).trial
        assert trial.fired and ("exactly_once", "not_idempotent") not in codes(trial)


def test_a_read_that_changes_something_is_none_also_when_nothing_fails() -> None:
    promised = with_tool(contract(), "refund", effect=Effect.READ, verify=None, approval=None, retry=RETRY, claims=())
    trial = play(hardened(promised), promised=promised, of=LAX, against=hardened(promised)).trial
    assert codes(trial) == {("exactly_once", "effect_of_a_read")}
    assert "refund is declared a read, and the ledger shows what it did" in trial.violations[0].message


def test_what_the_ledger_had_before_is_no_effect_of_a_read() -> None:
    class Used(Shop):
        def __init__(self) -> None:
            super().__init__()
            self.ledger.append(EffectRow("find_order", {"order_id": "W1"}))

    trial = play(hardened(), of=scenario("W1", world=Used)).trial
    assert ("exactly_once", "effect_of_a_read") not in codes(trial)


# ------------------------------------------------------------------------------------------------ nothing in an answer


def checking(**rule: Any) -> Contract:
    return with_tool(contract(), "find_order", output=OutputRule(**rule))


@pytest.mark.parametrize(
    ("rule", "noticed"),
    [
        ({"type": "object", "required": ("amount",)}, True),
        ({"type": "object", "may_be_empty": False}, True),
        ({"type": "object"}, False),
        ({"type": "object", "required": ("amount",), "may_be_empty": True}, False),
    ],
)
def test_an_answer_with_nothing_in_it_is_noticed_unless_that_is_accepted(rule: dict[str, Any], noticed: bool) -> None:
    promised = checking(**rule)
    site = ("hollow", "find_order@2:find_order")
    trial = play(hardened(promised), site, promised=promised).trial
    assert trial.fired and trial.passed == noticed
    assert (("monitoring", "finding_missing") in codes(trial)) != noticed
    promised = accepting(promised, "unchecked_answers")
    trial = play(hardened(promised), site, promised=promised).trial
    assert ("monitoring", "finding_missing") not in codes(trial)


def test_where_an_answer_with_nothing_in_it_is_one_it_is_no_fault() -> None:
    nothing_found = scenario("W1", name="nothing-found", world=Emptied, goal=lambda world, output: None)
    found = scenario("W1")
    promised = checking(type="object", may_be_empty=True)

    def tried(*scenarios: Any) -> list[str]:
        healthy = healthy_runs(searching(promised), scenarios, promised=promised, seed=1)
        assert healthy.reasons == ()
        cells = first_cells(0, healthy.stages[0])
        return [dependency_of(each.site) for cell in cells for each in cell.injections if each.kind == "hollow"]

    assert tried(found) == ["find_order", "find_order", "refund", "tell_customer"]
    assert tried(found, nothing_found) == ["refund", "tell_customer"]


class Emptied(Shop):
    def __init__(self) -> None:
        super().__init__()
        self.orders = {}


def searching(promised: Contract) -> Subject:
    """An agent whose search finds nothing where there is nothing."""

    async def run(run: Any, order_id: Any) -> str:
        order = await run.call("find_order", {"order_id": order_id})
        return await agent(run, order_id) if order else "There is no such order."

    def tools(world: Shop) -> list[Any]:
        _, refund, tell_customer = shop_tools(world)

        async def find_order(order_id: str) -> dict[str, Any]:
            return dict(world.orders.get(order_id, {}))

        return [find_order, refund, tell_customer]

    return plain_subject(run, promised, tools=tools, verifiers=shop_verifiers)


def test_a_hollow_answer_strikes_no_answer_that_is_none_or_no_object() -> None:
    promised = msgspec.structs.replace(checking(), limits=contract().limits)

    def tools(world: Shop) -> list[Any]:
        async def find_order(order_id: str) -> int:
            return 80

        async def refund(order_id: str, amount: int) -> dict[str, Any]:
            raise RefusedAgain("no")

        return [find_order, refund, shop_tools(world)[2]]

    async def run(run: Any, order_id: Any) -> str:
        amount = await run.call("find_order", {"order_id": order_id})
        await run.call("refund", {"order_id": order_id, "amount": amount})
        return "done"

    subject = plain_subject(run, promised, tools=tools, verifiers=shop_verifiers)
    for site in ("find_order@1:find_order", "refund@2:refund"):
        played = play(subject, ("hollow", site), promised=promised, of=LAX, against=subject)
        assert played.inapplicable and not played.trial.fired


# ------------------------------------------------------------------------------------------------------ stale answers


FRESH = Fresh(field="quote.as_of", max_age_s=600.0)
EPOCH = 1_767_225_600


def dated(promised: Contract, *, as_of: Any) -> Any:
    """The sample's agent, whose tool gives its answers a date."""

    def tools(world: Shop) -> list[Any]:
        async def find_order(order_id: str) -> dict[str, Any]:
            return {**world.orders[order_id], "quote": {"as_of": as_of}}

        return [find_order, *shop_tools(world)[1:]]

    return plain_subject(agent, promised, tools=tools, verifiers=shop_verifiers)


def with_fresh(**changes: Any) -> Contract:
    rule = OutputRule(type="object", required=("amount",), fresh=FRESH)
    tool = contract().tools["find_order"]
    assert tool.retry is not None
    retry = msgspec.structs.replace(tool.retry, on=(*tool.retry.on, Fault.STALE))
    return with_tool(contract(), "find_order", **{"output": rule, "retry": retry, **changes})


STALE = ("stale", "find_order@2:find_order")


@pytest.mark.parametrize("as_of", ["2026-01-01T00:00:00Z", EPOCH, EPOCH * 1000])
def test_a_stale_answer_is_found_out_and_asked_for_again(as_of: Any) -> None:
    promised = with_fresh()
    subject = dated(promised, as_of=as_of)
    played = play(subject, STALE, promised=promised, against=subject)
    assert played.trial.fired and played.trial.passed, played.trial.violations
    assert played.trial.reach is Reach.REACHED
    told = {(finding.kind, finding.dependency, finding.fault) for _, finding in played.scene.alerts.entries}
    assert ("silent_failure", "find_order", "stale") in told


def test_an_agent_that_does_not_look_how_old_an_answer_is_does_not_pass() -> None:
    promised, careless = with_fresh(), with_tool(contract(), "find_order", output=OutputRule(type="object"))
    trial = play(dated(careless, as_of=EPOCH), STALE, promised=promised, against=dated(promised, as_of=EPOCH)).trial
    assert ("monitoring", "finding_missing") in codes(trial)


def test_a_stale_answer_needs_a_retry_and_strikes_only_where_a_date_is_asked_for() -> None:
    promised = with_fresh(retry=contract().tools["find_order"].retry)
    subject = dated(promised, as_of=EPOCH)
    trial = play(subject, STALE, promised=promised, against=subject).trial
    assert ("fallbacks", "goal_missed") in codes(trial)
    for one, struck in ((promised, ["find_order"]), (contract(), [])):
        stage, _ = stage_of(dated(one, as_of=EPOCH), scenario("W1"), promised=one, seed=1)
        cells = [each for task in first_cells(0, stage) for each in task.injections if each.kind == "stale"]
        assert [dependency_of(each.site) for each in cells] == struck


# ------------------------------------------------------------------------------------------------ when no model is left


def test_when_every_model_is_out_somebody_is_answered_all_the_same() -> None:
    models = contract().models
    mute = contract(models={**models, "primary": msgspec.structs.replace(models["primary"], fallback=("backup",))})
    out = [("hang", "primary@1:primary"), ("hang", "backup@1:primary")]
    trial = play(hardened(mute), *out, promised=mute).trial
    assert trial.ending is Ending.FAILED and ("fallbacks", "wrong_ending") in codes(trial)
    accepted = accepting(mute, "unanswered_requests")
    trial = play(hardened(accepted), *out, promised=accepted).trial
    assert trial.passed and trial.reach is Reach.FAILED
    assert play(hardened(), *out).trial.reach is Reach.CANNED


@pytest.mark.parametrize("kind", ["server_error_once", "empty", "malformed", "rate_limited"])
def test_what_another_try_cures_costs_no_model(kind: str) -> None:
    models = contract().models
    hasty = contract(models={**models, "primary": msgspec.structs.replace(models["primary"], retry=None)})
    cell = (kind, "primary@3:primary")
    assert ("fallbacks", "given_up_early") in codes(play(hardened(hasty), cell, promised=hasty).trial)
    accepted = accepting(hasty, "unretried_faults")
    assert play(hardened(accepted), cell, promised=accepted).trial.passed


def test_stage_of_one_scenario_knows_what_it_shows() -> None:
    stage, _ = stage_of(hardened(), scenario("W1"), promised=contract(), seed=1)
    assert dict(stage.shown.needed) == {"refund": 1, "tell_customer": 1} and stage.shown.hollow == frozenset()
