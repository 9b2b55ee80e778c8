"""Each command by itself: what it prints, its exit codes, and what it says when something is wrong."""

import getpass
import json
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest

from plimsoll.cli import main
from plimsoll.cli.command import Command, explained
from plimsoll.cli.printing import clean
from plimsoll.core.errors import Misuse

from .conftest import User

COMMANDS = [
    ("init",),
    ("check",),
    ("gate",),
    ("reproduce",),
    ("runs", "list"),
    ("runs", "show"),
    ("runs", "resume"),
    ("approvals", "list"),
    ("approvals", "approve"),
    ("approvals", "deny"),
    ("approvals", "resolve"),
    ("kill",),
    ("audit", "verify"),
    ("audit", "checkpoint"),
    ("audit", "export"),
    ("audit", "log"),
    ("erase",),
    ("keys", "make"),
    ("keys", "rotate"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_help_has_an_example_and_exit_codes_within_80_columns(user: User, command: tuple[str, ...]) -> None:
    text = user.ok(*command, "--help")
    assert "Exits with" in text, "the exit codes"
    assert f"\n    plimsoll {' '.join(command)}" in text, "an example"
    prose = [line for line in text.splitlines() if not line.startswith("    plimsoll ")]
    assert max(map(len, prose)) <= 80


def test_every_command_ends_in_a_message() -> None:
    for path in COMMANDS:
        command: Any = main
        for name in path:
            command = command.commands[name]
        assert isinstance(command, Command), path


@pytest.mark.parametrize(
    "arguments",
    [("runs", "list"), ("runs", "show", "t1"), ("approvals", "list"), ("kill", "--all"), ("runs", "resume")],
)
def test_before_the_first_run_there_is_no_journal(user: User, arguments: tuple[str, ...]) -> None:
    message = "there is no journal at .plimsoll/journal.db yet: no run was started under plimsoll.toml"
    assert user.refused(*arguments) == f"Error: {message}"
    assert not (user.folder / ".plimsoll").exists()
    assert (
        user.refused(*arguments, "--journal", "typo.db") == "Error: there is no journal at typo.db; is the path right?"
    )
    assert not (user.folder / "typo.db").exists()
    assert "there is no such file → run `plimsoll init`" in user.refused(*arguments, "--contract", "nope.toml")


def test_what_is_no_journal_is_refused_and_left_alone(user: User) -> None:
    with sqlite3.connect("other.db") as other:
        other.execute("CREATE TABLE customers (name)")
    other.close()
    for name in ("other.db", "shop/agent.py", "shop"):
        before = Path(name).read_bytes() if Path(name).is_file() else b""
        user.refused("runs", "list", "--journal", name)
        assert before == (Path(name).read_bytes() if Path(name).is_file() else b"")


def test_an_error_is_json_too(user: User) -> None:
    user.contract.write_text("[agent\n")
    for arguments in [("runs", "list"), ("approvals", "list"), ("runs", "show", "x"), ("runs", "resume")]:
        result = user.run(*arguments, "--json")
        assert result.exit_code == 1
        assert result.stdout.count("\n") == 1 and "not TOML" in json.loads(result.stdout)["error"]
    result = user.run("gate", "--json")
    assert (result.exit_code, "not TOML" in json.loads(result.stdout)["error"]) == (2, True)
    problems = user.run("check", "--json")
    assert problems.exit_code == 1 and json.loads(problems.stdout)["errors"] == 1


def test_wrong_ids_say_where_the_right_ones_are(user: User) -> None:
    user.asks("refund 120", run_id="t2")
    for arguments in [("runs", "show", "x"), ("runs", "resume", "x"), ("kill", "x")]:
        assert user.refused(*arguments).startswith("Error: no run 'x' in this journal; `plimsoll runs list`")
    for request in ("x", "x.a1", "t2.a9"):
        assert "`plimsoll approvals list`" in user.refused("approvals", "approve", request, "--by", "ana")
    assert "nothing is in doubt in run t2" in user.refused("approvals", "resolve", "t2", "--happened")
    assert "'4:x' of run t2 is not in doubt; what is: nothing" in user.refused(
        "approvals", "resolve", "t2", "4:x", "--happened"
    )
    assert user.ok("kill", "nobody", "--release") == "No kill switch on nobody was engaged.\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("kill",), "name one run, or say --all"),
        (("kill", "t2", "--all"), "name one run, or say --all"),
        (("approvals", "resolve", "t2"), "say --happened or --not-happened"),
        (("approvals", "resolve", "t2", "--happened", "--result", "sent"), "A text needs quotes"),
        (("approvals", "resolve", "t2", "--not-happened", "--result", "1"), "--result goes with --happened"),
        (("gate", "--through", "shop.agent:agent"), "--through goes with --bare"),
        (("gate", "--bare", "a:b", "--agent", "c:d"), "give one of them"),
        (("gate", "--out", "plimsoll.toml/x"), "cannot be written"),
    ],
)
def test_wrong_usage_exits_with_2(user: User, arguments: tuple[str, ...], words: str) -> None:
    assert words in user.refused(*arguments, code=2)


