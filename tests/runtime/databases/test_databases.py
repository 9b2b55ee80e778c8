"""What every database of transaction tools does: SQLite, and PostgreSQL from the loop and from threads."""

import asyncio
import inspect
import sqlite3
from contextlib import AsyncExitStack
from typing import Any

import pytest

from plimsoll.runtime.databases.database import Found, Mark, Session
from tests.runtime.databases.conftest import Place

SOON_S = 0.05
"""How long a session waits that is not to get what it waits for."""


def mark(*, epoch: int = 1, digest: str = "d") -> Mark:
    return Mark(
        idempotency_key="k", run_id="r", call_key="1:pay", dependency="pay", args_digest=digest, epoch=epoch, at=1.5
    )


async def execute(session: Session, query: str) -> None:
    """As a tool does it, whatever kind of connection it was handed."""
    done = session.connection.execute(query)
    if inspect.isawaitable(done):
        await done


class Sessions(AsyncExitStack):
    """Sessions on a place, closed at the end."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place

    def one(self, *, wait_s: float = 5.0) -> Session:
        session = self.place.database.session(in_thread=self.place.in_thread, wait_s=wait_s)
        self.push_async_callback(session.close)
        return session


def test_the_mark_is_there_with_the_effect_and_says_what_it_brought(place: Place) -> None:
    async def main() -> None:
        async with Sessions(place) as sessions:
            first = sessions.one()
            assert await first.hold(mark()) is None
            await execute(first, place.insert)
            assert place.payments == []
            await first.commit('{"paid":20}')
            assert place.payments == [("ann", 20)]
            assert await sessions.one().hold(mark(epoch=9)) == Found("d", 1, "done", '{"paid":20}')

    asyncio.run(main())


def test_what_was_not_committed_is_rolled_back_with_its_mark(place: Place) -> None:
    async def main() -> None:
        async with Sessions(place) as sessions:
            first = sessions.one()
            assert await first.hold(mark()) is None
            await execute(first, place.insert)
            await first.close()
            assert place.payments == []
            assert await sessions.one().hold(mark()) is None

    asyncio.run(main())


def test_who_comes_second_waits_and_finds_what_the_first_has_done(place: Place) -> None:
    async def main() -> None:
        async with Sessions(place) as sessions:
            first, second = sessions.one(), sessions.one()
            assert await first.hold(mark()) is None
            waiting = asyncio.ensure_future(second.hold(mark(epoch=2)))
            await execute(first, place.insert)
            assert not waiting.done()
            await first.commit("null")
            assert await waiting == Found("d", 1, "done", "null")
            assert place.payments == [("ann", 20)]

    asyncio.run(main())


def test_nobody_waits_for_ever(place: Place) -> None:
    async def main() -> None:
        async with Sessions(place) as sessions:
            first, second = sessions.one(), sessions.one(wait_s=SOON_S)
            assert await first.hold(mark()) is None
            with pytest.raises(TimeoutError, match="lock"):
                await second.hold(mark())
            await first.commit("null")

    asyncio.run(main())


def test_a_mark_that_a_later_owner_took_over_cannot_be_held_by_an_earlier_one(place: Place) -> None:
    async def main() -> None:
        async with Sessions(place) as sessions:
            later = sessions.one()
            assert await later.hold(mark(epoch=2)) is None
            await later.commit(None)
            assert await sessions.one().hold(mark(epoch=1)) == Found("d", 2, "free", None)

    asyncio.run(main())


def test_the_later_owner_itself_may_hold_it_again(place: Place) -> None:
    async def main() -> None:
        async with Sessions(place) as sessions:
            for epoch, result in ((1, None), (2, None), (2, "true")):
                session = sessions.one()
                assert await session.hold(mark(epoch=epoch)) is None
                await session.commit(result)
            assert await sessions.one().hold(mark(epoch=3)) == Found("d", 2, "done", "true")

    asyncio.run(main())


def test_the_mark_of_another_call_is_no_answer(place: Place) -> None:
    async def main() -> None:
        async with Sessions(place) as sessions:
            first = sessions.one()
            assert await first.hold(mark(digest="other")) is None
            await first.commit(None)
            assert await sessions.one().hold(mark(epoch=2)) == Found("other", 1, "free", None)

    asyncio.run(main())


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_the_transaction_is_not_the_tools_to_end(place: Place, ending: str) -> None:
    async def main() -> None:
        async with Sessions(place) as sessions:
            session = sessions.one()
            assert await session.hold(mark()) is None
            await execute(session, place.insert)
            with pytest.raises(Exception, match=r"must not|forbidden"):
                await _maybe(getattr(session.connection, ending)())
            await session.commit("null")
            assert place.payments == [("ann", 20)]

    asyncio.run(main())


@pytest.mark.parametrize("ending", ["COMMIT", "ROLLBACK", "COMMIT; BEGIN"])
def test_a_tool_that_ends_it_by_sql_is_found_out(place: Place, ending: str) -> None:
    async def main() -> None:
        async with Sessions(place) as sessions:
            session = sessions.one()
            assert await session.hold(mark()) is None
            with pytest.raises(Exception, match=r"not authorized|ended the transaction by itself"):
                for statement in ending.split("; "):
                    await execute(session, statement)
                await session.commit("null")
            await session.close()
            after = await sessions.one().hold(mark(epoch=2))
            assert after is None or after.state == "open"  # never taken for done
            assert (after is None) == (ending == "ROLLBACK" or place.url.startswith("sqlite"))

    asyncio.run(main())


def test_an_error_in_a_block_undoes_the_block_alone(place: Place) -> None:
    async def main() -> None:
        async with Sessions(place) as sessions:
            session = sessions.one()
            assert await session.hold(mark()) is None
            await execute(session, place.insert)
            with pytest.raises(ZeroDivisionError):
                await _failing_block(session, place.insert)
            await session.commit("null")
            assert place.payments == [("ann", 20)]

    asyncio.run(main())


def test_a_cancelled_wait_leaves_nothing_behind(place: Place) -> None:
    async def main() -> None:
        async with Sessions(place) as sessions:
            first, second = sessions.one(), sessions.one(wait_s=SOON_S)
            assert await first.hold(mark()) is None
            waiting = asyncio.ensure_future(second.hold(mark(epoch=2)))
            await asyncio.wait([waiting], timeout=SOON_S / 5)
            waiting.cancel()
            await asyncio.wait([waiting])
            await second.close()
            await first.commit("null")
            assert await sessions.one().hold(mark(epoch=3)) == Found("d", 1, "done", "null")

    asyncio.run(main())


async def _failing_block(session: Session, insert: str) -> None:
    connection = session.connection
    if isinstance(connection, sqlite3.Connection):
        with connection:
            connection.execute(insert)
            raise ZeroDivisionError
    async with AsyncExitStack() as stack:
        block = connection.transaction()
        if hasattr(block, "__aenter__"):
            await stack.enter_async_context(block)
        else:
            stack.enter_context(block)
        await execute(session, insert)
        raise ZeroDivisionError


async def _maybe(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value
