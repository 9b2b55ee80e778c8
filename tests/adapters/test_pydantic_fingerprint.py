"""What an agent is told is part of which agent it is."""

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput

from plimsoll.adapters.pydantic_ai import harden
from plimsoll.contract.model import AgentSection, Contract

RULES = Contract(agent=AgentSection(name="desk"))


class Short(BaseModel):
    text: str


class Long(BaseModel):
    text: str
    more: str


def strict() -> str:
    return "Never refund more than 50."


def mild() -> str:
    return "Refund whatever they ask."


def agent(**settings: Any) -> Agent[None, Any]:
    return Agent("test", name="desk", **settings)


def with_prompt(function: Callable[[], str]) -> Agent[None, Any]:
    made = agent()
    made.system_prompt(function)
    return made


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda: agent(instructions=strict()), lambda: agent(instructions=mild())),
        (lambda: agent(instructions=[strict]), lambda: agent(instructions=[mild])),
        (lambda: agent(system_prompt=strict()), lambda: agent(system_prompt=mild())),
        (lambda: with_prompt(strict), lambda: with_prompt(mild)),
        (lambda: agent(output_type=Short), lambda: agent(output_type=Long)),
        (lambda: agent(output_type=NativeOutput(Short)), lambda: agent(output_type=NativeOutput(Long))),
        (lambda: agent(model_settings={"temperature": 0.1}), lambda: agent(model_settings={"temperature": 0.9})),
        (lambda: agent(tools=[strict]), lambda: agent(tools=[mild])),
    ],
)
def test_an_agent_that_is_told_otherwise_is_another(one: Callable[[], Any], other: Callable[[], Any]) -> None:
    assert harden(one(), RULES).fingerprint == harden(one(), RULES).fingerprint
    assert harden(one(), RULES).fingerprint != harden(other(), RULES).fingerprint
