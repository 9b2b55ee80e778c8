"""How the command line comes by an agent: the contract names it, an adapter hardens it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from plimsoll.adapters import adapter_of, harden
from plimsoll.contract.loading import load_contract
from plimsoll.contract.model import Contract
from plimsoll.contract.shapes import AgentShape
from plimsoll.core.errors import Misuse
from plimsoll.runtime.imports import load_object
from plimsoll.runtime.local import local

__all__ = ["describe_agent", "entrypoint_of", "open_agent"]


def describe_agent(entrypoint: str) -> AgentShape:
    """What the agent at `module:attribute` looks like from outside. Raises `Misuse` when it is no agent."""
    agent = load_object(entrypoint, directory=Path.cwd())
    shape: AgentShape = adapter_of(agent).describe(agent)
    return shape


def entrypoint_of(contract: Contract, agent: str | None) -> str:
    """The agent's `module:attribute`: as given, or as the contract names it. Raises `Misuse` when neither does."""
    entrypoint = agent or contract.agent.entrypoint
    if entrypoint is None:
        raise Misuse('which agent? Give --agent module:attribute, or `entrypoint = "module:attribute"` in [agent]')
    return entrypoint


@asynccontextmanager
async def open_agent(contract_path: Path, *, agent: str | None, journal: Path | None) -> AsyncIterator[Any]:
    """The agent, hardened, over its journal on this machine; closed when the block ends."""
    contract = load_contract(contract_path)
    target = load_object(entrypoint_of(contract, agent), directory=Path.cwd())
    deps = load_object(contract.agent.deps, directory=Path.cwd()) if contract.agent.deps is not None else None
    surroundings = local(contract, directory=contract_path.parent, path=journal)
    try:
        async with harden(target, contract, deps=deps, surroundings=surroundings) as hardened:
            yield hardened
    finally:
        await surroundings.store.close()
