"""The assistant in the gate: the naive one is blocked, the hardened one ships, and every protection counts."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from examples.assistant import naive
from examples.assistant.agent import CONTRACT, agent
from examples.assistant.scenarios import scenarios
from plimsoll import Contract, harden, load_contract
from plimsoll.adapters.pydantic_ai import bare_subject, hardened_subject
from plimsoll.gate.campaign import run_campaign
from plimsoll.gate.mutants import MUTANTS
from plimsoll.gate.reproducing import failure_file, reproduce
from plimsoll.gate.self_test import Fate, self_test
from plimsoll.gate.verdict import Decision

ROOT = Path(__file__).parents[3]
BY_NAME = {scenario.name: scenario for scenario in scenarios}
FEW = [BY_NAME["order_status"], BY_NAME["large_refund"], BY_NAME["cancel_order"]]
FLOODED = [BY_NAME["product_search"]]
LIED_TO = [BY_NAME["small_refund"]]

CAMPAIGN = """
import json, sys
from tests.examples.assistant.test_gate import FEW, hardened
from plimsoll.gate.campaign import run_campaign
verdict = run_campaign(hardened(), FEW[:1], storm_count=20, workers=int(sys.argv[1]))
print(json.dumps([verdict.campaign_digest, verdict.decision.value, list(verdict.reasons), verdict.trials]))
"""


def hardened(contract: Contract | None = None) -> Any:
    return hardened_subject(harden(agent, contract or load_contract(CONTRACT)))


REASONS = {
    ("exactly_once", "effect_"),
    ("bounded", "unbounded_loop"),
    ("honesty", "silent_failure"),
    ("latency", "hung"),
    ("oversight", "unapproved_effect"),
}


@pytest.mark.timeout(300)
def test_the_hardened_assistant_ships() -> None:
    promised = load_contract(CONTRACT)
    few = replace(promised, gate=replace(promised.gate, accepts=("untried_tools",)))  # as all scenarios call all
    verdict = run_campaign(hardened(few), [*FEW, *FLOODED, *LIED_TO], storm_count=110, workers=2)
    assert verdict.decision is Decision.SHIP, verdict.reasons
    assert all(claim.held for claim in verdict.claims)


@pytest.mark.timeout(300)
def test_the_naive_assistant_is_blocked_and_its_failures_come_again() -> None:
    subject = bare_subject(naive.handle, load_contract(CONTRACT), agent=naive.naive_agent)
    verdict = run_campaign(subject, FEW, storm_count=0, workers=2)
    assert verdict.decision is Decision.BLOCK
    broken = {(each.claim, each.code) for trial in verdict.failures for each in trial.violations}
    for claim, code in REASONS:
        assert any(one == claim and other.startswith(code) for one, other in broken), claim
    for trial in verdict.failures[:5]:
        file = failure_file(trial, verdict, references={}, contract_path="plimsoll.toml")
        again = reproduce(file, subject, FEW)
        assert again.same
        assert again.trial.digest == trial.digest
        assert again.notes == ()


@pytest.mark.timeout(300)
def test_the_same_seed_gives_the_same_campaign_in_another_process_under_another_hash_seed() -> None:
    def campaign(hash_seed: str, workers: str) -> Any:
        path = os.pathsep.join([str(ROOT), *sys.path])
        done = subprocess.run(
            [sys.executable, "-c", CAMPAIGN, workers],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": path},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=200,
            check=True,
        )
        return json.loads(done.stdout.splitlines()[-1])

    assert campaign("1", "1") == campaign("4242", "2")


@pytest.mark.timeout(300)
def test_break_any_one_protection_and_it_no_longer_ships() -> None:
    tested = self_test(hardened, load_contract(CONTRACT), [*FEW[:2], *FLOODED, *LIED_TO], workers=2)
    without = {
        *("guards_observed", "guards_removed"),  # the assistant's contract has no guards,
        *("no_local_rung", "every_rung_writes"),  # no model of its own, and no rung that may not write
    }
    assert {result.name: result.fate for result in tested.results} == {
        mutant.name: Fate.NOT_APPLICABLE if mutant.name in without else Fate.BLOCKED for mutant in MUTANTS
    }
