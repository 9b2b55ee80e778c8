"""Transactions: the effect and the record of it commit together."""

import asyncio
import contextlib
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from plimsoll.contract.model import Mode, OutputRule, Protections, Retry
from plimsoll.core.calls import CallInfo, Effect, Ending, Fault, idempotency_key
from plimsoll.core.clock import LoopClock
from plimsoll.core.errors import CallFailed, Misuse, RunHalted
from plimsoll.core.events import CallSettled, DoubtRaised, DoubtResolved
from plimsoll.journal.memory import MemoryStore
from plimsoll.runtime.current import current_connection
from plimsoll.runtime.effects import RECHECK_S
from plimsoll.runtime.exchange import Exchange, Send
from plimsoll.runtime.run import Run
from tests.runtime.banks import Desk, TooMuch
from tests.runtime.bench import Crash, pass_time, simulated
from tests.runtime.threads import LONG_S, SOON_S, Hasty

PAY = {"to": "ann", "amount": 20.0}


def at(site: str, fault: Any, *, sent: bool, lives: int = 1) -> Any:
    """An interceptor that fails once at a site, before or after what is sent there."""

    def under(desk: Desk) -> None:
        async def intercept(name: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            struck = name == site and desk.lives <= lives and not getattr(desk, "struck", False)
            if struck:
                desk.struck = True  # type: ignore[attr-defined]
            if struck and not sent:
                raise fault
            answer = await send()
            if struck:
                raise fault
            return answer

        desk.intercept = intercept

    return under


def test_the_effect_and_the_mark_are_there_together(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        result = await desk.live().run(PAY, run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, {"paid": 20.0})
        assert desk.bank.payments == [("ann", 20.0)]
        assert desk.bank.marks == ['{"paid":20.0}']
        assert desk.kinds() == []

    simulated(main)


@pytest.mark.parametrize("site", ["pay", "pay.commit"])
@pytest.mark.parametrize("sent", [False, True])
def test_a_crash_on_either_side_of_the_commit_neither_loses_nor_doubles(tmp_path: Path, site: str, sent: bool) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        at(site, Crash(), sent=sent)(desk)
        harness = desk.live()
        with pytest.raises(Crash):
            await harness.run(PAY, run_id="r")
        harness.journal.abandon()
        committed = sent
        assert desk.bank.payments == ([("ann", 20.0)] if committed else [])
        (result,) = await desk.live().wake()
        assert (result.ending, result.output) == (Ending.COMPLETE, {"paid": 20.0})
        assert desk.bank.payments == [("ann", 20.0)]
        (resolved,) = await desk.events(DoubtResolved)
        assert (resolved.answer, resolved.by) == ("happened" if committed else "not_happened", "verify")

    simulated(main)


@pytest.mark.parametrize("sent", [False, True])
def test_a_connection_lost_at_the_commit_is_settled_by_the_mark(tmp_path: Path, sent: bool) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        at("pay.commit", ConnectionResetError("lost"), sent=sent)(desk)
        result = await desk.live().run(PAY, run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, {"paid": 20.0})
        assert desk.bank.payments == [("ann", 20.0)]
        assert ("in_doubt", "pay", "connection") in desk.kinds()

    simulated(main)


def test_an_error_of_the_tool_is_rolled_back_and_proves_that_nothing_happened(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        result = await desk.live().run({"to": "ann", "amount": 5000.0}, run_id="r")
        assert "at most 1000" in result.output
        assert (desk.bank.payments, desk.bank.begun) == ([], 1)
        assert await desk.events(DoubtRaised) == []

    simulated(main)


def test_what_is_rolled_back_may_be_tried_again(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path, retry=Retry(on=(Fault.CONNECTION,)))
        tries = []

        async def pay(to: str, amount: float) -> Any:
            answer = desk.bank.paying(to, amount)
            tries.append(answer)
            if len(tries) == 1:
                raise ConnectionResetError("the bank's own service is gone for a moment")
            return answer

        desk.tools = {"pay": pay}
        result = await desk.live().run(PAY, run_id="r")
        assert (result.output, len(tries), desk.bank.payments) == ({"paid": 20.0}, 2, [("ann", 20.0)])
        assert await desk.events(DoubtRaised) == []

    simulated(main)


def test_a_timeout_is_rolled_back(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)

        async def pay(to: str, amount: float) -> Any:
            answer = desk.bank.paying(to, amount)
            await pass_time(100.0)
            return answer

        desk.tools = {"pay": pay}
        result = await desk.live().run(PAY, run_id="r")
        assert "timeout" in result.output
        assert desk.bank.payments == []
        (settled,) = await desk.events(CallSettled)
        assert settled.outcome.error.fault is Fault.TIMEOUT

    simulated(main)


def test_a_tool_that_is_given_up_keeps_nobody_waiting(tmp_path: Path) -> None:
    async def twice(run: Run, request: Any) -> Any:
        with contextlib.suppress(CallFailed):
            await run.call("pay", PAY)
        began_s = LoopClock().monotonic()
        await run.call("pay", {"to": "bo", "amount": 1.0})
        return LoopClock().monotonic() - began_s

    async def main() -> None:
        desk = Desk(tmp_path)

        async def pay(to: str, amount: float) -> Any:
            answer = desk.bank.paying(to, amount)
            await pass_time(100.0 if to == "ann" else 0.0)
            return answer

        desk.agent, desk.tools = twice, {"pay": pay}
        result = await desk.live().run({}, run_id="r")
        assert (result.output, desk.bank.payments) == (0.0, [("bo", 1.0)])

    simulated(main)


def test_a_transaction_that_its_tool_ended_is_left_to_a_person(tmp_path: Path) -> None:
    """SQLite does not let a tool do it; where a database does, such a mark is there."""

    async def main() -> None:
        desk = Desk(tmp_path)
        await desk.live().run(PAY, run_id="r")
        desk.store = MemoryStore()
        connection = sqlite3.connect(desk.bank.path)
        connection.execute("UPDATE plimsoll_effects SET state = 'open', result = NULL")
        connection.commit()
        connection.close()
        parked = await desk.live().run(PAY, run_id="r")
        (resolved,) = await desk.events(DoubtResolved)
        assert parked.ending is Ending.PARKED
        assert "ended the transaction by itself" in resolved.value
        assert desk.bank.payments == [("ann", 20.0)]

    simulated(main)


def test_what_was_sent_as_a_write_is_not_looked_for_among_the_marks(tmp_path: Path) -> None:
    """A contract may change while a run waits. That there is no mark says nothing of a call that never had one."""

    async def main() -> None:
        desk = Desk(tmp_path, effect=Effect.WRITE)
        paid = []

        async def pay(to: str, amount: float) -> Any:
            paid.append(to)
            return {"paid": amount}

        desk.tools = {"pay": pay}
        at("pay", Crash(), sent=True)(desk)
        harness = desk.live()
        with pytest.raises(Crash):
            await harness.run(PAY, run_id="r")
        harness.journal.abandon()
        tool = replace(desk.contract.tools["pay"], effect=Effect.TRANSACTION)
        desk.contract = replace(desk.contract, tools={"pay": tool})
        (parked,) = await desk.live().wake()
        assert (parked.ending, parked.reason, paid) == (Ending.PARKED, "doubt: 1:pay", ["ann"])

    simulated(main)


@pytest.mark.parametrize("answer", [{"error": "insufficient funds", "status": 500}, float("nan"), None])
def test_an_answer_that_is_none_is_rolled_back(tmp_path: Path, answer: Any) -> None:
    async def main() -> None:
        desk = Desk(tmp_path, output=OutputRule(type="object"))

        async def pay(to: str, amount: float) -> Any:
            desk.bank.paying(to, amount)
            return answer

        desk.tools = {"pay": pay}
        result = await desk.live().run(PAY, run_id="r")
        assert "not paid" in result.output
        assert desk.bank.payments == []
        assert ("silent_failure", "pay") in [kind[:2] for kind in desk.kinds()]
        assert await desk.events(DoubtRaised) == []

    simulated(main)


def test_an_answer_that_is_only_observed_is_committed(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path, output=OutputRule(required=("receipt",)))
        desk.contract = replace(desk.contract, protections=Protections(output_check=Mode.OBSERVE))
        result = await desk.live().run(PAY, run_id="r")
        assert (result.output, desk.bank.payments) == ({"paid": 20.0}, [("ann", 20.0)])

    simulated(main)


def test_the_kill_switch_rolls_back_what_is_not_committed(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        harness = desk.live()

        async def pay(to: str, amount: float) -> Any:
            answer = desk.bank.paying(to, amount)
            await harness.operations.kill(by="ana", reason="a drill")
            return answer

        desk.tools = {"pay": pay}
        harness = desk.live()
        result = await harness.run(PAY, run_id="r")
        assert (result.ending, desk.bank.payments) == (Ending.HALTED, [])
        (resolved,) = await desk.events(DoubtResolved)
        assert resolved.answer == "not_happened"

    simulated(main)


def test_a_run_that_is_stopped_before_it_asks_again_looks_its_call_up(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        at("pay.commit", Crash(), sent=True)(desk)
        harness = desk.live()
        with pytest.raises(Crash):
            await harness.run(PAY, run_id="r")
        harness.journal.abandon()

        async def halted(run: Run, request: Any) -> Any:
            raise RunHalted("an operator stopped it")

        desk.agent = halted
        (result,) = await desk.live().wake()
        assert result.ending is Ending.HALTED
        (resolved,) = await desk.events(DoubtResolved)
        assert (resolved.answer, resolved.value) == ("happened", {"paid": 20.0})

    simulated(main)


def test_parallel_calls_take_their_turn(tmp_path: Path) -> None:
    async def both(run: Run, request: Any) -> Any:
        return await asyncio.gather(*(run.call("pay", {"to": to, "amount": 1.0}) for to in ("ann", "bo", "cy")))

    async def main() -> None:
        desk = Desk(tmp_path)

        async def pay(to: str, amount: float) -> Any:
            await pass_time(1.0)
            return desk.bank.paying(to, amount)

        desk.agent, desk.tools = both, {"pay": pay}
        result = await desk.live().run({}, run_id="r")
        assert result.ending is Ending.COMPLETE
        assert sorted(desk.bank.payments) == [("ann", 1.0), ("bo", 1.0), ("cy", 1.0)]

    simulated(main)


class Down:
    """A database that cannot be reached for a while."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.is_down = False
        self.turn = inner.turn

    def session(self, *, in_thread: bool, wait_s: float) -> Any:
        if self.is_down:
            raise ConnectionRefusedError("the database is down")
        return self.inner.session(in_thread=in_thread, wait_s=wait_s)


def test_a_database_that_is_down_fails_the_call_and_leaves_no_doubt(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        desk.database = Down(desk.database)
        desk.database.is_down = True
        result = await desk.live().run(PAY, run_id="r")
        assert "connection" in result.output
        assert await desk.events(DoubtRaised) == []
        assert desk.bank.payments == []

    simulated(main)


def test_two_harnesses_on_one_database_take_their_turn(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)

        async def pay(to: str, amount: float) -> Any:
            await pass_time(1.0)
            return desk.bank.paying(to, amount)

        desk.tools = {"pay": pay}
        harness = desk.live()
        other = desk.live()  # of the same database object, as a parent's and a child's are in the gate
        runs = [harness.run(PAY, run_id="r"), other.run({"to": "bo", "amount": 1.0}, run_id="s")]
        assert all(result.ending is Ending.COMPLETE for result in await asyncio.gather(*runs))
        assert sorted(desk.bank.payments) == [("ann", 20.0), ("bo", 1.0)]

    simulated(main)


def test_a_doubt_waits_until_the_database_is_back_and_nobody_is_asked(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        desk.database = Down(desk.database)
        at("pay.commit", Crash(), sent=True)(desk)
        harness = desk.live()
        with pytest.raises(Crash):
            await harness.run(PAY, run_id="r")
        harness.journal.abandon()
        desk.database.is_down = True
        (parked,) = await desk.live().wake()
        assert (parked.ending, parked.reason) == (Ending.PARKED, "doubt: 1:pay")
        assert await desk.live().wake() == []
        desk.database.is_down = False
        await pass_time(RECHECK_S + 1)
        (result,) = await desk.live().wake()
        assert (result.ending, result.output) == (Ending.COMPLETE, {"paid": 20.0})
        assert desk.bank.payments == [("ann", 20.0)]

    simulated(main)


@pytest.mark.parametrize("refuses", [False, True])
def test_a_sender_that_was_taken_over_does_nothing_when_it_wakes(tmp_path: Path, refuses: bool) -> None:
    """Also where the later owner has told that it failed: that must stay true."""

    async def main() -> None:
        desk = Desk(tmp_path)
        gate = asyncio.Event()

        async def stop_the_first(name: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            if name == "pay" and not gate.is_set() and not stopped:
                stopped.append(name)
                await gate.wait()
            return await send()

        stopped: list[str] = []
        desk.intercept = stop_the_first
        desk.contract = replace(desk.contract, protections=Protections(timeout=Mode.OBSERVE))
        first = asyncio.ensure_future(desk.live().run(PAY, run_id="r"))
        while not stopped:
            await pass_time(0.01)

        async def refuse(to: str, amount: float) -> Any:
            raise TooMuch("not today")

        if refuses:
            desk.tools = {"pay": refuse}
        (result,) = await desk.live().wake()
        expected = [] if refuses else [("ann", 20.0)]
        assert desk.bank.payments == expected
        gate.set()
        late = await first
        assert desk.bank.payments == expected
        assert (late.ending, late.reason.partition(":")[0]) == (Ending.PARKED, "superseded")
        assert ("not today" in result.output) if refuses else (result.output == {"paid": 20.0})

    simulated(main)


def test_a_mark_of_another_call_parks_the_run_for_a_person(tmp_path: Path) -> None:
    """As where a journal was lost, and a new one gives the same ids to other runs."""

    async def main() -> None:
        desk = Desk(tmp_path)
        await desk.live().run(PAY, run_id="r")
        desk.store = MemoryStore()
        harness = desk.live()
        parked = await harness.run({"to": "bo", "amount": 5.0}, run_id="r")
        assert (parked.ending, parked.reason) == (Ending.PARKED, "doubt: 1:pay")
        (resolved,) = await desk.events(DoubtResolved)
        assert "another call" in resolved.value
        await pass_time(10 * RECHECK_S)
        assert await harness.wake() == []
        await harness.operations.resolve("r", "1:pay", happened=True, by="ana", value={"paid": 5.0})
        (result,) = await harness.wake()
        assert (result.output, desk.bank.payments) == ({"paid": 5.0}, [("ann", 20.0)])

    simulated(main)


def test_the_same_call_under_a_new_journal_has_happened_already(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        await desk.live().run(PAY, run_id="r")
        desk.store = MemoryStore()
        result = await desk.live().run(PAY, run_id="r")
        assert (result.output, desk.bank.payments, desk.bank.begun) == ({"paid": 20.0}, [("ann", 20.0)], 1)

    simulated(main)


def test_a_connection_is_there_for_transactions_alone(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match="no transaction is open here"):
        current_connection()

    async def main() -> None:
        desk = Desk(tmp_path, effect=Effect.WRITE)
        result = await desk.live().run(PAY, run_id="r")
        assert "no transaction is open here" in result.output

    simulated(main)


# ------------------------------------------------------------------------------------------- threads, in real time


def test_a_thread_that_outlives_its_attempt_has_no_effect(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path, clock=Hasty(), timeout_s=SOON_S)
        begun, go, over = threading.Event(), threading.Event(), threading.Event()

        def pay(to: str, amount: float) -> Any:
            begun.set()
            go.wait(LONG_S)
            answer = desk.bank.paying(to, amount)
            over.set()
            return answer

        desk.tools = {"pay": pay}
        harness = desk.live()
        result = await harness.run(PAY, run_id="r")
        assert "timeout" in result.output
        assert await desk.events(DoubtRaised) == []
        go.set()
        assert over.wait(LONG_S)
        while harness.env.transactions._left:
            await pass_time(0.001)
        assert desk.bank.payments == []

    asyncio.run(main())


def test_a_thread_has_its_connection_and_its_key(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path, clock=Hasty())
        desk.tools = {"pay": desk.bank.pay_in_thread}
        result = await desk.live().run(PAY, run_id="r")
        assert result.output == {"paid": 20.0}
        assert desk.bank.rows("SELECT key FROM paid") == [(idempotency_key("r", "1:pay"),)]
        assert desk.bank.rows("SELECT idempotency_key FROM plimsoll_effects") == [(idempotency_key("r", "1:pay"),)]

    asyncio.run(main())
