"""The calls of one run in this process: their keys, and those that wait for a person while others settle."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from plimsoll.contract.model import Contract
from plimsoll.core.errors import RunHalted, RunHandedOff, RunParked, Unwind
from plimsoll.runtime.run import Run

__all__ = ["PRIMARY", "Waiting"]

PRIMARY = "primary"
"""The contract's name for the model that an agent is asked with."""


class Waiting:
    """One run of one agent, in this process. What belongs to a framework is added by its adapter.

    A framework cancels the calls beside one that raises, and writes among them would be left in doubt. So a call that
    has to wait says so here, and the run leaves the stack by `leave`, once those beside it have settled.
    """

    __slots__ = ("_barred", "_calls", "contract", "deferred", "responses", "run", "run_id", "verifiers")

    def __init__(self, run: Run, *, contract: Contract, verifiers: Mapping[str, Callable[..., Any]]) -> None:
        self.run = run
        self.run_id = run.id
        self.contract = contract
        self.verifiers = verifiers
        self.responses = 0
        self.deferred: Unwind | None = None
        self._barred = False
        self._calls: Counter[str] = Counter()

    def now(self) -> float:
        """Wall-clock seconds since the epoch, by the run's clock."""
        return self.run.state.env.clock.now()

    def tool_key(self, tool_call_id: str, *, response: int | None = None) -> str:
        """The key of a tool call: the ordinal of the response that asked for it, and its id there. None: the last one.

        Parallel calls settle in any order and still have the same keys on replay. A call that is executed again, as
        after a deferral that somebody resolved within the run, gets a suffix.
        """
        base = f"{self.responses if response is None else response}/{tool_call_id}"
        self._calls[base] += 1
        times = self._calls[base]
        return base if times == 1 else f"{base}#{times}"

    def bars(self, *, in_turn: bool = False) -> bool:
        """Whether a further call of the same response may not begin, as an earlier one is waiting or the run halts.

        `in_turn`: the call is one that may only follow those before it. Calls that run beside each other all begin, so
        that people are asked about all of them at once.
        """
        return self.deferred is not None and (in_turn or self._barred or isinstance(self.deferred, RunHalted))

    def may_wait(self, signal: Unwind, *, in_turn: bool = False) -> bool:
        """Whether `signal` may wait until the calls beside it have settled; if so, remembers it.

        Calls under way beside it would be cancelled otherwise, and writes among them left in doubt. Nothing may follow
        a run that no longer follows its journal, or cannot write it, so those leave at once.
        """
        waits = isinstance(signal, (RunHalted, RunHandedOff)) or (
            isinstance(signal, RunParked) and signal.reason in ("approval", "doubt", "child")
        )
        if waits and not _outranks(self.deferred, signal):
            self.deferred = signal
        self._barred = self._barred or (waits and in_turn)
        return waits

    def leave(self) -> None:
        """Raises what a call of this run is waiting to raise, if any."""
        if self.deferred is not None:
            raise self.deferred


def _outranks(one: Unwind | None, other: Unwind) -> bool:
    """A halt goes before any parking, that before a handoff, and a doubt before all else that parks; among equals the
    first."""
    return one is not None and _rank(one) >= _rank(other)


def _rank(signal: Unwind) -> int:
    if isinstance(signal, RunParked):
        return 1 if signal.reason == "doubt" else 0
    return -1 if isinstance(signal, RunHandedOff) else 2