def test_only_whom_the_contract_names_may_decide(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    user.asks("refund 120", run_id="t2")
    assert user.refused("approvals", "approve", "t2.a1", "--by", "bo").endswith("refused: bo is not one of ana")
    monkeypatch.setattr(getpass, "getuser", lambda: "root")
    assert user.refused("approvals", "approve", "t2.a1").endswith("root is not one of ana. Say who you are with --by")

    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert "say who you are with --by" in user.refused("approvals", "approve", "t2.a1", code=2)
    assert user.json("approvals", "list")["approvals"][0]["request_id"] == "t2.a1"


# ----------------------------------------------------------------------------------------------------- what is shown


def test_ids_are_never_broken(user: User) -> None:
    run_id = "ticket-" + "7" * 60
    user.asks("refund 120", run_id=run_id)
    for arguments in [("runs", "list"), ("approvals", "list"), ("runs", "show", run_id)]:
        assert run_id in user.ok(*arguments, width=80)
    row = user.ok("runs", "list", width=80).splitlines()[1]
    assert row.split()[:5] == [run_id, "parked", *row.split()[2:4], "ago"]


def test_markup_and_control_characters_are_shown_not_obeyed(user: User) -> None:
    user.asks("refund 120", run_id="t2")
    note = "[/bold] \x1b[2J\u202eevil [red]"
    user.ok("approvals", "deny", "t2.a1", "--by", "ana", "--note", note)
    user.ok("runs", "resume")
    shown = user.ok("runs", "show", "t2", width=400)
    assert r"[/bold] \x1b[2J\u202eevil [red]" in shown
    assert "\x1b" not in shown and "\u202e" not in shown
    assert "[info] approval_pending" in shown
    assert clean("é 漢字 \t\ud800") == r"é 漢字 \t\ud800"


def test_listing_runs(user: User) -> None:
    user.asks("refund 20", run_id="t1")
    assert user.ok("runs", "list", "--state", "parked") == "No runs are parked.\n"
    user.asks("refund 120", run_id="t2")
    lines = user.ok("runs", "list").splitlines()
    assert lines[0].split() == ["run", "state", "started", "events", "agent", "why"]
    assert [line.split()[:2] for line in lines[1:]] == [["t2", "parked"], ["t1", "complete"]]
    assert [row["run_id"] for row in user.json("runs", "list", "--state", "ended")["runs"]] == ["t1"]
    assert "--limit shows them" in user.ok("runs", "list", "--limit", "1")


def test_showing_a_run(user: User) -> None:
    user.asks("refund 120", run_id="t2")
    shown = user.ok("runs", "show", "t2")
    assert shown.startswith("Run t2, started 20") and shown.endswith("t2.a1 waits for ana\n  plimsoll approvals list\n")
    whole = user.json("runs", "show", "t2")
    assert (whole["state"], whole["result"]["waiting_for"]) == ("parked", ["t2.a1"])
    assert [event["type"] for event in whole["events"]][:2] == ["run_started", "call_settled"]
    assert [event["seq"] for event in whole["events"]] == list(range(1, len(whole["events"]) + 1))


def test_a_pipe_gets_one_line_for_each_run(user: User) -> None:
    user.edit('name = "shop"', f'name = "{"shop" * 30}"')
    user.asks("refund 20", run_id="t1")
    result = user.run("runs", "list", env={"COLUMNS": None})
    assert len(result.output.splitlines()) == 2


def test_no_colour_where_none_is_wanted(user: User) -> None:
    user.asks("refund 120", run_id="t2")
    coloured = user.ok("runs", "show", "t2", env={"FORCE_COLOR": "1"})
    assert "\x1b[" in coloured
    plain = user.ok("runs", "show", "t2", env={"FORCE_COLOR": "1", "NO_COLOR": "1"})
    assert "\x1b[3" not in plain


# ----------------------------------------------------------------------------------------------- the user's own code


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("\nraise ValueError('no config')", "ValueError: no config (shop/broken.py, line 2)"),
        ("import no_such_library", "No module named 'no_such_library' (shop/broken.py, line 1)"),
        ("def f(:", "SyntaxError: "),
        ("import sys\nsys.exit(3)", "it ended the program with 3; guard that by `if __name__ == '__main__':`"),
    ],
)
def test_an_error_in_the_users_module_names_its_place(user: User, code: str, words: str) -> None:
    user.asks("refund 20", run_id="t1")
    (user.folder / "shop" / "broken.py").write_text(code)
    for arguments, exit_code in [
        (("init", "shop.broken:agent", "--output", "x.toml"), 1),
        (("runs", "resume", "--agent", "shop.broken:agent"), 1),
        (("gate", "--agent", "shop.broken:agent"), 2),
        (("gate", "--scenarios", "shop.broken:x"), 2),
    ]:
        message = user.refused(*arguments, code=exit_code)
        assert message.startswith("Error: importing shop.broken:") and words in message
    assert not (user.folder / "x.toml").exists()
    user.edit("shop.agent:agent", "shop.broken:agent")
    checked = user.run("check", "--agent", width=400)
    assert checked.exit_code == 1 and words in checked.stdout
    assert "agent.entrypoint leads to no agent: importing shop.broken:agent" in checked.stdout


