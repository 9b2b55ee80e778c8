"""Sync tools of a Pydantic AI agent run in threads, which nobody can stop."""

import asyncio
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from pydantic_ai import Agent, FunctionToolset
from pydantic_ai import Tool as Named
from pydantic_ai.models.function import FunctionModel

from plimsoll.adapters.pydantic_ai import harden
from plimsoll.contract.model import AgentSection, Contract, Limits, Model, Retry, Tool
from plimsoll.core.calls import Effect, Ending, Fault, Happened, NotHappenedAndCannot
from plimsoll.journal.memory import MemoryStore
from plimsoll.runtime.current import current_call
from tests.adapters.bench import call, scripted
from tests.runtime.bench import pass_time
from tests.runtime.threads import LONG_S, SOON_S, Slow, surroundings


def paying(slow: Slow, *, own_timeout_s: float | None = None) -> Any:
    toolset: FunctionToolset[Any] = FunctionToolset(timeout=own_timeout_s)
    toolset.add_function(slow.pay)
    return Agent(scripted([call("pay", amount=9.0)], "Paid."), name="payer", toolsets=[toolset])


def under_contract(effect: Effect = Effect.WRITE, *, timeout_s: float = SOON_S) -> Contract:
    return Contract(
        agent=AgentSection(name="payer"),
        limits=Limits(seconds=60.0),
        tools={"pay": Tool(effect=effect, timeout_s=timeout_s)},
    )


@pytest.mark.parametrize("own_executor", [False, True])
@pytest.mark.parametrize("own_timeout_s", [None, SOON_S / 5])
def test_a_thread_that_outlives_its_attempt_is_not_called_undone(
    own_timeout_s: float | None, own_executor: bool
) -> None:
    async def main() -> None:
        slow = Slow()

        def verify(args: Mapping[str, Any], key: str) -> Any:
            slow.asked += 1
            return Happened({"paid": args["amount"]}) if slow.paid else NotHappenedAndCannot()

        agent = paying(slow, own_timeout_s=own_timeout_s)
        with ExitStack() as stack:
            if own_executor:
                pool = stack.enter_context(ThreadPoolExecutor())
                stack.enter_context(Agent.using_thread_executor(pool))
            await tried(slow, agent, verify)

    async def tried(slow: Slow, agent: Any, verify: Any) -> None:
        hardened = harden(agent, under_contract(), surroundings=surroundings(MemoryStore()), verifiers={"pay": verify})
        async with hardened:
            parked = await hardened.run("Pay", run_id="r")
            assert (parked.ending, slow.asked) == (Ending.PARKED, 0), parked.reason
            slow.go.set()
            assert slow.over.wait(LONG_S)
            while hardened.harness.env.under_way._work:
                await pass_time(0.001)
            done = await hardened.resume("r")
        assert (done.ending, done.output, slow.paid) == (Ending.COMPLETE, "Paid.", [9.0])

    asyncio.run(main())


def test_a_thread_that_ends_soon_after_its_timeout_has_answered() -> None:
    async def main() -> None:
        slow = Slow()
        timeout_s = 10 * SOON_S  # the thread ends well after it, and well before twice of it, on a busy machine too
        asyncio.get_running_loop().call_later(timeout_s * 1.2, slow.go.set)
        contract = under_contract(timeout_s=timeout_s)
        async with harden(paying(slow), contract, surroundings=surroundings(MemoryStore())) as hardened:
            result = await hardened.run("Pay", run_id="r")
        assert (result.ending, result.output, slow.paid) == (Ending.COMPLETE, "Paid.", [9.0])

    asyncio.run(main())


@pytest.mark.parametrize("own_executor", [False, True])
@pytest.mark.parametrize("effect", [Effect.READ, Effect.WRITE])
def test_sync_tools_beside_each_other_each_know_the_call_that_they_serve(effect: Effect, own_executor: bool) -> None:
    async def main() -> None:
        served: dict[str, Any] = {}
        both = threading.Barrier(2, timeout=LONG_S)

        def note(name: str) -> str:
            both.wait()  # both run at the same time, in threads
            served[name] = current_call()
            return name

        batch = [call("note", "c1", name="a"), call("note", "c2", name="b")]
        agent: Agent[None, str] = Agent(scripted(batch, "Noted."), tools=[note])
        rules = Contract(agent=AgentSection(name="noter"), tools={"note": Tool(effect=effect)})
        with ExitStack() as stack:
            if own_executor:
                pool = stack.enter_context(ThreadPoolExecutor())
                stack.enter_context(Agent.using_thread_executor(pool))
            async with harden(agent, rules, surroundings=surroundings(MemoryStore())) as hardened:
                result = await hardened.run("Note", run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, "Noted."), result.reason
        assert [served[name].key for name in "ab"] == ["1/c1", "1/c2"]
        assert served["a"].idempotency_key != served["b"].idempotency_key

    asyncio.run(main())


