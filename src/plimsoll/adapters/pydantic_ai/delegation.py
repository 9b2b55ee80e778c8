"""Other agents as tools of this one: its model has them do a part of the work, or hands the whole run over to them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_ai.toolsets import FunctionToolset

from plimsoll.core.errors import Misuse

__all__ = ["Delegate", "delegates_toolset"]


@dataclass(frozen=True, slots=True)
class Delegate:
    """An agent that a model can ask. `takes_over`: its ending is the run's."""

    description: str
    takes_over: bool

    def told(self, name: str) -> str:
        """What the model is told of it."""
        what = f"Hands over to {name} for good." if self.takes_over else f"Asks {name} and returns its answer."
        return f"{what} {self.description}".strip()


def delegates_toolset(delegates: Mapping[str, Delegate]) -> FunctionToolset[Any] | None:
    """The tools by which a model asks them; None when there are none. Only the pipeline carries such a call out."""
    if not delegates:
        return None
    toolset: FunctionToolset[Any] = FunctionToolset(id="delegates")
    for name, delegate in delegates.items():
        toolset.add_function(_ask, name=name, description=delegate.told(name), sequential=delegate.takes_over)
    return toolset


async def _ask(request: str) -> str:
    """Asks another agent.

    Args:
        request: What it has to do, with everything that it has to know.
    """
    raise Misuse(f"a delegate is asked by the run's pipeline alone: {request!r} was not passed on")
