"""Tools without a framework: their threads, their arguments, their answers."""

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from plimsoll.contract.model import AgentSection, Approval, Contract, Limits, Retry, Tool
from plimsoll.core.calls import Effect, Ending, Fault, Happened, NotHappenedAndCannot
from plimsoll.core.errors import Misuse
from plimsoll.core.events import CallIntended, DoubtResolved
from plimsoll.journal.memory import MemoryStore
from plimsoll.runtime.current import current_call
from plimsoll.runtime.harness import Harness
from plimsoll.runtime.run import Run
from plimsoll.runtime.tools import ToolSpec, tool
from plimsoll.runtime.underway import UnderWay, Watch, in_thread, watch_context
from tests.runtime.bench import Desk, pass_time, simulated
from tests.runtime.threads import LONG_S, SOON_S, Slow, surroundings


def paying(effect: Effect = Effect.WRITE, *, timeout_s: float = SOON_S, **settings: Any) -> Contract:
    section = Tool(effect=effect, timeout_s=timeout_s, **settings)
    return Contract(agent=AgentSection(name="payer"), limits=Limits(seconds=60.0), tools={"pay": section})


async def payer(run: Run, request: Any) -> Any:
    return await run.call("pay", {"amount": 9.0})


def ledger(slow: Slow) -> Any:
    def verify(args: Mapping[str, Any], key: str) -> Any:
        slow.asked += 1
        return Happened({"paid": args["amount"]}) if slow.paid else NotHappenedAndCannot()

    return verify


def test_a_thread_that_outlives_its_attempt_is_not_called_undone() -> None:
    async def main() -> None:
        slow = Slow()
        store = MemoryStore()
        harness = Harness(
            paying(), agent=payer, surroundings=surroundings(store), tools=[slow.pay], verifiers={"pay": ledger(slow)}
        )
        async with harness:
            parked = await harness.run({}, run_id="r")
            assert parked.ending is Ending.PARKED
            assert parked.reason.startswith("doubt")
            assert slow.asked == 0  # the ledger says nothing of a payment that is on its way
            resolved = [record.event for record in await store.read("r") if isinstance(record.event, DoubtResolved)]
            assert [(event.answer, event.value) for event in resolved] == [("unknown", "the call is still under way")]

            still = await harness.resume("r")
            assert still.ending is Ending.PARKED

            slow.go.set()
            assert slow.over.wait(LONG_S)
            while harness.env.under_way.of(_key(await store.read("r"))):
                await pass_time(0)
            done = await harness.resume("r")
            assert (done.ending, done.output, slow.paid) == (Ending.COMPLETE, {"paid": 9.0}, [9.0])

    asyncio.run(main())


def _key(records: Any) -> str:
    return next(record.event.idempotency_key for record in records if isinstance(record.event, CallIntended))


@pytest.mark.parametrize("effect", [Effect.WRITE, Effect.IDEMPOTENT])
def test_a_thread_that_ends_soon_after_its_timeout_has_answered(effect: Effect) -> None:
    async def main() -> None:
        slow = Slow()
        loop = asyncio.get_running_loop()
        timeout_s = 10 * SOON_S  # the thread ends well after it, and well before twice of it, on a busy machine too
        loop.call_later(timeout_s * 1.2, slow.go.set)
        retry = Retry(on=(Fault.TIMEOUT,)) if effect is Effect.IDEMPOTENT else None
        harness = Harness(
            paying(effect, timeout_s=timeout_s, retry=retry),
            agent=payer,
            surroundings=surroundings(MemoryStore()),
            tools=[slow.pay],
        )
        async with harness:
            result = await harness.run({}, run_id="r")
        assert (result.ending, result.output, slow.paid) == (Ending.COMPLETE, {"paid": 9.0}, [9.0])

    asyncio.run(main())


def test_a_sync_tool_within_an_async_one_is_under_way_too() -> None:
    async def main() -> None:
        slow = Slow()
        inner = tool(slow.pay)

        async def pay(amount: float) -> Any:
            return await inner(amount)

        harness = Harness(
            paying(),
            agent=payer,
            surroundings=surroundings(MemoryStore()),
            tools=[pay],
            verifiers={"pay": ledger(slow)},
        )
        async with harness:
            parked = await harness.run({}, run_id="r")
            assert (parked.ending, slow.asked) == (Ending.PARKED, 0)
            slow.go.set()
            assert slow.over.wait(LONG_S)
        assert slow.paid == [9.0]

    asyncio.run(main())