def test_closing_waits_for_threads_so_that_nobody_takes_their_runs_over() -> None:
    async def main() -> None:
        slow, store = Slow(), MemoryStore()

        def verify(args: Mapping[str, Any], key: str) -> Any:
            return Happened({"paid": args["amount"]}) if slow.paid else NotHappenedAndCannot()

        def live(owner: str) -> Any:
            outside = surroundings(store, owner=owner)
            return harden(
                paying(slow), under_contract(), surroundings=outside, verifiers={"pay": verify}, fingerprint="v1"
            )

        first = live("one")
        assert (await first.run("Pay", run_id="r")).ending is Ending.PARKED
        closing = asyncio.ensure_future(first.close())
        await pass_time(SOON_S)
        assert not closing.done()
        slow.go.set()
        await closing
        store.kill_owner("one")
        result = await live("two").resume("r")
        assert (result.ending, slow.paid) == (Ending.COMPLETE, [9.0]), result.reason

    asyncio.run(main())


def test_every_attempt_gets_the_arguments_that_were_recorded() -> None:
    async def main() -> None:
        seen: list[list[int]] = []

        async def put(items: list[int]) -> str:
            seen.append(list(items))
            items.pop()
            if len(seen) == 1:
                raise ConnectionError("once more")
            return "put"

        agent: Agent[None, str] = Agent(scripted([call("put", items=[1, 2, 3])], "Done."), tools=[put])
        section = Tool(effect=Effect.IDEMPOTENT, retry=Retry(on=(Fault.CONNECTION,)))
        rules = Contract(agent=AgentSection(name="putter"), tools={"put": section})
        async with harden(agent, rules, surroundings=surroundings(MemoryStore())) as hardened:
            result = await hardened.run("Put", run_id="r")
        assert (result.ending, seen) == (Ending.COMPLETE, [[1, 2, 3], [1, 2, 3]]), result.reason

    asyncio.run(main())


@pytest.mark.parametrize("answer", [{"a": "\ud800"}, {"a": float("nan")}, object()])
def test_an_answer_that_the_journal_cannot_carry_leaves_a_write_in_doubt(answer: Any) -> None:
    async def main() -> None:
        paid: list[float] = []

        async def pay(amount: float) -> Any:
            paid.append(amount)
            return answer

        agent: Agent[None, str] = Agent(scripted([call("pay", amount=9.0)], "Paid."), tools=[pay])
        async with harden(agent, under_contract(), surroundings=surroundings(MemoryStore())) as hardened:
            result = await hardened.run("Pay", run_id="r")
        assert (result.ending, result.reason[:5], paid) == (Ending.PARKED, "doubt", [9.0])

    asyncio.run(main())


class Panic(BaseException):
    """As of a library in Rust."""


@pytest.mark.parametrize("in_thread", [False, True])
@pytest.mark.parametrize("error", [StopIteration, Panic])
def test_a_tool_that_raises_no_plain_error_has_failed_and_the_model_is_told(
    error: type[BaseException], in_thread: bool
) -> None:
    async def main() -> None:
        def look(order: str) -> str:
            raise error

        async def look_here(order: str) -> str:
            raise error

        tool = Named(look if in_thread else look_here, name="look")
        agent: Agent[None, str] = Agent(scripted([call("look", order="W1")], "I cannot tell."), tools=[tool])
        rules = Contract(agent=AgentSection(name="desk"), tools={"look": Tool(effect=Effect.READ)})
        async with harden(agent, rules, surroundings=surroundings(MemoryStore())) as hardened:
            result = await hardened.run("Where is W1?", run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, "I cannot tell."), result.reason
        assert "call_failed" in [finding.kind for finding in result.findings]

    asyncio.run(main())


@pytest.mark.parametrize("streams", [False, True])
def test_a_model_that_panics_has_failed_and_the_next_rung_answers(streams: bool) -> None:
    async def main() -> None:
        def panics(messages: Any, info: Any) -> Any:
            raise Panic("the tokenizer")

        async def panics_midway(messages: Any, info: Any) -> Any:
            yield "half "
            raise Panic("the tokenizer")

        agent: Agent[None, str] = Agent(FunctionModel(panics, stream_function=panics_midway))
        models = {"primary": Model(fallback=("canned",)), "canned": Model(canned="I cannot say now.")}
        rules = Contract(agent=AgentSection(name="desk"), models=models)

        async def watch(ctx: Any, events: Any) -> None:
            async for _ in events:
                pass

        async with harden(agent, rules, surroundings=surroundings(MemoryStore())) as hardened:
            handler = watch if streams else None
            result = await hardened.run("Where is W1?", run_id="r", event_stream_handler=handler)
        assert (result.ending, result.output) == (Ending.DEGRADED, "I cannot say now."), result.reason

    asyncio.run(main())
