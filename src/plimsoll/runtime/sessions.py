"""Sessions: a conversation is a sequence of runs, its turns, one after the other."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from msgspec.structs import replace

from plimsoll.core.calls import Ending
from plimsoll.core.errors import Misuse, RunBusy, SessionBusy
from plimsoll.core.events import Record, RunEnded, RunParkedEvent, RunStarted
from plimsoll.journal.store import RunHead, RunState, Store
from plimsoll.runtime.lineage import check_run_id, latest_link, turn_id, turn_of, undo_id
from plimsoll.runtime.result import RunResult
from plimsoll.runtime.undoable import tools_undone

__all__ = ["Session", "Turn", "turns_before"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """An earlier turn of a session, as it is recorded.

    `number` counts from 1. `output` is None unless the turn was answered; `reason` says why it ended otherwise.
    `carried` is what its agent handed on besides its output. The times are wall-clock seconds.
    """

    number: int
    run_id: str
    input: Any
    started_at: float
    ended_at: float
    ending: Ending
    output: Any = None
    reason: str = ""
    carried: Any = None

    @property
    def answered(self) -> bool:
        """Whether the turn had an answer."""
        return self.ending in (Ending.COMPLETE, Ending.DEGRADED)


class Leader(Protocol):
    """Who advances runs: a harness."""

    store: Store

    def beginning(self, input: Any) -> RunStarted: ...
    async def lead(self, run_id: str, began: RunStarted | None, *, fresh: bool = False) -> RunResult: ...


class Session:
    """A conversation: turns, one at a time, each a run of its own. Made by `Harness.session`.

    >>> session = harness.session("ticket-7713")
    >>> result = await session.run("Where is my order?", turn="message-1")  # run ticket-7713/1
    """

    __slots__ = ("_harness", "id")

    def __init__(self, session_id: str, *, harness: Leader) -> None:
        check_run_id(session_id)
        self.id = session_id
        self._harness = harness

    async def run(self, input: Any, *, turn: int | str | None = None) -> RunResult:
        """Runs the session's next turn on `input` (JSON) until it ends or parks.

        `turn` makes it idempotent: the turn's number, from 1, or a name of the caller's own, such as a message's id
        (with more in it than digits). Asked again with the same, a turn is answered from the journal, or gone on with.
        None begins a new turn.

        Raises `SessionBusy` while another turn has not ended, and says whether it runs or what it waits for; `RunBusy`
        while somebody else advances this very turn; `Misuse` for a number that is not the next; `JournalUnavailable`
        when the turn cannot be recorded. Nothing was done then.
        """
        while True:
            turns = await self._turns()
            number = self._number(turns, turn)
            if number in turns:
                return await self._harness.lead(turn_id(self.id, number), None)
            await self._check_free(turns)
            began = await self._beginning(turns, number, input, turn)
            try:
                return await self._harness.lead(turn_id(self.id, number), began, fresh=True)
            except RunBusy as busy:
                await self._look_again(number, busy)

    async def history(self) -> tuple[Turn, ...]:
        """The turns that have ended, the oldest first."""
        turns = await self._turns()
        return await turns_before(self._harness.store, self.id, len(turns) + 1)

    async def _turns(self) -> dict[int, RunHead]:
        """The first run of each turn, by number."""
        heads = await self._harness.store.heads(session=self.id)
        numbered = {turn_of(self.id, head.run_id): head for head in heads}
        return {number: numbered[number] for number in sorted(numbered) if number}

    def _number(self, turns: Mapping[int, RunHead], turn: int | str | None) -> int:
        following = len(turns) + 1
        if turn is None:
            return following
        if isinstance(turn, str):
            if not turn or turn.isdecimal():
                raise Misuse(f"{turn!r} may be a number; a name of your own has more in it, such as message-{turn}")
            return next((number for number, head in turns.items() if head.turn == turn), following)
        if isinstance(turn, bool) or not isinstance(turn, int):
            raise Misuse(f"{turn!r} is no turn: that is a number, from 1, or a name of your own")
        if not 1 <= turn <= following:
            raise Misuse(f"session {self.id} has {following - 1} turn(s), so {following} is the next, and not {turn}")
        return turn

    async def _check_free(self, turns: Mapping[int, RunHead]) -> None:
        """Raises `SessionBusy` unless the latest turn has ended."""
        if not turns:
            return
        latest = await latest_link(self._harness.store, turns[len(turns)])
        if latest.state is not RunState.ENDED:
            raise SessionBusy(self.id, run_id=latest.run_id, why=await self._why(latest))

    async def _why(self, head: RunHead) -> str:
        """Why a turn has not ended."""
        store = self._harness.store
        if head.state is RunState.RUNNING:
            return "is running" if store.owner_alive(head.owner) else "was left by a process that died (`wake` goes on)"
        (last,) = await store.read(head.run_id, after=head.seq - 1)
        detail = f" {last.event.detail}" if isinstance(last.event, RunParkedEvent) else ""
        return f"waits: {head.reason}{detail}"

    async def _look_again(self, number: int, busy: RunBusy) -> None:
        """Somebody else has the turn that was to be begun. Raises, unless it is another one of this session by now."""
        run_id = turn_id(self.id, number)
        head = await self._harness.store.head(run_id)
        if head is None or head.seq == 0:
            raise SessionBusy(self.id, run_id=run_id, why="is just being begun") from busy
        if head.session != self.id:
            raise Misuse(f"there is a run {run_id} already, and it is no turn of the session {self.id}") from busy

    async def _beginning(
        self, turns: Mapping[int, RunHead], number: int, input: Any, turn: int | str | None
    ) -> RunStarted:
        store = self._harness.store
        before = await _last(store, turns[number - 1]) if number > 1 else None
        name = turn if isinstance(turn, str) else ""
        did = before.event.did if before is not None and isinstance(before.event, RunEnded) else ()
        if did and any([await store.head(undo_id(turn_id(self.id, each), 1)) for each in turns]):
            undone = await tools_undone(store, [turn_id(self.id, each) for each in turns])
            did = tuple(tool for tool in did if tool not in undone)
        return replace(self._harness.beginning(input), session=self.id, turn=name, within=(self.id,), did=did)


async def turns_before(store: Store, session: str, number: int) -> tuple[Turn, ...]:
    """The turns of a session before its turn `number`, the oldest first: those that have ended."""
    found: list[Turn] = []
    for earlier in range(1, number):
        head = await store.head(turn_id(session, earlier))
        if head is None:
            continue
        last = await _last(store, head)
        ended = None if last is None else last.event
        if last is None or not isinstance(ended, RunEnded):
            continue
        (began,) = await store.read(head.run_id, limit=1)
        assert isinstance(began.event, RunStarted)
        found.append(
            Turn(
                number=earlier,
                run_id=head.run_id,
                input=began.event.input,
                started_at=began.at,
                ended_at=last.at,
                ending=ended.ending,
                output=ended.output if ended.ending in (Ending.COMPLETE, Ending.DEGRADED) else None,
                reason=ended.reason,
                carried=ended.carried,
            )
        )
    return tuple(found)


async def _last(store: Store, head: RunHead) -> Record | None:
    """How a turn ended: the ending of the latest run of its chain. None where it has not."""
    latest = await latest_link(store, head)
    if latest.state is not RunState.ENDED:
        return None
    for before in range(latest.seq - 1, -1, -1):  # after the ending stand answers to doubts alone, and most have none
        (record,) = await store.read(latest.run_id, after=before, limit=1)
        if isinstance(record.event, RunEnded):
            return record
    return None
