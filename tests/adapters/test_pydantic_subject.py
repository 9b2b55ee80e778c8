"""Subjects for the gate: the same agent, hardened and as it was written first."""

import asyncio
from typing import Any

import pytest
from pydantic_ai import Agent, RunContext

from plimsoll.adapters.pydantic_ai import bare_subject, harden, hardened_subject
from plimsoll.adapters.pydantic_ai.subject import InlineExecutor
from plimsoll.core.calls import CallInfo, Ending, Fault
from plimsoll.core.clock import LoopClock
from plimsoll.core.errors import Misuse
from plimsoll.core.ids import SequentialIds
from plimsoll.core.rng import seeded_rng
from plimsoll.gate.simulator import simulate
from plimsoll.gate.subject import Subject
from plimsoll.journal.memory import MemoryStore
from plimsoll.observability.findings import MemorySink
from plimsoll.runtime.exchange import Exchange, NoInterceptor, Send
from plimsoll.runtime.surroundings import Surroundings
from tests.adapters.bench import Shop, call, contract, scripted, shop_agent
from tests.runtime.bench import Crash


def models(*steps: Any) -> dict[str, Any]:
    return {"primary": scripted(*steps), "backup": scripted("The backup says so.")}


def surroundings(store: Any = None, intercept: Any = None, owner: str = "one") -> Surroundings:
    return Surroundings(
        store=store or MemoryStore(),
        owner=owner,
        clock=LoopClock(),
        rng=seeded_rng(1),
        ids=SequentialIds(),
        sinks=(MemorySink(),),
        interceptor=intercept or NoInterceptor(),
    )


REFUND: list[Any] = [[call("refund", order="W1", amount=20.0)], "Done."]
agent = shop_agent()


async def naive(request: str, deps: Shop) -> str:
    """What somebody writes first."""
    for _ in range(2):
        try:
            return str((await agent.run(request, deps=deps)).output)
        except Exception:
            continue
    return "Sorry."


def test_a_hardened_subject_runs_in_the_world_that_it_is_given() -> None:
    async def main() -> None:
        subject = hardened_subject(harden(agent, contract(), fingerprint="v1"))
        assert (subject.name, subject.fingerprint, subject.hardened) == ("desk", "v1", True)
        shop = Shop()
        process = subject.live(surroundings(), models(*REFUND), shop)
        result = await process.run("Refund W1")
        assert (result.ending, result.output) == (Ending.COMPLETE, "Done.")
        assert shop.refunds == [("W1", 20.0)]
        await process.close()

    simulate(main, limit_s=1000.0)


