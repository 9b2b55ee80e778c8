"""`plimsoll gateway` as a process: keys, a request, and the end of it."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from click.testing import CliRunner

from plimsoll.cli import main
from plimsoll.services.gateway.tenants import KeyFile

CONTRACT = """
[agent]
name = "gateway"

[models.primary]
id = "up:first"
timeout_s = 1
fallback = ["canned"]

[models.canned]
canned = "Nobody can answer that now."

[gateway.upstreams.up]
base_url = "http://127.0.0.1:9"
"""


@pytest.fixture
def contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "plimsoll.toml"
    file.write_text(CONTRACT)
    return file


def test_a_process_answers_until_it_is_told_to_end(contract: Path) -> None:
    key = CliRunner().invoke(main, ["gateway", "keys", "add", "team-a"]).stdout.strip()
    command = [sys.executable, "-m", "plimsoll", "gateway", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | {"NO_PROXY": "*"}) as process:
        assert process.stderr is not None
        said = ""
        while not (found := re.search(r"running on (http://\S+)", said)):
            line = process.stderr.readline()
            assert line, said
            said += line
        body = {"model": "primary", "messages": [{"role": "user", "content": "prompt-secret"}]}
        headers = {"authorization": f"Bearer {key}"}
        answer = httpx2.post(f"{found[1]}/v1/chat/completions", json=body, headers=headers)
        process.send_signal(signal.SIGTERM)
        said += process.stderr.read()
    assert answer.json()["choices"][0]["message"]["content"] == "Nobody can answer that now."
    assert answer.headers["x-plimsoll-rung"] == "canned"
    assert "team-a /chat/completions 200" in said
    assert key not in said
    assert "prompt-secret" not in said


def test_keys_are_added_listed_and_taken_away(contract: Path) -> None:
    run = CliRunner()
    made = [run.invoke(main, ["gateway", "keys", "add", name, "--contract", str(contract)]) for name in ("a", "a", "b")]
    assert all(result.exit_code == 0 and result.stdout.startswith("plk_") for result in made)
    assert KeyFile(contract.parent / ".plimsoll/gateway-keys.json").tenant_of(made[2].stdout.strip()) == "b"
    assert run.invoke(main, ["gateway", "keys", "list"]).output == "a  2 keys\nb  1 key\n"
    assert run.invoke(main, ["gateway", "--contract", str(contract), "keys", "remove", "a"]).output.startswith("2 keys")
    assert run.invoke(main, ["gateway", "keys", "remove", "a"]).exit_code == 1
    assert run.invoke(main, ["gateway", "keys", "list"]).output == "b  1 key\n"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("[gateway.upstreams.up]\nbase_url", "[agent2]\nbase_url"), "agent2"),
        (('id = "up:first"', 'id = "uq:first"'), "names no upstream"),
        (('id = "up:first"\n', ""), "the gateway has no model of its own"),
        (('canned = "Nobody can answer that now."', 'hand_over = ["ann"]'), "takes longer than an HTTP request waits"),
        (('base_url = "http://127.0.0.1:9"', 'base_url = "http://127.0.0.1:9"\napi_key = "env:NO_SUCH"'), "NO_SUCH"),
        (("[models.canned]", '[models."é"]\ncanned = "?"\n[models.canned]'), "no HTTP header can carry"),
        (("", ""), "no tenant has a key"),
    ],
)
def test_what_makes_no_gateway_is_told(contract: Path, change: tuple[str, str], said: str) -> None:
    contract.write_text(CONTRACT.replace(*change) if change[0] else CONTRACT)
    if "key" not in said:
        KeyFile(contract.parent / ".plimsoll/gateway-keys.json").add("a", at=0.0)
    result = CliRunner().invoke(main, ["gateway"])
    assert result.exit_code == 1
    assert said in result.output
    assert "Traceback" not in result.output


def test_check_tells_of_models_without_an_upstream(contract: Path) -> None:
    contract.write_text(CONTRACT.replace("up:first", "upp:first").replace("//127", "//u:password@127"))
    result = CliRunner().invoke(main, ["check"])
    assert result.exit_code == 1
    assert "did you mean up:first?" in result.output
    assert "holds a password" in result.output


def test_without_its_libraries_the_extra_is_named(contract: Path) -> None:
    code = "import sys; sys.modules['starlette'] = None; from plimsoll.cli import main; main(['gateway'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode == 1
    assert "pip install 'plimsoll-ai[gateway]'" in done.stderr


AGENT = """#!/bin/sh
cat > /dev/null
curl --silent --fail "$OPENAI_BASE_URL/chat/completions" --header "Authorization: Bearer $OPENAI_API_KEY" \\
    --header "Content-Type: application/json" --header "x-plimsoll-run: $PLIMSOLL_RUN" \\
    --data '{"model": "primary", "messages": []}' | grep -o "It is on its way."
"""
SCENARIOS = """
from plimsoll.gate import Scenario


class World:
    def effects(self):
        return ()


def said(world, output):
    return None if output == "It is on its way." else "it does not say where the order is"


SCENARIOS = [
    Scenario(
        name="order",
        input={"order": "W1"},
        world=World,
        models=lambda world: {"primary": lambda body: "It is on its way."},
        goal=said,
    )
]
"""


@pytest.mark.timeout(180)
def test_the_gate_tries_an_agent_that_is_a_command(contract: Path) -> None:
    contract.write_text(CONTRACT.replace("timeout_s = 1", "timeout_s = 3"))
    (contract.parent / "agent.sh").write_text(AGENT)
    (contract.parent / "remote_scenarios.py").write_text(SCENARIOS)
    run = CliRunner()
    result = run.invoke(
        main,
        ["gate", "--remote", "sh agent.sh", "--scenarios", "remote_scenarios:SCENARIOS", "--storms", "0", "--json"],
    )
    assert result.exit_code == 1, result.output
    assert json.loads(result.stdout)["decision"] == "block"
    assert json.loads((contract.parent / "gate-report/verdict.json").read_text())["mode"] == "remote"
    failures = sorted((contract.parent / "gate-report/failures").iterdir())
    assert failures
    again = run.invoke(main, ["reproduce", str(failures[0])])
    assert again.exit_code == 1, again.output
    assert "It fails the same way again." in again.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--remote", "no-such-command", "--scenarios", "a:b"], "no command 'no-such-command'"),
        (["--remote", "sh 'agent", "--scenarios", "a:b"], "this is no command"),
        (["--remote", "sh agent.sh", "--bare", "a:b", "--through", "a:c"], "give one of them"),
    ],
)
def test_a_command_that_is_none_is_told(contract: Path, arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(main, ["gate", *arguments])
    assert result.exit_code == 2
    assert said in result.output