@pytest.mark.parametrize(
    ("entrypoint", "words"),
    [
        ("nope.agent:agent", "no module 'nope' for 'nope.agent:agent'; are you in its folder"),
        ("shop.agent:nope", "shop.agent has no 'nope'"),
        ("shop.agent", "write module:attribute"),
        (".agent:agent", "write module:attribute"),
        ("shop.agent:Shop", "is no agent of a framework known here"),
    ],
)
def test_an_agent_that_is_not_there(user: User, entrypoint: str, words: str) -> None:
    user.asks("refund 20", run_id="t1")
    for arguments, code in [
        (("init", entrypoint, "--output", "x.toml"), 1),
        (("runs", "resume", "--agent", entrypoint), 1),
        (("gate", "--agent", entrypoint), 2),
    ]:
        assert words in user.refused(*arguments, code=code)


def test_an_agent_that_the_contract_does_not_name(user: User) -> None:
    user.asks("refund 20", run_id="t1")
    user.edit('entrypoint = "shop.agent:agent"\n', "")
    assert "Give --agent module:attribute" in user.refused("runs", "resume")
    assert user.ok("runs", "resume", "--agent", "shop.agent:agent").startswith("Nothing can go on")


def test_a_verify_that_cannot_be_found_touches_no_run(user: User) -> None:
    user.asks("refund 120", run_id="t2")
    user.ok("approvals", "approve", "t2.a1", "--by", "ana")
    before = user.json("runs", "list")
    user.edit('effect = "write"\napproval', 'effect = "write"\nverify = "shop.agent:nope"\napproval')
    assert "shop.agent has no 'nope'" in user.refused("runs", "resume")
    assert user.json("runs", "list") == before


