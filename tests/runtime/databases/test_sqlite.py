"""SQLite: what it does beyond what every database does."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from plimsoll.core.errors import Misuse
from plimsoll.runtime.databases.database import Found
from plimsoll.runtime.databases.sqlite import SQLiteDatabase
from tests.runtime.databases.test_databases import mark


def with_rows(connection: sqlite3.Connection) -> None:
    connection.row_factory = lambda cursor, row: {"first": row[0]}


def test_a_connection_is_set_up_as_its_tools_want_it(tmp_path: Path) -> None:
    async def main() -> Any:
        (tmp_path / "bank.db").touch()
        database = SQLiteDatabase(tmp_path / "bank.db", prepare=with_rows)
        first, second = (database.session(in_thread=False, wait_s=1.0) for _ in range(2))
        await first.hold(mark())
        assert first.connection is not None
        rows = first.connection.execute("SELECT 7").fetchall()
        await first.commit("1")
        assert await second.hold(mark()) == Found("d", 1, "done", "1")
        await first.close()
        await second.close()
        return rows

    assert asyncio.run(main()) == [{"first": 7}]


def test_a_script_is_refused_since_it_would_commit(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "bank.db").touch()
        session = SQLiteDatabase(tmp_path / "bank.db").session(in_thread=False, wait_s=1.0)
        await session.hold(mark())
        assert session.connection is not None
        with pytest.raises(Misuse, match="one by one"):
            session.connection.executescript("CREATE TABLE t (a); CREATE TABLE u (a)")
        await session.close()

    asyncio.run(main())
