"""PostgreSQL: what it does beyond what every database does."""

import asyncio
import importlib
import sys

import pytest

from plimsoll.core.errors import MissingExtra
from plimsoll.runtime.databases.database import Found, Session
from plimsoll.runtime.databases.postgres import PostgresDatabase
from tests.runtime.databases.conftest import Place
from tests.runtime.databases.test_databases import SOON_S, Sessions, execute, mark

ROUNDS = 50
"""Of four connections each: one round in eight meets the narrow moment at which only the table's row type is there."""

only_postgres = pytest.mark.parametrize(
    "place",
    [
        pytest.param(kind, marks=[pytest.mark.heavy, pytest.mark.timeout(180)])
        for kind in ("postgres", "postgres-in-thread")
    ],
    indirect=True,
)


@only_postgres
def test_a_process_that_is_stopped_midway_loses_its_mark_in_the_end(place: Place) -> None:
    async def main() -> None:
        async with Sessions(place) as sessions:
            stopped, other = sessions.one(wait_s=SOON_S), sessions.one(wait_s=60.0)
            assert await stopped.hold(mark()) is None
            await execute(stopped, place.insert)
            assert await other.hold(mark(epoch=2)) is None  # waits until the server has ended the idle one
            await other.commit("null")
            with pytest.raises(Exception, match=r"terminat|closed|idle"):
                await stopped.commit("null")
            assert place.payments == []

    asyncio.run(main())


@only_postgres
def test_a_server_that_is_not_there_is_a_broken_connection(place: Place) -> None:
    async def main() -> None:
        session = PostgresDatabase("postgresql:///x?host=/nowhere").session(in_thread=place.in_thread, wait_s=1.0)
        with pytest.raises(ConnectionError, match="no connection to the database"):
            await session.hold(mark())
        await session.close()

    asyncio.run(main())


@only_postgres
def test_any_that_make_the_table_at_once_all_have_it(place: Place) -> None:
    async def main() -> None:
        for _ in range(ROUNDS):
            place.run("DROP TABLE IF EXISTS plimsoll_effects")
            database = PostgresDatabase(place.url)
            four = (database.session(in_thread=place.in_thread, wait_s=5.0) for _ in range(4))
            found = await asyncio.gather(*map(held_and_committed, four))
            assert sorted(found, key=str) == [*[Found("d", 1, "done", "null")] * 3, None]

    asyncio.run(main())


async def held_and_committed(session: Session) -> Found | None:
    try:
        found = await session.hold(mark())
        if found is None:
            await session.commit("null")
        return found
    finally:
        await session.close()


def test_without_its_library_it_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "plimsoll.runtime.databases.postgres", raising=False)
    with pytest.raises(MissingExtra, match=r"plimsoll-ai\[postgres\]"):
        importlib.import_module("plimsoll.runtime.databases.postgres")
