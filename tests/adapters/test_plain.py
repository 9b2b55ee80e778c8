"""What is an agent's without a framework alone: what its function is handed, and what it may be made of."""

import asyncio
from typing import Any

import pytest

from plimsoll import ModelReply, current_run, harden
from plimsoll.adapters.plain import PlainAgent, describe
from plimsoll.contract.model import AgentSection, Contract, Model, Tool
from plimsoll.core.calls import Effect, Ending
from plimsoll.core.errors import Misuse
from plimsoll.core.events import CallIntended
from tests.adapters.conformance.benches.plain import Plain
from tests.adapters.conformance.desk import Desk, Script, simulated

BENCH = Plain()
CONTRACT = Contract(
    agent=AgentSection(name="desk"),
    models={"primary": Model(), "other": Model()},
    tools={"pay": Tool(effect=Effect.WRITE), "look": Tool(effect=Effect.READ)},
)


def look(order: str, note: str = "none", *, deps: dict[str, str]) -> str:
    """Looks an order up."""
    return f"{deps[order]} ({note})"


async def ask(prompt: Any) -> ModelReply:
    return ModelReply(text=f"first: {prompt}")


async def other(prompt: Any) -> Any:
    yield "second: "
    yield str(prompt)
    yield ModelReply()


MODELS: dict[str, Any] = {"primary": ask, "other": other}


async def answer(order: str, *, model: Any, other: Any, look: Any, deps: Any) -> Any:
    return [(await model(await look(order))).text, (await other("x")).text, sorted(deps)]


def agent(function: Any = answer, **options: Any) -> PlainAgent:
    return PlainAgent(function, **({"tools": [look], "models": MODELS, "name": "desk"} | options))


def live(made: PlainAgent, desk: Desk, contract: Contract = CONTRACT, **options: Any) -> Any:
    given = {"deps": {"W1": "on its way"}, "surroundings": desk.surroundings()}
    return harden(made, contract, **(given | options))


def test_a_function_is_handed_what_it_names() -> None:
    async def main() -> None:
        desk = Desk(BENCH, Script("unused"))
        result = await live(agent(), desk).run("W1", run_id="r")
        assert result.ending is Ending.COMPLETE, result.reason
        assert result.output == ["first: on its way (none)", "second: x", ["W1"]]

    simulated(main)


def test_by_itself_it_just_runs() -> None:
    deps = {"W1": "here"}
    assert asyncio.run(agent()("W1", deps=deps)) == ["first: here (none)", "second: x", ["W1"]]


def test_what_it_names_and_there_is_not_is_told_at_once() -> None:
    async def wants(order: str, *, lookup: Any) -> None: ...

    with pytest.raises(Misuse, match="desk wants lookup, and there is only deps, look, model"):
        agent(wants, models={})
    with pytest.raises(Misuse, match="no agent; an async function of your own goes into a PlainAgent"):
        harden(CONTRACT, CONTRACT)
    with pytest.raises(Misuse, match=r"plimsoll\.adapters\.plain\.PlainAgent"):
        harden(answer, CONTRACT)


def test_a_model_without_a_function_is_told_before_anything_runs() -> None:
    async def main() -> None:
        desk = Desk(BENCH, Script("unused"))
        for models, words in (({"other": other}, "one of the contract's models has none"), ({"primary": ask}, "none")):
            with pytest.raises(Misuse, match=words):
                await live(agent(_nothing, models=models), desk).run("W1", run_id="r")
        assert await desk.store.heads() == []

    simulated(main)


async def _nothing(order: str) -> str:
    return "nothing"


def test_wrong_arguments_send_nothing() -> None:
    async def wrong(order: str, *, look: Any) -> Any:
        return await look(ordr=order)

    async def main() -> None:
        desk = Desk(BENCH, Script("unused"))
        result = await live(agent(wrong), desk).run("W1", run_id="r")
        assert result.ending is Ending.FAILED and "look was called wrongly" in result.reason

    simulated(main)


