"""Child runs: another agent in a run of its own, begun once whatever crashes, and honest about how it ended."""

import asyncio
import contextlib
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from plimsoll.contract.model import AgentSection, Limits, Tool
from plimsoll.core.calls import Effect, Ending
from plimsoll.core.errors import CallFailed, Misuse, Rejected, UnknownDependency
from plimsoll.runtime.harness import Harness
from plimsoll.runtime.models import ModelReply
from plimsoll.runtime.run import Run
from plimsoll.runtime.surroundings import Surroundings
from tests.runtime.bench import Crash, CrashingStore, Desk, contract, pass_time, simulated, sure
from tests.runtime.firm import BILLING, Firm, billing, for_ever, front, gives_up, hands_off


def test_a_child_is_a_run_of_its_own_that_knows_its_parent() -> None:
    async def main() -> None:
        firm = Firm()
        result = await firm.live().run({"order": "W1"}, run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, "20 back")
        child = await firm.store.head("r/2:billing")
        assert child is not None
        assert (child.agent, child.ending) == ("billing", Ending.COMPLETE)
        began = await firm.began("r/2:billing")
        assert (began.parent, began.within) == ("r", ("r",))
        assert [row[:2] for row in firm.shop.ledger] == [("W1", 20.0)]

    simulated(main)


@pytest.mark.parametrize("keep", [0, 1, 99])
@pytest.mark.parametrize("at", range(1, 7))
def test_a_crash_at_any_append_never_makes_a_second_child(at: int, keep: int) -> None:
    async def main() -> None:
        firm = Firm()
        store = CrashingStore(firm.store, at=at, keep=keep)
        with pytest.raises(Crash):
            await firm.live(store).run({"order": "W1"}, run_id="r")
        second = firm.live()
        await second.wake()
        result = await second.run({"order": "W1"}, run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, "20 back")
        assert {head.run_id for head in await firm.store.heads() if head.seq} == {"r", "r/2:billing"}
        assert [row[:2] for row in firm.shop.ledger] == [("W1", 20.0)]

    simulated(main)


@pytest.mark.parametrize("at", range(1, 7))
def test_after_a_crash_wake_alone_brings_both_to_their_end(at: int) -> None:
    async def main() -> None:
        firm = Firm()
        with pytest.raises(Crash):
            await firm.live(CrashingStore(firm.store, at=at, keep=99)).run({"order": "W1"}, run_id="r")
        harness = firm.live()
        await harness.wake()
        assert (await harness.result("r")).output == "20 back"
        assert [row[:2] for row in firm.shop.ledger] == [("W1", 20.0)]

    simulated(main)


def test_a_child_that_waits_parks_its_parent_until_it_has_ended() -> None:
    async def main() -> None:
        firm = Firm()
        harness = firm.live()
        result = await harness.run({"order": "W1", "amount": 100}, run_id="r")
        assert (result.ending, result.reason) == (Ending.PARKED, "child: r/2:billing")
        (request,) = result.waiting_for
        assert request.dependency == "refund"
        assert (await harness.result("r")).waiting_for == (request,)
        assert await harness.wake() == [], "nothing has changed"
        await harness.operations.decide(request.request_id, approve=True, by="ana")
        assert [(one.run_id, one.ending) for one in await firm.live().wake()] == [
            ("r/2:billing", Ending.COMPLETE),
            ("r", Ending.COMPLETE),
        ]
        assert (await harness.result("r")).output == "100 back"
        assert [row[:2] for row in firm.shop.ledger] == [("W1", 100.0)]

    simulated(main)


def test_a_parent_is_due_when_its_child_has_ended_in_another_process() -> None:
    async def main() -> None:
        firm = Firm()
        harness = firm.live()
        (request,) = (await harness.run({"order": "W1", "amount": 100}, run_id="r")).waiting_for
        await harness.operations.decide(request.request_id, approve=False, by="ana")
        department = firm.live().children["billing"]
        (child,) = await department.wake()
        assert child.ending is Ending.FAILED
        (result,) = await firm.live().wake()
        assert (result.run_id, result.ending) == ("r", Ending.FAILED)
        assert "denied" in result.reason

    simulated(main)


@pytest.mark.parametrize(
    ("child", "kind", "says"),
    [(gives_up, "RunFailed", "not my job"), (for_ever, "RunHalted", "the same call with the same result")],
)
def test_a_child_that_did_not_complete_is_told_to_its_parent(child: Any, kind: str, says: str) -> None:
    async def main() -> None:
        async def honest(run: Run, request: Any) -> str:
            try:
                return str(await run.child("billing", request))
            except CallFailed as error:
                return f"sorry: {error}"

        firm = Firm(billing=child, front=honest)
        result = await firm.live().run({"order": "W1"}, run_id="r")
        assert result.ending is Ending.COMPLETE
        assert says in result.output
        (settled,) = await firm.settled()
        assert settled.outcome.error is not None
        assert settled.outcome.error.type == kind

    simulated(main)


