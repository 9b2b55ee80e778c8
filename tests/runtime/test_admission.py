"""Circuit breaker, rate limit and bulkhead around a run's attempts, shared by all runs."""

import asyncio
from typing import Any

from plimsoll.contract.model import (
    AgentSection,
    BulkheadSection,
    CircuitBreakerSection,
    HedgeSection,
    Limits,
    Mode,
    Model,
    Protections,
    RateLimitSection,
    Retry,
    Tool,
)
from plimsoll.core.calls import CallInfo, Effect, Ending, Fault
from plimsoll.core.criticality import Criticality, criticality
from plimsoll.core.events import AttemptSettled, CallSettled, RunStarted
from plimsoll.policies.circuit_breaker import CircuitState
from plimsoll.runtime.exchange import Exchange, Send
from plimsoll.runtime.run import Run
from tests.runtime.bench import ON, Desk, contract, pass_time, simulated
from tests.runtime.firm import Firm

BREAKER = CircuitBreakerSection(min_calls=2, open_s=30.0)


def models(**primary: Any) -> dict[str, Model]:
    return {"primary": Model(fallback=("backup",), **primary), "backup": Model()}


class Line:
    """The way to a dependency: down or up, slow or quick, and what went over it."""

    def __init__(self, site: str) -> None:
        self.site = site
        self.error: Exception | None = None
        self.takes_s = 0.0
        self.sent: list[tuple[str, float]] = []
        self.now = 0
        self.most = 0

    async def intercept(self, at: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
        if at != self.site:
            return await send()
        self.sent.append((info.run_id, asyncio.get_running_loop().time()))
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await pass_time(self.takes_s)
            if self.error is not None:
                raise self.error
            return await send()
        finally:
            self.now -= 1


async def asks(run: Run, request: Any) -> str:
    return (await run.model(request)).text


async def faults(desk: Desk, run_id: str) -> list[str]:
    events = [record.event for record in await desk.store.read(run_id)]
    return [event.fault for event in events if isinstance(event, AttemptSettled)]


def test_a_model_that_fails_is_not_asked_any_more_until_it_is_back() -> None:
    async def main() -> None:
        line = Line("primary")
        desk = Desk(intercept=line.intercept, models=models(circuit_breaker=BREAKER))
        desk.agent = asks
        harness = desk.live()
        line.error = ConnectionResetError("gone")
        for number in range(4):
            result = await harness.run("hi", run_id=f"r{number}")
            assert result.ending is Ending.DEGRADED, result
        assert [run for run, _ in line.sent] == ["r0", "r1"]
        assert await faults(desk, "r1") == [Fault.CONNECTION]
        assert await faults(desk, "r2") == [Fault.CIRCUIT_OPEN]
        assert desk.kinds().count(("circuit_open", "primary", "circuit_open")) == 1
        assert ("not_asked", "primary", "circuit_open") in desk.kinds()

        line.error = None
        await pass_time(31.0)
        result = await harness.run("hi", run_id="back")
        assert result.ending is Ending.COMPLETE
        assert line.sent[-1][0] == "back"
        assert harness.env.admissions["primary"].circuit is not None
        assert harness.env.admissions["primary"].circuit.state is CircuitState.CLOSED
        assert ("circuit_closed", "primary", "circuit_open") in desk.kinds()

    simulated(main)


def test_slow_answers_open_it_too() -> None:
    async def main() -> None:
        line = Line("primary")
        line.takes_s = 6.0
        desk = Desk(intercept=line.intercept, models=models(circuit_breaker=BREAKER, slow_s=5.0))
        desk.agent = asks
        harness = desk.live()
        endings = [(await harness.run("hi")).ending for _ in range(3)]
        assert endings == [Ending.COMPLETE, Ending.COMPLETE, Ending.DEGRADED]

    simulated(main)


def test_a_refusal_of_its_trade_opens_nothing() -> None:
    async def main() -> None:
        tool = Tool(effect=Effect.WRITE, circuit_breaker=BREAKER, proves_nothing_happened=("Refusal",))
        desk = Desk(tools={"refund": tool})
        harness = desk.live()
        for _ in range(4):
            result = await harness.run({"order": "W1", "amount": -1.0})
            assert "an amount is above 0" in result.output
        assert harness.env.admissions["refund"].circuit is not None
        assert harness.env.admissions["refund"].circuit.state is CircuitState.CLOSED

    simulated(main)


def test_a_write_that_is_not_let_through_did_not_happen_and_nobody_doubts_it() -> None:
    async def main() -> None:
        tool = Tool(effect=Effect.WRITE, circuit_breaker=BREAKER)
        desk = Desk(verify=False, tools={"refund": tool})
        harness = desk.live()
        circuit = harness.env.admissions["refund"].circuit
        assert circuit is not None
        circuit.isolate()
        result = await harness.run({"order": "W1"}, run_id="r")
        assert (result.ending, desk.shop.ledger) == (Ending.COMPLETE, [])
        assert result.output.startswith("not done")
        assert not [kind for kind, _, _ in desk.kinds() if kind.startswith("in_doubt")]

        circuit.restore()
        result = await harness.run({"order": "W1"}, run_id="again")
        assert len(desk.shop.ledger) == 1

    simulated(main)


def test_what_was_not_sent_says_nothing_of_what_was() -> None:
    """The first attempt may have happened; that the second was not let through makes that no less so."""

    async def main() -> None:
        line = Line("refund")
        tool = Tool(
            effect=Effect.IDEMPOTENT,
            retry=Retry(on=ON, max_attempts=3),
            circuit_breaker=CircuitBreakerSection(min_calls=1),
        )
        desk = Desk(verify=False, intercept=line.intercept, tools={"refund": tool})
        line.error = ConnectionResetError("gone")
        result = await desk.live().run({"order": "W1"}, run_id="r")
        assert len(line.sent) == 1
        assert (result.ending, result.reason) == (Ending.PARKED, "doubt: 3:refund")
        assert await faults(desk, "r") == [Fault.CONNECTION, Fault.CIRCUIT_OPEN]

    simulated(main)


def test_no_more_than_so_many_are_under_way_over_all_runs() -> None:
    async def main() -> None:
        line = Line("primary")
        line.takes_s = 1.0
        bulkhead = BulkheadSection(max_concurrent=2, max_queue=3, max_wait_s=60.0)
        desk = Desk(intercept=line.intercept, models=models(bulkhead=bulkhead))
        desk.agent = asks
        harness = desk.live()
        results = await asyncio.gather(*(harness.run("hi") for _ in range(7)))
        assert line.most == 2
        assert [result.ending for result in results].count(Ending.DEGRADED) == 2  # shed, and answered by the backup
        assert len(line.sent) == 5

    simulated(main)


def test_the_least_critical_is_shed() -> None:
    async def main() -> None:
        line = Line("primary")
        line.takes_s = 1.0
        bulkhead = BulkheadSection(max_concurrent=1, max_queue=1, max_wait_s=60.0)
        desk = Desk(intercept=line.intercept, models=models(bulkhead=bulkhead))
        desk.agent = asks
        harness = desk.live()
        first = asyncio.create_task(harness.run("hi", run_id="first"))
        await pass_time(0.1)
        with criticality(Criticality.SHEDDABLE):
            idle = asyncio.create_task(harness.run("hi", run_id="idle"))
        await pass_time(0.1)
        with criticality(Criticality.CRITICAL):
            urgent = asyncio.create_task(harness.run("hi", run_id="urgent"))
        assert [(await task).ending for task in (first, idle, urgent)] == [
            Ending.COMPLETE,
            Ending.DEGRADED,
            Ending.COMPLETE,
        ]
        assert await faults(desk, "idle") == [Fault.SHED]

    simulated(main)


def test_a_run_keeps_its_criticality_wherever_it_goes_on() -> None:
    async def main() -> None:
        desk = Desk()
        with criticality(Criticality.CRITICAL):
            result = await desk.live().run({"order": "W1", "amount": 80.0}, run_id="r")  # parks for an approval
        assert result.ending is Ending.PARKED
        started = (await desk.store.read("r"))[0].event
        assert isinstance(started, RunStarted)
        assert started.criticality is Criticality.CRITICAL

    simulated(main)


def test_what_would_pass_the_rate_is_held_back() -> None:
    async def main() -> None:
        line = Line("primary")
        limit = RateLimitSection(calls_per_minute=60, burst_s=0.0, max_wait_s=5.0)
        desk = Desk(intercept=line.intercept, models=models(rate_limit=limit))
        desk.agent = asks
        harness = desk.live()
        results = await asyncio.gather(*(harness.run("hi") for _ in range(3)))
        assert [result.ending for result in results] == [Ending.COMPLETE] * 3
        assert [round(at) for _, at in line.sent] == [0, 1, 2]

    simulated(main)


def test_what_would_be_held_back_too_long_goes_down_the_ladder_at_once() -> None:
    async def main() -> None:
        line = Line("primary")
        limit = RateLimitSection(calls_per_minute=2, burst_s=0.0, max_wait_s=5.0)
        desk = Desk(intercept=line.intercept, models=models(rate_limit=limit))
        desk.agent = asks
        harness = desk.live()
        await harness.run("hi", run_id="first")
        result = await harness.run("hi", run_id="second")
        assert result.ending is Ending.DEGRADED
        assert asyncio.get_running_loop().time() < 1.0
        assert await faults(desk, "second") == [Fault.THROTTLED]

    simulated(main)


def test_waiting_for_its_turn_is_not_the_attempts_time() -> None:
    async def main() -> None:
        line = Line("primary")
        line.takes_s = 4.0
        bulkhead = BulkheadSection(max_concurrent=1, max_queue=5, max_wait_s=60.0)
        desk = Desk(intercept=line.intercept, models=models(bulkhead=bulkhead, timeout_s=5.0))
        desk.agent = asks
        harness = desk.live()
        results = await asyncio.gather(*(harness.run("hi") for _ in range(3)))
        assert [result.ending for result in results] == [Ending.COMPLETE] * 3

    simulated(main)


def test_nobody_waits_in_a_queue_for_the_time_of_the_rungs_below() -> None:
    async def main() -> None:
        bulkhead = BulkheadSection(max_concurrent=1, max_queue=5, max_wait_s=600.0)
        desk = Desk(models=models(bulkhead=bulkhead), limits=Limits(seconds=30.0))
        desk.agent = asks
        harness = desk.live()
        compartment = harness.env.admissions["primary"].compartment
        assert compartment is not None
        await compartment.enter()  # and never leaves
        result = await harness.run("hi", run_id="r")
        assert result.ending is Ending.DEGRADED
        assert asyncio.get_running_loop().time() == 15.0  # half of the backup's timeout is kept for it
        assert await faults(desk, "r") == [Fault.SHED]

    simulated(main)


def test_a_run_that_is_stopped_in_a_queue_leaves_it() -> None:
    async def main() -> None:
        line = Line("primary")
        line.takes_s = 10.0
        bulkhead = BulkheadSection(max_concurrent=1, max_queue=5, max_wait_s=60.0)
        desk = Desk(intercept=line.intercept, models=models(bulkhead=bulkhead))
        desk.agent = asks
        harness = desk.live()
        first = asyncio.create_task(harness.run("hi"))
        await pass_time(0.1)
        waits = asyncio.create_task(harness.run("hi"))
        await pass_time(0.1)
        compartment = harness.env.admissions["primary"].compartment
        assert compartment is not None
        assert (compartment.inside, compartment.waiting) == (1, 1)
        waits.cancel()
        await asyncio.wait([waits])
        assert (compartment.inside, compartment.waiting) == (1, 0)
        await first
        assert compartment.inside == 0

    simulated(main)


def test_an_isolation_is_heeded_after_the_wait() -> None:
    """What waited for its turn was sent once more, although an operator had isolated the dependency meanwhile."""

    async def main() -> None:
        line = Line("primary")
        line.takes_s = 10.0
        bulkhead = BulkheadSection(max_concurrent=1, max_queue=5, max_wait_s=60.0)
        desk = Desk(intercept=line.intercept, models=models(bulkhead=bulkhead, circuit_breaker=BREAKER))
        desk.agent = asks
        harness = desk.live()
        first = asyncio.create_task(harness.run("hi", run_id="first"))
        await pass_time(0.1)
        waits = asyncio.create_task(harness.run("hi", run_id="waits"))
        await pass_time(0.1)
        await harness.operations.isolate("primary", agent="desk", by="ana", reason="nonsense")
        assert (await waits).ending is Ending.DEGRADED
        assert [run for run, _ in line.sent] == ["first"]
        assert await faults(desk, "waits") == [Fault.CIRCUIT_OPEN]
        await first
        admission = harness.env.admissions["primary"]
        assert admission.compartment is not None and admission.compartment.inside == 0
        assert admission.circuit is not None and admission.circuit.state is CircuitState.ISOLATED

    simulated(main)


def test_what_is_refused_is_reported_as_it_stands_and_not_only_when_the_run_ends() -> None:
    """A dependency that an operator had isolated stood in the status as closed, as long as nothing else was asked."""
    seen: list[Any] = []

    async def main() -> None:
        desk = Desk(models=models(circuit_breaker=BREAKER))
        harness = desk.live()

        async def asks_twice(run: Run, request: Any) -> str:
            await run.model("hi")
            await harness.operations.isolate("primary", agent="desk", by="ana", reason="nonsense")
            await run.model("hi again")
            seen.extend(each for status in harness.operations.statuses() for each in status.dependencies)
            return "done"

        harness.agent = asks_twice
        assert (await harness.run("hi")).ending is Ending.DEGRADED

    simulated(main)
    assert [each.circuit for each in seen if each.name == "primary"] == [CircuitState.ISOLATED]


def test_an_agent_and_those_that_work_for_it_are_all_reported() -> None:
    """They are one process to the store: each took the place of what the other had said."""

    async def main() -> None:
        guarded = {"look": Tool(effect=Effect.READ, circuit_breaker=BREAKER)}
        paying = {"refund": Tool(circuit_breaker=BREAKER)}
        firm = Firm(tools=guarded, terms=contract(agent=AgentSection(name="billing"), tools=paying))
        harness = firm.live()
        assert (await harness.run({"order": "W1"})).ending is Ending.COMPLETE
        said = {status.agent: [each.name for each in status.dependencies] for status in harness.operations.statuses()}
        assert {agent: names[0] for agent, names in said.items()} == {"billing": "refund", "desk": "look"}

    simulated(main)


def test_what_is_only_hedged_is_reported_while_it_works() -> None:
    seen: list[Any] = []

    async def main() -> None:
        desk = Desk(models={"primary": Model(hedge=HedgeSection())})
        harness = desk.live()

        async def asks_again_and_again(run: Run, request: Any) -> str:
            for number in range(3):
                await run.model(f"hi {number}")
                await pass_time(3.0)
            seen.extend(each for status in harness.operations.statuses() for each in status.dependencies)
            return "done"

        harness.agent = asks_again_and_again
        assert (await harness.run("hi")).ending is Ending.COMPLETE

    simulated(main)
    assert [each.hedged_share for each in seen if each.name == "primary"] == [0.0]


def test_a_kill_switch_is_heeded_after_the_wait() -> None:
    async def main() -> None:
        line = Line("primary")
        line.takes_s = 10.0
        bulkhead = BulkheadSection(max_concurrent=1, max_queue=5, max_wait_s=60.0)
        desk = Desk(intercept=line.intercept, models=models(bulkhead=bulkhead))
        desk.agent = asks
        harness = desk.live()
        first = asyncio.create_task(harness.run("hi", run_id="first"))
        await pass_time(0.1)
        waits = asyncio.create_task(harness.run("hi", run_id="waits"))
        await pass_time(0.1)
        await harness.operations.kill(scope="waits", by="ana", reason="enough")
        assert (await waits).ending is Ending.HALTED
        assert [run for run, _ in line.sent] == ["first"]
        await first
        compartment = harness.env.admissions["primary"].compartment
        assert compartment is not None and compartment.inside == 0

    simulated(main)


def test_protections_that_only_observe_tell_what_they_would_have_done() -> None:
    async def main() -> None:
        line = Line("primary")
        line.takes_s = 0.5
        observed = Protections(circuit_breaker=Mode.OBSERVE, bulkhead=Mode.OBSERVE, rate_limit=Mode.OBSERVE)
        desk = Desk(
            intercept=line.intercept,
            protections=observed,
            models=models(
                circuit_breaker=BREAKER,
                bulkhead=BulkheadSection(max_concurrent=1),
                rate_limit=RateLimitSection(calls_per_minute=2, burst_s=0.0),
            ),
        )
        desk.agent = asks
        harness = desk.live()
        line.error = ConnectionResetError("gone")
        await asyncio.gather(*(harness.run("hi") for _ in range(3)))
        await harness.run("hi")
        assert len(line.sent) == 4
        kinds = {kind for kind, dependency, _ in desk.kinds() if dependency == "primary"}
        assert {"would_open_circuit", "would_shed", "would_throttle"} <= kinds

    simulated(main)


def test_a_replay_asks_no_protection() -> None:
    async def main() -> None:
        desk = Desk(models=models(circuit_breaker=BREAKER, bulkhead=BulkheadSection(max_concurrent=1)))
        parked = await desk.live().run({"order": "W1", "amount": 80.0}, run_id="r")
        harness = desk.live()
        circuit = harness.env.admissions["primary"].circuit
        assert circuit is not None
        circuit.isolate()
        await harness.operations.decide(parked.waiting_for[0].request_id, approve=True, by="ana")
        result = await harness.resume("r")
        assert result.ending is Ending.COMPLETE
        settled = [record.event for record in await desk.store.read("r") if isinstance(record.event, CallSettled)]
        assert [event.dependency for event in settled] == ["look", "primary", "refund"]

    simulated(main)
