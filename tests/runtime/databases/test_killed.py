"""Transactions of processes that are really killed, and really stopped: the payment is made once."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from plimsoll.core.calls import Ending
from plimsoll.runtime.result import RunResult
from tests.runtime.databases.conftest import Place
from tests.runtime.databases.paying import TIMEOUT_S, harness

HASTY_S = 0.3
"""For how long a successor waits that is not to get what it waits for."""
ROOT = Path(__file__).parents[3]


def begun(folder: Path, place: Place, *ending: str) -> subprocess.Popen[str]:
    kind = "thread" if place.in_thread else "loop"
    command = [sys.executable, "-m", "tests.runtime.databases.paying", str(folder), place.url, kind, *ending]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def said(process: subprocess.Popen[str]) -> list[str]:
    """What the process says at its end."""
    out, _ = process.communicate(timeout=60)
    return out.split()


def resumed(folder: Path, place: Place, *, take_over: bool = False, timeout_s: float = TIMEOUT_S) -> RunResult:
    """How the run stands after another process has gone on with it."""

    async def live() -> RunResult:
        payer = harness(folder, place.url, owner="successor", in_thread=place.in_thread, timeout_s=timeout_s)
        async with payer:
            result = await payer.resume("r", take_over=take_over)
        await payer.store.close()
        return result

    return asyncio.run(live())


@pytest.mark.parametrize(
    ("site", "moment", "paid"),
    [("pay", "before", 0), ("pay.commit", "before", 0), ("pay.commit", "after", 1), ("pay", "after", 1)],
)
def test_a_process_killed_on_either_side_of_the_commit_pays_once(
    place: Place, tmp_path: Path, site: str, moment: str, paid: int
) -> None:
    first = begun(tmp_path, place, site, moment, "SIGKILL")
    assert said(first) == []
    assert first.returncode == -signal.SIGKILL
    assert len(place.payments) == paid
    result = resumed(tmp_path, place)
    assert (result.ending, result.output) == (Ending.COMPLETE, {"paid": "ann"})
    assert place.payments == [("ann", 20)]


def stopped(first: subprocess.Popen[str]) -> None:
    """Returns when the process has stopped itself."""
    _, status = os.waitpid(first.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)


@pytest.mark.parametrize("site", ["pay", "pay.commit"])
def test_a_process_that_was_stopped_and_taken_over_pays_nothing_more_when_it_wakes(
    place: Place, tmp_path: Path, site: str
) -> None:
    """Stopped before its transaction, or in it. Where it holds its mark, its successor waits, and parks."""
    first = begun(tmp_path, place, site, "before", "SIGSTOP")
    try:
        stopped(first)
        holds = site == "pay.commit"
        second = resumed(tmp_path, place, take_over=True, timeout_s=HASTY_S if holds else TIMEOUT_S)
        assert second.ending is (Ending.PARKED if holds else Ending.COMPLETE), second.reason
        first.send_signal(signal.SIGCONT)
        assert said(first) == ["parked", "superseded"]
    finally:
        first.kill()
        first.wait()
    assert resumed(tmp_path, place).output == {"paid": "ann"}
    assert place.payments == [("ann", 20)]
