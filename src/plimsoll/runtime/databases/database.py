"""What a database must do for a tool whose effect is a transaction, and the mark by which it tells what happened.

A mark is a row of `plimsoll_effects`, a table in the tool's own database. It is written in the transaction that has the
effect, so the effect is there if and only if the mark is, with its result. Whoever holds a mark, until the end of their
transaction, keeps everybody else from bringing the same effect about; and a mark that somebody has taken over since can
be held by them alone, so that a process which was stopped for an hour does nothing when it wakes.
"""

from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import msgspec

from plimsoll.core.errors import OperationFailed

__all__ = ["COLUMNS", "FIND", "HOLD", "SETTLE", "Database", "EndedByTool", "Found", "Mark", "Session"]

COLUMNS = """
    idempotency_key TEXT NOT NULL PRIMARY KEY,
    run_id TEXT NOT NULL,
    call_key TEXT NOT NULL,
    dependency TEXT NOT NULL,
    args_digest TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    at DOUBLE PRECISION NOT NULL,
    state TEXT NOT NULL,
    result TEXT
"""
"""The table's columns. `epoch` is that of the run's owner, `at` wall-clock seconds; `result` is JSON.

`state` is `open` inside a transaction, and then `done`, or `free` where the mark was taken over and nothing was done.
"""

HOLD = """
    INSERT INTO plimsoll_effects AS mark (idempotency_key, run_id, call_key, dependency, args_digest, epoch, at, state)
    VALUES (?, ?, ?, ?, ?, ?, ?, 'open')
    ON CONFLICT (idempotency_key) DO UPDATE SET epoch = excluded.epoch, at = excluded.at, state = 'open'
    WHERE mark.state = 'free' AND mark.epoch <= excluded.epoch AND mark.args_digest = excluded.args_digest
"""
FIND = "SELECT args_digest, epoch, state, result FROM plimsoll_effects WHERE idempotency_key = ?"
SETTLE = "UPDATE plimsoll_effects SET state = ?, result = ? WHERE idempotency_key = ?"


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """The call that a transaction belongs to. `epoch` is its owner's; `at` is wall-clock seconds."""

    idempotency_key: str
    run_id: str
    call_key: str
    dependency: str
    args_digest: str
    epoch: int
    at: float

    @property
    def row(self) -> tuple[Any, ...]:
        """The values of `HOLD`."""
        return (
            self.idempotency_key,
            self.run_id,
            self.call_key,
            self.dependency,
            self.args_digest,
            self.epoch,
            self.at,
        )


class Found(msgspec.Struct, frozen=True):
    """A mark that cannot be held, as it stands: the effect is there already (`done`, and `result` is JSON), a later
    owner of the run has taken it (`free`), or the tool itself ended the transaction that it was in (`open`)."""

    args_digest: str
    epoch: int
    state: str
    result: str | None


class EndedByTool(OperationFailed):
    """The tool has ended the transaction that it was handed, so nobody knows what of its effect is there."""

    def __init__(self) -> None:
        super().__init__("the tool ended the transaction by itself; it is the runtime's to commit and to roll back")


class Session(Protocol):
    """One transaction, on a connection of its own. Each step ends before the next begins, whatever is cancelled."""

    connection: Any
    """What the tool is handed. None before `hold`."""

    async def hold(self, mark: Mark) -> Found | None:
        """Connects, begins the transaction and holds the mark, or says why it cannot be held.

        Waits for whoever holds it, and raises `TimeoutError` where that takes too long; raises `ConnectionError` where
        there is no connection to be had.
        """
        ...

    async def commit(self, result: str | None) -> None:
        """Writes the result (JSON) into the mark and commits both with the effect; None leaves the mark free.

        Raises `EndedByTool`. After any error, nobody knows whether it was committed.
        """
        ...

    async def close(self) -> None:
        """Ends the connection. What was not committed is rolled back, and can never be committed any more."""
        ...


class Database(Protocol):
    """Where transaction tools have their effects."""

    def turn(self) -> AbstractAsyncContextManager[Any]:
        """What to hold during a transaction: a place in the queue, where only one may write at a time."""
        ...

    def session(self, *, in_thread: bool, wait_s: float) -> Session:
        """A transaction to be. Nothing is connected to yet.

        `in_thread` is whether the tool is a sync function, which runs in a thread. `wait_s` is how long it may wait for
        somebody else's lock.
        """
        ...
