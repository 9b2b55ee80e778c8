"""`harden`: an agent of the OpenAI Agents SDK under its contract."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from agents import Agent, RunConfig, Runner
from agents.models.interface import Model

from plimsoll.adapters.common.asking import AskedAgent
from plimsoll.adapters.common.binding import Binding
from plimsoll.adapters.common.hardened import loaded
from plimsoll.adapters.common.models import Models, check_models
from plimsoll.adapters.openai_agents.cloning import Clones
from plimsoll.adapters.openai_agents.describe import check_seams, describe, functions_of, prompts
from plimsoll.adapters.openai_agents.local import OwnModel
from plimsoll.adapters.openai_agents.messages import encode_input, output_of
from plimsoll.contract.loading import contract_digest
from plimsoll.contract.model import Contract
from plimsoll.core.errors import Misuse
from plimsoll.core.guards import Guard
from plimsoll.learning.local import LocalModel
from plimsoll.runtime.databases.database import Database
from plimsoll.runtime.fingerprint import fingerprint_of
from plimsoll.runtime.surroundings import Surroundings

__all__ = ["HardenedAgent", "harden"]

_ENDLESS = 1_000_000
"""In place of the Agents SDK's own limit of turns: the contract's limits rule."""


def harden(
    agent: Agent[Any],
    contract: Contract | str | Path,
    *,
    deps: Any = None,
    models: Mapping[str, Model | LocalModel | str] | None = None,
    verifiers: Mapping[str, Callable[..., Any]] | None = None,
    compensators: Mapping[str, Callable[..., Any]] | None = None,
    connections: Mapping[str, Database | str] | None = None,
    guards: Mapping[str, Guard] | None = None,
    surroundings: Surroundings | None = None,
    fingerprint: str | None = None,
    run_config: RunConfig | None = None,
    eager: bool = True,
) -> "HardenedAgent":
    """The agent, and those that it may hand over to, under its contract. They are not changed, and go on working.

    `contract` is a contract or the path of a `plimsoll.toml`. `deps` are the agent's context (what its tools read from
    `ctx.context`), or a function without parameters that makes it, for each run and again when a run is resumed.
    `models` are models of the Agents SDK, or their names, by their names in the contract; without it, `primary` is the
    agent's own model, every other is looked up by its `id`, and a `local` one is loaded now; a `LocalModel` may be
    given in its place. `verifiers` answer, by tool, whether a write happened, and `compensators` take back what was
    done; those left out are the contract's. Both are given the run's `deps` where they have a parameter of that name.
    `connections` are the databases of transaction tools, by the names of their connections; those left out are the
    contract's. `guards` judge for the contract's guards, by name; those left out are the models that it names.
    `surroundings` are where it runs; None opens the contract's journal on this machine when it is first needed.
    `fingerprint` identifies the agent's version: None makes one of the contract, the code of the tools, the prompts and
    what is installed. `run_config` are the Agents SDK's own settings; without it, its tracing is off, as it would tell
    of a replay again. `eager` makes every model at the start; False makes those below the first when they are first
    asked.

    Raises `ContractError` for a contract that is wrong, and `Misuse` for one that does not fit this agent, and for an
    agent whose calls would pass by the pipeline.
    """
    if not isinstance(agent, Agent):
        raise Misuse(f"a {type(agent).__qualname__} is no agent that can be hardened: give an `agents.Agent`")
    contract, directory = loaded(contract)
    check_models(contract, models or {})
    missing = check_seams(agent, contract)
    if missing:
        raise Misuse(f"its calls would not be protected: {'; '.join(missing)}")
    return HardenedAgent(
        agent,
        contract,
        models=models or {},
        eager=eager,
        run_config=run_config or RunConfig(tracing_disabled=True),
        deps=deps,
        verifiers=verifiers or {},
        compensators=compensators or {},
        connections=connections or {},
        guards=guards or {},
        surroundings=surroundings,
        fingerprint=fingerprint,
        directory=directory,
    )


class HardenedAgent(AskedAgent):
    """An agent whose every model request and tool call goes through the pipeline. Made by `harden`.

    What it is asked is a text, or a list of input items.

    >>> async with harden(agent, "plimsoll.toml", deps=shop) as hardened:
    ...     result = await hardened.run("Please refund order W1", run_id="ticket-7713")
    """

    def __init__(
        self,
        agent: Agent[Any],
        contract: Contract,
        *,
        models: Mapping[str, Model | LocalModel | str],
        fingerprint: str | None,
        directory: Path,
        eager: bool,
        run_config: RunConfig,
        **options: Any,
    ) -> None:
        self._provider = run_config.model_provider
        kind: Any = Model
        make = self._provider.get_model
        found: Models[Model] = Models(
            contract, models, kind=kind, make=make, own=OwnModel, directory=directory, eager=eager
        )
        own = fingerprint or found.fingerprinted(_fingerprint(agent, contract))
        found.local.check(describe(agent))
        super().__init__(contract, models=found, fingerprint=own, directory=directory, **options)
        self.agent = agent
        self._own_model = run_config.model
        self._run_config = dataclasses.replace(run_config, model=None)

    def _encoded(self, input: Any) -> Any:
        return encode_input(input)

    async def _answered(self, binding: Binding, asked: Any) -> Any:
        agent = Clones(binding, self._model_of).of(self.agent)
        config = self._run_config
        result = await Runner.run(agent, asked, context=binding.deps, max_turns=_ENDLESS, run_config=config)
        if result.interruptions:
            names = ", ".join(sorted({each.name or "a tool" for each in result.interruptions}))
            raise Misuse(
                f"the Agents SDK stopped to ask a person about {names} by `needs_approval`, and nothing here goes on "
                "with that: write an approval rule into the contract instead"
            )
        return result

    def _model_of(self, agent: Agent[Any]) -> Model:
        """The model that the Agents SDK would have asked."""
        model = self._own_model or agent.model
        return model if isinstance(model, Model) else self._provider.get_model(model)

    def _output_of(self, native: Any) -> Any:
        return output_of(native)


def _fingerprint(agent: Agent[Any], contract: Contract) -> str:
    shape = describe(agent)
    tools = [(tool.name, tool.description, tool.parameters) for tool in shape.tools]
    return fingerprint_of(
        contract_digest=contract_digest(contract),
        functions=functions_of(agent),
        parts=[shape.name, tools, shape.models, prompts(agent)],
    )
