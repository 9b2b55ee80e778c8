"""Trials: each mutant meets the tests that reach its statement, in a fork of one process that has loaded them all."""

import contextlib
import gc
import importlib
import os
import pickle
import signal
import sys
import tempfile
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import coverage
import pytest

from tools.mutation.mutants import Functions, Mutant, Place, functions_in

__all__ = ["CAUGHT", "INVALID", "KILLED", "Result", "Trials"]

SURVIVED, KILLED, TIMEOUT, UNREACHED, INVALID = "survived", "killed", "timeout", "unreached", "invalid"
CAUGHT = (KILLED, TIMEOUT)

PATIENCE_S = 3.0
"""Beyond 20 times what it took without a mutant, a test may take this long before it counts as hanging."""

_IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where the tests' files go: thousands of small journals need no disk that syncs."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a mutant. One that cannot take its function's place is invalid, and does not count."""

    mutant: Mutant
    status: str


@dataclass(slots=True)
class _Baseline:
    """The tests without a mutant: how long each takes, the lines that it reaches; what they import, and which fail."""

    seconds: list[float] = field(default_factory=list)
    lines: dict[str, dict[int, set[int]]] = field(default_factory=dict)
    modules: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Trials:
    """A pytest plugin that runs no tests by itself, and every mutant's tests in children of this process."""

    mutants: Sequence[Mutant]
    paths: Sequence[Path]
    workers: int
    tell: Callable[[Result], None]
    _items: list[pytest.Item] = field(default_factory=list)
    _failed: bool = False
    _killers: dict[Place, list[int]] = field(default_factory=lambda: defaultdict(list))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._failed = self._failed or report.failed

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self._items = session.items
        baseline = _in_child(self._baseline).result()
        if baseline.failed:
            raise pytest.UsageError("these fail without any mutant:\n" + "\n".join(baseline.failed))
        for name in baseline.modules:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
        functions = functions_in(self.paths)
        gc.collect()
        gc.freeze()
        self._run(baseline, functions)
        return True

    def _baseline(self) -> _Baseline:
        """Runs every test once."""
        found = _Baseline()
        measured = coverage.Coverage(data_file=None, config_file=False, include=[str(p.resolve()) for p in self.paths])
        with measured.collect():
            for number, (item, following) in enumerate(pairwise([*self._items, None])):
                assert item is not None
                measured.switch_context(str(number))
                began = time.monotonic()
                self._failed = False
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                found.seconds.append(time.monotonic() - began)
                if self._failed:
                    found.failed.append(item.nodeid)
        data = measured.get_data()
        for path in self.paths:
            contexts = data.contexts_by_lineno(str(path.resolve()))
            found.lines[str(path)] = {line: {int(n) for n in tests if n} for line, tests in contexts.items()}
        found.modules = [name for name in sys.modules if "__main__" not in name]
        return found

    def _run(self, baseline: _Baseline, functions: Functions) -> None:
        running: dict[int, tuple[Mutant, list[int], _Child]] = {}

        def finish() -> None:
            pid, status = os.wait()
            mutant, tests, child = running.pop(pid)
            self._tell(mutant, tests, child.verdict(status))

        try:
            for mutant in self.mutants:
                reached = baseline.lines[mutant.module]
                tests = {test for line in mutant.lines for test in reached.get(line, ())}
                if not tests or not functions[mutant.place]:
                    self.tell(Result(mutant, UNREACHED))
                    continue
                if len(running) == self.workers:
                    finish()
                order = self._order(mutant, tests, baseline.seconds)
                child = _in_child(partial(self._try, mutant, order, baseline.seconds, functions))
                running[child.pid] = (mutant, order, child)
            while running:
                finish()
        finally:
            for _, _, child in running.values():
                child.end()

    def _order(self, mutant: Mutant, tests: set[int], seconds: Sequence[float]) -> list[int]:
        """First those that caught another mutant of this function, the latest first; then the quickest."""
        known = [test for test in reversed(self._killers[mutant.place]) if test in tests][:3]
        return list(dict.fromkeys([*known, *sorted(tests, key=lambda test: (seconds[test], test))]))

    def _try(self, mutant: Mutant, order: list[int], seconds: Sequence[float], functions: Functions) -> Any:
        """In the child: the place in `order` of the first test that fails, or None."""
        try:
            mutant.put_in(functions)
        except (SyntaxError, ValueError):
            return INVALID
        for place, (test, following) in enumerate(pairwise([*order, None])):
            assert test is not None
            signal.setitimer(signal.ITIMER_REAL, PATIENCE_S + 20 * seconds[test])
            item = self._items[test]
            nextitem = None if following is None else self._items[following]
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=nextitem)
            if self._failed:
                return place
        return None

    def _tell(self, mutant: Mutant, order: Sequence[int], verdict: Any) -> None:
        if isinstance(verdict, int):
            killer = order[verdict]
            killers = self._killers[mutant.place]
            if killer in killers:
                killers.remove(killer)
            killers.append(killer)
            self.tell(Result(mutant, KILLED))
        elif verdict is None:
            self.tell(Result(mutant, SURVIVED))
        else:
            self.tell(Result(mutant, verdict))


@dataclass(slots=True)
class _Child:
    """A forked process that leaves its result in a folder of its own, in which its tests also keep their files."""

    pid: int
    folder: tempfile.TemporaryDirectory[str]

    def result(self) -> Any:
        """Waits for it. Raises `RuntimeError` where it came to no end of its own."""
        _, status = os.waitpid(self.pid, 0)
        try:
            return self._read()
        except FileNotFoundError:
            raise RuntimeError(f"the tests ended their process, with status {status}") from None
        finally:
            self.end()

    def verdict(self, status: int) -> Any:
        """Its result, once it has ended: a process that a mutant ended is a mutant killed, by no test by name."""
        try:
            return self._read()
        except FileNotFoundError:
            return TIMEOUT if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM else KILLED
        finally:
            self.end()

    def _read(self) -> Any:
        return pickle.loads((Path(self.folder.name) / "result").read_bytes())

    def end(self) -> None:
        """Ends it and whatever it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.folder.cleanup()


def _in_child(work: Callable[[], Any]) -> _Child:
    folder = tempfile.TemporaryDirectory(prefix="mutant-", dir=_IN_MEMORY, ignore_cleanup_errors=True)
    pid = os.fork()
    if pid:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.setpgid(pid, pid)  # here too: whoever comes first
        return _Child(pid, folder)
    try:
        os.setpgid(0, 0)
        errors = os.dup(2)
        for stream in (1, 2):
            os.dup2(os.open(os.devnull, os.O_RDWR), stream)
        os.environ["PYTEST_DEBUG_TEMPROOT"] = folder.name
        result = work()
        written = Path(folder.name) / "result"
        written.with_suffix(".part").write_bytes(pickle.dumps(result))
        written.with_suffix(".part").rename(written)
    except BaseException:
        os.write(errors, traceback.format_exc().encode())
    finally:
        os._exit(0)
