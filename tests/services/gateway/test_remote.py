"""Agents in other processes and languages, tried by the gate through a gateway that it holds."""

import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from plimsoll.contract.loading import parse_contract
from plimsoll.contract.model import Contract
from plimsoll.core.errors import Misuse
from plimsoll.gate import EffectRow, Scenario
from plimsoll.gate.campaign import run_campaign
from plimsoll.gate.mutants import MUTANTS
from plimsoll.gate.self_test import Fate, self_test
from plimsoll.gate.stage import Stage
from plimsoll.gate.subject import Subject
from plimsoll.gate.trial import Plan, try_plan
from plimsoll.gate.verdict import Decision, Reach, Verdict
from plimsoll.services.gateway.remote import remote_subject
from tests.gate.narrow import narrow_verdict

AGENTS = Path(__file__).parent / "agents"
ANSWER = "It is on its way."
NAIVE = """
[agent]
name = "support"

[limits]
steps = 8
seconds = 6

[models.primary]
id = "up:first"
timeout_s = 2
usd_per_million_input_tokens = 1.0
usd_per_million_output_tokens = 1.0

[gateway.upstreams.up]
base_url = "http://127.0.0.1:9/v1"
"""
HARDENED = """
[agent]
name = "support"

[limits]
steps = 20
seconds = 20
tokens = 20000

[models.primary]
id = "up:first"
timeout_s = 2
max_output_tokens = 1000
retry = { on = ["rate_limited", "connection", "server_error", "empty", "malformed"], max_attempts = 2, base_s = 0.01 }
fallback = ["spare", "canned"]
usd_per_million_input_tokens = 1.0
usd_per_million_output_tokens = 1.0

[models.spare]
id = "other:second"
timeout_s = 2
max_output_tokens = 1000
retry = { on = ["rate_limited", "connection", "server_error", "empty", "malformed"], max_attempts = 2, base_s = 0.01 }
usd_per_million_input_tokens = 1.0
usd_per_million_output_tokens = 1.0

[models.canned]
canned = "I cannot say that now."

[gateway.upstreams.up]
base_url = "http://127.0.0.1:9/v1"

[gateway.upstreams.other]
base_url = "http://127.0.0.1:9/v1"

[gate]
storms = 12
storm_target = 0.6
accepts = ["low_confidence"]
"""


class World:
    """What the agent's tools do is not seen here."""

    def effects(self) -> Sequence[EffectRow]:
        return ()


def wants_a_tool(body: dict[str, Any], *, tokens: int = 10) -> dict[str, Any]:
    asked = len(json.dumps(body)) // 4
    usage = {"prompt_tokens": asked, "completion_tokens": tokens, "total_tokens": asked + tokens}
    function = {"name": "look", "arguments": "{}"}
    message = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": function}],
    }
    if "input" in body:
        item = {"type": "function_call", "id": "fc_1", "call_id": "c1", **function}
        usage = {"input_tokens": asked, "output_tokens": tokens, "total_tokens": asked + tokens}
        return {"id": "resp_1", "object": "response", "status": "completed", "output": [item], "usage": usage}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 0, "choices": [choice], "usage": usage}


def answers(body: dict[str, Any]) -> Any:
    said = body["input"] if "input" in body else body["messages"][-1]["content"]
    return ANSWER if "again" in said else wants_a_tool(body)


def models(world: Any) -> Mapping[str, Any]:
    return {"primary": answers, "spare": answers}


def looping(world: Any) -> Mapping[str, Any]:
    return dict.fromkeys(("primary", "spare"), wants_a_tool)


def flooding(world: Any) -> Mapping[str, Any]:
    return dict.fromkeys(("primary", "spare"), lambda body: wants_a_tool(body, tokens=15_000))


SCENARIOS = [
    Scenario(
        name="order",
        input="Where is W1?",
        world=World,
        models=models,
        goal=lambda world, output: None if output == ANSWER else "it does not say where the order is",
        adversaries={"loop": looping, "token_flood": flooding},
    )
]


def contract(text: str) -> Contract:
    return parse_contract(text, file="plimsoll.toml")


def subject(agent: str, text: str = HARDENED) -> Subject:
    command = ["sh", str(AGENTS / agent)] if agent.endswith(".sh") else [sys.executable, str(AGENTS / agent)]
    return remote_subject(command, contract(text))


def broken(verdict: Verdict) -> str:
    return " ".join(verdict.reasons)


@pytest.mark.timeout(300)
def test_a_hardened_agent_ships_and_the_verdict_says_what_was_not_seen() -> None:
    verdict = run_campaign(subject("asks.sh"), SCENARIOS, workers=4)  # they wait, most of the time
    assert verdict.decision is Decision.SHIP, verdict.reasons
    assert verdict.mode == "remote"
    assert "exactly_once" not in [claim.name for claim in verdict.claims]
    assert "what the agent's tools do" in broken(verdict)
    tried = {(cell.kind, cell.group) for cell in verdict.cells}
    assert {kind for kind, _ in tried} == {
        *("latency_spike", "hang", "rate_limited", "server_error", "server_error_once", "connection_reset"),
        *("malformed", "empty", "truncated", "error_in_success", "kill_switch", "loop", "token_flood"),
    }
    assert {group for _, group in tried} == {"primary", "spare", "model itself"}


