"""`harden`: an agent without a framework under its contract."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from plimsoll.adapters.common.asking import AskedAgent
from plimsoll.adapters.common.binding import Binding
from plimsoll.adapters.common.dependencies import with_deps as functions_with_deps
from plimsoll.adapters.common.hardened import loaded
from plimsoll.adapters.common.models import Models, check_models
from plimsoll.adapters.plain.agent import PlainAgent, with_deps
from plimsoll.adapters.plain.describe import describe
from plimsoll.adapters.plain.local import own_function
from plimsoll.contract.loading import contract_digest
from plimsoll.contract.model import Contract
from plimsoll.core.canonical import as_recorded
from plimsoll.core.errors import Misuse
from plimsoll.core.guards import Guard
from plimsoll.learning.local import LocalModel
from plimsoll.runtime.databases.database import Database
from plimsoll.runtime.fingerprint import fingerprint_of
from plimsoll.runtime.models import ModelExchange, ModelFunction
from plimsoll.runtime.surroundings import Surroundings
from plimsoll.runtime.tools import BoundTool, ToolExchange, ToolSpec

__all__ = ["HardenedFunction", "harden"]


def harden(
    agent: PlainAgent,
    contract: Contract | str | Path,
    *,
    deps: Any = None,
    models: Mapping[str, ModelFunction | LocalModel] | None = None,
    verifiers: Mapping[str, Callable[..., Any]] | None = None,
    compensators: Mapping[str, Callable[..., Any]] | None = None,
    connections: Mapping[str, Database | str] | None = None,
    guards: Mapping[str, Guard] | None = None,
    surroundings: Surroundings | None = None,
    fingerprint: str | None = None,
    eager: bool = True,
) -> "HardenedFunction":
    """The agent under its contract. It is not changed, and goes on working by itself.

    `contract` is a contract or the path of a `plimsoll.toml`. `deps` are the agent's dependencies, or a function
    without parameters that makes them, for each run and again when a run is resumed. `models` are in place of the
    agent's own; a `local` one is loaded now, and a `LocalModel` may be given in its place. `verifiers` answer, by tool,
    whether a write happened, and `compensators` take back what was done; those left out are the contract's. Both are
    given the run's `deps` where they have a parameter of that name. `connections` are the databases of transaction
    tools, by the names of their connections; those left out are the contract's. `guards` judge for the contract's
    guards, by name; those left out are the models that it names. `surroundings` are where it runs; None opens the
    contract's journal on this machine when it is first needed. `fingerprint` identifies the agent's version: None makes
    one of the contract, the code of the agent, its tools and models, and what is installed. `eager` is there as with
    other adapters: here every model is made already.

    Raises `ContractError` for a contract that is wrong, and `Misuse` for one that does not fit this agent.
    """
    if not isinstance(agent, PlainAgent):
        raise Misuse(f"a {type(agent).__qualname__} is no agent; an async function of your own goes into a PlainAgent")
    contract, directory = loaded(contract)
    given: dict[str, Any] = {**agent.models, **(models or {})}
    check_models(contract, given, from_ids=False)
    kind: Any = Callable
    found: Models[ModelFunction] = Models(
        contract, given, kind=kind, make=_no_model, own=own_function, directory=directory
    )
    found.local.check(describe(agent))
    return HardenedFunction(
        agent,
        contract,
        models=found,
        deps=deps,
        verifiers=verifiers or {},
        compensators=compensators or {},
        connections=connections or {},
        guards=guards or {},
        surroundings=surroundings,
        fingerprint=fingerprint or found.fingerprinted(_fingerprint(agent, contract, given)),
        directory=directory,
    )


class HardenedFunction(AskedAgent):
    """An agent whose every model request and tool call goes through the pipeline. Made by `harden`.

    >>> async with harden(desk, "plimsoll.toml", deps=shop) as hardened:
    ...     result = await hardened.run("W1", run_id="ticket-7713")
    """

    def __init__(self, agent: PlainAgent, contract: Contract, **options: Any) -> None:
        super().__init__(contract, **options)
        self.agent = agent

    def _needed(self) -> None:
        if self._models.first() is None:
            _no_model("")
        super()._needed()

    def _encoded(self, input: Any) -> Any:
        return as_recorded(input, what="what the agent is asked")

    async def _answered(self, binding: Binding, asked: Any) -> Any:
        return await self.agent.run_by(Journaled(binding), asked, deps=binding.deps)

    def _output_of(self, native: Any) -> Any:
        return native


class Journaled:
    """Makes the calls of one run, through its pipeline."""

    def __init__(self, binding: Binding) -> None:
        self._binding = binding
        self._verifiers = functions_with_deps(binding.verifiers, binding.deps)

    async def tool(self, spec: ToolSpec, args: dict[str, Any], deps: Any) -> Any:
        """Raises `Rejected` when a policy or a person said no, and `CallFailed` when the tool failed."""
        return (await self._binding.run.exchange(self._exchange(spec, args, deps))).unwrap()

    async def model(self, name: str, prompt: Any) -> Any:
        """Raises `CallFailed` when no rung of the ladder answered."""
        return await self._binding.ask(model_exchange(self._binding, name, prompt))

    def _exchange(self, spec: ToolSpec, args: dict[str, Any], deps: Any) -> ToolExchange:
        binding = self._binding
        return tool_exchange(
            spec,
            args,
            deps,
            contract=binding.contract,
            verifier=self._verifiers.get(spec.name),
            under_way=binding.under_way,
            now=binding.now,
        )


def tool_exchange(
    spec: ToolSpec, args: dict[str, Any], deps: Any, *, contract: Contract, **options: Any
) -> ToolExchange:
    """One call of a tool, with every default filled in. Raises `Misuse` for arguments that it does not take."""
    tool = BoundTool(ToolSpec(spec.name, with_deps(spec.function, deps)), section=contract.tool(spec.name), **options)
    return ToolExchange(tool, tool.filled(args))


def model_exchange(bound: Any, name: str, prompt: Any) -> ModelExchange:
    """One request to a ladder."""
    sections = bound.contract.models
    if name not in sections:
        raise Misuse(f"the contract has no models.{name}")
    return ModelExchange(name, prompt, functions=_Functions(bound), sections=sections)


class _Functions(dict[str, ModelFunction]):
    """The model functions of a run, by the names of their rungs, looked up when they are asked."""

    def __init__(self, bound: Any) -> None:
        super().__init__()
        self._bound = bound

    def get(self, name: str, default: Any = None) -> Any:
        return self._bound.primary if name == "primary" else self._bound.model_of(name)


def _no_model(asked: Any) -> ModelFunction:
    what = f"the contract's {asked!r} is an id, and no function" if asked else "one of the contract's models has none"
    raise Misuse(f"an agent without a framework asks its models by functions: {what}; give it in `models`")


def _fingerprint(agent: PlainAgent, contract: Contract, models: Mapping[str, Any]) -> str:
    shape = describe(agent)
    asked = [model for model in models.values() if not isinstance(model, LocalModel)]
    functions = [agent.function, *(spec.function for spec in agent.tools.values()), *asked]
    return fingerprint_of(
        contract_digest=contract_digest(contract),
        functions=functions,
        parts=[shape.name, [(tool.name, tool.description, tool.parameters) for tool in shape.tools], sorted(models)],
    )