def test_a_degraded_child_degrades_its_parent() -> None:
    async def main() -> None:
        async def asks(run: Run, request: Any) -> str:
            return (await run.model("?")).text

        async def passes_on(run: Run, request: Any) -> Any:
            return await run.child("billing", request)

        async def down(prompt: Any) -> ModelReply:
            raise ConnectionResetError("down")

        firm = Firm(billing=asks, front=passes_on)
        firm.models = {"primary": down, "backup": sure}
        result = await firm.live().run({"order": "W1"}, run_id="r")
        assert (result.ending, result.output) == (Ending.DEGRADED, "Sure:")
        assert "'billing'" in result.reason

    simulated(main)


def test_a_child_is_not_begun_where_its_parent_may_only_read() -> None:
    async def main() -> None:
        firm = Firm()
        models = {**firm.contract.models}
        models["backup"] = replace(models["backup"], may_write=False)
        firm.contract = replace(firm.contract, models=models)

        async def asks_first(run: Run, request: Any) -> Any:
            await run.model("?")
            with pytest.raises(Rejected, match="may not write"):
                await run.handoff("billing", request)
            with pytest.raises(Rejected, match="may not write"):
                await run.child("billing", request)
            return "asked"

        async def down(prompt: Any) -> ModelReply:
            raise ConnectionResetError("down")

        firm.models = {"primary": down, "backup": sure}
        firm.agent = asks_first
        assert (await firm.live().run({"order": "W1"}, run_id="r")).ending is Ending.DEGRADED
        assert [head.run_id for head in await firm.store.heads()] == ["r"]

    simulated(main)


@pytest.mark.parametrize("keep", [0, 1, 99])
@pytest.mark.parametrize("at", range(1, 7))
def test_a_handoff_ends_as_the_child_does_whatever_crashes(at: int, keep: int) -> None:
    async def main() -> None:
        firm = Firm(front=hands_off)
        with pytest.raises(Crash):
            await firm.live(CrashingStore(firm.store, at=at, keep=keep)).run({"order": "W1"}, run_id="r")
        harness = firm.live()
        await harness.wake()
        result = await harness.run({"order": "W1"}, run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, {"refunded": 20.0})
        assert len(firm.shop.ledger) == 1

    simulated(main)


@pytest.mark.parametrize(
    ("child", "ending", "reason"),
    [(gives_up, Ending.FAILED, "Refused: not my job"), (for_ever, Ending.HALTED, "the same call with the same result")],
)
def test_a_handoff_passes_on_a_bad_ending_and_its_reason(child: Any, ending: Ending, reason: str) -> None:
    async def main() -> None:
        result = await Firm(front=hands_off, billing=child).live().run({"order": "W1"}, run_id="r")
        assert result.ending is ending
        assert reason in result.reason

    simulated(main)


def test_after_a_handoff_the_parent_does_nothing_more() -> None:
    async def main() -> None:
        async def stubborn(run: Run, request: Any) -> Any:
            try:
                await run.handoff("billing", request)
            except BaseException:
                await run.call("refund", {"order": "W2", "amount": 1.0})

        firm = Firm(front=stubborn)
        result = await firm.live().run({"order": "W1"}, run_id="r")
        assert result.output == {"refunded": 20.0}
        assert [row[0] for row in firm.shop.ledger] == ["W1"]

    simulated(main)


async def shares_out(run: Run, request: Any) -> Any:
    """Three children beside each other, and one more after the second."""

    async def second() -> float:
        done = await run.child("billing", {"order": "B"})
        again = await run.child("billing", {"order": "C", "amount": 7})
        return float(done["refunded"] + again["refunded"])

    first, others = await asyncio.gather(run.child("billing", {"order": "A"}), second())
    return first["refunded"] + others


@pytest.mark.parametrize("keep", [0, 1, 99])
@pytest.mark.parametrize("at", range(1, 13))
def test_parallel_children_keep_their_keys_whatever_crashes(at: int, keep: int) -> None:
    async def main() -> None:
        firm = Firm(front=shares_out, billing=slowly)
        with pytest.raises((Crash, BaseExceptionGroup)):
            await firm.live(CrashingStore(firm.store, at=at, keep=keep)).run({"order": "W1"}, run_id="r")
        harness = firm.live()
        await harness.wake()
        result = await harness.run({"order": "W1"}, run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, 47.0)
        assert sorted(row[:2] for row in firm.shop.ledger) == [("A", 20.0), ("B", 20.0), ("C", 7.0)]
        assert len([head for head in await firm.store.heads() if head.seq]) == 4

    simulated(main)


