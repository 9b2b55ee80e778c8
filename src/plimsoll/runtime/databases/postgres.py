"""PostgreSQL as a database of transaction tools, by psycopg 3: a connection for each transaction.

An async tool is handed a `psycopg.AsyncConnection`, a sync one a `psycopg.Connection`; both refuse `commit()` and
`rollback()` inside the transaction, and `connection.transaction()` is a block of its own within it.
"""

from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from typing import Any

from plimsoll.core.errors import MissingExtra, OperationFailed
from plimsoll.runtime.databases.database import COLUMNS, FIND, HOLD, SETTLE, EndedByTool, Found, Mark, Session
from plimsoll.runtime.databases.threads import whole

try:
    import psycopg
    from psycopg import errors
    from psycopg.rows import tuple_row
except ImportError as error:
    raise MissingExtra("psycopg", extra="postgres") from error

__all__ = ["PostgresDatabase"]

_FIND_TABLE = "SELECT to_regclass('plimsoll_effects')"
_CREATE = f"CREATE TABLE IF NOT EXISTS plimsoll_effects ({COLUMNS})"
_LIMIT = """
    SELECT set_config('lock_timeout', %s, true), set_config('idle_in_transaction_session_timeout', %s, true)
"""
_HOLD, _FIND = HOLD.replace("?", "%s"), FIND.replace("?", "%s")
_SETTLE = SETTLE.replace("?", "%s") + " AND xmin = pg_current_xact_id()::xid"
"""Only where the mark was written by this very transaction."""

_MADE_BY_ANOTHER = errors.UniqueViolation, errors.DuplicateTable, errors.DuplicateObject
"""What `_CREATE` meets where somebody else makes the table at the same moment: at its name, itself or its row type."""


class PostgresDatabase:
    """A PostgreSQL database (13 or newer). `conninfo` is a libpq connection string or URL; a password belongs in
    PGPASSWORD, in a password file, or in a variable of the environment that holds the whole URL.
    """

    def __init__(self, conninfo: str) -> None:
        self.conninfo = conninfo
        self.has_marks = False
        """Whether the table of marks is known to be there."""

    def turn(self) -> AbstractAsyncContextManager[None]:
        """Nobody need queue: the rows that a transaction writes are locked one by one."""
        return nullcontext()

    def session(self, *, in_thread: bool, wait_s: float) -> Session:
        return (_InThread if in_thread else _OnLoop)(self, wait_s)


class _Steps(ABC):
    """A transaction, whichever kind of connection it is on."""

    connection: Any = None

    def __init__(self, database: PostgresDatabase, wait_s: float) -> None:
        self._database = database
        self._wait_s = wait_s
        self._mark: Mark | None = None

    async def hold(self, mark: Mark) -> Found | None:
        self._mark = mark
        timeout_s = max(2, round(self._wait_s))  # whole seconds, as libpq wants them; less than two it takes for two
        try:
            await self._connect(self._database.conninfo, connect_timeout=timeout_s, autocommit=True)
        except psycopg.OperationalError as error:
            raise ConnectionError(f"no connection to the database: {error}") from error
        if not self._database.has_marks:
            await self._make_table()
            self._database.has_marks = True
        await self._begin()
        await self._run(_LIMIT, *_limits(self._wait_s))
        try:
            held, _ = await self._run(_HOLD, *mark.row)
        except errors.LockNotAvailable as error:
            raise TimeoutError("somebody else keeps the mark locked") from error
        if held == 1:
            return None
        _, row = await self._run(_FIND, mark.idempotency_key)
        if row is None:
            raise OperationFailed(f"the mark of {mark.dependency} was deleted while it was looked at")
        return Found(*row)

    async def commit(self, result: str | None) -> None:
        assert self._mark is not None, "held before it is committed"
        state = "free" if result is None else "done"
        ours, _ = await self._run(_SETTLE, state, result, self._mark.idempotency_key)
        if ours != 1:
            raise EndedByTool
        await self._end()

    async def _make_table(self) -> None:
        """Makes the table of marks, where there is none. Who may not make tables lets somebody else make it once."""
        _, row = await self._run(_FIND_TABLE)
        if row == (None,):
            with suppress(*_MADE_BY_ANOTHER):
                await self._run(_CREATE)

    @abstractmethod
    async def _connect(self, conninfo: str, **options: Any) -> None: ...
    @abstractmethod
    async def _begin(self) -> None: ...
    @abstractmethod
    async def _end(self) -> None: ...
    @abstractmethod
    async def _run(self, query: str, *values: Any) -> tuple[int, Any]:
        """How many rows the query was about, and the first of those that it brings, if it brings any."""

    @abstractmethod
    async def close(self) -> None: ...


class _OnLoop(_Steps):
    """For an async tool."""

    async def _connect(self, conninfo: str, **options: Any) -> None:
        self.connection = await psycopg.AsyncConnection.connect(conninfo, **options)

    async def _begin(self) -> None:
        self._block = self.connection.transaction()
        await self._block.__aenter__()

    async def _end(self) -> None:
        await self._block.__aexit__(None, None, None)

    async def _run(self, query: str, *values: Any) -> tuple[int, Any]:
        async with self.connection.cursor(row_factory=tuple_row) as cursor:
            await cursor.execute(query, values)
            return cursor.rowcount, await cursor.fetchone() if cursor.description else None

    async def close(self) -> None:
        if self.connection is not None:
            await self.connection.close()


class _InThread(_Steps):
    """For a sync tool: whatever waits does so in a thread."""

    async def _connect(self, conninfo: str, **options: Any) -> None:
        await whole(self._connected, conninfo, options)

    def _connected(self, conninfo: str, options: dict[str, Any]) -> None:
        self.connection = psycopg.connect(conninfo, **options)

    async def _begin(self) -> None:
        self._block = self.connection.transaction()
        await whole(self._block.__enter__)

    async def _end(self) -> None:
        await whole(self._block.__exit__, None, None, None)

    async def _run(self, query: str, *values: Any) -> tuple[int, Any]:
        return await whole(self._ran, query, values)

    def _ran(self, query: str, values: tuple[Any, ...]) -> tuple[int, Any]:
        with self.connection.cursor(row_factory=tuple_row) as cursor:
            cursor.execute(query, values)
            return cursor.rowcount, cursor.fetchone() if cursor.description else None

    async def close(self) -> None:
        if self.connection is not None:
            await whole(self.connection.close)


def _limits(wait_s: float) -> tuple[str, str]:
    """For how long a lock is waited for, and how long the transaction may idle before the server ends it, in ms.

    Without the second, a process that is stopped in the midst of a transaction would keep its mark for ever.
    """
    return str(max(1, int(wait_s * 1000))), str(int(wait_s * 2000) + 1000)
