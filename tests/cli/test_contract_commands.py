import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from plimsoll.cli.contract_commands import check_command, init_command
from plimsoll.contract.loading import load_contract
from plimsoll.contract.shapes import AgentShape, ToolShape
from plimsoll.core.errors import MissingExtra

SOUND = """\
[agent]
name = "shop"
entrypoint = "shop.agent:agent"
[models.primary]
fallback = ["canned"]
usd_per_million_output_tokens = 10
[models.canned]
canned = "Later, please."
[tools.find]
effect = "read"
[gate]
scenarios = "shop.scenarios:ALL"
accepts = ["canned_answers", "unretried_faults", "unpriced_models"]
[tools.find.output]
type = "array"
"""
SHAPE = AgentShape(
    name="shop",
    tools=(ToolShape(name="find", read_only_hint=True), ToolShape(name="refund")),
    models=("openai:gpt-5",),
)


def describe(entrypoint: str) -> AgentShape:
    match entrypoint:
        case "shop.agent:agent":
            return SHAPE
        case "shop.agent:missing":
            raise MissingExtra("pydantic_ai", extra="pydantic-ai")
        case _:
            raise SyntaxError("bad code in the user's module")


check = check_command(describe)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(command: click.Command, *arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "160"}).invoke(command, arguments, catch_exceptions=False)


def test_check_is_silent_about_a_sound_contract(here: Path) -> None:
    (here / "plimsoll.toml").write_text(SOUND)
    result = run(check)
    assert (result.exit_code, result.output) == (0, "plimsoll.toml: nothing to object to\n")


def test_check_prints_every_problem_with_its_line(here: Path) -> None:
    (here / "bad.toml").write_text(SOUND.replace('"read"', '"raed"').replace("[agent]", "[agent]\nnme = 1"))
    result = run(check, "bad.toml")
    assert result.exit_code == 1
    assert result.output == (
        "error   bad.toml:2 agent.nme there is no field 'nme' here → did you mean 'name'?\n"
        "error   bad.toml:11 tools.find.effect is the text 'raed' → did you mean 'read'?\n"
        "bad.toml: 2 errors, 0 warnings\n"
    )


def test_warnings_fail_only_when_strict(here: Path) -> None:
    (here / "plimsoll.toml").write_text(SOUND.replace("[gate]", "[tools.'[red]x']\n[gate]"))
    result = run(check)
    assert result.exit_code == 0
    assert result.output.startswith('warning plimsoll.toml:11 tools."[red]x".verify is missing')
    assert result.output.endswith("plimsoll.toml: 0 errors, 3 warnings\n")
    strict = run(check, "--strict")
    assert strict.exit_code == 1
    assert strict.output.endswith("plimsoll.toml: 3 errors, 0 warnings\n")


def test_check_writes_json(here: Path) -> None:
    (here / "plimsoll.toml").write_text(SOUND.replace("[gate]", "[protections]\nretry = 'observe'\n[gate]"))
    result = run(check, "--json")
    assert result.exit_code == 0
    assert result.output.count("\n") == 1, "one JSON object on one line"
    assert json.loads(result.output) == {
        "file": "plimsoll.toml",
        "ok": True,
        "errors": 0,
        "warnings": 1,
        "problems": [
            {
                "file": "plimsoll.toml",
                "line": 12,
                "field": "protections.retry",
                "what": "is not enforced: what it would have done is only reported",
                "fix": 'set it to "enforce" before shipping',
                "severity": "warning",
            }
        ],
        "prices": {"table": "", "models": {}},
    }
    assert json.loads(run(check, "--json", "--strict").output)["ok"] is False


def test_check_of_a_missing_file_says_what_to_do(here: Path) -> None:
    result = run(check)
    assert result.exit_code == 1
    assert "run `plimsoll init`" in result.output


def test_check_compares_with_the_agents_tools_when_asked(here: Path) -> None:
    (here / "plimsoll.toml").write_text(SOUND)
    command = check_command(describe)
    assert run(command).output == "plimsoll.toml: nothing to object to\n"
    result = run(command, "--agent")
    assert result.exit_code == 0
    assert "tools.refund the agent has this tool, and nothing is decided about it" in result.output


