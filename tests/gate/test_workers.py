"""Jobs on all cores: in order, and whatever happens to a process costs its job alone."""

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from plimsoll.gate.workers import Lost, cores, do_all

PARENT = os.getpid()


def square(number: int) -> bytes:
    return str(number * number).encode()


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_the_order_of_the_jobs(workers: int) -> None:
    done: list[int] = []
    results = do_all(square, 300, workers=workers, on_done=done.append)
    assert results == [square(number) for number in range(300)]
    assert done[-1] == 300 and done == sorted(done)


def test_no_jobs_are_no_work() -> None:
    assert do_all(square, 0, workers=4) == []


def test_work_is_inherited_and_done_elsewhere() -> None:
    secret = object()  # nothing that could be pickled by name
    results = do_all(lambda number: f"{os.getpid()} {id(secret)}".encode(), 8, workers=2)
    pids = {int(result.split()[0]) for result in results if isinstance(result, bytes)}
    assert PARENT not in pids and len(pids) <= 2
    assert {result.split()[1] for result in results if isinstance(result, bytes)} == {str(id(secret)).encode()}


def test_a_worker_that_dies_costs_one_job() -> None:
    def work(number: int) -> bytes:
        if number == 7:
            os.kill(os.getpid(), signal.SIGKILL)
        return square(number)

    results = do_all(work, 100, workers=2)
    lost = results.pop(7)
    assert isinstance(lost, Lost) and "died" in lost.why and "-9" in lost.why
    assert results == [square(number) for number in range(100) if number != 7]


def test_a_worker_that_raises_costs_one_job(capfd: pytest.CaptureFixture[str]) -> None:
    def work(number: int) -> bytes:
        if number == 3:
            raise RuntimeError("broken")
        return square(number)

    results = do_all(work, 6, workers=2)
    assert [isinstance(result, Lost) for result in results] == [number == 3 for number in range(6)]
    capfd.readouterr()


def test_a_worker_that_hangs_is_given_up() -> None:
    def work(number: int) -> bytes:
        if number == 2:
            signal.pause()
        return square(number)

    results = do_all(work, 4, workers=2, patience_s=3.0)
    lost = results[2]
    assert isinstance(lost, Lost) and "no sign of life" in lost.why
    assert [results[0], results[1], results[3]] == [b"0", b"1", b"9"]


def test_every_process_goes_home() -> None:
    do_all(square, 50, workers=3)
    assert multiprocessing.active_children() == []


def test_without_fork_there_is_one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cores() >= 1
    monkeypatch.setattr("multiprocessing.get_all_start_methods", lambda: ["spawn"])
    assert cores() == 1
    results = do_all(lambda number: str(os.getpid()).encode(), 3)
    assert set(results) == {str(PARENT).encode()}


def test_workers_do_not_outlive_a_parent_that_was_killed(tmp_path: Path) -> None:
    script = """
import os, signal, sys
from plimsoll.gate.workers import do_all

def work(number):
    with open(sys.argv[1] + "/" + str(os.getpid()), "w"):
        pass
    return b""

def on_done(done):
    if done == 4:
        os.kill(os.getpid(), signal.SIGKILL)

do_all(work, 4, workers=2, on_done=on_done)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], env=environment, stderr=subprocess.PIPE)
    # The pipe ends when the last process that holds it does: the parent, and then each of its workers.
    _, err = parent.communicate(timeout=40)
    assert parent.returncode == -signal.SIGKILL, err
    assert list(tmp_path.iterdir())


def test_a_single_job_can_be_kept_out_of_this_process() -> None:
    (pid,) = do_all(lambda number: str(os.getpid()).encode(), 1, workers=1, apart=True)
    assert isinstance(pid, bytes) and int(pid) != PARENT
    (lost,) = do_all(lambda number: os._exit(0), 1, workers=1, apart=True)
    assert isinstance(lost, Lost) and "exit code 0" in lost.why
