"""The first run of the gate, on the contract that `plimsoll init` wrote: it ships on what the contract accepts."""

import json
from pathlib import Path
from typing import Any

import pytest

from plimsoll.contract.loading import load_contract

from .conftest import User

READ = 'effect = "write"  # its name looks like a read: if it changes nothing, write "read"'
RETRIED = """effect = "read"
retry = { on = [
    "rate_limited", "server_error", "connection", "timeout", "exception",
    "empty", "malformed", "wrong_shape", "error_in_success",
] }"""
ACCEPTED_AT_FIRST = (
    "canned_answers",
    "parked_writes",
    "unchecked_answers",
    "unnamed_claims",
    "untried_tools",
    "unpriced_models",
)


def gate(user: User, *arguments: str) -> tuple[int, Any, str]:
    """The exit code of `plimsoll gate`, its verdict, and what it says besides."""
    result = user.run("gate", "--json", "--workers", "2", *arguments, width=100)
    return result.exit_code, json.loads(result.stdout.splitlines()[-1]), result.stderr


@pytest.fixture
def fresh(user: User) -> User:
    """Her contract as `init` wrote it, with what only she knows: which tools read, and what is to be tried."""
    user.contract.unlink()
    user.ok("init", "shop.agent:agent")
    user.edit(READ, RETRIED)
    user.edit('#scenarios = "shop.agent_scenarios:SCENARIOS"', 'scenarios = "shop.scenarios:FULL"')
    return user


@pytest.mark.timeout(180)
def test_it_ships_and_says_on_what_terms(fresh: User) -> None:
    assert load_contract(fresh.contract).gate.accepts == ACCEPTED_AT_FIRST
    assert "nothing to object to" in fresh.ok("check", "--agent", width=200)
    code, verdict, said = gate(fresh, "--storms", "100")
    assert (code, verdict["decision"], verdict["accepts"]) == (0, "ship", list(ACCEPTED_AT_FIRST)), verdict["reasons"]
    assert "Every promise held but those it goes without." in said
    names = ", ".join(name.replace("_", " ") for name in ACCEPTED_AT_FIRST)
    assert f"accepting {names}" in " ".join(said.replace("┃", " ").split())
    assert "parked writes" in Path(verdict["report"]).read_text()


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("concession", "code", "reason"),
    [
        ("parked_writes", 1, "exactly_once, goal missed in "),
        ("unnamed_claims", 2, "tools.issue_refund has no claims, "),
    ],
)
def test_it_is_held_to_what_it_accepts_no_longer(fresh: User, concession: str, code: int, reason: str) -> None:
    text = fresh.contract.read_text().splitlines(keepends=True)
    fresh.contract.write_text("".join(line for line in text if not line.startswith(f'    "{concession}",')))
    warned = fresh.ok("check", width=300)
    assert f"or accept {concession} in [gate]" in warned
    left, verdict, _ = gate(fresh, "--storms", "0")
    assert left == code and any(each.startswith(reason) for each in verdict["reasons"]), verdict["reasons"]