def test_a_thread_that_had_not_begun_never_begins() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        gate = threading.Event()
        busy = [loop.run_in_executor(None, gate.wait, LONG_S) for _ in range(64)]  # more than the pool has threads
        under_way, begun = UnderWay(), threading.Event()
        token = watch_context.set(Watch(under_way, "key"))
        call = asyncio.ensure_future(in_thread(begun.set, {}))
        watch_context.reset(token)
        await pass_time(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert under_way.of("key") == {}
        gate.set()
        await asyncio.gather(*busy)
        await loop.run_in_executor(None, gate.wait)
        assert not begun.is_set()

    asyncio.run(main())


def test_a_write_for_which_no_thread_was_free_is_not_in_doubt() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        gate, slow = threading.Event(), Slow()
        slow.go.set()
        busy = [loop.run_in_executor(None, gate.wait, LONG_S) for _ in range(64)]
        desk = harness_of(slow)
        result = await desk.run({}, run_id="r")
        assert (result.ending, slow.paid) == (Ending.FAILED, [])
        assert "no thread was free for pay" in result.reason
        assert not any(finding.kind == "in_doubt" for finding in result.findings)
        gate.set()
        await asyncio.gather(*busy)
        assert (await desk.run({}, run_id="again")).ending is Ending.COMPLETE
        assert len(slow.paid) == 1

    asyncio.run(main())


@pytest.mark.parametrize("effect", [Effect.READ, Effect.WRITE])
def test_that_no_thread_was_free_is_told_of_a_read_and_of_verify_too(effect: Effect) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        gate = threading.Event()
        busy = [loop.run_in_executor(None, gate.wait, LONG_S) for _ in range(64)]

        async def lost(amount: float) -> None:
            raise ConnectionResetError("the answer was lost")

        def look(amount: float) -> None:
            raise AssertionError("it never begins")

        harness = Harness(
            paying(effect), agent=payer, surroundings=surroundings(MemoryStore()),
            tools=[ToolSpec("pay", look if effect is Effect.READ else lost)],
            verifiers={"pay": lambda args, key: NotHappenedAndCannot()},
        )  # fmt: skip
        try:
            result = await harness.run({}, run_id="r")
        finally:
            gate.set()
        resolved = [event.value for event in await harness.operations.events("r") if isinstance(event, DoubtResolved)]
        told = result.reason if effect is Effect.READ else resolved[0]
        assert f"no thread was free for {'pay' if effect is Effect.READ else 'it'} within {SOON_S:g} s" in told
        await asyncio.gather(*busy)

    asyncio.run(main())


def test_that_an_attempt_never_began_says_nothing_of_the_next_one() -> None:
    under_way = UnderWay()
    Watch(under_way, "key").withdraw()
    Watch(under_way, "key")  # the next attempt, which does begin
    assert not under_way.never_began("key")
    Watch(under_way, "key").withdraw()
    assert [under_way.never_began("key"), under_way.never_began("key")] == [True, False]


def test_closing_waits_for_threads_so_that_nobody_takes_their_runs_over() -> None:
    async def main() -> None:
        slow, store = Slow(), MemoryStore()
        harness = harness_of(slow, store=store)
        parked = await harness.run({}, run_id="r")
        assert (parked.ending, slow.paid) == (Ending.PARKED, [])
        closing = asyncio.ensure_future(harness.close())
        await pass_time(SOON_S)
        assert not closing.done()
        slow.go.set()
        await closing
        assert slow.paid == [9.0]
        store.kill_owner("one")
        result = await harness_of(slow, store=store, owner="two").resume("r")
        assert (result.ending, slow.paid) == (Ending.COMPLETE, [9.0])

    asyncio.run(main())


def test_another_harness_of_the_same_process_knows_what_is_still_under_way() -> None:
    async def main() -> None:
        slow = Slow()
        outside = surroundings(MemoryStore())
        parked = await harness_of(slow, outside=outside).run({}, run_id="r")
        assert (parked.ending, slow.paid) == (Ending.PARKED, [])
        second = harness_of(slow, outside=outside)
        assert (await second.resume("r")).ending is Ending.PARKED  # it may not be sent again yet
        assert slow.asked == 0
        slow.go.set()
        assert slow.over.wait(LONG_S)
        while outside.under_way._work:
            await pass_time(0.001)
        assert (await second.resume("r")).ending is Ending.COMPLETE
        assert slow.paid == [9.0]

    asyncio.run(main())


def test_sync_tools_beside_each_other_each_know_the_call_that_they_serve() -> None:
    async def main() -> None:
        served: dict[str, Any] = {}
        both = threading.Barrier(2, timeout=LONG_S)

        def note(name: str) -> str:
            both.wait()  # both run at the same time, in threads
            served[name] = current_call()
            return name

        async def agent(run: Run, request: Any) -> Any:
            return await asyncio.gather(*(run.call("note", {"name": name}) for name in "ab"))

        section = Contract(agent=AgentSection(name="noter"), tools={"note": Tool(effect=Effect.WRITE)})
        harness = Harness(section, agent=agent, surroundings=surroundings(MemoryStore()), tools=[note], fingerprint="v")
        assert (await harness.run({}, run_id="r")).output == ["a", "b"]
        assert [served[name].key for name in "ab"] == ["1:note", "2:note"]
        assert served["a"].idempotency_key != served["b"].idempotency_key

    asyncio.run(main())


def harness_of(slow: Slow, *, store: MemoryStore | None = None, owner: str = "one", outside: Any = None) -> Harness:
    """A harness whose agent pays, once, by a thread."""
    return Harness(
        paying(),
        agent=payer,
        surroundings=outside or surroundings(store or MemoryStore(), owner=owner),
        tools=[slow.pay],
        verifiers={"pay": ledger(slow)},
        fingerprint="v1",
    )


def test_every_attempt_gets_the_arguments_that_were_recorded() -> None:
    async def main() -> None:
        seen: list[list[int]] = []

        def put(items: list[int]) -> dict[str, Any]:
            seen.append(list(items))
            items.pop()
            if len(seen) == 1:
                raise ConnectionError("once more")
            return {"put": len(items)}

        async def agent(run: Run, request: Any) -> Any:
            items = [1, 2, 3]
            calling = asyncio.ensure_future(run.call("put", {"items": items}))
            await pass_time(0)
            items.append(99)
            return await calling

        section = Tool(effect=Effect.IDEMPOTENT, retry=Retry(on=(Fault.CONNECTION,)))
        desk = Desk(tools={"put": section})
        desk.agent, desk.tools = agent, [put]
        result = await desk.live().run({}, run_id="r")
        assert result.ending is Ending.COMPLETE
        assert seen == [[1, 2, 3], [1, 2, 3]]

    simulated(main)


@dataclass
class Parcel:
    weight_kg: float


def test_arguments_that_json_writes_otherwise_come_back_by_annotation() -> None:
    async def main() -> None:
        seen: list[Any] = []

        @tool
        def send(parcel: Parcel, tags: tuple[str, ...], other: Any = (1, 2)) -> str:
            seen.append((parcel, tags, other))
            return "sent"

        async def agent(run: Run, request: Any) -> Any:
            return await send(Parcel(2.0), ("a", "b"))

        desk = Desk(tools={"send": Tool(effect=Effect.READ)})
        desk.agent, desk.tools = agent, [send]
        assert (await desk.live().run({}, run_id="r")).output == "sent"
        assert seen == [(Parcel(2.0), ("a", "b"), [1, 2])]

    simulated(main)


def test_a_rule_sees_what_is_left_to_its_default() -> None:
    async def main() -> None:
        paid: list[float] = []

        def pay(order: str, amount: float = 100.0) -> str:
            paid.append(amount)
            return "paid"

        async def agent(run: Run, request: Any) -> Any:
            return await run.call("pay", {"order": "W1"})

        section = Tool(effect=Effect.WRITE, approval=Approval(when="given(amount) and amount > 50", approvers=("ana",)))
        desk = Desk(tools={"pay": section})
        desk.agent, desk.tools = agent, [pay]
        result = await desk.live().run({}, run_id="r")
        assert (result.ending, paid) == (Ending.PARKED, [])
        assert result.waiting_for[0].args == {"order": "W1", "amount": 100.0}

    simulated(main)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"order": "W1", "amuont": 5}, "does not take amuont; it takes amount, order"),
        ({"amount": 5}, "without order"),
        ({"order": {1, 2}.pop}, "no JSON form"),
        ({"order": float("nan")}, "no JSON form"),
    ],
)
def test_wrong_arguments_are_the_callers_mistake_and_nothing_is_sent(args: dict[str, Any], words: str) -> None:
    async def main() -> None:
        paid: list[float] = []

        def pay(order: str, amount: float = 1.0) -> str:
            paid.append(amount)
            return "paid"

        async def agent(run: Run, request: Any) -> str:
            with pytest.raises(Misuse, match=words):
                await run.call("pay", args)
            return "told"

        desk = Desk(tools={"pay": Tool(effect=Effect.WRITE)})
        desk.agent, desk.tools = agent, [pay]
        result = await desk.live().run({}, run_id="r")
        assert (result.output, paid) == ("told", [])
        assert "CallIntended" not in await desk.events()

    simulated(main)