def test_an_unexpected_error_says_how_to_see_more(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(sys.modules["plimsoll.cli.kill"], "with_operations", fails)
    message = user.refused("kill", "--all")
    assert "ZeroDivisionError: a defect (" in message and "PLIMSOLL_TRACEBACK=1 shows how it came to this" in message
    monkeypatch.setenv("PLIMSOLL_TRACEBACK", "1")
    assert isinstance(user.run("kill", "--all").exception, ZeroDivisionError)


def test_ours_and_ctrl_c_pass_unexplained() -> None:
    with pytest.raises(Misuse, match="mine"), explained("x"):
        raise Misuse("mine")
    with pytest.raises(KeyboardInterrupt), explained("x"):
        raise KeyboardInterrupt


def test_a_folder_beside_a_contract_hides_no_library(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    deploy = user.folder / "deploy"
    deploy.mkdir()
    (deploy / "click.py").write_text("raise RuntimeError('the wrong click')")
    user.contract.rename(deploy / "plimsoll.toml")
    assert user.run("check", "deploy/plimsoll.toml", "--agent").exit_code == 0
    assert sys.path[0] == str(user.folder) and sys.path[-1] == str(deploy)


# -------------------------------------------------------------------------------------------------------------- gate


@pytest.mark.timeout(120)
def test_the_gate_blocks_what_breaks_a_promise_and_its_failure_is_played_again(user: User) -> None:
    result = user.run(
        "gate", "--bare", "shop.scenarios:handle", "--through", "shop.agent:agent", "--json", "--workers", "2"
    )
    assert result.exit_code == 1, result.output
    verdict = json.loads(result.stdout)
    assert (verdict["decision"], verdict["exit_code"], result.stdout.count("\n")) == ("block", 1, 1)
    assert Path(verdict["report"]).exists() and Path("gate-report/junit.xml").exists()
    failure = next(iter(sorted(Path("gate-report/failures").glob("*.json"))))
    again = user.run("reproduce", str(failure), width=400)
    assert (again.exit_code, again.output.splitlines()[-1]) == (1, "It fails the same way again.")
    assert "  broken: " in again.output and "is asked: 'refund 30'" in again.output
    played = user.run("reproduce", str(failure), "--json")
    assert (played.exit_code, json.loads(played.stdout)["same"]) == (1, True)
    user.edit("[gate]", "[limits]\nsteps = 49\n[gate]")
    assert "Note: the contract has changed since.\n" in user.run("reproduce", str(failure)).output
    Path("plimsoll.toml").unlink()
    assert "there is no such file" in user.refused("reproduce", str(failure), code=2)


@pytest.mark.timeout(120)
def test_the_gates_self_test(user: User) -> None:
    user.edit('effect = "write"\napproval', 'effect = "write"\nverify = "shop.scenarios:verify_refund"\napproval')
    user.edit('[tools.list_orders]\neffect = "read"\n', "")
    result = user.run("gate", "--self-test", "--json", "--workers", "2")
    assert result.exit_code in (0, 1) and result.stdout.count("\n") == 1
    tested = json.loads(result.stdout)
    assert {"blocked", "not_exercised"} <= {each["fate"] for each in tested["results"]}
    assert "Broken on purpose: does the gate notice?" in result.stderr
    assert "  ✓ blocked         findings reach nobody (monitoring)\n" in result.stderr
    assert not Path("gate-report").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--scenarios", "shop.scenarios:EMPTY"), "is no list of plimsoll.gate.Scenario"),
        (("--scenarios", "shop.scenarios:paid_once"), "making the scenarios by shop.scenarios:paid_once failed"),
        (("--bare", "shop.scenarios:handle"), "--bare needs --through"),
        (("--bare", "shop.scenarios:EMPTY", "--through", "shop.agent:agent"), "is no function"),
        (("--self-test", "--bare", "shop.scenarios:handle", "--through", "shop.agent:agent"), "has none"),
    ],
)
def test_what_the_gate_cannot_try_is_inconclusive(user: User, arguments: tuple[str, ...], words: str) -> None:
    assert words in user.refused("gate", *arguments, code=2)


def test_the_gate_needs_scenarios(user: User) -> None:
    user.edit('scenarios = "shop.scenarios:SCENARIOS"\n', "")
    assert "which scenarios? Give --scenarios" in user.refused("gate", code=2)


def test_what_is_no_failure_file(user: User) -> None:
    assert "cannot be read" in user.refused("reproduce", "nope.json", code=2)
    assert "is no failure file" in user.refused("reproduce", "plimsoll.toml", code=2)
