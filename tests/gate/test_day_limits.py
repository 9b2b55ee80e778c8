"""An agent with limits of a day on trial: processes die, and the disk fails, between drawing on them and spending."""

from plimsoll.contract.model import DayLimits, GateSection, Limits
from plimsoll.gate.campaign import run_campaign
from plimsoll.gate.verdict import Decision
from tests.gate.sample import contract, hardened, scenario


def test_it_ships_as_it_would_without_them() -> None:
    day = DayLimits(usd=50.0, tokens=5_000_000, runs=40)
    limits = Limits(steps=20, seconds=300.0, tokens=100_000, repeats=3, day=day)
    promised = contract(limits=limits, gate=GateSection(storms=60, storm_target=0.9))
    verdict = run_campaign(hardened(promised), [scenario("W1")], storm_count=60, workers=1)
    assert verdict.failures == (), verdict.reasons
    assert verdict.decision is Decision.SHIP, verdict.reasons
