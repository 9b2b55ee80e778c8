"""An owner is stopped between the durable intent of a call and its sending; another takes its run over; it wakes up.

The journal is fenced whatever happens: the first owner can append nothing more. What it was about to send still goes
out. So how often that happens is decided by what the dependency, and the tool's `verify`, make of it.
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from plimsoll.core.calls import Ending, Happened, NotHappenedAndCannot, Unknown
from plimsoll.core.errors import RunBusy
from plimsoll.journal import SQLiteStore, verify_chain
from plimsoll.runtime.current import current_call
from plimsoll.runtime.harness import Harness
from plimsoll.runtime.result import RunResult
from plimsoll.runtime.tools import Verifier
from tests.proof.killing import Lines, command, folder, process
from tests.proof.ledger import ask, effects
from tests.proof.worker import AGENTS, JOURNAL, harness, verifier

T = TypeVar("T")


class Stopped:
    """A process that owns the run o0, and was stopped when it was about to send the run's only call."""

    def __init__(self, where: Path, tool: str, pid: int, lines: Lines) -> None:
        self.where = where
        self.tool = tool
        self._pid = pid
        self._lines = lines

    def wakes(self) -> str:
        """Lets it go on until it ends. How the run stood, as far as it knew."""
        self._send(signal.SIGCONT)
        word, order, ending = self._lines.next()
        assert (word, order) == ("done", "o0")
        assert self._lines.next() == ["dead", "0"]
        return ending

    def end(self) -> None:
        """Kills it, if it is still there."""
        if self._pid:
            self._send(signal.SIGKILL)

    def _send(self, what: signal.Signals) -> None:
        pid, self._pid = self._pid, 0
        os.kill(pid, what)

    def successor(self, what: Callable[[Harness], Awaitable[T]], *, verify: Verifier | None = None) -> T:
        """What another process does, which serves the same agent."""

        async def live() -> T:
            store = SQLiteStore.open(self.where / JOURNAL, owner="successor")
            async with harness(
                self.where, store, owner="successor", agent=AGENTS[self.tool], verify=verify
            ) as successor:
                done = await what(successor)
            await store.close()
            return done

        return asyncio.run(live())

    def taken_over(self, *, verify: Verifier | None = None) -> RunResult:
        """How the run stands after another process has taken it over."""
        return self.successor(lambda successor: successor.resume("o0", take_over=True), verify=verify)

    @property
    def happened(self) -> int:
        """How often the effect happened."""
        return effects(self.where)[self.tool, "o0"]

    def epochs(self) -> list[int]:
        """Who wrote the run's events, by the epoch. The journal verifies."""

        async def read(successor: Harness) -> list[int]:
            records = await successor.store.read("o0")
            verify_chain(records, head=await successor.store.head("o0"))
            return [record.epoch for record in records]

        return self.successor(read)


@contextmanager
def stopped(tool: str) -> Iterator[Stopped]:
    with folder() as where, process("ledger", str(where)) as ledger, process("worker", str(where)) as worker:
        assert Lines(ledger).next() == ["ready"]
        lines = Lines(worker)
        command(worker, number=1, again=["o0"], last=True, agent=tool, stops=True)
        word, pid = lines.next()
        assert word == "ready" and lines.next() == ["stopped"]
        first = Stopped(where, tool, int(pid), lines)
        try:
            yield first
        finally:
            first.end()


def fencing(where: Path) -> Verifier:
    """A right `verify`: before it says that the write cannot happen any more, it sees to that."""

    def verify(args: Mapping[str, Any], key: str) -> Any:
        call = current_call()
        assert call is not None
        found = ask(where, do="fence", key=key, sending=call.sending)["found"]
        return NotHappenedAndCannot() if found is None else Happened(found)

    return verify


def patient(where: Path) -> Verifier:
    """A right `verify` where nothing can be fenced: what is not there yet may still come."""

    def verify(args: Mapping[str, Any], key: str) -> Any:
        found = ask(where, do="find", key=key)["found"]
        return Unknown("it may still be under way", final=True) if found is None else Happened(found)

    return verify


def test_an_owner_that_is_stopped_counts_as_alive_until_somebody_says_otherwise() -> None:
    with stopped("charge") as first:
        assert first.successor(lambda successor: successor.wake()) == []
        with pytest.raises(RunBusy, match="life-1"):
            first.successor(lambda successor: successor.resume("o0"))
        assert first.wakes() == Ending.COMPLETE
        assert first.happened == 1


def test_a_dependency_that_deduplicates_does_it_once() -> None:
    with stopped("notify") as first:
        assert first.taken_over().ending is Ending.COMPLETE
        assert first.wakes() == Ending.PARKED
        assert first.happened == 1


def test_a_write_whose_verify_fences_it_off_happens_once() -> None:
    with stopped("charge") as first:
        result = first.taken_over(verify=fencing(first.where))
        assert (result.ending, result.output) == (Ending.COMPLETE, "o0: 1")
        assert first.wakes() == Ending.PARKED
        assert first.happened == 1


def test_a_write_whose_verify_cannot_rule_it_out_waits_and_happens_once() -> None:
    with stopped("charge") as first:
        verify = patient(first.where)
        assert first.taken_over(verify=verify).reason == "doubt: 1:charge"
        assert first.happened == 0
        assert first.wakes() == Ending.PARKED
        result = first.successor(lambda successor: successor.resume("o0"), verify=verify)
        assert (result.ending, result.output) == (Ending.COMPLETE, "o0: 1")
        assert first.happened == 1


def test_a_write_without_verify_waits_for_a_person_and_happens_once() -> None:
    with stopped("charge") as first:
        assert first.taken_over().reason == "doubt: 1:charge"
        assert first.wakes() == Ending.PARKED
        assert first.happened == 1

        async def answer(successor: Harness) -> RunResult:
            await successor.operations.resolve("o0", "1:charge", happened=True, value={"number": 1}, by="ana")
            (result,) = await successor.wake()
            return result

        assert first.successor(answer).ending is Ending.COMPLETE
        assert first.happened == 1


def test_a_verify_that_overlooks_what_is_under_way_doubles_the_write() -> None:
    """What cannot be promised. `NotHappenedAndCannot` must only be said where it is true; nobody else can know."""
    with stopped("charge") as first:
        assert first.taken_over(verify=verifier(first.where)).ending is Ending.COMPLETE
        assert first.wakes() == Ending.PARKED
        assert first.happened == 2


def test_an_owner_that_was_superseded_appends_nothing_more() -> None:
    with stopped("charge") as first:
        first.taken_over(verify=fencing(first.where))
        before = first.epochs()
        assert first.wakes() == Ending.PARKED
        assert first.epochs() == before == sorted(before) and {*before} == {1, 2}