def test_arguments_without_names_are_refused_and_any_others_keep_theirs() -> None:
    async def by_place(*orders: str) -> str:
        return ""

    async def by_place_alone(order: str, /) -> str:
        return ""

    async def notes(order: str, **others: str) -> str:
        return f"{order} {sorted(others.items())}"

    async def noting(order: str, *, notes: Any) -> Any:
        return await notes(order, by="ana", why="late")

    for function in (by_place, by_place_alone):
        with pytest.raises(Misuse, match="by its place alone; every argument of a tool has a name"):
            agent(tools=[function])
    alone = asyncio.run(agent(noting, tools=[notes])("W1"))

    async def main() -> None:
        desk = Desk(BENCH, Script("unused"))
        result = await live(agent(noting, tools=[notes]), desk).run("W1", run_id="r")
        assert result.output == alone == "W1 [('by', 'ana'), ('why', 'late')]", result.reason
        (intended,) = await desk.events(CallIntended)
        assert intended.args == {"order": "W1", "by": "ana", "why": "late"}

    simulated(main)


def test_an_agent_that_is_not_async_is_named() -> None:
    with pytest.raises(Misuse, match="desk is no async function: it returned a str, and awaited nothing"):
        asyncio.run(agent(lambda order: "done")("W1"))


def test_a_synchronous_write_is_intended_with_all_its_arguments() -> None:
    paid: list[int] = []

    def pay(order: str, amount: int = 5) -> int:
        """Pays."""
        paid.append(amount)
        return amount

    async def pays(order: str, *, pay: Any) -> Any:
        return await pay(order=order)

    async def main() -> None:
        desk = Desk(BENCH, Script("unused"))
        result = await live(agent(pays, tools=[pay]), desk).run("W1", run_id="r")
        assert (result.ending, result.output, paid) == (Ending.COMPLETE, 5, [5])
        (intended,) = await desk.events(CallIntended)
        assert intended.args == {"order": "W1", "amount": 5}

    simulated(main)


def test_the_run_is_there_for_what_is_missing() -> None:
    async def waits(order: str, *, look: Any) -> str:
        await current_run().sleep(3600.0)
        return str(await look(order))

    async def main() -> None:
        desk = Desk(BENCH, Script("unused"))
        result = await live(agent(waits), desk).run("W1", run_id="r")
        assert result.ending is Ending.PARKED and result.reason.startswith("timer")

    simulated(main)


def test_its_shape_is_read_off_its_functions() -> None:
    shape = describe(agent())
    (tool,) = shape.tools
    assert (shape.name, tool.name, tool.description) == ("desk", "look", "Looks an order up.")
    assert tool.parameters == {
        "type": "object",
        "properties": {"order": {"type": "string"}, "note": {"type": "string"}},
        "required": ["order"],
    }


def test_the_fingerprint_sees_the_code() -> None:
    async def second(order: str, *, look: Any) -> Any:
        return "another"

    marks = {harden(one, CONTRACT).fingerprint for one in (agent(), agent(), agent(second), agent(tools=[look, ask]))}
    assert len(marks) == 3


def test_an_agent_that_is_called_inside_a_hardened_run_does_not_go_past_it() -> None:
    inner = agent(name="expert")

    async def delegates(order: str, *, deps: Any) -> Any:
        return await inner(order, deps=deps)

    async def consult(order: str, *, deps: Any) -> str:
        """Asks the expert, as a part of its own call."""
        return str(await inner(order, deps=deps))

    async def consults(order: str, *, consult: Any) -> Any:
        return await consult(order)

    async def main() -> None:
        result = await live(agent(delegates), Desk(BENCH, Script("unused"))).run("W1", run_id="r")
        assert result.ending is Ending.FAILED and "expert was called inside a hardened run" in result.reason
        result = await live(agent(consults, tools=[consult]), Desk(BENCH, Script("unused"))).run("W1", run_id="r")
        assert result.ending is Ending.COMPLETE and "on its way" in result.output, result.reason

    simulated(main)
