"""Restoring: a run's state, as its journal tells it."""

from collections.abc import Sequence

import msgspec

from plimsoll.core.errors import JournalCorrupt
from plimsoll.core.events import Event, Record, RunStarted
from plimsoll.journal.chain import verify_chain
from plimsoll.journal.store import RunHead
from plimsoll.journal.writer import RunLog
from plimsoll.runtime.environment import Environment
from plimsoll.runtime.replay import Replay
from plimsoll.runtime.state import RunState

__all__ = ["restored"]


def restored(
    head: RunHead,
    records: Sequence[Record],
    *,
    env: Environment,
    log: RunLog,
    used_s: float = 0.0,
    patience_s: float | None = None,
) -> tuple[RunState, Sequence[Event]]:
    """The state of the run that stands at `head`, ready to be replayed, and its events.

    `used_s` are the active seconds that it is known to have used up at least, where that could not be written.
    `patience_s` is the replay's; None is as much as the run may take. Raises `JournalCorrupt`.
    """
    verify_chain(records, head=head)
    events = _events(records)
    if not events or not isinstance(events[0], RunStarted):
        raise JournalCorrupt(head.run_id, 1, "its first event is not the run's acceptance")
    replay = Replay(head.run_id, events, patience_s=patience_s or env.contract.limits.seconds)
    state = RunState(head.run_id, env=env, log=log, replay=replay, started=events[0])
    state.restore(events, [record.at for record in records], used_s=used_s)
    return state, events


def _events(records: Sequence[Record]) -> list[Event]:
    events = []
    for record in records:
        try:
            events.append(record.event)
        except (msgspec.MsgspecError, TypeError) as error:
            raise JournalCorrupt(record.run_id, record.seq, f"it is no event: {error}") from error
    return events