def test_check_needs_to_know_which_agent(here: Path) -> None:
    (here / "plimsoll.toml").write_text('agent.name = "a"\n')
    result = run(check, "--agent")
    assert result.exit_code == 1
    assert "agent.entrypoint is missing: which agent is it?" in result.output
    (here / "plimsoll.toml").write_text('[agent]\nname = "a"\nentrypoint = "shop.agent:missing"')
    result = run(check, "--agent")
    assert result.exit_code == 1
    assert "pip install 'plimsoll-ai[pydantic-ai]'" in result.output


def test_an_agent_that_cannot_be_imported_is_a_problem_with_its_place_beside_the_others(here: Path) -> None:
    (here / "plimsoll.toml").write_text('[agent]\nname = "a"\nentrypoint = "shop.nope:agent"\n')
    result = run(check, "--agent", "--json")
    first, *others = json.loads(result.output)["problems"]
    assert (first["line"], first["field"], first["severity"]) == (3, "agent.entrypoint", "error")
    assert first["what"].startswith("leads to no agent: importing shop.nope:agent failed: SyntaxError: bad code")
    assert "gate.scenarios" in [problem["field"] for problem in others]


def test_help_shows_commands_as_they_are_typed() -> None:
    assert "plimsoll check --agent\n" in run(check, "--help").output
    assert "plimsoll check deploy/plimsoll.toml --strict\n" in run(check, "--help").output


def test_init_writes_a_contract_that_passes_check(here: Path) -> None:
    result = run(init_command(describe), "shop.agent:agent")
    assert result.exit_code == 0
    assert result.output.startswith("Wrote plimsoll.toml for shop.\n")
    assert "plimsoll check plimsoll.toml" in result.output
    assert [line.split()[:2] for line in result.output.splitlines()[1:4]] == [
        ["tool", "effect"],
        ["find", "read"],
        ["refund", "write"],
    ]
    assert set(load_contract(here / "plimsoll.toml").tools) == {"find", "refund"}
    assert run(check, "--agent").exit_code == 0
    assert "plimsoll init shop.agent:agent --force\n" in run(init_command(describe), "--help").output


def test_init_never_overwrites_unasked(here: Path) -> None:
    (here / "plimsoll.toml").write_text("mine")
    result = run(init_command(describe), "shop.agent:agent")
    assert result.exit_code == 1
    assert "plimsoll.toml is there already; --force overwrites it" in result.output
    assert (here / "plimsoll.toml").read_text() == "mine"
    assert run(init_command(describe), "shop.agent:agent", "--force").exit_code == 0
    assert load_contract(here / "plimsoll.toml").agent.name == "shop"


def test_init_writes_where_it_is_told(here: Path) -> None:
    assert run(init_command(describe), "shop.agent:agent", "--output", "deploy/p.toml").exit_code == 0
    assert load_contract(here / "deploy" / "p.toml").agent.name == "shop"
    (here / "file").write_text("")
    result = run(init_command(describe), "shop.agent:agent", "--output", "file/p.toml")
    assert result.exit_code == 1
    assert "cannot be written" in result.output


@pytest.mark.parametrize(
    ("entrypoint", "message"),
    [
        ("shop.agent:missing", "pip install 'plimsoll-ai[pydantic-ai]'"),
        ("broken:agent", "importing broken:agent failed: SyntaxError: bad code in the user's module"),
    ],
)
def test_init_says_why_an_agent_cannot_be_read(here: Path, entrypoint: str, message: str) -> None:
    result = run(init_command(describe), entrypoint)
    assert result.exit_code == 1
    assert message in result.output
    assert not (here / "plimsoll.toml").exists()


def test_init_writes_nothing_that_would_not_be_sound(here: Path) -> None:
    clash = AgentShape(name="shop", tools=(ToolShape(name="primary"),))
    result = run(init_command(lambda entrypoint: clash), "shop.agent:agent")
    assert result.exit_code == 1
    assert "a model is called primary too" in result.output
    result = run(init_command(lambda entrypoint: SHAPE), "no entrypoint")
    assert result.exit_code == 1
    assert "agent.entrypoint: is the text 'no entrypoint'" in result.output
    assert not (here / "plimsoll.toml").exists()


def test_an_agent_without_tools_is_no_reason_to_fail(here: Path) -> None:
    result = run(init_command(lambda entrypoint: AgentShape(name="bare")), "a:b")
    assert result.exit_code == 0
    assert "effect" not in result.output.splitlines()[1].split()[:2]