def test_a_hardened_subject_wakes_what_an_earlier_life_left() -> None:
    async def main() -> None:
        hardened = harden(agent, contract(), fingerprint="v1", verifiers={"refund": (shop := Shop()).verify})
        subject, store = hardened_subject(hardened), MemoryStore()

        async def crash(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            answer = await send()
            if site == "refund":
                raise Crash
            return answer

        with pytest.raises(Crash):
            await subject.live(surroundings(store, crash), models(*REFUND), shop).run("Refund W1", run_id="r")
        store.kill_owner("one")
        process = subject.live(surroundings(store, owner="two"), models(*REFUND), shop)
        (result,) = await process.wake()
        assert (result.ending, shop.refunds) == (Ending.COMPLETE, [("W1", 20.0)])

    simulate(main, limit_s=1000.0)


def test_a_scenario_without_a_stand_in_never_asks_a_real_model() -> None:
    subject = hardened_subject(harden(agent, contract(), fingerprint="v1"))
    with pytest.raises(Misuse, match=r"no Pydantic AI model for models\.backup"):
        subject.live(surroundings(), {"primary": scripted("Hi.")}, Shop())


def test_a_bare_subject_shows_every_call_to_the_interceptor() -> None:
    async def main() -> None:
        seen: list[tuple[str, str, str]] = []

        async def watch(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            seen.append((site, info.key.split("pyd_ai_")[0], info.effect))
            return await send()

        subject = bare_subject(naive, contract(), agent=agent)
        assert (subject.name, subject.hardened) == ("desk (not hardened)", False)
        shop = Shop()
        process = subject.live(surroundings(intercept=watch), models(*REFUND), shop)
        result = await process.run("Refund W1", run_id="r")
        assert (result.ending, result.output, result.run_id) == (Ending.COMPLETE, "Done.", "r")
        assert shop.refunds == [("W1", 20.0)]
        assert seen == [("primary", "1:primary", "read"), ("refund", "1/", "write"), ("primary", "3:primary", "read")]
        assert await process.wake() == []

    simulate(main, limit_s=1000.0)


def test_a_bare_agent_pays_twice_where_a_hardened_one_does_not() -> None:
    async def main() -> None:
        forger = bare_subject(naive, contract(), agent=agent).forger
        struck: list[str] = []

        async def lose(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            answer = await send()
            if site == "refund" and not struck:
                struck.append(site)
                return forger.forge(Fault.CONNECTION, exchange, answer)
            return answer

        shop = Shop()
        subject = bare_subject(naive, contract(), agent=agent)
        await subject.live(surroundings(intercept=lose), models(*REFUND), shop).run("Refund W1")
        assert shop.refunds == [("W1", 20.0), ("W1", 20.0)]

        struck.clear()
        shop = Shop()
        hardened = hardened_subject(harden(agent, contract(), fingerprint="v1", verifiers={"refund": shop.verify}))
        await hardened.live(surroundings(intercept=lose), models(*REFUND), shop).run("Refund W1")
        assert shop.refunds == [("W1", 20.0)]

    simulate(main, limit_s=1000.0)


def test_a_bare_request_is_made_again_after_a_crash_as_a_queue_would() -> None:
    async def main() -> None:
        async def crash(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            answer = await send()
            if site == "refund":
                raise Crash
            return answer

        subject, shop = bare_subject(naive, contract(), agent=agent), Shop()
        with pytest.raises(Crash):
            await subject.live(surroundings(intercept=crash), models(*REFUND), shop).run("Refund W1", run_id="r")
        second = subject.live(surroundings(), models(*REFUND), shop)
        (result,) = await second.wake()
        assert (result.run_id, result.ending) == ("r", Ending.COMPLETE)
        assert shop.refunds == [("W1", 20.0), ("W1", 20.0)]
        assert await second.wake() == []
        assert await subject.live(surroundings(), models(*REFUND), Shop()).wake() == []

    simulate(main, limit_s=1000.0)


def test_a_bare_agent_that_raises_has_failed() -> None:
    async def main() -> None:
        async def fragile(request: str, deps: Shop) -> str:
            return str((await agent.run(request, deps=deps)).output)

        async def reset(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            raise ConnectionResetError("reset")

        subject = bare_subject(fragile, contract(), agent=[agent])
        process = subject.live(surroundings(intercept=reset), models(*REFUND), Shop())
        result = await process.run("Refund W1")
        assert (result.ending, result.reason) == (Ending.FAILED, "ConnectionResetError: reset")
        assert await process.wake() == []

    simulate(main, limit_s=1000.0)


def test_subjects_have_the_gates_shape() -> None:
    one = hardened_subject(harden(agent, contract(), fingerprint="v1"))
    other = bare_subject(naive, contract(), agent=agent)
    for subject in (one, other):
        for name in Subject.__dataclass_fields__:
            assert getattr(subject, name) is not None


def test_synchronous_tools_need_no_thread_in_simulated_time() -> None:
    async def main() -> None:
        threads: list[bool] = []
        synchronous: Agent[Shop, Any] = Agent(deps_type=Shop, name="desk")

        @synchronous.tool
        def refund(ctx: RunContext[Shop], order: str, amount: float) -> str:
            threads.append(asyncio._get_running_loop() is not None)
            return "paid"

        subject = hardened_subject(harden(synchronous, contract(), fingerprint="v1"))
        await subject.live(surroundings(), models(*REFUND), Shop()).run("Refund W1")
        assert threads == [True]

    simulate(main, limit_s=1000.0)


def test_the_inline_executor_hands_errors_to_the_future() -> None:
    def fail() -> None:
        raise ValueError("no")

    future = InlineExecutor().submit(fail)
    with pytest.raises(ValueError, match="no"):
        future.result()
