"""The terms that every agent ships on: limits that bind, and nothing that is left out in silence."""

from typing import Any

import msgspec
import pytest

from plimsoll.contract.concessions import CONCESSIONS
from plimsoll.contract.model import Contract, GateSection, Limits
from plimsoll.gate.healthy import stage_of
from plimsoll.gate.terms import accepted, loose_limits, not_shown
from plimsoll.gate.verdict import Decision
from tests.gate.narrow import narrow_verdict
from tests.gate.sample import accepting, contract, hardened, scenario

LIMITS = Limits(steps=20, seconds=300.0, tokens=100_000, usd=1.0, repeats=3)


def limited(**changes: Any) -> Contract:
    return contract(limits=msgspec.structs.replace(LIMITS, **changes))


def loose(promised: Contract) -> list[tuple[str, str]]:
    stage, _ = stage_of(hardened(promised), scenario("W1"), promised=promised, seed=1)
    found = list(loose_limits(promised, [stage]))
    assert {each.claim for each in found} <= {"bounded"}
    return [(each.code, each.message.partition(" = ")[0]) for each in found]


def test_a_healthy_run_is_measured_at_its_worst() -> None:
    stage, played = stage_of(hardened(), scenario("W1"), promised=contract(), seed=1)
    assert stage.baseline is not None
    used = stage.baseline.used
    assert (used.steps, used.repeats) == (7, 1), "four models, three tools"
    assert used.seconds == 7 * 5.0, "each just not slow"
    assert 4 * 4096 < used.tokens < 4 * 4096 + 1000, "each as long as it may be"
    assert used.usd == pytest.approx((used.tokens - 4 * 4096) * 1e-6 + 4 * 4096 * 5e-6)
    assert played.scene.active_s < used.seconds


@pytest.mark.parametrize(
    ("limit", "binds", "bounds_nothing"),
    [
        ("steps", 70, 71),
        ("seconds", 350.0, 351.0),
        ("tokens", 200_000, 20_000_000),
        ("usd", 1.0, 100.0),
        ("repeats", 10, 11),
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
    assert [code for code, _ in loose(free)] == ["money_not_counted"]
    assert loose(accepting(free, "unpriced_models")) == []
    half = contract(models={**contract().models, "backup": models["backup"]})
    assert [code for code, _ in loose(half)] == ["money_not_counted"]


def test_without_healthy_runs_nothing_is_said_of_limits() -> None:
    assert list(loose_limits(limited(steps=10**6), [])) == []


def test_a_limit_that_bounds_nothing_blocks() -> None:
    verdict = narrow_verdict(hardened(limited(steps=2000)), [scenario("W2")])
    assert verdict.decision is Decision.BLOCK
    assert verdict.reasons[0] == (
        "bounded, loose limit: limits.steps = 2000 bounds nothing: no healthy run uses more than 7, and a limit may be "
        "10 times that, or the default (50), at most."
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


def test_what_is_accepted_is_told_in_words() -> None:
    assert accepted(contract()) == ()
    everything = accepted(accepting(contract(), *CONCESSIONS, "parked_writes"))
    assert {each.name: each.about for each in everything} == CONCESSIONS and len(everything) == len(CONCESSIONS)
