"""An answer that was given before is given to the very same request alone: instructions written for another person make
it another, whatever a replay leaves aside."""

from collections.abc import Callable, Iterator
from typing import Any

import agents
import pydantic_ai
import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import dynamic_prompt, wrap_model_call
from langchain_core.tools import tool
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import Tool as PydanticTool

from plimsoll.adapters import langgraph, openai_agents
from plimsoll.adapters import pydantic_ai as adapter
from plimsoll.contract.model import AgentSection, Contract, Model, Tool
from plimsoll.core.calls import Effect, Ending
from plimsoll.core.clock import LoopClock
from plimsoll.core.ids import SequentialIds
from plimsoll.core.rng import seeded_rng
from plimsoll.journal.memory import MemoryStore
from plimsoll.runtime.surroundings import Surroundings
from tests.adapters.conformance.benches.langgraph import LangGraph
from tests.adapters.conformance.benches.openai_agents import OpenAIAgents
from tests.adapters.conformance.benches.pydantic_ai import PydanticAI
from tests.adapters.conformance.desk import Answer, Script, simulated

CANNED = "I cannot say now."
CONTRACT = Contract(
    agent=AgentSection(name="bank"),
    models={
        "primary": Model(fallback=("remembered", "canned")),
        "remembered": Model(cached_for_s=600.0, may_write=False),
        "canned": Model(canned=CANNED, may_write=False),
    },
    tools={"look_up": Tool(effect=Effect.READ)},
)


class Served:
    """Who is served, and how: what an agent's instructions, its tool and its settings are made of."""

    def __init__(self) -> None:
        self.name = "ana"
        self.tool_says = "Looks something up."
        self.temperature = 0.0

    def instructions(self) -> str:
        return f"You serve {self.name}."


async def look_up(what: str) -> str:
    """Looks something up."""
    return what


def hardened(harden: Any, agent: Any) -> Any:
    surroundings = Surroundings(
        store=MemoryStore(), owner="here", clock=LoopClock(), rng=seeded_rng(1), ids=SequentialIds(), sinks=()
    )
    return harden(agent, CONTRACT, surroundings=surroundings, fingerprint="v1")


def by_pydantic_ai(served: Served, script: Script) -> Any:
    async def prepared(context: Any, definition: Any) -> Any:
        definition.description = served.tool_says
        return definition

    agent = pydantic_ai.Agent(
        PydanticAI().model(script),
        name="bank",
        instructions=served.instructions,
        tools=[PydanticTool(look_up, prepare=prepared)],
        model_settings=lambda context: ModelSettings(temperature=served.temperature),
    )
    return hardened(adapter.harden, agent)


def by_langgraph(served: Served, script: Script) -> Any:
    @dynamic_prompt
    def written(request: Any) -> str:
        return served.instructions()

    @wrap_model_call
    async def set_up(request: Any, handler: Any) -> Any:
        for each in request.tools:
            each.description = served.tool_says
        return await handler(request.override(model_settings={"temperature": served.temperature}))

    middleware: list[Any] = [written, set_up, langgraph.Hardening()]
    agent = create_agent(LangGraph().model(script), [tool(look_up)], middleware=middleware, name="bank")
    return hardened(langgraph.harden, agent)


def by_openai_agents(served: Served, script: Script) -> Any:
    def written(context: Any, agent: Any) -> str:
        agent.model_settings.temperature = served.temperature
        for each in agent.tools:
            each.description = served.tool_says
        return served.instructions()

    agent: agents.Agent[Any] = agents.Agent(
        name="bank", instructions=written, tools=[agents.function_tool(look_up)], model=OpenAIAgents().model(script)
    )
    return hardened(openai_agents.harden, agent)


def says(*answers: str) -> Script:
    """A model that gives these answers, and is down from then on."""
    left: Iterator[str] = iter(answers)

    async def before(n: int) -> None:
        if n > len(answers):
            raise ConnectionResetError("gone")

    return Script(lambda heard: Answer(next(left)), before=before)


FRAMEWORKS = pytest.mark.parametrize(
    "made", [by_pydantic_ai, by_langgraph, by_openai_agents], ids=["pydantic_ai", "langgraph", "openai_agents"]
)
Made = Callable[[Served, Script], Any]


@FRAMEWORKS
@pytest.mark.parametrize(
    ("what", "other"), [("name", "bo"), ("tool_says", "Deletes something."), ("temperature", 1.0)], ids=str
)
def test_who_is_served_otherwise_is_not_given_what_another_was_answered(made: Made, what: str, other: Any) -> None:
    async def main() -> None:
        served = Served()
        agent = made(served, says("You have 4,200 euros, Ana."))
        assert (await agent.run("What is my balance?")).output == "You have 4,200 euros, Ana."
        setattr(served, what, other)
        result = await agent.run("What is my balance?")
        assert (result.ending, result.output) == (Ending.DEGRADED, CANNED)

    simulated(main)


@FRAMEWORKS
def test_the_very_same_request_is_given_the_answer_once_more(made: Made) -> None:
    async def main() -> None:
        agent = made(Served(), says("You have 4,200 euros, Ana."))
        await agent.run("What is my balance?")
        result = await agent.run("What is my balance?")
        assert (result.ending, result.output) == (Ending.DEGRADED, "You have 4,200 euros, Ana.")
        assert "'remembered'" in result.reason

    simulated(main)
