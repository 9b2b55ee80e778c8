"""Rehearsing: whether an agent's code replays a run's journal, without anything being sent, written or alerted."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from plimsoll.core.errors import ReplayMismatch, RunParked
from plimsoll.core.events import Event, Record, RunStarted
from plimsoll.core.guards import OUTPUT
from plimsoll.journal.store import RunHead
from plimsoll.journal.writer import RunLog
from plimsoll.observability.findings import FindingHub
from plimsoll.runtime.advancing import AgentFunction, answer_of, drain, is_own, unwind_in
from plimsoll.runtime.current import run_context
from plimsoll.runtime.environment import Environment
from plimsoll.runtime.restoring import restored
from plimsoll.runtime.run import Run

__all__ = ["Adoption", "rehearse"]

_PATIENCE_S = 5.0
"""How long the code may leave something unasked that the journal has, before that is a difference."""
_LIMIT_S = 60.0
"""How long the code may take in all: it waits for nothing that a run does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    """What came of adopting a run by another version of its agent: from `old` to `new`, their fingerprints.

    `difference` is the first thing that this version does otherwise than the run's journal has it; empty where it
    does nothing otherwise. `adopted` is whether the run belongs to `new` now.
    """

    run_id: str
    old: str
    new: str
    difference: str = ""
    adopted: bool = False

    @property
    def matches(self) -> bool:
        """Whether this version's code replays the run's journal."""
        return not self.difference


class _Nowhere(RunLog):
    """A log that keeps nothing."""

    __slots__ = ()

    def __init__(self, head: RunHead) -> None:
        self.run_id, self.epoch, self.seq, self.digest = head.run_id, head.epoch, head.seq, head.digest

    def append(self, event: Event) -> Record:
        return Record(run_id=self.run_id, seq=self.seq, epoch=self.epoch, at=0.0, body=b"", digest=self.digest)

    async def durable(self) -> None:
        """Nothing to wait for."""

    def abandon(self) -> None:
        """Nothing to drop."""


async def rehearse(
    head: RunHead, records: Sequence[Record], *, env: Environment, code_of: Callable[[RunStarted], AgentFunction]
) -> str:
    """The first difference between what the code does and what the run's `records` say; empty where there is none.

    `code_of` tells the code of a run by how that was started. It is executed until it asks for the first thing that
    the journal does not have. Raises `JournalCorrupt`.
    """
    state, _ = restored(head, records, env=env, log=_Nowhere(head), patience_s=_PATIENCE_S)
    state.hub = FindingHub(())
    state.unwind(RunParked("rehearsal", detail="from here on it would go live"))
    token = run_context.set(Run(state))
    try:
        async with asyncio.timeout(_LIMIT_S):
            await answer_of(Run(state), code_of(state.started))
    except TimeoutError:
        return f"it did not come to anything that the journal lacks within {_LIMIT_S:g} s"
    except BaseException as error:
        return _difference(error)
    finally:
        run_context.reset(token)
        await drain(state, grace_s=0.0)
    unasked = state.replay.unasked(but_for=OUTPUT)
    return "" if unasked is None else _words(unasked, "the end of the run")


def _difference(error: BaseException) -> str:
    signal = unwind_in(error)
    if isinstance(signal, RunParked) and signal.reason == "rehearsal":
        return ""
    cause = signal.__cause__ if signal is not None else None
    if isinstance(cause, ReplayMismatch):
        return _words(cause.expected, cause.actual)
    if not is_own(error):
        raise error
    return f"its code fails: {type(error).__name__}: {error}"


def _words(expected: str, actual: str) -> str:
    return f"its journal has {expected}, this version asks for {actual}"
