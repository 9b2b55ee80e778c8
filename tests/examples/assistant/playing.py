"""Plays a scenario with the bare Pydantic AI agent, and people's decisions made by the contract's rules."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from pydantic_ai import ToolFailed
from pydantic_ai.agent import AgentRunResult
from pydantic_ai.capabilities import Hooks
from pydantic_ai.tools import ToolDenied

from examples.assistant.agent import CONTRACT, agent
from examples.assistant.world import ShopWorld
from plimsoll.contract.expressions import compile_rule
from plimsoll.contract.loading import load_contract
from plimsoll.contract.model import Contract
from plimsoll.gate.scenario import Scenario
from plimsoll.observability.claims import ClaimDetector

CONTRACTED: Contract = load_contract(CONTRACT)

Answer = Callable[[str, dict[str, Any]], Any]
"""What is answered in a tool's place; None lets the tool answer."""


def by_the_rules(scenario: Scenario) -> Answer:
    """Refuses what the contract refuses, and what the scenario's people do not approve."""

    def answer(tool: str, args: dict[str, Any]) -> Any:
        section = CONTRACTED.tool(tool)
        if section.refuse_when is not None and compile_rule(section.refuse_when).holds(args):
            return ToolDenied("it was not approved: a rule says no")
        if section.approval is not None and compile_rule(section.approval.when).holds(args):
            return None if scenario.approve(tool, args) else ToolDenied("it was not approved: a person said no")
        return None

    return answer


def play(request: str, world: ShopWorld, *, model: Any = None, answer: Answer | None = None) -> AgentRunResult[str]:
    """One run of the bare agent."""

    async def instead(ctx: Any, /, *, call: Any, tool_def: Any, args: dict[str, Any], handler: Any) -> Any:
        given = answer(call.tool_name, args) if answer is not None else None
        if isinstance(given, ToolFailed):
            raise given
        return given if given is not None else await handler(args)

    return asyncio.run(agent.run(request, deps=world, model=model, capabilities=[Hooks(tool_execute=instead)]))


def claimed(text: str, *, done: list[str]) -> list[str]:
    """The tools whose effect a text claims and that were not done."""
    return [tool for tool in ClaimDetector(CONTRACTED).undone_in(text) if tool not in done]
