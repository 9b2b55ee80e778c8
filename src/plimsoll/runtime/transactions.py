"""Calls whose effect is a transaction: the tool works on a connection, and its effect is committed with its mark.

Whatever goes wrong before the commit is rolled back, so it is known that nothing happened. After it, and where nobody
knows whether it was, the mark is looked up. See `plimsoll.runtime.databases.database` for what a mark is.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any, cast

from plimsoll.contract.model import Mode
from plimsoll.core.calls import (
    CallInfo,
    Effect,
    ErrorRecord,
    Fault,
    Happened,
    NotHappenedAndCannot,
    Unknown,
    Verification,
    idempotency_key,
)
from plimsoll.core.canonical import canonical_json, parse_json
from plimsoll.core.errors import OperationFailed, OutputRejected
from plimsoll.core.events import CallIntended
from plimsoll.policies.ladder import Rung
from plimsoll.runtime.current import call_context, connection_context
from plimsoll.runtime.databases.database import Found, Mark, Session
from plimsoll.runtime.exchange import Exchange
from plimsoll.runtime.state import RunState

__all__ = ["Transacted", "in_transaction", "looked_up_by", "proves_nothing_happened"]


UNBOUNDED_S = 3600.0
"""For how long a transaction may wait, and be idle, where timeouts are only observed."""


class _Withdrawn(OperationFailed):
    """The attempt was given up before its transaction could be committed."""


class _Permit:
    """The leave to commit, of one attempt: taken, or withdrawn before that, and then never given again."""

    __slots__ = ("taken", "withdrawn")

    def __init__(self) -> None:
        self.taken = False
        self.withdrawn = False


def in_transaction(state: RunState, exchange: Exchange, key: str, *, sent_before: bool) -> Exchange:
    """The call, so that it is sent in a transaction. `sent_before`: an earlier life of the run may have sent it."""
    return cast(Exchange, Transacted(state, exchange, key, sent_before=sent_before))


def looked_up_by(state: RunState, intent: CallIntended) -> Exchange | None:
    """What looks a call up that nobody asks for any more, by its intent alone; None for one that is no transaction."""
    if intent.effect is not Effect.TRANSACTION or state.env.tool(intent.dependency).effect is not Effect.TRANSACTION:
        return None
    return cast(Exchange, Transacted(state, cast(Exchange, intent), intent.key, sent_before=True))


def proves_nothing_happened(exchange: Exchange, error: ErrorRecord, refusals: Sequence[str]) -> bool:
    """Whether a call that failed with `error` did not happen and cannot any more.

    A transaction was rolled back, each time that it was tried. Of anything else its tool says so, by one of `refusals`.
    """
    if isinstance(exchange, Transacted):
        return not exchange.may_have_happened
    return error.type in refusals


class Transacted:
    """An exchange whose attempts are transactions, and whose doubts the database settles."""

    def __init__(self, state: RunState, exchange: Exchange, key: str, *, sent_before: bool) -> None:
        section = state.env.tool(exchange.dependency)
        self._state = state
        self._exchange = exchange
        enforced = state.env.contract.protections.timeout is Mode.ENFORCE
        self._wait_s = section.timeout_s if enforced else max(section.timeout_s, UNBOUNDED_S)
        self._shared = state.env.transactions
        self._name = section.connection or ""
        self._in_thread: bool = getattr(exchange, "in_thread", False)
        self._mark = Mark(
            idempotency_key=idempotency_key(state.id, key),
            run_id=state.id,
            call_key=key,
            dependency=exchange.dependency,
            args_digest=exchange.args_digest,
            epoch=state.log.epoch,
            at=state.env.clock.now(),
        )
        self.may_have_happened = sent_before

    def __getattr__(self, name: str) -> Any:
        return getattr(self._exchange, name)

    async def send(self, rung: Rung | None) -> Any:
        """One attempt. Given up, it is rolled back, unless it is being committed already."""
        permit = _Permit()
        work = asyncio.ensure_future(self._attempt(rung, permit))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            if work.done():
                raise  # the tool itself raised it
            permit.withdrawn = not permit.taken
            self._shared.keep(work)  # a thread cannot be stopped; when it ends, its transaction is rolled back
            if permit.withdrawn and not self._in_thread:
                work.cancel()
                await asyncio.wait([work])
            raise

    async def verify(self, key: str) -> Verification:
        """Whether the effect is there, by its mark. Where it is not, it is seen to that no earlier attempt can still
        bring it about: the mark is taken over."""
        async with AsyncExitStack() as stack:
            session = await self._begun(stack)
            found = await session.hold(self._mark)
            if found is None:
                await session.commit(None)
                self.may_have_happened = False
                return NotHappenedAndCannot()
        problem = self._foreign(found)
        if problem:
            return Unknown(problem, final=True)
        assert found.result is not None
        return Happened(parse_json(found.result))

    async def _attempt(self, rung: Rung | None, permit: _Permit) -> Any:
        async with AsyncExitStack() as stack:
            session = await self._begun(stack)
            found = await session.hold(self._mark)
            if found is not None:
                return self._done_before(found)
            self.may_have_happened = False
            connection_context.set(session.connection)
            native = await self._exchange.send(rung)
            if getattr(native, "rolls_back", False):  # a framework's way of saying that the tool has not run yet
                return native
            result = self._written(native)
            if permit.withdrawn:
                raise _Withdrawn("it was given up before it could be committed")
            self._state.check_switch()
            permit.taken = self.may_have_happened = True
            await self._commit(session, result)
            return native

    async def _commit(self, session: Session, result: str) -> None:

        async def commit() -> None:
            await session.commit(result)

        info = call_context.get()
        assert isinstance(info, CallInfo), "set for every attempt"
        await self._state.env.interceptor(f"{self._mark.dependency}.commit", info, cast(Exchange, self), commit)

    async def _begun(self, stack: AsyncExitStack) -> Session:
        """A session that is closed with the stack, whatever happens; what it has not committed is rolled back."""
        database = self._shared.databases[self._name]
        await stack.enter_async_context(database.turn())
        session = database.session(in_thread=self._in_thread, wait_s=self._wait_s)
        stack.push_async_callback(self._closed, session)
        return session

    async def _closed(self, session: Session) -> None:
        if not self._state.env.under_way.of(self._mark.idempotency_key):  # else a thread is left that works on it, as
            await session.close()  # when the process ends, and with it the connection

    def _done_before(self, found: Found) -> Any:
        """What an attempt returned that has happened already."""
        self.may_have_happened = True
        problem = self._foreign(found)
        if problem:
            raise OperationFailed(problem)
        assert found.result is not None
        return self._exchange.decode(parse_json(found.result))

    def _foreign(self, found: Found) -> str:
        """Why a mark is not this call's, so that it says nothing of it; empty: it is."""
        if found.args_digest != self._mark.args_digest:
            return "under its idempotency key the database has the mark of another call"
        if found.state == "open":
            return "its tool ended the transaction by itself, so that nobody knows what of it is there"
        return "" if found.state == "done" else "a later owner of the run has taken the call over"

    def _written(self, native: Any) -> str:
        """The answer as JSON. Raises `OutputRejected` for one that is none, so that it is rolled back."""
        tool = self._mark.dependency
        try:
            result = canonical_json(self._exchange.encode(native)).decode()
            problem = self._exchange.inspect(native).problem
        except Exception as broken:  # an answer that cannot even be looked at, or written down, is malformed
            raise OutputRejected(tool, fault=Fault.MALFORMED, detail=str(broken)) from broken
        if problem is not None and self._state.env.contract.protections.output_check is Mode.ENFORCE:
            raise OutputRejected(tool, fault=problem.fault, detail=problem.detail)
        return result
