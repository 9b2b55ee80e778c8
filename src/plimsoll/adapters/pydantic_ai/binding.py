"""What the parts of one hardened run share: the run, its models, and what it has answered so far."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from pydantic_ai.models import Model

from plimsoll.adapters.pydantic_ai.delegation import Delegate
from plimsoll.adapters.pydantic_ai.messages import MessageDigests
from plimsoll.contract.model import Contract
from plimsoll.core.errors import RunHalted, RunHandedOff, RunParked, Unwind
from plimsoll.runtime.run import Run

__all__ = ["PRIMARY", "Asker", "Binding", "ModelOf"]

PRIMARY = "primary"
"""The contract's name for the model that an agent is asked with."""

ModelOf = Callable[[str], Model]
"""The model of a rung, by its name in the contract."""


class Asker(Protocol):
    """Who asks a model: one run of an agent, hardened or not."""

    run_id: str
    responses: int
    """How many responses it has had."""
    digests: MessageDigests

    def model_of(self, name: str, /) -> Model:
        """The model of a rung."""
        ...

    def now(self) -> float:
        """Wall-clock seconds since the epoch."""
        ...


class Binding:
    """One run of one agent, in this process."""

    __slots__ = (
        "_barred",
        "_calls",
        "contract",
        "deferred",
        "delegates",
        "digests",
        "model_of",
        "responses",
        "run",
        "run_id",
        "verifiers",
    )

    def __init__(
        self,
        run: Run,
        *,
        contract: Contract,
        model_of: ModelOf,
        verifiers: Mapping[str, Callable[..., Any]],
        delegates: Mapping[str, Delegate] | None = None,
    ) -> None:
        self.run = run
        self.run_id = run.id
        self.contract = contract
        self.model_of = model_of
        self.verifiers = verifiers
        self.delegates: Mapping[str, Delegate] = delegates or {}
        self.digests = MessageDigests()
        self.responses = 0
        self.deferred: Unwind | None = None
        self._barred = False
        self._calls: Counter[str] = Counter()

    def now(self) -> float:
        """Wall-clock seconds since the epoch, by the run's clock."""
        return self.run.state.env.clock.now()

    def tool_key(self, tool_call_id: str) -> str:
        """The key of a tool call: the ordinal of the response that asked for it, and its id there.

        Parallel calls settle in any order and still have the same keys on replay. A call that is executed again, as
        after a deferral that somebody resolved within the run, gets a suffix.
        """
        base = f"{self.responses}/{tool_call_id}"
        self._calls[base] += 1
        times = self._calls[base]
        return base if times == 1 else f"{base}#{times}"

    def bars(self, *, in_turn: bool) -> bool:
        """Whether a further call of the same response may not begin, as an earlier one is waiting or the run halts.

        `in_turn`: the call is one that may only follow those before it. Calls that run beside each other all begin, so
        that people are asked about all of them at once.
        """
        return self.deferred is not None and (in_turn or self._barred or isinstance(self.deferred, RunHalted))

    def may_wait(self, signal: Unwind, *, in_turn: bool) -> bool:
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
