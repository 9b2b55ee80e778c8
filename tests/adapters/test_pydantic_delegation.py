"""Pydantic AI agents that have others do a part of the work, or hand the run over to them."""

from typing import Any

import pytest
from pydantic_ai import Agent
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.models.test import TestModel

from plimsoll.adapters.pydantic_ai import HardenedAgent, harden, hardened_subject
from plimsoll.contract.model import AgentSection, Contract, Limits, Model
from plimsoll.core.calls import CallKind, Ending
from plimsoll.core.errors import Misuse
from plimsoll.core.events import CallSettled
from plimsoll.learning.local import LocalCall, LocalReply
from tests.adapters.bench import Desk, Shop, call, contract, scripted, shop_agent, simulated, tool_results
from tests.runtime.bench import Crash, CrashingStore

BILLING = contract(agent=AgentSection(name="billing"))


class Firm(Desk):
    """A front desk that may only ask billing, or hand over to it."""

    def __init__(self, *steps: Any, billing: tuple[Any, ...], handoff: bool = False, terms: Contract = BILLING) -> None:
        agent: Agent[Shop, Any] = Agent(deps_type=Shop, name="front")
        super().__init__(*steps, agent=agent)
        self.billing = {"primary": scripted(*billing), "backup": scripted("The backup says so.")}
        self.handoff = handoff
        self.terms = terms

    def live(self, store: Any = None) -> HardenedAgent:
        bare = super().live(store)
        surroundings = bare._surroundings
        billing = harden(
            shop_agent(description="Pays money back."),
            self.terms,
            deps=lambda: self.shop,
            models=self.billing,
            verifiers={"refund": self.shop.verify},
            fingerprint="b1",
        )
        return harden(
            self.agent,
            self.contract,
            deps=lambda: self.shop,
            models=self.models,
            surroundings=surroundings,
            fingerprint="v1",
            **{"handoffs" if self.handoff else "children": {"billing": billing}},
        )


def refunds(order: str = "W1", amount: float = 20.0) -> tuple[Any, ...]:
    return ([call("refund", "b1", order=order, amount=amount)], f"{amount:g} went back for {order}.")


def test_a_model_has_another_agent_do_a_part_of_the_work() -> None:
    async def main() -> None:
        firm = Firm([call("billing", "c1", request="Refund W1.")], "Done.", billing=refunds())
        result = await firm.live().run("My lamp is broken.", run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, "Done.")
        (told,) = tool_results(result.native.all_messages())
        assert told.content == "20 went back for W1."
        child = await firm.store.head("r/1.c1")
        assert (child.agent, child.parent, child.ending) == ("billing", "r", Ending.COMPLETE)
        assert firm.shop.refunds == [("W1", 20.0)]

    simulated(main)


def test_the_model_is_told_what_it_may_ask() -> None:
    async def main() -> None:
        firm = Firm("Hello.", billing=refunds())
        model = TestModel(call_tools=[])
        firm.models["primary"] = model
        await firm.live().run("Hello?", run_id="r")
        assert model.last_model_request_parameters is not None
        (tool,) = model.last_model_request_parameters.function_tools
        assert tool.name == "billing"
        assert tool.description == "Asks billing and returns its answer. Pays money back."
        assert list(tool.parameters_json_schema["properties"]) == ["request"]
        assert tool.parameters_json_schema["properties"]["request"]["description"].startswith("What it has to do")

    simulated(main)


@pytest.mark.parametrize("keep", [0, 1, 99])
@pytest.mark.parametrize("at", range(1, 7))
@pytest.mark.parametrize("handoff", [False, True])
def test_a_crash_at_any_append_never_asks_twice(at: int, keep: int, handoff: bool) -> None:
    async def main() -> None:
        firm = Firm([call("billing", "c1", request="Refund W1.")], "Done.", billing=refunds(), handoff=handoff)
        with pytest.raises(Crash):
            await firm.live(CrashingStore(firm.store, at=at, keep=keep)).run("Broken.", run_id="r")
        second = firm.live()
        await second.wake()
        result = await second.run("Broken.", run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, "20 went back for W1." if handoff else "Done.")
        assert {head.run_id for head in await firm.store.heads() if head.seq} == {"r", "r/1.c1"}
        assert firm.shop.refunds == [("W1", 20.0)]

    simulated(main)


@pytest.mark.parametrize("handoff", [False, True])
def test_a_child_that_waits_parks_the_run_and_its_siblings_settle(handoff: bool) -> None:
    async def main() -> None:
        firm = Firm(
            [call("billing", "c1", request="Refund W1.")], "Done.", billing=refunds(amount=100), handoff=handoff
        )
        result = await firm.live().run("Broken.", run_id="r")
        assert (result.ending, result.reason) == (Ending.PARKED, "child: r/1.c1")
        (request,) = result.waiting_for
        second = firm.live()
        await second.approvals.decide(request.request_id, approve=True, by="ana")
        assert [one.run_id for one in await second.wake()] == ["r/1.c1", "r"]
        assert (await second.operations.result("r")).ending is Ending.COMPLETE
        assert firm.shop.refunds == [("W1", 100.0)]

    simulated(main)


