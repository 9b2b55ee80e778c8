"""`plimsoll runs signal | cancel | adopt | work`, and letting a run go on by force."""

import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from .conftest import User

PLIMSOLL = "from plimsoll.cli import main; main()"


def test_a_run_that_waits_is_cancelled(user: User) -> None:
    user.asks("refund 120", run_id="t1")
    assert "is cancelled" in user.ok("runs", "cancel", "t1", "--reason", "wrong [/red] order", "--by", "ana")
    assert "was already cancelled" in user.ok("runs", "cancel", "t1", "--by", "bo")
    (result,) = user.json("runs", "resume")["results"]
    assert (result["ending"], result["reason"]) == ("halted", "cancelled by ana: wrong [/red] order")
    assert "has ended" in user.refused("runs", "cancel", "t1")
    assert "no run 'nobody'" in user.refused("runs", "cancel", "nobody")
    assert user.paid == []


def test_a_signal_is_sent_once_and_only_to_a_run_that_lasts(user: User) -> None:
    user.asks("refund 120", run_id="t1")
    assert "is sent" in user.ok("runs", "signal", "t1", "paid", "--payload", '{"amount": 2}', "--id", "s1")
    assert "was sent already" in user.ok("runs", "signal", "t1", "paid", "--payload", '{"amount": 2}', "--id", "s1")
    assert "given to another signal" in user.refused("runs", "signal", "t1", "other", "--id", "s1")
    assert "no JSON" in user.refused("runs", "signal", "t1", "paid", "--payload", "{", code=2)
    user.asks("hello", run_id="t2")
    assert "has ended" in user.refused("runs", "signal", "t2", "paid")


def test_a_new_version_adopts_what_it_replays(user: User) -> None:
    user.asks("refund 120", run_id="t1")
    assert user.ok("runs", "adopt", "--all").startswith("No run belongs to another version")
    user.edit('approvers = ["ana"]', 'approvers = ["ana", "bo"]')
    (result,) = user.json("runs", "resume", "t1")["results"]
    assert result["reason"].startswith("version")
    assert "t1: matches\n" in user.ok("runs", "adopt", "--all", "--dry-run")
    assert "t1: matches, and is adopted" in user.ok("runs", "adopt", "t1", "--by", "ana")
    (result,) = user.json("runs", "resume")["results"]
    assert result["reason"].startswith("approval")
    assert "adopted by ana" in user.ok("runs", "show", "t1", width=200)


def test_a_new_version_that_does_something_else_is_told(user: User) -> None:
    user.asks("refund 120", run_id="t1")
    code = user.folder / "shop" / "agent.py"
    code.write_text(code.read_text().replace('name="shop")', 'name="shop", instructions="Be brief.")'))
    for name in [name for name in sys.modules if name.startswith("shop")]:
        del sys.modules[name]
    shown = user.run("runs", "adopt", "--all", "--json")
    assert shown.exit_code == 1
    (run,) = json.loads(shown.stdout)["runs"]
    assert (run["run_id"], run["matches"], run["adopted"]) == ("t1", False, False)
    assert run["difference"]
    assert "needs" not in user.refused("runs", "adopt", code=2)


def test_force_needs_a_run_and_is_recorded(user: User) -> None:
    assert "--force needs the RUN" in user.refused("runs", "resume", "--force", code=2)
    user.asks("refund 120", run_id="t1")
    user.ok("runs", "resume", "t1", "--force", "--by", "ana")
    assert "let go on by ana" in user.ok("runs", "show", "t1", width=200)


def test_a_worker_serves_its_metrics_where_it_is_told_to(user: User, environment: dict[str, str]) -> None:
    user.asks("refund 120", run_id="t1")
    command = [sys.executable, "-c", PLIMSOLL, "runs", "work", "--metrics", "0"]
    worker = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    try:
        address = worker.stdout.readline().removeprefix("Metrics: ").strip()
        until, text = time.monotonic() + 30.0, ""
        while not re.search(r"^plimsoll_approvals_pending\{.*\} 1\.0$", text, re.MULTILINE):
            assert time.monotonic() < until, text
            with urllib.request.urlopen(address, timeout=10) as answer:
                text = answer.read().decode()
        worker.send_signal(signal.SIGTERM)
        worker.stdout.read()
        assert worker.wait() == 0
    finally:
        worker.kill()
        worker.wait()
        worker.stdout.close()


@pytest.mark.parametrize("address", ["here", "localhost:", ":99999", "9464:x"])
def test_an_address_for_metrics_is_a_port_with_a_host_or_without(user: User, address: str) -> None:
    assert f"'{address}' is no [HOST:]PORT, such as 9464" in user.refused("runs", "work", "--metrics", address, code=2)


def test_a_worker_goes_on_with_what_is_decided_until_it_is_told_to_stop(
    user: User, environment: dict[str, str]
) -> None:
    asked = user.asks("refund 120", run_id="t1").waiting_for[0]
    worker = subprocess.Popen(
        [sys.executable, "-c", PLIMSOLL, "runs", "work"], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout is not None
    try:
        assert "Working on the runs of shop" in worker.stdout.readline()
        user.ok("approvals", "approve", asked.request_id, "--by", "ana")
        until = time.monotonic() + 30.0
        while user.paid != [120.0]:
            assert time.monotonic() < until, "the worker did not go on"
        worker.send_signal(signal.SIGTERM)
        out = worker.stdout.read()  # not `communicate`, which forgets what `readline` has read ahead
        assert worker.wait() == 0
        assert out.startswith("Stopped; ")
    finally:
        worker.kill()
        worker.wait()
        worker.stdout.close()
    assert "t1: complete" in user.ok("runs", "show", "t1")
    assert Path("ledger.jsonl").exists()
