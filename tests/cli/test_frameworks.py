"""The command line takes an agent of every framework: `[agent] entrypoint` names it, whatever made it."""

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from plimsoll import harden
from plimsoll.cli.agents import load
from plimsoll.runtime.result import RunResult

from .conftest import User

FRAMEWORKS = {"pydantic_ai": "PydanticAI", "langgraph": "LangGraph", "openai_agents": "OpenAIAgents", "plain": "Plain"}

MODULE = """
from tests.adapters.conformance.benches.{module} import {bench}
from tests.adapters.conformance.desk import Script, Shop, call
from tests.adapters.conformance.test_gate import scenario, think

BENCH = {bench}()
SHOP = Shop()
SCENARIOS = [scenario(BENCH)]
agent = BENCH.agent(Script(think))

def open_shop():
    return SHOP

def verify(args, key, deps):
    return deps.verify(args, key)

async def handle(request, deps):
    return await BENCH.naive(request, deps=deps)

through = BENCH.agent()
"""

CONTRACT = """\
[agent]
name = "desk"
entrypoint = "her_desk:agent"
deps = "her_desk:open_shop"

[models.primary]
retry = { max_attempts = 2, on = [
    "rate_limited", "server_error", "connection", "timeout", "exception",
    "empty", "whitespace", "truncated", "malformed", "error_in_success",
] }
fallback = ["backup", "canned"]

[models.backup]
id = "backup"
retry = { max_attempts = 2, on = [
    "rate_limited", "server_error", "connection", "timeout", "exception",
    "empty", "whitespace", "truncated", "malformed", "error_in_success",
] }

[models.canned]
canned = "I cannot answer that now. Nothing further was done."
may_write = false

[tools.find_order]
effect = "read"
retry = { max_attempts = 3, on = [
    "rate_limited", "server_error", "connection", "timeout", "exception",
    "empty", "malformed", "wrong_shape", "error_in_success",
] }
output = { type = "object", required = ["amount"] }

[tools.refund]
effect = "write"
output = { type = "object", required = ["refunded"] }
claims = ["has been refunded"]
verify = "her_desk:verify"
approval = { when = "amount > 50", approvers = ["ana"] }

[gate]
scenarios = "her_desk:SCENARIOS"
storms = 10
storm_target = 0.5
accepts = ["unpriced_models", "low_confidence"]
"""


@pytest.fixture(params=FRAMEWORKS)
def owner(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[User]:
    """A user whose agent is of this framework."""
    code = MODULE.format(module=request.param, bench=FRAMEWORKS[request.param])
    (tmp_path / "her_desk.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    user = User(tmp_path)
    user.contract.write_text(CONTRACT)
    yield user
    sys.modules.pop("her_desk", None)


def asks(request: str, *, run_id: str) -> RunResult:
    """Her service serves one request."""

    async def serve() -> RunResult:
        async with harden(
            load("her_desk:agent"), "plimsoll.toml", deps=load("her_desk:open_shop"), eager=False
        ) as hardened:
            result: RunResult = await hardened.run(request, run_id=run_id)
            return result

    return asyncio.run(serve())


def test_a_first_contract_is_written_and_checked(owner: User) -> None:
    owner.contract.unlink()
    written = owner.ok("init", "her_desk:agent")
    assert "refund" in written and "find_order" in written
    assert "0 errors" in owner.ok("check", "--agent", width=200)


def test_a_refund_is_approved_and_gone_on_with(owner: User) -> None:
    assert asks("refund W1", run_id="t1").ending == "parked"
    assert 't1.a1  refund {"amount":80,"order_id":"W1"}' in owner.ok("approvals", "list")
    owner.ok("approvals", "approve", "t1.a1", "--by", "ana")
    assert owner.ok("runs", "resume", "t1") == "t1: complete\n  W1 has been refunded.\n"
    assert len(load("her_desk:SHOP").ledger) == 1


@pytest.mark.heavy
@pytest.mark.timeout(600)
def test_the_gate_tries_it_and_the_agent_as_it_was_written_first(owner: User) -> None:
    tried = owner.run("gate", "--json", "--workers", "2")
    verdict = json.loads(tried.stdout.splitlines()[-1])
    assert (tried.exit_code, verdict["decision"]) == (0, "ship"), verdict["reasons"]
    bare = owner.run("gate", "--bare", "her_desk:handle", "--through", "her_desk:through", "--json", "--workers", "2")
    assert (bare.exit_code, json.loads(bare.stdout.splitlines()[-1])["decision"]) == (1, "block"), bare.output
