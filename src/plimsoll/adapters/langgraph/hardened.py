"""`harden`: a graph under its contract."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from langchain.chat_models import init_chat_model
from langchain_core.language_models import BaseChatModel
from langgraph.pregel import Pregel

from plimsoll.adapters.common.asking import AskedAgent
from plimsoll.adapters.common.binding import Binding
from plimsoll.adapters.common.hardened import loaded
from plimsoll.adapters.common.models import Models, check_models
from plimsoll.adapters.langgraph.binding import bound_to
from plimsoll.adapters.langgraph.describe import check_seams, describe, functions_of, prompts
from plimsoll.adapters.langgraph.local import own_model
from plimsoll.adapters.langgraph.messages import decode_input, encode_input, output_of
from plimsoll.contract.loading import contract_digest
from plimsoll.contract.model import Contract
from plimsoll.core.errors import Misuse
from plimsoll.core.guards import Guard
from plimsoll.learning.local import LocalModel
from plimsoll.runtime.databases.database import Database
from plimsoll.runtime.fingerprint import fingerprint_of
from plimsoll.runtime.surroundings import Surroundings

__all__ = ["HardenedGraph", "harden"]

_ENDLESS = 1_000_000
"""In place of LangGraph's own limit of steps: the contract's limits rule."""
_INTERRUPTED = "__interrupt__"
"""Where LangGraph says that it has stopped to ask a person."""


def harden(
    agent: Pregel[Any, Any, Any, Any],
    contract: Contract | str | Path,
    *,
    deps: Any = None,
    models: Mapping[str, BaseChatModel | LocalModel | str] | None = None,
    verifiers: Mapping[str, Callable[..., Any]] | None = None,
    compensators: Mapping[str, Callable[..., Any]] | None = None,
    connections: Mapping[str, Database | str] | None = None,
    guards: Mapping[str, Guard] | None = None,
    surroundings: Surroundings | None = None,
    fingerprint: str | None = None,
    eager: bool = True,
) -> "HardenedGraph":
    """The agent, or any compiled graph, under its contract. It is not changed, and goes on working by itself.

    `contract` is a contract or the path of a `plimsoll.toml`. `deps` are the graph's runtime context (what its tools
    read from `ToolRuntime.context`), or a function without parameters that makes it, for each run and again when a run
    is resumed. `models` are chat models, or their ids as `init_chat_model` takes them, by their names in the contract;
    without it, `primary` is the agent's own model, every other is made of its `id`, and a `local` one is loaded now; a
    `LocalModel` may be given in its place. `verifiers` answer, by tool, whether a write happened, and `compensators`
    take back what was done; those left out are the contract's. Both are given the run's `deps` where they have a
    parameter of that name. `connections` are the databases of transaction tools, by the names of their connections;
    those left out are the contract's. `guards` judge for the contract's guards, by name; those left out are the models
    that it names. `surroundings` are where it runs; None opens the contract's journal on this machine when it is first
    needed. `fingerprint` identifies the agent's version: None makes one of the contract, the code of the nodes and
    tools, the prompts and what is installed. `eager` makes every model at the start; False makes those below the first
    when they are first asked.

    Raises `ContractError` for a contract that is wrong, and `Misuse` for one that does not fit this agent, and for an
    agent whose calls would pass by the pipeline: one that was made without `Hardening`.
    """
    if not isinstance(agent, Pregel):
        what = type(agent).__qualname__
        raise Misuse(f"a {what} is no graph that can run here: give what `compile` or `create_agent` returns")
    contract, directory = loaded(contract)
    check_models(contract, models or {})
    missing = check_seams(agent)
    if missing:
        raise Misuse(f"its calls would not be protected: {'; '.join(missing)}")
    return HardenedGraph(
        agent,
        contract,
        models=models or {},
        eager=eager,
        deps=deps,
        verifiers=verifiers or {},
        compensators=compensators or {},
        connections=connections or {},
        guards=guards or {},
        surroundings=surroundings,
        fingerprint=fingerprint,
        directory=directory,
    )


class HardenedGraph(AskedAgent):
    """A graph whose every model request and tool call goes through the pipeline. Made by `harden`.

    What it is asked is a text, or the state that it begins with.

    >>> async with harden(agent, "plimsoll.toml", deps=shop) as hardened:
    ...     result = await hardened.run("Please refund order W1", run_id="ticket-7713")
    """

    def __init__(
        self,
        agent: Pregel[Any, Any, Any, Any],
        contract: Contract,
        *,
        models: Mapping[str, BaseChatModel | LocalModel | str],
        fingerprint: str | None,
        directory: Path,
        eager: bool,
        **options: Any,
    ) -> None:
        kind: Any = BaseChatModel
        found: Models[BaseChatModel] = Models(
            contract, models, kind=kind, make=init_chat_model, own=own_model, directory=directory, eager=eager
        )
        own = fingerprint or found.fingerprinted(_fingerprint(agent, contract))
        found.local.check(describe(agent))
        super().__init__(contract, models=found, fingerprint=own, directory=directory, **options)
        self.agent = agent
        # The journal is the record: from a checkpoint, or by a cache, a graph would not make the calls that it holds.
        self._graph = agent.copy({"checkpointer": None, "cache": None})

    def _encoded(self, input: Any) -> Any:
        return encode_input(input)

    async def _answered(self, binding: Binding, asked: Any) -> Any:
        with bound_to(binding):
            state = await self._graph.ainvoke(
                decode_input(asked), config={"recursion_limit": _ENDLESS}, context=binding.deps
            )
        if isinstance(state, Mapping) and _INTERRUPTED in state:
            raise Misuse(
                "the graph stopped to ask a person by `interrupt`, and nothing here goes on with that: write an "
                "approval rule into the contract instead"
            )
        return state

    def _output_of(self, native: Any) -> Any:
        return output_of(native)


def _fingerprint(agent: Pregel[Any, Any, Any, Any], contract: Contract) -> str:
    shape = describe(agent)
    tools = [(tool.name, tool.description, tool.parameters) for tool in shape.tools]
    return fingerprint_of(
        contract_digest=contract_digest(contract),
        functions=functions_of(agent),
        parts=[shape.name, tools, shape.models, prompts(agent), sorted(agent.nodes), sorted(agent.channels)],
    )
