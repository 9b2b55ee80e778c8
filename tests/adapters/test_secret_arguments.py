"""An argument that its framework masks would reach its tool as the mask: a tool with one is refused."""

from typing import Any

import pytest
from agents import Agent, function_tool
from langchain.agents import create_agent
from langchain_core.tools import tool
from pydantic import BaseModel, SecretStr

from plimsoll.adapters.langgraph import Hardening
from plimsoll.core.errors import Misuse
from tests.adapters.conformance.benches.langgraph import LangGraph, Scripted
from tests.adapters.conformance.benches.openai_agents import OpenAIAgents
from tests.adapters.conformance.desk import Bench, Desk, Script


class Card(BaseModel):
    """What is paid with."""

    number: str
    pin: SecretStr


async def pay(amount: int, cards: list[Card]) -> str:
    """Pays."""
    return "paid"


def in_langgraph() -> tuple[Bench, Any]:
    return LangGraph(), create_agent(Scripted(script=None), [tool(pay)], middleware=[Hardening()], name="desk")


def in_openai_agents() -> tuple[Bench, Any]:
    return OpenAIAgents(), Agent(name="desk", tools=[function_tool(pay)])


@pytest.mark.parametrize("made", [in_langgraph, in_openai_agents])
def test_a_tool_that_takes_a_secret_is_refused(made: Any) -> None:
    bench, agent = made()
    with pytest.raises(Misuse, match="pay takes a secret, and would get it masked"):
        Desk(bench, Script("Hello."), agent=agent).live()