def test_children_beside_each_other() -> None:
    async def main() -> None:
        asked = [call("billing", f"c{number}", request="Refund W1.") for number in (1, 2)]
        firm = Firm(asked, "Done.", billing=refunds(amount=100))
        result = await firm.live().run("Broken, both.", run_id="r")
        assert sorted(request.request_id for request in result.waiting_for) == ["r/1.c1.a1", "r/1.c2.a1"]
        second = firm.live()
        for request in result.waiting_for:
            await second.approvals.decide(request.request_id, approve=True, by="ana")
        await second.wake()
        assert (await second.operations.result("r")).ending is Ending.COMPLETE
        assert len(firm.shop.refunds) == 2

    simulated(main)


def test_a_handoff_ends_the_run_as_the_other_ended_and_calls_nothing_more() -> None:
    async def main() -> None:
        asked = [call("billing", f"c{number}", request="Refund W1.") for number in (1, 2)]
        firm = Firm(asked, "never said", billing=refunds(), handoff=True)
        result = await firm.live().run("Broken.", run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, "20 went back for W1.")
        assert firm.shop.refunds == [("W1", 20.0)], "only one of them took over"
        (settled,) = [event for event in await firm.events(CallSettled) if event.kind is CallKind.RUN]
        assert settled.outcome.ok

    simulated(main)


@pytest.mark.parametrize("handoff", [False, True])
def test_a_child_that_is_halted_is_told_to_the_model_or_ends_the_run(handoff: bool) -> None:
    async def main() -> None:
        hasty = contract(agent=AgentSection(name="billing"), limits=Limits(steps=1))
        asks = [call("billing", "c1", request="Refund W1.")]
        firm = Firm(asks, "Sorry.", billing=refunds(), handoff=handoff, terms=hasty)
        result = await firm.live().run("Broken.", run_id="r")
        assert firm.shop.refunds == []
        if handoff:
            assert result.ending is Ending.HALTED
            assert "limit 'steps'" in result.reason
            return
        assert (result.ending, result.output) == (Ending.COMPLETE, "Sorry.")
        (told,) = tool_results(result.native.all_messages())
        assert "billing failed" in str(told.content)
        assert "limit 'steps'" in str(told.content)

    simulated(main)


def test_a_name_is_given_once_and_kin_are_part_of_the_version() -> None:
    front: Agent[None, str] = Agent(TestModel(), name="front")
    billing = harden(shop_agent(), BILLING, models={"primary": TestModel()})
    other = harden(shop_agent(), BILLING, models={"primary": TestModel()}, fingerprint="other")
    with pytest.raises(Misuse, match="as a child and as a handoff: billing"):
        harden(front, contract(), children={"billing": billing}, handoffs={"billing": billing})
    prints = {
        harden(front, contract(), **kin).fingerprint  # type: ignore[arg-type]
        for kin in ({}, {"children": {"billing": billing}}, {"children": {"billing": other}})
    }
    assert len(prints) == 3


def test_stand_ins_reach_the_children() -> None:
    async def main() -> None:
        firm = Firm([call("billing", "c1", request="Refund W1.")], "Done.", billing=("never asked",))
        hardened = firm.live()
        models = {
            "primary": scripted([call("billing", "c1", request="?")], "Done."),
            "billing.primary": scripted("Ah."),
        }
        assert hardened._surroundings is not None
        harness = hardened.process(hardened._surroundings, models=models, deps=firm.shop)
        assert (await harness.run("Hello", run_id="s")).output == "Done."
        assert (await harness.result("s/1.c1")).output == "Ah."
        subject = hardened_subject(hardened)
        assert (subject.fingerprint, subject.family) == ("v1", (firm.terms,))

    simulated(main)


class Own:
    """A model of one's own, of the child."""

    digest = "c" * 64

    async def reply(self, messages: Any, tools: Any) -> LocalReply:
        if messages[-1]["role"] == "tool":
            return LocalReply(text="20 went back for W1.")
        return LocalReply(calls=(LocalCall("refund", {"order": "W1", "amount": 20.0}),))


def test_a_childs_model_of_its_own_needs_no_stand_in() -> None:
    async def main() -> None:
        down = contract(
            agent=AgentSection(name="billing"),
            models={"primary": Model(fallback=("own",)), "own": Model(local="models/clerk")},
        )
        firm = Firm([call("billing", "c1", request="Refund W1.")], "Done.", billing=refunds(), terms=down)

        async def gone(*args: Any) -> Any:
            raise ConnectionResetError("gone")

        firm.billing = {"own": Own()}
        subject = hardened_subject(firm.live())
        assert subject.local_models == {"billing.own": Own.digest}
        models = {**firm.models, "billing.primary": FunctionModel(gone)}
        process = subject.live(firm.live()._surroundings, models, firm.shop)
        result = await process.run("My lamp is broken.", run_id="r")
        assert (result.ending, result.output) == (Ending.DEGRADED, "Done."), result.reason
        assert [row[:2] for row in firm.shop.ledger] == [("W1", 20.0)]
        await process.close()

    simulated(main)
