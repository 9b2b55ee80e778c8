"""The agents of one run: copies whose models and tools go through the pipeline. Those that were given stay as they
are."""

import dataclasses
from collections.abc import Callable
from typing import Any

from agents import Agent, FunctionTool, Handoff
from agents.models.interface import Model

from plimsoll.adapters.common.binding import Bound
from plimsoll.adapters.openai_agents.describe import check_seams
from plimsoll.adapters.openai_agents.models import JournaledModel
from plimsoll.adapters.openai_agents.tools import journaled_tool
from plimsoll.core.errors import Misuse

__all__ = ["Clones"]


class Clones:
    """Copies of agents for one run, each made once: agents may hand over to one another in a circle.

    `model_of` is the model that the Agents SDK would have asked for an agent.
    """

    def __init__(self, bound: Bound, model_of: Callable[[Agent[Any]], Model]) -> None:
        self._bound = bound
        self._model_of = model_of
        self._made: dict[int, tuple[Agent[Any], Agent[Any]]] = {}

    def of(self, agent: Agent[Any]) -> Agent[Any]:
        """The agent's copy."""
        known = self._made.get(id(agent))
        if known is not None:
            return known[1]
        tools = [journaled_tool(tool, self._bound) if isinstance(tool, FunctionTool) else tool for tool in agent.tools]
        clone = dataclasses.replace(
            agent,
            model=JournaledModel(self._bound, lambda: self._bound.primary or self._model_of(agent)),
            model_settings=agent.model_settings,
            tools=tools,
            handoffs=[],
        )
        self._made[id(agent)] = (agent, clone)
        self._made[id(clone)] = (clone, clone)
        clone.handoffs = [self._handoff(each) for each in agent.handoffs]
        return clone

    def _handoff(self, given: Agent[Any] | Handoff[Any, Any]) -> Any:
        if not isinstance(given, Handoff):
            return self.of(given)
        invoke = given.on_invoke_handoff

        async def invoked(ctx: Any, written: str) -> Any:
            made = await invoke(ctx, written)
            missing = [] if id(made) in self._made else check_seams(made, self._bound.contract)
            if missing:
                raise Misuse(f"its calls would not be protected: {'; '.join(missing)}")
            return self.of(made)

        return dataclasses.replace(given, on_invoke_handoff=invoked)
