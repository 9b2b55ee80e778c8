"""Erasing runs: a run with everything that is part of it, and what is done about one that has not ended."""

from collections.abc import Iterable

from plimsoll.core.calls import Ending
from plimsoll.core.clock import Clock
from plimsoll.core.errors import Misuse, UnknownRun
from plimsoll.core.events import RunEnded
from plimsoll.journal.evidence import Erased, EvidenceStore
from plimsoll.journal.store import RunState
from plimsoll.journal.writer import Journal

__all__ = ["check_over", "erase_run", "parts_of"]


async def parts_of(store: EvidenceStore, run_id: str) -> list[str]:
    """The run, or the session, of this id with all that is part of it: children, turns, and the runs it went on as.

    Raises `UnknownRun` when there is none of them.
    """
    ids = await store.run_ids()
    parts = [each for each in ids if each == run_id or each.startswith((f"{run_id}/", f"{run_id}~"))]
    if not parts:
        raise UnknownRun(run_id)
    return parts


async def check_over(store: EvidenceStore, run_ids: Iterable[str]) -> None:
    """Raises `Misuse` unless all of these runs have ended, so that nothing is erased where only a part could be."""
    for run_id in run_ids:
        head = await store.head(run_id)
        if head is not None and head.erased_at is None and head.state is not RunState.ENDED and head.seq > 0:
            raise Misuse(
                f"run {run_id} is {head.state}: it may go on with what would be erased. End it first (`plimsoll kill`),"
                " or erase it by force (--force): then it ends where it stands, and what it has in doubt stays so"
            )


async def erase_run(
    store: EvidenceStore, run_id: str, *, by: str, reason: str, clock: Clock, owner: str, force: bool = False
) -> Erased:
    """Erases one run; one that was erased already stays so.

    A run that is running or parked is refused, unless `force`: then it is taken over by `owner` and ends as halted, and
    a write that it has in doubt stays so. Raises `UnknownRun` and `Misuse`, and `KeyMissing` where a run that has not
    ended is to be forced and its master key is not here.
    """
    head = await store.head(run_id)
    if head is None:
        raise UnknownRun(run_id)
    if head.erased_at is None and head.state is not RunState.ENDED and head.seq > 0:
        if not force:
            await check_over(store, [run_id])
        await _end(store, run_id, by=by, clock=clock, owner=owner)
    return await store.erase(run_id, by=by, reason=reason, at=clock.now())


async def _end(store: EvidenceStore, run_id: str, *, by: str, clock: Clock, owner: str) -> None:
    """Takes the run over, whoever has it, and ends it."""
    head = await store.claim(run_id, owner=owner, at=clock.now())
    journal = Journal(store, clock=clock)
    await journal.open(head).commit(RunEnded(ending=Ending.HALTED, reason=f"erased by {by}"))
    await journal.close()
