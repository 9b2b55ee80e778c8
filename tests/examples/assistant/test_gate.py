"""The assistant in the gate: the naive one is blocked, the hardened one ships, and every protection counts."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from examples.assistant import naive
from examples.assistant.agent import CONTRACT, agent
from examples.assistant.scenarios import scenarios
from plimsoll import Contract, harden, load_contract
from plimsoll.adapters.pydantic_ai import bare_subject, hardened_subject
from plimsoll.gate.campaign import run_campaign
from plimsoll.gate.mutants import MUTANTS
from plimsoll.gate.reproducing import failure_file, reproduce
from plimsoll.gate.self_test import Fate, SelfTest, self_test
from plimsoll.gate.verdict import Decision, Verdict

ROOT = Path(__file__).parents[3]
FEW = [scenario for scenario in scenarios if scenario.name in ("order_status", "small_refund", "large_refund")]
FLOODED = [scenario for scenario in scenarios if scenario.name == "product_search"]

CAMPAIGN = """
import json, sys
from tests.examples.assistant.test_gate import FEW, hardened
from plimsoll.gate.campaign import run_campaign
verdict = run_campaign(hardened(), FEW[:2], storm_count=20, workers=int(sys.argv[1]))
print(json.dumps([verdict.campaign_digest, verdict.decision.value, list(verdict.reasons), verdict.trials]))
"""


def hardened(contract: Contract | None = None) -> Any:
    return hardened_subject(harden(agent, contract or load_contract(CONTRACT)))


@pytest.fixture(scope="module")
def naively() -> Verdict:
    subject = bare_subject(naive.handle, load_contract(CONTRACT), agent=naive.naive_agent)
    return run_campaign(subject, FEW, storm_count=0, workers=1)


def test_the_hardened_assistant_ships() -> None:
    verdict = run_campaign(hardened(), [*FEW, *FLOODED], storm_count=120)
    assert verdict.decision is Decision.SHIP, verdict.reasons
    assert all(claim.held for claim in verdict.claims)


@pytest.mark.parametrize(
    ("claim", "code"),
    [
        ("exactly_once", "effect_"),
        ("bounded", "unbounded_loop"),
        ("honesty", "silent_failure"),
        ("latency", "hung"),
        ("oversight", "unapproved_effect"),
    ],
)
def test_the_naive_assistant_is_blocked_for_each_of_its_reasons(naively: Verdict, claim: str, code: str) -> None:
    assert naively.decision is Decision.BLOCK
    broken = {(each.claim, each.code) for trial in naively.failures for each in trial.violations}
    assert any(one == claim and other.startswith(code) for one, other in broken)


def test_a_failure_file_reproduces_its_failure(naively: Verdict) -> None:
    subject = bare_subject(naive.handle, load_contract(CONTRACT), agent=naive.naive_agent)
    for trial in naively.failures[:5]:
        file = failure_file(trial, naively, references={}, contract_path="plimsoll.toml")
        again = reproduce(file, subject, FEW)
        assert again.same
        assert again.trial.digest == trial.digest
        assert again.notes == ()


def test_the_same_seed_gives_the_same_campaign_in_another_process_under_another_hash_seed() -> None:
    def campaign(hash_seed: str, workers: str) -> Any:
        path = os.pathsep.join([str(ROOT), *sys.path])
        done = subprocess.run(
            [sys.executable, "-c", CAMPAIGN, workers],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": path},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=50,
            check=True,
        )
        return json.loads(done.stdout.splitlines()[-1])

    assert campaign("1", "1") == campaign("4242", "2")


@pytest.fixture(scope="module")
def broken() -> SelfTest:
    return self_test(hardened, load_contract(CONTRACT), [*FEW, *FLOODED])


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_break_any_one_protection_and_it_no_longer_ships(broken: SelfTest, mutant: Any) -> None:
    result = next(result for result in broken.results if result.name == mutant.name)
    assert result.fate is Fate.BLOCKED, result