@pytest.mark.timeout(120)
def test_a_naive_contract_is_blocked() -> None:
    verdict = narrow_verdict(subject("asks.sh", NAIVE), SCENARIOS, kinds=["server_error", "empty"])
    assert verdict.decision is Decision.BLOCK
    assert "fallbacks, goal missed in 4 of" in broken(verdict)
    assert "fallbacks, not retried" in broken(verdict)


@pytest.mark.timeout(120)
def test_an_agent_that_names_no_run_is_bounded_by_nothing() -> None:
    verdict = narrow_verdict(subject("forgets.sh"), SCENARIOS, kinds=["loop"])
    assert verdict.decision is Decision.BLOCK
    assert "bounded, unbounded loop" in broken(verdict)


def test_an_agent_that_asks_elsewhere_is_not_judged() -> None:
    elsewhere = ["sh", "-c", f"cat > /dev/null; echo {ANSWER}"]
    verdict = run_campaign(remote_subject(elsewhere, contract(HARDENED)), SCENARIOS)
    assert verdict.decision is Decision.INCONCLUSIVE
    assert "does not ask its models at the address it is given" in broken(verdict)


@pytest.mark.timeout(300)
def test_an_agent_of_openais_client_and_streams_takes_what_breaks_off() -> None:
    text = HARDENED.replace("seconds = 20", "seconds = 60")  # to import that client takes long on a busy machine
    verdict = narrow_verdict(subject("streams.py", text), SCENARIOS, kinds=["truncated_stream"])
    assert [(cell.tried, cell.passed) for cell in verdict.cells] == [(2, 2)]
    assert verdict.decision is Decision.INCONCLUSIVE  # no storm was tried


@pytest.mark.timeout(300)
def test_the_gate_notices_a_protection_that_is_gone() -> None:
    gone = ("no_fallback", "answers_unchecked", "limits_observed", "loops_unseen", "kill_switch_ignored")
    chosen = [mutant for mutant in MUTANTS if mutant.name in gone]
    tested = self_test(
        lambda changed: remote_subject(["sh", str(AGENTS / "asks.sh")], changed),
        contract(HARDENED),
        SCENARIOS,
        workers=2,
        mutants=chosen,
    )
    assert tested.reasons == ()
    assert {result.name: result.fate for result in tested.results} == {mutant.name: Fate.BLOCKED for mutant in chosen}


@pytest.mark.parametrize(
    ("command", "text", "said"),
    [
        (["no-such-command"], HARDENED, "no command 'no-such-command'"),
        ([], HARDENED, "no command ''"),
        (["sh"], "[agent]\nname = 'support'\n", "this contract makes none"),
        (["sh"], HARDENED.replace('"up:first"', '"upp:first"'), "names no upstream"),
    ],
)
def test_what_cannot_be_tried_is_told(command: list[str], text: str, said: str) -> None:
    with pytest.raises(Misuse, match=said):
        remote_subject(command, contract(text))


def test_an_agent_that_does_not_end_is_killed_with_all_that_it_began(tmp_path: Path) -> None:
    text = HARDENED.replace("seconds = 20", "seconds = 0.5")
    stuck = f"cat > /dev/null; sleep 600 & echo $$ $! > {tmp_path}/pids; wait"
    held = remote_subject(["sh", "-c", stuck], contract(text))
    trial = try_plan(Stage(subject=held, scenario=SCENARIOS[0], contract=held.contract), Plan(seed=1)).trial
    assert trial.reach is Reach.LOST
    assert [violation.code for violation in trial.violations] == ["hung"]
    for pid in (tmp_path / "pids").read_text().split():
        status = Path(f"/proc/{pid}/status")
        assert not status.exists() or "zombie" in status.read_text()  # whoever inherits it has yet to be told


def tried(command: str, text: str = HARDENED) -> Any:
    held = remote_subject(["sh", "-c", command], contract(text))
    return try_plan(Stage(subject=held, scenario=SCENARIOS[0], contract=held.contract), Plan(seed=1)).trial


@pytest.mark.parametrize(
    "leaves",
    [
        "sleep 600 &",
        "setsid sh -c 'echo $$ > {pids}; exec sleep 600' & until [ -s {pids} ]; do :; done",  # in a session of its own
    ],
)
def test_an_agent_is_done_when_it_has_ended_whatever_it_left_running(tmp_path: Path, leaves: str) -> None:
    pids = tmp_path / "pids"
    answers = f"sh {AGENTS / 'asks.sh'}; {leaves.format(pids=pids)}"
    try:
        trial = tried(answers)
    finally:
        if pids.exists():
            os.kill(int(pids.read_text()), signal.SIGKILL)
    assert (trial.reach, trial.violations) == (Reach.REACHED, ())


def test_an_agent_that_writes_without_end_is_stopped() -> None:
    trial = tried(f"sh {AGENTS / 'asks.sh'}; yes")
    assert [violation.code for violation in trial.violations] == ["goal_missed"], trial.violations
