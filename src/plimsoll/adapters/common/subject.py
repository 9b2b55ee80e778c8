"""Subjects of the gate: an agent of any framework as the gate tries it. The gate is matched by shape, not imported."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from plimsoll.adapters.common.hardened import Hardened
from plimsoll.contract.model import Contract
from plimsoll.core.calls import Fault
from plimsoll.runtime.databases.database import Database
from plimsoll.runtime.exchange import Exchange
from plimsoll.runtime.result import RunResult
from plimsoll.runtime.surroundings import Surroundings

__all__ = ["AgentSubject", "Connections", "Forger", "Live", "Process", "StandInsOf", "hardened_subject"]


class Process(Protocol):
    """One life of the agent's process."""

    async def run(self, input: Any, *, run_id: str | None = None) -> RunResult: ...
    async def wake(self) -> Sequence[RunResult]: ...
    async def close(self) -> None: ...


class Forger(Protocol):
    """Makes faults as the framework's dependencies would show them."""

    def forge(self, fault: Fault, exchange: Exchange, native: Any) -> Any: ...


Live = Callable[[Surroundings, Mapping[str, Any], Any], Process]
"""`live(surroundings, models, world)`: one life."""
Connections = Callable[[Any], Mapping[str, Database]]
"""Makes the databases of transaction tools in a scenario's world, by the names of their connections."""
StandInsOf = Callable[[Contract, Mapping[str, Any]], Mapping[str, Any]]
"""The stand-ins for a contract's models. Raises `Misuse` where one is missing, or is no model of the framework."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSubject:
    """An agent on trial, in the shape of `plimsoll.gate.subject.Subject`."""

    name: str
    fingerprint: str
    contract: Contract
    hardened: bool
    live: Live
    forger: Forger
    family: tuple[Contract, ...] = ()
    outside: bool = False


def hardened_subject(
    hardened: Hardened,
    *,
    name: str | None,
    connections: Connections,
    forger: Forger,
    stand_ins: StandInsOf,
    lived: Callable[[Any], Process] = lambda harness: harness,
) -> AgentSubject:
    """The hardened agent as the gate tries it: stand-ins for its models, the world as its dependencies.

    `lived` makes the process of its harness, where the framework needs more around it.
    """

    def live(surroundings: Surroundings, models: Mapping[str, Any], world: Any) -> Process:
        return lived(
            hardened.process(
                surroundings,
                models=stand_ins(hardened.contract, models),
                deps=world,
                connections=connections(world),
            )
        )

    return AgentSubject(
        name=name or hardened.contract.agent.name,
        fingerprint=hardened.fingerprint,
        contract=hardened.contract,
        hardened=True,
        live=live,
        forger=forger,
        family=hardened.family,
    )
