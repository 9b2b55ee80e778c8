"""SQLite as a database of transaction tools: a connection for each transaction, by the standard library."""

import asyncio
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NoReturn, Self
from weakref import WeakKeyDictionary

from plimsoll.core.errors import Misuse
from plimsoll.runtime.databases.database import COLUMNS, FIND, HOLD, SETTLE, EndedByTool, Found, Mark
from plimsoll.runtime.databases.threads import whole

__all__ = ["HandedConnection", "SQLiteDatabase"]

_CREATE = f"CREATE TABLE IF NOT EXISTS plimsoll_effects ({COLUMNS})"
_BLOCK = "plimsoll_block"


class HandedConnection(sqlite3.Connection):
    """The connection as a tool has it, inside a transaction that is not the tool's to end.

    `with connection:` is a block of its own within it: an error in the block undoes the block.
    """

    def commit(self) -> NoReturn:
        raise Misuse("a transaction tool must not commit: the runtime does, together with its own record of the call")

    def rollback(self) -> NoReturn:
        raise Misuse("a transaction tool must not roll back: raise an error, and everything it did is undone")

    def executescript(self, sql_script: str, /) -> NoReturn:
        raise Misuse("executescript commits what was done before; execute the statements one by one")

    def __enter__(self) -> Self:
        self.execute(f"SAVEPOINT {_BLOCK}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> Literal[False]:
        if kind is not None:
            self.execute(f"ROLLBACK TO {_BLOCK}")
        self.execute(f"RELEASE {_BLOCK}")
        return False


class SQLiteDatabase:
    """A SQLite file. `prepare` sets a connection up (row factory, pragmas) before its transaction begins.

    The file must be there: a mistyped path must not become an empty database. Async tools use the connection as sync
    ones do; a statement takes microseconds.
    """

    def __init__(self, path: str | Path, *, prepare: Callable[[sqlite3.Connection], None] | None = None) -> None:
        self._path = Path(path).absolute()
        self._prepare = prepare
        self._turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()

    def turn(self) -> asyncio.Lock:
        """SQLite has one writer at a time, and whoever waits for it there keeps a thread waiting."""
        return self._turns.setdefault(asyncio.get_running_loop(), asyncio.Lock())

    def session(self, *, in_thread: bool, wait_s: float) -> "SQLiteSession":
        return SQLiteSession(partial(self._connect, wait_s))

    def _connect(self, wait_s: float) -> HandedConnection:
        if not self._path.exists():
            raise FileNotFoundError(f"there is no database at {self._path}")
        connection = sqlite3.connect(
            f"{self._path.as_uri()}?mode=rw",
            uri=True,
            timeout=wait_s,
            isolation_level=None,
            check_same_thread=False,  # the tool's thread has it after ours, and never both at once
            factory=HandedConnection,
        )
        if self._prepare is not None:
            self._prepare(connection)
        return connection


class SQLiteSession:
    """One transaction on a SQLite file. What may wait for the disk, or for a lock, does so in a thread."""

    __slots__ = ("_connect", "_mark", "connection")

    def __init__(self, connect: Callable[[], HandedConnection]) -> None:
        self.connection: HandedConnection | None = None
        self._connect = connect
        self._mark: Mark | None = None

    async def hold(self, mark: Mark) -> Found | None:
        return await whole(self._hold, mark)

    async def commit(self, result: str | None) -> None:
        await whole(self._commit, result)

    async def close(self) -> None:
        if self.connection is not None:
            await whole(self.connection.close)

    def _hold(self, mark: Mark) -> Found | None:
        connection = self.connection = self._connect()
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                raise TimeoutError("somebody else keeps the database locked") from error
            raise
        connection.execute(_CREATE)
        if connection.execute(HOLD, mark.row).rowcount == 1:
            connection.set_authorizer(_leaves_the_transaction)
            self._mark = mark
            return None
        cursor = connection.cursor()
        cursor.row_factory = None  # the tool's may make something else of a row
        return Found(*cursor.execute(FIND, (mark.idempotency_key,)).fetchone())

    def _commit(self, result: str | None) -> None:
        connection = self.connection
        assert connection is not None and self._mark is not None, "held before it is committed"
        connection.set_authorizer(None)
        if not connection.in_transaction:
            raise EndedByTool
        connection.execute(SETTLE, ("free" if result is None else "done", result, self._mark.idempotency_key))
        connection.execute("COMMIT")


def _leaves_the_transaction(action: int, *_: Any) -> int:
    """SQLite asks it about every statement of the tool. BEGIN, COMMIT and ROLLBACK are not the tool's."""
    return sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_TRANSACTION else sqlite3.SQLITE_OK