async def slowly(run: Run, request: dict[str, Any]) -> Any:
    await pass_time({"A": 3.0, "B": 1.0, "C": 0.5}[request["order"]])
    return await billing(run, request)


def test_children_beside_one_that_waits_come_to_rest_before_the_run_parks() -> None:
    async def main() -> None:
        async def two(run: Run, request: Any) -> Any:
            return await asyncio.gather(
                run.child("billing", {"order": "A", "amount": 100}), run.child("billing", {"order": "B"})
            )

        async def takes_long(run: Run, request: dict[str, Any]) -> Any:
            if request["order"] == "B":
                await pass_time(30.0)  # longer than the grace of calls under way
            return await billing(run, request)

        firm = Firm(front=two, billing=takes_long)
        harness = firm.live()
        result = await harness.run({}, run_id="r")
        assert result.reason == "child: r/1:billing"
        assert len(result.waiting_for) == 1
        assert [row[0] for row in firm.shop.ledger] == ["B"]
        await harness.operations.decide(result.waiting_for[0].request_id, approve=True, by="bo")
        await firm.live().wake()
        assert (await harness.result("r")).output == [{"refunded": 100.0}, {"refunded": 20.0}]
        assert "recovered_after_crash" not in [kind for kind, _, _ in firm.kinds()]

    simulated(main)


def test_two_children_that_wait_are_both_told_of() -> None:
    async def main() -> None:
        async def two(run: Run, request: Any) -> Any:
            return await asyncio.gather(
                run.child("billing", {"order": "A", "amount": 100}), run.child("billing", {"order": "B", "amount": 200})
            )

        firm = Firm(front=two)
        harness = firm.live()
        result = await harness.run({}, run_id="r")
        assert sorted(request.args["order"] for request in result.waiting_for) == ["A", "B"]
        for request in result.waiting_for:
            await harness.operations.decide(request.request_id, approve=True, by="ana")
        await firm.live().wake()
        assert (await harness.result("r")).ending is Ending.COMPLETE
        assert sorted(row[0] for row in firm.shop.ledger) == ["A", "B"]

    simulated(main)


def test_a_child_that_no_longer_replays_holds_its_parent_and_raises_nothing_there() -> None:
    async def main() -> None:
        async def looks_first(run: Run, request: Any) -> Any:
            await run.call("look", {"order": "W1"})
            return await billing(run, request)

        async def other_code(run: Run, request: Any) -> Any:
            return await run.call("look", {"order": "W2"})

        firm = Firm(billing=looks_first)
        harness = firm.live()
        (request,) = (await harness.run({"order": "W1", "amount": 100}, run_id="r")).waiting_for
        await harness.operations.decide(request.request_id, approve=True, by="ana")

        firm.billing = other_code
        result = await firm.live().run({"order": "W1", "amount": 100}, run_id="r")
        assert (result.ending, result.reason) == (Ending.PARKED, "child: r/2:billing")
        assert firm.shop.ledger == []

    simulated(main)


def test_a_grandchild_knows_whom_it_is_part_of() -> None:
    async def main() -> None:
        firm = Firm()

        async def clerk(run: Run, request: Any) -> Any:
            return await run.call("refund", {"order": request["order"], "amount": 1.0})

        async def delegates(run: Run, request: Any) -> Any:
            return await run.child("clerk", request)

        def department(*, surroundings: Surroundings) -> Harness:
            desk = partial(
                Harness, contract(agent=AgentSection(name="clerk")), agent=clerk, tools=firm.tools, fingerprint="c1"
            )
            return Harness(
                BILLING, agent=delegates, surroundings=surroundings, children={"clerk": desk}, fingerprint="b1"
            )

        async def front(run: Run, request: Any) -> Any:
            return await run.child("billing", request, key="money")

        harness = Harness(
            firm.contract,
            agent=front,
            surroundings=firm.surroundings(),
            children={"billing": department},
            fingerprint="v1",
        )
        assert (await harness.run({"order": "W1"}, run_id="r")).output == {"refunded": 1.0}
        began = await firm.began("r/money/1:clerk")
        assert (began.parent, began.within) == ("r/money", ("r", "r/money"))
        await harness.close()

    simulated(main)


def test_what_a_child_did_its_parent_may_claim() -> None:
    async def main() -> None:
        claims = Tool(effect=Effect.WRITE, claims=("back",))
        assert (await Firm(tools={"refund": claims}).live().run({"order": "W1"}, run_id="r")).ending is Ending.COMPLETE

        async def lazy(run: Run, request: Any) -> Any:
            return {"refunded": 20.0}

        idle = Firm(billing=lazy, tools={"refund": claims})
        assert (await idle.live().run({"order": "W1"}, run_id="r")).ending is Ending.HALTED

    simulated(main)


