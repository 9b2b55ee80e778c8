"""Models of one's own on trial: tried below all that fails, held to what they can do, missed when they are gone."""

from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from plimsoll.contract.model import Contract, GateSection, Model
from plimsoll.gate.campaign import run_campaign
from plimsoll.gate.mutants import MUTANTS, Mutant
from plimsoll.gate.scenario import Scenario
from plimsoll.gate.self_test import Fate, self_test
from plimsoll.gate.verdict import Decision, Verdict
from plimsoll.learning.errors import NotSure
from plimsoll.runtime.models import ModelReply
from tests.gate.sample import AGAIN, PRICES, USAGE, contract, good_model, hardened, scenario, speaking_model

OWN = Model(local="models/assistant", timeout_s=10.0, retry=AGAIN)
READER = Model(timeout_s=10.0, retry=AGAIN, may_write=False, **PRICES)


def deep(*, accepts: Sequence[Any] = ("low_confidence",), own: Model = OWN, **below: Model) -> Contract:
    """A ladder with a model of one's own below two providers' models."""
    rungs = {"backup": contract().models["backup"], "own": own, **below, "sorry": contract().models["sorry"]}
    primary = replace(contract().models["primary"], fallback=tuple(rungs))
    gate = GateSection(storms=10, storm_target=0.5, accepts=tuple(accepts))
    return contract(models={"primary": primary, **rungs}, gate=gate)


def played(own: Any) -> Scenario:
    """A scenario whose stand-in for the model of one's own is this."""

    def models(model: Any, own: Any) -> Any:
        return lambda world: {"primary": model, "backup": model, "own": own, "reader": speaking_model}

    bad = {kind: make(None)["primary"] for kind, make in scenario().adversaries.items()}
    adversaries = {kind: models(model, model) for kind, model in bad.items()}
    return scenario(models=models(speaking_model, own), adversaries=adversaries)


async def declining(conversation: list[Any]) -> ModelReply:
    raise NotSure("it is not sure")


async def wrong(conversation: list[Any]) -> ModelReply:
    return ModelReply(text="Please call us.", usage=USAGE)


def campaign(promised: Contract, own: Any) -> Verdict:
    return run_campaign(hardened(promised), [played(own)], workers=1)


def struck(verdict: Verdict, rung: str) -> int:
    return sum(cell.tried for cell in verdict.cells if cell.group == rung)


def test_every_rung_is_struck_however_deep() -> None:
    verdict = campaign(deep(), good_model)
    assert verdict.decision is Decision.SHIP, verdict.reasons
    assert {cell.kind for cell in verdict.cells if cell.group == "own"} >= {"hang", "server_error", "empty"}
    assert struck(verdict, "backup") and struck(verdict, "own")
    assert verdict.local_models == {}, "this was a stand-in"


def test_one_that_declines_while_every_provider_is_out_is_no_fault() -> None:
    verdict = campaign(deep(), declining)
    assert verdict.decision is Decision.SHIP, verdict.reasons


def test_one_that_answers_and_does_not_serve_blocks() -> None:
    verdict = campaign(deep(), wrong)
    assert verdict.decision is Decision.BLOCK
    assert any("fallbacks, goal missed" in reason for reason in verdict.reasons), verdict.reasons


@pytest.mark.parametrize(
    ("accepts", "decision"),
    [(("low_confidence",), Decision.BLOCK), (("low_confidence", "canned_answers"), Decision.SHIP)],
    ids=["not accepted", "accepted"],
)
def test_where_it_is_the_only_other_model_declining_serves_nobody(accepts: Any, decision: Decision) -> None:
    promised = deep(accepts=accepts)
    models = {name: model for name, model in promised.models.items() if name != "backup"}
    models["primary"] = replace(models["primary"], fallback=("own", "sorry"))
    verdict = campaign(replace(promised, models=models), declining)
    assert verdict.decision is decision, verdict.reasons


# -------------------------------------------------------------------------------------------------- the self-test


def test_a_ladder_goes_on_where_the_rung_is_taken_out() -> None:
    promised = deep(own=replace(OWN, fallback=("sorry",)))
    promised = replace(
        promised, models={**promised.models, "primary": replace(promised.models["primary"], fallback=("own", "backup"))}
    )
    (one,) = mutant("no_local_rung")
    changed = one.change(promised)
    assert changed is not None and "own" not in changed.models
    assert changed.models["primary"].fallback == ("sorry", "backup")


def mutant(name: str) -> Sequence[Mutant]:
    return [each for each in MUTANTS if each.name == name]


def fate(name: str, promised: Contract, own: Any) -> Fate:
    (result,) = self_test(hardened, promised, [played(own)], workers=1, mutants=mutant(name)).results
    return result.fate


def test_the_gate_misses_the_rung_that_is_gone() -> None:
    assert fate("no_local_rung", deep(), good_model) is Fate.BLOCKED
    assert fate("no_local_rung", deep(), declining) is Fate.BLOCKED, "nobody declines any more"
    barred = deep(own=replace(OWN, may_write=False))
    assert fate("no_local_rung", barred, good_model) is Fate.NOT_EXERCISED, "it could not have served the request"
    assert fate("no_local_rung", contract(), good_model) is Fate.NOT_APPLICABLE


def test_the_gate_notices_a_rung_that_writes_and_may_not() -> None:
    barred = replace(OWN, may_write=False)
    assert fate("every_rung_writes", deep(own=barred), good_model) is Fate.BLOCKED
    assert fate("every_rung_writes", deep(reader=READER), declining) is Fate.BLOCKED
    assert fate("every_rung_writes", deep(own=barred), wrong) is Fate.NOT_EXERCISED
    assert fate("every_rung_writes", deep(), good_model) is Fate.NOT_APPLICABLE