def test_a_default_without_a_json_form_is_left_to_the_tool() -> None:
    async def main() -> None:
        unset = object()

        def look(order: str, within: object = unset, **more: int) -> list[bool]:
            return [within is unset, more == {"page": 2}]

        async def agent(run: Run, request: Any) -> Any:
            return [await run.call("look", {"order": "W1", "page": 2}), await tool(look)("W1", page=2)]

        desk = Desk()
        desk.agent, desk.tools = agent, [look]
        assert (await desk.live().run({}, run_id="r")).output == [[True, True], [True, True]]

    simulated(main)


@pytest.mark.parametrize("answer", [{1: "a"}, {"a": "\ud800"}, {"a": float("nan")}, object()])
def test_an_answer_that_the_journal_cannot_carry_leaves_a_write_in_doubt(answer: Any) -> None:
    async def main() -> None:
        paid: list[Any] = []

        def pay(amount: float) -> Any:
            paid.append(amount)
            return answer

        desk = Desk(tools={"pay": Tool(effect=Effect.WRITE)})
        desk.agent, desk.tools = payer, [pay]
        result = await desk.live().run({}, run_id="r")
        assert (result.ending, result.reason, paid) == (Ending.PARKED, "doubt: 1:pay", [9.0])

    simulated(main)


def test_a_tool_that_returns_the_same_object_changed_is_read_anew() -> None:
    async def main() -> None:
        answer: dict[str, str] = {}
        tries = iter([{"error": "busy"}, {"order": "W1"}])

        def look() -> dict[str, str]:
            answer.clear()
            answer.update(next(tries))
            return answer

        async def agent(run: Run, request: Any) -> Any:
            return await run.call("look")

        desk = Desk(tools={"look": Tool(effect=Effect.READ, retry=Retry(on=(Fault.ERROR_IN_SUCCESS,)))})
        desk.agent, desk.tools = agent, [look]
        assert (await desk.live().run({}, run_id="r")).output == {"order": "W1"}

    simulated(main)


def test_a_sync_verify_does_not_hold_up_the_loop() -> None:
    async def main() -> None:
        asked = threading.Event()
        release = threading.Event()
        loop_went_on: list[bool] = []

        def pay(amount: float) -> Any:
            raise ConnectionError("lost")

        def verify(args: Mapping[str, Any], key: str) -> Any:
            asked.set()
            release.wait(LONG_S)
            return Happened({"paid": 9.0})

        async def watcher() -> None:
            while not asked.is_set():
                await pass_time(0.001)
            loop_went_on.append(True)
            release.set()

        section = Tool(effect=Effect.WRITE, timeout_s=LONG_S)
        contract = Contract(agent=AgentSection(name="payer"), tools={"pay": section})
        harness = Harness(
            contract,
            agent=payer,
            surroundings=surroundings(MemoryStore()),
            tools=[pay],
            verifiers={"pay": verify},
        )
        async with harness:
            result, _ = await asyncio.gather(harness.run({}, run_id="r"), watcher())
        assert (result.ending, loop_went_on) == (Ending.COMPLETE, [True])

    asyncio.run(main())
