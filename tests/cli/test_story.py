"""What a user lives through, over a journal in a file: approval, crash, doubt, kill switch."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import User

SERVE = """\
import asyncio, sys
from plimsoll import harden
from shop.agent import agent, open_shop

async def serve(ticket, request):
    async with harden(agent, "plimsoll.toml", deps=open_shop) as hardened:
        await hardened.run(request, run_id=ticket)

asyncio.run(serve(*sys.argv[1:]))
"""
PLIMSOLL = "from plimsoll.cli import main; main()"
INTERRUPTIBLE = f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler); {PLIMSOLL}"
"""A shell without job control has what it starts in the background ignore ctrl-C, and so may these tests be started."""


def patient(user: User) -> None:
    """A refund whose answer never comes is not given up while a test looks on, on a busy machine either."""
    user.edit("[tools.issue_refund]\n", "[tools.issue_refund]\ntimeout_s = 100\n")


def killed_while_paying(user: User, environment: dict[str, str], code: str, *arguments: str) -> None:
    """Runs a process until it says that the money is paid, and really kills it then."""
    pipe = user.folder / "pipe"
    os.mkfifo(pipe)
    listening = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], env={**environment, "SHOP_PIPE": str(pipe)}, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        while listening not in (ready := select.select([listening, process.stderr], [], [], 30)[0]):
            assert ready, "it neither paid nor ended"
            said = os.read(process.stderr.fileno(), 10_000)  # a finding that is logged, or the end of the process
            assert said, "it ended before it paid"
        assert os.read(listening, 10) == b"paid"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stderr.close()
        os.close(listening)
        pipe.unlink()


def test_from_init_to_an_answer(user: User) -> None:
    user.contract.unlink()
    written = user.ok("init", "shop.agent:agent")
    assert "issue_refund  write" in written and 'deps = "module:function"' in written
    assert "0 errors" in user.ok("check", "--agent", width=200)
    user.edit('entrypoint = "shop.agent:agent"\n', 'entrypoint = "shop.agent:agent"\ndeps = "shop.agent:open_shop"\n')
    assert user.asks("refund 20", run_id="t1").output == user.asks("refund 20", run_id="t1").output
    assert user.paid == [20.0]
    (run,) = user.json("runs", "list")["runs"]
    assert (run["run_id"], run["state"]) == ("t1", "complete")


def test_a_risky_refund_is_approved_once_and_paid_once(user: User) -> None:
    assert user.asks("refund 120", run_id="t2").ending == "parked"
    shown = user.ok("approvals", "list")
    assert 't2.a1  issue_refund {"amount":120.0,"order":"W1"}\n' in shown and "may decide: ana\n" in shown
    assert "root is not one" not in shown and user.paid == []
    said = user.ok("approvals", "approve", "t2.a1", "--by", "ana", "--note", "broken on arrival")
    assert said == (
        "t2.a1 approved by ana. The run goes on when its service wakes it, or by:\n  plimsoll runs resume t2\n"
    )
    again = user.ok("approvals", "approve", "t2.a1", "--by", "ana", "--note", "broken on arrival")
    assert again == "t2.a1 was approved by ana already; nothing changed.\n"
    assert "decided it already" in user.refused("approvals", "deny", "t2.a1", "--by", "ana")
    assert user.json("approvals", "list") == {"approvals": [], "doubts": []}
    assert user.paid == []
    assert user.ok("runs", "resume", "t2") == "t2: complete\n  issue_refund: {'refunded': 120.0}\n"
    assert user.ok("runs", "resume", "t2").startswith("t2: complete")
    assert user.paid == [120.0]
    assert user.ok("runs", "resume").startswith("Nothing can go on")


def test_a_denied_refund_is_never_paid_and_the_agent_is_told_why(user: User) -> None:
    user.asks("refund 120", run_id="t2")
    user.ok("approvals", "deny", "t2.a1", "--by", "ana", "--note", "older than 30 days")
    (result,) = user.json("runs", "resume")["results"]
    assert (result["run_id"], result["ending"]) == ("t2", "complete")
    assert "older than 30 days" in result["output"] and user.paid == []


def test_a_killed_process_leaves_a_doubt_and_its_answer_counts_for_one_sending_only(
    user: User, environment: dict[str, str]
) -> None:
    killed_while_paying(user, environment, SERVE, "k1", "refund 30")
    assert user.json("runs", "list")["runs"][0]["state"] == "running"
    (parked,) = user.json("runs", "resume")["results"]
    assert parked["ending"] == "parked" and user.paid == [30.0]
    (doubt,) = user.json("approvals", "list")["doubts"]
    assert (doubt["tool"], doubt["args"]) == ("issue_refund", {"order": "W1", "amount": 30.0})
    assert doubt["idempotency_key"] in user.ok("approvals", "list")

    said = user.ok("approvals", "resolve", "k1", "--not-happened", "--by", "ana")
    assert "of k1 did not happen, says ana" in said
    assert "nothing changed" in user.ok("approvals", "resolve", "k1", doubt["key"][:6], "--not-happened", "--by", "ana")
    assert "ana has said already" in user.refused("approvals", "resolve", "k1", "--happened", "--by", "bo")
    assert user.json("approvals", "list")["doubts"] == []

    killed_while_paying(user, environment, PLIMSOLL, "runs", "resume")
    assert user.paid == [30.0, 30.0], "sent again, as ana said that it had not happened"
    (parked,) = user.json("runs", "resume")["results"]
    assert parked["ending"] == "parked", "ana spoke of the first sending, not of this one"
    assert user.ok("runs", "resume").startswith("Nothing can go on")
    assert user.paid == [30.0, 30.0]

    user.ok("approvals", "resolve", "k1", "--happened", "--result", '{"refunded": 30}', "--by", "ana")
    (ended,) = user.json("runs", "resume")["results"]
    assert (ended["ending"], ended["output"]) == ("complete", "issue_refund: {'refunded': 30}")
    assert user.paid == [30.0, 30.0]


def test_a_run_that_a_living_process_advances_is_left_to_it(user: User, environment: dict[str, str]) -> None:
    patient(user)
    pipe = user.folder / "pipe"
    os.mkfifo(pipe)
    listening = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, "k1", "refund 30"], env={**environment, "SHOP_PIPE": str(pipe)}
    )
    try:
        assert select.select([listening], [], [], 30)[0]
        assert user.ok("runs", "resume").startswith("Nothing can go on")
        assert "k1 is being advanced by" in user.refused("runs", "resume", "k1")
        assert "k1: running" in user.ok("runs", "show", "k1")
    finally:
        process.kill()
        process.wait()
        os.close(listening)
    assert user.paid == [30.0]


def test_a_run_is_taken_over_from_a_process_that_is_stuck(user: User, environment: dict[str, str]) -> None:
    pipe = user.folder / "pipe"
    os.mkfifo(pipe)
    listening = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, "k1", "refund 30"], env={**environment, "SHOP_PIPE": str(pipe)}
    )
    try:
        assert select.select([listening], [], [], 30)[0]
        process.send_signal(signal.SIGSTOP)
        assert "needs the RUN" in user.refused("runs", "resume", "--take-over", code=2)
        assert "k1 is being advanced by" in user.refused("runs", "resume", "k1")
        assert "k1: parked (doubt" in user.ok("runs", "resume", "k1", "--take-over")
    finally:
        process.kill()
        process.wait()
        os.close(listening)
    assert user.paid == [30.0]
    user.ok("approvals", "resolve", "k1", "--happened", "--result", '{"refunded": 30}', "--by", "ana")
    assert user.ok("runs", "resume", "k1").startswith("k1: complete")
    assert user.paid == [30.0]


def test_a_command_that_is_shown_can_be_typed_whatever_the_run_is_called(user: User) -> None:
    named = "t1; echo done"
    user.asks("refund 120", run_id=named)
    assert f"plimsoll runs resume '{named}'\n" in user.ok("approvals", "approve", f"{named}.a1", "--by", "ana")
    release = f"Release it by: plimsoll kill '{named}' --release"
    assert release in user.ok("kill", named)
    assert release in user.ok("runs", "list", width=200)


def test_the_kill_switch_halts_what_waits_and_what_comes(user: User) -> None:
    user.asks("refund 120", run_id="t2")
    assert "Release it by: plimsoll kill --all --release" in user.ok("kill", "--all", "--reason", "fire [/red]")
    assert user.asks("refund 20", run_id="t3").ending == "halted"
    shown = user.ok("runs", "list")
    assert "The kill switch is engaged on every run by " in shown and ": fire [/red]\n" in shown
    (switch,) = user.json("runs", "list")["kill_switches"]
    assert (switch["scope"], switch["reason"]) == ("*", "fire [/red]")
    assert user.ok("kill", "--all", "--release") == "The kill switch on every run is released.\n"
    assert user.ok("kill", "--all", "--release") == "No kill switch on every run was engaged.\n"

    user.ok("kill", "t2", "--by", "ana")
    user.ok("approvals", "approve", "t2.a1", "--by", "ana")
    assert user.ok("runs", "resume", "t2").startswith("t2: halted (kill switch engaged on 't2' by ana")
    assert user.ok("kill", "t2").startswith("Run t2 has ended already (halted)")
    assert user.ok("kill", "t2", "--release") == "The kill switch on t2 is released.\n"
    assert user.paid == []


def test_a_decision_about_a_run_that_has_ended_is_refused(user: User) -> None:
    user.asks("refund 120", run_id="t2")
    user.ok("kill", "t2")
    user.ok("runs", "resume", "t2")
    assert "its run has ended" in user.refused("approvals", "approve", "t2.a1", "--by", "ana")


def test_without_dependencies_nothing_is_touched(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    user.asks("refund 120", run_id="t2")
    user.ok("approvals", "approve", "t2.a1", "--by", "ana")
    before = user.json("runs", "list")
    user.edit('deps = "shop.agent:open_shop"\n', "")
    assert 'write `deps = "module:function"`' in user.refused("runs", "resume")
    user.edit("[agent]\n", '[agent]\ndeps = "shop.agent:open_shop"\n')
    monkeypatch.setenv("SHOP_CLOSED", "1")
    message = user.refused("runs", "resume", "t2")
    assert "making the dependencies by shop.agent:open_shop failed: ConnectionError" in message
    assert "(shop/agent.py, line " in message
    monkeypatch.delenv("SHOP_CLOSED")
    assert user.json("runs", "list") == before and user.paid == []
    assert user.ok("runs", "resume", "t2").startswith("t2: complete")


def test_ctrl_c_leaves_a_run_that_goes_on(user: User, environment: dict[str, str]) -> None:
    patient(user)
    user.asks("refund 120", run_id="t2")
    user.ok("approvals", "approve", "t2.a1", "--by", "ana")
    pipe = user.folder / "pipe"
    os.mkfifo(pipe)
    listening = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE, "runs", "resume", "t2", "--json"],
        env={**environment, "SHOP_PIPE": str(pipe)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert select.select([listening], [], [], 30)[0]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    os.close(listening)
    assert process.returncode == 130 and "Traceback" not in err
    assert "interrupted. What was recorded stands" in err and out.startswith('{"error": "interrupted.')
    (left,) = user.json("runs", "resume")["results"]
    assert left["ending"] == "parked" and "doubt" in left["reason"] and user.paid == [120.0]


def test_the_contract_may_lie_elsewhere(user: User, tmp_path_factory: pytest.TempPathFactory) -> None:
    user.asks("refund 120", run_id="t2")
    os.chdir(tmp_path_factory.mktemp("elsewhere"))
    where = ("--contract", str(user.contract))
    assert f"approve|deny REQUEST --by YOU --contract {user.contract}" in user.ok("approvals", "list", *where)
    assert user.ok("runs", "resume", "t2", *where).startswith("t2: parked")
    journal = str(user.folder / ".plimsoll" / "journal.db")
    assert "t2" in user.ok("runs", "list", *where, "--journal", journal)
    assert not (Path.cwd() / ".plimsoll").exists()


def test_a_fallback_that_is_not_installed_is_missed_only_when_it_is_needed(user: User) -> None:
    user.edit('fallback = ["canned"]', 'fallback = ["spare", "canned"]\n[models.spare]\nid = "no_such_provider:model"')
    user.asks("refund 120", run_id="t2", models={"spare": "test"})
    user.ok("approvals", "approve", "t2.a1", "--by", "ana")
    assert user.ok("runs", "resume", "t2").startswith("t2: complete")
    assert user.paid == [120.0]
