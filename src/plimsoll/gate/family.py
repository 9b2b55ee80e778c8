"""A family on trial: an agent and its children, each under its own contract, told apart by their agents' names.

What a child depends on bears its agent's name in a trial: the child `billing` calls `billing.refund`, and asks
`billing.primary`. The world's ledger knows nothing of agents, so there a tool has its plain name.
"""

from collections.abc import Iterable, Iterator, Sequence

from msgspec.structs import replace

from plimsoll.contract.model import Contract, GuardSection, Model, Tool
from plimsoll.core.calls import Effect

__all__ = ["ambiguities", "of_child", "whole_family"]


def of_child(agent: str, dependency: str) -> str:
    """The name by which a dependency of the child `agent` is known in a trial."""
    return f"{agent}.{dependency}"


def whole_family(contract: Contract, children: Sequence[Contract]) -> Contract:
    """The agent's contract, with the models, tools and guards of its children under their names in a trial.

    A child's tools stand under their plain names, too, for the ledger's sake, unless the agent has one of that name.
    """
    tools: dict[str, Tool] = {}
    models: dict[str, Model] = {}
    guards: dict[str, GuardSection] = {}
    for child in children:
        agent = child.agent.name
        tools = {**child.tools, **tools}
        tools |= {of_child(agent, name): replace(tool, claims=()) for name, tool in child.tools.items()}
        models |= {
            of_child(agent, name): replace(model, fallback=tuple(of_child(agent, each) for each in model.fallback))
            for name, model in child.models.items()
        }
        guards |= {
            of_child(agent, name): _guard_of_child(agent, guard, child.tools) for name, guard in child.guards.items()
        }
    whole = {"tools": tools | contract.tools, "models": models | contract.models, "guards": guards | contract.guards}
    return replace(contract, **whole)


def _guard_of_child(agent: str, guard: GuardSection, tools: Iterable[str]) -> GuardSection:
    """A child's guard in a trial: it judges its own tools, and nothing of what the trial's client asks."""
    named = tuple(of_child(agent, tool) for tool in guard.tools or tools)
    on = tuple(place for place in guard.on if place != "input")
    return replace(guard, on=on, tools=named or (of_child(agent, ""),))


def ambiguities(contract: Contract, children: Sequence[Contract]) -> Iterator[str]:
    """What keeps a family from being judged: names that mean two things, where a trial could not tell which."""
    agents: dict[str, Contract] = {}
    effects: dict[str, tuple[str, Tool]] = {}
    for each in (contract, *children):
        agent = each.agent.name
        if agents.setdefault(agent, each) != each:
            yield f"two contracts are of an agent called {agent!r}; give each of a family a name of its own"
        for name, tool in each.tools.items():
            other, known = effects.setdefault(name, (agent, tool))
            if known != tool and Effect.READ not in (known.effect, tool.effect):
                yield (
                    f"the tool {name!r} is not the same in the contracts of {other!r} and {agent!r}, and the world's "
                    "ledger does not tell whose it was: give it two names, or the same section in both"
                )