def test_children_are_over_the_same_store_and_known_by_name() -> None:
    async def main() -> None:
        firm = Firm()
        elsewhere = Desk().live()
        with pytest.raises(Misuse, match="another store"):
            Harness(firm.contract, agent=front, surroundings=firm.surroundings(), children={"billing": elsewhere})

        async def wrong(run: Run, request: Any) -> Any:
            with pytest.raises(UnknownDependency, match="registered: billing"):
                await run.child("biling", request)
            with pytest.raises(Misuse, match="JSON"):
                await run.child("billing", {"order": object()})
            return "ok"

        firm.agent = wrong
        assert (await firm.live().run({})).output == "ok"

    simulated(main)


def test_a_harness_that_is_given_as_a_child_is_not_closed_with_its_parent() -> None:
    async def main() -> None:
        firm = Firm()
        surroundings = firm.surroundings()
        department = Harness(BILLING, agent=billing, surroundings=surroundings, tools=firm.tools, fingerprint="b1")
        async with Harness(
            firm.contract, agent=front, surroundings=surroundings, tools=firm.tools, children={"billing": department}
        ) as harness:
            assert (await harness.run({"order": "W1"}, run_id="r")).output == "20 back"
        assert (await department.run({"order": "W2"}, run_id="s")).output == {"refunded": 20.0}

    simulated(main)


def test_a_run_that_is_nobodys_child_is_not_taken_for_one() -> None:
    async def main() -> None:
        firm = Firm()
        harness = firm.live()
        await harness.children["billing"].run({"order": "X"}, run_id="r/2:billing")
        result = await harness.run({"order": "W1"}, run_id="r")
        assert result.ending is Ending.FAILED
        assert "no child of" in result.reason
        assert [row[0] for row in firm.shop.ledger] == ["X"]

    simulated(main)


@st.composite
def families(draw: st.DrawFn) -> list[dict[str, Any]]:
    """What the children of a run are asked: how long each takes, whether a person must approve, how often it goes on
    as new."""
    return [
        {
            "order": f"W{number}",
            "amount": draw(st.sampled_from([20.0, 100.0])),
            "takes_s": draw(st.sampled_from([0.0, 1.0, 7.0])),
            "rounds": draw(st.integers(0, 2)),
        }
        for number in range(draw(st.integers(1, 4)))
    ]


@settings(max_examples=120, deadline=None)
@given(families(), st.lists(st.tuples(st.integers(1, 14), st.integers(0, 2)), max_size=5), st.booleans())
def test_any_family_over_any_crashes_does_each_thing_once(
    asked: list[dict[str, Any]], crashes: list[tuple[int, int]], only_wake: bool
) -> None:
    """Children beside each other that wait, take long, and continue as new, in processes that die at any write."""

    async def worker(run: Run, request: dict[str, Any]) -> Any:
        await pass_time(request["takes_s"])
        if request["rounds"]:
            await run.continue_as_new({**request, "rounds": request["rounds"] - 1})
        return (await billing(run, request))["refunded"]

    async def shares(run: Run, request: list[dict[str, Any]]) -> Any:
        return await asyncio.gather(*(run.child("billing", one) for one in request))

    async def main() -> None:
        patient = Limits(seconds=10_000.0)  # what is no call takes its time again on every replay
        firm = Firm(front=shares, billing=worker, limits=patient, terms=replace(BILLING, limits=patient))
        begun = False
        for at, keep in crashes:
            harness = firm.live(CrashingStore(firm.store, at=at, keep=keep))
            with contextlib.suppress(Crash):
                await harness.wake()
                if not (begun and only_wake):
                    await harness.run(asked, run_id="r")
            begun = await firm.store.head("r") is not None and bool(await firm.store.read("r"))
            await approve_all(harness)
        for _ in range(2 + len(asked)):
            harness = firm.live()
            await harness.wake()
            await approve_all(harness)
            await harness.run(asked, run_id="r")
        result = await firm.live().result("r")
        assert (result.ending, result.output) == (Ending.COMPLETE, [one["amount"] for one in asked])
        assert sorted(row[0] for row in firm.shop.ledger) == [one["order"] for one in asked]
        runs = [head.run_id for head in await firm.store.heads() if head.seq]
        assert len(runs) == 1 + sum(1 + one["rounds"] for one in asked)

    async def approve_all(harness: Harness) -> None:
        for request in await harness.operations.requests():
            await harness.operations.decide(request.asked.request_id, approve=True, by="ana")

    simulated(main)
