"""How the command line comes by an agent: the contract names it, an adapter hardens it."""

import inspect
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click

from plimsoll.adapters import adapter_of, harden
from plimsoll.cli.command import explained
from plimsoll.cli.journal_access import journal_file
from plimsoll.contract.loading import load_contract
from plimsoll.contract.model import Contract
from plimsoll.contract.shapes import AgentShape
from plimsoll.core.errors import Misuse
from plimsoll.runtime.harness import Harness
from plimsoll.runtime.imports import load_object, put_on_path
from plimsoll.runtime.local import local, telemetry_of
from plimsoll.runtime.surroundings import Surroundings

__all__ = ["agent_option", "describe_agent", "entrypoint_of", "load", "open_agent"]

agent_option = click.option(
    "--agent", default=None, help="module:attribute of the agent; the contract's entrypoint if left out."
)
"""Adds `--agent` to a command."""


def load(path: str) -> Any:
    """The object at `module:attribute`, from the working directory or installed. Raises `Misuse`, whatever is wrong."""
    with explained(f"importing {path}"):
        return load_object(path, directory=Path.cwd())


def describe_agent(entrypoint: str) -> AgentShape:
    """What the agent at `module:attribute` looks like from outside, its MCP servers' tools among it.

    Raises `Misuse` when it is no agent, or a server cannot be asked.
    """
    agent = load(entrypoint)
    shape: AgentShape = adapter_of(agent).survey(agent)
    return shape


def entrypoint_of(contract: Contract, agent: str | None) -> str:
    """The agent's `module:attribute`: as given, or as the contract names it. Raises `Misuse` when neither does."""
    entrypoint = agent or contract.agent.entrypoint
    if entrypoint is None:
        raise Misuse('which agent? Give --agent module:attribute, or `entrypoint = "module:attribute"` in [agent]')
    return entrypoint


@asynccontextmanager
async def open_agent(
    contract_path: Path, *, agent: str | None, journal: Path | None, metrics_at: tuple[str, int] | None = None
) -> AsyncIterator[Harness]:
    """The agent's harness, over a journal that is there already; closed when the block ends.

    Metrics are served to Prometheus at the host and port `metrics_at`, where it is given.

    It is what `harness` in the contract's [agent] makes, unless `agent` is given; else the agent itself is hardened.
    Everything that a run needs is found first, so that nothing goes wrong with a run for want of it. Raises `Misuse`.
    """
    contract = load_contract(contract_path)
    file = journal_file(contract_path, journal)
    put_on_path(contract_path.parent)
    if agent is None and contract.agent.harness is not None:
        make = _maker(contract.agent.harness)
    else:
        target = load(entrypoint_of(contract, agent))
        _check_agent(target, entrypoint_of(contract, agent))
        deps = await _dependencies(contract, target)
        make = partial(_hardened, target, contract_path, deps=deps)
    async with AsyncExitStack() as stack:
        telemetry = telemetry_of(contract, environ=os.environ, metrics_at=metrics_at)
        surroundings = local(contract, path=file, directory=contract_path.parent, telemetry=telemetry)
        stack.push_async_callback(surroundings.store.close)
        with explained("opening the agent"):
            made = make(surroundings)
            made = await made if inspect.isawaitable(made) else made
            await stack.enter_async_context(_opened(made, surroundings))
            harness = made if isinstance(made, Harness) else made.harness  # finds the tools' verify functions
        _check_same(harness, contract, surroundings)
        yield harness


def _hardened(target: Any, contract_path: Path, surroundings: Surroundings, *, deps: Any) -> Any:
    return harden(target, contract_path, deps=deps, surroundings=surroundings, eager=False)


def _maker(path: str) -> Callable[[Surroundings], Any]:
    """The function that makes the harness. Raises `Misuse` where it is none."""
    make = load(path)
    if not callable(make):
        raise Misuse(f"{path} ([agent] harness) is no function; it is called as `function(surroundings)`")

    def made(surroundings: Surroundings) -> Any:
        return make(surroundings)

    return made


def _opened(made: Any, surroundings: Surroundings) -> Any:
    """What was made, to be entered. Raises `Misuse` where it is neither a harness nor an agent with one."""
    if isinstance(made, Harness) or hasattr(type(made), "harness"):
        return made
    raise Misuse(f"[agent] harness returned {type(made).__name__}: return the Harness, or what `harden` returns")


def _check_same(harness: Harness, contract: Contract, surroundings: Surroundings) -> None:
    """Raises `Misuse` for a harness of another agent, or one that does not run where it was told to."""
    made, named = harness.env.contract.agent.name, contract.agent.name
    if made != named:
        raise Misuse(f"[agent] harness made one of agent {made!r}, and this is the contract of {named!r}")
    if harness.store is not surroundings.store:
        raise Misuse("[agent] harness made one over a journal of its own: hand on the surroundings that it is given")


def _check_agent(target: Any, path: str) -> None:
    """Raises `Misuse` for an agent without a framework, of which nobody knows the tools and models."""
    if inspect.iscoroutinefunction(target):
        raise Misuse(
            f"{path} is a function, and nothing tells its tools and models: make a PlainAgent of it (see "
            "plimsoll.adapters.plain), or in [agent] write `harness = "
            '"module:function"`, a function of the surroundings that returns its Harness'
        )


async def _dependencies(contract: Contract, agent: Any) -> Any:
    """The agent's dependencies, made once already, so that a failure to make them fails no run."""
    if contract.agent.deps is None:
        wanted = getattr(agent, "deps_type", None)
        if isinstance(wanted, type) and wanted not in (type(None), object):
            raise Misuse(
                f"the agent's tools need dependencies ({wanted.__name__}) and the contract does not say where they "
                'come from: in [agent] write `deps = "module:function"`, a function that makes them. Nothing was done'
            )
        return None
    made = load(contract.agent.deps)
    if not (inspect.isroutine(made) or inspect.isclass(made)):
        return made
    with explained(f"making the dependencies by {contract.agent.deps}"):
        first = made()
        ready = [await first if inspect.isawaitable(first) else first]

    def dependencies() -> Any:
        return ready.pop() if ready else made()

    return dependencies
